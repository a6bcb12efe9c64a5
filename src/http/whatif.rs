//! What would have been. The question is recorded; nothing of the answer is, unless it is kept for an
//! idempotency key. It is worked out from the files of the log on a thread that may read the disk, and
//! the running state is not touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::whatif::{Prepared, WhatIf, WhatIfFailure, WhatIfRequest};
use hindcast_model::Event;
use hindcast_model::event::WhatIfAsked;

use super::error::{self, Problem};
use super::history::Live;
use super::{App, Running, blocking, body, identity};
use crate::clock::SystemClock;
use crate::config::WhatIfConfig;
use crate::startup::numeric_profile;
use crate::whatif::{bounds, means};

impl From<WhatIfFailure> for Problem {
    fn from(failure: WhatIfFailure) -> Self {
        let message = failure.to_string();
        match failure {
            WhatIfFailure::Bad {
                field, hint, limit, ..
            } => {
                let kind = match limit {
                    Some(_) => &error::OVER_LIMIT,
                    None => &error::INVALID,
                };
                let problem = Self::new(kind, message).field(field);
                let problem = limit.into_iter().fold(problem, Self::limit);
                hint.into_iter().fold(problem, Self::hint)
            }
            WhatIfFailure::TooLong { limit_ms, .. } => Self::new(&error::DEADLINE, message)
                .limit(limit_ms)
                .hint("fork later, end earlier, or raise whatif.time_ms_max".to_owned()),
            WhatIfFailure::History(error) => Self::from_history(error, "at"),
        }
    }
}

/// Tells the work that its client has gone, when the handler is dropped.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What would have been, had the log been otherwise from an event on.
///
/// The log is forked before `at`. With the edits and without them, both histories are decided again
/// from there: what came from outside happens as recorded unless it is edited, and what followed
/// happens only where its cause does. An outcome that was never recorded is computed again, or drawn
/// from recorded outcomes of its operation; `basis` says which. The answer tells what vanished,
/// appeared and changed, which runs ended otherwise and how the state differs. The log itself only
/// gets an event that this was asked, and the answer when it is kept for an `Idempotency-Key`.
#[utoipa::path(
    post, path = "/api/v1/whatif", tag = "history", operation_id = "whatif",
    request_body = WhatIfRequest,
    params(super::openapi::PostHeaders),
    responses(
        (status = 200, description = "What would have been otherwise", body = WhatIf),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn ask(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    let question: WhatIfRequest = body::asked(&app, &request, payload).await?;
    let permit = app.whatif.clone().try_acquire_owned().map_err(|_| {
        let message = "as many questions of what would have been are worked on as may be at once";
        Problem::new(&error::BUSY, message)
            .limit(app.config.whatif.at_once_max as u64)
            .retry_after(5)
    })?;
    let prepared = blocking(&app, move |running| {
        Ok(question.prepare(&Live::open(running)?)?)
    })
    .await?;
    let asked = Event::WhatIfAsked(WhatIfAsked {
        at: prepared.at(),
        edits: prepared.edits(),
        hash: prepared.hash(),
    });
    let command = identity(&request)?.command(asked);
    running.experiment.submit(command.into()).await?;
    let waiting = Waiting(Arc::default());
    let (gone, config) = (Arc::clone(&waiting.0), app.config.clone());
    let found = blocking(&app, move |running| {
        // Held by the work itself, which takes a moment to see that nobody waits.
        let _permit = permit;
        answer(running, &prepared, (&config.whatif, &gone))
    })
    .await?;
    drop(waiting);
    Ok(HttpResponse::Ok().json(found))
}

fn answer(
    running: &Running,
    prepared: &Prepared,
    (config, gone): (&WhatIfConfig, &AtomicBool),
) -> Result<WhatIf, Problem> {
    let live = Live::open(running)?;
    let profile = numeric_profile();
    let is_gone = || gone.load(Ordering::Acquire);
    let bounds = bounds(config, &SystemClock, &is_gone);
    Ok(prepared.answer(&live, (means(&profile), bounds))?)
}
