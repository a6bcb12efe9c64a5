//! `hindcast state`, `diff` and `explain`. Without a server the files of the data directory are
//! read, without taking its lock, so that this works beside a server that is writing.

use hindcast_actors::history::{
    self, About, Asked, Direction, GraphFormat, HistoryError, Source, When,
};
use hindcast_log::{LogError, Reader, Recorded};
use hindcast_model::{KeyId, Payload, Seq, Stream, UnixMicros};
use serde::Serialize;
use serde_json::Value;

use super::arguments::{Diff, Explain, ExplainDirection, ExplainFormat, Global, StateOf};
use super::client::Client;
use super::directory::Directory;
use super::output::{Failure, Output};
use super::render;
use crate::clock;

/// The log of a data directory.
pub(super) struct Files {
    directory: Directory,
    head: Seq,
}

impl Files {
    pub(super) fn open(global: &Global) -> Result<Self, Failure> {
        let directory = Directory::open(global)?;
        let head = directory.reader.head()?.map_or(Seq(0), |head| head.seq);
        Ok(Self { directory, head })
    }
}

impl Source for Files {
    fn reader(&self) -> &Reader {
        &self.directory.reader
    }

    fn head(&self) -> Seq {
        self.head
    }

    fn now(&self) -> UnixMicros {
        clock::wall()
    }

    fn stream(&self, stream: Stream) -> Result<Vec<Recorded>, LogError> {
        let mut events = self.directory.reader.read_stream(stream)?;
        // A server may have written on since the head was read.
        events.retain(|recorded| recorded.seq() <= self.head);
        Ok(events)
    }

    fn text(&self, key: KeyId, payload: &Payload) -> Option<String> {
        self.directory.text(key, payload)
    }
}

/// A question about the past that failed. A moment that is not there is wrong usage.
pub(super) fn failed(error: HistoryError) -> Failure {
    match error {
        HistoryError::Moment {
            field,
            message,
            limit,
        } => Failure::Misused {
            message: format!("{message} (limit {limit})"),
            field: Some(field.to_owned()),
            hint: None,
        },
        HistoryError::Unknown { message, hint } => Failure::failed(message).with_hint(Some(hint)),
        HistoryError::Log(error) => error.into(),
    }
}

/// What the command line names, or wrong usage.
pub(super) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    name: &str,
    text: &str,
) -> Result<T, Failure> {
    text.parse()
        .map_err(|error: T::Err| Failure::Usage(format!("{name}: `{text}`: {error}")))
}

/// Text as a part of a URL.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Prints an answer that was found here.
pub(super) fn print<T: Serialize>(
    output: &Output,
    found: &T,
    text: impl FnOnce(&Value) -> String,
) -> Result<(), Failure> {
    let json = serde_json::to_string(found)?;
    output.either(&json, || Ok(text(&serde_json::from_str(&json)?)))
}

pub(crate) fn state(global: &Global, options: &StateOf, output: &Output) -> Result<(), Failure> {
    let about: About = parsed("STREAM", &options.stream)?;
    let at: When = match &options.at {
        Some(at) => parsed("--at", at)?,
        None => When::Head,
    };
    if let Some(url) = &global.server {
        let at = options.at.as_ref().map(|at| format!("?at={}", encoded(at)));
        let path = format!("/api/v1/state/{about}{}", at.unwrap_or_default());
        let reply = Client::to(url, global)?.get(&path)?;
        return super::client::print(output, &reply, render::state);
    }
    let files = Files::open(global)?;
    let found = history::state(&files, about, at).map_err(failed)?;
    print(output, &found, render::state)
}

pub(crate) fn difference(global: &Global, options: &Diff, output: &Output) -> Result<(), Failure> {
    let about: About = parsed("STREAM", &options.stream)?;
    let moments: (When, When) = (parsed("A", &options.from)?, parsed("B", &options.to)?);
    if let Some(url) = &global.server {
        let (from, to) = (encoded(&options.from), encoded(&options.to));
        let path = format!("/api/v1/state/{about}/diff?from={from}&to={to}");
        let reply = Client::to(url, global)?.get(&path)?;
        return super::client::print(output, &reply, render::difference);
    }
    let files = Files::open(global)?;
    let found = history::difference(&files, about, moments).map_err(failed)?;
    print(output, &found, render::difference)
}

pub(crate) fn explain(global: &Global, options: &Explain, output: &Output) -> Result<(), Failure> {
    let asked: Asked = parsed("ID", &options.id)?;
    if output.json && options.format.is_some() {
        let message = "--format prints a graph, which --json does not: give one of them";
        return Err(Failure::Usage(message.to_owned()));
    }
    if let Some(url) = &global.server {
        let reply = Client::to(url, global)?.get(&explain_path(options))?;
        return match options.format {
            Some(_) => output.text(reply.body.trim_end()),
            None => super::client::print(output, &reply, render::provenance),
        };
    }
    let direction = match options.direction {
        ExplainDirection::Backward => Direction::Backward,
        ExplainDirection::Forward => Direction::Forward,
        ExplainDirection::Both => Direction::Both,
    };
    let files = Files::open(global)?;
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let bounds = (options.after.map(Seq), limit);
    let found = history::provenance(&files, asked, direction, bounds).map_err(failed)?;
    let format = match options.format {
        None => return print(output, &found, render::provenance),
        Some(ExplainFormat::Dot) => GraphFormat::Dot,
        Some(ExplainFormat::Svg) => GraphFormat::Svg,
    };
    output.text(found.graph.draw(format)?.trim_end())
}

fn explain_path(options: &Explain) -> String {
    let id = options.id.rsplit('/').next().unwrap_or(&options.id);
    let direction = match options.direction {
        ExplainDirection::Backward => "backward",
        ExplainDirection::Forward => "forward",
        ExplainDirection::Both => "both",
    };
    let mut path = format!(
        "/api/v1/provenance/{}?direction={direction}&limit={}",
        encoded(id),
        options.limit
    );
    if let Some(after) = options.after {
        path.push_str(&format!("&after={after}"));
    }
    path.push_str(match options.format {
        None => "",
        Some(ExplainFormat::Dot) => "&format=dot",
        Some(ExplainFormat::Svg) => "&format=svg",
    });
    path
}
