//! The command line of the demonstration.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave the data directory in place, and say where it is.
    #[arg(long)]
    pub(crate) keep: bool,
}
