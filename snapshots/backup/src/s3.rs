//! An S3-compatible object store as a target. Requests are signed for minutes; their time is the
//! machine's, as the protocol demands.

use std::io;
use std::time::Duration;

use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use ureq::{Agent, Body};
use url::Url;

use crate::error::TargetError;
use crate::target::{Entry, Target};

/// How long a signed request may be used.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// The longest that one request may take: a segment at a slow link.
const REQUEST_MAX: Duration = Duration::from_secs(10 * 60);
/// Bytes of one object that are read at most: a segment has at most 1 GiB.
const OBJECT_BYTES_MAX: u64 = 2 << 30;

/// Where an object store is and who asks.
#[derive(Clone)]
pub struct S3Options {
    /// Such as `https://s3.eu-central-1.amazonaws.com`.
    pub endpoint: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
}

/// Objects of one bucket whose names begin with a prefix.
pub struct S3 {
    bucket: Bucket,
    credentials: Credentials,
    prefix: String,
    title: String,
    agent: Agent,
}

impl S3 {
    /// The objects under `prefix` of a bucket.
    pub fn new(bucket: &str, prefix: &str, options: &S3Options) -> Result<Self, TargetError> {
        let title = format!("s3://{bucket}/{prefix}");
        let refuse = |why: String| TargetError::Url {
            url: title.clone(),
            why,
        };
        let endpoint = Url::parse(&options.endpoint)
            .map_err(|error| refuse(format!("the endpoint `{}`: {error}", options.endpoint)))?;
        let (name, region) = (bucket.to_owned(), options.region.clone());
        let bucket = Bucket::new(endpoint, UrlStyle::Path, name, region)
            .map_err(|error| refuse(error.to_string()))?;
        let agent = Agent::config_builder()
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_global(Some(REQUEST_MAX))
            .http_status_as_error(false)
            // What is signed is for this host and no other.
            .max_redirects(0)
            .build()
            .into();
        let prefix = prefix.trim_matches('/');
        Ok(Self {
            bucket,
            credentials: Credentials::new(&options.access_key, &options.secret_key),
            prefix: match prefix {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            },
            title,
            agent,
        })
    }

    fn object(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The body of an answer that is no refusal.
    fn answered(
        &self,
        (action, name): (&'static str, &str),
        answer: Result<ureq::http::Response<Body>, ureq::Error>,
    ) -> Result<Vec<u8>, TargetError> {
        let target = self.title.clone();
        let failed = |source: io::Error| TargetError::Io {
            action,
            target: self.title.clone(),
            name: name.to_owned(),
            source,
        };
        let mut answer = answer.map_err(|error| failed(io::Error::other(error)))?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(OBJECT_BYTES_MAX);
        let body = body
            .read_to_vec()
            .map_err(|error| failed(io::Error::other(error)))?;
        match status {
            200..=299 => Ok(body),
            404 if action == "read" => Err(TargetError::Missing {
                target,
                name: name.to_owned(),
            }),
            status => {
                let text = String::from_utf8_lossy(&body);
                Err(TargetError::Status {
                    action,
                    target,
                    name: name.to_owned(),
                    status,
                    message: text.chars().take(300).collect(),
                })
            }
        }
    }
}

impl Target for S3 {
    fn title(&self) -> &str {
        &self.title
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), TargetError> {
        let object = self.object(name);
        let action = self.bucket.put_object(Some(&self.credentials), &object);
        let url = action.sign(SIGNED_FOR);
        let answer = self.agent.put(url.as_str()).send(bytes);
        self.answered(("write", name), answer).map(drop)
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, TargetError> {
        let object = self.object(name);
        let action = self.bucket.get_object(Some(&self.credentials), &object);
        let url = action.sign(SIGNED_FOR);
        let answer = self.agent.get(url.as_str()).call();
        self.answered(("read", name), answer)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Entry>, TargetError> {
        let broken = |error: &dyn std::fmt::Display| TargetError::Io {
            action: "list",
            target: self.title.clone(),
            name: prefix.to_owned(),
            source: io::Error::other(error.to_string()),
        };
        let (mut found, mut next) = (Vec::new(), None::<String>);
        loop {
            let mut action = self.bucket.list_objects_v2(Some(&self.credentials));
            action.with_prefix(self.object(prefix));
            if let Some(next) = next.take() {
                action.with_continuation_token(next);
            }
            let url = action.sign(SIGNED_FOR);
            let answer = self.agent.get(url.as_str()).call();
            let body = self.answered(("list", prefix), answer)?;
            let body = String::from_utf8_lossy(&body);
            let page = ListObjectsV2::parse_response(&body).map_err(|error| broken(&error))?;
            for object in page.contents {
                let Some(name) = object.key.strip_prefix(&self.prefix) else {
                    continue;
                };
                found.push(Entry {
                    name: name.to_owned(),
                    bytes: object.size.unwrap_or(0),
                });
            }
            match page.next_continuation_token {
                Some(token) => next = Some(token),
                None => break,
            }
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn remove(&self, name: &str) -> Result<(), TargetError> {
        let object = self.object(name);
        let action = self.bucket.delete_object(Some(&self.credentials), &object);
        let url = action.sign(SIGNED_FOR);
        let answer = self.agent.delete(url.as_str()).call();
        match self.answered(("remove", name), answer) {
            Err(TargetError::Status { status: 404, .. }) => Ok(()),
            other => other.map(drop),
        }
    }
}
