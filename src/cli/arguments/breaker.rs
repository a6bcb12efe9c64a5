//! The command line of circuit breakers and services.

use clap::{Args, Subcommand};

/// Why, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// The breaker, as `hindcast breaker list` names it.
    pub(crate) name: String,
    /// Why. It stays readable in the log.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

/// A wish that may end by itself.
#[derive(Debug, Args)]
pub(crate) struct LastingWish {
    #[command(flatten)]
    pub(crate) wish: Wish,
    /// How long it holds, such as 90s, 15m or 6h; for ever if left out.
    #[arg(long, value_name = "SPAN")]
    pub(crate) ttl: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Breaker {
    /// List the breakers with their states.
    #[command(after_help = "Examples:\n  hindcast breaker list\n  \
        hindcast breaker list --server http://127.0.0.1:8080 --json")]
    List,
    /// Show one breaker: counts, rates, last failure, next probe, settings.
    #[command(after_help = "Examples:\n  hindcast breaker show notears_discovery")]
    Show {
        /// Such as notears_discovery; `breaker list` has all.
        name: String,
    },
    /// Show every change of a breaker with its cause.
    #[command(after_help = "Examples:\n  hindcast breaker history notears_discovery --json")]
    History {
        /// Such as notears_discovery; `breaker list` has all.
        name: String,
    },
    /// Close a breaker and forget the calls that it has counted.
    #[command(after_help = "Examples:\n  \
        hindcast breaker reset notears_discovery --reason 'library updated'")]
    Reset(Wish),
    /// Let no call pass.
    #[command(after_help = "Examples:\n  \
        hindcast breaker force-open discovery_fci --ttl 2h --reason maintenance")]
    ForceOpen(LastingWish),
    /// Let every call pass and count none.
    #[command(after_help = "Examples:\n  hindcast breaker disable path_analysis --ttl 15m")]
    Disable(LastingWish),
    /// Take back force-open, disable and metrics-only.
    #[command(after_help = "Examples:\n  hindcast breaker enable path_analysis")]
    Enable(Wish),
    /// Let every call pass, and only count.
    #[command(after_help = "Examples:\n  hindcast breaker metrics-only discovery_boss --ttl 1d")]
    MetricsOnly(LastingWish),
    /// Fold the recorded calls through other settings, and show what would have been otherwise.
    #[command(
        after_help = "--set takes keys of [breakers], without the section.\n\n\
        Examples:\n  hindcast breaker simulate notears_discovery --set failure_percent=30\n  \
        hindcast breaker simulate backup_local --set consecutive_failures=2 \
        --since 2026-11-22T00:00:00Z --json"
    )]
    Simulate {
        /// Such as notears_discovery; `breaker list` has all.
        name: String,
        /// The event after which calls are looked at, or a time; the beginning if left out.
        #[arg(long, value_name = "SEQ or TIME")]
        since: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// List the services with how they do, and whether somebody has to act.
    #[command(after_help = "Examples:\n  hindcast service list\n  \
        hindcast service list --server http://127.0.0.1:8080 --json")]
    List,
    /// Show one service.
    #[command(after_help = "Examples:\n  hindcast service show notears_discovery")]
    Show {
        /// Such as notears_discovery; `service list` has all.
        name: String,
    },
}
