//! `[vaults]`: what this server keeps for others.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hindcast_backup::is_vault_name;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Vaults at most.
const VAULTS_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultsConfig {
    /// Empty: there are no vaults.
    pub dir: PathBuf,
    pub names: Vec<String>,
    pub bytes_max: u64,
    pub object_bytes_max: u64,
    pub put_ms_max: u64,
}

impl Default for VaultsConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            names: Vec::new(),
            bytes_max: 100 << 30,
            object_bytes_max: 256 << 20,
            put_ms_max: 600_000,
        }
    }
}

impl VaultsConfig {
    /// Refuses what cannot be meant.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, message: String| Err(ConfigError::value(key, message));
        if self.names.len() > VAULTS_MAX {
            let count = self.names.len();
            let message = format!("{count} vaults are over the limit of {VAULTS_MAX}");
            return refuse("vaults.names", message);
        }
        let mut names = BTreeSet::new();
        for (index, name) in self.names.iter().enumerate() {
            let key = format!("vaults.names[{index}]");
            if !is_vault_name(name) {
                let message = "is 1 to 64 lower-case letters, digits, `-` or `_`";
                return refuse(&key, message.to_owned());
            }
            if !names.insert(name) {
                return refuse(&key, format!("`{name}` is given more than once"));
            }
        }
        if self.dir.as_os_str().is_empty() != self.names.is_empty() {
            let message = "vaults need a directory, and a directory needs names of vaults";
            return refuse("vaults.dir", message.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_named() {
        let refused = |dir: &str, names: &[&str]| {
            let config = VaultsConfig {
                dir: dir.into(),
                names: names.iter().map(ToString::to_string).collect(),
                ..VaultsConfig::default()
            };
            config.check().err().map(|error| error.to_string())
        };
        assert_eq!(refused("", &[]), None);
        assert_eq!(refused("/v", &["a", "b"]), None);
        for (dir, names, key) in [
            ("/v", &["a", "A"][..], "vaults.names[1]"),
            ("/v", &["a", "a"], "vaults.names[1]"),
            ("/v", &[".."], "vaults.names[0]"),
            ("/v", &[], "vaults.dir"),
            ("", &["a"], "vaults.dir"),
        ] {
            let message = refused(dir, names).expect("refused");
            assert!(message.starts_with(key), "{message}");
        }
    }
}
