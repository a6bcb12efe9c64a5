//! A state as facts, each at a path: what it holds, and what differs between two of them. Nothing
//! is left out: every struct is taken apart exhaustively, so that a field added to the state has to
//! be shown here. What is sealed stays sealed, and of idempotency keys there is only a hash.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hindcast_model::event::{Idempotency, Settings, Tally};
use hindcast_model::parts::Parts;
use hindcast_model::state::{
    Context, Damage, DatasetMeta, IdempotencyKey, OpenExperiment, OpenRun, Proposal, Proposed,
    Pruned, Remembered, Server, Subject, Totals,
};
use hindcast_model::{KeyId, RunId, State, UnixMicros};
use serde_json::{Map, Value, json};

use super::time::rfc3339;

/// Takes the facts of a state, or those that differ between two.
pub(super) trait Sink {
    /// A fact that is always there. `before` is none when there is no state before.
    fn one(&mut self, name: &'static str, before: Option<Value>, after: Value);

    /// A collection begins, whose entries follow as far as they differ.
    fn collection(&mut self, name: &'static str);

    /// Whether an entry is to be shown, and not merely counted.
    fn takes(&mut self, name: &'static str, change: Difference) -> bool;

    /// An entry of a collection that is not the same in both states.
    fn entry(
        &mut self,
        name: &'static str,
        key: String,
        before: Option<Value>,
        after: Option<Value>,
    );
}

/// How an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    Added,
    Removed,
    Changed,
}

/// Shows every fact of `after`, or those in which it differs from `before`.
pub(super) fn visit(before: Option<&State>, after: &State, sink: &mut dyn Sink) {
    let (before, after) = (before.map(State::parts), after.parts());
    // Exhaustive: every part is used below.
    let Parts {
        seq,
        at,
        settings,
        server,
        proposed,
        runs,
        in_flight,
        deadlines,
        datasets,
        experiments,
        idempotency,
        idempotency_order,
        totals,
        experiments_total,
        shed,
        actor_restarts,
        paused,
        damaged,
        shredded,
        pruned,
        heads,
        backups_open,
        backups,
        breakers,
        slos,
        caller_deadlines,
    } = after;
    let b = before.as_ref();
    sink.one("seq", b.map(|b| json!(b.seq.0)), json!(seq.0));
    sink.one("at", b.map(|b| time(b.at)), time(at));
    sink.one("settings", b.map(|b| set(b.settings)), set(settings));
    sink.one("server", b.map(|b| process(b.server)), process(server));
    sink.one("proposed", b.map(|b| ask(b.proposed)), ask(proposed));
    sink.one("in_flight", b.map(|b| json!(b.in_flight)), json!(in_flight));
    let count = |b: &Parts<'_>| json!(b.experiments_total);
    sink.one("experiments_total", b.map(count), json!(experiments_total));
    sink.one("shed", b.map(|b| json!(b.shed)), json!(shed));
    sink.one("paused", b.map(|b| json!(b.paused)), json!(paused));
    sink.one(
        "pruned",
        b.map(|b| pruned_range(b.pruned)),
        pruned_range(pruned),
    );
    let id = |id: &dyn ToString| id.to_string();
    let pairs = (b.map(|b| b.runs), runs);
    entries(sink, "runs", pairs, |key| id(key), run);
    let pairs = (b.map(|b| b.datasets), datasets);
    entries(sink, "datasets", pairs, |key| id(key), dataset);
    let pairs = (b.map(|b| b.experiments), experiments);
    entries(sink, "experiments", pairs, |key| id(key), experiment);
    let pairs = (b.map(|b| b.idempotency), idempotency);
    entries(sink, "idempotency", pairs, key_text, remembered);
    let pairs = (b.map(|b| b.totals), totals);
    entries(sink, "totals", pairs, Clone::clone, total);
    let pairs = (b.map(|b| b.actor_restarts), actor_restarts);
    entries(sink, "actor_restarts", pairs, Clone::clone, |n| json!(n));
    let pairs = (b.map(|b| b.damaged), damaged);
    entries(sink, "damaged", pairs, Clone::clone, damage);
    let pairs = (b.map(|b| b.heads), heads);
    entries(sink, "heads", pairs, |key| id(key), |n| json!(n));
    destroyed(sink, b, shredded);
    super::backup_facts::backed_up(sink, b, (backups_open, backups));
    super::breaker_facts::guarded(sink, b, breakers);
    super::slo::facts(sink, b, (slos, at));
    sets(sink, b, (deadlines, caller_deadlines), idempotency_order);
}

pub(crate) fn pruned_range(pruned: Option<&Pruned>) -> Value {
    pruned.map_or(Value::Null, |pruned| {
        json!({
            "last": pruned.last.0,
            "chain": pruned.chain.to_string(),
            "lost_to": pruned.lost_to.0,
            "backup": pruned.backup,
        })
    })
}

/// Data keys that were shredded.
fn destroyed(sink: &mut dyn Sink, b: Option<&Parts<'_>>, shredded: &BTreeSet<KeyId>) {
    let (was, is) = (b.map(|b| keys(b.shredded)), keys(shredded));
    let pairs = (was.as_ref(), &is);
    let number = |key: &KeyId| key.0.to_string();
    entries(sink, "shredded", pairs, number, |()| json!(true));
}

fn keys<K: Ord + Copy>(set: &BTreeSet<K>) -> BTreeMap<K, ()> {
    set.iter().map(|key| (*key, ())).collect()
}

/// Runs whose deadline is their caller's own.
fn hurried(sink: &mut dyn Sink, b: Option<&Parts<'_>>, callers: &BTreeSet<RunId>) {
    let (was, is) = (b.map(|b| keys(b.caller_deadlines)), keys(callers));
    let pairs = (was.as_ref(), &is);
    entries(sink, "caller_deadlines", pairs, ToString::to_string, |()| {
        json!(true)
    });
}

/// The parts that are sets and queues, shown as maps.
fn sets(
    sink: &mut dyn Sink,
    b: Option<&Parts<'_>>,
    (deadlines, callers): (&BTreeSet<(UnixMicros, RunId)>, &BTreeSet<RunId>),
    idempotency_order: &VecDeque<(UnixMicros, IdempotencyKey)>,
) {
    hurried(sink, b, callers);
    let due = |set: &BTreeSet<_>| set.iter().map(|(at, run)| (*run, *at)).collect();
    let (was, is): (Option<BTreeMap<_, _>>, BTreeMap<_, _>) =
        (b.map(|b| due(b.deadlines)), due(deadlines));
    entries(
        sink,
        "deadlines",
        (was.as_ref(), &is),
        |run| run.to_string(),
        |at| time(*at),
    );
    let order = |b: &Parts<'_>| b.idempotency_order.iter().map(|key| (*key, ())).collect();
    let (was, is): (Option<BTreeMap<_, ()>>, BTreeMap<_, ()>) = (
        b.map(order),
        idempotency_order.iter().map(|key| (*key, ())).collect(),
    );
    let ordered =
        |(at, key): &(UnixMicros, IdempotencyKey)| format!("{} {}", rfc3339(*at), key_text(key));
    let pairs = (was.as_ref(), &is);
    entries(sink, "idempotency_order", pairs, ordered, |()| json!(true));
}

/// Walks two maps side by side and shows what is not equal.
pub(super) fn entries<K: Ord, V: PartialEq>(
    sink: &mut dyn Sink,
    name: &'static str,
    (before, after): (Option<&BTreeMap<K, V>>, &BTreeMap<K, V>),
    key: impl Fn(&K) -> String,
    value: impl Fn(&V) -> Value,
) {
    sink.collection(name);
    let mut before = before.into_iter().flatten().peekable();
    let mut after = after.iter().peekable();
    loop {
        let (was, is) = match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some((a, _)), Some((b, _))) if a == b => (before.next(), after.next()),
            (Some((a, _)), Some((b, _))) if a < b => (before.next(), None),
            (Some(_), None) => (before.next(), None),
            (Some(_) | None, Some(_)) => (None, after.next()),
        };
        let (place, change) = match (was, is) {
            (Some((_, a)), Some((_, b))) if a == b => continue,
            (Some((place, _)), Some(_)) => (place, Difference::Changed),
            (Some((place, _)), None) => (place, Difference::Removed),
            (None, Some((place, _))) => (place, Difference::Added),
            (None, None) => return,
        };
        if sink.takes(name, change) {
            let shown = |entry: Option<(&K, &V)>| entry.map(|(_, entry)| value(entry));
            sink.entry(name, key(place), shown(was), shown(is));
        }
    }
}

