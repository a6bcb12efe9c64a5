//! A state as text.

use std::fmt::Write;

use crate::state::State;

impl State {
    /// The whole state as text, a line for each fact, for tests and for comparing two states. The
    /// destructuring is exhaustive, so that a field added to the state has to be shown here.
    #[must_use]
    pub fn dump(&self) -> String {
        let Self {
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
        } = self;
        let mut text = format!(
            "seq {seq} at {}\nsettings {settings:?}\nserver {server:?}\nproposed {proposed:?}\n\
             in flight {in_flight}\nexperiments {experiments_total}\nshed {shed}\npaused {paused:?}\n",
            at.0
        );
        let mut line = |fact: String| writeln!(text, "{fact}").expect("text takes any line");
        runs.iter()
            .for_each(|(id, run)| line(format!("run {id} {run:?}")));
        deadlines
            .iter()
            .for_each(|(at, id)| line(format!("deadline {} {id}", at.0)));
        datasets
            .iter()
            .for_each(|(digest, meta)| line(format!("dataset {digest} {meta:?}")));
        experiments
            .iter()
            .for_each(|(id, open)| line(format!("experiment {id} {open:?}")));
        idempotency
            .iter()
            .for_each(|(key, what)| line(format!("key {key:?} {what:?}")));
        idempotency_order
            .iter()
            .for_each(|(at, key)| line(format!("order {} {key:?}", at.0)));
        totals
            .iter()
            .for_each(|(name, totals)| line(format!("totals {name} {totals:?}")));
        actor_restarts
            .iter()
            .for_each(|(name, count)| line(format!("restarts {name} {count}")));
        (shredded.iter()).for_each(|key| line(format!("shredded {}", key.0)));
        (pruned.iter()).for_each(|pruned| line(format!("pruned {pruned:?}")));
        let files = damaged.iter();
        files.for_each(|(file, damage)| line(format!("damaged {file} {damage:?}")));
        let heads = heads.iter();
        heads.for_each(|(stream, version)| line(format!("head {stream} {version}")));
        line(format!("backups {backups_open:?} {backups:?}"));
        (caller_deadlines.iter()).for_each(|run| line(format!("caller deadline {run}")));
        breakers.dump(&mut text);
        slos.dump(&mut text);
        text
    }
}
