//! Headers and query parameters, read once and in one way: unknown ones are refused with the
//! nearest name, wrong ones are named.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};

use hindcast_log::{BadPosition, Position};
use hindcast_model::{Name16, Seq};

use super::App;
use super::error::{self, Problem};
use crate::config::HttpConfig;
use crate::nearest;

/// How long the caller wants to wait for the end of long work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Answer 202 at once.
    Never,
    /// Answer with the result if it comes in time, else 202.
    UpTo(Duration),
}

/// What the `Prefer` header asks for (RFC 7240). Preferences that are not known are ignored, as
/// the standard demands.
pub(crate) fn wait(request: &HttpRequest, config: &HttpConfig) -> Wait {
    let mut wait = None;
    let mut asynchronous = false;
    for value in request.headers().get_all(&PREFER) {
        for preference in value.to_str().unwrap_or("").split(',') {
            let preference = preference.split(';').next().unwrap_or("").trim();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => asynchronous = true,
                "wait" => wait = wait.or(value.trim().trim_matches('"').parse::<u64>().ok()),
                _ => {}
            }
        }
    }
    let longest = Duration::from_millis(config.wait_max_ms);
    match (wait, asynchronous) {
        (Some(0), _) | (None, true) => Wait::Never,
        (Some(seconds), _) => Wait::UpTo(Duration::from_secs(seconds).min(longest)),
        (None, false) => Wait::UpTo(Duration::from_millis(config.wait_default_ms)),
    }
}

/// The longest time that a request may give itself, in milliseconds: a day.
const DEADLINE_MS_MAX: u64 = 86_400_000;

/// The `Hindcast-Deadline` header: how long after it arrived the answer is of use.
pub(crate) fn deadline(request: &HttpRequest) -> Result<Option<Duration>, Problem> {
    let mut values = request.headers().get_all(&DEADLINE);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let millis = value.to_str().ok().and_then(|text| text.parse().ok());
    match (millis, values.next()) {
        (Some(millis), None) if (1..=DEADLINE_MS_MAX).contains(&millis) => {
            Ok(Some(Duration::from_millis(millis)))
        }
        (_, _) => {
            let detail = format!("whole milliseconds from 1 to {DEADLINE_MS_MAX} are expected");
            let problem = Problem::new(&error::BAD_PARAMETER, detail);
            Err(problem
                .field("header.hindcast-deadline")
                .limit(DEADLINE_MS_MAX))
        }
    }
}

/// The header, in lower case.
const DEADLINE: HeaderName = HeaderName::from_static("hindcast-deadline");

/// Whether the request says that it was sent before and turned away.
pub(crate) fn is_retry(request: &HttpRequest) -> Result<bool, Problem> {
    let mut values = request.headers().get_all(&RETRY_ATTEMPT);
    let Some(value) = values.next() else {
        return Ok(false);
    };
    let attempt = value
        .to_str()
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    match (attempt, values.next()) {
        (Some(attempt), None) if attempt <= RETRY_ATTEMPT_MAX => Ok(attempt > 0),
        (_, _) => {
            let detail = format!("a whole number from 0 to {RETRY_ATTEMPT_MAX} is expected");
            let problem = Problem::new(&error::BAD_PARAMETER, detail);
            Err(problem
                .field("header.hindcast-retry-attempt")
                .limit(RETRY_ATTEMPT_MAX))
        }
    }
}

/// The `Idempotency-Key` header.
pub(crate) fn idempotency_key(
    request: &HttpRequest,
    config: &HttpConfig,
) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all(&IDEMPOTENCY_KEY);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let refused = |detail: &str| {
        Err(Problem::new(&error::BAD_PARAMETER, detail).field("header.idempotency-key"))
    };
    if values.next().is_some() {
        return refused("the header is given more than once");
    }
    let Ok(text) = value.to_str() else {
        return refused("a key is printable ASCII");
    };
    if text.is_empty() {
        return refused("a key is not empty");
    }
    let limit = config.idempotency_key_bytes_max;
    if text.len() > limit {
        let problem = Problem::new(&error::BAD_PARAMETER, "the key is too long");
        return Err(problem.field("header.idempotency-key").limit(limit as u64));
    }
    Ok(Some(text.to_owned()))
}

/// Checks a reason that somebody gives: it stands in the audit trail, a line for each.
pub(crate) fn check_reason(reason: &str, chars_max: usize) -> Result<(), Problem> {
    if reason.chars().count() > chars_max {
        let problem = Problem::new(&error::OVER_LIMIT, "the reason is too long");
        return Err(problem.field("reason").limit(chars_max as u64));
    }
    match reason.chars().any(char::is_control) {
        true => {
            let detail = "a reason has no control characters and is one line";
            Err(Problem::new(&error::INVALID, detail).field("reason"))
        }
        false => Ok(()),
    }
}

/// What a subject may be called.
pub(crate) const SUBJECT_RULE: &str =
    "a subject has 1 to 16 letters, digits, dots, dashes or underscores";

