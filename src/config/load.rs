//! Where values come from: built-in defaults, then a file, then the environment, then the
//! command line; each later one wins. A key that does not exist is refused with the nearest name.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Config;

const PREFIX: &str = "HINDCAST__";

/// What is wrong with the configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {message}", path.display())]
    Unreadable { path: PathBuf, message: String },
    #[error("{source_name}: {message}")]
    Syntax {
        source_name: String,
        message: String,
    },
    #[error("{source_name}: unknown key `{key}`; did you mean `{nearest}`?")]
    UnknownKey {
        source_name: String,
        key: String,
        nearest: String,
    },
    #[error("{key}: {message}")]
    Value { key: String, message: String },
    #[error(
        "refusing to listen on {0}: there is no authentication, so everybody who reaches this \
         address could use the server; listen on 127.0.0.1, or pass --allow-unauthenticated \
         (key server.allow_unauthenticated) if the network is trusted"
    )]
    Exposed(SocketAddr),
}

impl ConfigError {
    pub(super) fn value(key: &str, message: impl Into<String>) -> Self {
        Self::Value {
            key: key.to_owned(),
            message: message.into(),
        }
    }
}

/// What the command line says about the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    pub file: Option<PathBuf>,
    /// `section.key=value`, in order.
    pub set: Vec<String>,
}

/// The configuration from all its sources, not yet checked for ranges.
pub fn load(
    overrides: &Overrides,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, ConfigError> {
    let (text, name) = match &overrides.file {
        Some(path) => (read(path)?, path.display().to_string()),
        None => (String::new(), "defaults".to_owned()),
    };
    let variables: Vec<(String, String)> = environment
        .into_iter()
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.starts_with(PREFIX)
                .then(|| (name, value.to_string_lossy().into_owned()))
        })
        .collect();
    from_text(&text, &name, &variables, &overrides.set)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

/// The configuration that a text, `HINDCAST__SECTION__KEY` variables and `key=value` settings
/// give together.
pub(super) fn from_text(
    text: &str,
    source: &str,
    variables: &[(String, String)],
    settings: &[String],
) -> Result<Config, ConfigError> {
    let mut merged = Table::try_from(Config::default()).expect("a configuration is plain data");
    let file: Table = text.parse().map_err(|error: toml::de::Error| {
        let source_name = source.to_owned();
        let message = error.to_string();
        ConfigError::Syntax {
            source_name,
            message,
        }
    })?;
    merge(&mut merged, file, "", source)?;
    let mut variables = variables.to_vec();
    variables.sort();
    for (name, value) in &variables {
        let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
        set(&mut merged, &key, value, name)?;
    }
    for setting in settings {
        let Some((key, value)) = setting.split_once('=') else {
            let source_name = "--set".to_owned();
            let message = format!("`{setting}` is not key=value");
            return Err(ConfigError::Syntax {
                source_name,
                message,
            });
        };
        set(&mut merged, key.trim(), value.trim(), "--set")?;
    }
    typed(&merged)
}

fn merge(into: &mut Table, from: Table, path: &str, source: &str) -> Result<(), ConfigError> {
    for (name, value) in from {
        let key = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        match (into.get_mut(&name), value) {
            (None, _) => return Err(unknown(&key, source)),
            (Some(Value::Table(inner)), Value::Table(more)) => merge(inner, more, &key, source)?,
            (Some(place), value) => *place = fitting(&key, place, value)?,
        }
    }
    Ok(())
}

fn set(merged: &mut Table, key: &str, text: &str, source: &str) -> Result<(), ConfigError> {
    let place = key
        .split_once('.')
        .and_then(|(section, name)| merged.get_mut(section)?.as_table_mut()?.get_mut(name))
        .ok_or_else(|| unknown(key, source))?;
    // Text needs no quotes here; everything else is written as in the file.
    let value = if place.is_str() {
        Value::String(text.trim_matches('"').to_owned())
    } else {
        format!("value = {text}")
            .parse::<Table>()
            .ok()
            .and_then(|mut table| table.remove("value"))
            .ok_or_else(|| ConfigError::value(key, format!("`{text}` is not a value")))?
    };
    *place = fitting(key, place, value)?;
    Ok(())
}

