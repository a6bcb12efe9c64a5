//! `hindcast profile`: what the endpoints of a server take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use hindcast_actors::views::rfc3339;

use super::arguments::Global;
use super::client::{Client, Progress};
use super::load::{writable, write};
use super::output::{Failure, Output, note};
use super::target::{self, Found};
use crate::clock;
use crate::load::endpoints::{
    EndpointsReport, Function, Grade, Limits, Memory, Profiled, functions,
};
use crate::load::mix::{Endpoint, Mix};
use crate::load::tally::Class;
use crate::load::{self, Measured, Plan};
use crate::startup::stop_signal;

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What can be profiled.
#[derive(Debug, Subcommand)]
pub(crate) enum Profile {
    /// Ask nine endpoints, one after the other, for some seconds each; times, memory and the functions at work, judged.
    ///
    /// validate, paths, discover, health, live, ready, runs, events and metrics: what load is made of.
    #[command(after_help = "Exit code 1 when an endpoint fails.\n\n\
        Examples:\n  hindcast profile endpoints --out report.json\n  \
        hindcast profile endpoints --out new.json --baseline report.json\n  \
        hindcast profile endpoints --only validate --only paths --seconds 10 --json")]
    Endpoints(Options),
}

/// How endpoints are profiled.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write the report there, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// An older report: what is more than 10 % worse is told.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Only this endpoint; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Users at once, none of which pauses.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    users: u32,
    /// Seconds for each endpoint.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// What P50 has to stay below, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 500.0)]
    p50_ms: f64,
    /// What P95 has to stay below.
    #[arg(long, value_name = "MS", default_value_t = 1_000.0)]
    p95_ms: f64,
    /// What P99 has to stay below.
    #[arg(long, value_name = "MS", default_value_t = 2_000.0)]
    p99_ms: f64,
    /// Do not look which functions are at work.
    #[arg(long)]
    no_cpu: bool,
    /// Everything that is drawn follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Put load on a server that is not on this machine.
    #[arg(long)]
    allow_remote: bool,
}

pub(crate) fn run(global: &Global, verb: &Profile, output: &Output) -> Result<(), Failure> {
    let Profile::Endpoints(options) = verb;
    let endpoints = options.endpoints()?;
    writable(options.out.as_deref())?;
    let limits = options.limits()?;
    let baseline = options.baseline.as_deref().map(older).transpose()?;
    let found = target::find(global, options.allow_remote)?;
    let mut report = EndpointsReport {
        report: "profile_endpoints".to_owned(),
        target: found.target.host.clone(),
        server_version: found.version.clone(),
        started_at: rfc3339(clock::wall()),
        users: options.users,
        seconds_each: Duration::from_secs(options.seconds).as_secs_f64(),
        limits,
        baseline_at: None,
        verdict: Grade::Pass,
        endpoints: Vec::new(),
        notes: Vec::new(),
    };
    if !options.no_cpu {
        // The first profile reserves the memory of all: it shall be there for the first endpoint as
        // it is for the last. What it says of trouble is said again then.
        drop(stacks(&found.url, global, 1));
    }
    let bar = Progress::new();
    for (done, endpoint) in (0..).zip(&endpoints) {
        bar.set(endpoint.name(), done, endpoints.len() as u64);
        let (profiled, trouble, interrupted) = profile(global, options, (&found, *endpoint))?;
        report.endpoints.push(profiled);
        report.notes.extend(trouble);
        if interrupted {
            report.notes.push("it was ended early".to_owned());
            break;
        }
    }
    drop(bar);
    report.judge(baseline.as_ref());
    if let Some(file) = &options.out {
        write(file, &report)?;
        note(&format!("{} is written", file.display()));
    }
    match output.json {
        true => output.value(&report)?,
        false => output.text(&report.text())?,
    }
    match report.verdict {
        Grade::Pass | Grade::Warn => Ok(()),
        Grade::Fail => Err(Failure::failed("an endpoint fails")),
    }
}

