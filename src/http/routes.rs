//! Every path and what answers it. A method that a path does not offer is answered with 405 and
//! the ones that it does, an unknown path with 404; both as problems.

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::{Compress, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App as WebApp, Error, HttpRequest, Resource, Route, guard};

use super::error::{self, Problem};
use super::repeated::once;
use super::{
    App, backups, breakers, cache, cacheable, capacity, causal, datasets, debug, drills, events,
    experiments, health, history, keys, lifecycle, observe, pages, privacy, profile, runs, slo,
    snapshots, vaults, whatif,
};

const GET: &str = "GET, HEAD";
const POST: &str = "POST";
const PATCH: &str = "PATCH";
const GET_POST: &str = "GET, HEAD, POST";
const GET_PUT_DELETE: &str = "GET, HEAD, PUT, DELETE";

/// The application of one worker.
pub fn application(
    app: Data<App>,
) -> WebApp<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    >,
> {
    WebApp::new()
        .app_data(app)
        .configure(routes)
        .default_service(web::route().to(unknown_path))
        .wrap(from_fn(observe::observe))
}

fn routes(config: &mut ServiceConfig) {
    config
        .service(at("/", GET).route(get().to(pages::landing)))
        .service(at("/docs", GET).route(get().to(pages::docs)))
        .service(
            web::scope("/openapi.json")
                .wrap(Compress::default())
                .service(at("", GET).route(get().to(pages::openapi))),
        )
        .service(
            web::scope("/metrics")
                .wrap(Compress::default())
                .service(at("", GET).route(get().to(health::metrics))),
        )
        .service(
            web::scope("/model-metrics")
                .wrap(Compress::default())
                .service(at("", GET).route(get().to(health::model_metrics))),
        )
        .service(at("/health", GET).route(get().to(health::health)))
        .service(at("/health/live", GET).route(get().to(health::live)))
        .service(at("/health/ready", GET).route(get().to(health::ready)))
        .service(at("/health/startup", GET).route(get().to(health::startup)))
        .service(at("/api/v1/causal/discover", POST).route(web::post().to(causal::discover)))
        .service(at("/api/v1/causal/validate", POST).route(web::post().to(causal::validate)))
        .service(at("/api/v1/causal/paths", POST).route(web::post().to(causal::paths)))
        .service(at("/api/v1/redactions", POST).route(once(web::post().to(privacy::redact))))
        .service(at("/debug/actors", GET).route(get().to(debug::actors)))
        .service(at("/debug/memory", GET).route(get().to(debug::memory)))
        .service(at("/debug/config", GET).route(get().to(debug::config)))
        .service(at("/debug/profile", POST).route(once(web::post().to(profile::take))))
        .service(at("/debug/traces", GET).route(get().to(debug::traces)))
        .configure(caches)
        .configure(guarded)
        .configure(measured)
        .configure(lifecycle)
        .configure(access)
        .configure(stored)
        .configure(kept)
        .configure(history);
}

/// The caches.
fn caches(config: &mut ServiceConfig) {
    config
        .service(at("/cache/stats", GET).route(get().to(cache::stats)))
        .service(
            at("/cache/cacheable-report", GET_POST)
                .route(get().to(cacheable::report))
                .route(once(web::post().to(cacheable::question))),
        )
        .service(
            at("/cache/{name}/invalidate", POST).route(once(web::post().to(cache::invalidate))),
        )
        .service(at("/cache/{name}/warm", POST).route(once(web::post().to(cache::warm))))
        .service(at("/cache/{name}", PATCH).route(web::patch().to(cache::resize)));
}

/// Circuit breakers, the services behind them, and objectives.
fn guarded(config: &mut ServiceConfig) {
    config
        .service(at("/health/services", GET).route(get().to(breakers::services)))
        .service(at("/health/circuit-breakers", GET).route(get().to(breakers::health)))
        .service(
            at("/health/circuit-breakers/{name}", POST)
                .route(once(web::post().to(breakers::command))),
        )
        .service(at("/api/v1/breakers", GET).route(get().to(breakers::list)))
        .service(at("/api/v1/breakers/{name}", GET).route(get().to(breakers::show)))
        .service(at("/api/v1/breakers/{name}/history", GET).route(get().to(breakers::history)))
        .service(
            at("/api/v1/breakers/{name}/simulate", POST)
                .route(once(web::post().to(breakers::simulate))),
        )
        .service(at("/api/v1/slo", GET).route(get().to(slo::list)))
        .service(at("/api/v1/slo/{name}", GET).route(get().to(slo::show)));
}

/// What the server bears.
fn measured(config: &mut ServiceConfig) {
    config
        .service(at("/api/v1/capacity", GET).route(get().to(capacity::show)))
        .service(
            at("/api/v1/capacity/measurements", POST).route(once(web::post().to(capacity::record))),
        );
}

