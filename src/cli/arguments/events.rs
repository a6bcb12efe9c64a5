//! The command line of the event log.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Events {
    /// Follow the log as it grows.
    #[command(after_help = "Examples:\n  hindcast events tail\n  \
                            hindcast events tail --type run_completed --json\n  \
                            hindcast events tail --from 100")]
    Tail {
        #[command(flatten)]
        filter: EventFilter,
        /// Start at this sequence number, and not with what comes next.
        #[arg(long)]
        from: Option<u64>,
    },
    /// List events, oldest first.
    #[command(
        after_help = "Examples:\n  hindcast events list --from 100 --limit 20\n  \
                            hindcast events list --stream run/ID"
    )]
    List {
        #[command(flatten)]
        filter: EventFilter,
        /// Start at this sequence number.
        #[arg(long)]
        from: Option<u64>,
        /// How many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show one event with everything that is recorded of it.
    #[command(after_help = "Examples:\n  hindcast events show 17")]
    Show {
        /// Its place in the log, from 1 on.
        sequence: u64,
    },
    /// Write every event, one JSON object on a line.
    #[command(after_help = "Examples:\n  hindcast events export > events.jsonl\n  \
                            hindcast events export --format cloudevents | head -1")]
    Export {
        #[command(flatten)]
        filter: EventFilter,
        /// Start at this sequence number.
        #[arg(long)]
        from: Option<u64>,
        /// How an event is written.
        #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
        format: ExportFormat,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// One event as this server writes it.
    Jsonl,
    /// CloudEvents 1.0 in JSON.
    Cloudevents,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct EventFilter {
    /// Only events of this stream, such as run/ID or system/server.
    #[arg(long)]
    pub(crate) stream: Option<String>,
    /// Only events of this type, such as run_completed.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
}
