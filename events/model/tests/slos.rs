//! Service level objectives: counts are those of the batches, budgets freeze and thaw, and nothing of
//! it depends on when somebody looks.

mod support;

use hindcast_model::event::{MetricsSampled, ObjectivesConfigured, SloBudgetChanged};
use hindcast_model::samples::Samples;
use hindcast_model::slo::{
    BurnPair, Counted, Slo, SloBound, SloCondition, SloMeasure, SloObjective, SloPer, SloPlan,
    SloPolicy, SloReading,
};
use hindcast_model::{Event, State, UnixMicros};
use proptest::collection::vec;
use proptest::prelude::*;
use support::*;

const MINUTE: u64 = 60 * SECOND;
const DAY: u64 = 24 * HOUR;

fn requests(name: &str, target_ppm: u32, window_micros: u64) -> SloObjective {
    SloObjective {
        name: name.to_owned(),
        measure: SloMeasure::Ratio {
            good: vec![1],
            valid: vec![1, 4],
        },
        target_ppm,
        window_micros,
        freezes: true,
    }
}

fn figure(name: &str, bound: SloBound) -> SloObjective {
    SloObjective {
        name: name.to_owned(),
        measure: SloMeasure::Bound(bound),
        target_ppm: 900_000,
        window_micros: DAY,
        freezes: false,
    }
}

fn plan(objectives: Vec<SloObjective>) -> SloPlan {
    SloPlan {
        policy: SloPolicy {
            freeze_below_permille: 100,
            thaw_at_permille: 200,
            bad_minimum: 10,
        },
        objectives,
    }
}

fn configured(objectives: Vec<SloObjective>) -> Event {
    let plan = plan(objectives);
    Event::ObjectivesConfigured(ObjectivesConfigured { plan })
}

fn batch(span_micros: u64, figures: &[(u16, i64)]) -> Event {
    let mut values = Samples::default();
    for (number, value) in figures {
        values.push(*number, *value).expect("numbers rise");
    }
    Event::MetricsSampled(MetricsSampled {
        span_micros,
        values,
    })
}

/// Requests that were answered, and that failed, in 15 seconds.
fn served(good: i64, bad: i64) -> Event {
    batch(15 * SECOND, &[(1, good), (4, bad)])
}

fn story(objectives: Vec<SloObjective>) -> Story {
    Story::given([configured(objectives)])
}

fn slo<'s>(state: &'s State, name: &str) -> &'s Slo {
    state.slos().get(name).expect("an objective")
}

fn reading(state: &State, name: &str) -> SloReading {
    slo(state, name).reading(state.at())
}

fn counted(state: &State, name: &str) -> (u64, u64) {
    let counted = reading(state, name).counted;
    (counted.good, counted.valid)
}

fn budget(decided: &[Event]) -> Option<&SloBudgetChanged> {
    decided.iter().find_map(|event| {
        if let Event::SloBudgetChanged(changed) = event {
            return Some(changed);
        }
        None
    })
}

/// The pairs that began to burn and those that ceased.
fn burns(decided: &[Event]) -> Vec<(BurnPair, bool)> {
    let burns = decided.iter().filter_map(|event| {
        if let Event::SloBurnChanged(changed) = event {
            return Some((changed.pair, changed.burning));
        }
        None
    });
    burns.collect()
}

/// A batch as the plainest way of counting sees it.
type Seen = (u64, Counted);

/// What a window holds: the batches in its buckets, of which the oldest counts as a whole.
fn by_hand(seen: &[Seen], at: u64, window: u64) -> Counted {
    let bucket = match window {
        ..=HOUR => MINUTE,
        window if window <= 6 * HOUR => 5 * MINUTE,
        _ => HOUR,
    };
    let from = at.saturating_sub(window) / bucket;
    let within = seen.iter().filter(|(then, _)| then / bucket >= from);
    within.fold(Counted::default(), |sum, (_, counted)| sum.plus(*counted))
}

