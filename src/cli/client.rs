//! The client side of the REST interface.

use std::borrow::Cow;
use std::io::{BufRead, BufReader};

use hindcast_model::RunId;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use ureq::http::{Method, Response};

use super::arguments::Global;
use super::connection::Connection;
use super::output::{self, Failure, Output};
use crate::answer::{Answer, CacheNote, Durations, EXACT};

/// Bytes of an answer, beyond what any server of ours sends at once.
const ANSWER_BYTES_MAX: u64 = 1 << 30;
/// The wait that is asked for; what takes longer is followed by its progress.
const WAIT_SECONDS: u64 = 5;

/// A server to speak to.
pub(crate) struct Client {
    connection: Connection,
    /// Whose data are sent.
    subject: Option<String>,
    /// Whether something else may be computed.
    fallback: Option<String>,
}

/// An answer that is no problem.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
    title: String,
    field: Option<String>,
    hint: Option<String>,
    limit: Option<u64>,
}

/// A run as `GET /api/v1/runs/{id}` shows it, as far as an answer needs it.
#[derive(Deserialize)]
struct RunDocument {
    run_id: String,
    operation: String,
    status: String,
    seed: u64,
    durations: MaybeDurations,
    result_hash: Option<String>,
    algorithm_version: Option<String>,
    /// The run whose result this is.
    original: Option<RunId>,
    result: Option<Box<RawValue>>,
    error: Option<RunError>,
    fallback: Option<RunFallback>,
}

#[derive(Deserialize)]
struct RunFallback {
    quality: String,
    reason: String,
}

#[derive(Deserialize)]
struct MaybeDurations {
    queued_ms: Option<f64>,
    computed_ms: Option<f64>,
    total_ms: Option<f64>,
}

#[derive(Deserialize)]
struct RunError {
    message: String,
    field: Option<String>,
    hint: Option<String>,
}

impl Reply {
    pub(crate) fn value(&self) -> Result<Value, Failure> {
        Ok(serde_json::from_str(&self.body)?)
    }
}

/// A text that every server of this version puts into its answer.
pub(crate) fn text<'a>(answer: &'a Value, name: &str) -> Result<&'a str, Failure> {
    answer[name]
        .as_str()
        .ok_or_else(|| Failure::failed(format!("the answer of the server has no `{name}`")))
}

impl Client {
    /// A client of a server on this machine that asks for no key.
    pub(crate) fn new(url: &str) -> Result<Self, Failure> {
        Ok(Self {
            connection: Connection::plain(url)?,
            subject: None,
            fallback: None,
        })
    }

    /// A client of the server at a URL such as `https://example.org`, with the key and the
    /// certificates that the command line names.
    pub(crate) fn to(url: &str, global: &Global) -> Result<Self, Failure> {
        Ok(Self {
            connection: Connection::to(url, global)?,
            subject: None,
            fallback: None,
        })
    }

    /// The same, for data of a subject.
    pub(crate) fn for_subject(self, subject: Option<&str>) -> Self {
        Self {
            subject: subject.map(str::to_owned),
            ..self
        }
    }

    /// The same, saying whether something else may be computed.
    pub(crate) fn with_fallback(self, fallback: Option<&str>) -> Self {
        Self {
            fallback: fallback.map(str::to_owned),
            ..self
        }
    }

    pub(crate) fn get(&self, path: &str) -> Result<Reply, Failure> {
        self.reply(self.connection.send(path, &[], None)?)
    }

    /// What `/health` says, whether or not all is well.
    pub(crate) fn health(&self) -> Result<Value, Failure> {
        let mut response = self.connection.send("/health", &[], None)?;
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_string();
        let body = body.map_err(|error| self.connection.unreachable(&error))?;
        match status {
            401 | 403 | 429 => Err(problem(status, &body)),
            _ => Ok(serde_json::from_str(&body)?),
        }
    }

