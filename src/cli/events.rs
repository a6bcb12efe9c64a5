//! `hindcast events`. Without a server the log is read from its files, without taking its lock,
//! so that this works beside a server that is writing.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use hindcast_actors::views;
use hindcast_log::{MasterKey, Position, Reader, Recorded};
use hindcast_model::{Event, Seq, Stream};
use serde_json::{Value, json};

use super::arguments::{EventFilter, Events, ExportFormat, Global};
use super::client::Client;
use super::directory::{self, Directory};
use super::output::{Failure, Output};
use super::render;

/// Events read at a time.
const PIECE: usize = 2_000;
/// How often a log that is read from its files is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) fn run(global: &Global, verb: Events, output: &Output) -> Result<(), Failure> {
    match verb {
        Events::Tail { filter, from } => {
            let mut source = Source::open(global, &filter)?;
            let next = match from {
                Some(from) => Seq(from.max(1)),
                None => source.head()?.next(),
            };
            source.follow(next, |event| line(output, event))
        }
        Events::List {
            filter,
            from,
            limit,
        } => {
            let mut source = Source::open(global, &filter)?;
            let mut items = Vec::new();
            source.each(from.map(|from| Seq(from.max(1))), limit, |event| {
                items.push(event.clone());
                Ok(())
            })?;
            if output.json {
                return output.value(&json!({ "items": items }));
            }
            items.iter().try_for_each(|event| line(output, event))
        }
        Events::Show { sequence } => {
            let mut source = Source::open(global, &EventFilter::default())?;
            let mut found = None;
            source.each(Some(Seq(sequence.max(1))), 1, |event| {
                found = Some(event.clone());
                Ok(())
            })?;
            let found = found.filter(|event| event["seq"].as_u64() == Some(sequence));
            let missing = || Failure::failed(format!("there is no event {sequence}"));
            let event = found.ok_or_else(missing)?;
            output.either(&event.to_string(), || {
                Ok(serde_json::to_string_pretty(&event)?)
            })
        }
        Events::Export {
            filter,
            from,
            format,
        } => {
            let mut source = Source::open(global, &filter)?;
            source.each(
                from.map(|from| Seq(from.max(1))),
                usize::MAX,
                |event| match format {
                    ExportFormat::Jsonl => output.value(event),
                    ExportFormat::Cloudevents => output.value(&cloud_event(event)),
                },
            )
        }
    }
}

fn line(output: &Output, event: &Value) -> Result<(), Failure> {
    match output.json {
        true => output.value(event),
        false => output.text(&render::event(event)),
    }
}

/// The CloudEvents 1.0 envelope of an event as this server writes it.
fn cloud_event(event: &Value) -> Value {
    let text = |name: &str| event[name].as_str().unwrap_or("");
    // A cursor is LOG-EPOCH-SEQUENCE.
    let log = text("cursor").split('-').next().unwrap_or("");
    json!({
        "specversion": "1.0",
        "id": event["event_id"],
        "source": format!("/hindcast/{log}"),
        "type": format!("hindcast.{}", text("type")),
        "subject": event["stream"],
        "time": event["at"],
        "datacontenttype": "application/json",
        "sequence": format!("{:020}", event["seq"].as_u64().unwrap_or(0)),
        "causationid": event["causation"],
        "correlationid": event["correlation"],
        "data": event["data"],
    })
}

/// Where events are read from.
pub(super) enum Source {
    Server {
        client: Client,
        filter: String,
    },
    Files {
        data_dir: PathBuf,
        master: Option<MasterKey>,
        filter: FileFilter,
    },
}

pub(super) struct FileFilter {
    stream: Option<Stream>,
    kind: Option<&'static str>,
}

impl FileFilter {
    fn new(filter: &EventFilter) -> Result<Self, Failure> {
        let stream = filter.stream.as_ref().map(|text| text.parse());
        let stream = stream
            .transpose()
            .map_err(|error: hindcast_model::stream::BadStream| {
                Failure::Usage(format!("--stream: {error}"))
            })?;
        let kind = filter.kind.as_ref().map(|name| {
            let known = Event::KINDS.iter().map(|kind| kind.name);
            known.clone().find(|known| known == name).ok_or_else(|| {
                let near = crate::nearest::name(name, known).unwrap_or("run_completed");
                Failure::Usage(format!(
                    "--type: no event is called `{name}`; `{near}` is near"
                ))
            })
        });
        Ok(Self {
            stream,
            kind: kind.transpose()?,
        })
    }

    fn admits(&self, recorded: &Recorded) -> bool {
        let kind = || recorded.event().map(|event| event.kind().name);
        self.stream.is_none_or(|stream| recorded.stream == stream)
            && self.kind.is_none_or(|wanted| kind() == Some(wanted))
    }
}

