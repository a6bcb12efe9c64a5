//! Where a server breaks: rules over the intervals of a load run. They are pure, so that a report
//! can be judged again.

use hindcast_actors::circuit_breaker::services::COLLECTOR;
use hindcast_model::breaker::backup_breaker;
use serde::Serialize;

use super::Interval;

/// Share of requests that failed or were turned away.
pub const FAILED_SHARE_MAX: f64 = 0.05;
/// Requests that have to have failed before the share counts.
const FAILED_MIN: u64 = 5;
/// Milliseconds.
pub const P95_MS_MAX: f64 = 3_000.0;
/// Requests of an interval before its percentiles count.
const REQUESTS_MIN: u64 = 5;
/// Requests over which the rate is compared: their number is then off by a tenth by chance.
const RATE_REQUESTS_MIN: u64 = 100;
/// So many times the users have to bring more than so many times the requests.
const PLATEAU_USERS: f64 = 1.25;
const PLATEAU_RATE: f64 = 1.05;
/// How often in a row that has to fail.
const PLATEAU_TIMES: u32 = 2;
/// Growth of resident memory since the users are all there.
pub const MEMORY_FACTOR_MAX: f64 = 1.5;
/// What it has to grow by besides, in bytes.
pub const MEMORY_BYTES_MAX: u64 = 128 << 20;

/// What says that a server breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// More than 5 % of the requests failed or were turned away.
    Failures,
    /// P95 was above 3 s.
    Latency,
    /// More users brought no more requests per second.
    Plateau,
    /// A circuit breaker of what computes opened.
    BreakerOpened,
    /// Resident memory grew by half and 128 MiB although the users stayed.
    MemoryGrowth,
}

impl Rule {
    /// The word in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failures => "failures",
            Self::Latency => "latency",
            Self::Plateau => "plateau",
            Self::BreakerOpened => "breaker_opened",
            Self::MemoryGrowth => "memory_growth",
        }
    }
}

/// A rule that was met, and where first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Signal {
    pub rule: Rule,
    /// Seconds since the start, at the end of the interval.
    pub at_s: f64,
    pub users: u32,
    pub what: String,
}

/// Every rule that was met, in the order in which they were first. `open_before` names the circuit
/// breakers that were open at the start; `is_open_model` says that requests came at a rate of their
/// own, so that more users mean no more of them.
#[must_use]
pub fn signals(intervals: &[Interval], open_before: &[String], is_open_model: bool) -> Vec<Signal> {
    let mut found: Vec<Signal> = [
        intervals.iter().find_map(failures),
        intervals.iter().find_map(latency),
        (!is_open_model).then(|| plateau(intervals)).flatten(),
        intervals.iter().find_map(|one| breakers(one, open_before)),
        memory(intervals),
    ]
    .into_iter()
    .flatten()
    .collect();
    found.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    found
}

fn signal(rule: Rule, interval: &Interval, what: String) -> Signal {
    Signal {
        rule,
        at_s: interval.at_s,
        users: interval.users,
        what,
    }
}

/// Requests at a rate that were due and had no connection: the server, or this program, did not keep up.
#[must_use]
pub fn unsent(unsent: u64, sent: u64, last: Option<&Interval>) -> Option<Signal> {
    let due = sent.saturating_add(unsent);
    let share = unsent as f64 / due.max(1) as f64;
    let over = unsent >= FAILED_MIN && share > FAILED_SHARE_MAX;
    last.filter(|_| over).map(|last| {
        let what = format!(
            "of {due} requests that were due {unsent} had no connection ({:.1} %, limit {:.0} %): \
             more --users have more",
            share * 100.0,
            FAILED_SHARE_MAX * 100.0
        );
        signal(Rule::Failures, last, what)
    })
}

fn failures(one: &Interval) -> Option<Signal> {
    let bad = one.failures + one.turned_away;
    let share = bad as f64 / one.requests.max(1) as f64;
    (bad >= FAILED_MIN && share > FAILED_SHARE_MAX).then(|| {
        let what = format!(
            "of {} requests {} failed and {} were turned away ({:.1} %, limit {:.0} %)",
            one.requests,
            one.failures,
            one.turned_away,
            share * 100.0,
            FAILED_SHARE_MAX * 100.0
        );
        signal(Rule::Failures, one, what)
    })
}

