//! Who asks, and whether they may: before a byte of the body is read.

use actix_web::HttpMessage;
use actix_web::HttpRequest;
use actix_web::dev::ServiceRequest;
use actix_web::http::header;
use actix_web::web::Data;

use super::error::{self, Problem};
use super::roles::{self, Need};
use super::{App, audit, site};
use crate::access::{Denied, Principal};

/// What a 401 asks for (RFC 6750).
const CHALLENGE: &str = "Bearer realm=\"hindcast\"";
const CHALLENGE_INVALID: &str = "Bearer realm=\"hindcast\", error=\"invalid_token\"";

/// Who sent a request that went through [`admit`]. Nobody in particular where nothing is known.
pub(crate) fn principal(request: &HttpRequest) -> Option<Principal> {
    request.extensions().get::<Principal>().cloned()
}

/// Lets the request for this route in, or says why not.
pub(crate) async fn admit(
    app: &Data<App>,
    request: &ServiceRequest,
    template: Option<&'static str>,
) -> Result<(), Problem> {
    let method = request.method().as_str();
    let need = roles::need(method, template);
    let header = request.headers().get(header::AUTHORIZATION);
    let header = header.map(header::HeaderValue::as_bytes);
    let from = request.peer_addr().map(|address| address.ip());
    let proved = match need {
        // A probe is answered whatever comes with it.
        Need::Public if header.is_none() && app.access.is_needed() => return Ok(()),
        Need::Public => {
            if let Ok(principal) = app.access.prove(header, from).await {
                request.extensions_mut().insert(principal);
            }
            return Ok(());
        }
        Need::Role(_) => app.access.prove(header, from).await,
    };
    let principal = proved.map_err(unproved)?;
    let name = principal.name;
    let role = principal.role;
    request.extensions_mut().insert(principal.clone());
    if let Some(rates) = app.rates.as_ref().filter(|_| !is_operators(template)) {
        let left = rates.take(request, &principal)?;
        request.extensions_mut().insert(left);
    }
    let route = || format!("{method} {}", template.unwrap_or(""));
    let open_here = !app.access.is_needed() && app.config.server.listen.ip().is_loopback();
    let foreign = match open_here {
        true => site::names(request),
        false => None,
    };
    let foreign = foreign.or_else(|| changes(method).then(|| site::sends(request)).flatten());
    if let Some(foreign) = foreign {
        if changes(method) {
            audit::denied(app, request.request(), route(), foreign.detail).await;
        }
        return Err(forbidden(foreign.detail).field(foreign.field));
    }
    match need {
        Need::Role(least) if role < least => {
            metrics::counter!("auth_failures_total", "reason" => "role").increment(1);
            let detail = format!("{name} is {role}, and this needs {least}");
            if changes(method) {
                audit::denied(app, request.request(), route(), &detail).await;
            }
            Err(forbidden(&detail).hint(format!("use a key of the role {least}")))
        }
        Need::Role(_) if changes(method) => check_writable(app, template),
        Need::Role(_) | Need::Public => Ok(()),
    }
}

/// What is done also where nothing can be recorded: it is how one finds out why, and leaves. Backups
/// refuse by themselves, and say how to make one then.
const WITHOUT_RECORD: [&str; 3] = ["/-/quit", "/debug/profile", "/api/v1/backups"];

/// Refuses what would have to be recorded and cannot be, before anything is kept of it.
fn check_writable(app: &Data<App>, template: Option<&str>) -> Result<(), Problem> {
    let without = template.is_none_or(|template| WITHOUT_RECORD.contains(&template));
    let why = app
        .running
        .get()
        .and_then(|running| running.log.read_only());
    match why.filter(|_| !without) {
        Some(why) => Err(error::read_only(why)),
        None => Ok(()),
    }
}

/// What an operator needs also while somebody sends too much, perhaps from the same address.
fn is_operators(template: Option<&str>) -> bool {
    let template = template.unwrap_or("");
    let starts = ["/health", "/metrics", "/model-metrics", "/-/"];
    starts.iter().any(|start| template.starts_with(start))
}

fn changes(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
}

fn forbidden(detail: &str) -> Problem {
    // It is told by an event of its own.
    Problem::new(&error::FORBIDDEN, detail).counted()
}

fn unproved(denied: Denied) -> Problem {
    metrics::counter!("auth_failures_total", "reason" => denied.word()).increment(1);
    let (detail, challenge) = match denied {
        Denied::TooMany {
            retry_after_seconds,
        } => {
            let detail = "this address has tried too many keys";
            return Problem::new(&error::RATE_LIMITED, detail).retry_after(retry_after_seconds);
        }
        Denied::Busy => {
            return Problem::new(&error::BUSY, "too many keys are being proved").retry_after(1);
        }
        Denied::Missing => ("a key is needed here", CHALLENGE),
        Denied::Malformed => ("what was given is no key", CHALLENGE_INVALID),
        Denied::Unknown => ("the key is not known", CHALLENGE_INVALID),
        Denied::Revoked => ("the key was revoked", CHALLENGE_INVALID),
        Denied::Expired => ("the key has expired", CHALLENGE_INVALID),
    };
    Problem::new(&error::UNAUTHENTICATED, detail)
        .field("header.authorization")
        .challenge(challenge)
}
