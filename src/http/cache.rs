//! The caches: what they hold, how often they had it, and what can be asked of them.

use std::time::Duration;

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::operation::Operation;
use hindcast_actors::{CacheStats, Resize, ResultCacheStats, Selector};
use hindcast_model::event::{CacheCommanded, CacheVerb, Event};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::error::{self, Problem};
use super::parameters::{self, Query};
use super::{App, body, identity};

/// Characters of a reason, at most.
const REASON_CHARS_MAX: usize = 256;
/// Results that go in a second when a request does not say how many.
const PER_SECOND: u32 = 100;
const PER_SECOND_MAX: u32 = 100_000;
/// Results that are warmed when a request does not say how many.
const WARM_RUNS: u64 = 1_000;
const WARM_RUNS_MAX: u64 = 100_000;
const BYTES_MAX: u64 = 64 << 30;
const ENTRIES_MAX: u64 = 100_000_000;
const AGE_MS_MAX: u64 = 365 * 24 * 3_600 * 1_000;

/// Every cache.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Caches {
    /// Results by what they are a function of.
    pub(crate) results: ResultCacheStats,
    /// Parsed datasets with their second moments.
    pub(crate) datasets: CacheStats,
}

/// Which of the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Results,
    Datasets,
}

impl Name {
    fn read(text: &str) -> Result<Self, Problem> {
        match text {
            "results" => Ok(Self::Results),
            "datasets" => Ok(Self::Datasets),
            other => {
                let detail = format!("there is no cache '{other}'");
                let problem = Problem::new(&error::NOT_FOUND, detail).field("path.name");
                Err(problem.hint("there are results and datasets".to_owned()))
            }
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Results => "results",
            Self::Datasets => "datasets",
        }
    }
}

/// What is to go.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invalidation {
    /// What is meant. The cache of datasets knows `all`, and `prefix` or `dataset` of a digest.
    select: Selector,
    /// Results that go in a second, so that not all of them have to be computed at once; 100 if this
    /// is left out. Those that have not gone yet are still answered with: none is ever stale.
    /// Datasets are few, and go at once.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100000)]
    per_second: Option<u32>,
    /// Why, in at most 256 characters. It stays readable in the log.
    #[serde(default)]
    #[schema(max_length = 256)]
    reason: String,
}

/// An invalidation that has begun.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InvalidationBegun {
    cache: &'static str,
    /// Its number in `invalidations` of `/cache/stats`; null of datasets, which have gone.
    id: Option<u64>,
    /// What is meant and in memory. Results on disk are listed next.
    selected: u64,
    /// Computations under way whose result will not be kept.
    in_flight: u64,
    /// Null of datasets.
    per_second: Option<u32>,
}

/// What is to be read back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WarmRequest {
    /// Results at most, those first that were asked for most often; 1,000 if this is left out.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100000)]
    runs_max: Option<u64>,
    /// Why, in at most 256 characters. It stays readable in the log.
    #[serde(default)]
    #[schema(max_length = 256)]
    reason: String,
}

/// Other bounds. What is left out stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ResizeRequest {
    /// Bytes in memory.
    #[schema(maximum = 68_719_476_736_i64)]
    bytes_max: Option<u64>,
    /// Results in memory; 0 sets no limit. Not for datasets, as all that follow.
    #[schema(maximum = 100000000)]
    entries_max: Option<u64>,
    /// Milliseconds that a result is in memory.
    #[schema(maximum = 31_536_000_000_i64)]
    age_max_ms: Option<u64>,
    /// Milliseconds that a result is in memory after its last use.
    #[schema(maximum = 31_536_000_000_i64)]
    idle_max_ms: Option<u64>,
    /// Bytes of entries on disk.
    #[schema(maximum = 68_719_476_736_i64)]
    disk_bytes_max: Option<u64>,
    /// Milliseconds for which a result is read back.
    #[schema(maximum = 31_536_000_000_i64)]
    disk_age_max_ms: Option<u64>,
    /// Why, in at most 256 characters. It stays readable in the log.
    #[schema(max_length = 256)]
    reason: String,
}

fn caches(app: &App) -> Result<Caches, Problem> {
    let running = app.running()?;
    Ok(Caches {
        results: running.experiment.results(),
        datasets: running.computation.stats().cache,
    })
}

