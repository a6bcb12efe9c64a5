//! What is asked: endpoints, how often each, and with which bodies. Everything follows from the
//! seed, so that two runs with the same seed ask the same.

use std::fmt::Write as _;

use serde::Serialize;

/// Different bodies of an endpoint in the mixed load.
const BODIES: usize = 64;
/// One of so many requests of the mixed load was never sent before.
const FRESH_EVERY: u64 = 4;
/// Rows and columns of a table to discover.
const ROWS: usize = 60;
const COLUMNS: usize = 5;

/// A generator of numbers: splitmix64, which is a bijection of a counter.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Numbers that follow from a seed and who draws them.
    #[must_use]
    pub fn new(seed: u64, who: u64) -> Self {
        let mut own = Self(seed);
        let start = own.bits();
        Self(start ^ who.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from 0 to below 1.
    pub fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `count`, which is not 0.
    pub fn below(&mut self, count: u64) -> u64 {
        self.bits() % count.max(1)
    }

    fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap_or(0)
    }
}

/// Something that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    Validate,
    Paths,
    Discover,
    Health,
    Live,
    Ready,
    Runs,
    Events,
    Metrics,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 9] = [
        Self::Validate,
        Self::Paths,
        Self::Discover,
        Self::Health,
        Self::Live,
        Self::Ready,
        Self::Runs,
        Self::Events,
        Self::Metrics,
    ];

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Paths => "paths",
            Self::Discover => "discover",
            Self::Health => "health",
            Self::Live => "live",
            Self::Ready => "ready",
            Self::Runs => "runs",
            Self::Events => "events",
            Self::Metrics => "metrics",
        }
    }

    /// Method and path.
    #[must_use]
    pub const fn route(self) -> (&'static str, &'static str) {
        match self {
            Self::Validate => ("POST", "/api/v1/causal/validate"),
            Self::Paths => ("POST", "/api/v1/causal/paths"),
            Self::Discover => ("POST", "/api/v1/causal/discover"),
            Self::Health => ("GET", "/health"),
            Self::Live => ("GET", "/health/live"),
            Self::Ready => ("GET", "/health/ready"),
            Self::Runs => ("GET", "/api/v1/runs?limit=20"),
            Self::Events => ("GET", "/api/v1/events?limit=20"),
            Self::Metrics => ("GET", "/metrics"),
        }
    }
}

/// Which of its requests an endpoint gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bodies {
    /// The same again and again: all but the first can be answered from the cache.
    One,
    /// Of many, and some that were never sent before.
    Many,
    /// Each another.
    Fresh,
}

/// A mix by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MixName {
    /// Validations, paths, small discoveries and health, as users send them: most were sent before.
    Mixed,
    /// The same, each with one body, so that the cache of results answers.
    Cached,
    /// Validations, each another.
    Validate,
    /// Questions about paths, each another.
    Paths,
    /// Small discoveries, each another.
    Discover,
    /// Health and probes.
    Health,
}

impl MixName {
    /// The word on the command line and in reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Cached => "cached",
            Self::Validate => "validate",
            Self::Paths => "paths",
            Self::Discover => "discover",
            Self::Health => "health",
        }
    }
}

/// The body of a request around its seed.
#[derive(Debug, Clone)]
struct Body {
    before: String,
    after: String,
}

#[derive(Debug, Clone)]
struct Entry {
    weight: u64,
    endpoint: Endpoint,
    which: Bodies,
    bodies: Vec<Body>,
}

/// Endpoints with their weights and bodies.
#[derive(Debug, Clone)]
pub struct Mix {
    name: &'static str,
    entries: Vec<Entry>,
    weights: u64,
}

impl Mix {
    /// The mix of this name.
    #[must_use]
    pub fn new(name: MixName, seed: u64) -> Self {
        use Endpoint::{Discover, Health, Live, Paths, Ready, Validate};
        let users = [(Validate, 5), (Paths, 3), (Discover, 1), (Health, 1)];
        match name {
            MixName::Mixed => Self::of(name.word(), &users, Bodies::Many, seed),
            MixName::Cached => Self::of(name.word(), &users, Bodies::One, seed),
            MixName::Validate => Self::of(name.word(), &[(Validate, 1)], Bodies::Fresh, seed),
            MixName::Paths => Self::of(name.word(), &[(Paths, 1)], Bodies::Fresh, seed),
            MixName::Discover => Self::of(name.word(), &[(Discover, 1)], Bodies::Fresh, seed),
            MixName::Health => {
                let probes = [(Live, 2), (Ready, 2), (Health, 1)];
                Self::of(name.word(), &probes, Bodies::One, seed)
            }
        }
    }

    /// One endpoint alone, with many bodies.
    #[must_use]
    pub fn alone(endpoint: Endpoint, seed: u64) -> Self {
        Self::of(endpoint.name(), &[(endpoint, 1)], Bodies::Many, seed)
    }

    fn of(name: &'static str, parts: &[(Endpoint, u64)], which: Bodies, seed: u64) -> Self {
        let entry = |(endpoint, weight): &(Endpoint, u64)| Entry {
            weight: *weight,
            endpoint: *endpoint,
            which,
            bodies: bodies(*endpoint, which, seed),
        };
        Self {
            name,
            entries: parts.iter().map(entry).collect(),
            weights: parts.iter().map(|(_, weight)| weight).sum(),
        }
    }

    /// The name in reports.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The endpoints in it.
    pub fn endpoints(&self) -> impl Iterator<Item = Endpoint> {
        self.entries.iter().map(|entry| entry.endpoint)
    }

