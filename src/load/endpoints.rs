//! The report of a profile of endpoints: each one's times, memory and functions, judged against
//! limits and against an older report.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Functions that are told of each endpoint.
const FUNCTIONS_MAX: usize = 20;
/// Share of a limit from which on it is said that it comes near.
const NEAR_SHARE: f64 = 0.8;
/// Share of requests that have to be answered.
const SUCCESS_MIN: f64 = 0.95;
/// And below which it is said that some were not.
const SUCCESS_WANTED: f64 = 0.99;
/// A figure that is so many times that of the older report is worse.
const WORSE: f64 = 1.1;

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Grade {
    Pass,
    Warn,
    Fail,
}

impl Grade {
    /// The word in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// What times have to stay below, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
}

/// A function and how often it was at work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    pub function: String,
    pub samples: u64,
    /// Of all samples.
    pub percent: f64,
}

/// Resident memory of the server meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    pub mean_bytes: Option<u64>,
    pub max_bytes: Option<u64>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profiled {
    pub name: String,
    pub method: String,
    pub path: String,
    pub requests: u64,
    /// Of all requests those that were answered, from 0 to 1.
    pub success_rate: f64,
    pub rps: f64,
    pub mean_ms: f64,
    pub median_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub memory: Memory,
    /// The twenty functions that were at work most often, without what they called.
    pub cpu_top: Vec<Function>,
    pub verdict: Grade,
    /// Why it is not PASS.
    pub reasons: Vec<String>,
}

/// A whole profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointsReport {
    pub report: String,
    pub target: String,
    pub server_version: String,
    pub started_at: String,
    pub users: u32,
    pub seconds_each: f64,
    pub limits: Limits,
    /// When the report was made that this one was compared with.
    pub baseline_at: Option<String>,
    pub verdict: Grade,
    pub endpoints: Vec<Profiled>,
    pub notes: Vec<String>,
}

/// The functions at work in folded stacks: a line for each stack, its functions between semicolons,
/// and how often it was met.
#[must_use]
pub fn functions(folded: &str) -> Vec<Function> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut all = 0;
    for line in folded.lines() {
        let Some((stack, count)) = line.rsplit_once(' ') else {
            continue;
        };
        let count: u64 = count.parse().unwrap_or(0);
        let name = stack.rsplit(';').next().unwrap_or(stack);
        *counts.entry(name).or_default() += count;
        all += count;
    }
    let mut functions: Vec<Function> = counts
        .into_iter()
        .map(|(name, samples)| Function {
            function: name.to_owned(),
            samples,
            percent: (samples as f64 / all.max(1) as f64 * 1_000.0).round() / 10.0,
        })
        .collect();
    functions.sort_by(|a, b| {
        let more = b.samples.cmp(&a.samples);
        more.then_with(|| a.function.cmp(&b.function))
    });
    functions.truncate(FUNCTIONS_MAX);
    functions
}

impl Profiled {
    /// Judges it against limits, and against itself in an older report.
    pub fn judge(&mut self, limits: &Limits, before: Option<&Self>) {
        let mut grade = Grade::Pass;
        let mut reasons = Vec::new();
        let mut say = |found: Grade, why: String| {
            grade = grade.max(found);
            reasons.push(why);
        };
        for (name, value, limit) in [
            ("P50", self.median_ms, limits.p50_ms),
            ("P95", self.p95_ms, limits.p95_ms),
            ("P99", self.p99_ms, limits.p99_ms),
        ] {
            if value >= limit {
                say(
                    Grade::Fail,
                    format!("{name} is {value:.2} ms, limit {limit} ms"),
                );
            } else if value >= limit * NEAR_SHARE {
                say(
                    Grade::Warn,
                    format!("{name} is {value:.2} ms, near the limit of {limit} ms"),
                );
            }
        }
        let answered = format!("{:.2} % were answered", self.success_rate * 100.0);
        if self.success_rate < SUCCESS_MIN {
            say(Grade::Fail, answered);
        } else if self.success_rate < SUCCESS_WANTED {
            say(Grade::Warn, answered);
        }
        if let Some(before) = before {
            for why in self.worse_than(before) {
                say(Grade::Warn, why);
            }
        }
        self.verdict = grade;
        self.reasons = reasons;
    }

    fn worse_than(&self, before: &Self) -> Vec<String> {
        let bytes = |memory: &Memory| memory.mean_bytes.map_or(0.0, |bytes| bytes as f64);
        let figures = [
            ("mean", self.mean_ms, before.mean_ms),
            ("median", self.median_ms, before.median_ms),
            ("P95", self.p95_ms, before.p95_ms),
            ("P99", self.p99_ms, before.p99_ms),
            ("memory", bytes(&self.memory), bytes(&before.memory)),
        ];
        let worse = figures
            .into_iter()
            .filter(|(_, now, then)| *then > 0.0 && *now > *then * WORSE);
        worse
            .map(|(name, now, then)| {
                format!(
                    "{name} is {:.0} % above that of the older report",
                    (now / then - 1.0) * 100.0
                )
            })
            .collect()
    }
}

