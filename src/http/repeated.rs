//! A POST that is sent again with its idempotency key is answered with what was kept of the first.
//!
//! Runs, datasets, experiments and backups look at the key themselves: the event that asks for one
//! of them has it, and their answer is made again from what they led to. Around every other POST
//! stands [`once`]: its answer is recorded as an event before it is given. A request without a key
//! passes through.

use std::collections::BTreeMap;
use std::future::{Future as _, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::body::{BoxBody, MessageBody as _};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{Data, Payload};
use actix_web::{Error, HttpRequest, HttpResponse, Route, rt};
use hindcast_actors::{DoneAnswer, Identity, trace};
use hindcast_model::event::{AnswerKept, Event, Idempotency};
use hindcast_model::memory::FirstAnswer;
use hindcast_model::state::IdempotencyKey;
use hindcast_model::{Name16, Seq};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::body::{self, Body};
use super::causal::REPLAYED;
use super::error::{self, Problem};
use super::{App, Running, blocking, identity, outcome, parameters, subject};
use crate::clock;

/// The name under which requests are told apart from those that keep their key themselves.
const OPERATION: &str = "post";

/// What is kept of an answer, where that is not the answer as it is given. A handler puts it into the
/// extensions of its response.
#[derive(Debug, Clone)]
pub(crate) enum Keep {
    /// This body in place of the one that is given, which holds a secret.
    Instead(String),
    /// As it is given, and readable whatever becomes of the data of the subject that is named: an
    /// event says the same.
    Readable,
}

/// A route whose requests are done once for each idempotency key.
pub(crate) fn once(route: Route) -> Route {
    route.wrap(from_fn(repeated))
}

async fn repeated(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if !request.headers().contains_key(&parameters::IDEMPOTENCY_KEY) {
        return next.call(request).await;
    }
    let app = request.app_data::<Data<App>>().cloned();
    let app = app.expect("every server is built with its state");
    // Whoever cannot be answered yet, or any more, is told so by the handler.
    if app.running().is_err() {
        return next.call(request).await;
    }
    let asked = match asked(&app, &mut request).await {
        Ok(asked) => asked,
        Err(problem) => return Ok(request.error_response(problem)),
    };
    let turn = app.turns.take(asked.key()).await;
    match known(&app, request.request(), &asked).await {
        Ok(Some(response)) => Ok(request.into_response(response)),
        Ok(None) => work(app, (request, next), (asked, turn)).await,
        Err(problem) => Ok(request.error_response(problem)),
    }
}

/// Who asks, and what the key stands for.
struct Asked {
    identity: Identity,
    idempotency: Idempotency,
    body: Body,
}

impl Asked {
    const fn key(&self) -> IdempotencyKey {
        (self.identity.principal, self.idempotency.key)
    }
}

/// Reads the key and the body.
async fn asked(app: &App, request: &mut ServiceRequest) -> Result<Asked, Problem> {
    let http = &app.config.http;
    let key = parameters::idempotency_key(request.request(), http)?.unwrap_or_default();
    let identity = identity(request.request())?;
    let payload = request.extract::<Payload>().await;
    let payload = payload.map_err(|error| Problem::new(&error::MALFORMED, error.to_string()))?;
    let body = body::read(request.request(), payload, &app.memory, http).await?;
    let parts = [
        request.path().as_bytes(),
        request.query_string().as_bytes(),
        &body.bytes,
        subject(request.request()),
    ];
    let idempotency = body::idempotency(&key, OPERATION, &parts);
    Ok(Asked {
        identity,
        idempotency,
        body,
    })
}

/// Has the handler do it, and keeps the answer. Whoever asked may have gone by then: the work goes
/// on, and its answer is there for who asks again.
async fn work(
    app: Data<App>,
    (mut request, next): (ServiceRequest, Next<BoxBody>),
    (asked, turn): (Asked, Turn),
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Asked {
        identity,
        idempotency,
        body,
    } = asked;
    let bytes = body.bytes.clone();
    // Its share of the memory is taken again where it is read again.
    drop(body);
    request.set_payload(bytes.into());
    let (of, place) = (request.request().clone(), trace::current());
    let work = async move {
        let response = next.call(request).await?;
        let response = kept(&app, response, (identity, idempotency)).await;
        drop(turn);
        Ok(response)
    };
    let work = async move {
        let mut work = Box::pin(work);
        poll_fn(|context| trace::within(place.as_ref(), || work.as_mut().poll(context))).await
    };
    match rt::spawn(work).await {
        Ok(answered) => answered,
        Err(ended) => {
            let problem = Problem::new(&error::INTERNAL, ended.to_string());
            Ok(ServiceResponse::from_err(problem, of))
        }
    }
}

/// The answer that was kept, if the request was done before. None also of one whose answer was too
/// large to be kept: all that have such are questions.
async fn known(
    app: &Data<App>,
    request: &HttpRequest,
    asked: &Asked,
) -> Result<Option<HttpResponse>, Problem> {
    let principal = asked.identity.principal;
    let first = app
        .running()?
        .log
        .state(|state| state.first_answer(principal, &asked.idempotency, clock::wall()));
    match first {
        None => Ok(None),
        Some(FirstAnswer::Other) => {
            let detail = "the idempotency key was used with another request";
            Err(Problem::new(&error::KEY_REUSED, detail).field("header.idempotency-key"))
        }
        Some(FirstAnswer::Same(seq)) => {
            let found = blocking(app, move |running| answer(running, seq)).await?;
            let Some(Found {
                status,
                media,
                text,
            }) = found
            else {
                return Ok(None);
            };
            if !parameters::accepts(request, &[media.split(';').next().unwrap_or("")]) {
                let problem =
                    Problem::new(&error::NOT_ACCEPTABLE, format!("the answer is {media}"));
                return Err(problem.field("header.accept"));
            }
            let mut builder = HttpResponse::build(status);
            builder.insert_header((REPLAYED, "true"));
            builder.insert_header((CACHE_CONTROL, "no-store"));
            Ok(Some(builder.content_type(media).body(text)))
        }
    }
}

/// Whether the key is remembered, whatever was asked for under it.
pub(crate) fn is_known(running: &Running, principal: Name16, key: Option<Idempotency>) -> bool {
    let now = clock::wall();
    key.is_some_and(|key| {
        let before = running
            .log
            .state(|state| state.asked_before(principal, &key, now));
        before.is_some()
    })
}

/// An answer as it was kept.
struct Found {
    status: StatusCode,
    media: String,
    text: String,
}

fn answer(running: &Running, seq: Seq) -> Result<Option<Found>, Problem> {
    let lost = || Problem::new(&error::INTERNAL, format!("no answer stands at {seq}"));
    let recorded = running.log.read(seq, 1)?.pop().ok_or_else(lost)?;
    let key = recorded.context.key;
    let Some(Event::AnswerKept(AnswerKept {
        status,
        media,
        answer,
        ..
    })) = recorded.event().cloned()
    else {
        return Err(lost());
    };
    let Some(answer) = answer else {
        return Ok(None);
    };
    Ok(Some(Found {
        status: StatusCode::from_u16(status).map_err(|_| lost())?,
        media,
        text: outcome::text(running, key, answer)?,
    }))
}

/// Keeps the answer of what was done, before it is given. What was refused or has failed binds no
/// key.
async fn kept(
    app: &App,
    response: ServiceResponse<BoxBody>,
    (identity, idempotency): (Identity, Idempotency),
) -> ServiceResponse<BoxBody> {
    let running = app.running.get().filter(|running| {
        running.log.read_only().is_none()
            && running.log.state(hindcast_model::State::remembers_keys)
    });
    let (Some(running), true) = (running, response.status().is_success()) else {
        return response;
    };
    let (request, response) = response.into_parts();
    let keep = response.extensions().get::<Keep>().cloned();
    let media = response.headers().get(CONTENT_TYPE);
    let media = media
        .and_then(|value| value.to_str().ok())
        .unwrap_or("")
        .to_owned();
    let (head, body) = response.into_parts();
    let (text, body) = match body.try_into_bytes() {
        Ok(bytes) => (
            std::str::from_utf8(&bytes).ok().map(str::to_owned),
            BoxBody::new(bytes),
        ),
        Err(body) => (None, body),
    };
    let (text, readable) = match keep {
        None => (text, false),
        Some(Keep::Instead(text)) => (Some(text), false),
        Some(Keep::Readable) => (text, true),
    };
    let done = DoneAnswer {
        idempotency,
        request: format!("{} {}", request.method(), request.path()),
        status: head.status().as_u16(),
        media,
        text,
    };
    let identity = Identity {
        subject: identity.subject.filter(|_| !readable),
        ..identity
    };
    // It is done, and whoever hears so does not ask again: to be told of a failure, they would.
    if let Err(failure) = running.experiment.keep_answer(identity, done).await {
        tracing::error!(%failure, "an answer could not be kept; the same request would be done again");
    }
    ServiceResponse::new(request, head.set_body(body))
}

/// Who is at which key: one at a time.
#[derive(Default)]
pub(crate) struct Turns(Arc<Mutex<Keys>>);

type Keys = BTreeMap<IdempotencyKey, Arc<AsyncMutex<()>>>;

/// A place in the line of a key, and the turn once it has come.
pub(crate) struct Turn {
    keys: Arc<Mutex<Keys>>,
    key: IdempotencyKey,
    place: Option<Arc<AsyncMutex<()>>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until nobody else is at this key.
    pub(crate) async fn take(&self, key: IdempotencyKey) -> Turn {
        let place = Arc::clone(
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(key)
                .or_default(),
        );
        let mut turn = Turn {
            keys: Arc::clone(&self.0),
            key,
            place: Some(Arc::clone(&place)),
            held: None,
        };
        turn.held = Some(place.lock_owned().await);
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.held = None;
        self.place = None;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        // The last one of the line takes it away. A place is taken under the same lock.
        if keys
            .get(&self.key)
            .is_some_and(|place| Arc::strong_count(place) == 1)
        {
            keys.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn one_at_a_time_and_nothing_is_left() {
        let turns = Turns::default();
        let key = |n| (Name16::new("ada"), [n; 16]);
        let first = turns.take(key(1)).await;
        let _other = turns.take(key(2)).await;
        let mut second = Box::pin(turns.take(key(1)));
        assert!(futures_util::poll!(&mut second).is_pending());
        let mut third = Box::pin(turns.take(key(1)));
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(first);
        // One that was next and has gone does not block the line.
        drop(second);
        let third = third.await;
        assert_eq!(turns.0.lock().expect("no panic").len(), 2);
        drop(third);
        assert_eq!(turns.0.lock().expect("no panic").len(), 1);
    }
}
