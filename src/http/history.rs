//! Questions about the past: the state at a moment, what changed between two, and where something
//! comes from. They are answered from the files of the log, a few at a time, on threads that may
//! read the disk; the running state is not touched.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use hindcast_actors::history::{
    self, About, Asked, Difference, Direction, GraphFormat, HistoryError, Provenance, Source,
    StateAt, When,
};
use hindcast_log::{LogError, Reader, Recorded};
use hindcast_model::{KeyId, Payload, Seq, Stream, UnixMicros};
use tokio::sync::OwnedSemaphorePermit;

use super::error::{self, Problem};
use super::events::SEQUENCE_MAX;
use super::parameters::{self, Query, wrong};
use super::{App, Running, blocking};
use crate::clock;

const MOMENT: &str = "the sequence of an event, or a time such as 2026-11-22T13:52:46Z";

/// What is durable on this server.
pub(super) struct Live<'a> {
    running: &'a Running,
    reader: Reader,
    head: Seq,
    now: UnixMicros,
}

impl<'a> Live<'a> {
    pub(super) fn open(running: &'a Running) -> Result<Self, LogError> {
        // The head first: what the files hold beyond it may not be durable.
        let head = running.log.head().seq;
        Ok(Self {
            reader: Reader::open(running.log.data_dir())?,
            running,
            head,
            now: clock::wall(),
        })
    }
}

impl Source for Live<'_> {
    fn reader(&self) -> &Reader {
        &self.reader
    }

    fn head(&self) -> Seq {
        self.head
    }

    fn now(&self) -> UnixMicros {
        self.now
    }

    fn stream(&self, stream: Stream) -> Result<Vec<Recorded>, LogError> {
        let mut events = self.running.log.read_stream(stream)?;
        events.retain(|recorded| recorded.seq() <= self.head);
        Ok(events)
    }

    fn text(&self, key: KeyId, payload: &Payload) -> Option<String> {
        self.running.read(key, payload)
    }

    fn read(&self, from: Seq, max: usize) -> Result<Vec<Recorded>, LogError> {
        let mut events = self.running.log.read(from, max)?;
        events.retain(|recorded| recorded.seq() <= self.head);
        Ok(events)
    }

    fn cut(&self, at: UnixMicros) -> Result<Seq, LogError> {
        Ok(self.running.log.cut(at)?.min(self.head))
    }
}

impl Problem {
    /// The problem of a question about the past; `asked` is the path parameter that named its
    /// subject.
    pub(super) fn from_history(error: HistoryError, asked: &str) -> Self {
        match error {
            HistoryError::Moment {
                field,
                message,
                limit,
            } => Self::new(&error::BAD_PARAMETER, message)
                .field(format!("query.{field}"))
                .limit(limit.0),
            HistoryError::Unknown { message, hint } => Self::new(&error::NOT_FOUND, message)
                .field(format!("path.{asked}"))
                .hint(hint),
            HistoryError::Log(error) => error.into(),
        }
    }
}

/// A place among the questions that may be worked on at once.
pub(super) fn admit(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    app.history.clone().try_acquire_owned().map_err(|_| {
        let message = "as many questions about the past are worked on as may be at once";
        Problem::new(&error::BUSY, message)
            .limit(app.config.http.history_max as u64)
            .retry_after(1)
    })
}

pub(super) async fn answer<R: Send + 'static>(
    app: &Data<App>,
    asked: &'static str,
    work: impl FnOnce(&dyn Source) -> Result<R, HistoryError> + Send + 'static,
) -> Result<R, Problem> {
    let permit = admit(app)?;
    blocking(app, move |running| {
        // Held by the work itself: a client that goes away does not end it.
        let _permit = permit;
        let live = Live::open(running)?;
        work(&live).map_err(|error| Problem::from_history(error, asked))
    })
    .await
}

pub(super) fn moment(query: &Query, name: &str) -> Result<When, Problem> {
    Ok(query.parse(name, MOMENT)?.unwrap_or_default())
}

/// The two moments of a difference, of which the first has to be named.
fn moments(query: &Query) -> Result<(When, When), Problem> {
    if query.get("from").is_none() {
        let problem = Problem::new(&error::BAD_PARAMETER, "the first moment is not given");
        return Err(problem
            .field("query.from")
            .hint(format!("expected: {MOMENT}")));
    }
    Ok((moment(query, "from")?, moment(query, "to")?))
}

fn subject(path: &(String, String)) -> Result<About, Problem> {
    let (kind, id) = path;
    format!("{kind}/{id}").parse().map_err(|_| {
        let detail = format!("there is no stream {kind}/{id}");
        let hint = "streams are run/ID, experiment/ID, dataset/DIGEST and system/NAME";
        let problem = Problem::new(&error::NOT_FOUND, detail).field("path.id");
        problem.hint(hint.to_owned())
    })
}

async fn state(
    app: Data<App>,
    request: &HttpRequest,
    about: About,
) -> Result<HttpResponse, Problem> {
    let query = Query::read(request, &["at"])?;
    parameters::require_json_accepted(request)?;
    let when = moment(&query, "at")?;
    let work = move |source: &dyn Source| history::state(source, about, when);
    let found = answer(&app, "id", work).await?;
    Ok(HttpResponse::Ok().json(found))
}

async fn difference(
    app: Data<App>,
    request: &HttpRequest,
    about: About,
) -> Result<HttpResponse, Problem> {
    let query = Query::read(request, &["from", "to"])?;
    parameters::require_json_accepted(request)?;
    let when = moments(&query)?;
    let work = move |source: &dyn Source| history::difference(source, about, when);
    let found = answer(&app, "id", work).await?;
    Ok(HttpResponse::Ok().json(found))
}