pub(super) fn time(at: UnixMicros) -> Value {
    Value::String(rfc3339(at))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key_text((principal, key): &IdempotencyKey) -> String {
    format!("{principal}:{}", hex(key))
}

pub(crate) fn set(settings: &Settings) -> Value {
    let Settings {
        runs_in_flight_max,
        idempotency_ttl_micros,
        idempotency_entries_max,
        disk_reserve_bytes,
    } = settings;
    json!({
        "runs_in_flight_max": runs_in_flight_max,
        "idempotency_ttl_micros": idempotency_ttl_micros,
        "idempotency_entries_max": idempotency_entries_max,
        "disk_reserve_bytes": disk_reserve_bytes,
    })
}

pub(crate) fn damage(damage: &Damage) -> Value {
    let Damage {
        seq,
        what,
        found_at,
    } = damage;
    json!({ "seq": seq.0, "what": what, "found_at": time(*found_at) })
}

pub(crate) fn process(server: &Server) -> Value {
    let Server {
        starts,
        started_at,
        running,
        binary_version,
        decider_version,
        numeric_profile,
        configuration_hash,
        configuration_generation,
    } = server;
    json!({
        "starts": starts,
        "started_at": time(*started_at),
        "running": running,
        "binary_version": binary_version,
        "decider_version": decider_version,
        "numeric_profile": numeric_profile,
        "configuration_hash": configuration_hash.to_string(),
        "configuration_generation": configuration_generation,
    })
}

fn ask(proposed: Option<&Proposed>) -> Value {
    let Some(Proposed { what, idempotency }) = proposed else {
        return Value::Null;
    };
    let mut shown = match what {
        Proposal::Run(id, open) => json!({ "run": id.to_string(), "request": run(open) }),
        Proposal::Dataset(digest, meta) => {
            json!({ "dataset": digest.to_string(), "request": dataset(meta) })
        }
        Proposal::Experiment(id, open) => {
            json!({ "experiment": id.to_string(), "request": experiment(open) })
        }
    };
    shown["idempotency"] = idempotency.map_or(
        Value::Null,
        |Idempotency { key, body }| json!({ "key": hex(&key), "body": body.to_string() }),
    );
    shown
}

fn context(context: &Context) -> Value {
    let Context {
        seq,
        at,
        event_id,
        correlation,
        principal,
        tenant,
        key,
    } = context;
    json!({
        "seq": seq.0,
        "at": time(*at),
        "event_id": event_id.to_string(),
        "correlation": correlation.to_string(),
        "principal": principal.to_string(),
        "tenant": tenant.to_string(),
        "key": key.0,
    })
}

fn run(open: &OpenRun) -> Value {
    let OpenRun {
        operation,
        schema,
        spec,
        spec_hash,
        seed,
        datasets,
        deadline,
        experiment,
        requested,
    } = open;
    let spec = spec
        .as_ref()
        .map(|spec| super::payload(requested.key, spec, &super::unread));
    json!({
        "operation": operation,
        "schema": schema,
        "spec": spec,
        "spec_hash": spec_hash.to_string(),
        "seed": seed,
        "datasets": datasets.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "deadline": deadline.map(time),
        "experiment": experiment.map(|id| id.to_string()),
        "requested": context(requested),
    })
}

fn dataset(meta: &DatasetMeta) -> Value {
    let DatasetMeta {
        name,
        format,
        bytes,
        rows,
        columns,
        registered_at,
    } = meta;
    json!({
        "name": name,
        "format": format,
        "bytes": bytes,
        "rows": rows,
        "columns": columns,
        "registered_at": time(*registered_at),
    })
}

fn experiment(open: &OpenExperiment) -> Value {
    let OpenExperiment {
        name,
        runs,
        remaining,
        tally,
        requested_at,
    } = open;
    json!({
        "name": name,
        "runs": runs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "remaining": remaining,
        "tally": tallied(tally),
        "requested_at": time(*requested_at),
    })
}

fn tallied(tally: &Tally) -> Value {
    let Tally {
        completed,
        failed,
        cancelled,
        refused,
        deduplicated,
    } = tally;
    json!({
        "completed": completed,
        "failed": failed,
        "cancelled": cancelled,
        "refused": refused,
        "deduplicated": deduplicated,
    })
}

fn total(totals: &Totals) -> Value {
    let Totals {
        requested,
        tally,
        queued_micros,
        computed_micros,
    } = totals;
    json!({
        "requested": requested,
        "tally": tallied(tally),
        "queued_micros": queued_micros,
        "computed_micros": computed_micros,
    })
}

fn remembered(remembered: &Remembered) -> Value {
    let Remembered { at, body, subject } = remembered;
    let subject = match subject {
        Subject::Run(id) => format!("run/{id}"),
        Subject::Dataset(digest) => format!("dataset/{digest}"),
        Subject::Experiment(id) => format!("experiment/{id}"),
        Subject::Backup(id) => format!("backup/{id}"),
        Subject::Answer(seq) => format!("answer/{}", seq.0),
    };
    json!({ "at": time(*at), "body": body.to_string(), "subject": subject })
}

/// Every fact of a state, by name; collections as far as there is room.
#[derive(Default)]
struct Document {
    facts: Map<String, Value>,
    left: usize,
    omitted: BTreeMap<String, u64>,
}

impl Sink for Document {
    fn one(&mut self, name: &'static str, _before: Option<Value>, after: Value) {
        self.facts.insert(name.to_owned(), after);
    }

    fn collection(&mut self, name: &'static str) {
        self.facts.insert(name.to_owned(), json!({}));
    }

    fn takes(&mut self, name: &'static str, _change: Difference) -> bool {
        let fits = self.left > 0;
        match fits {
            true => self.left -= 1,
            false => *self.omitted.entry(format!("/{name}")).or_default() += 1,
        }
        fits
    }

    fn entry(
        &mut self,
        name: &'static str,
        key: String,
        _before: Option<Value>,
        after: Option<Value>,
    ) {
        if let Some(Value::Object(entries)) = self.facts.get_mut(name) {
            entries.insert(key, after.unwrap_or_default());
        }
    }
}

/// The whole state as JSON, with up to `max` entries of its collections, and how many entries of
/// which collection are left out.
#[must_use]
pub fn state(state: &State, max: usize) -> (Value, BTreeMap<String, u64>) {
    let mut document = Document {
        left: max,
        ..Document::default()
    };
    visit(None, state, &mut document);
    (Value::Object(document.facts), document.omitted)
}
