//! A vault of another server as a target: the objects are kept there, below a directory that its
//! configuration names.

mod place;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use ureq::http::Response;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

pub use place::{NodePlace, is_vault_name};

use crate::error::TargetError;
use crate::target::{Entry, Target, is_object_name};

const CONNECT_MAX: Duration = Duration::from_secs(10);
/// The longest that one request may take: a segment at a slow link.
const REQUEST_MAX: Duration = Duration::from_secs(10 * 60);
/// Bytes of one object that are read at most: a segment has at most 1 GiB.
const OBJECT_BYTES_MAX: u64 = 2 << 30;
/// Bytes of a page of a listing, or of a refusal.
const PAGE_BYTES_MAX: u64 = 16 << 20;
/// Objects of a page.
const PAGE_ITEMS: usize = 5_000;
/// Objects that are listed at most.
const ENTRIES_MAX: usize = 4_000_000;
/// Characters of a refusal in a message.
const MESSAGE_CHARS_MAX: usize = 300;
/// The field that a server says is at fault when an object is not there.
pub const OBJECT_FIELD: &str = "path.object";

/// How another server is reached.
#[derive(Clone, Default)]
pub struct NodeOptions {
    /// The access key, which needs the role operator there; none where nobody is asked for one.
    pub token: Option<String>,
    /// Certificates that are trusted, and no others.
    pub ca_file: Option<PathBuf>,
}

/// See the module.
pub struct Node {
    objects: String,
    title: String,
    agent: Agent,
    authorization: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    bytes: u64,
}

/// As much of a refusal as is told.
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: String,
    field: Option<String>,
}

impl Node {
    /// The vault at a place.
    pub fn new(place: &NodePlace, options: &NodeOptions) -> Result<Self, TargetError> {
        let title = place.to_string();
        let mut tls = TlsConfig::builder();
        if let Some(file) = options.ca_file.as_deref().filter(|_| place.is_encrypted()) {
            let trusted = certificates(file);
            tls = tls.root_certs(trusted.map_err(|why| TargetError::Url {
                url: title.clone(),
                why: format!("ca_file, {}: {why}", file.display()),
            })?);
        }
        let agent = Agent::config_builder()
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_global(Some(REQUEST_MAX))
            .http_status_as_error(false)
            // The key is for this server and no other.
            .max_redirects(0)
            .tls_config(tls.build())
            .build()
            .into();
        Ok(Self {
            objects: place.objects(),
            title,
            agent,
            authorization: options.token.as_ref().map(|key| format!("Bearer {key}")),
        })
    }

    fn failed(&self, (action, name): (&'static str, &str), source: io::Error) -> TargetError {
        TargetError::Io {
            action,
            target: self.title.clone(),
            name: name.to_owned(),
            source,
        }
    }

    fn url(&self, (action, name): (&'static str, &str)) -> Result<String, TargetError> {
        match is_object_name(name) {
            true => Ok(format!("{}/{name}", self.objects)),
            false => {
                let message = "no object is called so";
                let error = io::Error::new(io::ErrorKind::InvalidInput, message);
                Err(self.failed((action, name), error))
            }
        }
    }

    fn key<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.authorization {
            Some(key) => request.header("authorization", key),
            None => request,
        }
    }

    /// The body of an answer that is no refusal.
    fn answered(
        &self,
        what: (&'static str, &str),
        answer: Result<Response<Body>, ureq::Error>,
        bytes_max: u64,
    ) -> Result<Vec<u8>, TargetError> {
        let failed = |error: ureq::Error| self.failed(what, io::Error::other(error));
        let mut answer = answer.map_err(failed)?;
        let status = answer.status().as_u16();
        let fine = (200..=299).contains(&status);
        let limit = if fine { bytes_max } else { PAGE_BYTES_MAX };
        let body = answer.body_mut().with_config().limit(limit);
        let body = body.read_to_vec().map_err(failed)?;
        if fine {
            return Ok(body);
        }
        let message = match serde_json::from_slice::<Problem>(&body) {
            // A vault that is not there is another matter, and so is what a proxy says.
            Ok(problem) if status == 404 && problem.field.as_deref() == Some(OBJECT_FIELD) => {
                return Err(TargetError::Missing {
                    target: self.title.clone(),
                    name: what.1.to_owned(),
                });
            }
            Ok(problem) => format!("{}: {}", problem.title, problem.detail),
            Err(_) => String::from_utf8_lossy(&body).into_owned(),
        };
        let plain = message.chars().filter(|c| !c.is_control());
        Err(TargetError::Status {
            action: what.0,
            target: self.title.clone(),
            name: what.1.to_owned(),
            status,
            message: plain.take(MESSAGE_CHARS_MAX).collect(),
        })
    }
}

impl Target for Node {
    fn title(&self) -> &str {
        &self.title
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        let what = ("write", name);
        let request = self.key(self.agent.put(self.url(what)?));
        let request = request.header("content-type", "application/octet-stream");
        self.answered(what, request.send(bytes), PAGE_BYTES_MAX)
            .map(drop)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, TargetError> {
        let what = ("read", name);
        let request = self.key(self.agent.get(self.url(what)?));
        self.answered(what, request.call(), OBJECT_BYTES_MAX)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, TargetError> {
        let what = ("list", prefix);
        let broken = |text: &str| self.failed(what, io::Error::other(text.to_owned()));
        let (mut found, mut after) = (Vec::<Entry>::new(), None::<String>);
        loop {
            let request = self.agent.get(&self.objects);
            let request = request.query("limit", PAGE_ITEMS.to_string());
            let request = request.query("prefix", prefix);
            let request = match &after {
                Some(after) => request.query("cursor", after),
                None => request,
            };
            let body = self.answered(what, self.key(request).call(), PAGE_BYTES_MAX)?;
            let page = serde_json::from_slice::<Page>(&body);
            let page = page.map_err(|error| self.failed(what, io::Error::other(error)))?;
            for Item { name, bytes } in page.items {
                if is_object_name(&name) && name.starts_with(prefix) {
                    found.push(Entry { name, bytes });
                }
            }
            if found.len() > ENTRIES_MAX {
                return Err(broken("it lists more objects than are read"));
            }
            match page.next {
                None => break,
                Some(next) if after.as_ref().is_none_or(|after| next > *after) => {
                    after = Some(next);
                }
                Some(_) => return Err(broken("its pages go round in a circle")),
            }
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        let what = ("remove", name);
        let request = self.key(self.agent.delete(self.url(what)?));
        match self.answered(what, request.call(), PAGE_BYTES_MAX) {
            Err(TargetError::Missing { .. }) => Ok(()),
            other => other.map(drop),
        }
    }
}

/// The certificates of a file in PEM, to be trusted and no others.
///
/// # Errors
/// It cannot be read, or holds none.
pub fn certificates(file: &Path) -> Result<RootCerts, String> {
    let pem = std::fs::read(file).map_err(|error| error.to_string())?;
    let mut found: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| error.to_string())? {
            found.push(certificate);
        }
    }
    match found.is_empty() {
        true => Err("it holds no certificate".to_owned()),
        false => Ok(RootCerts::from(found)),
    }
}