/// What the caches hold, and how often they had it.
#[utoipa::path(
    get, path = "/cache/stats", tag = "cache", operation_id = "cache_stats",
    responses(
        (status = 200, description = "The caches", body = Caches),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn stats(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    Ok(HttpResponse::Ok().json(caches(&app)?))
}

/// Records what was asked of a cache; durable when this returns.
async fn record(
    app: &App,
    request: &HttpRequest,
    (name, verb): (Name, CacheVerb),
    (detail, reason): (Value, String),
) -> Result<(), Problem> {
    parameters::check_reason(&reason, REASON_CHARS_MAX)?;
    let event = Event::CacheCommanded(CacheCommanded {
        cache: name.word().to_owned(),
        verb,
        detail: detail.to_string(),
        reason,
    });
    let command = identity(request)?.command(event);
    app.running()?.experiment.submit(command.into()).await?;
    Ok(())
}

fn over(field: &'static str, limit: u64) -> Problem {
    let problem = Problem::new(&error::OVER_LIMIT, "the number is over the limit");
    problem.field(field).limit(limit)
}

fn within(field: &'static str, value: Option<u64>, limit: u64) -> Result<(), Problem> {
    match value {
        Some(value) if value > limit => Err(over(field, limit)),
        Some(_) | None => Ok(()),
    }
}

fn above_zero(field: &'static str, value: Option<u64>) -> Result<(), Problem> {
    match value {
        Some(0) => Err(Problem::new(&error::INVALID, "has to be above 0").field(field)),
        Some(_) | None => Ok(()),
    }
}

fn not_of_datasets(field: &str) -> Problem {
    let detail = "the cache of datasets has nothing of the kind";
    Problem::new(&error::INVALID, detail).field(field)
}

/// Remove results, or datasets, from a cache, a few at a time.
///
/// An event says who asked for it. Results that are being computed and are meant are not kept either.
#[utoipa::path(
    post, path = "/cache/{name}/invalidate", tag = "cache", operation_id = "invalidate_cache",
    params(
        ("name" = String, Path, description = "`results` or `datasets`"),
        super::openapi::PostHeaders,
    ),
    request_body = Invalidation,
    responses(
        (status = 200, description = "It has begun", body = InvalidationBegun),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn invalidate(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let name = Name::read(&name)?;
    let Invalidation {
        select,
        per_second,
        reason,
    } = body::asked(&app, &request, payload).await?;
    select.check().map_err(|(field, message)| {
        Problem::new(&error::INVALID, message).field(format!("select.{field}"))
    })?;
    known(&select)?;
    let rate = per_second.map(u64::from);
    above_zero("per_second", rate)?;
    within("per_second", rate, u64::from(PER_SECOND_MAX))?;
    let per_second = per_second.unwrap_or(PER_SECOND);
    let detail = match name {
        Name::Results => json!({ "select": select, "per_second": per_second }),
        Name::Datasets => json!({ "select": select }),
    };
    let prefix = match name {
        Name::Results => None,
        Name::Datasets => dataset_prefix(&select)?,
    };
    let command = (name, CacheVerb::Invalidate);
    record(&app, &request, command, (detail, reason)).await?;
    let running = app.running()?;
    let begun = match name {
        Name::Datasets => InvalidationBegun {
            cache: name.word(),
            id: None,
            selected: running.computation.forget_datasets(prefix.as_deref()),
            in_flight: 0,
            per_second: None,
        },
        Name::Results => {
            let begun = running.experiment.invalidate_results(select, per_second);
            let begun = begun.ok_or_else(too_many)?;
            InvalidationBegun {
                cache: name.word(),
                id: Some(begun.id),
                selected: begun.selected,
                in_flight: begun.in_flight,
                per_second: Some(per_second),
            }
        }
    };
    Ok(HttpResponse::Ok().json(begun))
}

/// What is selected by a name that nothing has would be nothing, which is no wish that anybody has.
fn known(select: &Selector) -> Result<(), Problem> {
    let refuse = |field: &str, given: &str, known: &[&str]| {
        let problem = Problem::new(&error::INVALID, format!("there is no {field} `{given}`"));
        let hint = format!("there are {}", known.join(", "));
        Err(problem.field(format!("select.{field}")).hint(hint))
    };
    if let Some(given) = &select.operation
        && !Operation::NAMES.contains(&given.as_str())
    {
        return refuse("operation", given, &Operation::NAMES);
    }
    let algorithms: Vec<&str> = Operation::algorithms().collect();
    if let Some(given) = &select.algorithm {
        let name = given.split_once('/').map_or(&**given, |(name, _)| name);
        if !algorithms.contains(&name) {
            return refuse("algorithm", given, &algorithms);
        }
    }
    Ok(())
}

fn too_many() -> Problem {
    let detail =
        "as much is being done with the cache as may be at once; it is recorded, not begun";
    Problem::new(&error::BUSY, detail)
        .hint("/cache/stats shows how far it is".to_owned())
        .retry_after(5)
}

/// The digits that the digests of the datasets begin with that are meant; none means all.
fn dataset_prefix(select: &Selector) -> Result<Option<String>, Problem> {
    let strange = [
        ("select.operation", select.operation.is_some()),
        ("select.algorithm", select.algorithm.is_some()),
        ("select.experiment", select.experiment.is_some()),
    ];
    if let Some((field, _)) = strange.iter().find(|(_, given)| *given) {
        return Err(not_of_datasets(field));
    }
    match (&select.prefix, &select.dataset) {
        (Some(_), Some(_)) => {
            let detail = "is named beside the whole digest";
            Err(Problem::new(&error::INVALID, detail).field("select.prefix"))
        }
        (Some(prefix), None) => Ok(Some(prefix.clone())),
        (None, dataset) => Ok(dataset.clone()),
    }
}

/// Read recorded results back into memory, those first that were asked for most often.
///
/// It goes on in the background, takes room that is free and no more, and ends by itself;
/// `/cache/stats` shows how far it is. An event says who asked for it.
#[utoipa::path(
    post, path = "/cache/{name}/warm", tag = "cache", operation_id = "warm_cache",
    params(
        ("name" = String, Path, description = "`results`"),
        super::openapi::PostHeaders,
    ),
    request_body = WarmRequest,
    responses(
        (status = 200, description = "It has begun", body = hindcast_actors::WarmStats),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn warm(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let name = Name::read(&name)?;
    let WarmRequest { runs_max, reason } = body::asked(&app, &request, payload).await?;
    if name == Name::Datasets {
        let detail = "a dataset is read when a run needs it; only results are warmed";
        return Err(Problem::new(&error::NOT_FOUND, detail).field("path.name"));
    }
    above_zero("runs_max", runs_max)?;
    within("runs_max", runs_max, WARM_RUNS_MAX)?;
    let runs_max = runs_max.unwrap_or(WARM_RUNS);
    let detail = json!({ "runs_max": runs_max });
    record(&app, &request, (name, CacheVerb::Warm), (detail, reason)).await?;
    let begun = app.running()?.experiment.warm_results(runs_max);
    Ok(HttpResponse::Ok().json(begun.ok_or_else(too_many)?))
}

/// Give a cache other bounds until the server ends.
///
/// What is over them goes at once. The keys of `[cache]` need a restart to change, so that a reload
/// leaves this as it is; a restart takes what the configuration says. An event says who asked for it.
#[utoipa::path(
    patch, path = "/cache/{name}", tag = "cache", operation_id = "resize_cache",
    params(("name" = String, Path, description = "`results` or `datasets`")),
    request_body = ResizeRequest,
    responses(
        (status = 200, description = "The caches as they are then", body = Caches),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn resize(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let name = Name::read(&name)?;
    let wish: ResizeRequest = body::asked(&app, &request, payload).await?;
    let detail = checked(name, &wish)?;
    let command = (name, CacheVerb::Resize);
    record(&app, &request, command, (detail, wish.reason)).await?;
    let running = app.running()?;
    match (name, wish.bytes_max) {
        (Name::Datasets, Some(bytes_max)) => running.computation.resize_datasets(bytes_max),
        (Name::Datasets, None) => {}
        (Name::Results, bytes_max) => running.experiment.resize_results(Resize {
            bytes_max,
            entries_max: wish.entries_max,
            age_max: wish.age_max_ms.map(Duration::from_millis),
            idle_max: wish.idle_max_ms.map(Duration::from_millis),
            disk_bytes_max: wish.disk_bytes_max,
            disk_age_max: wish.disk_age_max_ms.map(Duration::from_millis),
        }),
    }
    Ok(HttpResponse::Ok().json(caches(&app)?))
}

/// What the wish says, as it is recorded.
fn checked(name: Name, wish: &ResizeRequest) -> Result<Value, Problem> {
    let fields = [
        ("bytes_max", wish.bytes_max, BYTES_MAX),
        ("entries_max", wish.entries_max, ENTRIES_MAX),
        ("age_max_ms", wish.age_max_ms, AGE_MS_MAX),
        ("idle_max_ms", wish.idle_max_ms, AGE_MS_MAX),
        ("disk_bytes_max", wish.disk_bytes_max, BYTES_MAX),
        ("disk_age_max_ms", wish.disk_age_max_ms, AGE_MS_MAX),
    ];
    let mut said = serde_json::Map::new();
    for (field, value, limit) in fields {
        within(field, value, limit)?;
        if let Some(value) = value {
            if name == Name::Datasets && field != "bytes_max" {
                return Err(not_of_datasets(field));
            }
            said.insert(field.to_owned(), json!(value));
        }
    }
    if said.is_empty() {
        let detail = "no bound is named";
        return Err(Problem::new(&error::INVALID, detail).field("bytes_max"));
    }
    Ok(Value::Object(said))
}
