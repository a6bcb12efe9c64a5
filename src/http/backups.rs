//! Backups: asked for, listed, verified; and what a restore would do. A server does not replace the
//! data directory that it has open.

use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::views::{self, BackupView, RestorePlanView};
use hindcast_actors::{BackupRefusal, BackupRequest, LOCAL, Listing, Requested};
use hindcast_backup::{BackupError, Listed, TargetError, Wanted};
use hindcast_model::BackupId;
use hindcast_model::event::{AuditOutcome, BackupKind, Idempotency};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::causal::REPLAYED;
use super::error::{self, Problem};
use super::parameters::{self, Query, Wait};
use super::repeated::is_known;
use super::{App, Running, audit, blocking, body, identity};
use crate::ids;

/// Which backup to make.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BackupBody {
    /// The name of a target of the configuration, or a directory below one of `backup.roots`;
    /// `local`, which is backups/ in the data directory, if left out.
    #[schema(max_length = 1024)]
    target: Option<String>,
    /// Everything anew, or what the last backup does not have; incremental if left out.
    kind: Option<BackupWord>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BackupWord {
    Full,
    Incremental,
}

/// The backups of the targets.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BackupList {
    /// Oldest first within each target.
    items: Vec<BackupView>,
    /// Targets that did not answer.
    unreachable: Vec<Unreachable>,
}

/// A target that did not answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Unreachable {
    target: String,
    error: String,
}

/// What to restore.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreBody {
    /// Has to be true: a server does not replace what it has open.
    dry_run: bool,
    /// As for a backup.
    #[serde(default)]
    #[schema(max_length = 1024)]
    target: Option<String>,
    /// The sequence of an event, a time in RFC 3339, `latest` or `latest-verified`; `latest` if left
    /// out.
    #[serde(default)]
    #[schema(max_length = 64)]
    to: Option<String>,
}

/// What a restore would do, and the command that does it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RestoreAnswer {
    #[serde(flatten)]
    plan: RestorePlanView,
    /// To run once the server has been stopped.
    command: String,
}

impl From<TargetError> for Problem {
    fn from(error: TargetError) -> Self {
        let detail = error.to_string();
        match error {
            TargetError::Url { .. } => Self::new(&error::INVALID, detail).field("target").hint(
                "GET /api/v1/backups names targets; backup.targets and backup.roots say which \
                 there may be"
                    .to_owned(),
            ),
            TargetError::Missing { .. } | TargetError::Io { .. } | TargetError::Status { .. } => {
                Self::new(&error::BACKUP_FAILED, detail)
            }
        }
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        let detail = error.to_string();
        if let BackupError::Target(error) = error {
            return error.into();
        }
        let (kind, field) = match error {
            BackupError::NoRepository(_) | BackupError::NoBackup(_) => {
                (&error::NOT_FOUND, "target")
            }
            BackupError::UnknownBackup(_) => (&error::NOT_FOUND, "path.id"),
            BackupError::BeyondEnd { .. } | BackupError::Gone { .. } | BackupError::Empty => {
                (&error::INVALID, "to")
            }
            BackupError::Pruned { .. } => (&error::CONFLICT, "target"),
            BackupError::NoRoom { .. } => {
                return Self::new(&error::DISK_LOW, detail).retry_after(60);
            }
            BackupError::Target(_)
            | BackupError::Log(_)
            | BackupError::Blob(_)
            | BackupError::Damaged { .. }
            | BackupError::OtherHistory { .. }
            | BackupError::KeyNeeded { .. }
            | BackupError::WrongKey { .. }
            | BackupError::NotEncrypted
            | BackupError::SigningKeyNeeded { .. }
            | BackupError::OtherSigner { .. }
            | BackupError::NotSigned
            | BackupError::KeyFile { .. }
            | BackupError::Format { .. }
            | BackupError::OtherLog { .. }
            | BackupError::NoLog(_)
            | BackupError::StateDiffers { .. }
            | BackupError::OtherRules { .. }
            | BackupError::InUse(_)
            | BackupError::NotADataDir(_)
            | BackupError::Io { .. }
            | BackupError::Stopped => return Self::new(&error::BACKUP_FAILED, detail),
        };
        Self::new(kind, detail).field(field)
    }
}

