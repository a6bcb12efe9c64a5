//! What this server bears and how much of it is used; what load runs measured comes in here.

mod facts;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use hindcast_model::event::{AuditOutcome, BreakingPoint, CapacityMeasured, Event};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{self, Problem};
use super::parameters::{self, Query};
use super::{App, audit, blocking, body, identity};
use crate::capacity::{
    Advice, Bottleneck, Build, Complexity, Forecast, Measurement, Measurements, Resource, Timed,
    Usage, machine,
};

/// Characters of the name of a scenario, a mix or a rule.
const NAME_CHARS_MAX: usize = 32;
/// Users that a load run may have had.
const USERS_MAX: u32 = 1_000_000;
/// Seconds that it may have taken.
const SECONDS_MAX: f64 = 604_800.0;
/// Requests, and requests per second, that it may have made.
const REQUESTS_MAX: u64 = 1_000_000_000_000;
const RPS_MAX: f64 = 100_000_000.0;
/// Milliseconds that an answer may have taken.
const MS_MAX: f64 = 86_400_000.0;

/// What this server bears, and how much of it is used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Capacity {
    build: Build,
    /// What load runs measured: the last of each build, scenario, mix and number of processors,
    /// newest first; at most 48.
    measurements: Vec<Measurement>,
    resources: Vec<Resource>,
    /// What comes near its end, and computations that take long.
    warnings: Vec<String>,
    /// Over the last five minutes at most; null when the server has just started.
    usage: Option<Usage>,
    bottleneck: Bottleneck,
    advice: Advice,
    forecast: Forecast,
    complexity: Vec<Complexity>,
    /// What computations took in this process.
    operations: Vec<Timed>,
}

/// What a load run measured.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMeasurement {
    /// Such as `sustained`.
    #[schema(min_length = 1, max_length = 32, pattern = "^[a-z0-9_-]+$")]
    scenario: String,
    /// Which requests, such as `cached`.
    #[schema(min_length = 1, max_length = 32, pattern = "^[a-z0-9_-]+$")]
    mix: String,
    /// The most users at once.
    #[schema(minimum = 1, maximum = 1_000_000)]
    users: u32,
    /// How long it took; above 0.
    #[schema(minimum = 0, maximum = 604_800)]
    seconds: f64,
    #[schema(maximum = 1_000_000_000_000_i64)]
    requests: u64,
    #[schema(maximum = 1_000_000_000_000_i64)]
    failures: u64,
    /// Answered with 429 or 503.
    #[schema(maximum = 1_000_000_000_000_i64)]
    turned_away: u64,
    /// Answered requests per second.
    #[schema(minimum = 0, maximum = 100_000_000)]
    rps: f64,
    #[schema(minimum = 0, maximum = 86_400_000)]
    p50_ms: f64,
    #[schema(minimum = 0, maximum = 86_400_000)]
    p95_ms: f64,
    #[schema(minimum = 0, maximum = 86_400_000)]
    p99_ms: f64,
    /// Where the server broke; left out when it held.
    #[serde(default)]
    breaking_point: Option<NewBreakingPoint>,
}

/// The first sign that the server broke.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBreakingPoint {
    /// Such as `latency`.
    #[schema(min_length = 1, max_length = 32, pattern = "^[a-z0-9_-]+$")]
    rule: String,
    #[schema(maximum = 1_000_000)]
    users: u32,
    #[schema(minimum = 0, maximum = 604_800)]
    after_s: f64,
}

/// What the server bears and how much of it is used: measurements, resources with what is left of
/// them, what binds, whether to grow, what will be in some months, and what grows with its input.
#[utoipa::path(
    get, path = "/api/v1/capacity", tag = "operations", operation_id = "capacity",
    responses(
        (status = 200, description = "The capacity", body = Capacity),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn show(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let permit = super::history::admit(&app)?;
    let own = app.clone();
    let found = blocking(&app, move |running| {
        let _permit = permit;
        facts::gather(&own, running)
    });
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(found.await?))
}