fn latency(one: &Interval) -> Option<Signal> {
    let slow = one.requests >= REQUESTS_MIN && one.latency.p95_ms > P95_MS_MAX;
    slow.then(|| {
        let what = format!(
            "P95 is {:.0} ms (limit {P95_MS_MAX:.0} ms)",
            one.latency.p95_ms
        );
        signal(Rule::Latency, one, what)
    })
}

/// Intervals put together until there are requests enough to compare their rate.
struct Window<'a> {
    last: &'a Interval,
    rate: f64,
}

fn windows(intervals: &[Interval]) -> Vec<Window<'_>> {
    let (mut requests, mut seconds) = (0, 0.0);
    let mut found = Vec::new();
    for one in intervals {
        requests += one.requests - one.failures - one.turned_away;
        seconds += one.seconds;
        if requests >= RATE_REQUESTS_MIN && seconds > 0.0 {
            found.push(Window {
                last: one,
                rate: requests as f64 / seconds,
            });
            (requests, seconds) = (0, 0.0);
        }
    }
    found
}

fn plateau(intervals: &[Interval]) -> Option<Signal> {
    let mut best: Option<(f64, u32)> = None;
    let mut flat: Option<(&Interval, u32)> = None;
    for window in windows(intervals) {
        let Some((rate, users)) = best else {
            best = Some((window.rate, window.last.users));
            continue;
        };
        if window.rate > rate * PLATEAU_RATE {
            best = Some((window.rate, window.last.users));
            flat = None;
        } else if f64::from(window.last.users) >= f64::from(users) * PLATEAU_USERS {
            let (first, times) = flat.unwrap_or((window.last, 0));
            if times + 1 >= PLATEAU_TIMES {
                let what = format!(
                    "{} users bring {:.0} requests/s, {users} brought {rate:.0}",
                    window.last.users, window.rate
                );
                return Some(signal(Rule::Plateau, first, what));
            }
            flat = Some((first, times + 1));
        }
    }
    None
}

fn breakers(one: &Interval, open_before: &[String]) -> Option<Signal> {
    let open = &one.server.as_ref()?.breakers_open;
    let opened: Vec<&str> = open
        .iter()
        .filter(|name| !open_before.contains(name) && computes(name))
        .map(String::as_str)
        .collect();
    let what = || format!("open: {}", opened.join(", "));
    (!opened.is_empty()).then(|| signal(Rule::BreakerOpened, one, what()))
}

/// Whether the breaker is one of what computes: a collector or a target of backups that fails says
/// nothing of what a server bears.
fn computes(breaker: &str) -> bool {
    breaker != COLLECTOR && !breaker.starts_with(&backup_breaker(""))
}

