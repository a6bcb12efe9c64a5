//! Who may depend on whom: the graph of the architecture document, as a table.
//!
//! Development dependencies follow the same inner edges, because a test that reaches upwards is a
//! cycle of ideas; they are free to use any outside crate.

use anyhow::Context;
use serde_json::Value;

use super::Finding;
use crate::session::Session;

#[derive(Clone)]
pub(super) struct Edge {
    from: String,
    to: String,
    inner: bool,
    development: bool,
}

const MODEL: &str = "hindcast-model";
const LOG: &str = "hindcast-log";
const SNAPSHOTS: &str = "hindcast-snapshots";
const WHATIF: &str = "hindcast-whatif";
const BACKUP: &str = "hindcast-backup";
const ACTORS: &str = "hindcast-actors";
const STATS: &str = "hindcast-stats";
const GPU: &str = "hindcast-gpu";
const LABS: &[&str] = &[
    "hindcast-causal",
    "hindcast-gym",
    "hindcast-counterfactual",
    "hindcast-watermark",
];

/// What the crates of the workspace may use of each other; `None` for a crate not on the map.
fn allowed_inner(from: &str) -> Option<Vec<&'static str>> {
    let science = || [LABS, &[STATS, GPU]].concat();
    let column = |below: &[&'static str]| below.to_vec();
    Some(match from {
        "xtask" | MODEL | STATS => Vec::new(),
        LOG => column(&[MODEL]),
        SNAPSHOTS => column(&[MODEL, LOG]),
        WHATIF => column(&[MODEL, LOG]),
        BACKUP => column(&[MODEL, LOG, SNAPSHOTS]),
        ACTORS => [column(&[MODEL, LOG, SNAPSHOTS, WHATIF, BACKUP]), science()].concat(),
        "hindcast" | "hindcast-chaos" => column(&[MODEL, LOG, SNAPSHOTS, WHATIF, BACKUP, ACTORS]),
        "hindcast-benches" => [
            column(&["hindcast", MODEL, LOG, SNAPSHOTS, WHATIF, BACKUP, ACTORS]),
            science(),
        ]
        .concat(),
        GPU => column(&[STATS]),
        lab if LABS.contains(&lab) => column(&[STATS, GPU]),
        _ => return None,
    })
}

/// Why an outside crate may not be used here, if it may not.
fn refused_outside(from: &str, to: &str) -> Option<&'static str> {
    let is_any = |prefixes: &[&str]| prefixes.iter().any(|prefix| to.starts_with(prefix));
    let science = LABS.contains(&from) || from == STATS || from == GPU;
    if from == MODEL && !["serde", "thiserror", "uuid"].contains(&to) {
        return Some("the model is pure: serde, thiserror and uuid only");
    }
    if from == LOG && is_any(&["actix", "tokio"]) {
        return Some("the log blocks on its own thread: no actix, no tokio");
    }
    if from == BACKUP && is_any(&["actix", "tokio"]) {
        return Some("backups block on a thread of their own: no actix, no tokio");
    }
    if science && is_any(&["actix", "tokio", "sled", "tracing"]) {
        return Some("a lab is science only: no actors, runtime, store or tracing");
    }
    if from != LOG && (to == "sled" || to == "bincode") {
        return Some("only hindcast-log knows sled and bincode");
    }
    None
}

pub(super) fn check(edges: &[Edge]) -> Vec<Finding> {
    edges.iter().filter_map(refusal).collect()
}

fn refusal(edge: &Edge) -> Option<Finding> {
    let Edge { from, to, .. } = edge;
    let place = format!("{from} -> {to}");
    let Some(allowed) = allowed_inner(from) else {
        return Some(Finding::new(
            place,
            format!("{from} is not on the map in xtask/src/tidy"),
        ));
    };
    if edge.inner {
        // A crate may name itself, for a feature that only its own tests turn on.
        let fine = allowed.contains(&to.as_str()) || (edge.development && from == to);
        return (!fine).then(|| Finding::new(place, "this edge is not in the architecture"));
    }
    let why = refused_outside(from, to).filter(|_| !edge.development)?;
    Some(Finding::new(place, why))
}

