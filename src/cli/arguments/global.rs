//! The flags that every verb understands, and the configuration that they give.

use std::path::PathBuf;

use clap::Args;

use crate::cli::output::{Failure, note};
use crate::config::{Config, ConfigError, Overrides, load, misnamed};

/// What every verb understands.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Global {
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Use the server at this address, such as http://127.0.0.1:8080, instead of local files.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// A file with the key that the server asks for; the variable HINDCAST_KEY if left out.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Trust the certificates in this PEM file, and no others, for a server at https://.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Read this configuration file.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory of the log and the data (key server.data_dir).
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Whose data are sent: they are sealed under a key of this subject's own, which
    /// `hindcast redact` shreds.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) subject: Option<String>,
    /// Set one key of the configuration, such as runs.threads=2; may be repeated.
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

impl Global {
    /// The configuration from all sources, checked.
    pub(crate) fn configuration(&self) -> Result<Config, Failure> {
        for (name, right) in misnamed(std::env::vars_os().map(|(name, _)| name)) {
            note(&format!(
                "warning: {name} has no effect; the variable is called {right}"
            ));
        }
        let config = self.load().map_err(Failure::configuration)?;
        config.check().map_err(Failure::configuration)?;
        Ok(config)
    }

    /// The same, not checked.
    pub(crate) fn load(&self) -> Result<Config, ConfigError> {
        let overrides = Overrides {
            file: self.config.clone(),
            set: self.set.clone(),
        };
        let mut config = load(&overrides, std::env::vars_os())?;
        if let Some(data_dir) = &self.data_dir {
            config.server.data_dir.clone_from(data_dir);
        }
        Ok(config)
    }
}
