//! What follows in a history from how a recorded event went there: outcomes and runs that the
//! record does not hold.

use std::borrow::Cow;
use std::collections::BTreeSet;

use hindcast_model::event::{Outcome, OutcomeObserved, RunCompleted, RunRequested};
use hindcast_model::state::Context;
use hindcast_model::{Digest, Event, Name16, Payload, RunId, UnixMicros};

use super::{Basis, Emission, Timeline, admitted, instead, opens};
use crate::edit::{derived, draw};
use crate::plan::Planned;
use crate::samples::{Kind, Sample, Samples};
use crate::slot::Slot;
use crate::world::{Computed, Task};

impl Timeline<'_> {
    /// What follows from how the recorded event went here.
    pub(super) fn settle<'e>(
        &mut self,
        slot: Slot<'e>,
        start: usize,
        samples: &Samples,
        out: &mut Vec<Emission<'e>>,
    ) {
        let recorded = slot.event();
        if let Some(Event::RunRequested(request)) = recorded
            && slot.admits(request.run)
            && !admitted(&out[start..], request.run)
        {
            self.never.insert(request.run);
        }
        if let Some(fed) = out.get(start) {
            let (event, basis, context) = (fed.event.clone(), fed.basis, fed.context);
            self.follow(&event);
            if out[start + 1..].iter().any(|e| e.event.ends_submission()) {
                self.turned_away = Some(context.event_id);
            }
            if let Event::RunRequested(request) = &*event {
                let same = slot.instead(request.run) == instead(&out[start..], request.run);
                let unedited = basis == Basis::Exact
                    || matches!(recorded, Some(Event::RunRequested(was)) if computes_the_same(was, request));
                let coupled = unedited && slot.admits(request.run) && same;
                if admitted(&out[start..], request.run) && !coupled {
                    self.begin(request, &context, samples, out);
                }
            } else if let Event::ExperimentRequested(_) = &*event {
                let known = slot.decided.iter().any(|d| d.event().is_some_and(opens));
                self.experiment(&event, (&context, start, known), samples, out);
            } else if let Event::ServerStarted(_) = &*event {
                self.restart(samples);
            }
        }
        for (run, event) in slot.ends() {
            let here = out[start..].iter().any(|e| *e.event == *event);
            if let (Event::RunCompleted(_), false) = (event, here) {
                self.stray(run, event);
            }
            let open = self.state.run(run).is_some();
            if open && !self.plan.contains(run) && !self.lost.contains(&run) {
                self.plan(run, self.state.at(), samples);
            }
        }
    }

    /// The run has not the recorded result here, unless it has it already.
    pub(super) fn stray(&mut self, run: RunId, event: &Event) {
        if let Event::RunCompleted(RunCompleted { result_hash, .. }) = event
            && self.inserted.get(&run) != Some(result_hash)
        {
            self.astray.insert(run);
        }
    }

    /// Whether a process is at work, after this event.
    pub(super) fn follow(&mut self, event: &Event) {
        if let Event::ServerStopped(_) = event {
            self.stopped = true;
        } else if let Event::ServerStarted(_) = event {
            self.stopped = false;
        }
    }

    /// A process that starts dispatches what is pending again.
    pub(super) fn restart(&mut self, samples: &Samples) {
        let mut again: BTreeSet<RunId> = self.plan.take().into_iter().collect();
        again.extend(std::mem::take(&mut self.lost));
        let now = self.state.at();
        for run in again {
            let Some(open) = self.state.run(run) else {
                continue;
            };
            let kind = Kind::computed(&self.state, run, &open.operation);
            let drawn = (&kind, open.spec.is_none());
            let sample = samples.draw(drawn, (self.rules.seed, run), 0).cloned();
            let computed = sample.as_ref().map_or(0, |sample| sample.computed_micros);
            let due = now.plus(computed);
            self.counts.planned += 1;
            self.plan.insert(run, Planned { due, sample });
        }
    }

    /// A run was admitted here that has no recorded outcome.
    pub(super) fn begin<'e>(
        &mut self,
        request: &RunRequested,
        context: &Context,
        samples: &Samples,
        out: &mut Vec<Emission<'e>>,
    ) {
        let run = request.run;
        self.uncoupled.insert(run);
        if !request.immediate {
            return self.plan(run, context.at, samples);
        }
        let diversion = self.state.breakers().diversion(run).cloned();
        let drawn = (&Kind::of(request), true);
        let sample = samples.draw(drawn, (self.rules.seed, run), 0).cloned();
        let task = Task {
            run,
            instead: diversion.as_ref().map(|diversion| diversion.to.as_str()),
            operation: &request.operation,
            schema: request.schema,
            spec: &request.spec,
            key: context.key,
            seed: request.seed,
            datasets: &request.datasets,
        };
        if let Some(made) = self.made(Some(task), sample.as_ref()) {
            let computed = sample.map_or(0, |sample| sample.computed_micros);
            self.report((run, made), (0, computed), context, out);
        }
    }

    /// Lets the outcome of an open run come after a time that is drawn, and not before `now`.
    pub(super) fn plan(&mut self, run: RunId, now: UnixMicros, samples: &Samples) {
        let Some(open) = self.state.run(run) else {
            return;
        };
        let asked = open.requested.at;
        let kind = Kind::computed(&self.state, run, &open.operation);
        let drawn = (&kind, open.spec.is_none());
        let longer = now.since(asked);
        let sample = samples.draw(drawn, (self.rules.seed, run), longer).cloned();
        let total = sample.as_ref().map_or(0, |sample| {
            sample.queued_micros.saturating_add(sample.computed_micros)
        });
        let due = asked.plus(total).max(now);
        self.counts.planned += 1;
        self.plan.insert(run, Planned { due, sample });
    }

    /// The planned outcome that is due.
    pub(super) fn end_planned(&mut self, out: &mut Vec<Emission<'_>>) {
        let Some((run, planned)) = self.plan.pop() else {
            return;
        };
        let Some(open) = self.state.run(run).cloned() else {
            return;
        };
        let diversion = self.state.breakers().diversion(run).cloned();
        let task = open.spec.as_ref().map(|spec| Task {
            run,
            instead: diversion.as_ref().map(|diversion| diversion.to.as_str()),
            operation: &open.operation,
            schema: open.schema,
            spec,
            key: open.requested.key,
            seed: open.seed,
            datasets: &open.datasets,
        });
        let Some(made) = self.made(task, planned.sample.as_ref()) else {
            return;
        };
        let computed = planned.sample.map_or(0, |sample| sample.computed_micros);
        let queued = planned
            .due
            .since(open.requested.at)
            .saturating_sub(computed);
        let at = planned.due.max(self.state.at());
        let context = Context {
            at,
            ..open.requested
        };
        self.report((run, made), (queued, computed), &context, out);
    }

    /// An outcome that is not recorded: computed if that is possible, otherwise drawn.
    pub(super) fn made(
        &mut self,
        task: Option<Task<'_>>,
        sample: Option<&Sample>,
    ) -> Option<(Outcome, Basis)> {
        if let Some(task) = task {
            if self.counts.recomputed < self.rules.recompute_max {
                if let Computed::Outcome(outcome) = self.rules.world.compute(&task) {
                    self.counts.recomputed += 1;
                    return Some((outcome, Basis::Recomputed));
                }
            } else {
                self.counts.over_limit += 1;
            }
        }
        let Some(sample) = sample else {
            self.counts.unresolved += 1;
            return None;
        };
        self.counts.modelled += 1;
        let unknown = || Outcome::Completed {
            result: Payload::Inline("null".to_owned()),
            result_hash: Digest::default(),
            schema: 0,
            algorithm_version: "modelled".to_owned(),
        };
        let outcome = sample.failed.clone().unwrap_or_else(unknown);
        Some((outcome, Basis::Modelled))
    }

    /// Observes an outcome that is not recorded.
    pub(super) fn report(
        &mut self,
        (run, (outcome, basis)): (RunId, (Outcome, Basis)),
        (queued_micros, computed_micros): (u64, u64),
        asked: &Context,
        out: &mut Vec<Emission<'_>>,
    ) {
        if let (Outcome::Completed { result_hash, .. }, Basis::Recomputed) = (&outcome, basis) {
            self.inserted.insert(run, *result_hash);
        }
        let cause = self
            .state
            .run(run)
            .map_or(asked.event_id, |open| open.requested.event_id);
        let context = Context {
            event_id: derived("outcome", cause, 0),
            principal: Name16::new("computation"),
            ..*asked
        };
        let observed = OutcomeObserved {
            run,
            outcome,
            numeric_profile: self.rules.world.numeric_profile().to_owned(),
            queued_micros,
            computed_micros,
        };
        let event = Cow::Owned(Event::OutcomeObserved(observed));
        self.feed(context, cause, (event, basis), out);
    }

    /// The runs of an experiment that is admitted here and not in the record.
    pub(super) fn experiment<'e>(
        &mut self,
        event: &Event,
        (context, start, known): (&Context, usize, bool),
        samples: &Samples,
        out: &mut Vec<Emission<'e>>,
    ) {
        let Event::ExperimentRequested(request) = event else {
            return;
        };
        if known || !out[start..].iter().any(|emission| opens(&emission.event)) {
            return;
        }
        let seed = draw(self.rules.seed, "series", request.experiment.bytes());
        let Some(requests) = self.rules.world.series(request, context.key, seed) else {
            self.counts.unreadable += 1;
            return;
        };
        for (number, request) in (0..).zip(requests) {
            let told = Context {
                event_id: derived("series", context.event_id, number),
                ..*context
            };
            let first = out.len();
            let event = Cow::Owned(Event::RunRequested(request.clone()));
            self.feed(told, context.event_id, (event, Basis::Recomputed), out);
            if admitted(&out[first..], request.run) {
                self.begin(&request, &told, samples, out);
            }
        }
    }
}

/// Whether two requests are for the same computation of the same run, so that the recorded outcome
/// is that of both.
fn computes_the_same(one: &RunRequested, other: &RunRequested) -> bool {
    let key = |request: &RunRequested| {
        let RunRequested {
            run,
            operation,
            schema,
            spec_hash,
            seed,
            datasets,
            immediate,
            ..
        } = request.clone();
        (run, operation, schema, spec_hash, seed, datasets, immediate)
    };
    key(one) == key(other)
}
