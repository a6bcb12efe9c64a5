//! SIGHUP, which asks for a reload as `POST /-/reload` does.

use actix_web::web::Data;

use crate::http::{self, App};

/// SIGHUP asks for a reload.
pub(crate) async fn reload_on_hangup(app: Data<App>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("SIGHUP cannot be heard; POST /-/reload still works");
        return;
    };
    while hangup.recv().await.is_some() {
        http::reload(&app).await;
    }
}
