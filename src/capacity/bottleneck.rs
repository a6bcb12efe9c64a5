//! What binds a server: the resource that is nearest to its end, with the figures that say so.

use serde::Serialize;
use utoipa::ToSchema;

use super::resource::FULL_SHARE;
use super::window::Usage;

/// Share of the time in which the log writes and syncs from which on it is the disk that is waited
/// for: one frame is then begun as the one before ends half of the time.
const SYNC_SHARE: f64 = 0.5;
/// Share of the processors' time in which they wait for disks.
const WAITING_SHARE: f64 = 0.2;

/// The resource that binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Cpu,
    Memory,
    Storage,
    Network,
    /// None is near its end.
    None,
}

/// A figure and the one from which on it binds.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Evidence {
    pub kind: Kind,
    pub figure: &'static str,
    pub value: f64,
    pub binds_from: f64,
}

/// What binds, and what to do about it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Bottleneck {
    pub kind: Kind,
    /// Seconds over which figures of use are taken; null when the server has just started.
    pub seconds: Option<f64>,
    /// Every figure that could be had, those nearest to where they bind first.
    pub evidence: Vec<Evidence>,
    pub advice: &'static str,
}

/// Judges what was used, the share of memory that is used, and those of what the network gives:
/// connections, and the line's rate where it is known.
#[must_use]
pub fn bottleneck(
    usage: Option<&Usage>,
    memory_share: Option<f64>,
    network: (Option<f64>, Option<f64>),
) -> Bottleneck {
    let evidence = evidence(usage, memory_share, network);
    let first = evidence
        .first()
        .filter(|first| first.value >= first.binds_from);
    let kind = first.map_or(Kind::None, |first| first.kind);
    Bottleneck {
        kind,
        seconds: usage.map(|used| (used.seconds * 10.0).round() / 10.0),
        evidence,
        advice: advice(kind),
    }
}

/// The figures that could be had, those nearest to where they bind first.
fn evidence(
    usage: Option<&Usage>,
    memory_share: Option<f64>,
    (connections_share, line_share): (Option<f64>, Option<f64>),
) -> Vec<Evidence> {
    let of = |kind, figure, binds_from, value: Option<f64>| {
        value.map(|value| Evidence {
            kind,
            figure,
            value: (value * 1_000.0).round() / 1_000.0,
            binds_from,
        })
    };
    let mut evidence: Vec<Evidence> = [
        of(
            Kind::Cpu,
            "share of the machine's processors that is busy",
            FULL_SHARE,
            usage.and_then(|used| used.cpu_share),
        ),
        of(
            Kind::Cpu,
            "share of the machine's processors that this server uses",
            FULL_SHARE,
            usage.and_then(|used| used.process_share),
        ),
        of(
            Kind::Memory,
            "share of the memory that is used",
            FULL_SHARE,
            memory_share,
        ),
        of(
            Kind::Storage,
            "share of the time in which the log writes and syncs",
            SYNC_SHARE,
            usage.map(|used| used.sync_share),
        ),
        of(
            Kind::Storage,
            "share of the processors' time in which they wait for disks",
            WAITING_SHARE,
            usage.and_then(|used| used.waiting_share),
        ),
        of(
            Kind::Network,
            "share of the connections that may be open",
            FULL_SHARE,
            connections_share,
        ),
        of(
            Kind::Network,
            "share of the rate of the network's lines",
            FULL_SHARE,
            line_share,
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    evidence.sort_by(|a, b| (b.value / b.binds_from).total_cmp(&(a.value / a.binds_from)));
    evidence
}

const fn advice(kind: Kind) -> &'static str {
    match kind {
        Kind::Cpu => {
            "if this server is what uses them: more processors, or less work, since equal requests with \
             equal seeds are answered from the cache and long discoveries may go to a server of their \
             own; if it is others, a machine without them"
        }
        Kind::Memory => {
            "more memory, or smaller caches: cache.results_bytes_max and cache.datasets_bytes_max; \
             GET /debug/memory says what takes it"
        }
        Kind::Storage => {
            "a disk that syncs faster: every acknowledged request is synced, many at once in one frame; \
             more requests at a time share a sync, fewer wait for their own"
        }
        Kind::Network => {
            "http.connections_max and `ulimit -n` bound connections; keep connections open and ask \
             for smaller pages if it is the line"
        }
        Kind::None => "nothing is near its end",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle() -> Usage {
        Usage {
            seconds: 60.0,
            cpu_share: Some(0.1),
            process_cores: 0.2,
            process_share: Some(0.1),
            waiting_share: Some(0.01),
            sync_share: 0.05,
            network_bytes_per_s: 10.0,
            connections: 3.0,
            requests_per_s: 1.0,
            p95_s: None,
        }
    }

    #[test]
    fn the_figure_that_is_furthest_beyond_its_bound_is_named() {
        let judged = |usage: &Usage| bottleneck(Some(usage), Some(0.3), (Some(0.01), None));
        let found = judged(&idle());
        assert_eq!(found.kind, Kind::None);
        assert_eq!(
            found.evidence[0].kind,
            Kind::Memory,
            "the nearest stands first"
        );
        let busy = Usage {
            cpu_share: Some(0.95),
            ..idle()
        };
        assert_eq!(judged(&busy).kind, Kind::Cpu);
        let syncing = Usage {
            cpu_share: Some(0.85),
            sync_share: 0.9,
            ..idle()
        };
        assert_eq!(judged(&syncing).kind, Kind::Storage);
        let waiting = Usage {
            waiting_share: Some(0.4),
            ..idle()
        };
        assert_eq!(judged(&waiting).kind, Kind::Storage);
        assert_eq!(
            bottleneck(Some(&idle()), Some(0.9), (None, None)).kind,
            Kind::Memory
        );
        let network = bottleneck(Some(&idle()), None, (Some(0.85), Some(0.1)));
        assert_eq!(network.kind, Kind::Network);
        let nothing = bottleneck(None, None, (None, None));
        assert_eq!((nothing.kind, nothing.evidence.len()), (Kind::None, 0));
    }
}
