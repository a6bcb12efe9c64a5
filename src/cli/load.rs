//! `hindcast load`: users that ask a server, and what it bears.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use hindcast_actors::views::rfc3339;
use hindcast_actors::whatif::span_ms;
use serde_json::{Value, json};

use super::arguments::Global;
use super::client::{Client, Progress};
use super::output::{Failure, Output, note};
use super::target::{self, Found};
use crate::clock;
use crate::load::mix::{Mix, MixName};
use crate::load::{self, Plan, Report, Settings, Target, Verdict};
use crate::startup::stop_signal;

/// Rows of the time line, unless the command line says how long one is.
const ROWS: u64 = 900;
const MEASUREMENTS: &str = "/api/v1/capacity/measurements";

/// The scenarios.
#[derive(Debug, Subcommand)]
pub(crate) enum Load {
    /// More and more users, to find where the server breaks: 100 users, 10 more each second, 15 minutes.
    #[command(
        after_help = "Examples:\n  hindcast load ramp --server http://127.0.0.1:8080\n  \
        hindcast load ramp --users 2000 --spawn-rate 20 --duration 3m --wait 0 --out ramp.json"
    )]
    Ramp(Options),
    /// The same users for a long time: 50 users, 5 more each second, 30 minutes.
    #[command(after_help = "Exit code 1 when the server breaks.\n\n\
        Examples:\n  hindcast load sustained --server http://127.0.0.1:8080\n  \
        hindcast load sustained --mix cached --wait 0 --duration 1m --record --json\n  \
        hindcast load sustained --rate 2000 --users 100 --duration 2m")]
    Sustained(Options),
    /// Many users at once: 200 users, 50 more each second, 5 minutes.
    #[command(after_help = "Exit code 1 when the server breaks.\n\n\
        Examples:\n  hindcast load spike --server http://127.0.0.1:8080\n  \
        hindcast load spike --users 500 --spawn-rate 500 --duration 30s")]
    Spike(Options),
}

/// What a run does; what is left out is the scenario's.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Users at once; with --rate, connections.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    users: Option<u32>,
    /// Users that begin in a second.
    #[arg(long, value_name = "PER SECOND")]
    spawn_rate: Option<f64>,
    /// How long, such as 90s or 15m; up to 1d.
    #[arg(long, value_name = "SPAN")]
    duration: Option<String>,
    /// Seconds that a user pauses between two requests: a number, or least and most; up to 60.
    #[arg(long, value_name = "SECONDS", default_value = "1-3")]
    wait: String,
    /// Requests per second whatever becomes of them; times count from when each was due.
    #[arg(long, value_name = "PER SECOND", conflicts_with = "wait")]
    rate: Option<f64>,
    /// What is asked.
    #[arg(long, value_enum, default_value_t = MixName::Mixed)]
    mix: MixName,
    /// Everything that is drawn follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Length of a row of the time line, such as 1s; by default there are at most 900.
    #[arg(long, value_name = "SPAN")]
    interval: Option<String>,
    /// How long an answer is waited for; up to 10m.
    #[arg(long, value_name = "SPAN", default_value = "30s")]
    timeout: String,
    /// Put load on a server that is not on this machine.
    #[arg(long)]
    allow_remote: bool,
    /// Write the report there too, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Record on the server what was measured, for `hindcast capacity report`.
    #[arg(long)]
    record: bool,
}

/// What a scenario is when nothing else is said.
struct Scenario {
    name: &'static str,
    users: u32,
    spawn_per_second: f64,
    duration: Duration,
    /// It looks for the breaking point: to find it is no failure.
    seeks: bool,
}

impl Load {
    fn scenario(self) -> (Scenario, Options) {
        let of = |name, users, spawn_per_second, minutes: u64| Scenario {
            name,
            users,
            spawn_per_second,
            duration: Duration::from_secs(minutes * 60),
            seeks: name == "ramp",
        };
        match self {
            Self::Ramp(options) => (of("ramp", 100, 10.0, 15), options),
            Self::Sustained(options) => (of("sustained", 50, 5.0, 30), options),
            Self::Spike(options) => (of("spike", 200, 50.0, 5), options),
        }
    }
}

