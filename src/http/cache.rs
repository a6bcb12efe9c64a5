//! The caches: what they hold, and how often they had it.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::{CacheStats, ResultCacheStats};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::error::Problem;
use super::parameters::{self, Query};

/// Every cache.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Caches {
    /// Results by what they are a function of.
    pub(crate) results: ResultCacheStats,
    /// Parsed datasets with their second moments.
    pub(crate) datasets: CacheStats,
}

/// What the caches hold, and how often they had it.
#[utoipa::path(
    get, path = "/cache/stats", tag = "health", operation_id = "cache_stats",
    responses(
        (status = 200, description = "The caches", body = Caches),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn stats(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    Ok(HttpResponse::Ok().json(Caches {
        results: running.experiment.results(),
        datasets: running.computation.stats().cache,
    }))
}