pub(super) fn from_cargo(session: &Session) -> anyhow::Result<Vec<Edge>> {
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ];
    let metadata: Value = serde_json::from_str(&session.output("cargo", &arguments)?)?;
    read(&metadata).context("cargo metadata is not what it used to be")
}

fn read(metadata: &Value) -> Option<Vec<Edge>> {
    let mut edges = Vec::new();
    for package in metadata["packages"].as_array()? {
        for dependency in package["dependencies"].as_array()? {
            edges.push(Edge {
                from: package["name"].as_str()?.to_owned(),
                to: dependency["name"].as_str()?.to_owned(),
                inner: dependency["path"].is_string(),
                development: dependency["kind"].as_str() == Some("dev"),
            });
        }
    }
    Some(edges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(from: &str, to: &str) -> Edge {
        Edge {
            from: from.into(),
            to: to.into(),
            inner: true,
            development: false,
        }
    }

    fn outside(from: &str, to: &str) -> Edge {
        Edge {
            inner: false,
            ..inner(from, to)
        }
    }

    fn is_refused(edge: Edge) -> bool {
        !check(&[edge]).is_empty()
    }

    #[test]
    fn down_the_column_and_across_to_labs_is_fine() {
        assert!(!is_refused(inner("hindcast", "hindcast-model")));
        assert!(!is_refused(inner("hindcast-actors", "hindcast-causal")));
        assert!(!is_refused(inner("hindcast-causal", "hindcast-stats")));
        assert!(!is_refused(inner("hindcast-benches", "hindcast-watermark")));
    }

    #[test]
    fn upwards_across_and_between_labs_is_refused() {
        assert!(is_refused(inner("hindcast-log", "hindcast-actors")));
        assert!(is_refused(inner("hindcast-causal", "hindcast-gym")));
        assert!(is_refused(inner("hindcast-causal", "hindcast-model")));
        assert!(is_refused(inner("hindcast", "hindcast-causal")));
        assert!(is_refused(inner("xtask", "hindcast-model")));
    }

    #[test]
    fn a_development_edge_upwards_is_refused_too() {
        let upwards = Edge {
            development: true,
            ..inner("hindcast-model", "hindcast-log")
        };
        assert!(is_refused(upwards));
        let itself = Edge {
            development: true,
            ..inner("hindcast-log", "hindcast-log")
        };
        assert!(!is_refused(itself));
    }

    #[test]
    fn a_crate_that_is_not_on_the_map_is_refused() {
        assert!(is_refused(outside("hindcast-utils", "serde")));
    }

    #[test]
    fn outside_crates_are_fenced_in() {
        assert!(is_refused(outside("hindcast-model", "rand")));
        assert!(is_refused(outside("hindcast-log", "tokio")));
        assert!(is_refused(outside("hindcast-causal", "actix-web")));
        assert!(is_refused(outside("hindcast-stats", "tracing")));
        assert!(is_refused(outside("hindcast-snapshots", "sled")));
        assert!(is_refused(outside("hindcast-actors", "bincode")));
        assert!(!is_refused(outside("hindcast-log", "sled")));
        assert!(!is_refused(outside("hindcast-model", "uuid")));
    }

    #[test]
    fn tests_may_use_any_outside_crate() {
        let edge = Edge {
            development: true,
            ..outside("hindcast-model", "proptest")
        };
        assert!(!is_refused(edge));
    }

    #[test]
    fn metadata_is_read() {
        let metadata = serde_json::json!({ "packages": [{ "name": "hindcast-log", "dependencies": [
            { "name": "hindcast-model", "path": "/x", "kind": null },
            { "name": "tempfile", "kind": "dev" },
            { "name": "tokio", "kind": "build" },
        ]}]});
        let edges = read(&metadata).expect("well formed");
        assert_eq!(check(&edges).len(), 1);
        assert!(read(&serde_json::json!({})).is_none());
    }
}
