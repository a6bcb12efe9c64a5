//! Bodies of requests, with every limit checked before memory is spent: the announced length at
//! once, the real one while it streams, the time it takes, and how deep JSON nests.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::StreamExt;
use hindcast_model::Digest;
use hindcast_model::event::Idempotency;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::App;
use super::error::{self, Problem};
use super::parameters::{self, Query};
use super::unique::{self, Unfit};
use crate::config::HttpConfig;

/// Bodies up to this size are not counted against the memory for all bodies.
const SMALL_BYTES: u64 = 64 * 1024;
const UNIT_BYTES: u64 = 1024;
/// How many bodies of the largest size may be in memory at once.
const LARGEST_BODIES: u64 = 4;

/// Memory for the bodies of all requests together.
#[derive(Clone)]
pub(crate) struct BodyMemory(Arc<Semaphore>);

impl BodyMemory {
    pub(crate) fn new(config: &HttpConfig) -> Self {
        let units = config.body_bytes_max.saturating_mul(LARGEST_BODIES) / UNIT_BYTES;
        let units = usize::try_from(units).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    fn take(&self, bytes: u64) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        if bytes <= SMALL_BYTES {
            return Ok(None);
        }
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        let permit = self.0.clone().try_acquire_many_owned(units);
        permit.map(Some).map_err(|_| {
            Problem::new(&error::BUSY, "too many large requests at once")
                .retry_after(1)
                .closing()
        })
    }
}

/// A whole body, and its share of the memory until it is dropped.
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    _share: Vec<OwnedSemaphorePermit>,
}

/// The media type of the body, without parameters.
pub(crate) fn media_type(request: &HttpRequest) -> String {
    let value = request.headers().get(header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    let name = text.split(';').next().unwrap_or("");
    name.trim().to_ascii_lowercase()
}

/// Refuses a body that says it is too large before a byte of it is read.
pub(crate) fn check_announced(request: &HttpRequest, config: &HttpConfig) -> Result<(), Problem> {
    let value = request.headers().get(header::CONTENT_LENGTH);
    let announced = value.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(bytes) if bytes > config.body_bytes_max => Err(too_large(config)),
        Some(_) | None => Ok(()),
    }
}

/// The problem of a body over the limit.
pub(crate) fn too_large(config: &HttpConfig) -> Problem {
    Problem::new(
        &error::TOO_LARGE,
        "the body has more bytes than are read here",
    )
    .field("body")
    .limit(config.body_bytes_max)
    .hint("send less, or raise http.body_bytes_max".to_owned())
    .closing()
}

/// Reads the whole body.
pub(crate) async fn read(
    request: &HttpRequest,
    payload: Payload,
    memory: &BodyMemory,
    config: &HttpConfig,
) -> Result<Body, Problem> {
    check_announced(request, config)?;
    require_plain(request)?;
    let deadline = Duration::from_millis(config.body_timeout_ms);
    let mut reading = pin!(collect(payload, memory, config));
    // A small body is there with its head: no timer is made for it.
    if let Poll::Ready(read) = futures_util::poll!(reading.as_mut()) {
        return read;
    }
    match tokio::time::timeout(deadline, reading).await {
        Ok(read) => read,
        Err(_) => {
            let problem = Problem::new(&error::BODY_TIMEOUT, "the body did not arrive in time");
            Err(problem
                .field("body")
                .limit(config.body_timeout_ms)
                .closing())
        }
    }
}

async fn collect(
    mut payload: Payload,
    memory: &BodyMemory,
    config: &HttpConfig,
) -> Result<Body, Problem> {
    let mut share: Vec<OwnedSemaphorePermit> = Vec::new();
    let mut counted = SMALL_BYTES;
    let mut bytes = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| {
            Problem::new(&error::MALFORMED, error.to_string())
                .field("body")
                .closing()
        })?;
        let size = bytes.len() as u64 + chunk.len() as u64;
        if size > config.body_bytes_max {
            return Err(too_large(config));
        }
        if size > counted {
            // It takes its share as it grows, doubling like its buffer: what was only announced
            // takes no room from others.
            let more = counted.max(size - counted);
            share.extend(memory.take(more)?);
            counted += more;
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Body {
        bytes: bytes.freeze(),
        _share: share,
    })
}

/// Refuses a media type other than JSON.
pub(crate) fn require_json(request: &HttpRequest) -> Result<(), Problem> {
    let media = media_type(request);
    if media == "application/json"
        || (media.starts_with("application/") && media.ends_with("+json"))
    {
        return Ok(());
    }
    let detail = match media.as_str() {
        "" => "there is no Content-Type".to_owned(),
        media => format!("{media} is not read here"),
    };
    let problem = Problem::new(&error::MEDIA_TYPE, detail).field("header.content-type");
    Err(problem.hint("send application/json".to_owned()))
}

