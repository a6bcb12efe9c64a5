//! The command line of service level objectives.

use clap::{Args, Subcommand};

/// When.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// After this event, or the last one whose time is not later; the end of the log if left out.
    #[arg(long, value_name = "SEQ or TIME")]
    pub(crate) at: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Slo {
    /// Show what is left of the error budgets, how fast they go, and whether one is frozen.
    #[command(after_help = "Examples:\n  hindcast slo status\n  \
        hindcast slo status --server http://127.0.0.1:8080 --check && ./deploy\n  \
        hindcast slo status --at 2026-11-22T13:52:46Z --json")]
    Status {
        #[command(flatten)]
        at: At,
        /// End with 1 while a budget is frozen.
        #[arg(long)]
        check: bool,
    },
    /// List the objectives: target, window, and what is measured.
    #[command(after_help = "Examples:\n  hindcast slo list")]
    List {
        #[command(flatten)]
        at: At,
    },
    /// Show one objective.
    #[command(after_help = "Examples:\n  hindcast slo show availability")]
    Show {
        /// As `hindcast slo list` names it.
        name: String,
        #[command(flatten)]
        at: At,
    },
}
