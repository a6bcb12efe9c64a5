//! `hindcast drill`: loses a machine on purpose, in a directory of its own, and measures what that
//! costs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use hindcast_actors::LOCAL;
use hindcast_backup::{
    BackupError, Create, Directory, Repository, Restore, Restored, Shipper, Wanted, Work, create,
    drill, plan, restore,
};
use hindcast_log::{Clock, Log, LogError, Options, Reader};
use hindcast_model::event::{BackupKind, Event, Outcome, OutcomeObserved, RunRequested};
use hindcast_model::{BackupId, Command, Payload, Seq, Submission};
use serde_json::{Value, json};

use super::arguments::{Global, Target};
use super::client::{self, Client};
use super::directory;
use super::output::{Failure, Output};
use crate::backups;
use crate::clock::{SystemClock, monotonic_micros};
use crate::ids;
use crate::startup::own_command;

/// Seconds of acknowledged work that may be lost, and until work is taken again.
const RPO_MAX: f64 = 1.0;
const RTO_MAX: f64 = 10.0;
/// As `backup.ship_ms` has it.
const SHIP_EVERY: Duration = Duration::from_millis(500);
/// How often a server is asked whether its drill has ended, and for how long.
const ASK_EVERY: Duration = Duration::from_millis(200);
const WAIT_MAX_MICROS: u64 = 3_600_000_000;
/// Submissions under way while the log is filled.
const AT_ONCE: u64 = 512;

/// What there is to practise.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Drill {
    /// The drills that there are; with --server, what they came to.
    #[command(after_help = "Examples:\n  hindcast drill list\n  \
                            hindcast drill list --server http://127.0.0.1:8080")]
    List,
    /// Run a drill in a directory of its own; nothing else is touched.
    #[command(after_help = "Examples:\n  hindcast drill run restore\n  \
                            hindcast drill run --all --json\n  \
                            hindcast drill run restore --target ./far --data-dir ./data\n  \
                            hindcast drill run restore --server http://127.0.0.1:8080")]
    Run(Box<Run>),
}

/// Which drill, and how large.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The drill; `drill list` names them.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// Run every drill.
    #[arg(long)]
    all: bool,
    /// Restore from this target of a log that is there, instead of losing one that is made for it: a
    /// name of the configuration, or an address as for `hindcast backup`.
    #[arg(long, conflicts_with = "all")]
    target: Option<String>,
    #[command(flatten)]
    with: Target,
    /// Runs in the log that is lost, four events each.
    #[arg(long, default_value_t = 250_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    runs: u64,
    /// Seconds of work before the loss.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=600))]
    seconds: u64,
}

impl Drill {
    /// Whether a log that is there is restored.
    pub(crate) const fn has_target(&self) -> bool {
        match self {
            Self::List => false,
            Self::Run(run) => run.target.is_some(),
        }
    }
}

const DRILLS: [(&str, &str); 1] = [(
    "restore",
    "a machine is lost in the middle of its work and restored from what was shipped; goals: at most \
     1 s of acknowledged work lost, work taken again within 10 s",
)];

pub(crate) fn run(global: &Global, verb: &Drill, output: &Output) -> Result<(), Failure> {
    let chosen = match verb {
        Drill::List => {
            if let Some(url) = &global.server {
                let reply = Client::to(url, global)?.get("/api/v1/drills")?;
                return client::print(output, &reply, practised);
            }
            let listed = DRILLS.map(|(name, does)| json!({ "name": name, "does": does }));
            let text = DRILLS
                .map(|(name, does)| format!("{name:<10} {does}"))
                .join("\n");
            return output.either(&json!({ "items": listed }).to_string(), || Ok(text));
        }
        Drill::Run(chosen) => chosen,
    };
    if let Some(name) = &chosen.name
        && !DRILLS.iter().any(|(known, _)| known == name)
    {
        let known = DRILLS.map(|(name, _)| name).join(", ");
        return Err(Failure::Usage(format!(
            "there is no drill `{name}`; there are: {known}"
        )));
    }
    let report = match (&global.server, &chosen.target) {
        (Some(url), target) => of_server(&Client::to(url, global)?, target.as_deref())?,
        (None, Some(target)) => of_target(global, target, &chosen.with)?,
        (None, None) => lost_machine(chosen.runs, chosen.seconds)?,
    };
    output.either(&report.to_string(), || Ok(text(&report)))?;
    match report["passed"].as_bool() {
        Some(true) => Ok(()),
        _ => Err(Failure::failed("the drill did not reach its goals")),
    }
}

