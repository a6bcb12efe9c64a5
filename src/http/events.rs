//! The log as clients read it: pages of events, and the same as a stream that goes on.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::views::{self, EventView};
use hindcast_log::{Log, Recorded};
use hindcast_model::{Event, Seq, Stream, StreamKind};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use super::error::{self, Problem};
use super::parameters::{self, Query, wrong};
use super::stream::StreamEvent;
use super::{App, Running, blocking, stream};

/// Events looked at for one page; a page may be short, and its cursor goes on.
const SCAN_EVENTS_MAX: usize = 20_000;
const SCAN_PIECE: usize = 500;
/// The largest number that every JSON reader holds exactly.
pub(super) const SEQUENCE_MAX: u64 = (1 << 53) - 1;

/// A page of events, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventPage {
    pub(crate) items: Vec<EventView>,
    /// Where the next page begins; it is there even at the end of the log, to go on from later.
    pub(crate) next: String,
    /// Whether the log, or the range that was asked for, goes on after this page.
    pub(crate) more: bool,
}

/// Which events are meant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    stream: Option<Stream>,
    kind: Option<&'static str>,
    /// The last sequence that is meant.
    to: Option<Seq>,
}

impl Filter {
    fn read(query: &Query) -> Result<Self, Problem> {
        let expected = "run/ID, experiment/ID, dataset/DIGEST or system/NAME";
        let kind = query.get("type").map(|name| {
            let known = Event::KINDS.iter().map(|kind| kind.name);
            known.clone().find(|known| *known == name).ok_or_else(|| {
                let near = crate::nearest::name(name, known);
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                wrong("type", "no event is called that").hint(hint)
            })
        });
        let to = query.parse::<u64>("to", "a sequence number is a positive integer")?;
        if to.is_some_and(|to| to == 0 || to > SEQUENCE_MAX) {
            return Err(wrong("to", "the first event has sequence number 1").limit(SEQUENCE_MAX));
        }
        Ok(Self {
            stream: query.parse("stream", expected)?,
            kind: kind.transpose()?,
            to: to.map(Seq),
        })
    }

    fn admits(&self, recorded: &Recorded) -> bool {
        let kind = || recorded.event().map(|event| event.kind().name);
        self.stream.is_none_or(|stream| recorded.stream == stream)
            && self.kind.is_none_or(|wanted| kind() == Some(wanted))
    }

    /// Where to begin after: where it was asked for, or at the oldest event that is left. What is
    /// asked for and pruned is an error; whether a stream lies whole behind that is seen when it is
    /// read.
    fn begin(&self, log: &Log, after: Option<Seq>) -> Result<Seq, Problem> {
        let one_stream = self
            .stream
            .is_some_and(|stream| stream.kind != StreamKind::System);
        match after {
            _ if one_stream => Ok(after.unwrap_or(Seq(0))),
            Some(after) => {
                log.check_kept(after.next())?;
                Ok(after)
            }
            None => Ok(Seq(log.oldest().0 - 1)),
        }
    }

    /// The last event that may be shown.
    fn last(&self, head: Seq) -> Seq {
        self.to.map_or(head, |to| to.min(head))
    }

    /// Events after `after`, at most `limit` of them, and the position to go on after. One call
    /// looks at a bounded number of events, so nothing may be found and yet there may be more.
    fn page(&self, log: &Log, after: Seq, limit: usize) -> Result<(Vec<Recorded>, Seq), Problem> {
        // Before anything is read: what is durable by then is found.
        let end = self.last(log.head().seq);
        let (mut found, mut last) = (Vec::new(), after);
        for _ in 0..SCAN_EVENTS_MAX / SCAN_PIECE {
            let piece = match self.kind {
                None => limit.min(SCAN_PIECE),
                Some(_) => SCAN_PIECE,
            };
            let events = match self.stream {
                Some(stream) => log.read_stream_after(stream, last, piece)?,
                None => log.read(last.next(), piece)?,
            };
            let ended = events.len() < piece;
            for recorded in events {
                if recorded.seq() > end {
                    return Ok((found, end.max(last)));
                }
                last = recorded.seq();
                if self.admits(&recorded) {
                    found.push(recorded);
                }
                if found.len() == limit {
                    return Ok((found, last));
                }
            }
            if ended {
                return Ok((found, end.max(last)));
            }
        }
        Ok((found, last))
    }
}

fn view(running: &Running, recorded: &Recorded) -> EventView {
    let cursor = running.log.position(recorded.seq()).to_string();
    views::event(recorded, cursor, &|key, payload| running.read(key, payload))
}