fn older(file: &Path) -> Result<EndpointsReport, Failure> {
    let wrong = |why: String| Failure::Usage(format!("--baseline {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let report: EndpointsReport =
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    match report.report.as_str() {
        "profile_endpoints" => Ok(report),
        other => Err(wrong(format!("it is a report of `{other}`"))),
    }
}

/// One endpoint, what did not work beside it, and whether somebody ended it.
fn profile(
    global: &Global,
    options: &Options,
    (found, endpoint): (&Found, Endpoint),
) -> Result<(Profiled, Option<String>, bool), Failure> {
    let duration = Duration::from_secs(options.seconds);
    let plan = Plan {
        target: found.target.clone(),
        mix: Mix::alone(endpoint, options.seed),
        users: options.users,
        spawn_per_second: f64::from(options.users) * 100.0,
        duration,
        wait: (Duration::ZERO, Duration::ZERO),
        rate: None,
        interval: LOOK_EVERY,
        timeout: PATIENCE,
        seed: options.seed,
    };
    let stop = async {
        stop_signal().await;
    };
    let (run, stacks) = std::thread::scope(|scope| {
        let stacks = (!options.no_cpu).then(|| {
            let url = found.url.as_str();
            let seconds = options.seconds;
            scope.spawn(move || stacks(url, global, seconds))
        });
        let run = load::run(plan, stop, |_| {});
        (run, stacks.map(std::thread::ScopedJoinHandle::join))
    });
    let run = run?;
    let (cpu_top, trouble) = match stacks {
        None => (Vec::new(), None),
        Some(Ok(Ok(functions))) if functions.is_empty() => {
            let nothing = format!("{}: no function was met at work", endpoint.name());
            (functions, Some(nothing))
        }
        Some(Ok(Ok(functions))) => (functions, None),
        Some(Ok(Err(failure))) => (Vec::new(), Some(why(endpoint, failure))),
        Some(Err(_)) => (Vec::new(), Some("the profile panicked".to_owned())),
    };
    let interrupted = run.interrupted;
    Ok((profiled(endpoint, &run, cpu_top), trouble, interrupted))
}

fn why(endpoint: Endpoint, failure: Failure) -> String {
    let message = match failure {
        Failure::Usage(message)
        | Failure::Misused { message, .. }
        | Failure::Failed { message, .. } => message,
        Failure::ReaderGone => "nobody reads".to_owned(),
    };
    format!("{}: no functions: {message}", endpoint.name())
}

/// The functions at work for so many seconds.
fn stacks(url: &str, global: &Global, seconds: u64) -> Result<Vec<Function>, Failure> {
    let path = format!("/debug/profile?seconds={seconds}&format=folded");
    let reply = Client::to(url, global)?.post(&path, "text/plain", b"")?;
    Ok(functions(&reply.body))
}

fn profiled(endpoint: Endpoint, run: &Measured, cpu_top: Vec<Function>) -> Profiled {
    let (method, path) = endpoint.route();
    let (requests, answered) = (run.all.requests(), run.all.count(Class::Answered));
    let latency = run.all.latency();
    let resident = || {
        let points = run.intervals.iter().filter_map(|one| one.server.as_ref());
        points.map(|point| point.resident_bytes)
    };
    let count = resident().count() as u64;
    Profiled {
        name: endpoint.name().to_owned(),
        method: method.to_owned(),
        path: path.to_owned(),
        requests,
        success_rate: answered as f64 / requests.max(1) as f64,
        rps: (answered as f64 / run.elapsed.as_secs_f64().max(1e-9) * 10.0).round() / 10.0,
        mean_ms: latency.mean_ms,
        median_ms: latency.p50_ms,
        p95_ms: latency.p95_ms,
        p99_ms: latency.p99_ms,
        max_ms: latency.max_ms,
        memory: Memory {
            mean_bytes: (count > 0).then(|| resident().sum::<u64>() / count),
            max_bytes: resident().max(),
        },
        cpu_top,
        verdict: Grade::Pass,
        reasons: Vec::new(),
    }
}

impl Options {
    fn endpoints(&self) -> Result<Vec<Endpoint>, Failure> {
        if self.only.is_empty() {
            return Ok(Endpoint::ALL.to_vec());
        }
        let named = |name: &String| {
            let mut all = Endpoint::ALL.into_iter();
            all.find(|endpoint| endpoint.name() == name).ok_or_else(|| {
                let known: Vec<&str> = Endpoint::ALL.iter().map(|one| one.name()).collect();
                Failure::Misused {
                    message: format!("there is no endpoint `{name}`"),
                    field: Some("--only".to_owned()),
                    hint: Some(format!("there are {}", known.join(", "))),
                }
            })
        };
        self.only.iter().map(named).collect()
    }

    fn limits(&self) -> Result<Limits, Failure> {
        for (field, value) in [
            ("--p50-ms", self.p50_ms),
            ("--p95-ms", self.p95_ms),
            ("--p99-ms", self.p99_ms),
        ] {
            if !value.is_finite() || value <= 0.0 {
                return Err(Failure::Misused {
                    message: format!("{value} is not above 0"),
                    field: Some(field.to_owned()),
                    hint: None,
                });
            }
        }
        Ok(Limits {
            p50_ms: self.p50_ms,
            p95_ms: self.p95_ms,
            p99_ms: self.p99_ms,
        })
    }
}
