//! A snapshot at once, beside those that the policy takes.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use hindcast_model::event::AuditOutcome;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::audit;
use super::error::{self, Problem};
use super::parameters::{self, Query};
use crate::{clock, snapshots};

/// A snapshot that is on the disk.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Taken {
    /// The last event in the state.
    seq: u64,
    bytes: u64,
    /// Its file, below the data directory of the server.
    file: String,
    milliseconds: u64,
}

/// Take a snapshot now.
///
/// The server takes them by itself (`log.snapshot_events` and what stands beside it); this is for
/// who wants the next start to be quick, or a moment to be near one.
#[utoipa::path(
    post, path = "/-/snapshot", tag = "lifecycle", operation_id = "take_snapshot",
    params(super::openapi::PostHeaders),
    responses(
        (status = 200, description = "It is on the disk", body = Taken),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn take(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    audit::record(
        &app,
        &request,
        ("snapshots.take", ""),
        (AuditOutcome::Done, ""),
    )
    .await?;
    let begun = clock::monotonic_micros();
    let taken = snapshots::take_snapshot(&running.log, &app.config).await;
    let taken = taken.map_err(|why| Problem::new(&error::UNAVAILABLE, why).retry_after(10))?;
    let name = taken.path.file_name().unwrap_or_default();
    Ok(HttpResponse::Ok().json(Taken {
        seq: taken.seq.0,
        bytes: taken.bytes,
        file: format!("snapshots/{}", name.to_string_lossy()),
        milliseconds: clock::monotonic_micros().saturating_sub(begun) / 1_000,
    }))
}
