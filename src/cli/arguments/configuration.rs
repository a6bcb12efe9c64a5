//! The command line of the configuration.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Read a configuration file and say what is wrong with it.
    #[command(
        after_help = "Examples:\n  hindcast config check hindcast.toml\n  hindcast config check --config hindcast.toml"
    )]
    Check {
        /// The file that is checked; `--config FILE` names it as well.
        file: Option<PathBuf>,
    },
    /// Show the configuration as it would be used.
    #[command(after_help = "Examples:\n  HINDCAST__RUNS__THREADS=2 hindcast config show")]
    Show,
    /// Print every key with its meaning and default.
    #[command(after_help = "Examples:\n  hindcast config default > hindcast.toml")]
    Default,
}