/// A subject by its name, if it is one.
pub(crate) fn subject_name(text: &str) -> Option<Name16> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let good = (1..=16).contains(&text.len()) && text.bytes().all(fits);
    good.then(|| Name16::new(text))
}

/// The `Hindcast-Subject` header: whose data a request holds.
pub(crate) fn subject(request: &HttpRequest) -> Result<Option<Name16>, Problem> {
    let mut values = request.headers().get_all(&SUBJECT);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let name = value.to_str().ok().and_then(subject_name);
    match (name, values.next()) {
        (Some(name), None) => Ok(Some(name)),
        (_, _) => {
            Err(Problem::new(&error::BAD_PARAMETER, SUBJECT_RULE).field("header.hindcast-subject"))
        }
    }
}

/// The `Hindcast-Fallback` header: whether something else may be computed in place of what a circuit
/// breaker does not let pass. `None` when it is not given.
pub(crate) fn fallback(request: &HttpRequest) -> Result<Option<bool>, Problem> {
    let mut values = request.headers().get_all(&FALLBACK);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.as_bytes(), values.next()) {
        (b"allow", None) => Ok(Some(true)),
        (b"never", None) => Ok(Some(false)),
        (_, _) => Err(
            Problem::new(&error::BAD_PARAMETER, "expected allow or never, once")
                .field("header.hindcast-fallback"),
        ),
    }
}

/// The header, in lower case.
pub(crate) static FALLBACK: HeaderName = HeaderName::from_static("hindcast-fallback");

/// The header, in lower case.
pub(crate) static SUBJECT: HeaderName = HeaderName::from_static("hindcast-subject");

const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Times that a request may say it was sent before.
const RETRY_ATTEMPT_MAX: u64 = 1_000_000;
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("hindcast-retry-attempt");
/// The header, in lower case.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether the client accepts an answer of one of these kinds; a missing header accepts all.
pub(crate) fn accepts(request: &HttpRequest, kinds: &[&str]) -> bool {
    let mut values = request.headers().get_all(header::ACCEPT).peekable();
    if values.peek().is_none() {
        return true;
    }
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or("").to_ascii_lowercase();
            let refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
            !refused && kinds.iter().any(|kind| matches_range(&name, kind))
        })
}

fn matches_range(range: &str, kind: &str) -> bool {
    let prefix = |range: &str| {
        range
            .strip_suffix("/*")
            .is_some_and(|major| kind.split('/').next() == Some(major))
    };
    range == "*/*" || range == kind || range == "*" || prefix(range)
}

/// Refuses a request whose client does not read JSON.
pub(crate) fn require_json_accepted(request: &HttpRequest) -> Result<(), Problem> {
    if accepts(request, &["application/json"]) {
        return Ok(());
    }
    let problem = Problem::new(&error::NOT_ACCEPTABLE, "answers are application/json");
    Err(problem.field("header.accept"))
}

/// Whether the client asks for server-sent events, and not merely for anything.
pub(crate) fn wants_events(request: &HttpRequest) -> bool {
    request
        .headers()
        .get_all(header::ACCEPT)
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/event-stream"))
}

/// The query of a request.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// The parameters, all of which have to be among `known`; `needed` ones are not checked here.
    pub(crate) fn read(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let text = request.query_string();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name), decoded(value));
            let (Some(name), Some(value)) = (name, value) else {
                let problem = Problem::new(&error::BAD_PARAMETER, "the query is not UTF-8");
                return Err(problem.field("query"));
            };
            if !known.contains(&name.as_str()) {
                let near = nearest::name(&name, known.iter().copied());
                let problem = Problem::new(&error::BAD_PARAMETER, "unknown parameter")
                    .field(format!("query.{name}"))
                    .hint(match (near, known) {
                        (Some(near), _) => format!("did you mean `{near}`?"),
                        (None, []) => "no parameter is known here".to_owned(),
                        (None, known) => format!("known are: {}", known.join(", ")),
                    });
                return Err(problem);
            }
            if pairs.iter().any(|(other, _)| *other == name) {
                let problem = Problem::new(&error::BAD_PARAMETER, "given more than once");
                return Err(problem.field(format!("query.{name}")));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The parameter as a value of some type.
    pub(crate) fn parse<T: std::str::FromStr>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| wrong(name, expected))
    }

    /// How many items a page shall have.
    pub(crate) fn limit(&self, config: &HttpConfig) -> Result<usize, Problem> {
        let expected = format!("a whole number from 1 to {}", config.page_items_max);
        match self.parse::<usize>("limit", &expected)? {
            None => Ok(config.page_items_default),
            Some(0) => Err(wrong("limit", &expected)),
            Some(limit) if limit > config.page_items_max => {
                let problem = wrong("limit", &expected);
                Err(problem.limit(config.page_items_max as u64))
            }
            Some(limit) => Ok(limit),
        }
    }
}

