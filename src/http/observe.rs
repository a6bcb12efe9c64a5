//! Around every request: its trace, its metrics, its log line, the limits that need no body, and
//! the one form in which errors are written.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future as _, poll_fn};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderName;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpRequest};

use hindcast_actors::trace::{self, Open, Origin, Place};

use super::App;
use super::body;
use super::error::{self, Problem};
use super::guard;
use super::rate::Left;
use super::unended;
use super::vaults;
use crate::metrics::{Apart, Route};
use crate::trace_context::TraceContext;
use crate::{clock, telemetry};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The route of requests that no route matches.
const UNMATCHED: &str = "unmatched";

/// The trace of a request that went through [`observe`].
pub(crate) fn trace(request: &HttpRequest) -> TraceContext {
    let known = request.extensions().get::<TraceContext>().copied();
    known.unwrap_or_else(TraceContext::fresh)
}

/// The middleware.
pub(crate) async fn observe<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = clock::now();
    let kept = unended::keep(&mut request);
    let app = request.app_data::<Data<App>>().cloned();
    let app = app.expect("every server is built with its state");
    let header = request.headers().get(&TRACEPARENT).cloned();
    let trace = TraceContext::continued(header.as_ref().and_then(|value| value.to_str().ok()));
    request.extensions_mut().insert(trace);
    let place = traced(&request, trace);
    let mut span = place.as_ref().map(|place| {
        let parent = header
            .as_ref()
            .and_then(|value| value.to_str().ok()?.parse::<TraceContext>().ok());
        place.whole(parent.map_or(0, |parent| parent.span), "http.request")
    });
    let route = route(&app, &request);
    let active = app.metrics.request();
    let admitted = match check_head(&request, &app) {
        Ok(()) => guard::admit(&app, &request, template(route)).await,
        Err(problem) => Err(problem),
    };
    let mut response = match admitted {
        Ok(()) => {
            let mut answer = Box::pin(next.call(request));
            let answered =
                poll_fn(|context| trace::within(place.as_ref(), || answer.as_mut().poll(context)));
            answered.await?.map_into_boxed_body()
        }
        Err(problem) => request.error_response(problem),
    };
    drop(active);
    let answering = place.as_ref().map(|place| place.child("answer"));
    let problem = problem_of(&response);
    if let Some(problem) = &problem {
        response = response.into_response(problem.respond(&trace.trace_id()));
    }
    response.headers_mut().insert(TRACEPARENT, trace.header());
    let left = response.request().extensions().get::<Left>().copied();
    if let Some(left) = left {
        left.tell(response.headers_mut());
    }
    drop(answering);
    trace::within(place.as_ref(), || {
        record((&app, route), &response, problem.as_ref(), trace, started);
    });
    if let Some(span) = &mut span {
        describe(span, (&response, route), problem.as_ref());
    }
    Ok(unended::until_answered(response, kept))
}

/// The route of a request. Where nothing varies in it, it is known by the path when it was asked for
/// before: to look for it takes as long as much of the rest.
fn route(app: &App, request: &ServiceRequest) -> &'static Route {
    thread_local! {
        static FIXED: RefCell<BTreeMap<&'static str, &'static Route>> = RefCell::default();
    }
    let path = request.path();
    if let Some(known) = FIXED.with_borrow(|fixed| fixed.get(path).copied()) {
        return known;
    }
    let template = request.match_pattern();
    let route = app.metrics.route(template.as_deref().unwrap_or(UNMATCHED));
    if route.path == path {
        FIXED.with_borrow_mut(|fixed| fixed.insert(&route.path, route));
    }
    route
}

