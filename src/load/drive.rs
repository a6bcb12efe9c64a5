//! Drives the users of a run, all on one thread.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{Instant as Moment, sleep_until, timeout};

use super::mix::{Endpoint, Random};
use super::server::Watch;
use super::tally::{Class, Outcome, Tally};
use super::wire::Connection;
use super::{Interval, Measured, Plan, ServerPoint, Target};
use crate::clock;

/// Pause of a user that found nobody listening, so that it does not ask without end.
const NO_CONNECTION_PAUSE: Duration = Duration::from_millis(100);
/// How long answers that are under way are waited for when somebody ends the run.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a server says in place of an answer when a circuit breaker is open.
const BREAKER_OPEN: &[u8] = b"urn:hindcast:problem:breaker-open";

/// What all users share.
struct Shared {
    plan: Plan,
    start: Instant,
    end: Instant,
    stop: watch::Receiver<bool>,
    figures: RefCell<Figures>,
    users: Cell<u32>,
    /// The most users in the present interval.
    most: Cell<u32>,
    /// Requests of an open run that were taken up.
    taken: Cell<u64>,
    connections: Cell<u64>,
}

struct Figures {
    endpoints: Vec<(Endpoint, Tally)>,
    all: Tally,
    interval: Tally,
    began: Instant,
    intervals: Vec<Interval>,
    last: Instant,
}

/// Runs a plan until its time is over or `stop` ends. `each` sees every row of the time line when it
/// is complete.
///
/// # Errors
/// There is no runtime to be had.
pub fn run(
    plan: Plan,
    stop: impl Future<Output = ()>,
    each: impl FnMut(&Interval),
) -> std::io::Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    Ok(local.block_on(&runtime, drive(plan, stop, each)))
}

