//! Practised restores: what they came to, and asking for one.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::LOCAL;
use hindcast_actors::views::{self, DrillView};
use hindcast_model::Stream;
use hindcast_model::event::AuditOutcome;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::Problem;
use super::parameters::{self, Query};
use super::{App, audit, blocking, body};

/// Drills that are told, the newest.
const DRILLS_MAX: usize = 100;

/// What was practised.
#[derive(Serialize, ToSchema)]
pub(crate) struct DrillList {
    /// When a restore from every target is practised; empty when never.
    schedule: String,
    /// The last hundred, newest first.
    items: Vec<DrillView>,
}

/// What is to be practised.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DrillBody {
    /// `restore`, which is the only one.
    drill: Option<DrillWord>,
    /// A target as for a backup; `local` if left out.
    #[schema(max_length = 1024)]
    target: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum DrillWord {
    Restore,
}

/// That it will be practised.
#[derive(Serialize, ToSchema)]
pub(crate) struct DrillAsked {
    drill: &'static str,
    target: String,
    /// Where its end will be told.
    status_url: &'static str,
}

/// The drills of this server.
#[utoipa::path(
    get, path = "/api/v1/drills", tag = "backups", operation_id = "drills",
    responses(
        (status = 200, description = "What was practised", body = DrillList),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn list(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let listed = blocking(&app, |running| {
        let events = running.log.read_stream(Stream::system("drills"))?;
        Ok(views::drills(&events, DRILLS_MAX))
    });
    Ok(HttpResponse::Ok().json(DrillList {
        schedule: app.config.backup.drill_schedule.clone(),
        items: listed.await?,
    }))
}

/// Practise a restore from a target.
///
/// What the target holds is restored into a scratch directory and opened, while the server works on;
/// what that shows is told by `GET /api/v1/drills`. A target without a backup has nothing to
/// practise with, which is told as its error. Asking again while it waits asks for nothing more.
#[utoipa::path(
    post, path = "/api/v1/drills", tag = "backups", operation_id = "practise",
    request_body = DrillBody,
    params(super::openapi::PostHeaders),
    responses(
        (status = 202, description = "It will be practised", body = DrillAsked),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn practise(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let DrillBody { drill, target } = body::asked(&app, &request, payload).await?;
    let DrillWord::Restore = drill.unwrap_or(DrillWord::Restore);
    let target = target.unwrap_or_else(|| LOCAL.to_owned());
    app.running()?.backup.check_target(&target)?;
    let done = (AuditOutcome::Done, "a restore is practised");
    audit::record(&app, &request, ("drills.practise", &target), done).await?;
    app.running()?.backup.drill(&target)?;
    Ok(HttpResponse::Accepted().json(DrillAsked {
        drill: "restore",
        target,
        status_url: "/api/v1/drills",
    }))
}