pub(crate) fn run(global: &Global, verb: Load, output: &Output) -> Result<(), Failure> {
    let (scenario, options) = verb.scenario();
    // What is wrong with the command line is said before anything is asked.
    options.check(&scenario)?;
    writable(options.out.as_deref())?;
    let found = target::find(global, options.allow_remote)?;
    let plan = options.plan(&scenario, found.target.clone())?;
    let report = measured(plan, scenario.name, &found)?;
    if let Some(file) = &options.out {
        write(file, &report)?;
    }
    match output.json {
        true => output.value(&report)?,
        false => output.text(&report.text())?,
    }
    if options.record && report.interrupted && report.verdict == Verdict::Held {
        note("not recorded: that it held until it was interrupted does not say that it holds");
    } else if options.record {
        record(&found.client, &report)?;
        note("recorded; `hindcast capacity report` shows it");
    }
    match (&report.verdict, &report.breaking_point) {
        (Verdict::NoAnswer, _) => Err(Failure::failed("no request was answered")),
        (Verdict::Broke, Some(point)) if !scenario.seeks => Err(Failure::failed(format!(
            "the server broke with {} users: {}",
            point.users, point.what
        ))),
        (Verdict::Held | Verdict::Broke, _) => Ok(()),
    }
}

/// Runs the plan, with a bar for who watches.
fn measured(plan: Plan, scenario: &str, found: &Found) -> Result<Report, Failure> {
    let settings = Settings::of(&plan, scenario);
    let started_at = rfc3339(clock::wall());
    let bar = Progress::new();
    let total = plan.duration.as_secs().max(1);
    let stop = async {
        stop_signal().await;
    };
    let run = load::run(plan, stop, |interval| {
        let stage = format!(
            "{} users, {:.0} requests/s, P95 {:.1} ms",
            interval.users,
            interval.requests as f64 / interval.seconds.max(1e-9),
            interval.latency.p95_ms
        );
        let done = Duration::from_secs_f64(interval.at_s.max(0.0)).as_secs();
        bar.set(&stage, done.min(total), total);
    })?;
    Ok(Report::new(settings, started_at, &found.version, &run))
}

/// Writes a report beside what is printed.
/// Says that a report cannot be written before an hour is spent on it. A file that is there stays as it
/// is until then.
pub(super) fn writable(file: Option<&std::path::Path>) -> Result<(), Failure> {
    let Some(file) = file else {
        return Ok(());
    };
    let opened = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(file);
    opened.map(drop).map_err(|error| Failure::Misused {
        message: format!("cannot write {}: {error}", file.display()),
        field: Some("--out".to_owned()),
        hint: None,
    })
}

pub(super) fn write(file: &std::path::Path, report: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    std::fs::write(file, text)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", file.display())))
}

/// Tells the server what it was measured to bear.
fn record(client: &Client, report: &Report) -> Result<(), Failure> {
    let breaking = report.breaking_point.as_ref().map(
        |point| json!({ "rule": point.rule.word(), "users": point.users, "after_s": point.at_s }),
    );
    let measured: Value = json!({
        "scenario": report.settings.scenario,
        "mix": report.settings.mix,
        "users": report.users_max.max(1),
        "seconds": report.elapsed_s,
        "requests": report.requests,
        "failures": report.failures,
        "turned_away": report.turned_away,
        "rps": report.rps,
        "p50_ms": report.latency.p50_ms,
        "p95_ms": report.latency.p95_ms,
        "p99_ms": report.latency.p99_ms,
        "breaking_point": breaking,
    });
    let body = measured.to_string();
    client.post(MEASUREMENTS, "application/json", body.as_bytes())?;
    Ok(())
}

impl Options {
    fn check(&self, scenario: &Scenario) -> Result<(), Failure> {
        let nowhere = Target {
            address: ([127, 0, 0, 1], 0).into(),
            host: String::new(),
            tls: None,
            authorization: None,
        };
        self.plan(scenario, nowhere).map(|_| ())
    }