impl Source {
    pub(super) fn open(global: &Global, filter: &EventFilter) -> Result<Self, Failure> {
        let files = FileFilter::new(filter)?;
        if let Some(url) = &global.server {
            let pair = |name: &str, value: &Option<String>| match value {
                Some(value) => format!("&{name}={value}"),
                None => String::new(),
            };
            return Ok(Self::Server {
                client: Client::to(url, global)?,
                filter: pair("stream", &filter.stream) + &pair("type", &filter.kind),
            });
        }
        Ok(Self::Files {
            data_dir: directory::existing(global)?,
            master: directory::master(global)?,
            filter: files,
        })
    }

    fn head(&self) -> Result<Seq, Failure> {
        match self {
            Self::Server { client, .. } => {
                let health = client.get("/health/ready")?.value()?;
                let head = health.pointer("/components/log/sequence");
                Ok(Seq(head.and_then(Value::as_u64).unwrap_or(0)))
            }
            Self::Files { data_dir, .. } => {
                let head = Reader::open(data_dir)?.head()?;
                Ok(head.map_or(Seq(0), |head| head.seq))
            }
        }
    }

    /// Calls `visit` with up to `limit` events from `from` on, or from the oldest that is left.
    pub(super) fn each(
        &mut self,
        from: Option<Seq>,
        limit: usize,
        mut visit: impl FnMut(&Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut left = limit;
        match self {
            Self::Server { client, filter } => {
                let mut start = from.map_or_else(String::new, |from| format!("&from={}", from.0));
                while left > 0 {
                    let size = left.min(500);
                    let path = format!("/api/v1/events?limit={size}{start}{filter}");
                    let page = client.get(&path)?.value()?;
                    for event in page["items"].as_array().into_iter().flatten() {
                        visit(event)?;
                        left -= 1;
                    }
                    if page["more"].as_bool() != Some(true) {
                        break;
                    }
                    start = format!("&cursor={}", page["next"].as_str().unwrap_or(""));
                }
                Ok(())
            }
            Self::Files {
                data_dir,
                master,
                filter,
            } => {
                let directory = Directory::at(data_dir, master.as_ref())?;
                let reader = &directory.reader;
                let Some(head) = reader.head()? else {
                    return Ok(());
                };
                let read = |key, payload: &_| directory.text(key, payload);
                if let (Some(stream), None) = (filter.stream, from)
                    && !reader.gaps().is_empty()
                {
                    // An error when its beginning is pruned.
                    reader.read_stream(stream)?;
                }
                let mut next = from.unwrap_or(reader.oldest());
                while left > 0 {
                    let events = reader.read(next, PIECE)?;
                    for recorded in events.iter().filter(|recorded| filter.admits(recorded)) {
                        if left == 0 {
                            break;
                        }
                        visit(&view(recorded, head, &read)?)?;
                        left -= 1;
                    }
                    match events.last() {
                        Some(last) if events.len() == PIECE => next = last.seq().next(),
                        Some(_) | None => break,
                    }
                }
                Ok(())
            }
        }
    }

    /// Calls `visit` with every event from `next` on, for ever.
    fn follow(
        &mut self,
        mut next: Seq,
        mut visit: impl FnMut(&Value) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if let Self::Server { client, filter } = self {
            let path = format!("/api/v1/events?from={}{filter}", next.0);
            client.stream(&path, |_, event| {
                next = event["seq"].as_u64().map_or(next, |seq| Seq(seq).next());
                visit(event).map(|()| true)
            })?;
            return Err(Failure::Failed {
                message: "the server ended the stream: it stops, or the connection was lost"
                    .to_owned(),
                field: None,
                hint: Some(format!("--from {} goes on where it ended", next.0)),
            });
        }
        // Nothing is ever sent: waiting for it is a pause that needs no sleep.
        let (_pause, paused) = mpsc::channel::<()>();
        loop {
            let head = self.head()?;
            if head >= next {
                let wanted = usize::try_from(head.0 - next.0 + 1).unwrap_or(usize::MAX);
                let last = head;
                self.each(Some(next), wanted, |event| {
                    let seq = event["seq"].as_u64().unwrap_or(0);
                    if seq <= last.0 { visit(event) } else { Ok(()) }
                })?;
                next = last.next();
            }
            let _over = paused.recv_timeout(LOOK_EVERY);
        }
    }
}

fn view(recorded: &Recorded, head: Position, read: &views::Read<'_>) -> Result<Value, Failure> {
    let cursor = Position {
        seq: recorded.seq(),
        ..head
    };
    let view = views::event(recorded, cursor.to_string(), read);
    Ok(serde_json::to_value(view)?)
}
