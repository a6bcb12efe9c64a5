//! How a server is reached: the key that proves who asks, the certificates that are trusted, and
//! when a request that was turned away is sent again.

use std::sync::mpsc;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderMap, Method, Request, Response};
use ureq::tls::TlsConfig;

use super::arguments::Global;
use super::output::{Failure, note};
use crate::access::Token;
use crate::ids;

/// The variable that holds a key, where --key-file names none.
const KEY_VARIABLE: &str = "HINDCAST_KEY";
/// Longer than any answer to a request that waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest wait for how a server is.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a request is sent, with the first time.
const ATTEMPTS_MAX: u32 = 4;
/// Milliseconds before the second attempt, when the server does not say; they double.
const BACKOFF_MS: u64 = 200;
/// A server that asks for a longer wait is not waited for.
const WAIT_SECONDS_MAX: u64 = 30;
/// Attempts after the first that one run of the program has for all its requests: what a server
/// turns away must not come back as a flood.
const RETRIES_MAX: u32 = 10;

/// Problems that say that nothing came of the request. Of one that is merely unavailable it is not
/// known.
const TURNED_AWAY: &[&str] = &[
    "urn:hindcast:problem:busy",
    "urn:hindcast:problem:rate-limited",
    "urn:hindcast:problem:starting",
];

#[derive(serde::Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
}

/// The way to one server.
pub(super) struct Connection {
    base: String,
    agent: Agent,
    /// For what every server answers at once.
    brisk: Agent,
    /// The whole `Authorization` header.
    authorization: Option<String>,
    retries_left: std::cell::Cell<u32>,
}

impl Connection {
    /// The way to a server on this machine that asks for nothing.
    pub(super) fn plain(url: &str) -> Result<Self, Failure> {
        Self::new(url, &Global::default(), None)
    }

    /// The way to the server at `url`, with what the command line and the environment say of it.
    pub(super) fn to(url: &str, global: &Global) -> Result<Self, Failure> {
        let key = key(global)?;
        if key.is_some() && !url.starts_with("https://") && !names_this_machine(url) {
            note("warning: the key is sent as it is; use https:// if others can listen");
        }
        Self::new(url, global, key)
    }

    fn new(url: &str, global: &Global, key: Option<String>) -> Result<Self, Failure> {
        let base = url.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            let message = format!("--server: `{url}` does not begin with http:// or https://");
            return Err(Failure::Usage(message));
        }
        let mut tls = TlsConfig::builder();
        if let Some(file) = &global.ca_file {
            let trusted = hindcast_backup::certificates(file)
                .map_err(|what| Failure::failed(format!("--ca-file {}: {what}", file.display())))?;
            tls = tls.root_certs(trusted);
        }
        let tls = tls.build();
        let agent = |timeout| -> Agent {
            let config = Agent::config_builder()
                .http_status_as_error(false)
                // What is asked for is for this server and no other.
                .max_redirects(0)
                .timeout_connect(Some(Duration::from_secs(10)))
                .timeout_recv_response(Some(timeout))
                .tls_config(tls.clone());
            config.build().into()
        };
        Ok(Self {
            base,
            agent: agent(ANSWER_TIMEOUT),
            brisk: agent(HEALTH_TIMEOUT),
            authorization: key.map(|key| format!("Bearer {key}")),
            retries_left: std::cell::Cell::new(RETRIES_MAX),
        })
    }

    /// Sends a request; without a body it is a GET. What the server turns away because it has too
    /// much to do is sent again after the wait that it asks for: nothing came of it.
    pub(super) fn send(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response<ureq::Body>, Failure> {
        let method = match body {
            Some(_) => Method::POST,
            None => Method::GET,
        };
        self.send_by(&method, path, headers, body)
    }

    /// Sends a request by another method, as `send` does.
    pub(super) fn send_by(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response<ureq::Body>, Failure> {
        for attempt in 1.. {
            let response = self.send_once(method, path, headers, (body, attempt))?;
            if !matches!(response.status().as_u16(), 429 | 503) {
                return Ok(response);
            }
            let (response, text) = self.read(response)?;
            let wait = wait_of(&text, response.headers(), attempt);
            let left = self.retries_left.get();
            let (Some(wait), true) = (wait, attempt < ATTEMPTS_MAX && left > 0) else {
                return Ok(response);
            };
            self.retries_left.set(left - 1);
            drop(response);
            pause(wait);
        }
        Err(Failure::failed("the request was sent too often"))
    }

    /// Reads the body of a refusal, and gives it back as it was.
    fn read(
        &self,
        mut response: Response<ureq::Body>,
    ) -> Result<(Response<ureq::Body>, String), Failure> {
        let text = response.body_mut().read_to_string();
        let text = text.map_err(|error| self.unreachable(&error))?;
        let (head, _) = response.into_parts();
        let body = ureq::Body::builder().data(text.clone());
        Ok((Response::from_parts(head, body), text))
    }

    fn send_once(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, &str)],
        (body, attempt): (Option<&[u8]>, u32),
    ) -> Result<Response<ureq::Body>, Failure> {
        let uri = format!("{}{path}", self.base);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        if attempt > 1 {
            request = request.header("hindcast-retry-attempt", attempt - 1);
        }
        let response = match body {
            Some(body) => self.agent.run(request.body(body)?),
            None if path.starts_with("/health") => self.brisk.run(request.body(())?),
            None => self.agent.run(request.body(())?),
        };
        let response = response.map_err(|error| self.unreachable(&error))?;
        if response.status().is_redirection() {
            let place = response.headers().get("location");
            let place = place.and_then(|place| place.to_str().ok());
            return Err(Failure::Failed {
                message: format!(
                    "{} sends elsewhere (status {}): {}",
                    self.base,
                    response.status().as_u16(),
                    place.unwrap_or("nowhere in particular")
                ),
                field: None,
                hint: Some("--server names the server itself".to_owned()),
            });
        }
        Ok(response)
    }

    pub(super) fn unreachable(&self, error: &ureq::Error) -> Failure {
        let spoke_otherwise = answered_otherwise(error);
        let error = error.to_string();
        let is_of_tls = error.contains("certificate") || error.contains("rustls");
        let hint = match error.contains(CA_AS_SERVER) {
            true => CA_HINT,
            false if is_of_tls && self.base.starts_with("https:") => TLS_HINT,
            false if spoke_otherwise && self.base.starts_with("http:") => HTTPS_HINT,
            false => "is the server running? `hindcast serve` starts one",
        };
        Failure::Failed {
            message: format!("no answer from {}: {error}", self.base),
            field: None,
            hint: Some(hint.to_owned()),
        }
    }
}

