//! What is said of a run: as JSON, and as text for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::breaking::{Signal, signals, unsent};
use super::tally::{Class, Latency};
use super::{Interval, Measured, Plan};

/// Rows of the time line in the text.
const ROWS_SHOWN: usize = 20;

/// Said of a run of users: what its times leave out.
const CLOSED_NOTE: &str = "closed model: a user waits for its answer before it asks again, so a slow \
    server is asked less often and its worst moments are met by fewer requests; --rate asks at a rate \
    of its own";
/// Said of a run at a rate.
const OPEN_NOTE: &str =
    "open model: times count from the moment at which a request was due, sent or not";

/// Whether a breaking point was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Held,
    Broke,
    /// No request was answered.
    NoAnswer,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    pub scenario: String,
    pub mix: &'static str,
    pub target: String,
    pub users: u32,
    pub spawn_per_second: f64,
    pub duration_s: f64,
    /// Least and most.
    pub wait_s: [f64; 2],
    /// Requests per second of the open model.
    pub rate: Option<f64>,
    pub timeout_s: f64,
    pub seed: u64,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndpointReport {
    pub name: &'static str,
    pub method: &'static str,
    pub path: &'static str,
    pub requests: u64,
    pub failures: u64,
    pub turned_away: u64,
    pub answers: BTreeMap<String, u64>,
    pub latency: Latency,
}

/// How the server fared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerReport {
    pub version: String,
    pub memory_before_bytes: Option<u64>,
    pub memory_mean_bytes: Option<u64>,
    pub memory_max_bytes: Option<u64>,
    pub cpu_s: Option<f64>,
    /// Of one processor.
    pub cpu_mean_percent: Option<f64>,
    /// Circuit breakers that were open in some interval and not at the start.
    pub breakers_opened: Vec<String>,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub report: &'static str,
    pub settings: Settings,
    /// When it began, in RFC 3339.
    pub started_at: String,
    pub elapsed_s: f64,
    pub interrupted: bool,
    /// The most users at once.
    pub users_max: u32,
    pub connections: u64,
    pub requests: u64,
    /// Answered requests per second, failures and those turned away not counted.
    pub rps: f64,
    pub failures: u64,
    /// 429 and 503: told to come back later.
    pub turned_away: u64,
    /// Of all requests those that were answered, from 0 to 1.
    pub success_rate: f64,
    pub answers: BTreeMap<String, u64>,
    pub latency: Latency,
    /// Requests of the open model that were due and had no connection.
    pub unsent: u64,
    pub endpoints: Vec<EndpointReport>,
    pub server: ServerReport,
    pub verdict: Verdict,
    /// The first rule that was met.
    pub breaking_point: Option<Signal>,
    /// Every rule that was met.
    pub signals: Vec<Signal>,
    pub notes: Vec<String>,
    pub intervals: Vec<Interval>,
}

impl Settings {
    /// Those of a plan.
    #[must_use]
    pub fn of(plan: &Plan, scenario: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            mix: plan.mix.name(),
            target: plan.target.host.clone(),
            users: plan.users,
            spawn_per_second: plan.spawn_per_second,
            duration_s: plan.duration.as_secs_f64(),
            wait_s: [plan.wait.0.as_secs_f64(), plan.wait.1.as_secs_f64()],
            rate: plan.rate,
            timeout_s: plan.timeout.as_secs_f64(),
            seed: plan.seed,
        }
    }
}