/// Everything that happened, oldest first.
///
/// With `Accept: text/event-stream` the events are sent as they happen, each with its cursor as
/// `id`; a client that reconnects with `Last-Event-ID` misses nothing. A cursor of another log is
/// refused with 409, one from before a restore with 410, and so is one to events that are pruned:
/// the hint says which backup holds them.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "history", operation_id = "events",
    params(
        ("from" = Option<u64>, Query, minimum = 1, maximum = 9_007_199_254_740_991_i64, description = "The first sequence number, instead of a cursor; beyond the end of the log, `next` is that end"),
        ("to" = Option<u64>, Query, minimum = 1, maximum = 9_007_199_254_740_991_i64, description = "The last sequence number of a page's range; a stream has no end"),
        ("stream" = Option<String>, Query, description = "Such as run/ID or system/server"),
        ("type" = Option<String>, Query, description = "Such as run_completed"),
        super::openapi::PageParameters,
        ("last-event-id" = Option<String>, Header, description = "Where a stream goes on"),
    ),
    responses(
        (status = 200, description = "A page, or the stream", content(
            (EventPage = "application/json"), (StreamEvent = "text/event-stream")
        )),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn list(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    let query = Query::read(
        &request,
        &["from", "to", "cursor", "limit", "stream", "type"],
    )?;
    let filter = Filter::read(&query)?;
    let limit = query.limit(&app.config.http)?;
    let after = start(&app, &request, &query)?;
    if parameters::wants_events(&request) {
        if filter.to.is_some() {
            return Err(wrong("to", "no end: a stream goes on; a page has one"));
        }
        if let Some(after) = after {
            running.log.check_kept(after.next())?;
        }
        let permit = stream::admit(&app)?;
        let head = app.head.get().expect("set before the server is running");
        let source = LogSource {
            app: app.clone(),
            head: head.clone(),
            filter,
            after: after.unwrap_or_else(|| running.log.head().seq),
            waiting: Vec::new(),
        };
        return Ok(stream::respond((app, &request), permit, source));
    }
    parameters::require_json_accepted(&request)?;
    let page = blocking(&app, move |running| page(running, &filter, after, limit)).await?;
    Ok(HttpResponse::Ok().json(page))
}

fn page(
    running: &Running,
    filter: &Filter,
    after: Option<Seq>,
    limit: usize,
) -> Result<EventPage, Problem> {
    let log = &running.log;
    let after = filter.begin(log, after)?;
    let (events, last) = filter.page(log, after, limit)?;
    let head = log.head().seq;
    let end = filter.last(head);
    Ok(EventPage {
        items: events.iter().map(|event| view(running, event)).collect(),
        // `from` may lie beyond the end of the log, a cursor may not.
        next: log.position(last.min(head)).to_string(),
        more: last < end,
    })
}

/// The position to start after; none when the request names none.
fn start(app: &App, request: &HttpRequest, query: &Query) -> Result<Option<Seq>, Problem> {
    let from = query.parse::<u64>("from", "a sequence number is a positive integer")?;
    if from.is_some_and(|from| from == 0 || from > SEQUENCE_MAX) {
        return Err(wrong("from", "the first event has sequence number 1").limit(SEQUENCE_MAX));
    }
    let cursor = parameters::cursor(app, query)?;
    if from.is_some() && cursor.is_some() {
        return Err(wrong("from", "give either `from` or `cursor`"));
    }
    let resumed = request.headers().get("last-event-id").map(|value| {
        let text = value.to_str().unwrap_or("");
        parameters::position(app, text, "header.last-event-id")
    });
    let resumed = match resumed {
        Some(position) if parameters::wants_events(request) => Some(position?),
        Some(_) | None => None,
    };
    // What a reconnecting client has seen counts more than where it first began.
    Ok(resumed.or(cursor).or(from.map(|from| Seq(from - 1))))
}

/// One event.
#[utoipa::path(
    get, path = "/api/v1/events/{sequence}", tag = "history", operation_id = "event",
    params(("sequence" = u64, Path, minimum = 1, description = "Its position in the log")),
    responses(
        (status = 200, description = "The event", body = EventView),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn show(
    app: Data<App>,
    request: HttpRequest,
    sequence: Path<String>,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let missing = || {
        let detail = format!("there is no event '{sequence}'");
        Problem::new(&error::NOT_FOUND, detail).field("path.sequence")
    };
    let seq: u64 = sequence.parse().map_err(|_| missing())?;
    let found = blocking(&app, move |running| {
        if seq == 0 || seq > running.log.head().seq.0 {
            return Ok(None);
        }
        let events = running.log.read(Seq(seq), 1)?;
        Ok(events.first().map(|recorded| view(running, recorded)))
    })
    .await?;
    found
        .map(|event| HttpResponse::Ok().json(event))
        .ok_or_else(missing)
}

/// Reads from the log when the reader is ready for more, so that a slow one costs no memory.
struct LogSource {
    app: Data<App>,
    head: watch::Receiver<Seq>,
    filter: Filter,
    after: Seq,
    /// Found and not sent, the next one last.
    waiting: Vec<Recorded>,
}

impl stream::Source for LogSource {
    async fn next(&mut self) -> Option<String> {
        let app = self.app.clone();
        let running = app.running().ok()?;
        loop {
            if let Some(recorded) = self.waiting.pop() {
                let view = view(running, &recorded);
                return Some(stream::event(&view.kind, Some(&view.cursor), &view));
            }
            if *self.head.borrow_and_update() <= self.after {
                self.head.changed().await.ok()?;
                continue;
            }
            let (filter, after) = (self.filter.clone(), self.after);
            let found = blocking(&self.app, move |running| {
                filter.page(&running.log, after, SCAN_PIECE)
            });
            match found.await {
                Ok((events, last)) => {
                    self.after = last;
                    self.waiting = events;
                    self.waiting.reverse();
                }
                Err(problem) => {
                    tracing::warn!(%problem, "an event stream ended");
                    return None;
                }
            }
        }
    }
}
