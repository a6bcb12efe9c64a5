//! What is known of how computations grow with their input, beside what this server took for them.

use serde::Serialize;
use utoipa::ToSchema;

/// Mean seconds of an operation from which on there is a warning.
const SLOW_S: f64 = 1.0;

/// What computations of one kind took on this server, whatever the algorithm.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Timed {
    /// Such as `causal.discover`.
    pub operation: String,
    pub count: u64,
    pub mean_s: f64,
}

impl Timed {
    /// The mean is over a second.
    #[must_use]
    pub fn slow(&self) -> bool {
        self.mean_s > SLOW_S
    }
}

/// One way to compute, and how it grows.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Complexity {
    pub what: &'static str,
    /// The operation that it is a part of, as metrics name it; null for what every answer needs.
    pub operation: Option<&'static str>,
    /// d variables, n rows, k parents of a node, V nodes, E edges.
    pub order: &'static str,
    pub note: &'static str,
    /// Computations in this process that were timed. Of an operation with several rows nothing is known
    /// row by row: its figures stand under `operations`.
    pub measured_count: u64,
    pub measured_mean_s: Option<f64>,
    /// The mean is over a second.
    pub slow: bool,
}

const DISCOVER: Option<&str> = Some("causal.discover");
const PATHS: Option<&str> = Some("causal.paths");
const VALIDATE: Option<&str> = Some("causal.validate");

/// As docs/methods derive and measure it.
const TABLE: &[(&str, Option<&str>, &str, &str)] = &[
    (
        "notears",
        DISCOVER,
        "O(d^3) for each of hundreds to thousands of evaluations",
        "twice the variables take eight times as long; boss takes its place where its breaker is open",
    ),
    (
        "dagma",
        DISCOVER,
        "O(d^3) for each of hundreds of evaluations",
        "twice the variables take eight times as long",
    ),
    (
        "boss, grasp, ges",
        DISCOVER,
        "d^2 looks for each sweep, O(k d) for each node of a tree",
        "restarts multiply it",
    ),
    (
        "pc, fci",
        DISCOVER,
        "exponential in max_cond_size and the degree of the graph",
        "a smaller max_cond_size or alpha bounds it",
    ),
    (
        "direct_lingam",
        DISCOVER,
        "O(n d^3)",
        "the one that reads rows again and again: fewer rows help",
    ),
    ("eqvar", DISCOVER, "O(d^3)", ""),
    ("correlation", DISCOVER, "O(d^2)", ""),
    (
        "second moments of a dataset",
        DISCOVER,
        "O(n d^2), once for a dataset",
        "a stored dataset is parsed once and cached",
    ),
    (
        "bootstrap",
        DISCOVER,
        "linear in its replicates",
        "each replicate is a discovery of its own",
    ),
    (
        "paths listed",
        PATHS,
        "exponential in V in the worst case",
        "limit bounds what is listed; counts and d-separation do not list, and take O(V w + E)",
    ),
    (
        "identification",
        VALIDATE,
        "polynomial in V; the sets listed by each criterion may be exponentially many",
        "limit bounds what is listed",
    ),
    (
        "answers as JSON",
        None,
        "linear in the bytes of the answer",
        "paths listed, bootstrap replicates and formats make answers long",
    ),
];

/// The table beside what was timed.
#[must_use]
pub fn complexities(timed: &[Timed]) -> Vec<Complexity> {
    let alone = |operation: Option<&str>| {
        let rows = TABLE.iter().filter(|(_, other, ..)| *other == operation);
        rows.count() == 1
    };
    let rows = TABLE.iter().map(|&(what, operation, order, note)| {
        let own = timed
            .iter()
            .find(|one| Some(one.operation.as_str()) == operation);
        let own = own.filter(|one| one.count > 0 && alone(operation));
        Complexity {
            what,
            operation,
            order,
            note,
            measured_count: own.map_or(0, |one| one.count),
            measured_mean_s: own.map(|one| one.mean_s),
            slow: own.is_some_and(Timed::slow),
        }
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_timed_stands_beside_the_order() {
        let of = |operation: &str| Timed {
            operation: operation.to_owned(),
            count: 4,
            mean_s: 1.5,
        };
        let timed = [of("causal.discover"), of("causal.validate")];
        let all = complexities(&timed);
        let of = |what: &str| all.iter().find(|row| row.what == what).expect("a row");
        assert_eq!(of("identification").measured_mean_s, Some(1.5));
        assert!(of("identification").slow);
        // Nobody knows which of its algorithms took how long.
        assert_eq!(of("notears").measured_mean_s, None);
        assert!(!of("notears").slow && of("notears").order.starts_with("O(d^3)"));
        assert_eq!(of("paths listed").measured_mean_s, None);
        assert!(!of("answers as JSON").slow);
    }
}