    pub(crate) fn post(&self, path: &str, media_type: &str, body: &[u8]) -> Result<Reply, Failure> {
        let wait = format!("wait={WAIT_SECONDS}");
        let mut headers = vec![("content-type", media_type), ("prefer", wait.as_str())];
        if let Some(subject) = &self.subject {
            headers.push((crate::http::SUBJECT.as_str(), subject));
        }
        if let Some(fallback) = &self.fallback {
            headers.push((crate::http::FALLBACK.as_str(), fallback));
        }
        self.reply(self.connection.send(path, &headers, Some(body))?)
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Result<Reply, Failure> {
        let headers = [("content-type", "application/json")];
        let body = body.to_string();
        let body = Some(body.as_bytes());
        self.reply(
            self.connection
                .send_by(&Method::PATCH, path, &headers, body)?,
        )
    }

    fn reply(&self, mut response: Response<ureq::Body>) -> Result<Reply, Failure> {
        let status = response.status().as_u16();
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .map_err(|error| self.connection.unreachable(&error))?;
        match status {
            0..400 => Ok(Reply { status, body }),
            _ => Err(problem(status, &body)),
        }
    }

    /// Asks for a computation and waits for its end, however long it takes.
    pub(crate) fn compute(&self, path: &str, request: &Value) -> Result<String, Failure> {
        let reply = self.post(path, "application/json", request.to_string().as_bytes())?;
        if reply.status != 202 {
            return Ok(reply.body);
        }
        let accepted = reply.value()?;
        let run = text(&accepted, "run_id")?.to_owned();
        self.follow(&run)?;
        let found = self.get(&format!("/api/v1/runs/{run}"))?;
        let document: RunDocument = serde_json::from_str(&found.body)?;
        let answer = document.into_answer()?;
        Ok(serde_json::to_string(&answer)?)
    }

    /// Shows the progress of a run until it ends.
    fn follow(&self, run: &str) -> Result<(), Failure> {
        let bar = Progress::new();
        self.stream(&format!("/api/v1/runs/{run}/events"), |event, data| {
            bar.show(data);
            Ok(event != "end")
        })
    }

    /// Reads server-sent events until `each` says that it has seen enough.
    pub(crate) fn stream(
        &self,
        path: &str,
        mut each: impl FnMut(&str, &Value) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let headers = [("accept", "text/event-stream")];
        let mut response = self.connection.send(path, &headers, None)?;
        if response.status().as_u16() >= 400 {
            return self.reply(response).map(|_| ());
        }
        let reader = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut event = String::new();
        for line in BufReader::new(reader).lines() {
            let line = line?;
            if let Some(name) = line.strip_prefix("event: ") {
                name.clone_into(&mut event);
            } else if let Some(data) = line.strip_prefix("data: ")
                && !each(&event, &serde_json::from_str(data)?)?
            {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn problem(status: u16, body: &str) -> Failure {
    match serde_json::from_str::<Problem>(body) {
        Ok(problem) => {
            let limit = problem.limit.map(|limit| format!(" (limit {limit})"));
            let limit = limit.unwrap_or_default();
            Failure::Failed {
                message: match problem.field {
                    Some(_) => format!("{}{limit}", problem.detail),
                    None => format!("{}: {}{limit}", problem.title, problem.detail),
                },
                field: problem.field,
                hint: problem.hint,
            }
        }
        Err(_) => Failure::failed(format!("the server answered with status {status}: {body}")),
    }
}

impl RunDocument {
    fn into_answer(self) -> Result<Answer<'static>, Failure> {
        let (Some(result), Some(result_hash), Some(algorithm_version)) =
            (self.result, self.result_hash, self.algorithm_version)
        else {
            let ended = format!("the run {} is {}", self.run_id, self.status);
            return Err(match self.error {
                Some(error) => Failure::Failed {
                    message: error.message,
                    field: error.field,
                    hint: error.hint,
                },
                None => Failure::failed(ended),
            });
        };
        let quality = match self.fallback {
            Some(fallback) => (fallback.quality, Some(fallback.reason)),
            None => (EXACT.to_owned(), None),
        };
        Ok(Answer {
            run_id: Some(self.run_id),
            status: "completed",
            operation: self.operation,
            seed: self.seed,
            durations: Durations {
                queued_ms: self.durations.queued_ms.unwrap_or(0.0),
                computed_ms: self.durations.computed_ms.unwrap_or(0.0),
                total_ms: self.durations.total_ms.unwrap_or(0.0),
            },
            result_hash,
            algorithm_version,
            quality: quality.0,
            quality_reason: quality.1,
            cache: self.original.map(CacheNote::hit),
            result: Cow::Owned(result),
        })
    }
}

/// A bar on the terminal, if somebody watches.
pub(crate) struct Progress(Option<indicatif::ProgressBar>);

impl Progress {
    pub(crate) fn new() -> Self {
        Self(output::is_watched().then(|| {
            let style = indicatif::ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}");
            let bar = indicatif::ProgressBar::new(0);
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        }))
    }

    fn show(&self, data: &Value) {
        let stage = data["stage"].as_str().unwrap_or_default();
        let count = |name: &str| data[name].as_u64().unwrap_or(0);
        self.set(stage, count("done"), count("total"));
    }

    pub(crate) fn set(&self, stage: &str, done: u64, total: u64) {
        if let Some(bar) = &self.0 {
            bar.set_message(stage.to_owned());
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Prints a reply: as it came, or as text.
pub(crate) fn print(
    output: &Output,
    reply: &Reply,
    text: impl FnOnce(&Value) -> String,
) -> Result<(), Failure> {
    output.either(&reply.body, || Ok(text(&reply.value()?)))
}