fn text(report: &Value) -> String {
    let seconds = |name: &str| report[name].as_f64().unwrap_or(0.0);
    let goal = |name: &str| match report["goals"][name].as_f64() {
        Some(goal) => format!("goal {goal} s"),
        None => "no goal: the target is not continuous".to_owned(),
    };
    let (rpo, rto) = (goal("rpo_seconds"), goal("rto_seconds"));
    format!(
        "events      {} in the log when the machine was lost\n\
         lost        {} acknowledged events; the oldest {:.3} s before the loss (RPO, {rpo})\n\
         ready       {:.3} s after the restore began (RTO, {rto})\n\
         state       {}, as the lost log folds to it: {}",
        report["head_seq"],
        report["lost_events"],
        seconds("rpo_seconds"),
        seconds("rto_seconds"),
        report["state_hash"].as_str().unwrap_or("?"),
        report["state_equal"]
    )
}

fn open(dir: &Path) -> Result<Log, LogError> {
    let mut options = Options::new(dir);
    let newest = hindcast_snapshots::newest(dir).ok();
    options.checkpoint = newest.and_then(|found| found.checkpoint);
    let (log, _) = Log::open(options, Arc::new(SystemClock), ids::uuid(), &|_| {})?;
    Ok(log)
}

/// A run whose result was computed before it was recorded.
fn work(n: u64) -> Submission {
    let run = ids::run();
    let requested = own_command(Event::RunRequested(RunRequested {
        run,
        operation: "drill.run".to_owned(),
        schema: 1,
        spec: Payload::Inline(format!(
            "{{\"graph\":\"dag {{ x -> y ; z -> x ; z -> y }}\",\"n\":{n}}}"
        )),
        spec_hash: hindcast_log::Blobs::digest(&n.to_le_bytes()),
        seed: n,
        datasets: Vec::new(),
        deadline_micros: 0,
        immediate: true,
        experiment: None,
        idempotency: None,
        service: None,
    }));
    let outcome = Command {
        causation: requested.event_id,
        ..own_command(Event::OutcomeObserved(OutcomeObserved {
            run,
            outcome: Outcome::Completed {
                result: Payload::Inline(format!("{{\"identifiable\":true,\"n\":{n}}}")),
                result_hash: hindcast_log::Blobs::digest(&n.to_be_bytes()),
                schema: 1,
                algorithm_version: "drill/1".to_owned(),
            },
            numeric_profile: crate::startup::numeric_profile(),
            queued_micros: 0,
            computed_micros: 1,
        }))
    };
    Submission {
        commands: vec![requested, outcome],
    }
}

/// Records so many runs, many at once.
fn fill(log: &Log, runs: u64) -> Result<(), Failure> {
    let (send, receive) = sync_channel(usize::try_from(AT_ONCE).unwrap_or(1));
    let mut pending = 0;
    let wait = || match receive.recv() {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Failure::failed(format!("the log took no more: {error}"))),
        Err(error) => Err(Failure::failed(error.to_string())),
    };
    for n in 0..runs {
        if pending == AT_ONCE {
            wait()?;
            pending -= 1;
        }
        let send = send.clone();
        // As many fit as are under way, so that this never blocks the log.
        let reply = Box::new(move |result| drop(send.try_send(result)));
        let submitted = log.submit(work(n), reply);
        submitted.map_err(|error| Failure::failed(error.to_string()))?;
        pending += 1;
    }
    (0..pending).try_for_each(|_| wait())
}