/// The life of the process.
fn lifecycle(config: &mut ServiceConfig) {
    config
        .service(at("/-/healthy", GET).route(get().to(lifecycle::healthy)))
        .service(at("/-/ready", GET).route(get().to(lifecycle::ready)))
        .service(at("/-/reload", POST).route(once(web::post().to(lifecycle::reload))))
        .service(at("/-/snapshot", POST).route(once(web::post().to(snapshots::take))))
        .service(at("/-/logs/rotate", POST).route(once(web::post().to(lifecycle::rotate_logs))))
        .service(at("/-/quit", POST).route(once(web::post().to(lifecycle::quit))));
}

/// Who may do what.
fn access(config: &mut ServiceConfig) {
    config
        .service(
            at("/api/v1/keys", GET_POST)
                .route(get().to(keys::list))
                .route(once(web::post().to(keys::create))),
        )
        .service(at("/api/v1/keys/{name}/revoke", POST).route(once(web::post().to(keys::revoke))));
}

fn stored(config: &mut ServiceConfig) {
    config
        .service(
            at("/api/v1/datasets", GET_POST)
                .route(get().to(datasets::list))
                .route(web::post().to(datasets::add)),
        )
        .service(at("/api/v1/datasets/{digest}", GET).route(get().to(datasets::show)))
        .service(
            at("/api/v1/experiments", GET_POST)
                .route(get().to(experiments::list))
                .route(web::post().to(experiments::create)),
        )
        .service(at("/api/experiments/stats", GET).route(get().to(experiments::unversioned_stats)))
        .service(at("/api/v1/experiments/stats", GET).route(get().to(experiments::stats)))
        .service(at("/api/v1/experiments/{id}", GET).route(get().to(experiments::show)))
        .service(
            at("/api/v1/experiments/{id}/cancel", POST)
                .route(once(web::post().to(experiments::cancel))),
        );
}

/// Backups and what can be made of them.
fn kept(config: &mut ServiceConfig) {
    config
        .service(
            at("/api/v1/backups", GET_POST)
                .route(get().to(backups::list))
                .route(web::post().to(backups::create)),
        )
        .service(at("/api/v1/backups/{id}", GET).route(get().to(backups::show)))
        .service(at("/api/v1/backups/{id}/verify", POST).route(web::post().to(backups::verify)))
        .service(
            at("/api/v1/drills", GET_POST)
                .route(get().to(drills::list))
                .route(once(web::post().to(drills::practise))),
        )
        .service(at("/api/v1/restore", POST).route(once(web::post().to(backups::plan_restore))))
        .service(at("/api/v1/vaults/{name}/objects", GET).route(get().to(vaults::list)))
        .service(
            at("/api/v1/vaults/{name}/objects/{object}*", GET_PUT_DELETE)
                .route(get().to(vaults::read))
                .route(web::put().to(vaults::put))
                .route(web::delete().to(vaults::remove)),
        );
}

fn history(config: &mut ServiceConfig) {
    config
        .service(at("/api/v1/runs", GET).route(get().to(runs::list)))
        .service(at("/api/v1/runs/{id}", GET).route(get().to(runs::show)))
        .service(at("/api/v1/runs/{id}/cancel", POST).route(once(web::post().to(runs::cancel))))
        .service(at("/api/v1/runs/{id}/events", GET).route(get().to(runs::progress)))
        .service(at("/api/v1/events", GET).route(get().to(events::list)))
        .service(at("/api/v1/events/{sequence}", GET).route(get().to(events::show)))
        .service(at("/api/v1/state/all", GET).route(get().to(history::whole)))
        .service(at("/api/v1/state/all/diff", GET).route(get().to(history::whole_difference)))
        .service(at("/api/v1/state/{kind}/{id}", GET).route(get().to(history::stream)))
        .service(
            at("/api/v1/state/{kind}/{id}/diff", GET).route(get().to(history::stream_difference)),
        )
        .service(at("/api/v1/whatif", POST).route(once(web::post().to(whatif::ask))))
        .service(at("/api/v1/provenance/{id}", GET).route(get().to(history::provenance)));
}

/// A path that offers the methods in `allow` and refuses every other.
fn at(path: &str, allow: &'static str) -> Resource {
    let refuse = move |request: HttpRequest| async move {
        let detail = format!("{} is not offered here", request.method());
        let problem = Problem::new(&error::METHOD_NOT_ALLOWED, detail).allow(allow);
        Err::<actix_web::HttpResponse, Problem>(problem)
    };
    web::resource(path.to_owned()).default_service(web::route().to(refuse))
}

/// GET, and HEAD with the same head and no body.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn unknown_path(request: HttpRequest) -> Result<actix_web::HttpResponse, Problem> {
    let problem = Problem::new(
        &error::NOT_FOUND,
        format!("nothing is at {}", request.path()),
    );
    Err(problem.hint("/docs lists what there is".to_owned()))
}
