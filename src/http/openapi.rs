//! The OpenAPI 3.1 document, generated from the handlers and the types that they read and write.

use std::collections::BTreeMap;

use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder, ResponsesBuilder};
use utoipa::{IntoParams, IntoResponses, OpenApi};

use super::error::{KINDS, ProblemDetails};
use super::{
    backups, breakers, cache, cacheable, capacity, causal, datasets, debug, drills, events,
    experiments, health, history, keys, lifecycle, privacy, profile, runs, slo, snapshots, vaults,
    whatif,
};
use crate::answer::Answer;

/// Headers of a request for a computation.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes the headers")]
pub(crate) struct LabHeaders {
    /// `wait=N` waits up to N seconds for the result; `respond-async` does not wait.
    #[param(rename = "Prefer", example = "wait=10")]
    prefer: Option<String>,
    /// A request that is repeated with the same key and body gets the answer of the first.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$"
    )]
    idempotency_key: Option<String>,
    /// Whether something else may be computed when a circuit breaker does not let this pass: `allow`
    /// or `never`; the configuration says if this is left out.
    #[param(rename = "Hindcast-Fallback", pattern = "^(allow|never)$")]
    fallback: Option<String>,
    /// Milliseconds after which the answer is of no use: the run has then failed.
    #[param(rename = "Hindcast-Deadline", minimum = 1, maximum = 86_400_000)]
    deadline: Option<u64>,
    /// How often the same request was sent before and turned away.
    #[param(rename = "Hindcast-Retry-Attempt", minimum = 0, maximum = 1_000_000)]
    retry_attempt: Option<u32>,
    /// W3C trace context; its trace id becomes the correlation id of the events.
    traceparent: Option<String>,
}

/// Headers of a request for a backup.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes the headers")]
pub(crate) struct WaitHeaders {
    /// `wait=N` waits up to N seconds for the result; `respond-async` does not wait.
    #[param(rename = "Prefer", example = "wait=10")]
    prefer: Option<String>,
    /// A request that is repeated with the same key and body gets the answer of the first.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$"
    )]
    idempotency_key: Option<String>,
    /// W3C trace context; its trace id becomes the correlation id of the events.
    traceparent: Option<String>,
}

/// Headers of any other POST.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it only describes the headers")]
pub(crate) struct PostHeaders {
    /// A request that is repeated with the same key and body gets the answer of the first.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$"
    )]
    idempotency_key: Option<String>,
    /// Whose data the request holds: they are sealed under a key of this subject's own.
    #[param(
        rename = "Hindcast-Subject",
        min_length = 1,
        max_length = 16,
        pattern = "^[A-Za-z0-9._-]+$"
    )]
    subject: Option<String>,
    /// W3C trace context; its trace id becomes the correlation id of the events.
    traceparent: Option<String>,
}

/// Parameters of every list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it only describes the parameters")]
pub(crate) struct PageParameters {
    /// How many items; 50 if left out.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// The answers that every operation may give when something is wrong.
pub(crate) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut builder = ResponsesBuilder::new();
        let mut described: BTreeMap<u16, Vec<String>> = BTreeMap::new();
        for kind in KINDS {
            let line = format!("{} (`{}`)", kind.title, kind.slug);
            described.entry(kind.status).or_default().push(line);
        }
        for (status, lines) in described {
            let content = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name("ProblemDetails")))
                .build();
            let response = ResponseBuilder::new()
                .description(lines.join("; "))
                .content("application/problem+json", content);
            builder = builder.response(status.to_string(), response);
        }
        builder.build().into()
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hindcast",
        description = "Causal experiments over an event log that can be replayed.\n\n\
            Every answer with a status of 400 or more is an RFC 9457 problem: it names the \
            offending field, the limit and what to do. Every POST takes an Idempotency-Key: \
            repeated with it, a request is answered as before, with Idempotency-Replayed. Long \
            work answers within `Prefer: wait=N` or with 202, a Location and progress as \
            server-sent events.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        causal::discover,
        causal::validate,
        causal::paths,
        datasets::add,
        datasets::list,
        datasets::show,
        experiments::create,
        experiments::list,
        experiments::show,
        experiments::cancel,
        experiments::stats,
        experiments::unversioned_stats,
        runs::list,
        runs::show,
        runs::cancel,
        runs::progress,
        events::list,
        events::show,
        history::whole,
        history::whole_difference,
        history::stream,
        history::stream_difference,
        history::provenance,
        whatif::ask,
        backups::create,
        backups::list,
        backups::show,
        backups::verify,
        backups::plan_restore,
        drills::list,
        drills::practise,
        vaults::list,
        vaults::read,
        vaults::put,
        vaults::remove,
        health::health,
        health::live,
        health::ready,
        health::startup,
        breakers::list,
        breakers::health,
        breakers::services,
        breakers::show,
        breakers::command,
        breakers::history,
        breakers::simulate,
        slo::list,
        slo::show,
        health::metrics,
        health::model_metrics,
        cache::stats,
        cacheable::report,
        cacheable::question,
        cache::invalidate,
        cache::warm,
        cache::resize,
        capacity::show,
        capacity::record,
        privacy::redact,
        lifecycle::healthy,
        lifecycle::ready,
        lifecycle::reload,
        lifecycle::quit,
        lifecycle::rotate_logs,
        snapshots::take,
        keys::create,
        keys::list,
        keys::revoke,
        debug::actors,
        debug::memory,
        debug::config,
        debug::traces,
        profile::take,
    ),
    components(schemas(
        Answer<'static>,
        ProblemDetails,
        hindcast_actors::operation::Discovery,
        hindcast_actors::operation::Validation,
        hindcast_actors::operation::PathsAnswer,
    ))
)]
struct Document;

/// The document as JSON.
#[must_use]
pub fn document() -> String {
    let mut document = Document::openapi();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.to_json().expect("a document is plain data")
}