fn some_pause() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0..40 * SECOND,
        3 => 0..20 * MINUTE,
        2 => 0..30 * HOUR,
        1 => Just(40 * DAY),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_are_those_of_the_batches(
        steps in vec((some_pause(), 0..200_i64, -5..20_i64, 0..60 * SECOND), 1..120),
    ) {
        let windows = [HOUR, 5 * HOUR, DAY, 30 * DAY];
        let names = ["a", "b", "c", "d"];
        let objectives = names.iter().zip(windows).map(|(name, window)| requests(name, 990_000, window));
        let mut story = story(objectives.collect());
        let mut seen: Vec<Seen> = Vec::new();
        let mut last = None;
        for (pause, good, bad, span) in steps {
            story.later(pause).when(batch(span, &[(1, good), (4, bad)]));
            let now = story.now;
            let micros = last.map_or(span, |before: u64| span.min(now - before));
            // What went backwards was not added to.
            let valid = good.unsigned_abs() + bad.max(0).unsigned_abs();
            seen.push((now, Counted { good: good.unsigned_abs(), valid, micros }));
            last = Some(now);
            for (name, window) in names.iter().zip(windows) {
                let known = reading(&story.state, name);
                prop_assert_eq!(known.counted, by_hand(&seen, now, window), "{}", name);
                for burn in known.burn {
                    let expected = by_hand(&seen, now, burn.window_micros);
                    prop_assert_eq!(burn.counted, expected);
                    let spent = expected.bad() * 1_000_000_000 / (expected.valid.max(1) * 10_000);
                    prop_assert_eq!(burn.rate_milli, (expected.valid > 0).then_some(spent));
                }
            }
        }
    }

    #[test]
    fn what_is_decided_is_what_the_fold_would_say(
        steps in vec((some_pause(), 0..300_i64, 0..12_i64), 1..150),
    ) {
        let mut story = story(vec![requests("a", 990_000, DAY)]);
        for (pause, good, bad) in steps {
            let before = slo(&story.state, "a").frozen();
            let burning: Vec<BurnPair> = slo(&story.state, "a").burning().map(|it| it.0).collect();
            let decided = story.later(pause).when(served(good, bad));
            // Judged anew from the state that the batch left.
            let now = reading(&story.state, "a");
            let left = now.remaining_permille.unwrap_or(1_000);
            let expected = match before {
                None => now.counted.bad() >= 10 && left < 100,
                Some(_) => now.counted.bad() >= 10 && left < 200,
            };
            let frozen = slo(&story.state, "a").frozen();
            prop_assert_eq!(frozen.is_some(), expected);
            prop_assert_eq!(budget(&decided).is_some(), before.is_some() != expected);
            let rate = |window: u64| {
                let burn = now.burn.iter().find(|burn| burn.window_micros == window);
                burn.and_then(|burn| burn.rate_milli).unwrap_or(0)
            };
            let is_burning: Vec<BurnPair> = slo(&story.state, "a").burning().map(|it| it.0).collect();
            for (pair, long, short, line) in [
                (BurnPair::Fast, HOUR, 5 * MINUTE, 14_400),
                (BurnPair::Medium, 6 * HOUR, 30 * MINUTE, 6_000),
            ] {
                let was = burning.contains(&pair);
                let line = if was { line * 9 / 10 } else { line };
                let bad = slo(&story.state, "a").over(story.state.at(), long).bad();
                let expected = rate(long) >= line && rate(short) >= line && (was || bad >= 10);
                prop_assert_eq!(is_burning.contains(&pair), expected, "{}", pair);
            }
            prop_assert!(!is_burning.contains(&BurnPair::Slow), "3 days are over the window");
        }
    }
}

#[test]
fn without_objectives_nothing_is_decided_and_nothing_kept() {
    let mut story = Story::default();
    assert_eq!(story.when(served(0, 1_000)), []);
    assert!(story.state.slos().is_empty());
    assert!(!story.state.dump().contains("slo "));
    // Configured and taken away again.
    story.when(configured(vec![requests("a", 999_000, DAY)]));
    assert_eq!(story.when(served(0, 1_000)).len(), 3);
    story.when(configured(Vec::new()));
    assert!(story.state.slos().is_empty());
    assert_eq!(story.when(served(0, 1_000)), []);
    assert_eq!(
        story.placed(0)[1..3],
        [
            "objectives_configured system/slo",
            "metrics_sampled system/metrics"
        ]
    );
}

