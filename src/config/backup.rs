//! The section of backups: where they go, when, and how long they are kept.

use std::collections::BTreeSet;
use std::path::PathBuf;

use hindcast_actors::{LOCAL, Schedule};
use hindcast_backup::{Address, Sftp, Signer};
use serde::{Deserialize, Serialize};

use super::{ConfigError, names_a_user};

/// Targets at most.
const TARGETS_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupConfig {
    pub targets: Vec<TargetConfig>,
    pub roots: Vec<PathBuf>,
    pub schedule: String,
    pub drill_schedule: String,
    pub verify: bool,
    pub keep_daily: usize,
    pub keep_weekly: usize,
    pub keep_monthly: usize,
    pub attempts_max: u32,
    pub ship_ms: u64,
}

/// One target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetConfig {
    pub name: String,
    pub url: String,
    pub key_file: PathBuf,
    pub signing_key_file: PathBuf,
    pub signer: String,
    pub continuous: bool,
    pub plain_keys: bool,
    pub endpoint: String,
    pub region: String,
    pub access_key_file: PathBuf,
    pub secret_key_file: PathBuf,
    pub identity_file: PathBuf,
    pub known_hosts_file: PathBuf,
    pub token_file: PathBuf,
    pub ca_file: PathBuf,
}

impl Default for BackupConfig {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            roots: Vec::new(),
            schedule: String::new(),
            drill_schedule: "every 168h".to_owned(),
            verify: true,
            keep_daily: 7,
            keep_weekly: 5,
            keep_monthly: 12,
            attempts_max: 5,
            ship_ms: 500,
        }
    }
}

impl BackupConfig {
    /// Refuses what cannot be meant.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (key, schedule) in [
            ("backup.schedule", &self.schedule),
            ("backup.drill_schedule", &self.drill_schedule),
        ] {
            let read = schedule.parse::<Schedule>();
            read.map_err(|error| ConfigError::value(key, error.to_string()))?;
        }
        if self.targets.len() > TARGETS_MAX {
            let (count, key) = (self.targets.len(), "backup.targets");
            let message = format!("{count} targets are over the limit of {TARGETS_MAX}");
            return Err(ConfigError::value(key, message));
        }
        let mut names = BTreeSet::new();
        for (index, target) in self.targets.iter().enumerate() {
            let refuse = |field: &str, message: String| {
                let key = format!("backup.targets[{index}].{field}");
                Err(ConfigError::value(&key, message))
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            let name = &target.name;
            if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
                let message = "is 1 to 64 letters, digits, `-` or `_`";
                return refuse("name", message.to_owned());
            }
            if !names.insert(name) {
                return refuse("name", format!("`{name}` is given more than once"));
            }
            if name == LOCAL && !target.url.is_empty() {
                let message = "`local` is backups/ in the data directory and takes no url";
                return refuse("url", message.to_owned());
            }
            if !target.signer.is_empty() && target.signer.parse::<Signer>().is_err() {
                return refuse("signer", crate::backups::SIGNER_FORM.to_owned());
            }
            let address = match name == LOCAL {
                true => continue,
                false => target.url.parse::<Address>(),
            };
            match address {
                Err(error) => return refuse("url", error.to_string()),
                Ok(Address::S3 { .. }) if target.endpoint.is_empty() => {
                    return refuse("endpoint", "an object store needs one".to_owned());
                }
                Ok(Address::S3 { .. }) if names_a_user(&target.endpoint) => {
                    let message = "a user and a password have no place in it: credentials come \
                                   from the environment";
                    return refuse("endpoint", message.to_owned());
                }
                Ok(Address::Sftp(place)) => {
                    if let Err(error) = Sftp::new(&place, &crate::backups::ssh(target)) {
                        return refuse("url", error.to_string());
                    }
                }
                Ok(Address::S3 { .. } | Address::Directory(_) | Address::Node(_)) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let config: BackupConfig = toml::from_str(text).expect("of the right types");
        config.check().expect_err("refused").to_string()
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let with = |rest: &str| {
            let whole = toml::to_string(&BackupConfig::default()).expect("plain data");
            let kept = |line: &&str| !rest.split(' ').next().is_some_and(|w| line.starts_with(w));
            let lines: Vec<&str> = whole.lines().filter(kept).collect();
            format!("{rest}\n{}", lines.join("\n"))
        };
        assert!(refused(&with("schedule = 'weekly'")).starts_with("backup.schedule"));
        let monthly = "drill_schedule = 'monthly'";
        assert!(refused(&with(monthly)).starts_with("backup.drill_schedule"));
        for (targets, field) in [
            ("[{ name = 'a b', url = '/x' }]", "[0].name"),
            (
                "[{ name = 'a', url = '/x' }, { name = 'a', url = '/y' }]",
                "[1].name",
            ),
            ("[{ name = 'a', url = 'ftp://x' }]", "[0].url"),
            ("[{ name = 'a', url = 's3://b' }]", "[0].endpoint"),
            (
                "[{ name = 'a', url = 's3://b', endpoint = 'http://u:p@x' }]",
                "[0].endpoint",
            ),
            ("[{ name = 'local', url = '/x' }]", "[0].url"),
            ("[{ name = 'local', signer = 'me' }]", "[0].signer"),
            ("[{ name = 'a', url = 'sftp://-x/y' }]", "[0].url"),
            ("[{ name = 'a', url = 'hindcast://x/y' }]", "[0].url"),
            (
                "[{ name = 'a', url = 'sftp://x/y', identity_file = '/%h' }]",
                "[0].url",
            ),
        ] {
            let message = refused(&with(&format!("targets = {targets}")));
            let key = format!("backup.targets{field}");
            assert!(message.starts_with(&key), "{message}");
        }
        let fine: Result<BackupConfig, _> = toml::from_str(&with(
            "targets = [{ name = 'a', url = '/x', continuous = true }]",
        ));
        assert_eq!(fine.expect("read").check(), Ok(()));
    }
}
