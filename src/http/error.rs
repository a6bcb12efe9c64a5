//! What a client is told when something is wrong: RFC 9457 problem details. This is the one place
//! that maps an error to a status.

use std::fmt;

use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::{HttpResponse, ResponseError};
use hindcast_actors::SubmitFailure;
use hindcast_actors::operation::{LabError, plain};
use hindcast_log::{CommitError, LogError, PayloadError};
use hindcast_model::breaker::BreakerState;
use hindcast_model::{Refusal, RunId};
use serde::Serialize;
use utoipa::ToSchema;

use super::causal::REPLAYED;
use super::hints;

/// A refused or failed request. The body is written by the middleware, which knows the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem(Box<Facts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    kind: &'static Kind,
    detail: String,
    field: Option<String>,
    hint: Option<String>,
    limit: Option<u64>,
    run: Option<RunId>,
    retry_after_seconds: Option<u64>,
    allow: Option<&'static str>,
    challenge: Option<&'static str>,
    closes: bool,
    counted: bool,
    replayed: bool,
}

/// A kind of problem: what stays the same over all its occurrences.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) status: u16,
    pub(crate) slug: &'static str,
    pub(crate) title: &'static str,
}

macro_rules! kinds {
    ($($name:ident $status:literal $slug:literal $title:literal;)*) => {
        $(pub(crate) const $name: Kind = Kind { status: $status, slug: $slug, title: $title };)*

        /// Every kind, for the documentation.
        pub(crate) const KINDS: &[&Kind] = &[$(&$name),*];
    };
}

kinds! {
    MALFORMED 400 "malformed" "The request cannot be read";
    BAD_PARAMETER 400 "bad-parameter" "A parameter or header of the request is wrong";
    UNAUTHENTICATED 401 "unauthenticated" "It is not known who asks";
    FORBIDDEN 403 "forbidden" "Who asks may not do this";
    NOT_FOUND 404 "not-found" "There is no such thing";
    METHOD_NOT_ALLOWED 405 "method-not-allowed" "The method is not offered here";
    NOT_ACCEPTABLE 406 "not-acceptable" "The answer cannot be given in a form that is accepted";
    BODY_TIMEOUT 408 "body-timeout" "The body took too long to arrive";
    CONFLICT 409 "conflict" "The request does not fit the state of the resource";
    CANCELLED 409 "cancelled" "The run was cancelled";
    OTHER_LOG 409 "other-log" "The position belongs to another log";
    GONE 410 "gone" "It was there and cannot be read any more";
    PRUNED 410 "pruned" "The events are removed from this log";
    TOO_LARGE 413 "too-large" "The request is over a limit of size";
    MEDIA_TYPE 415 "media-type" "The body is of a kind that is not read here";
    INVALID 422 "invalid" "A field of the request is wrong";
    OVER_LIMIT 422 "over-limit" "A field of the request is over a limit";
    KEY_REUSED 422 "idempotency-key-reused" "The idempotency key was used with another body";
    UNKNOWN_DATASET 422 "unknown-dataset" "The dataset is not there";
    RATE_LIMITED 429 "rate-limited" "Too many requests in too little time";
    HEADERS_TOO_LARGE 431 "headers-too-large" "The header fields are over the limit";
    INTERNAL 500 "internal" "Something went wrong here";
    BACKUP_FAILED 502 "backup-failed" "The target of backups does not do what it is asked to";
    BREAKER_OPEN 503 "breaker-open" "A circuit breaker lets nothing pass at present";
    BUSY 503 "busy" "The server is at its limit";
    STARTING 503 "starting" "The server is starting";
    UNAVAILABLE 503 "unavailable" "The server cannot do this at the moment";
    DEADLINE 504 "deadline-exceeded" "The run took longer than it may";
    CALLER_DEADLINE 504 "caller-deadline" "The time that the request gave has passed";
    DISK_LOW 507 "disk-low" "There is not enough disk space";
    VAULT_FULL 507 "vault-full" "The vault has no room for this";
}