#[test]
fn a_budget_freezes_and_thaws_with_some_distance() {
    let mut story = story(vec![requests("a", 900_000, HOUR)]);
    let mut step = |good, bad| {
        let decided = story.later(MINUTE).when(served(good, bad));
        budget(&decided).map(|changed| (changed.frozen, changed.remaining_permille))
    };
    // A few of very few say little.
    assert_eq!(step(0, 9), None);
    assert_eq!(step(991, 0), None);
    // 98 of 1089 are bad: 10.0 % of the budget of 108.9 are left.
    assert_eq!(step(0, 89), None);
    assert_eq!(step(0, 1), Some((true, Some(91))));
    // Above the line at which it froze, and below that at which it thaws.
    assert_eq!(step(9, 0), None);
    assert_eq!(step(60, 0), None);
    assert_eq!(step(80, 0), Some((false, Some(200))));
    assert_eq!(step(0, 30), Some((true, Some(-17))));
}

#[test]
fn a_budget_thaws_when_the_bad_time_has_gone_by() {
    let mut story = story(vec![requests("a", 990_000, DAY)]);
    story.later(MINUTE);
    let decided = story.when(served(100, 100));
    assert_eq!(budget(&decided).map(|it| it.frozen), Some(true));
    let frozen = slo(&story.state, "a").frozen().expect("frozen");
    assert_eq!((frozen.since, frozen.valid), (story.state.at(), 200));
    assert_eq!(frozen.remaining_permille, -49_000);
    // A start is nothing to a budget, and so is a gap.
    story.later(12 * HOUR).when(served(10, 0));
    assert!(slo(&story.state, "a").frozen().is_some());
    let decided = story.later(14 * HOUR).when(served(0, 0));
    assert_eq!(budget(&decided).map(|it| it.frozen), Some(false));
    assert_eq!(counted(&story.state, "a"), (10, 10));
    // Where nothing is counted, nothing is told.
    story.later(40 * DAY).when(served(0, 0));
    let nothing = reading(&story.state, "a");
    assert_eq!(
        (nothing.counted.valid, nothing.remaining_permille),
        (0, None)
    );
    assert!(nothing.burn.iter().all(|burn| burn.rate_milli.is_none()));
}

#[test]
fn two_windows_have_to_burn_and_the_short_one_ends_it() {
    let mut story = story(vec![requests("a", 999_000, 30 * DAY)]);
    for _ in 0..4 * 60 {
        assert_eq!(story.later(15 * SECOND).when(served(100, 0)), []);
    }
    // Failing outright: the hour burns 14.4 times from 1.44 % on.
    let mut began = Vec::new();
    for batch in 1..=20_u32 {
        let decided = story.later(15 * SECOND).when(served(0, 100));
        began.extend(burns(&decided).into_iter().map(|burn| (batch, burn)));
    }
    let pairs: Vec<(BurnPair, bool)> = began.iter().map(|(_, burn)| *burn).collect();
    assert_eq!(pairs.len(), 3, "{began:?}");
    assert!(pairs.iter().all(|(_, burning)| *burning));
    // Slow, at 0.1 % of the day, comes before fast, at 1.44 % of the hour.
    assert_eq!(began[0].1.0, BurnPair::Slow, "{began:?}");
    assert_eq!(began[2].1.0, BurnPair::Fast, "{began:?}");
    // Fast ends soon after the failures do; the slow ones take longer.
    let mut ceased = Vec::new();
    for batch in 1..=400_u32 {
        let decided = story.later(15 * SECOND).when(served(100, 0));
        ceased.extend(burns(&decided).into_iter().map(|burn| (batch, burn)));
    }
    assert_eq!(ceased[0].1, (BurnPair::Fast, false), "{ceased:?}");
    assert!((20..=24).contains(&ceased[0].0), "{ceased:?}");
    assert_eq!(ceased[1].1, (BurnPair::Medium, false), "{ceased:?}");
    let slow: Vec<BurnPair> = slo(&story.state, "a").burning().map(|it| it.0).collect();
    assert_eq!(slow, [BurnPair::Slow]);
}