impl From<BackupRefusal> for Problem {
    fn from(refusal: BackupRefusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            BackupRefusal::Target(error) => error.into(),
            BackupRefusal::KeyReused => {
                Self::new(&error::KEY_REUSED, detail).field("header.idempotency-key")
            }
            BackupRefusal::TooMany { limit } => {
                Self::new(&error::BUSY, detail).limit(limit).retry_after(10)
            }
            BackupRefusal::ReadOnly(_) => Self::new(&error::UNAVAILABLE, detail).hint(
                "hindcast backup create --data-dir DIR makes one from the files, beside this \
                 server"
                    .to_owned(),
            ),
            BackupRefusal::Log(error) => error.into(),
            BackupRefusal::Submit(failure) => failure.into(),
        }
    }
}

fn backup_id(text: &str) -> Result<BackupId, Problem> {
    text.parse()
        .map_err(|_| Problem::new(&error::NOT_FOUND, "a backup's id is a UUID").field("path.id"))
}

fn unknown(id: BackupId) -> Problem {
    Problem::new(&error::NOT_FOUND, format!("there is no backup {id}")).field("path.id")
}

/// The body and the key of a POST. An empty body is an empty object.
async fn read<T: serde::de::DeserializeOwned>(
    app: &Data<App>,
    (request, payload): (&HttpRequest, Payload),
    operation: &str,
) -> Result<(T, Option<Idempotency>), Problem> {
    let http = &app.config.http;
    Query::read(request, &[])?;
    parameters::require_json_accepted(request)?;
    let key = parameters::idempotency_key(request, http)?;
    let body = body::read(request, payload, &app.memory, http).await?;
    let bytes: &[u8] = match body.bytes.is_empty() {
        true => b"{}",
        false => {
            body::require_json(request)?;
            &body.bytes
        }
    };
    body::check_depth(bytes, http.json_depth_max)?;
    let parsed = body::typed(bytes)?;
    let path = request.path().as_bytes();
    let idempotency = key.map(|key| body::idempotency(&key, operation, &[path, bytes]));
    Ok((parsed, idempotency))
}

/// Make a backup, and verify it by restoring it.
///
/// A target that fails is tried again; the answer then is 202 until the last attempt has ended, as
/// it is for a backup that takes longer than the wait.
#[utoipa::path(
    post, path = "/api/v1/backups", tag = "backups", operation_id = "make_backup",
    request_body = BackupBody,
    params(super::openapi::WaitHeaders),
    responses(
        (status = 201, description = "It is made", body = BackupView),
        (status = 202, description = "It is recorded and worked on", body = BackupView),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn create(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    let (asked, idempotency): (BackupBody, _) = read(&app, (&request, payload), "backups").await?;
    let kind = match asked.kind {
        Some(BackupWord::Full) => BackupKind::Full,
        Some(BackupWord::Incremental) | None => BackupKind::Incremental,
    };
    let wanted = BackupRequest {
        backup: ids::backup(),
        identity: identity(&request)?,
        target: asked.target,
        kind,
        idempotency,
    };
    work_on(&app, &request, wanted).await
}

/// Records the request, waits for its end as long as the client does, and answers.
async fn work_on(
    app: &Data<App>,
    request: &HttpRequest,
    wanted: BackupRequest,
) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    let wait = parameters::wait(request, &app.config.http);
    let (principal, idempotency) = (wanted.identity.principal, wanted.idempotency);
    // A verification has the id of its backup: of two at once, the second sees that it was asked for.
    let turn = match idempotency {
        Some(key) => Some(app.turns.take((principal, key.key)).await),
        None => None,
    };
    let requested = running.backup.request(&running.experiment, wanted).await?;
    drop(turn);
    let (id, repeated) = match requested {
        Requested::Admitted(id) => (id, false),
        Requested::Repeated(id) => (id, true),
    };
    let patience = match wait {
        Wait::Never => Duration::ZERO,
        Wait::UpTo(patience) => patience,
    };
    tokio::select! {
        () = running.backup.wait(id, patience) => {}
        () = app.stopped() => {}
    }
    let view = blocking(app, move |running| {
        running.backup.view(id)?.ok_or_else(|| unknown(id))
    });
    let view = view.await?;
    if view.status == "failed" {
        let detail = view.error.unwrap_or_default();
        let problem = Problem::new(&error::BACKUP_FAILED, detail);
        let hint = format!("GET /api/v1/backups/{id} tells what was tried");
        let problem = problem.hint(hint);
        return Err(match repeated {
            true => problem.replayed(),
            false => problem,
        });
    }
    let mut builder = match view.status {
        "completed" => HttpResponse::Created(),
        _ => HttpResponse::Accepted(),
    };
    builder.insert_header((LOCATION, format!("/api/v1/backups/{id}")));
    if repeated {
        builder.insert_header((REPLAYED, "true"));
    }
    Ok(builder.json(view))
}