/// What the library says of a certificate that is marked as one of an authority and shown by a server.
const CA_AS_SERVER: &str = "CaUsedAsEndEntity";
const TLS_HINT: &str =
    "--ca-file names the certificate to trust; a server without one is asked by http://";
const HTTPS_HINT: &str =
    "something is there and does not speak HTTP: a server with a certificate is asked by https://";
const CA_HINT: &str = "the server's certificate is that of an authority (CA:TRUE), which no server may show; make it \
    with `-addext basicConstraints=critical,CA:FALSE`, as docs/access.md says";

/// Whether something took the connection and answered with something else than HTTP, as a server does
/// that wants TLS.
fn answered_otherwise(error: &ureq::Error) -> bool {
    use std::io::ErrorKind;
    if let ureq::Error::Io(error) = error {
        return matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::InvalidData
        );
    }
    matches!(error, ureq::Error::Protocol(_))
}

/// How long to wait before another attempt; none when there shall be none. Half of it is chance,
/// so that those who were turned away together do not come back together.
fn wait_of(body: &str, headers: &HeaderMap, attempt: u32) -> Option<Duration> {
    let problem: Problem = serde_json::from_str(body).ok()?;
    if !TURNED_AWAY.contains(&problem.kind.as_str()) {
        return None;
    }
    let after = headers.get("retry-after")?.to_str().ok()?;
    let after: u64 = after.parse().ok()?;
    if after > WAIT_SECONDS_MAX {
        return None;
    }
    let least = (after * 1_000).max(BACKOFF_MS << attempt.min(6));
    Some(Duration::from_millis(
        least + ids::random() % (least / 2 + 1),
    ))
}

/// Nothing is ever sent: waiting for it is a pause that needs no sleep.
pub(super) fn pause(time: Duration) {
    let (_nobody, never) = mpsc::channel::<()>();
    let _over = never.recv_timeout(time);
}

pub(super) fn key(global: &Global) -> Result<Option<String>, Failure> {
    let (text, origin) = match &global.key_file {
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| {
                Failure::failed(format!("cannot read {}: {error}", file.display()))
            })?;
            (text, format!("--key-file {}", file.display()))
        }
        None => match std::env::var(KEY_VARIABLE) {
            Ok(text) => (text, KEY_VARIABLE.to_owned()),
            Err(_) => return Ok(None),
        },
    };
    let token = Token::parse(text.trim());
    let token = token.ok_or_else(|| Failure::failed(format!("{origin} does not hold a key")))?;
    Ok(Some(token.reveal()))
}

fn names_this_machine(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or("");
    ["127.", "localhost", "[::1]"]
        .iter()
        .any(|name| host.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_the_servers_with_some_chance() {
        let mut headers = HeaderMap::new();
        let busy = r#"{"type":"urn:hindcast:problem:busy"}"#;
        assert_eq!(wait_of(busy, &headers, 1), None);
        headers.insert("retry-after", "2".parse().expect("a value"));
        let unavailable = r#"{"type":"urn:hindcast:problem:unavailable"}"#;
        assert_eq!(
            wait_of(unavailable, &headers, 1),
            None,
            "it may be recorded"
        );
        let waits: Vec<_> = (0..50).filter_map(|_| wait_of(busy, &headers, 1)).collect();
        assert!(
            waits
                .iter()
                .all(|wait| (2_000..=3_000).contains(&wait.as_millis()))
        );
        assert!(waits.iter().any(|wait| *wait != waits[0]));
        headers.insert("retry-after", "0".parse().expect("a value"));
        let third = wait_of(busy, &headers, 3).expect("again");
        assert!((1_600..=2_400).contains(&third.as_millis()));
        headers.insert("retry-after", "3600".parse().expect("a value"));
        assert_eq!(wait_of(busy, &headers, 1), None);
    }

    #[test]
    fn loopback_is_this_machine() {
        assert!(names_this_machine("http://127.0.0.1:80"));
        assert!(names_this_machine("http://localhost"));
        assert!(!names_this_machine("http://10.0.0.1"));
    }
}
