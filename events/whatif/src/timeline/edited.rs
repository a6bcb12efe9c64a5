//! What a question adds to a history.

use std::borrow::Cow;

use hindcast_model::event::ConfigurationLoaded;
use hindcast_model::state::Context;
use hindcast_model::{Digest, Event, EventId, KeyId, Name16, Payload, Seq, UnixMicros};

use super::{Basis, Emission, Timeline, admitted};
use crate::edit::derived;
use crate::samples::Samples;

impl Timeline<'_> {
    /// The edits of configuration keys, as a configuration that is loaded here.
    pub(crate) fn reconfigure(&mut self, out: &mut Vec<Emission<'_>>) {
        let edits = self.rules.edits;
        if edits.settings.is_empty() {
            return;
        }
        let document = edits.document();
        let breakers = self.state.breakers();
        let event = Event::ConfigurationLoaded(ConfigurationLoaded {
            generation: self.state.server().configuration_generation,
            hash: Digest(*blake3::hash(document.as_bytes()).as_bytes()),
            document: Payload::Inline(document),
            settings: edits.settings_over(self.state.settings()),
            breakers: (!breakers.is_empty()).then(|| edits.breakers_over(&breakers.plan())),
        });
        let at = self.state.at();
        self.happen(event, ("configuration", self.next.0, 0), at, out);
    }

    /// An event that the question adds after the recorded one at `after`.
    pub(crate) fn inject(
        &mut self,
        (event, after, number): (&Event, Seq, u64),
        at: UnixMicros,
        samples: &Samples,
        out: &mut Vec<Emission<'_>>,
    ) {
        let start = out.len();
        let at = self.time(at);
        self.happen(event.clone(), ("inject", after.0, number), at, out);
        self.follow(event);
        let context = out[start].context;
        if let Event::RunRequested(request) = event {
            if admitted(&out[start..], request.run) {
                self.begin(request, &context, samples, out);
            }
        } else if let Event::ExperimentRequested(_) = event {
            self.experiment(event, (&context, start, false), samples, out);
        } else if let Event::OutcomeObserved(outcome) = event {
            self.plan.remove(outcome.run);
        } else if let Event::ServerStarted(_) = event {
            self.restart(samples);
        }
    }

    fn happen(
        &mut self,
        event: Event,
        (purpose, place, number): (&str, u64, u64),
        at: UnixMicros,
        out: &mut Vec<Emission<'_>>,
    ) {
        let place = EventId::from_bytes(u128::from(place).to_be_bytes());
        let id = derived(purpose, place, number);
        let context = Context {
            seq: self.next,
            at,
            event_id: id,
            correlation: id,
            principal: Name16::new("what-if"),
            tenant: Name16::default(),
            key: KeyId(0),
        };
        self.feed(context, id, (Cow::Owned(event), Basis::Edited), out);
    }
}