impl Report {
    /// What is said of a run of a server of this version.
    #[must_use]
    pub fn new(settings: Settings, started_at: String, version: &str, run: &Measured) -> Self {
        let elapsed_s = run.elapsed.as_secs_f64();
        let requests = run.all.requests();
        let [answered, turned_away, failures] =
            [Class::Answered, Class::TurnedAway, Class::Failed].map(|class| run.all.count(class));
        let open_before = run.before.as_ref();
        let open_before = open_before.map_or(&[][..], |point| &point.breakers_open[..]);
        let mut signals = signals(&run.intervals, open_before, settings.rate.is_some());
        signals.extend(unsent(run.unsent, requests, run.intervals.last()));
        let verdict = match signals.is_empty() {
            _ if answered == 0 => Verdict::NoAnswer,
            true => Verdict::Held,
            false => Verdict::Broke,
        };
        let endpoints = run.endpoints.iter().map(|(endpoint, tally)| {
            let (method, path) = endpoint.route();
            EndpointReport {
                name: endpoint.name(),
                method,
                path,
                requests: tally.requests(),
                failures: tally.count(Class::Failed),
                turned_away: tally.count(Class::TurnedAway),
                answers: tally.outcomes(),
                latency: tally.latency(),
            }
        });
        Self {
            report: "load",
            started_at,
            elapsed_s: rounded(elapsed_s, 3),
            interrupted: run.interrupted,
            users_max: run.intervals.iter().map(|i| i.users).max().unwrap_or(0),
            connections: run.connections,
            requests,
            rps: rounded(answered as f64 / elapsed_s.max(1e-9), 1),
            failures,
            turned_away,
            success_rate: rounded(answered as f64 / requests.max(1) as f64, 5),
            answers: run.all.outcomes(),
            latency: run.all.latency(),
            unsent: run.unsent,
            endpoints: endpoints.collect(),
            server: ServerReport::new(version, run),
            verdict,
            breaking_point: signals.first().cloned(),
            signals,
            notes: notes(&settings, run),
            intervals: run.intervals.clone(),
            settings,
        }
    }

    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let _ = self.write(&mut out);
        out.trim_end().to_owned()
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Settings {
            scenario,
            mix,
            target,
            ..
        } = &self.settings;
        writeln!(
            out,
            "{scenario} of the mix {mix} against {target}: {} users at most, {:.1} s{}",
            self.users_max,
            self.elapsed_s,
            if self.interrupted {
                ", ended early"
            } else {
                ""
            }
        )?;
        writeln!(
            out,
            "{} requests, {:.1} answered/s, {:.2} % answered, {} failed, {} turned away\n",
            self.requests,
            self.rps,
            self.success_rate * 100.0,
            self.failures,
            self.turned_away
        )?;
        writeln!(
            out,
            "{:<10} {:>9} {:>7} {:>7} {:>9} {:>9} {:>9} {:>9}",
            "endpoint", "requests", "failed", "away", "P50 ms", "P95 ms", "P99 ms", "max ms"
        )?;
        let all = (self.requests, self.failures, self.turned_away);
        let rows = self.endpoints.iter().map(|one| {
            let counts = (one.requests, one.failures, one.turned_away);
            (one.name, counts, &one.latency)
        });
        for (name, (requests, failures, away), times) in rows.chain([("all", all, &self.latency)]) {
            writeln!(
                out,
                "{name:<10} {requests:>9} {failures:>7} {away:>7} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
                times.p50_ms, times.p95_ms, times.p99_ms, times.max_ms
            )?;
        }
        self.write_answers(out)?;
        self.write_server(out)?;
        self.write_time_line(out)?;
        self.write_verdict(out)
    }

    fn write_answers(&self, out: &mut String) -> std::fmt::Result {
        let counts: Vec<String> = self
            .answers
            .iter()
            .map(|(word, count)| format!("{word}: {count}"))
            .collect();
        writeln!(out, "\nanswers     {}", counts.join(", "))
    }

    fn write_server(&self, out: &mut String) -> std::fmt::Result {
        let server = &self.server;
        let mib = |bytes: Option<u64>| {
            bytes.map_or("?".to_owned(), |bytes| format!("{} MiB", bytes >> 20))
        };
        writeln!(
            out,
            "memory      {} before, {} mean, {} at most",
            mib(server.memory_before_bytes),
            mib(server.memory_mean_bytes),
            mib(server.memory_max_bytes)
        )?;
        if let Some(percent) = server.cpu_mean_percent {
            writeln!(out, "processor   {percent:.0} % of one")?;
        }
        if !server.breakers_opened.is_empty() {
            writeln!(out, "opened      {}", server.breakers_opened.join(", "))?;
        }
        Ok(())
    }

    fn write_time_line(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "\n{:>9} {:>6} {:>10} {:>7} {:>7} {:>9} {:>9} {:>8} {:>6}",
            "at s", "users", "requests/s", "failed", "away", "P50 ms", "P95 ms", "MiB", "CPU %"
        )?;
        let step = self.intervals.len().div_ceil(ROWS_SHOWN).max(1);
        let last = self.intervals.len().saturating_sub(1);
        for (index, row) in self.intervals.iter().enumerate() {
            if index % step != 0 && index != last {
                continue;
            }
            let server = row.server.as_ref();
            let memory = server.map_or("?".to_owned(), |s| (s.resident_bytes >> 20).to_string());
            let cpu = server.and_then(|server| server.cpu_percent);
            let cpu = cpu.map_or("?".to_owned(), |percent| format!("{percent:.0}"));
            writeln!(
                out,
                "{:>9.1} {:>6} {:>10.1} {:>7} {:>7} {:>9.2} {:>9.2} {memory:>8} {cpu:>6}",
                row.at_s,
                row.users,
                row.requests as f64 / row.seconds.max(1e-9),
                row.failures,
                row.turned_away,
                row.latency.p50_ms,
                row.latency.p95_ms,
            )?;
        }
        Ok(())
    }

    fn write_verdict(&self, out: &mut String) -> std::fmt::Result {
        out.push('\n');
        for found in &self.signals {
            writeln!(
                out,
                "{:<15} at {:.1} s with {} users: {}",
                found.rule.word(),
                found.at_s,
                found.users,
                found.what
            )?;
        }
        match (&self.verdict, &self.breaking_point) {
            (Verdict::NoAnswer, _) => writeln!(out, "no request was answered")?,
            (_, Some(point)) => writeln!(
                out,
                "breaking point: {} users ({}), {:.1} s after the start",
                point.users,
                point.rule.word(),
                point.at_s
            )?,
            (_, None) => writeln!(out, "no breaking point up to {} users", self.users_max)?,
        }
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        Ok(())
    }
}