/// The body of every answer with a status of 400 or more.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemDetails {
    /// A stable name of the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:hindcast:problem:invalid")]
    pub(crate) kind: String,
    /// The kind of problem in words; the same for each occurrence.
    pub(crate) title: &'static str,
    /// The status of the answer.
    pub(crate) status: u16,
    /// What is wrong this time.
    pub(crate) detail: String,
    /// The field at fault, as a path such as `data[3][1]`, `query.limit` or `header.prefer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) field: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) hint: Option<String>,
    /// The limit that was passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) limit: Option<u64>,
    /// The run that failed, if one was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) run_id: Option<String>,
    /// The trace to which the request belongs, as in the log.
    pub(crate) trace_id: String,
}

impl Problem {
    pub(crate) fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Facts {
            kind,
            detail: detail.into(),
            field: None,
            hint: None,
            limit: None,
            run: None,
            retry_after_seconds: None,
            allow: None,
            challenge: None,
            closes: false,
            counted: false,
            replayed: false,
        }))
    }

    #[must_use]
    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.0.hint = hint.into();
        self
    }

    #[must_use]
    pub(crate) fn limit(mut self, limit: u64) -> Self {
        self.0.limit = Some(limit);
        self
    }

    /// The run that the problem is about.
    #[must_use]
    pub(crate) fn run(mut self, run: RunId) -> Self {
        self.0.run = Some(run);
        self
    }

    #[must_use]
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    #[must_use]
    pub(crate) fn allow(mut self, methods: &'static str) -> Self {
        self.0.allow = Some(methods);
        self
    }

    /// How to prove who one is, for `WWW-Authenticate`.
    #[must_use]
    pub(crate) fn challenge(mut self, challenge: &'static str) -> Self {
        self.0.challenge = Some(challenge);
        self
    }

    /// The connection cannot be used on, because the request was not read to its end.
    #[must_use]
    pub(crate) fn closing(mut self) -> Self {
        self.0.closes = true;
        self
    }

    /// The refusal stands in the log or was counted where it arose, so it is not counted again
    /// among the requests turned away.
    #[must_use]
    pub(crate) fn counted(mut self) -> Self {
        self.0.counted = true;
        self
    }

    /// It is the answer of an earlier request with the same idempotency key.
    #[must_use]
    pub(crate) fn replayed(mut self) -> Self {
        self.0.replayed = true;
        self
    }

    #[must_use]
    pub(crate) fn is_counted(&self) -> bool {
        self.0.counted
    }

    #[must_use]
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    #[must_use]
    pub(crate) fn kind(&self) -> &'static Kind {
        self.0.kind
    }

    /// The whole answer.
    #[must_use]
    pub(crate) fn respond(&self, trace_id: &str) -> HttpResponse {
        let own_hint = || hints::of(self.0.kind, self.0.allow);
        let details = ProblemDetails {
            kind: format!("urn:hindcast:problem:{}", self.0.kind.slug),
            title: self.0.kind.title,
            status: self.0.kind.status,
            detail: self.0.detail.clone(),
            field: self.0.field.clone(),
            hint: self.0.hint.clone().or_else(own_hint),
            limit: self.0.limit,
            run_id: self.0.run.map(|run| run.to_string()),
            trace_id: trace_id.to_owned(),
        };
        let body = serde_json::to_string(&details).expect("plain data");
        let mut builder = HttpResponse::build(self.status_code());
        builder.content_type("application/problem+json");
        if let Some(seconds) = self.0.retry_after_seconds {
            builder.insert_header((header::RETRY_AFTER, seconds));
        }
        if self.0.replayed {
            builder.insert_header((REPLAYED, "true"));
        }
        if let Some(methods) = self.0.allow {
            builder.insert_header((header::ALLOW, HeaderValue::from_static(methods)));
        }
        if let Some(challenge) = self.0.challenge {
            builder.insert_header((
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            ));
        }
        let mut response = builder.body(body);
        if self.0.closes {
            let head = response.head_mut();
            head.set_connection_type(ConnectionType::Close);
        }
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.field {
            Some(field) => write!(f, "{}: {field}: {}", self.0.kind.title, self.0.detail),
            None => write!(f, "{}: {}", self.0.kind.title, self.0.detail),
        }
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.kind.status).expect("every kind has a valid status")
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

