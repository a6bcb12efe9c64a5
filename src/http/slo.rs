//! Service level objectives: what was measured, what is left of the budgets, and whether one is frozen.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::history::{self, Source};
use hindcast_actors::views::{self, SloList, SloView};
use serde::Serialize;

use super::App;
use super::error::{self, Problem};
use super::history::{answer, moment};
use super::parameters::{self, Query};

fn no_store(body: impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(body)
}

async fn found(app: &Data<App>, request: &HttpRequest) -> Result<SloList, Problem> {
    let running = app.running()?;
    let query = Query::read(request, &["at"])?;
    parameters::require_json_accepted(request)?;
    if query.get("at").is_none() {
        return Ok(running.log.state(views::slo_list));
    }
    let when = moment(&query, "at")?;
    let work = move |source: &dyn Source| history::slos(source, when);
    answer(app, "name", work).await
}

/// The service level objectives: targets, what was counted, error budgets and how fast they go.
///
/// Everything is counted from the figures that the log holds. Where nothing was counted a share is
/// null.
#[utoipa::path(
    get, path = "/api/v1/slo", tag = "operations", operation_id = "list_slos",
    params(("at" = Option<String>, Query, description = "The sequence of an event, or a time in RFC 3339; the end of the log if left out")),
    responses(
        (status = 200, description = "All objectives, by name", body = SloList),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn list(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Ok(no_store(found(&app, &request).await?))
}

/// One service level objective.
#[utoipa::path(
    get, path = "/api/v1/slo/{name}", tag = "operations", operation_id = "show_slo",
    params(
        ("name" = String, Path, description = "The objective's name"),
        ("at" = Option<String>, Query, description = "The sequence of an event, or a time in RFC 3339; the end of the log if left out"),
    ),
    responses(
        (status = 200, description = "The objective", body = SloView),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn show(
    app: Data<App>,
    request: HttpRequest,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let mut items = found(&app, &request).await?.items;
    match items.iter().position(|item| item.name == *name) {
        Some(place) => Ok(no_store(items.swap_remove(place))),
        None => {
            let names: Vec<String> = items.into_iter().map(|item| item.name).collect();
            let detail = format!("there is no objective '{name}'");
            let hint = match names.is_empty() {
                true => "no objectives are configured: see [slo]".to_owned(),
                false => format!("there are {}", names.join(", ")),
            };
            let problem = Problem::new(&error::NOT_FOUND, detail).field("path.name");
            Err(problem.hint(hint))
        }
    }
}