/// The position that the parameter `cursor` names. One of another log or epoch is refused.
pub(crate) fn cursor(app: &App, query: &Query) -> Result<Option<Seq>, Problem> {
    let Some(text) = query.get("cursor") else {
        return Ok(None);
    };
    position(app, text, "query.cursor").map(Some)
}

/// The position that a cursor stands for in this log.
pub(crate) fn position(app: &App, text: &str, field: &str) -> Result<Seq, Problem> {
    let position: Position = text.parse().map_err(|error: BadPosition| {
        Problem::new(&error::BAD_PARAMETER, error.to_string()).field(field)
    })?;
    let head = app.running()?.log.head();
    let problem = if position.log != head.log {
        let detail = format!(
            "the cursor belongs to log {}, this is {}",
            position.log, head.log
        );
        Problem::new(&error::OTHER_LOG, detail)
    } else if position.epoch != head.epoch {
        let detail = format!(
            "the cursor is of epoch {}, and the log was restored since: this is epoch {}",
            position.epoch, head.epoch
        );
        Problem::new(&error::GONE, detail)
    } else if position.seq > head.seq {
        let detail = format!("the cursor is ahead of the log, which ends at {}", head.seq);
        Problem::new(&error::BAD_PARAMETER, detail)
    } else {
        return Ok(position.seq);
    };
    Err(problem
        .field(field)
        .hint("start again without a cursor".to_owned()))
}

/// The problem of a query parameter whose value is not what was expected.
pub(crate) fn wrong(name: &str, expected: &str) -> Problem {
    Problem::new(&error::BAD_PARAMETER, format!("expected: {expected}"))
        .field(format!("query.{name}"))
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let (byte, after) = match (first, more) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let value = digit(*high)? * 16 + digit(*low)?;
                (u8::try_from(value).ok()?, after)
            }
            (b'%', _) => return None,
            (b'+', after) => (b' ', after),
            (byte, after) => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn prefer(value: &str) -> Wait {
        let request = TestRequest::default().insert_header(("prefer", value));
        wait(&request.to_http_request(), &HttpConfig::default())
    }

    #[test]
    fn prefer_is_read_as_rfc_7240_has_it() {
        let seconds = |n| Wait::UpTo(Duration::from_secs(n));
        assert_eq!(prefer("wait=7"), seconds(7));
        assert_eq!(prefer("handling=strict, Wait = \"7\"; x"), seconds(7));
        assert_eq!(prefer("respond-async"), Wait::Never);
        assert_eq!(prefer("respond-async, wait=2"), seconds(2));
        assert_eq!(prefer("wait=0"), Wait::Never);
        assert_eq!(prefer("wait=99999999"), seconds(300));
        assert_eq!(prefer("wait=soon"), seconds(30));
    }

    #[test]
    fn keys_are_bounded() {
        let read = |value: &str| {
            let request = TestRequest::default().insert_header(("idempotency-key", value));
            idempotency_key(&request.to_http_request(), &HttpConfig::default())
        };
        assert_eq!(read("k-1"), Ok(Some("k-1".to_owned())));
        assert!(read(&"k".repeat(256)).is_err_and(|p| p.to_string().contains("idempotency-key")));
        assert!(read("").is_err());
        let none = TestRequest::default().to_http_request();
        assert_eq!(idempotency_key(&none, &HttpConfig::default()), Ok(None));
    }

    #[test]
    fn accept_ranges_are_honoured() {
        let accepts = |value: &str| {
            let request = TestRequest::default().insert_header(("accept", value));
            accepts(&request.to_http_request(), &["application/json"])
        };
        assert!(accepts("application/json"));
        assert!(accepts("text/html, */*;q=0.1"));
        assert!(accepts("application/*"));
        assert!(!accepts("text/html"));
        assert!(!accepts("application/json;q=0"));
    }

    #[test]
    fn queries_name_what_is_wrong() {
        let read = |query: &str| {
            let request = TestRequest::with_uri(&format!("/x?{query}")).to_http_request();
            Query::read(&request, &["limit", "status"])
        };
        let query = read("limit=3&status=a%20b+c").expect("right");
        assert_eq!(query.get("status"), Some("a b c"));
        let config = HttpConfig::default();
        assert_eq!(query.limit(&config), Ok(3));
        assert_eq!(Query::default().limit(&config), Ok(50));
        for bad in ["limit=0", "limit=501", "limit=x", "limit=-1", "limit="] {
            let problem = read(bad).expect("known").limit(&config).expect_err("wrong");
            assert!(
                problem.to_string().contains("query.limit"),
                "{bad}: {problem}"
            );
        }
        for (bad, field) in [
            ("limt=3", "query.limt"),
            ("limit=3&limit=4", "query.limit"),
            ("status=%", "query"),
            ("status=%ff", "query"),
            ("status=%+1", "query"),
        ] {
            let problem = read(bad).expect_err("wrong");
            assert!(problem.to_string().contains(field), "{bad}: {problem}");
        }
    }
}