/// The value, if it is of the kind that the default is of.
fn fitting(key: &str, default: &Value, value: Value) -> Result<Value, ConfigError> {
    if default.type_str() != value.type_str() {
        let message = format!(
            "must be of type {}, not {}",
            default.type_str(),
            value.type_str()
        );
        return Err(ConfigError::value(key, message));
    }
    if value.as_integer().is_some_and(|number| number < 0) {
        return Err(ConfigError::value(key, "must not be negative"));
    }
    Ok(value)
}

fn typed(merged: &Table) -> Result<Config, ConfigError> {
    serde_path_to_error::deserialize(Value::Table(merged.clone())).map_err(
        |error: serde_path_to_error::Error<toml::de::Error>| {
            let key = error.path().to_string();
            ConfigError::value(&key, error.into_inner().message())
        },
    )
}

fn unknown(key: &str, source: &str) -> ConfigError {
    let all = Table::try_from(Config::default()).expect("a configuration is plain data");
    let mut known: Vec<String> = Vec::new();
    for (section, value) in &all {
        known.push(section.clone());
        let names = value.as_table().into_iter().flatten();
        known.extend(names.map(|(name, _)| format!("{section}.{name}")));
    }
    ConfigError::UnknownKey {
        source_name: source.to_owned(),
        key: key.to_owned(),
        nearest: crate::nearest::name(key, known.iter().map(String::as_str))
            .unwrap_or("server")
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, variables: &[(&str, &str)], settings: &[&str]) -> Result<Config, String> {
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let settings: Vec<_> = settings.iter().map(|text| (*text).to_owned()).collect();
        from_text(text, "x.toml", &variables, &settings).map_err(|error| error.to_string())
    }

    #[test]
    fn later_sources_win() {
        let file = "[server]\nworkers = 2\nlisten = '127.0.0.1:1'\n[runs]\nthreads = 3\n";
        let environment = [
            ("HINDCAST__SERVER__WORKERS", "4"),
            ("HINDCAST__TELEMETRY__FILTER", "debug"),
        ];
        let config = load(file, &environment, &["server.workers=5"]).expect("right");
        assert_eq!((config.server.workers, config.runs.threads), (5, 3));
        assert_eq!(config.server.listen.port(), 1);
        assert_eq!(config.telemetry.filter, "debug");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_name() {
        let expected = "unknown key `runs.in_fligth_max`; did you mean `runs.in_flight_max`?";
        for result in [
            load("[runs]\nin_fligth_max = 1\n", &[], &[]),
            load("", &[("HINDCAST__RUNS__IN_FLIGTH_MAX", "1")], &[]),
            load("", &[], &["runs.in_fligth_max=1"]),
        ] {
            let message = result.expect_err("unknown");
            assert!(message.ends_with(expected), "{message}");
        }
        let section = load("[htpp]\nwait_max_ms = 1\n", &[], &[]).expect_err("unknown");
        assert!(section.ends_with("did you mean `http`?"), "{section}");
    }

    #[test]
    fn a_wrong_type_names_its_key() {
        let refused = |text: &str| load(text, &[], &[]).expect_err("wrong type");
        assert_eq!(
            refused("[runs]\nin_flight_max = 'many'\n"),
            "runs.in_flight_max: must be of type integer, not string"
        );
        assert_eq!(
            refused("[http]\nwait_max_ms = -1\n"),
            "http.wait_max_ms: must not be negative"
        );
        assert!(refused("runs.in_flight_max = 5000000000").starts_with("runs.in_flight_max: "));
        assert!(refused("server.listen = 'nowhere'").starts_with("server.listen: "));
        assert!(refused("telemetry.format = 'xml'").starts_with("telemetry.format: "));
        assert!(refused("runs = 3").starts_with("runs: must be of type table"));
        assert!(refused("[runs").starts_with("x.toml: "));
    }

    #[test]
    fn a_setting_without_a_value_is_refused() {
        assert!(load("", &[], &["runs"]).is_err_and(|m| m.contains("not key=value")));
        assert!(load("", &[], &["runs.threads="]).is_err_and(|m| m.starts_with("runs.threads")));
    }
}
