//! Profiles of a running server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use hindcast_model::event::AuditOutcome;

use super::error::{self, Problem};
use super::parameters::{self, Query};
use super::{App, audit};
use crate::profile::{NoProfile, Profile};

/// The longest profile, in seconds.
const SECONDS_MAX: u64 = 60;
const SECONDS_DEFAULT: u64 = 10;

/// Parameters of a profile.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it only describes the parameters")]
pub(crate) struct ProfileParameters {
    /// How long it is looked at; 10 if left out.
    #[param(minimum = 1, maximum = 60)]
    seconds: Option<u64>,
    /// `svg`, a flame graph, or `folded`, a line of text for each stack.
    #[param(example = "svg")]
    format: Option<String>,
}

/// Tells the work that nobody waits for it.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Looks for some seconds where the processor's time goes, and answers with a flame graph. One at a
/// time.
#[utoipa::path(
    post, path = "/debug/profile", tag = "debug", operation_id = "debug_profile",
    params(ProfileParameters, super::openapi::PostHeaders),
    responses(
        (status = 200, description = "The profile", content(
            (String = "image/svg+xml"), (String = "text/plain"),
        )),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn take(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.running()?;
    let query = Query::read(&request, &["seconds", "format"])?;
    let expected = format!("a whole number from 1 to {SECONDS_MAX}");
    let seconds = query
        .parse("seconds", &expected)?
        .unwrap_or(SECONDS_DEFAULT);
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return Err(parameters::wrong("seconds", &expected).limit(SECONDS_MAX));
    }
    let folded = match query.get("format") {
        None | Some("svg") => false,
        Some("folded") => true,
        Some(_) => return Err(parameters::wrong("format", "svg or folded")),
    };
    let waiting = Waiting(Arc::default());
    let gone = Arc::clone(&waiting.0);
    let taken = actix_web::web::block(move || {
        Profile::take(seconds, &gone).map(|profile| match folded {
            true => profile.folded(),
            false => profile.svg(),
        })
    });
    let text = taken
        .await
        .map_err(|error| Problem::new(&error::INTERNAL, error.to_string()))??;
    drop(waiting);
    if app.running()?.log.read_only().is_none() {
        let profiled = format!("{seconds} s");
        let done = (AuditOutcome::Done, profiled.as_str());
        audit::record(&app, &request, ("debug.profile", ""), done).await?;
    } else {
        tracing::info!(seconds, "a profile was taken, which the log cannot tell");
    }
    let kind = match folded {
        true => "text/plain; charset=utf-8",
        false => "image/svg+xml",
    };
    Ok(HttpResponse::Ok().content_type(kind).body(text))
}

impl From<NoProfile> for Problem {
    fn from(why: NoProfile) -> Self {
        match why {
            NoProfile::Busy => Self::new(&error::CONFLICT, why.to_string())
                .hint("ask again when it is done; it takes a minute at most".to_owned()),
            NoProfile::Gone | NoProfile::Failed(_) => Self::new(&error::INTERNAL, why.to_string()),
        }
    }
}