#[test]
fn figures_are_held_against_their_bounds() {
    let plain = |value: u16, at_most: bool, bound: u64| SloBound {
        value: vec![value],
        per: SloPer::One,
        at_most,
        bound_millionths: bound * 1_000_000,
        when: None,
    };
    let memory = figure("memory", plain(21, true, 4_096));
    let cpu = SloBound {
        per: SloPer::Series(vec![23]),
        bound_millionths: 700_000,
        ..plain(20, true, 0)
    };
    let rate = SloBound {
        per: SloPer::Second,
        when: Some(SloCondition {
            series: vec![9],
            at_least_millionths: 1_000_000,
        }),
        ..plain(1, false, 40)
    };
    let objectives = vec![memory, figure("cpu", cpu), figure("rate", rate)];
    let mut story = story(objectives);
    let mut step = |figures: &[(u16, i64)]| {
        story.later(15 * SECOND).when(batch(15 * SECOND, figures));
        ["memory", "cpu", "rate"].map(|name| counted(&story.state, name))
    };
    // Nothing is known of memory and processors, and nobody was turned away.
    assert_eq!(step(&[(1, 5)]), [(0, 0), (0, 0), (0, 0)]);
    // 4 KiB of memory; 0.7 of a second of processor time of one second; 39.9 a second.
    let found = step(&[(1, 599), (9, 1), (20, 70), (21, 4), (23, 100)]);
    assert_eq!(found, [(1, 1), (1, 1), (0, 1)]);
    let found = step(&[(1, 600), (9, 1), (20, 71), (21, 5), (23, 100)]);
    assert_eq!(found, [(1, 2), (1, 2), (1, 2)]);
    // An idle process takes no time, and that is known.
    let found = step(&[(1, 1), (21, 1), (23, 100)]);
    assert_eq!(found, [(2, 3), (2, 3), (1, 2)]);
}

#[test]
fn counts_stay_while_the_same_is_measured() {
    let mut story = story(vec![
        requests("a", 990_000, DAY),
        requests("b", 990_000, DAY),
    ]);
    story.later(MINUTE).when(served(0, 100));
    assert!(slo(&story.state, "a").frozen().is_some());
    // Another target and window; another measure; and one that is not there any more.
    let mut other = requests("b", 990_000, DAY);
    other.measure = SloMeasure::Ratio {
        good: vec![12],
        valid: vec![12, 13],
    };
    story.when(configured(vec![requests("a", 100_000, 30 * DAY), other]));
    assert_eq!(counted(&story.state, "a"), (0, 100));
    assert_eq!(counted(&story.state, "b"), (0, 0));
    assert!(slo(&story.state, "b").frozen().is_none());
    let decided = story.later(MINUTE).when(served(10_000, 0));
    assert_eq!(budget(&decided).map(|it| it.frozen), Some(false));
    let mut free = requests("a", 999_999, DAY);
    free.freezes = false;
    story.when(configured(vec![free]));
    assert_eq!(budget(&story.later(MINUTE).when(served(0, 100))), None);
    assert!(story.state.slos().get("b").is_none());
}

#[test]
fn time_that_was_counted_already_is_not_counted_again() {
    let mut story = story(vec![requests("a", 990_000, HOUR)]);
    let micros = |story: &Story| reading(&story.state, "a").counted.micros;
    story.later(MINUTE).when(batch(15 * SECOND, &[(1, 1)]));
    // The clock stood still for the log, and the batch spans more than has passed.
    story.when(batch(15 * SECOND, &[(1, 1)]));
    assert_eq!(micros(&story), 15 * SECOND);
    story.later(10 * SECOND).when(batch(HOUR, &[(1, 1)]));
    assert_eq!(micros(&story), 25 * SECOND);
    // The log jumps forward: that nothing was measured in between is told.
    story.later(30 * MINUTE).when(batch(15 * SECOND, &[(1, 1)]));
    assert_eq!(micros(&story), 40 * SECOND);
    assert_eq!(story.state.slos().sampled_at(), Some(UnixMicros(story.now)));
}

#[test]
fn what_is_over_the_limits_is_not_looked_at() {
    let mut wrong = vec![
        requests("", 990_000, DAY),
        requests(&"n".repeat(65), 990_000, DAY),
        requests("a", 1_000_000, DAY),
        requests("b", 990_000, 0),
        requests("c", 990_000, 31 * DAY),
    ];
    wrong.push(SloObjective {
        measure: SloMeasure::Ratio {
            good: vec![1; 129],
            valid: vec![1],
        },
        ..requests("d", 990_000, DAY)
    });
    let story_of = |objectives| story(objectives).state.slos().all().len();
    assert_eq!(story_of(wrong), 0);
    let many = (0..40).map(|n| requests(&format!("n{n}"), 990_000, DAY));
    assert_eq!(story_of(many.collect()), 32);
}