/// Refuses a body that is compressed: its length would say nothing.
fn require_plain(request: &HttpRequest) -> Result<(), Problem> {
    let mut codings = request.headers().get_all(header::CONTENT_ENCODING);
    let plain = |value: &header::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if codings.all(plain) {
        return Ok(());
    }
    let problem = Problem::new(&error::MEDIA_TYPE, "no content coding is read here");
    let problem = problem.field("header.content-encoding").closing();
    Err(problem.hint("send the body as it is, without Content-Encoding".to_owned()))
}

/// Refuses JSON that nests deeper than the limit. Whether it is JSON at all is the parser's to
/// say.
pub(crate) fn check_depth(bytes: &[u8], limit: usize) -> Result<(), Problem> {
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut escaped = false;
    for byte in bytes {
        match (in_text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_text = !in_text,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            (true | false, _) => {}
        }
        if depth > limit {
            let problem = Problem::new(&error::MALFORMED, "arrays and objects nest too deep");
            return Err(problem.field("body").limit(limit as u64));
        }
    }
    Ok(())
}

/// A JSON body, which is an object on every endpoint.
pub(crate) fn object(bytes: &[u8]) -> Result<Value, Problem> {
    let value = unique::parse(bytes).map_err(|unfit| match unfit {
        Unfit::Json(error) => error::malformed_json(error),
        Unfit::Repeated(path) => {
            let problem = Problem::new(&error::INVALID, "the key is given more than once");
            problem.field(path).hint("give it once".to_owned())
        }
    })?;
    if value.is_object() {
        return Ok(value);
    }
    Err(Problem::new(&error::INVALID, "an object is expected").field("body"))
}

/// A JSON body as a value of some type. What is wrong is named by its path.
pub(crate) fn typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_path_to_error::deserialize(object(bytes)?)
        .map_err(|error| error::unfitting_json(&error.path().to_string(), error.inner()))
}

/// The JSON body of a command or question. Everything is checked that comes with it.
pub(crate) async fn asked<T: DeserializeOwned>(
    app: &App,
    request: &HttpRequest,
    payload: Payload,
) -> Result<T, Problem> {
    app.running()?;
    let http = &app.config.http;
    Query::read(request, &[])?;
    parameters::require_json_accepted(request)?;
    require_json(request)?;
    parameters::idempotency_key(request, http)?;
    let body = read(request, payload, &app.memory, http).await?;
    check_depth(&body.bytes, http.json_depth_max)?;
    typed(&body.bytes)
}

/// What an idempotency key stands for: the key's hash, and the hash of what was asked. The name
/// of the operation is part of it, so that one key cannot be used on two endpoints.
pub(crate) fn idempotency(key: &str, operation: &str, parts: &[&[u8]]) -> Idempotency {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(key.as_bytes()).as_bytes()[..16]);
    let mut hasher = blake3::Hasher::new();
    for part in [operation.as_bytes()].iter().chain(parts) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    Idempotency {
        key: short,
        body: Digest(*hasher.finalize().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn depth_is_counted_outside_of_texts() {
        assert_eq!(check_depth(br#"{"a":["[[[[\"[[[["]}"#, 2), Ok(()));
        assert!(check_depth(b"[[[", 2).is_err());
        assert_eq!(check_depth(b"]]]][[", 2), Ok(()));
        assert!(check_depth(&vec![b'['; 10_000_000], 32).is_err());
    }

    #[test]
    fn only_json_is_json() {
        let read = |media: &str| {
            let request = TestRequest::default().insert_header(("content-type", media));
            require_json(&request.to_http_request()).is_ok()
        };
        assert!(read("application/json; charset=utf-8"));
        assert!(read("application/ld+json"));
        assert!(!read("text/plain"));
        assert!(!read(""));
    }

    #[test]
    fn one_key_stands_for_one_request() {
        let one = idempotency("k", "causal.validate", &[b"ab", b"c"]);
        assert_eq!(one, idempotency("k", "causal.validate", &[b"ab", b"c"]));
        for other in [
            idempotency("k", "causal.validate", &[b"a", b"bc"]),
            idempotency("k", "causal.discover", &[b"ab", b"c"]),
        ] {
            assert_eq!(one.key, other.key);
            assert_ne!(one.body, other.body);
        }
    }

    #[test]
    fn an_announced_giant_is_refused_at_once() {
        let request = TestRequest::default().insert_header(("content-length", "10000000000"));
        let config = HttpConfig::default();
        let problem = check_announced(&request.to_http_request(), &config).expect_err("refused");
        assert_eq!(problem.kind(), &error::TOO_LARGE);
    }

    #[test]
    fn large_bodies_share_one_memory() {
        let config = HttpConfig::default();
        let memory = BodyMemory::new(&config);
        let held: Vec<_> = (0..4).map(|_| memory.take(config.body_bytes_max)).collect();
        assert!(held.iter().all(Result::is_ok));
        assert!(memory.take(SMALL_BYTES + UNIT_BYTES).is_err());
        assert!(memory.take(SMALL_BYTES).is_ok());
        drop(held);
        assert!(memory.take(config.body_bytes_max).is_ok());
    }
}
