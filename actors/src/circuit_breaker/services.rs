//! The services that breakers guard: the one table of their names.

pub use hindcast_causal::discover::Algorithm;
use hindcast_model::breaker::backup_breaker;
use hindcast_model::breaker::{BreakerPlan, BreakerSettings, ConfiguredBreaker, Fallback};

/// Every discovery algorithm.
pub const ALGORITHMS: [Algorithm; 10] = [
    Algorithm::Boss,
    Algorithm::Grasp,
    Algorithm::Ges,
    Algorithm::Eqvar,
    Algorithm::Notears,
    Algorithm::Correlation,
    Algorithm::Pc,
    Algorithm::Fci,
    Algorithm::DirectLingam,
    Algorithm::Dagma,
];

/// Algorithms that may take another's place: they answer with directed edges and take every kind of
/// background knowledge.
pub const SUBSTITUTES: [Algorithm; 6] = [
    Algorithm::Boss,
    Algorithm::Grasp,
    Algorithm::Ges,
    Algorithm::Eqvar,
    Algorithm::Pc,
    Algorithm::DirectLingam,
];

/// The breaker of path analysis.
pub const PATHS: &str = "path_analysis";
/// The breaker of validation.
pub const IDENTIFICATION: &str = "identification";
/// The breaker of strategies. No operation goes by it yet.
pub const STRATEGY: &str = "strategy_generation";

/// The breaker of the collector that telemetry is sent to, if it is sent anywhere.
pub const COLLECTOR: &str = "otlp_collector";

/// The breaker that a discovery by this algorithm goes by.
#[must_use]
pub fn discovery(algorithm: Algorithm) -> String {
    if algorithm == Algorithm::Notears {
        return "notears_discovery".to_owned();
    }
    format!("discovery_{}", algorithm.name())
}

/// The algorithm of this name.
#[must_use]
pub fn algorithm(name: &str) -> Option<Algorithm> {
    ALGORITHMS.into_iter().find(|known| known.name() == name)
}

/// The names of all breakers, given the targets of backups and whether telemetry is sent.
#[must_use]
pub fn names(targets: &[String], collector: bool) -> Vec<String> {
    let discoveries = ALGORITHMS.map(discovery);
    let others = [PATHS, IDENTIFICATION, STRATEGY].map(str::to_owned);
    let collector = collector.then(|| COLLECTOR.to_owned());
    let backups = targets.iter().map(|target| backup_breaker(target));
    discoveries
        .into_iter()
        .chain(others)
        .chain(collector)
        .chain(backups)
        .collect()
}

/// Breakers of these names with these settings of theirs and these fallbacks, pairs of algorithms.
#[must_use]
pub fn plan(
    names: Vec<String>,
    settings: impl Fn(&str) -> BreakerSettings,
    fallbacks: &[(Algorithm, Algorithm)],
) -> BreakerPlan {
    let of = |name: &str| {
        let own = fallbacks
            .iter()
            .filter(|(from, _)| discovery(*from) == name);
        let made = own.map(|(_, to)| Fallback {
            to: to.name().to_owned(),
            breaker: discovery(*to),
        });
        made.collect()
    };
    let breakers = names.into_iter().map(|name| ConfiguredBreaker {
        settings: settings(&name),
        fallbacks: of(&name),
        name,
    });
    BreakerPlan {
        breakers: breakers.collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_told_apart_and_algorithms_found() {
        let local = ["local".to_owned()];
        assert_eq!(names(&local, true).len(), 15);
        let names = names(&local, false);
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!((names.len(), distinct.len()), (14, 14));
        for wanted in [
            "notears_discovery",
            "discovery_boss",
            PATHS,
            STRATEGY,
            "backup_local",
        ] {
            assert!(names.iter().any(|name| name == wanted), "{wanted}");
        }
        for known in ALGORITHMS {
            assert_eq!(algorithm(known.name()), Some(known));
        }
        assert_eq!(algorithm("best"), None);
    }
}