    fn plan(&self, scenario: &Scenario, target: Target) -> Result<Plan, Failure> {
        let duration = match &self.duration {
            None => scenario.duration,
            Some(text) => span("--duration", text, load::DURATION_MAX)?,
        };
        let interval = match &self.interval {
            None => Duration::from_secs(duration.as_secs().div_ceil(ROWS).max(1)),
            Some(text) => span("--interval", text, load::DURATION_MAX)?,
        };
        if interval < load::INTERVAL_MIN {
            let least = load::INTERVAL_MIN.as_millis();
            return Err(wrong("--interval", &format!("it is at least {least}ms")));
        }
        if duration.as_millis() > interval.as_millis() * u128::from(load::INTERVALS_MAX) {
            let most = load::INTERVALS_MAX;
            let why = format!("the time line has at most {most} rows; take a longer one");
            return Err(wrong("--interval", &why));
        }
        Ok(Plan {
            target,
            mix: Mix::new(self.mix, self.seed),
            users: self.users.unwrap_or(scenario.users),
            spawn_per_second: number(
                "--spawn-rate",
                self.spawn_rate.unwrap_or(scenario.spawn_per_second),
                load::SPAWN_PER_SECOND_MAX,
            )?,
            duration,
            wait: wait(&self.wait)?,
            rate: self
                .rate
                .map(|rate| number("--rate", rate, load::RATE_MAX))
                .transpose()?,
            interval,
            timeout: span("--timeout", &self.timeout, load::TIMEOUT_MAX)?,
            seed: self.seed,
        })
    }
}

fn wrong(field: &str, message: &str) -> Failure {
    Failure::Misused {
        message: message.to_owned(),
        field: Some(field.to_owned()),
        hint: None,
    }
}

/// A span such as `15m`, above 0 and not over `most`.
pub(super) fn span(field: &str, text: &str, most: Duration) -> Result<Duration, Failure> {
    let ms = span_ms(text).and_then(|ms| u64::try_from(ms).ok());
    match ms.map(Duration::from_millis) {
        Some(span) if !span.is_zero() && span <= most => Ok(span),
        Some(span) if span > most => {
            let why = format!("`{text}` is over the limit of {} s", most.as_secs());
            Err(wrong(field, &why))
        }
        _ => Err(wrong(
            field,
            &format!("`{text}` is no span above 0 such as 90s, 15m or 500ms"),
        )),
    }
}

/// A number above 0 and not over `most`.
fn number(field: &str, value: f64, most: f64) -> Result<f64, Failure> {
    match value.is_finite() && value > 0.0 && value <= most {
        true => Ok(value),
        false => Err(wrong(
            field,
            &format!("{value} is not above 0 and at most {most}"),
        )),
    }
}

/// Seconds, or least and most seconds.
fn wait(text: &str) -> Result<(Duration, Duration), Failure> {
    let most = load::WAIT_MAX.as_secs_f64();
    let bad = || {
        let why = format!("`{text}` is no pause such as 0, 0.5 or 1-3, up to {most} seconds");
        wrong("--wait", &why)
    };
    let one = |text: &str| {
        let seconds: f64 = text.trim().parse().map_err(|_| bad())?;
        match seconds.is_finite() && (0.0..=most).contains(&seconds) {
            true => Ok(Duration::from_secs_f64(seconds)),
            false => Err(bad()),
        }
    };
    match text.split_once('-') {
        None => one(text).map(|span| (span, span)),
        Some((least, most)) => match (one(least)?, one(most)?) {
            (least, most) if least <= most => Ok((least, most)),
            _ => Err(bad()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_a_number_or_a_range() {
        let ms = |text: &str| {
            let found = wait(text).ok();
            found.map(|(least, most)| (least.as_millis(), most.as_millis()))
        };
        assert_eq!(ms("1-3"), Some((1_000, 3_000)));
        assert_eq!(ms("0"), Some((0, 0)));
        assert_eq!(ms("0.25"), Some((250, 250)));
        for bad in ["3-1", "-1", "61", "1-61", "soon", "", "nan", "1-2-3"] {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_and_spans_have_bounds() {
        assert!(number("--rate", 0.0, 5.0).is_err());
        assert!(number("--rate", f64::NAN, 5.0).is_err());
        assert!(number("--rate", 5.1, 5.0).is_err());
        assert!(number("--rate", 5.0, 5.0).is_ok());
        let most = Duration::from_secs(60);
        assert!(span("--duration", "1m", most).is_ok());
        for bad in ["61s", "0s", "-1s", "1", "m"] {
            assert!(span("--duration", bad, most).is_err(), "{bad}");
        }
    }
}
