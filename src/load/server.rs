//! How the server fares while it is under load: its own metrics, read once for each interval.

use std::time::Duration;

use super::wire::Connection;
use super::{Plan, ServerPoint, Target};
use crate::clock;
use crate::metrics::read::Scrape;

const RESIDENT: &str = "process_resident_memory_bytes";
const CPU: &str = "process_cpu_seconds_total";
const BREAKERS: &str = "circuit_breaker_state";
/// How long its metrics are waited for: no user begins meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// The value of [`BREAKERS`] of one that calls have opened.
const OPEN: f64 = 2.0;

/// Reads the metrics of a server again and again.
#[derive(Debug)]
pub(super) struct Watch {
    request: Vec<u8>,
    connection: Option<Connection>,
    /// When the last point was taken, in microseconds of the monotonic clock, and the CPU seconds
    /// up to then.
    last: Option<(u64, f64)>,
    /// CPU seconds at the first point.
    first_cpu: Option<f64>,
}

impl Watch {
    pub(super) fn new(target: &Target) -> Self {
        Self {
            request: super::drive::request(target, ("GET", "/metrics"), ""),
            connection: None,
            last: None,
            first_cpu: None,
        }
    }

    /// The server as it is now; none when it does not say so soon.
    pub(super) async fn look(&mut self, plan: &Plan) -> Option<ServerPoint> {
        let patience = PATIENCE.min(plan.timeout);
        let page = tokio::time::timeout(patience, self.page(&plan.target)).await;
        let page = page.ok().flatten();
        if page.is_none() {
            self.connection = None;
        }
        let page = page?;
        let resident = page.sum(RESIDENT, &[])?;
        let cpu = page.sum(CPU, &[]);
        let now = clock::monotonic_micros();
        let cpu_percent = self.last.zip(cpu).and_then(|((then, before), cpu)| {
            let seconds = now.saturating_sub(then) as f64 / 1e6;
            // One that was started anew counts from nothing.
            (seconds > 0.0 && cpu >= before)
                .then(|| ((cpu - before) / seconds * 1_000.0).round() / 10.0)
        });
        if let Some(cpu) = cpu {
            self.last = Some((now, cpu));
            self.first_cpu.get_or_insert(cpu);
        }
        let open = page
            .rows(BREAKERS)
            .filter(|row| (row.value - OPEN).abs() < 0.5);
        Some(ServerPoint {
            resident_bytes: whole(resident),
            cpu_percent,
            breakers_open: open.map(|row| row.label("name").to_owned()).collect(),
        })
    }

    /// CPU seconds between the first point and the last.
    pub(super) fn cpu_seconds(&self) -> Option<f64> {
        let (_, last) = self.last?;
        Some(last - self.first_cpu?)
    }

    async fn page(&mut self, target: &Target) -> Option<Scrape> {
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => target.connect().await.ok()?,
        };
        let status = connection.ask(&self.request).await.ok()?;
        if status != 200 {
            return None;
        }
        let text = std::str::from_utf8(connection.body()).ok()?;
        let page = Scrape::parse(text, |name| matches!(name, RESIDENT | CPU | BREAKERS));
        if connection.is_open() {
            self.connection = Some(connection);
        }
        Some(page)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes of memory are whole and below 2^53"
)]
fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}