/// Record what a load run measured. What the build and its machine are, the server says itself.
#[utoipa::path(
    post, path = "/api/v1/capacity/measurements", tag = "operations",
    operation_id = "record_measurement",
    params(super::openapi::PostHeaders),
    request_body = NewMeasurement,
    responses(
        (status = 201, description = "The measurement as it is recorded", body = Measurement),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn record(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    let sent: NewMeasurement = body::asked(&app, &request, payload).await?;
    sent.check()?;
    let beside = request
        .peer_addr()
        .is_some_and(|address| address.ip().is_loopback());
    let recorder = app.metrics.recorder();
    let about = actix_web::web::block(move || (machine::binary(), machine::memory(recorder)));
    let (binary, memory) = about
        .await
        .map_err(|error| Problem::new(&error::INTERNAL, error.to_string()))?;
    let event = sent.event(binary, memory, beside);
    let command = identity(&request)?.command(Event::CapacityMeasured(event.clone()));
    let receipt = running.experiment.submit(command.into()).await?;
    let target = format!("{} {}", event.scenario, event.mix);
    let reason = format!("{} users, {:.0} requests/s", event.users, sent.rps);
    let done = (AuditOutcome::Done, reason.as_str());
    audit::record(&app, &request, ("capacity.record", &target), done).await?;
    let mut one = Measurements::default();
    one.add((receipt.first.0, receipt.at), &event);
    let shown = one.newest_first().into_iter().next();
    Ok(HttpResponse::Created()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(shown))
}

impl NewMeasurement {
    fn check(&self) -> Result<(), Problem> {
        name("scenario", &self.scenario)?;
        name("mix", &self.mix)?;
        let most = u64::from(USERS_MAX);
        whole("users", u64::from(self.users), (1, most))?;
        number("seconds", self.seconds, SECONDS_MAX)?;
        whole("requests", self.requests, (0, REQUESTS_MAX))?;
        let given = self.failures.saturating_add(self.turned_away);
        if given > self.requests {
            let message = "failures and turned_away are more than requests";
            return Err(Problem::new(&error::INVALID, message).field("failures"));
        }
        number("rps", self.rps, RPS_MAX)?;
        for (field, value, least) in [
            ("p50_ms", self.p50_ms, 0.0),
            ("p95_ms", self.p95_ms, self.p50_ms),
            ("p99_ms", self.p99_ms, self.p95_ms),
        ] {
            number(field, value, MS_MAX)?;
            if value < least {
                let message = "is below a lower percentile";
                return Err(Problem::new(&error::INVALID, message).field(field));
            }
        }
        if let Some(point) = &self.breaking_point {
            name("breaking_point.rule", &point.rule)?;
            whole("breaking_point.users", u64::from(point.users), (0, most))?;
            number("breaking_point.after_s", point.after_s, SECONDS_MAX)?;
        }
        Ok(())
    }

    fn event(
        &self,
        binary: Option<hindcast_model::Digest>,
        memory: Option<u64>,
        beside: bool,
    ) -> CapacityMeasured {
        CapacityMeasured {
            scenario: self.scenario.clone(),
            mix: self.mix.clone(),
            binary_version: env!("CARGO_PKG_VERSION").to_owned(),
            binary,
            cores: machine::cores(),
            memory_bytes: memory.unwrap_or(0),
            beside,
            users: self.users,
            span_micros: thousandths(self.seconds * 1e3),
            requests: self.requests,
            failures: self.failures,
            turned_away: self.turned_away,
            rate_milli: thousandths(self.rps),
            p50_micros: thousandths(self.p50_ms),
            p95_micros: thousandths(self.p95_ms),
            p99_micros: thousandths(self.p99_ms),
            breaking: self.breaking_point.as_ref().map(|point| BreakingPoint {
                rule: point.rule.clone(),
                users: point.users,
                after_micros: thousandths(point.after_s * 1e3),
            }),
        }
    }
}

fn name(field: &str, text: &str) -> Result<(), Problem> {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'_' | b'-');
    if text.len() > NAME_CHARS_MAX {
        let problem = Problem::new(&error::OVER_LIMIT, "is too long").field(field);
        return Err(problem.limit(NAME_CHARS_MAX as u64));
    }
    match !text.is_empty() && text.bytes().all(fits) {
        true => Ok(()),
        false => {
            let message = "a name of lower case letters, digits, - and _ is expected";
            Err(Problem::new(&error::INVALID, message).field(field))
        }
    }
}

fn whole(field: &str, value: u64, (least, most): (u64, u64)) -> Result<(), Problem> {
    if value < least {
        let message = format!("is below {least}");
        return Err(Problem::new(&error::INVALID, message).field(field));
    }
    match value <= most {
        true => Ok(()),
        false => Err(Problem::new(&error::OVER_LIMIT, "is too large")
            .field(field)
            .limit(most)),
    }
}

fn number(field: &str, value: f64, most: f64) -> Result<(), Problem> {
    if !value.is_finite() || value < 0.0 {
        let message = "a number of at least 0 is expected";
        return Err(Problem::new(&error::INVALID, message).field(field));
    }
    match value <= most {
        true => Ok(()),
        false => Err(Problem::new(&error::OVER_LIMIT, "is too large")
            .field(field)
            .limit(thousandths(most / 1e3))),
    }
}

/// Whole thousandths of a number that was checked.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is at least 0 and bounded"
)]
fn thousandths(value: f64) -> u64 {
    (value * 1e3).round() as u64
}
