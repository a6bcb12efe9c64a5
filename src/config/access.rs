//! `[access]`: who may do what.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessConfig {
    /// Empty: in the data directory.
    pub keys_file: PathBuf,
    pub required_on_loopback: bool,
    pub attempts_per_minute_max: u32,
}

impl Default for AccessConfig {
    fn default() -> Self {
        Self {
            keys_file: PathBuf::new(),
            required_on_loopback: false,
            attempts_per_minute_max: 30,
        }
    }
}