/// The backups of a target, or of all targets of the configuration.
#[utoipa::path(
    get, path = "/api/v1/backups", tag = "backups", operation_id = "backups",
    params(("target" = Option<String>, Query, description = "The name of a target; all if left out")),
    responses(
        (status = 200, description = "What the targets list", body = BackupList),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn list(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.running()?;
    let query = Query::read(&request, &["target"])?;
    parameters::require_json_accepted(&request)?;
    let target = query.get("target").map(str::to_owned);
    let listed = blocking(&app, move |running| {
        let listings = running.backup.list(target.as_deref());
        listings.map_err(|error| Problem::from(error).field("query.target"))
    });
    let mut answer = BackupList {
        items: Vec::new(),
        unreachable: Vec::new(),
    };
    for listing in listed.await? {
        let Listing {
            target,
            protection,
            listed,
        } = listing;
        match listed {
            Ok(listed) => {
                let views = listed.iter();
                let view = |listed| views::listed_backup(listed, &target, protection);
                answer.items.extend(views.map(view));
            }
            Err(error) => answer.unreachable.push(Unreachable {
                target,
                error: error.to_string(),
            }),
        }
    }
    Ok(HttpResponse::Ok().json(answer))
}

/// One backup: by the log, or by what the targets list.
#[utoipa::path(
    get, path = "/api/v1/backups/{id}", tag = "backups", operation_id = "backup",
    params(("id" = String, Path, description = "The id of the backup")),
    responses(
        (status = 200, description = "What is known of it", body = BackupView),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn show(
    app: Data<App>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let id = backup_id(&id)?;
    let view = blocking(&app, move |running| find(running, id)).await?;
    Ok(HttpResponse::Ok().json(view))
}

fn find(running: &Running, id: BackupId) -> Result<BackupView, Problem> {
    if let Some(view) = running.backup.view(id)? {
        return Ok(view);
    }
    for listing in running.backup.list(None)? {
        let found = listing.listed.into_iter().flatten();
        if let Some(listed) = found.into_iter().find(|listed| listed.manifest.id == id) {
            return Ok(views::listed_backup(
                &listed,
                &listing.target,
                listing.protection,
            ));
        }
    }
    Err(unknown(id))
}

/// Old backups are removed: what the log knows may be gone from its target.
fn is_there(running: &Running, view: &BackupView) -> Result<(), Problem> {
    for listing in running.backup.list(Some(&view.target))? {
        let listed = listing.listed?;
        let is_it = |listed: &Listed| listed.manifest.id.to_string() == view.id;
        if view.status != "completed" || listed.iter().any(is_it) {
            return Ok(());
        }
    }
    let detail = format!("the backup is not in {} any more", view.target);
    Err(Problem::new(&error::GONE, detail).field("path.id"))
}

/// Restore a backup into a scratch directory, replay it and compare its state hash.
#[utoipa::path(
    post, path = "/api/v1/backups/{id}/verify", tag = "backups", operation_id = "verify_backup",
    params(
        ("id" = String, Path, description = "The id of the backup"),
        super::openapi::WaitHeaders,
    ),
    responses(
        (status = 201, description = "It was verified", body = BackupView),
        (status = 202, description = "It is recorded and worked on", body = BackupView),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn verify(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    let (Nothing {}, idempotency) = read(&app, (&request, payload), "backups/verify").await?;
    let id = backup_id(&id)?;
    let identity = identity(&request)?;
    let view = blocking(&app, move |running| {
        let view = find(running, id)?;
        // What was verified before is told also when it has gone since, and that the key is another's.
        if is_known(running, identity.principal, idempotency) {
            return Ok(view);
        }
        is_there(running, &view)?;
        match view.status {
            "completed" => Ok(view),
            other => {
                let detail = format!("the backup is {other}");
                Err(Problem::new(&error::CONFLICT, detail).field("path.id"))
            }
        }
    });
    let view = view.await?;
    let wanted = BackupRequest {
        backup: id,
        identity,
        target: Some(view.target),
        kind: BackupKind::Verification,
        idempotency,
    };
    work_on(&app, &request, wanted).await
}

/// What a restore would do. It is carried out by the command line, once the server is stopped.
#[utoipa::path(
    post, path = "/api/v1/restore", tag = "backups", operation_id = "plan_restore",
    request_body = RestoreBody,
    params(super::openapi::PostHeaders),
    responses(
        (status = 200, description = "The plan, and the command to run", body = RestoreAnswer),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn plan_restore(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    let (asked, _): (RestoreBody, _) = read(&app, (&request, payload), "restore").await?;
    if !asked.dry_run {
        let detail = "a server does not replace the data directory that it has open";
        let problem = Problem::new(&error::INVALID, detail).field("dry_run");
        return Err(problem.hint("send `dry_run: true` for the plan and the command".to_owned()));
    }
    let to = asked.to.unwrap_or_else(|| "latest".to_owned());
    let wanted = wanted(&to).ok_or_else(|| {
        let expected = "a sequence, a time in RFC 3339, `latest` or `latest-verified` is expected";
        Problem::new(&error::INVALID, expected).field("to")
    })?;
    let target = asked.target.unwrap_or_else(|| LOCAL.to_owned());
    let from = target.clone();
    let planned = blocking(&app, move |running| {
        Ok(running.backup.plan(&from, wanted)?)
    })
    .await?;
    let done = (AuditOutcome::Done, to.as_str());
    audit::record(&app, &request, ("restore.plan", &target), done).await?;
    let data_dir = app.config.server.data_dir.display();
    let answer = RestoreAnswer {
        plan: views::restore_plan(&planned),
        command: format!("hindcast restore --from {target} --to {to} --data-dir {data_dir}"),
    };
    Ok(HttpResponse::Ok().json(answer))
}

/// What a text asks to be restored.
pub(crate) fn wanted(text: &str) -> Option<Wanted> {
    match text {
        "latest" => Some(Wanted::Latest),
        "latest-verified" => Some(Wanted::LatestVerified),
        text => {
            let seq = text
                .parse()
                .ok()
                .filter(|seq| (1..=super::events::SEQUENCE_MAX).contains(seq));
            let at = || views::moment(text).map(Wanted::Time);
            seq.map(|seq| Wanted::Seq(hindcast_model::Seq(seq)))
                .or_else(at)
        }
    }
}