/// How the route is written, if there is one.
fn template(route: &'static Route) -> Option<&'static str> {
    Some(route.path.as_str()).filter(|path| *path != UNMATCHED)
}

/// The place of a request in its trace, unless nobody wants to know. Those that come every few
/// seconds, to see how the server is, say nothing by their traces.
fn traced(request: &ServiceRequest, context: TraceContext) -> Option<Place> {
    let path = request.path();
    let quiet = path.starts_with("/health") || path == "/metrics" || path == "/model-metrics";
    if quiet || !telemetry::traced() {
        return None;
    }
    Some(Place::begin(Origin {
        trace: context.trace,
        span: context.span,
        sampled: context.sampled,
        wall_micros: clock::wall().0,
        monotonic: clock::monotonic_micros,
        sink: telemetry::finished,
    }))
}

/// What is known of a request when it is answered.
fn describe(
    span: &mut Open,
    (response, route): (&ServiceResponse<BoxBody>, &'static Route),
    problem: Option<&Problem>,
) {
    let request = response.request();
    let status = response.status().as_u16();
    span.set("http.request.method", request.method().as_str().to_owned());
    span.set("url.path", request.path().to_owned());
    if let Some(template) = template(route) {
        span.set("http.route", template);
    }
    span.set("http.response.status_code", u64::from(status));
    if status >= 500 {
        let why = problem.map_or_else(|| status.to_string(), ToString::to_string);
        span.fail(why);
    }
}

fn check_head(request: &ServiceRequest, app: &App) -> Result<(), Problem> {
    let http = &app.config.http;
    let bytes: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > http.header_bytes_max {
        let problem = Problem::new(&error::HEADERS_TOO_LARGE, "too many bytes of header fields");
        return Err(problem.limit(http.header_bytes_max as u64).closing());
    }
    if request.path().starts_with(vaults::PREFIX) {
        // Objects have a bound of their own, which is looked at before a byte is read as well.
        return Ok(());
    }
    body::check_announced(request.request(), http)
}

/// The problem that an answer stands for: ours, or that of an error of the framework.
fn problem_of(response: &ServiceResponse<BoxBody>) -> Option<Problem> {
    if let Some(error) = response.response().error() {
        let framework = || error::from_framework(response.status(), &error.to_string());
        return Some(
            error
                .as_error::<Problem>()
                .cloned()
                .unwrap_or_else(framework),
        );
    }
    let status = response.status();
    let written = response.headers().contains_key("content-type");
    (status.as_u16() >= 400 && !written).then(|| {
        error::from_framework(
            status,
            status.canonical_reason().unwrap_or("no more is known"),
        )
    })
}

fn record(
    (app, route): (&App, &'static Route),
    response: &ServiceResponse<BoxBody>,
    problem: Option<&Problem>,
    trace: TraceContext,
    started: std::time::Instant,
) {
    let took = clock::now().duration_since(started);
    let status = response.status().as_u16();
    let request = response.request();
    let path = route.path.as_str();
    let apart = apart(path, status, problem);
    let method = request.method().as_str();
    route.observe(method, (status, apart), took, trace.trace);
    match apart {
        // Who asks whether the server is ready, and is told that it is not, was answered.
        Some(Apart::Probe) => {}
        Some(apart) => route.error(apart.word()),
        None if status >= 400 => {
            let slug = problem.map_or("", |problem| problem.kind().slug);
            route.error(class(status, slug));
            if let Some(rule) = problem.filter(|_| matches!(status, 400 | 413 | 415 | 422)) {
                let rule = rule.kind().slug;
                metrics::counter!("data_validation_failures_total", "rule" => rule).increment(1);
            }
        }
        None => {}
    }
    if let Some(problem) = problem.filter(|problem| apart.is_none() && !problem.is_counted()) {
        count_shed(app, problem.kind().status);
    }
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if status == error::INTERNAL.status {
        let trace_id = trace.trace_id();
        let problem = problem.map(ToString::to_string);
        tracing::error!(
            trace_id,
            method,
            path,
            status,
            micros,
            problem,
            "request failed"
        );
    } else if tracing::enabled!(tracing::Level::DEBUG) {
        let trace_id = trace.trace_id();
        tracing::debug!(trace_id, method, path, status, micros, "request answered");
    }
}

/// What was turned away before it was recorded goes into one event a second.
fn count_shed(app: &App, status: u16) {
    let Some(running) = app.running.get() else {
        return;
    };
    match status {
        401 => running.experiment.count_unauthenticated(),
        429 | 503 | 504 | 507 => running.experiment.count_overloaded(),
        400 | 408 | 413 | 415 | 422 | 431 => running.experiment.count_malformed(),
        _ => {}
    }
}

/// Why an answer is no failure of the server, whatever its status.
fn apart(path: &str, status: u16, problem: Option<&Problem>) -> Option<Apart> {
    match problem {
        Some(problem) if problem.kind() == &error::CALLER_DEADLINE => Some(Apart::CallerDeadline),
        None if status == 503 && path.starts_with("/health") => Some(Apart::Probe),
        Some(_) | None => None,
    }
}

/// The class of a failed request, by its status and the kind of problem.
fn class(status: u16, slug: &str) -> &'static str {
    match status {
        _ if slug.contains("breaker") || slug.contains("circuit") => "breaker_open",
        // Its sender's own doing.
        429 if slug == error::RATE_LIMITED.slug => "client",
        408 | 504 => "timeout",
        429 | 503 | 507 => "overload",
        400..=499 => "client",
        _ => "server",
    }
}