/// What was acknowledged while the log was shipped: the last event of each run, and when.
fn write_and_ship(
    log: &Log,
    repository: &Repository,
    seconds: u64,
) -> Result<Vec<(Seq, u64)>, Failure> {
    let (stop, begun) = (AtomicBool::new(false), monotonic_micros());
    let until = begun + seconds * 1_000_000;
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let shipping = scope.spawn(|| -> Result<(), BackupError> {
            let (mut shipper, work) = (Shipper::default(), Work::new(&SystemClock));
            while !stop.load(Ordering::Acquire) {
                shipper.ship(repository, log.data_dir(), log.head().seq, &work)?;
                std::thread::park_timeout(SHIP_EVERY);
            }
            Ok(())
        });
        let mut acknowledged = Vec::new();
        let mut failure = None;
        while monotonic_micros() < until {
            match log.submit_and_wait(work(count.fetch_add(1, Ordering::Relaxed))) {
                Ok(receipt) => acknowledged.push((receipt.last, monotonic_micros())),
                Err(error) => {
                    failure = Some(Failure::failed(error.to_string()));
                    break;
                }
            }
        }
        // The machine is lost here: whatever is not shipped by now is gone.
        stop.store(true, Ordering::Release);
        shipping.thread().unpark();
        let shipped = shipping
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        shipped?;
        failure.map_or(Ok(acknowledged), Err)
    })
}

fn lost_machine(runs: u64, seconds: u64) -> Result<Value, Failure> {
    let scratch = tempfile::Builder::new()
        .prefix("hindcast-drill-")
        .tempdir()?;
    let (data, lost) = (scratch.path().join("data"), scratch.path().join("lost"));
    let target = Arc::new(Directory::new(&scratch.path().join("target")));
    let repository = Repository::new(target, None, Arc::new(ids::bytes));
    let log = open(&data)?;
    fill(&log, runs)?;
    let base = Create {
        id: BackupId(ids::uuid()),
        kind: BackupKind::Full,
        data_dir: &data,
        to: None,
        binary_version: env!("CARGO_PKG_VERSION"),
        plain_keys: false,
    };
    create(&repository, &base, &Work::new(&SystemClock))?;
    let acknowledged = write_and_ship(&log, &repository, seconds)?;
    let head = log.head().seq;
    let loss = acknowledged.last().map_or(0, |(_, at)| *at);
    log.close();
    drop(log);
    std::fs::rename(&data, &lost)?;

    let begun = monotonic_micros();
    let to = Restore {
        data_dir: &data,
        segment_bytes: Options::new(&data).segment_bytes,
    };
    let restored = restore(
        &plan(&repository, Wanted::Latest)?,
        &to,
        &Work::new(&SystemClock),
    )?;
    let log = open(&data)?;
    log.submit_and_wait(work(0))
        .map_err(|error| Failure::failed(format!("the restored log takes no work: {error}")))?;
    let ready = monotonic_micros() - begun;
    log.close();
    let equal = same_state(&lost, &restored)?;
    let after = |(seq, _): &(Seq, u64)| *seq <= restored.to_seq;
    let first_lost = acknowledged.get(acknowledged.partition_point(after));
    let rpo = first_lost.map_or(0, |(_, at)| loss - at);
    let micros = |micros: u64| micros as f64 / 1e6;
    let passed = equal && micros(rpo) <= RPO_MAX && micros(ready) <= RTO_MAX;
    Ok(json!({
        "drill": "restore",
        "passed": passed,
        "head_seq": head.0,
        "to_seq": restored.to_seq.0,
        "lost_events": head.0 - restored.to_seq.0,
        "rpo_seconds": micros(rpo),
        "rto_seconds": micros(ready),
        "restore_seconds": micros(restored.micros),
        "goals": { "rpo_seconds": RPO_MAX, "rto_seconds": RTO_MAX },
        "state_hash": restored.state_hash.to_string(),
        "state_equal": equal,
    }))
}