impl ServerReport {
    fn new(version: &str, run: &Measured) -> Self {
        let points = || run.intervals.iter().filter_map(|one| one.server.as_ref());
        let count = points().count() as u64;
        let sum: u64 = points().map(|point| point.resident_bytes).sum();
        let mut opened: Vec<String> = points()
            .flat_map(|point| point.breakers_open.iter().cloned())
            .collect();
        opened.sort();
        opened.dedup();
        if let Some(before) = &run.before {
            opened.retain(|name| !before.breakers_open.contains(name));
        }
        let elapsed_s = run.elapsed.as_secs_f64();
        Self {
            version: version.to_owned(),
            memory_before_bytes: run.before.as_ref().map(|point| point.resident_bytes),
            memory_mean_bytes: (count > 0).then(|| sum / count),
            memory_max_bytes: points().map(|point| point.resident_bytes).max(),
            cpu_s: run.server_cpu_s.map(|cpu| rounded(cpu, 2)),
            cpu_mean_percent: run
                .server_cpu_s
                .filter(|_| elapsed_s > 0.0)
                .map(|cpu| rounded(cpu / elapsed_s * 100.0, 1)),
            breakers_opened: opened,
        }
    }
}

fn notes(settings: &Settings, run: &Measured) -> Vec<String> {
    let mut notes = Vec::new();
    notes.push(match settings.rate {
        Some(_) => OPEN_NOTE.to_owned(),
        None => CLOSED_NOTE.to_owned(),
    });
    if run.unsent > 0 {
        notes.push(format!(
            "{} requests were due and not sent: {} connections were not enough for this rate",
            run.unsent, settings.users
        ));
    }
    if run.intervals.iter().all(|one| one.server.is_none()) {
        notes.push("the server's metrics could not be read".to_owned());
    }
    notes
}

/// A number with so many digits behind the point.
fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}
