//! The trail of what was done, and of what somebody was not allowed to do. What has an event of
//! its own (a run, an upload, a backup) names its principal there and is not told twice.

use std::num::NonZeroU32;

use actix_web::HttpRequest;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use hindcast_model::Name16;
use hindcast_model::event::{AuditOutcome, Audited, Event};

use super::error::Problem;
use super::{App, guard, identity};

/// Characters of each text in an event of the trail.
const TEXT_CHARS_MAX: usize = 256;
/// Denials of one principal that are recorded one by one; after these one each second, so that
/// nobody can fill the log with them. Further ones are counted in `requests_shed`.
const DENIED_BURST_MAX: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// Principals told apart; further ones share what is left.
const PRINCIPALS_MAX: usize = 1_024;

/// The verbs under which calls are recorded that are done, by method and route. What is denied goes
/// by the same word, so that one search finds both.
pub(super) const VERBS: [(&str, &str); 12] = [
    ("POST /api/v1/keys", "keys.create"),
    ("POST /api/v1/keys/{name}/revoke", "keys.revoke"),
    ("POST /-/logs/rotate", "logs.rotate"),
    ("POST /-/snapshot", "snapshots.take"),
    ("POST /debug/profile", "debug.profile"),
    ("POST /api/v1/capacity/measurements", "capacity.record"),
    ("POST /api/v1/drills", "drills.practise"),
    ("POST /api/v1/restore", "restore.plan"),
    (
        "PUT /api/v1/vaults/{name}/objects/{object}",
        "vaults.change",
    ),
    (
        "DELETE /api/v1/vaults/{name}/objects/{object}",
        "vaults.change",
    ),
    (
        "PUT /api/v1/vaults/{name}/objects/{object}*",
        "vaults.change",
    ),
    (
        "DELETE /api/v1/vaults/{name}/objects/{object}*",
        "vaults.change",
    ),
];

/// The verb of a call; of one that leaves an event of another kind its method and route.
fn verb_of(route: &str) -> &str {
    let found = VERBS.iter().find(|(known, _)| *known == route);
    found.map_or(route, |(_, verb)| verb)
}

/// How many denials are recorded.
pub(crate) struct Denials(DefaultKeyedRateLimiter<Name16>);

impl Denials {
    pub(crate) fn new() -> Self {
        let quota = Quota::per_second(NonZeroU32::MIN).allow_burst(DENIED_BURST_MAX);
        Self(RateLimiter::keyed(quota))
    }

    fn take(&self, mut whose: Name16) -> bool {
        if self.0.len() >= PRINCIPALS_MAX {
            self.0.retain_recent();
            if self.0.len() >= PRINCIPALS_MAX {
                whose = Name16::default();
            }
        }
        self.0.check_key(&whose).is_ok()
    }
}

/// Records what was done; durable when this returns.
pub(crate) async fn record(
    app: &App,
    request: &HttpRequest,
    (verb, target): (&str, &str),
    (outcome, reason): (AuditOutcome, &str),
) -> Result<(), Problem> {
    let running = app.running()?;
    let event = event(request, (verb, target), (outcome, reason));
    let command = identity(request)?.command(event);
    running.experiment.submit(command.into()).await?;
    Ok(())
}

/// Records that somebody was not allowed to do this.
pub(crate) async fn denied(app: &App, request: &HttpRequest, route: String, reason: &str) {
    let Ok(running) = app.running() else {
        return;
    };
    let whose = guard::principal(request).map_or_else(Name16::default, |known| known.name);
    let told = app.denials.take(whose)
        && record(
            app,
            request,
            (verb_of(&route), request.path()),
            (AuditOutcome::Denied, reason),
        )
        .await
        .is_ok();
    if !told {
        running.experiment.count_unauthenticated();
    }
}

fn event(
    request: &HttpRequest,
    (verb, target): (&str, &str),
    (outcome, reason): (AuditOutcome, &str),
) -> Event {
    let principal = guard::principal(request);
    let role = principal.as_ref().map_or("", |known| known.role.word());
    let key = principal.as_ref().and_then(|known| known.key.as_deref());
    let bounded = |text: &str| text.chars().take(TEXT_CHARS_MAX).collect();
    Event::Audited(Audited {
        verb: bounded(verb),
        target: bounded(target),
        outcome,
        reason: bounded(reason),
        role: role.to_owned(),
        key: key.unwrap_or_default().to_owned(),
    })
}