async fn drive(
    plan: Plan,
    stop: impl Future<Output = ()>,
    mut each: impl FnMut(&Interval),
) -> Measured {
    let mut watched = Watch::new(&plan.target);
    let before = watched.look(&plan).await;
    let (tell, told) = watch::channel(false);
    let shared = Rc::new(Shared::new(plan, told));
    let interrupted = {
        let mut stop = std::pin::pin!(stop);
        let mut next = shared.start + shared.plan.interval;
        let mut spawned = 0;
        loop {
            let spawn_at = shared.spawn_at(spawned);
            tokio::select! {
                biased;
                () = stop.as_mut() => break true,
                () = sleep_until(shared.end.into()) => break false,
                () = sleep_until(next.into()) => {
                    let point = watched.look(&shared.plan).await;
                    each(&shared.close_interval(point));
                    // A look that took long leaves one long interval, not many empty ones.
                    next = (next + shared.plan.interval).max(clock::now());
                }
                () = sleep_until(spawn_at.into()), if spawned < shared.plan.users => {
                    tokio::task::spawn_local(user(Rc::clone(&shared), spawned));
                    spawned += 1;
                }
            }
        }
    };
    // Users that pause end at once; those that wait for an answer get it.
    tell.send_replace(true);
    let patience = match interrupted {
        true => PATIENCE.min(shared.plan.timeout),
        false => shared.plan.timeout,
    };
    let users = async {
        while shared.users.get() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _all_ended = timeout(patience + NO_CONNECTION_PAUSE, users).await;
    let point = watched.look(&shared.plan).await;
    if shared.has_open_interval() {
        each(&shared.close_interval(point));
    }
    shared.measured(before, (&watched, interrupted))
}

impl Shared {
    fn new(plan: Plan, stop: watch::Receiver<bool>) -> Self {
        let start = clock::now();
        let endpoints = plan.mix.endpoints();
        let figures = Figures {
            endpoints: endpoints.map(|one| (one, Tally::default())).collect(),
            all: Tally::default(),
            interval: Tally::default(),
            began: start,
            intervals: Vec::new(),
            last: start,
        };
        Self {
            end: start + plan.duration,
            start,
            stop,
            figures: RefCell::new(figures),
            users: Cell::new(0),
            most: Cell::new(0),
            taken: Cell::new(0),
            connections: Cell::new(0),
            plan,
        }
    }

    /// When the user with this number begins.
    fn spawn_at(&self, number: u32) -> Instant {
        let after = f64::from(number) / self.plan.spawn_per_second;
        self.start + Duration::from_secs_f64(after.clamp(0.0, 1e9))
    }

    fn record(&self, endpoint: Endpoint, outcome: Outcome, since: Instant) {
        let now = clock::now();
        let took = now.saturating_duration_since(since);
        let figures = &mut *self.figures.borrow_mut();
        let own = figures.endpoints.iter_mut().find(|(e, _)| *e == endpoint);
        if let Some((_, own)) = own {
            own.record(outcome, took);
        }
        figures.all.record(outcome, took);
        figures.interval.record(outcome, took);
        figures.last = now;
    }

    fn has_open_interval(&self) -> bool {
        self.figures.borrow().interval.requests() > 0
    }

    fn close_interval(&self, server: Option<ServerPoint>) -> Interval {
        let now = clock::now();
        let figures = &mut *self.figures.borrow_mut();
        let tally = &figures.interval;
        let interval = Interval {
            at_s: rounded(now.duration_since(self.start)),
            seconds: rounded(now.duration_since(figures.began)),
            users: self.most.replace(self.users.get()),
            requests: tally.requests(),
            failures: tally.count(Class::Failed),
            turned_away: tally.count(Class::TurnedAway),
            latency: tally.latency(),
            server,
        };
        figures.interval.reset();
        figures.began = now;
        figures.intervals.push(interval.clone());
        interval
    }

    fn measured(
        &self,
        before: Option<ServerPoint>,
        (watched, interrupted): (&Watch, bool),
    ) -> Measured {
        let figures = self.figures.borrow();
        // Users that pause at the end are part of what was measured.
        let ended = match interrupted {
            true => figures.last,
            false => figures.last.max(self.end),
        };
        let elapsed = ended.duration_since(self.start);
        let due = self.plan.rate.map_or(0, |rate| {
            let seconds = match interrupted {
                true => elapsed,
                false => self.plan.duration,
            };
            count(rate * seconds.as_secs_f64())
        });
        Measured {
            endpoints: figures.endpoints.clone(),
            all: figures.all.clone(),
            intervals: figures.intervals.clone(),
            elapsed,
            interrupted,
            unsent: due.saturating_sub(self.taken.get()),
            connections: self.connections.get(),
            before,
            server_cpu_s: watched.cpu_seconds(),
        }
    }

    /// When the next request of an open run is due; none when that is after its end.
    fn due(&self, rate: f64) -> Option<Instant> {
        let number = self.taken.get();
        let at = self.start + Duration::from_secs_f64(number as f64 / rate);
        (at < self.end).then(|| {
            self.taken.set(number + 1);
            at
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "requests of a run, which are bounded by its rate and its time"
)]
fn count(requests: f64) -> u64 {
    requests.max(0.0) as u64
}

/// Seconds with three digits.
fn rounded(span: Duration) -> f64 {
    (span.as_secs_f64() * 1_000.0).round() / 1_000.0
}

/// Counts a user from its beginning to its end.
struct Present<'a>(&'a Cell<u32>);

impl<'a> Present<'a> {
    fn new(users: &'a Cell<u32>) -> Self {
        users.set(users.get() + 1);
        Self(users)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

async fn user(shared: Rc<Shared>, number: u32) {
    let _present = Present::new(&shared.users);
    shared.most.set(shared.most.get().max(shared.users.get()));
    let plan = &shared.plan;
    let mut random = Random::new(plan.seed, u64::from(number) + 1);
    let mut connection = None;
    let mut stop = shared.stop.clone();
    loop {
        let since = match plan.rate {
            None => clock::now(),
            Some(rate) => {
                let Some(due) = shared.due(rate) else { return };
                if !paused(&mut stop, due).await {
                    return;
                }
                due
            }
        };
        let (endpoint, body) = plan.mix.draw(&mut random);
        let request = request(&plan.target, endpoint.route(), &body);
        let asked = timeout(plan.timeout, ask(&shared, &mut connection, &request)).await;
        let outcome = asked.unwrap_or(Outcome::Timeout);
        if outcome == Outcome::Timeout {
            // What still comes on it belongs to a request that nobody waits for.
            connection = None;
        }
        shared.record(endpoint, outcome, since);
        let pause = match (outcome, plan.rate) {
            (Outcome::NoConnection, _) => NO_CONNECTION_PAUSE,
            (_, Some(_)) => Duration::ZERO,
            (_, None) => {
                let (least, most) = plan.wait;
                least + most.saturating_sub(least).mul_f64(random.share())
            }
        };
        let goes_on = match pause.is_zero() {
            true => !*stop.borrow(),
            false => paused(&mut stop, clock::now() + pause).await,
        };
        if !goes_on {
            return;
        }
    }
}

/// Waits until then; false when the run ends before.
async fn paused(stop: &mut watch::Receiver<bool>, until: Instant) -> bool {
    if *stop.borrow() {
        return false;
    }
    tokio::select! {
        () = sleep_until(Moment::from_std(until)) => !*stop.borrow(),
        _ = stop.changed() => false,
    }
}

async fn ask(shared: &Shared, place: &mut Option<Connection>, request: &[u8]) -> Outcome {
    let mut connection = match place.take() {
        Some(open) => open,
        None => match shared.plan.target.connect().await {
            Ok(opened) => {
                shared.connections.set(shared.connections.get() + 1);
                opened
            }
            Err(_) => return Outcome::NoConnection,
        },
    };
    match connection.ask(request).await {
        Ok(status) => {
            let body = connection.body();
            let outcome = match status {
                503 if body
                    .windows(BREAKER_OPEN.len())
                    .any(|at| at == BREAKER_OPEN) =>
                {
                    Outcome::BreakerOpen
                }
                status => Outcome::Status(status),
            };
            if connection.is_open() {
                *place = Some(connection);
            }
            outcome
        }
        Err(error) if error.kind() == ErrorKind::InvalidData => Outcome::Garbled,
        Err(_) => Outcome::Broken,
    }
}

/// A whole request.
pub(super) fn request(target: &Target, (method, path): (&str, &str), body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", target.host);
    if let Some(authorization) = &target.authorization {
        text.push_str("authorization: ");
        text.push_str(authorization);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        text.push_str("content-type: application/json\r\ncontent-length: ");
        text.push_str(&body.len().to_string());
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}