/// Restores what a target holds of the log in the data directory, which stays as it is.
fn of_target(global: &Global, name: &str, with: &Target) -> Result<Value, Failure> {
    let config = global.configuration()?;
    let data_dir = directory::existing(global)?;
    let repository = backups::repository(&super::backup::named(&config, name, with)?)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let work = Work::new(&SystemClock);
    let drilled = drill(&repository, &data_dir, (&clock, ids::uuid()), &work)?;
    let micros = |micros: u64| micros as f64 / 1e6;
    let mut configured = config.backup.targets.iter();
    let continuous = configured.any(|target| target.name == name && target.continuous);
    let rpo_max = continuous.then_some(RPO_MAX);
    let passed = drilled.state_equal
        && micros(drilled.ready_micros) <= RTO_MAX
        && rpo_max.is_none_or(|goal| micros(drilled.lost_micros) <= goal);
    Ok(json!({
        "drill": "restore",
        "target": name,
        "passed": passed,
        "head_seq": drilled.head.0,
        "to_seq": drilled.to_seq.0,
        "lost_events": drilled.head.0.saturating_sub(drilled.to_seq.0),
        "rpo_seconds": micros(drilled.lost_micros),
        "rto_seconds": micros(drilled.ready_micros),
        "goals": { "rpo_seconds": rpo_max, "rto_seconds": RTO_MAX },
        "state_hash": drilled.state_hash.to_string(),
        "state_equal": drilled.state_equal,
    }))
}

/// Has a server practise and waits for the end of it.
fn of_server(client: &Client, target: Option<&str>) -> Result<Value, Failure> {
    let newest = |of: &str| -> Result<Option<Value>, Failure> {
        let listed = client.get("/api/v1/drills")?.value()?;
        let mut items = listed["items"].as_array().into_iter().flatten();
        Ok(items.find(|item| item["target"] == of).cloned())
    };
    let mut body = json!({});
    if let Some(target) = target {
        body["target"] = json!(target);
    }
    let target = target.unwrap_or(LOCAL);
    let before = newest(target)?.map_or(Value::Null, |item| item["seq"].clone());
    let body = body.to_string();
    client.post("/api/v1/drills", "application/json", body.as_bytes())?;
    let begun = monotonic_micros();
    loop {
        if let Some(mut report) = newest(target)?.filter(|item| item["seq"] != before) {
            if let Some(error) = report["error"].as_str() {
                return Err(Failure::failed(error.to_owned()));
            }
            let seq = |name: &str| report[name].as_u64().unwrap_or(0);
            let lost = seq("head_seq").saturating_sub(seq("to_seq"));
            report["lost_events"] = json!(lost);
            return Ok(report);
        }
        if monotonic_micros() - begun > WAIT_MAX_MICROS {
            return Err(Failure::failed(format!(
                "no drill of {target} has ended: has it a backup? `hindcast drill list` tells when it has"
            )));
        }
        std::thread::park_timeout(ASK_EVERY);
    }
}

/// What was practised, one drill a line.
fn practised(page: &Value) -> String {
    let mut out = format!(
        "{:<27}  {:<12}  {:>9}  {:>12}  {:>10}  passed",
        "time", "target", "to", "RPO s", "RTO s"
    );
    for item in page["items"].as_array().into_iter().flatten() {
        let word = |name: &str| item[name].as_str().unwrap_or("?").to_owned();
        let seconds = |name: &str| item[name].as_f64().unwrap_or(0.0);
        let passed = match (item["passed"].as_bool(), item["error"].as_str()) {
            (Some(true), _) => "yes".to_owned(),
            (_, Some(error)) => format!("no: {error}"),
            (_, None) => "no: it is another state".to_owned(),
        };
        out.push_str(&format!(
            "\n{:<27}  {:<12}  {:>9}  {:>12.3}  {:>10.3}  {passed}",
            word("ended_at"),
            word("target"),
            item["to_seq"],
            seconds("rpo_seconds"),
            seconds("rto_seconds"),
        ));
    }
    out
}

/// Whether the log that was lost folds to what was restored.
fn same_state(lost: &Path, restored: &Restored) -> Result<bool, Failure> {
    let reader = Reader::open(lost)?;
    let moment = hindcast_snapshots::at(&reader, restored.to_seq)?;
    Ok(hindcast_log::state_hash(&moment.state)? == restored.state_hash)
}
