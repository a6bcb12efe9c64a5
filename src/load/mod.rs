//! A generator of load: users that ask, wait and ask again over connections of their own, or
//! requests that come at a rate. It measures what came back and how the server fared meanwhile, and
//! says where it broke.
//!
//! One thread drives all users, so that what it takes itself is known and small. Closed model: a
//! user asks when the answer before is there and its pause is over; a slow server is asked less
//! often, and its worst moments are met by fewer requests. Open model (a rate): a request's time
//! counts from the moment at which it should have been sent, whether or not a connection was free.

pub mod breaking;
mod drive;
pub mod endpoints;
pub mod mix;
mod report;
mod server;
pub mod tally;
pub mod tls;
pub mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

pub use drive::run;
pub use report::{EndpointReport, Report, ServerReport, Settings, Verdict};

use mix::Mix;
use tally::{Latency, Tally};
use tls::Tls;
use wire::Connection;

/// Users at once.
pub const USERS_MAX: u32 = 10_000;
/// Users that begin in a second.
pub const SPAWN_PER_SECOND_MAX: f64 = 10_000.0;
/// Requests per second of an open run.
pub const RATE_MAX: f64 = 200_000.0;
/// How long a run may take.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How long a user may wait between two requests: servers keep an idle connection for longer.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long an answer may be waited for.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// Rows of the time line.
pub const INTERVALS_MAX: u64 = 3_600;
/// The shortest interval.
pub const INTERVAL_MIN: Duration = Duration::from_millis(50);

/// Where requests go, and what goes with each.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: SocketAddr,
    /// The value of `Host`.
    pub host: String,
    /// How connections are sealed; none for plain ones.
    pub tls: Option<Tls>,
    /// The whole value of `Authorization`.
    pub authorization: Option<String>,
}

impl Target {
    async fn connect(&self) -> std::io::Result<Connection> {
        Connection::open(self.address, self.tls.as_ref()).await
    }
}

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan {
    pub target: Target,
    pub mix: Mix,
    pub users: u32,
    /// Users that begin in a second.
    pub spawn_per_second: f64,
    pub duration: Duration,
    /// A user pauses from the first to the second of these between two requests.
    pub wait: (Duration, Duration),
    /// Requests per second, whatever becomes of them; none for users that wait for their answers.
    pub rate: Option<f64>,
    /// Length of a row of the time line.
    pub interval: Duration,
    /// How long an answer is waited for.
    pub timeout: Duration,
    pub seed: u64,
}

/// How the server was at the end of an interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerPoint {
    pub resident_bytes: u64,
    /// Of one processor since the point before; over 100 when it used several.
    pub cpu_percent: Option<f64>,
    /// Circuit breakers that were open.
    pub breakers_open: Vec<String>,
}

/// A row of the time line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Interval {
    /// Seconds since the start, at its end.
    pub at_s: f64,
    /// Its length.
    pub seconds: f64,
    /// The most users in it.
    pub users: u32,
    pub requests: u64,
    pub failures: u64,
    /// 429 and 503.
    pub turned_away: u64,
    #[serde(flatten)]
    pub latency: Latency,
    /// None when its metrics could not be read.
    pub server: Option<ServerPoint>,
}

/// What a run has measured.
#[derive(Debug)]
pub struct Measured {
    /// By endpoint, in the order of the mix.
    pub endpoints: Vec<(mix::Endpoint, Tally)>,
    pub all: Tally,
    pub intervals: Vec<Interval>,
    /// From the start to the last answer.
    pub elapsed: Duration,
    /// Somebody ended it.
    pub interrupted: bool,
    /// Requests of an open run that were due and had no connection to be sent on.
    pub unsent: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// How the server was before the first request.
    pub before: Option<ServerPoint>,
    /// CPU time that the server used, in seconds.
    pub server_cpu_s: Option<f64>,
}