    /// Draws a request: the endpoint and the body, which is empty for a GET.
    pub fn draw(&self, random: &mut Random) -> (Endpoint, String) {
        let mut left = random.below(self.weights);
        let mut chosen = &self.entries[0];
        for entry in &self.entries {
            chosen = entry;
            match left.checked_sub(entry.weight) {
                Some(rest) => left = rest,
                None => break,
            }
        }
        if chosen.bodies.is_empty() {
            return (chosen.endpoint, String::new());
        }
        let body = &chosen.bodies[random.index(chosen.bodies.len())];
        let seed = match chosen.which {
            Bodies::One => 1,
            Bodies::Many if random.below(FRESH_EVERY) > 0 => 1,
            // Below 2^53, as every reader of JSON holds it exactly.
            Bodies::Many | Bodies::Fresh => random.bits() >> 11,
        };
        (
            chosen.endpoint,
            format!("{}{seed}{}", body.before, body.after),
        )
    }
}

fn bodies(endpoint: Endpoint, which: Bodies, seed: u64) -> Vec<Body> {
    let make: fn(&mut Random) -> String = match endpoint {
        Endpoint::Validate | Endpoint::Paths => question,
        Endpoint::Discover => table,
        Endpoint::Health
        | Endpoint::Live
        | Endpoint::Ready
        | Endpoint::Runs
        | Endpoint::Events
        | Endpoint::Metrics => return Vec::new(),
    };
    let count = match which {
        Bodies::One => 1,
        Bodies::Many | Bodies::Fresh => BODIES,
    };
    let mut random = Random::new(seed, endpoint as u64);
    let body = |_| {
        let asked = make(&mut random);
        if endpoint != Endpoint::Paths {
            return Body {
                before: format!("{{{asked},\"seed\":"),
                after: "}".to_owned(),
            };
        }
        // Nothing about paths is random: another question needs another graph, so that a node
        // beside the others has the number for a name.
        let (head, tail) = asked.split_once("dag { ").unwrap_or((&asked, ""));
        Body {
            before: format!("{{{head}dag {{ n"),
            after: format!("; {tail}}}"),
        }
    };
    (0..count).map(body).collect()
}

/// A graph of four to eight nodes: a line from the treatment to the outcome, and some more edges
/// that lead the same way.
fn question(random: &mut Random) -> String {
    let nodes = 4 + random.index(5);
    let mut graph = String::new();
    for to in 1..nodes {
        let _ = write!(graph, "v{} -> v{to}; ", to - 1);
        for from in 0..to - 1 {
            if random.below(3) == 0 {
                let _ = write!(graph, "v{from} -> v{to}; ");
            }
        }
    }
    let last = nodes - 1;
    format!(
        "\"graph\":\"dag {{ {} }}\",\"treatment\":\"v0\",\"outcome\":\"v{last}\"",
        graph.trim_end()
    )
}

/// A table in which each column follows from the one before, with noise.
fn table(random: &mut Random) -> String {
    let mut rows = String::new();
    for row in 0..ROWS {
        rows.push_str(if row == 0 { "[" } else { "],[" });
        let mut before = 0.0;
        for column in 0..COLUMNS {
            let noise = random.share() + random.share() - 1.0;
            before = 0.8 * before + noise;
            let comma = if column == 0 { "" } else { "," };
            let _ = write!(rows, "{comma}{before:.3}");
        }
    }
    format!("\"data\":[{rows}]],\"algorithm\":\"boss\"")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn drawn(mix: &Mix, count: usize, seed: u64) -> Vec<(Endpoint, String)> {
        let mut random = Random::new(seed, 3);
        (0..count).map(|_| mix.draw(&mut random)).collect()
    }

    #[test]
    fn what_is_asked_follows_from_the_seed() {
        let (one, same) = (Mix::new(MixName::Mixed, 7), Mix::new(MixName::Mixed, 7));
        assert_eq!(drawn(&one, 200, 7), drawn(&same, 200, 7));
        let other = Mix::new(MixName::Mixed, 8);
        assert_ne!(drawn(&one, 200, 7), drawn(&other, 200, 8));
        for (endpoint, body) in drawn(&one, 200, 7) {
            match endpoint.route().0 {
                "POST" => {
                    let parsed = serde_json::from_str::<serde_json::Value>(&body);
                    let parsed = parsed.expect("JSON");
                    let is_numbered = match endpoint == Endpoint::Paths {
                        true => parsed["graph"].as_str().expect("text").contains("{ n"),
                        false => parsed["seed"].is_u64(),
                    };
                    assert!(is_numbered, "{body}");
                }
                _ => assert_eq!(body, ""),
            }
        }
    }

    #[test]
    fn weights_are_kept_and_the_cached_mix_repeats_itself() {
        let cached = Mix::new(MixName::Cached, 1);
        let mut counts: BTreeMap<Endpoint, u32> = BTreeMap::new();
        let all = drawn(&cached, 10_000, 1);
        for (endpoint, _) in &all {
            *counts.entry(*endpoint).or_default() += 1;
        }
        assert!((4_700..5_300).contains(&counts[&Endpoint::Validate]));
        assert!((2_700..3_300).contains(&counts[&Endpoint::Paths]));
        assert!((800..1_200).contains(&counts[&Endpoint::Health]));
        let distinct: BTreeSet<_> = all.into_iter().collect();
        assert_eq!(distinct.len(), 4);
        let fresh = Mix::new(MixName::Validate, 1);
        let distinct: BTreeSet<_> = drawn(&fresh, 1_000, 1).into_iter().collect();
        assert_eq!(distinct.len(), 1_000);
        let mixed: BTreeSet<_> = drawn(&Mix::new(MixName::Mixed, 1), 10_000, 1)
            .into_iter()
            .collect();
        assert!((1_500..3_500).contains(&mixed.len()), "{}", mixed.len());
    }
}
