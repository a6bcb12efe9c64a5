//! Server-sent events: a body that is written as things happen, kept alive while nothing does,
//! and ended when the server stops.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use super::App;
use super::error::{self, Problem};
use super::guard;

/// How long a stream waits before it looks whether the server stops.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// One event of a stream, as a reader of server-sent events sees it.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it only describes the stream")]
pub(crate) struct StreamEvent {
    /// What happened.
    event: String,
    /// JSON text.
    data: String,
    /// Where to go on from, for `Last-Event-ID`.
    #[schema(nullable = false)]
    id: Option<String>,
}

/// The source of a stream.
pub(crate) trait Source: 'static {
    /// The next piece of the body, already formatted; `None` ends the stream. It is dropped and
    /// called again when a heartbeat is due, so it must lose nothing when it is dropped.
    fn next(&mut self) -> impl Future<Output = Option<String>>;
}

/// One event of a stream.
pub(crate) fn event<T: Serialize>(name: &str, id: Option<&str>, data: &T) -> String {
    let data = serde_json::to_string(data).expect("plain data");
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    // JSON text has no line breaks, so one data line is enough.
    format!("{id}event: {name}\ndata: {data}\n\n")
}

/// A place among the streams that may be open at once.
pub(crate) fn admit(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    app.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::new(&error::BUSY, "too many event streams are open")
            .limit(app.config.http.streams_max as u64)
            .retry_after(5)
    })
}

/// The answer that streams the events of `source`, for as long as the key of the request is good.
pub(crate) fn respond(
    (app, request): (Data<App>, &HttpRequest),
    permit: OwnedSemaphorePermit,
    source: impl Source,
) -> HttpResponse {
    let heartbeat = Duration::from_millis(app.config.http.stream_heartbeat_ms);
    let key = guard::principal(request).and_then(|known| known.key);
    let opened = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b": open\n\n"))]);
    let live = stream::unfold(
        (app, (permit, key), source),
        move |(app, (permit, key), mut source)| async move {
            let bytes = piece((&app, key.as_deref()), &mut source, heartbeat).await?;
            Some((Ok::<_, Infallible>(bytes), (app, (permit, key), source)))
        },
    );
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((HeaderName::from_static("x-accel-buffering"), "no"))
        .streaming(stream::StreamExt::chain(opened, live))
}

async fn piece(
    (app, key): (&App, Option<&str>),
    source: &mut impl Source,
    heartbeat: Duration,
) -> Option<Bytes> {
    let mut waited = Duration::ZERO;
    loop {
        if app.is_stopping() || key.is_some_and(|key| !app.access.is_live(key)) {
            return None;
        }
        match tokio::time::timeout(LOOK_EVERY.min(heartbeat), source.next()).await {
            Ok(text) => return text.map(Bytes::from),
            Err(_) => waited += LOOK_EVERY.min(heartbeat),
        }
        if waited >= heartbeat {
            return Some(Bytes::from_static(b": alive\n\n"));
        }
    }
}
