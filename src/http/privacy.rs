//! Redaction: what was kept for a subject becomes unreadable.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{self, Problem};
use super::parameters;
use super::repeated::Keep;
use super::{App, body, identity};

/// Characters of a reason, at most.
const REASON_CHARS_MAX: usize = 256;

/// Whose data are to become unreadable.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRedaction {
    /// As in the header `Hindcast-Subject` of what was sent for it.
    #[schema(min_length = 1, max_length = 16, pattern = "^[A-Za-z0-9._-]+$")]
    pub(crate) subject: String,
    /// Why, in at most 256 characters. It stays readable in the log.
    #[serde(default)]
    #[schema(max_length = 256)]
    pub(crate) reason: String,
}

/// What a redaction did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Redaction {
    pub(crate) subject: String,
    /// The event that records it.
    pub(crate) sequence: u64,
    /// Numbers of the data keys that are gone.
    pub(crate) keys: Vec<u32>,
}

/// Make everything that was kept for a subject unreadable, for ever.
///
/// Its data key is shredded; the log, its hash chain and state hashes stay as they are. A restore
/// of an older backup does not bring the key back.
#[utoipa::path(
    post, path = "/api/v1/redactions", tag = "privacy", operation_id = "redact",
    request_body = NewRedaction,
    params(super::openapi::PostHeaders),
    responses(
        (status = 200, description = "It is unreadable", body = Redaction),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn redact(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    let NewRedaction { subject, reason } = body::asked(&app, &request, payload).await?;
    let name = parameters::subject_name(&subject)
        .ok_or_else(|| Problem::new(&error::INVALID, parameters::SUBJECT_RULE).field("subject"))?;
    parameters::check_reason(&reason, REASON_CHARS_MAX)?;
    let identity = identity(&request)?;
    match running.experiment.redact(name, identity, reason).await? {
        Some(redacted) => {
            let mut response = HttpResponse::Ok().json(Redaction {
                subject,
                sequence: redacted.seq.0,
                keys: redacted.keys.iter().map(|key| key.0).collect(),
            });
            // Sealed for the subject, it would bring a key of the subject's back.
            response.extensions_mut().insert(Keep::Readable);
            Ok(response)
        }
        None => {
            let detail = format!("nothing readable is kept for the subject '{subject}'");
            let damaged = running.vault.damaged().first().map(|key| {
                let key = key.0;
                format!("data key {key} is damaged and may be the subject's: bring keys/{key:010}.key back from a backup first")
            });
            Err(Problem::new(&error::NOT_FOUND, detail)
                .field("subject")
                .hint(damaged))
        }
    }
}
