//! What would have been is what is, in a world in which it is so. The same workload is played twice,
//! once without a step or with another limit; the first log, edited, has to lead to the second state.
//! Where an outcome had to be made up the worlds may part, because its time is drawn: such cases are
//! counted and passed over.

use hindcast_model::{Event, Seq, State};
use hindcast_whatif::{Answer, Counts, Edits};
use proptest::prelude::*;

use crate::support::{Server, alone, facts, question, world};

const STEPS: u64 = 40;

/// Facts that the two worlds have to share: all but the configuration, which says another limit.
fn shared(state: &State) -> Vec<String> {
    let facts = facts(state).into_iter();
    facts.filter(|line| !line.starts_with("settings")).collect()
}

/// The observed events of one step, by their ids.
fn of_step(server: &Server, step: u64) -> Vec<Seq> {
    let number = |id: hindcast_model::EventId| u128::from_be_bytes(id.bytes()) >> 16;
    let first = u128::from((step + 1) * 1_000);
    let timer = |event: &Event| matches!(event, Event::TimeReached(_));
    let events = server.events();
    let told = events.iter().filter(|recorded| {
        let id = number(recorded.context.event_id);
        let told = recorded.observed && !recorded.event().is_some_and(timer);
        told && (first..first + 1_000).contains(&id)
    });
    told.map(hindcast_log::Recorded::seq).collect()
}

fn nothing_made_up(answer: &Answer) -> bool {
    answer.counts == Counts::default()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_global_rejects: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn a_log_without_a_step_is_the_world_without_it(seed in any::<u64>(), skip in 0..STEPS) {
        let server = world(seed, STEPS, None, None);
        let drop = of_step(&server, skip);
        let restarts = drop.iter().any(|seq| {
            matches!(server.event(*seq).event(), Some(Event::ServerStarted(_) | Event::ServerStopped(_)))
        });
        prop_assume!(!drop.is_empty() && !restarts);
        let at = drop[0];
        let edits = Edits { drop: drop.into_iter().collect(), ..Edits::default() };
        let asked = question(at, server.head(), &edits);
        let answer = server.try_what_if(&alone(asked)).expect("an answer");
        prop_assume!(nothing_made_up(&answer));
        let other = world(seed, STEPS, Some(skip), None);
        prop_assert_eq!(shared(&answer.fork), shared(other.state()));
    }

    #[test]
    fn a_log_with_a_lower_limit_is_the_world_with_it(seed in any::<u64>(), limit in 1..3_u32) {
        let server = world(seed, STEPS, None, Some(5));
        let mut edits = Edits::default();
        edits.settings.insert("runs.in_flight_max".to_owned(), limit.into());
        let at = server.find(|event| matches!(event, Event::ConfigurationLoaded(_)));
        let asked = question(at, server.head(), &edits);
        let answer = server.try_what_if(&alone(asked)).expect("an answer");
        prop_assume!(nothing_made_up(&answer));
        let other = world(seed, STEPS, None, Some(limit));
        let lines = |state: &State| -> Vec<String> {
            let lines = shared(state).into_iter();
            lines.filter(|line| !line.starts_with("head system/configuration")).collect()
        };
        prop_assert_eq!(lines(&answer.fork), lines(other.state()));
    }
}
