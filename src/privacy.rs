//! The key that the data keys are wrapped with.

use hindcast_log::MasterKey;

use crate::config::{Config, ConfigError};

/// The master key that the configuration names; none when it names none.
pub fn master_key(config: &Config) -> Result<Option<MasterKey>, ConfigError> {
    let path = &config.privacy.master_key_file;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let bytes = hindcast_log::key_file(path).map_err(|error| {
        let message = format!("{}: {error}", path.display());
        ConfigError::value("privacy.master_key_file", message)
    })?;
    Ok(Some(MasterKey::new(bytes)))
}