fn memory(intervals: &[Interval]) -> Option<Signal> {
    let most = intervals.iter().map(|one| one.users).max()?;
    let resident = |one: &Interval| one.server.as_ref().map(|server| server.resident_bytes);
    let mut steady = intervals.iter().skip_while(|one| one.users < most);
    let base = steady.find_map(resident)?;
    steady.find_map(|one| {
        let bytes = resident(one)?;
        let factor = bytes as f64 / base.max(1) as f64;
        let grown = bytes.saturating_sub(base);
        (factor > MEMORY_FACTOR_MAX && grown > MEMORY_BYTES_MAX).then(|| {
            let what = format!(
                "resident memory grew from {} to {} MiB with the same users",
                base >> 20,
                bytes >> 20
            );
            signal(Rule::MemoryGrowth, one, what)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::ServerPoint;
    use super::super::tally::Latency;
    use super::*;

    /// An interval of a second in which all is well.
    fn well(second: u32, users: u32, requests: u64) -> Interval {
        Interval {
            at_s: f64::from(second),
            seconds: 1.0,
            users,
            requests,
            failures: 0,
            turned_away: 0,
            latency: Latency {
                p95_ms: 20.0,
                ..Latency::default()
            },
            server: Some(ServerPoint {
                resident_bytes: 100 << 20,
                cpu_percent: None,
                breakers_open: Vec::new(),
            }),
        }
    }

    fn rules(intervals: &[Interval]) -> Vec<Rule> {
        let found = signals(intervals, &[], false);
        found.into_iter().map(|signal| signal.rule).collect()
    }

    /// Users grow by ten a second, and each brings ten requests.
    fn linear() -> Vec<Interval> {
        (1..=10)
            .map(|second| well(second, second * 10, u64::from(second) * 100))
            .collect()
    }

    #[test]
    fn a_server_that_scales_does_not_break() {
        assert_eq!(rules(&linear()), []);
        assert_eq!(rules(&[]), []);
        // The users are all there, and nothing more comes.
        let steady: Vec<_> = (1..=30).map(|second| well(second, 50, 500)).collect();
        assert_eq!(rules(&steady), []);
    }

    #[test]
    fn failures_and_those_turned_away_count_from_five_on() {
        let mut run = linear();
        run[3].failures = 15;
        run[3].turned_away = 6;
        let found = signals(&run, &[], false);
        assert_eq!((found[0].rule, found[0].users), (Rule::Failures, 40));
        assert!((found[0].at_s - 4.0).abs() < 1e-9);
        assert!(found[0].what.contains("15 failed and 6 were turned away"));
        run[3].turned_away = 5;
        assert_eq!(rules(&run), [], "exactly 5 % is not more");
        let mut few = vec![well(1, 1, 4)];
        few[0].failures = 4;
        assert_eq!(rules(&few), []);
    }

    #[test]
    fn slow_intervals_are_found_with_their_users() {
        let mut run = linear();
        run[6].latency.p95_ms = 3_001.0;
        run[7].latency.p95_ms = 9_000.0;
        let found = signals(&run, &[], false);
        assert_eq!((found.len(), found[0].rule), (1, Rule::Latency));
        assert_eq!(found[0].users, 70);
        run[6].requests = 4;
        run[7].latency.p95_ms = 3_000.0;
        assert_eq!(rules(&run), []);
    }

    #[test]
    fn more_users_that_bring_no_more_are_a_plateau() {
        let mut run = linear();
        for one in &mut run[4..] {
            one.requests = 400;
        }
        let found = signals(&run, &[], false);
        assert_eq!((found[0].rule, found[0].users), (Rule::Plateau, 50));
        assert!(found[0].what.contains("40 brought 400"), "{found:?}");
        assert_eq!(signals(&run, &[], true), []);
        // A single slow second is none.
        let mut run = linear();
        run[5].requests = 300;
        assert_eq!(rules(&run), []);
        // Too few requests to tell.
        let quiet: Vec<_> = (1..=10)
            .map(|second| well(second, second * 10, 5))
            .collect();
        assert_eq!(rules(&quiet), []);
    }

    #[test]
    fn breakers_that_open_are_named_and_those_that_were_open_are_not() {
        let mut run = linear();
        let open = |one: &mut Interval, name: &str| {
            let server = one.server.as_mut().expect("a point");
            server.breakers_open.push(name.to_owned());
        };
        open(&mut run[1], COLLECTOR);
        open(&mut run[1], &backup_breaker("safe"));
        open(&mut run[2], "discovery_fci");
        open(&mut run[4], "path_analysis");
        let found = signals(&run, &["discovery_fci".to_owned()], false);
        assert_eq!((found[0].rule, found[0].users), (Rule::BreakerOpened, 50));
        assert_eq!(found[0].what, "open: path_analysis");
    }

    #[test]
    fn what_was_due_and_could_not_be_sent_is_a_failure() {
        let last = well(3, 1, 100);
        assert_eq!(unsent(4, 96, Some(&last)), None);
        assert_eq!(unsent(5, 95, Some(&last)), None);
        let found = unsent(6, 94, Some(&last)).expect("over the limit");
        assert_eq!((found.rule, found.users), (Rule::Failures, 1));
        assert!(found.what.contains("of 100 requests that were due 6"));
        assert_eq!(unsent(0, 0, None), None);
    }

    #[test]
    fn memory_that_grows_while_users_stay_is_told() {
        let mut run: Vec<_> = (1..=10).map(|second| well(second, 50, 500)).collect();
        let bytes = |run: &mut Vec<Interval>, at: usize, mib: u64| {
            let server = run[at].server.as_mut().expect("a point");
            server.resident_bytes = mib << 20;
        };
        bytes(&mut run, 5, 228);
        assert_eq!(rules(&run), [], "128 MiB is not more than 128 MiB");
        bytes(&mut run, 7, 300);
        let found = signals(&run, &[], false);
        assert_eq!(found[0].rule, Rule::MemoryGrowth);
        assert!((found[0].at_s - 8.0).abs() < 1e-9);
        // While users come, it may grow.
        let mut growing = linear();
        bytes(&mut growing, 8, 900);
        assert_eq!(rules(&growing), []);
    }
}
