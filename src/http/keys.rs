//! Access keys: made, listed, revoked.

use std::io::ErrorKind;

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::views;
use hindcast_model::UnixMicros;
use hindcast_model::event::AuditOutcome;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{self, Problem};
use super::parameters::{self, Query};
use super::repeated::Keep;
use super::{App, audit, body};
use crate::access::{self, AccessKey, KeyFileError, KeyRefusal, Role};
use crate::clock;

/// What the name of a key may be.
const NAME_RULE: &str = "a name has 1 to 16 letters, digits, dots, dashes or underscores, and is not one of the server's own";

/// Who gets a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// Who it stands for: the principal of what is done with it.
    #[schema(min_length = 1, max_length = 16, pattern = "^[A-Za-z0-9._-]+$")]
    pub(crate) name: String,
    pub(crate) role: Role,
    /// When it ends, in RFC 3339; never if left out.
    #[serde(default)]
    #[schema(max_length = 64)]
    pub(crate) expires: Option<String>,
}

/// A key, without what proves it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// The public part, as audit events name it.
    id: String,
    name: String,
    role: Role,
    /// live, revoked or expired.
    status: &'static str,
    created_at: String,
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MadeKey {
    /// To be sent as `Authorization: Bearer KEY`. It is shown this once, and cannot be found again: null
    /// when the answer is repeated for the same `Idempotency-Key`.
    #[schema(required = true)]
    key: Option<String>,
    #[serde(flatten)]
    view: KeyView,
}

/// Every key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyList {
    items: Vec<KeyView>,
}

fn view(key: &AccessKey, now: UnixMicros) -> KeyView {
    KeyView {
        id: key.id.clone(),
        name: key.name.clone(),
        role: key.role,
        status: key.status(now),
        created_at: views::rfc3339(key.created_at),
        expires_at: key.expires_at.map(views::rfc3339),
        revoked_at: key.revoked_at.map(views::rfc3339),
    }
}

impl From<KeyFileError> for Problem {
    fn from(error: KeyFileError) -> Self {
        match &error {
            KeyFileError::Io { source, .. } if source.kind() == ErrorKind::StorageFull => {
                Self::new(&error::DISK_LOW, error.to_string()).retry_after(60)
            }
            KeyFileError::Io { .. } | KeyFileError::Readable(_) | KeyFileError::Format { .. } => {
                Self::new(&error::INTERNAL, error.to_string())
            }
        }
    }
}

impl From<KeyRefusal> for Problem {
    fn from(refusal: KeyRefusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            KeyRefusal::Exists(_) => Self::new(&error::CONFLICT, detail)
                .field("name")
                .hint("take another name, or revoke that key first".to_owned()),
            KeyRefusal::Unknown(_) => Self::new(&error::NOT_FOUND, detail).field("path.name"),
            KeyRefusal::TooMany => Self::new(&error::CONFLICT, detail),
            KeyRefusal::LastAdmin => Self::new(&error::CONFLICT, detail)
                .field("path.name")
                .hint("make another key of the role admin first".to_owned()),
        }
    }
}

/// Changes the keys where it may wait for the disk.
async fn change<R: Send + 'static>(
    app: &Data<App>,
    change: impl FnOnce(&mut access::Keys) -> Result<R, KeyRefusal> + Send + 'static,
) -> Result<R, Problem> {
    // A reload must not put back what it read before.
    let _alone = app.renewing.lock().await;
    let keys = app.clone();
    super::blocking(app, move |_| Ok(keys.access.change(change)??)).await
}

/// Make an access key. It is shown once.
///
/// What is kept of it is an argon2id hash. Repeating the request makes no second key: its name is
/// taken. With the same `Idempotency-Key` it is answered as before, but `key` is null then: whoever
/// did not get it revokes the key and makes another.
#[utoipa::path(
    post, path = "/api/v1/keys", tag = "keys", operation_id = "create_key",
    request_body = NewKey,
    params(super::openapi::PostHeaders),
    responses(
        (status = 201, description = "The key, this once", body = MadeKey),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn create(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let NewKey {
        name,
        role,
        expires,
    } = body::asked(&app, &request, payload).await?;
    if !access::may_be_named(&name) {
        return Err(Problem::new(&error::INVALID, NAME_RULE).field("name"));
    }
    let now = clock::wall();
    let expires_at = expires.map(|text| moment(&text, now)).transpose()?;
    let target = name.clone();
    let hashing = move || AccessKey::fresh(&name, role, (now, expires_at));
    let hashed = actix_web::web::block(hashing).await;
    let (key, token) = hashed.map_err(|error| Problem::new(&error::INTERNAL, error.to_string()))?;
    let (made, id) = (view(&key, now), key.id.clone());
    change(&app, move |keys| keys.add(key, now)).await?;
    let until = made.expires_at.as_deref();
    let until = until.map_or_else(|| "never expires".to_owned(), |at| format!("until {at}"));
    let reason = format!("{role}, {until}");
    let done = (AuditOutcome::Done, reason.as_str());
    if let Err(problem) = audit::record(&app, &request, ("keys.create", &target), done).await {
        // A key that the log does not tell of must not be.
        change(&app, move |keys| {
            keys.forget(&id);
            Ok(())
        })
        .await?;
        return Err(problem);
    }
    let shown = MadeKey {
        key: Some(token.reveal()),
        view: made,
    };
    let mut response = HttpResponse::Created()
        .insert_header((actix_web::http::header::CACHE_CONTROL, "no-store"))
        .json(&shown);
    // No file may hold what proves a key.
    let without = MadeKey { key: None, ..shown };
    let without = serde_json::to_string(&without)
        .map_err(|error| Problem::new(&error::INTERNAL, error.to_string()))?;
    response.extensions_mut().insert(Keep::Instead(without));
    Ok(response)
}

fn moment(text: &str, now: UnixMicros) -> Result<UnixMicros, Problem> {
    let wrong = |detail: &str| Problem::new(&error::INVALID, detail).field("expires");
    let at = views::moment(text)
        .ok_or_else(|| wrong("a time such as 2027-01-31T00:00:00Z is expected"))?;
    match at > now {
        true => Ok(at),
        false => Err(wrong("the time has passed")),
    }
}

/// Every access key, also those that have ended; never what proves them.
#[utoipa::path(
    get, path = "/api/v1/keys", tag = "keys", operation_id = "keys",
    responses(
        (status = 200, description = "The keys, oldest first", body = KeyList),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn list(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let now = clock::wall();
    let items = app.access.keys().iter().map(|key| view(key, now)).collect();
    Ok(HttpResponse::Ok().json(KeyList { items }))
}

/// End a key. Doing it twice is the same as once.
#[utoipa::path(
    post, path = "/api/v1/keys/{name}/revoke", tag = "keys", operation_id = "revoke_key",
    params(
        ("name" = String, Path, description = "Whose key"),
        super::openapi::PostHeaders,
    ),
    responses(
        (status = 200, description = "It lets nobody in any more", body = KeyView),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn revoke(
    app: Data<App>,
    request: HttpRequest,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let now = clock::wall();
    let target = name.into_inner();
    let whose = target.clone();
    let key = change(&app, move |keys| keys.revoke(&whose, now)).await?;
    let done = (AuditOutcome::Done, key.id.as_str());
    audit::record(&app, &request, ("keys.revoke", &target), done).await?;
    Ok(HttpResponse::Ok().json(view(&key, now)))
}