/// The problem that an error of the framework stands for.
pub(crate) fn from_framework(status: StatusCode, message: &str) -> Problem {
    let kind = match status.as_u16() {
        404 => &NOT_FOUND,
        405 => &METHOD_NOT_ALLOWED,
        406 => &NOT_ACCEPTABLE,
        408 => &BODY_TIMEOUT,
        413 => &TOO_LARGE,
        415 => &MEDIA_TYPE,
        400..=499 => &MALFORMED,
        503 => &UNAVAILABLE,
        _ => &INTERNAL,
    };
    Problem::new(kind, message)
}

/// Seconds after which to look again when only a person can change what is wrong.
const PERSON_SECONDS: u64 = 60;

/// The problem of a log that takes nothing, and why.
pub(crate) fn read_only(why: &str) -> Problem {
    let problem = Problem::new(&UNAVAILABLE, format!("the log is read-only: {why}"));
    problem
        .hint("reads are answered; writing begins with another start of the server".to_owned())
        .retry_after(PERSON_SECONDS)
}

/// The problem of a body that is not JSON.
pub(crate) fn malformed_json(error: serde_json::Error) -> Problem {
    Problem::new(&MALFORMED, error.to_string()).field("body")
}

/// The problem of JSON that does not fit, at `path`.
pub(crate) fn unfitting_json(path: &str, error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    // An unknown or missing field is named by the message, not by the path to its parent.
    let named = message
        .strip_prefix("unknown field `")
        .or_else(|| message.strip_prefix("missing field `"))
        .and_then(|rest| rest.split_once('`'))
        .map(|(name, _)| name.to_owned());
    let field = match (path, named) {
        (".", Some(name)) => name,
        (".", None) => "body".to_owned(),
        (path, Some(name)) if path.ends_with(&name) => path.to_owned(),
        (path, Some(name)) => format!("{path}.{name}"),
        (path, None) => path.to_owned(),
    };
    invalid(field, plain(&message), None)
}

/// The problem of a wrong field. A field that is not known gets the nearest name as a hint.
pub(crate) fn invalid(field: String, message: String, hint: Option<String>) -> Problem {
    let hint = hint.or_else(|| hints::of_field(&message));
    Problem::new(&INVALID, message).field(field).hint(hint)
}