/// The whole state at a moment.
///
/// It is folded from the nearest snapshot before the moment. Nothing is left out but what is sealed
/// and, of collections with very many entries, what `omitted` counts.
#[utoipa::path(
    get, path = "/api/v1/state/all", tag = "history", operation_id = "state",
    params(("at" = Option<String>, Query, description = "The sequence of an event, or a time in RFC 3339; the end of the log if left out")),
    responses(
        (status = 200, description = "The state after that event", body = StateAt),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn whole(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    app.running()?;
    state(app, &request, About::All).await
}

/// What changed in the whole state between two moments.
#[utoipa::path(
    get, path = "/api/v1/state/all/diff", tag = "history", operation_id = "state_diff",
    params(
        ("from" = String, Query, description = "The sequence of an event, or a time in RFC 3339"),
        ("to" = Option<String>, Query, description = "The same; the end of the log if left out"),
    ),
    responses(
        (status = 200, description = "The facts that differ, and the events between", body = Difference),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn whole_difference(
    app: Data<App>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    difference(app, &request, About::All).await
}

/// What was known of one stream at a moment: a run, an experiment, a dataset or a part of the server.
#[utoipa::path(
    get, path = "/api/v1/state/{kind}/{id}", tag = "history", operation_id = "stream_state",
    params(
        ("kind" = String, Path, description = "run, experiment, dataset or system"),
        ("id" = String, Path, description = "The id, the digest or the name of the stream"),
        ("at" = Option<String>, Query, description = "The sequence of an event, or a time in RFC 3339; the end of the log if left out"),
    ),
    responses(
        (status = 200, description = "What was known after that event", body = StateAt),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn stream(
    app: Data<App>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    let about = subject(&path)?;
    state(app, &request, about).await
}

/// What changed in one stream between two moments.
#[utoipa::path(
    get, path = "/api/v1/state/{kind}/{id}/diff", tag = "history", operation_id = "stream_state_diff",
    params(
        ("kind" = String, Path, description = "run, experiment, dataset or system"),
        ("id" = String, Path, description = "The id, the digest or the name of the stream"),
        ("from" = String, Query, description = "The sequence of an event, or a time in RFC 3339"),
        ("to" = Option<String>, Query, description = "The same; the end of the log if left out"),
    ),
    responses(
        (status = 200, description = "The facts that differ, and the events between", body = Difference),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn stream_difference(
    app: Data<App>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    let about = subject(&path)?;
    difference(app, &request, about).await
}

/// Where something comes from, and what followed from it.
///
/// Backward from a run: its request, data, algorithm, numeric profile, seed, the configuration and
/// binary that were in force, and the run whose result it has. Forward from a run or a dataset: the
/// runs that have its result or read it. Edges run from the cause to what follows from it, and
/// `relation` says what the cause is. What followed is searched for in a bounded part of the log,
/// which `forward` names.
#[utoipa::path(
    get, path = "/api/v1/provenance/{id}", tag = "history", operation_id = "provenance",
    params(
        ("id" = String, Path, description = "The id of a run, an experiment or an event, the digest of a dataset, or a sequence"),
        ("direction" = Option<String>, Query, description = "backward, forward or both; both if left out"),
        ("format" = Option<String>, Query, description = "json, dot or svg; json if left out"),
        ("after" = Option<u64>, Query, maximum = 9_007_199_254_740_991_i64, description = "`forward.next` of the answer before"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "How many runs that followed; 50 if left out"),
    ),
    responses(
        (status = 200, description = "The graph", content(
            (Provenance = "application/json"), (String = "text/vnd.graphviz"), (String = "image/svg+xml")
        )),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn provenance(
    app: Data<App>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    let query = Query::read(&request, &["direction", "format", "after", "limit"])?;
    let direction = match query.get("direction") {
        None | Some("both") => Direction::Both,
        Some("backward") => Direction::Backward,
        Some("forward") => Direction::Forward,
        Some(_) => return Err(wrong("direction", "backward, forward or both")),
    };
    let format = match query.get("format") {
        None | Some("json") => None,
        Some("dot") => Some(GraphFormat::Dot),
        Some("svg") => Some(GraphFormat::Svg),
        Some(_) => return Err(wrong("format", "json, dot or svg")),
    };
    let media_type = format.map_or("application/json", GraphFormat::media_type);
    let plain = media_type.split(';').next().unwrap_or(media_type);
    if !parameters::accepts(&request, &[plain]) {
        let problem = Problem::new(&error::NOT_ACCEPTABLE, format!("the answer is {plain}"));
        return Err(problem.field("header.accept"));
    }
    let after: Option<u64> = query.parse("after", "the sequence of an event")?;
    if after.is_some_and(|after| after > SEQUENCE_MAX) {
        return Err(wrong("after", "the sequence of an event").limit(SEQUENCE_MAX));
    }
    let bounds = (after.map(Seq), query.limit(&app.config.http)?);
    let asked: Asked = id.parse().map_err(|error: history::BadAsked| {
        let problem = Problem::new(&error::NOT_FOUND, error.to_string());
        problem.field("path.id")
    })?;
    let work = move |source: &dyn Source| history::provenance(source, asked, direction, bounds);
    let found = answer(&app, "id", work).await?;
    match format {
        None => Ok(HttpResponse::Ok().json(found)),
        Some(format) => {
            let drawn = found.graph.draw(format)?;
            Ok(HttpResponse::Ok().content_type(media_type).body(drawn))
        }
    }
}
