//! Why requests are answered from the cache of results, or not.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::operation::LabError;
use hindcast_actors::{CacheableReport, CacheableRequest, Operation};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::error::Problem;
use super::parameters::{self, Query, wrong};
use super::{App, blocking, body};

/// Events that a report looks at when a request does not say how many.
const REPORT_EVENTS: u64 = 10_000;
const REPORT_EVENTS_MAX: u64 = 200_000;

/// A request that nobody has sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CacheableQuestion {
    /// Such as `causal.discover`.
    #[schema(max_length = 64)]
    operation: String,
    /// The body as it would be sent.
    #[schema(value_type = Object)]
    request: Value,
}

/// Why the newest requests were answered from the cache of results, or not.
#[utoipa::path(
    get, path = "/cache/cacheable-report", tag = "cache", operation_id = "cacheable_report",
    params(
        ("events" = Option<u64>, Query, minimum = 1, maximum = 200000,
            description = "How many of the newest events are looked at; 10,000 if left out"),
    ),
    responses(
        (status = 200, description = "Why, with counts and shares", body = CacheableReport),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn report(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.running()?;
    let query = Query::read(&request, &["events"])?;
    parameters::require_json_accepted(&request)?;
    let expected = format!("a whole number from 1 to {REPORT_EVENTS_MAX}");
    let events = query.parse("events", &expected)?.unwrap_or(REPORT_EVENTS);
    if !(1..=REPORT_EVENTS_MAX).contains(&events) {
        return Err(wrong("events", &expected).limit(REPORT_EVENTS_MAX));
    }
    let permit = super::history::admit(&app)?;
    let report = blocking(&app, move |running| {
        let _permit = permit;
        Ok(running.experiment.cacheable_report(events)?)
    });
    Ok(HttpResponse::Ok().json(report.await?))
}

/// Whether a request would be answered from the cache of results, and under which key. Nothing is
/// computed, and nothing recorded.
#[utoipa::path(
    post, path = "/cache/cacheable-report", tag = "cache", operation_id = "is_cacheable",
    params(super::openapi::PostHeaders),
    request_body = CacheableQuestion,
    responses(
        (status = 200, description = "Whether it would", body = CacheableRequest),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn question(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let CacheableQuestion {
        operation,
        request: body,
    } = body::asked(&app, &request, payload).await?;
    let subject = parameters::subject(&request)?.is_some();
    let found = blocking(&app, move |running| {
        let read = Operation::parse(&operation, body);
        let found = read.and_then(|operation| running.experiment.cacheable(&operation, subject));
        Ok(found.map_err(within_request)?)
    });
    Ok(HttpResponse::Ok().json(found.await?))
}

/// The fields of the body that was asked about stand below `request`.
fn within_request(error: LabError) -> LabError {
    let below = |field: String| match field.as_str() {
        "operation" => field,
        "body" => "request".to_owned(),
        _ => format!("request.{field}"),
    };
    match error {
        LabError::Invalid {
            field,
            message,
            hint,
        } => LabError::Invalid {
            field: below(field),
            message,
            hint,
        },
        LabError::TooLarge {
            field,
            actual,
            limit,
        } => LabError::TooLarge {
            field: below(field),
            actual,
            limit,
        },
        other @ (LabError::Stopped(_)
        | LabError::FailedVerification { .. }
        | LabError::Internal(_)) => other,
    }
}