impl From<LabError> for Problem {
    fn from(error: LabError) -> Self {
        match error {
            LabError::Invalid {
                field,
                message,
                hint,
            } => invalid(field, message, hint),
            LabError::TooLarge {
                field,
                actual,
                limit,
            } => Self::new(
                &OVER_LIMIT,
                format!("{actual} is over the limit of {limit}"),
            )
            .field(field)
            .hint(format!("at most {limit} are allowed here"))
            .limit(limit),
            LabError::Stopped(_) => Self::new(&UNAVAILABLE, "the computation was stopped"),
            error @ LabError::FailedVerification { .. } => Self::new(&INTERNAL, error.to_string()),
            LabError::Internal(message) => Self::new(&INTERNAL, message),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let problem = match refusal {
            Refusal::RunExists(_) => Self::new(&CONFLICT, detail),
            Refusal::QueueFull { limit, .. } => Self::new(&BUSY, detail)
                .limit(u64::from(limit))
                .retry_after(1),
            Refusal::IdempotencyKeyReused => {
                Self::new(&KEY_REUSED, detail).field("header.idempotency-key")
            }
            Refusal::UnknownDataset(_) => Self::new(&UNKNOWN_DATASET, detail)
                .field("dataset")
                .hint("POST the data to /api/v1/datasets first".to_owned()),
            Refusal::DiskLow { reserve_bytes, .. } => Self::new(&DISK_LOW, detail)
                .limit(reserve_bytes)
                .retry_after(60),
            Refusal::TooMany { what, limit, .. } if what.starts_with("open") => {
                Self::new(&BUSY, detail).limit(limit).retry_after(5)
            }
            Refusal::TooMany { what, limit, .. } => {
                Self::new(&OVER_LIMIT, detail).field(what).limit(limit)
            }
            Refusal::BreakerOpen {
                breaker,
                state,
                retry_micros,
            } => Self::new(&BREAKER_OPEN, detail)
                .retry_after(match retry_micros.div_ceil(1_000_000) {
                    // Until somebody thinks otherwise.
                    0 if state == BreakerState::ForcedOpen => PERSON_SECONDS,
                    seconds => seconds.max(1),
                })
                .hint(format!(
                    "GET /api/v1/breakers/{breaker} tells why; `Hindcast-Fallback: allow` takes \
                     another algorithm where one is configured"
                )),
        };
        problem.counted()
    }
}

impl From<SubmitFailure> for Problem {
    fn from(failure: SubmitFailure) -> Self {
        let detail = failure.to_string();
        match failure {
            SubmitFailure::Busy { retry_after, .. } => Self::new(&BUSY, detail)
                .retry_after(retry_after.as_secs().max(1))
                .counted(),
            SubmitFailure::Refused(refusal) => refusal.into(),
            SubmitFailure::Unavailable(_) => Self::new(&UNAVAILABLE, detail).retry_after(1),
            SubmitFailure::Invalid(error) => error.into(),
            SubmitFailure::Sealed(_) => Self::new(&GONE, detail),
            SubmitFailure::Log(error) => Self::from_commit(&error, detail),
        }
    }
}

impl Problem {
    fn from_commit(error: &CommitError, detail: String) -> Self {
        match error {
            CommitError::VersionConflict { .. } => Self::new(&CONFLICT, detail),
            CommitError::TooLarge { limit, .. } => Self::new(&OVER_LIMIT, detail)
                .field("body")
                .limit(*limit as u64),
            CommitError::NoRoom(_) => Self::new(&DISK_LOW, detail).retry_after(60),
            CommitError::ReadOnly(why) => read_only(why),
            CommitError::Closed => Self::new(&UNAVAILABLE, detail),
            CommitError::Panicked(_) => Self::new(&INTERNAL, detail),
        }
    }
}

impl From<PayloadError> for Problem {
    fn from(wrong: PayloadError) -> Self {
        match wrong {
            PayloadError::Sealed(_) => {
                Self::new(&GONE, format!("what was stored is sealed: {wrong}"))
            }
            PayloadError::Blob(_) | PayloadError::NotText => {
                Self::new(&INTERNAL, wrong.to_string())
            }
        }
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        if let LogError::Pruned(gap) = &error {
            return Self::new(&PRUNED, gap.to_string()).hint(gap.hint());
        }
        Self::new(&INTERNAL, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_distinct_and_have_error_statuses() {
        for (index, kind) in KINDS.iter().enumerate() {
            assert!((400..600).contains(&kind.status), "{}", kind.slug);
            assert!(KINDS[..index].iter().all(|other| other.slug != kind.slug));
        }
    }

    #[actix_web::test]
    async fn a_problem_is_written_as_rfc_9457_has_it() {
        let problem = Problem::new(&INVALID, "'x' is not a node")
            .field("graph.directed[0][1]")
            .hint("name it in `nodes`".to_owned())
            .limit(7)
            .retry_after(3);
        let response = problem.respond("0af7");
        assert_eq!(response.status(), 422);
        assert_eq!(
            response.headers().get("content-type").expect("set"),
            "application/problem+json"
        );
        assert_eq!(response.headers().get("retry-after").expect("set"), "3");
        let body = actix_web::body::to_bytes(response.into_body()).await;
        assert_eq!(
            body.expect("a body"),
            concat!(
                r#"{"type":"urn:hindcast:problem:invalid","title":"A field of the request is wrong","#,
                r#""status":422,"detail":"'x' is not a node","field":"graph.directed[0][1]","#,
                r#""hint":"name it in `nodes`","limit":7,"trace_id":"0af7"}"#
            )
        );
    }
}
