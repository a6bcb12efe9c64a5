//! `hindcast config`.

use std::path::PathBuf;

use super::arguments::{ConfigVerb, Global};
use super::output::{Failure, Output};
use crate::config::{ConfigError, Overrides, load};
use crate::telemetry::otlp::Settings;

/// Every key with its meaning and default.
const DEFAULT: &str = include_str!("../../config/default.toml");

pub(crate) fn run(global: &Global, verb: ConfigVerb, output: &Output) -> Result<(), Failure> {
    match verb {
        ConfigVerb::Check { file } => {
            let file = checked_file(file, global)?;
            let overrides = Overrides {
                file: Some(file.clone()),
                set: global.set.clone(),
            };
            // What is checked is the file, not the environment of whoever checks it.
            let checked = load(&overrides, []).and_then(|config| {
                config.check()?;
                config.check_exposure()?;
                Ok(config)
            });
            let config = checked.map_err(Failure::configuration)?;
            // As the start reads it, but for its variables and the file of headers.
            match Settings::read(&config.otlp, &|_| None) {
                Err(wrong) if wrong.name == "otlp.endpoint" => {
                    let wrong = ConfigError::value(&wrong.name, wrong.message);
                    return Err(Failure::configuration(wrong));
                }
                Ok(_) | Err(_) => {}
            }
            output.either(r#"{"valid":true}"#, || {
                Ok(format!("{} is right", file.display()))
            })
        }
        ConfigVerb::Show => {
            let config = global.configuration()?;
            let text = || toml::to_string(&config).map_err(Failure::from);
            output.either(&config.document(), || Ok(text()?.trim_end().to_owned()))
        }
        ConfigVerb::Default => {
            let json = crate::config::Config::default().document();
            output.either(&json, || Ok(DEFAULT.trim_end().to_owned()))
        }
    }
}

/// The one file that was named, in either way.
fn checked_file(file: Option<PathBuf>, global: &Global) -> Result<PathBuf, Failure> {
    match (file, global.config.clone()) {
        (Some(file), None) | (None, Some(file)) => Ok(file),
        (Some(file), Some(other)) if file == other => Ok(file),
        (Some(_), Some(_)) => Err(Failure::Usage("name one file to check".to_owned())),
        (None, None) => Err(Failure::Usage("name the file to check".to_owned())),
    }
}