impl EndpointsReport {
    /// Judges every endpoint, and all of them by the worst.
    pub fn judge(&mut self, baseline: Option<&Self>) {
        self.baseline_at = baseline.map(|older| older.started_at.clone());
        for one in &mut self.endpoints {
            let before = baseline
                .and_then(|older| older.endpoints.iter().find(|known| known.name == one.name));
            one.judge(&self.limits, before);
            if baseline.is_some() && before.is_none() {
                let name = &one.name;
                let note = format!("{name} is compared with nothing: the older report lacks it");
                self.notes.push(note);
            }
        }
        let worst = self.endpoints.iter().map(|one| one.verdict).max();
        self.verdict = worst.unwrap_or(Grade::Pass);
    }

    /// The report for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!(
            "{} endpoints of {}, {} users, {:.0} s each\n\n{:<10} {:>8} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8}  verdict\n",
            self.endpoints.len(),
            self.target,
            self.users,
            self.seconds_each,
            "endpoint",
            "requests",
            "mean ms",
            "median ms",
            "P95 ms",
            "P99 ms",
            "answered",
            "MiB"
        );
        for one in &self.endpoints {
            let mib = one.memory.max_bytes.map_or("?".to_owned(), |bytes| {
                format!("{:.0}", bytes as f64 / 1_048_576.0)
            });
            let _ = writeln!(
                out,
                "{:<10} {:>8} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>6.1} % {mib:>8}  {}",
                one.name,
                one.requests,
                one.mean_ms,
                one.median_ms,
                one.p95_ms,
                one.p99_ms,
                one.success_rate * 100.0,
                one.verdict.word()
            );
            for why in &one.reasons {
                let _ = writeln!(out, "           {why}");
            }
        }
        for one in &self.endpoints {
            let Some(first) = one.cpu_top.first() else {
                continue;
            };
            let _ = writeln!(
                out,
                "{:<10} most at work: {} ({} %)",
                one.name, first.function, first.percent
            );
        }
        for note in &self.notes {
            let _ = writeln!(out, "note: {note}");
        }
        let _ = write!(out, "\n{}", self.verdict.word());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        p50_ms: 500.0,
        p95_ms: 1_000.0,
        p99_ms: 2_000.0,
    };

    fn profiled() -> Profiled {
        Profiled {
            name: "validate".to_owned(),
            method: "POST".to_owned(),
            path: "/x".to_owned(),
            requests: 1_000,
            success_rate: 1.0,
            rps: 500.0,
            mean_ms: 2.0,
            median_ms: 1.5,
            p95_ms: 4.0,
            p99_ms: 9.0,
            max_ms: 20.0,
            memory: Memory {
                mean_bytes: Some(100 << 20),
                max_bytes: Some(120 << 20),
            },
            cpu_top: Vec::new(),
            verdict: Grade::Pass,
            reasons: Vec::new(),
        }
    }

    fn graded(change: impl FnOnce(&mut Profiled)) -> (Grade, Vec<String>) {
        let mut one = profiled();
        change(&mut one);
        one.judge(&LIMITS, Some(&profiled()));
        (one.verdict, one.reasons)
    }

    #[test]
    fn limits_fail_and_what_comes_near_warns() {
        assert_eq!(graded(|_| {}), (Grade::Pass, Vec::new()));
        let alone = |change: fn(&mut Profiled)| {
            let mut one = profiled();
            change(&mut one);
            one.judge(&LIMITS, None);
            one.verdict
        };
        assert_eq!(alone(|one| one.median_ms = 500.0), Grade::Fail);
        assert_eq!(alone(|one| one.median_ms = 400.0), Grade::Warn);
        assert_eq!(alone(|one| one.p95_ms = 799.9), Grade::Pass);
        assert_eq!(alone(|one| one.p99_ms = 1_600.0), Grade::Warn);
        assert_eq!(alone(|one| one.success_rate = 0.94), Grade::Fail);
        assert_eq!(alone(|one| one.success_rate = 0.98), Grade::Warn);
    }

    #[test]
    fn what_is_a_tenth_worse_than_before_warns() {
        assert_eq!(graded(|one| one.p95_ms = 4.4).0, Grade::Pass);
        let (grade, reasons) = graded(|one| one.p95_ms = 4.6);
        assert_eq!(grade, Grade::Warn);
        assert!(reasons[0].starts_with("P95 is 15 % above"), "{reasons:?}");
        assert_eq!(
            graded(|one| one.memory.mean_bytes = Some(111 << 20)).0,
            Grade::Warn
        );
    }

    #[test]
    fn functions_at_work_are_counted_without_those_that_called_them() {
        let folded = "http;a;b 3\nhttp;a;c 1\ncompute;d;b 5\ncompute 1\nbroken\n";
        let found = functions(folded);
        let names: Vec<_> = found
            .iter()
            .map(|f| (f.function.as_str(), f.samples))
            .collect();
        assert_eq!(names, [("b", 8), ("c", 1), ("compute", 1)]);
        assert!((found[0].percent - 80.0).abs() < 1e-9);
        let many: String = (0..50).map(|n| format!("t;f{n:02} {n}\n")).collect();
        assert_eq!(functions(&many).len(), FUNCTIONS_MAX);
    }
}
