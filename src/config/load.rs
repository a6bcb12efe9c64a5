//! Where values come from: built-in defaults, then a file, then the environment, then the
//! command line; each later one wins. A key that does not exist is refused with the nearest name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, limits};

const PREFIX: &str = "HINDCAST__";
const COMMAND_LINE: &str = "--set";

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
    #[error("{key}: {message}{}", origin(source_name.as_deref()))]
    Value {
        key: String,
        message: String,
        /// The file, variable or flag that it was set by.
        source_name: Option<String>,
    },
    #[error(
        "refusing to listen on {0}: there is no key of an admin, so nobody could prove who they \
         are; make one with `hindcast keys create NAME --role admin`, listen on 127.0.0.1, or pass \
         --allow-unauthenticated (key server.allow_unauthenticated) if everybody who reaches this \
         address may use the server"
    )]
    Exposed(SocketAddr),
}

impl ConfigError {
    pub(crate) fn value(key: &str, message: impl Into<String>) -> Self {
        Self::Value {
            key: key.to_owned(),
            message: message.into(),
            source_name: None,
        }
    }

    fn from_source(key: &str, message: impl Into<String>, source: &str) -> Self {
        Self::Value {
            key: key.to_owned(),
            message: message.into(),
            source_name: Some(source.to_owned()),
        }
    }

    /// Whether it is the command line that is wrong.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        let source = match self {
            Self::Syntax { source_name, .. } | Self::UnknownKey { source_name, .. } => source_name,
            Self::Value { source_name, .. } => match source_name {
                Some(source_name) => source_name,
                None => return false,
            },
            Self::Unreadable { .. } | Self::Exposed(_) => return false,
        };
        source == COMMAND_LINE
    }
}

fn origin(source: Option<&str>) -> String {
    source.map_or_else(String::new, |source| format!(" (set by {source})"))
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
    let mut merged = Merged {
        table: defaults(),
        origins: BTreeMap::new(),
    };
    let file: Table = text.parse().map_err(|error: toml::de::Error| {
        let source_name = source.to_owned();
        let message = error.to_string();
        ConfigError::Syntax {
            source_name,
            message,
        }
    })?;
    merged.merge(file, source)?;
    let mut variables = variables.to_vec();
    variables.sort();
    for (name, value) in &variables {
        let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
        merged.set(&key, value, name)?;
    }
    for setting in settings {
        let Some((key, value)) = setting.split_once('=') else {
            let source_name = COMMAND_LINE.to_owned();
            let message = format!("`{setting}` is not key=value");
            return Err(ConfigError::Syntax {
                source_name,
                message,
            });
        };
        merged.set(key.trim(), value.trim(), COMMAND_LINE)?;
    }
    merged.typed()
}

/// The values so far, and who set them.
struct Merged {
    table: Table,
    origins: BTreeMap<String, String>,
}

impl Merged {
    fn merge(&mut self, file: Table, source: &str) -> Result<(), ConfigError> {
        for (section, values) in file {
            let Some(known) = self.table.get_mut(&section) else {
                return Err(unknown(&section, source));
            };
            let Value::Table(values) = values else {
                let message = format!("must be of type table, not {}", values.type_str());
                return Err(ConfigError::from_source(&section, message, source));
            };
            for (name, value) in values {
                let key = format!("{section}.{name}");
                let Some(place) = known.get_mut(&name) else {
                    return Err(unknown(&key, source));
                };
                *place = fitting(&key, place, value, source)?;
                self.origins.insert(key, source.to_owned());
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, text: &str, source: &str) -> Result<(), ConfigError> {
        if let Some(section) = self.table.get(key).and_then(Value::as_table) {
            let first = section.keys().next().map_or("", String::as_str);
            let message = format!("is a section: name a key of it, such as {key}.{first}");
            return Err(ConfigError::from_source(key, message, source));
        }
        let place = key
            .split_once('.')
            .and_then(|(section, name)| self.table.get_mut(section)?.as_table_mut()?.get_mut(name))
            .ok_or_else(|| unknown(key, source))?;
        // Text needs no quotes here; everything else is written as in the file.
        let value = if place.is_str() {
            Value::String(text.trim_matches('"').to_owned())
        } else {
            let message = || format!("`{text}` is not of type {}", place.type_str());
            format!("value = {text}")
                .parse::<Table>()
                .ok()
                .and_then(|mut table| table.remove("value"))
                .ok_or_else(|| ConfigError::from_source(key, message(), source))?
        };
        *place = fitting(key, place, value, source)?;
        self.origins.insert(key.to_owned(), source.to_owned());
        Ok(())
    }

    fn typed(&self) -> Result<Config, ConfigError> {
        serde_path_to_error::deserialize(Value::Table(self.table.clone())).map_err(
            |error: serde_path_to_error::Error<toml::de::Error>| {
                let key = error.path().to_string();
                let source_name = self.origins.get(&key).cloned();
                let message = error.into_inner().message().to_owned();
                ConfigError::Value {
                    key,
                    message,
                    source_name,
                }
            },
        )
    }
}

/// The value, if it is of the kind that the default is of, and in its range.
fn fitting(key: &str, default: &Value, value: Value, source: &str) -> Result<Value, ConfigError> {
    if default.type_str() != value.type_str() {
        let message = format!(
            "must be of type {}, not {}",
            default.type_str(),
            value.type_str()
        );
        return Err(ConfigError::from_source(key, message, source));
    }
    match limits::complaint(key, &value) {
        Some(message) => Err(ConfigError::from_source(key, message, source)),
        None => Ok(value),
    }
}

fn defaults() -> Table {
    Table::try_from(Config::default()).expect("a configuration is plain data")
}

fn keys() -> Vec<String> {
    let mut known: Vec<String> = Vec::new();
    for (section, value) in &defaults() {
        known.push(section.clone());
        let names = value.as_table().into_iter().flatten();
        known.extend(names.map(|(name, _)| format!("{section}.{name}")));
    }
    known
}

/// Variables that look like keys with one underscore where two are needed, each with its right
/// name: they have no effect.
#[must_use]
pub fn misnamed(names: impl IntoIterator<Item = OsString>) -> Vec<(String, String)> {
    let keys = keys();
    let plain = |text: &str| text.to_lowercase().replace(['.', '_'], "");
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    let found = names.filter_map(|name| {
        let rest = name.strip_prefix("HINDCAST_")?;
        if rest.starts_with('_') {
            return None;
        }
        let key = keys.iter().find(|key| plain(key) == plain(rest))?;
        let right = format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"));
        Some((name, right))
    });
    let mut found: Vec<_> = found.collect();
    found.sort();
    found
}

fn unknown(key: &str, source: &str) -> ConfigError {
    let known = keys();
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
        let whole = load("", &[], &["runs=2"]).expect_err("a section");
        assert!(
            whole.contains("runs: is a section: name a key of it"),
            "{whole}"
        );
        let section = load("[htpp]\nwait_max_ms = 1\n", &[], &[]).expect_err("unknown");
        assert!(section.ends_with("did you mean `http`?"), "{section}");
    }

    #[test]
    fn a_wrong_type_names_its_key() {
        let refused = |text: &str| load(text, &[], &[]).expect_err("wrong type");
        assert_eq!(
            refused("[runs]\nin_flight_max = 'many'\n"),
            "runs.in_flight_max: must be of type integer, not string (set by x.toml)"
        );
        assert_eq!(
            refused("[http]\nwait_max_ms = -1\n"),
            "http.wait_max_ms: -1 must not be negative (set by x.toml)"
        );
        assert!(refused("runs.in_flight_max = 5000000000").starts_with("runs.in_flight_max: "));
        let listen = refused("server.listen = 'nowhere'");
        assert!(listen.starts_with("server.listen: "), "{listen}");
        assert!(listen.ends_with("(set by x.toml)"), "{listen}");
        let workers = [("HINDCAST__SERVER__WORKERS", "x")];
        let variable = load("", &workers, &[]).expect_err("wrong type");
        assert!(
            variable.ends_with("(set by HINDCAST__SERVER__WORKERS)"),
            "{variable}"
        );
        assert!(refused("telemetry.format = 'xml'").starts_with("telemetry.format: "));
        assert!(refused("runs = 3").starts_with("runs: must be of type table"));
        assert!(refused("[runs").starts_with("x.toml: "));
    }

    #[test]
    fn a_setting_without_a_value_is_refused() {
        assert!(load("", &[], &["runs"]).is_err_and(|m| m.contains("not key=value")));
        assert!(load("", &[], &["runs.threads="]).is_err_and(|m| m.starts_with("runs.threads")));
    }

    #[test]
    fn a_variable_with_one_underscore_is_told_its_right_name() {
        let names = [
            "HINDCAST_RUNS_IN_FLIGHT_MAX",
            "HINDCAST__RUNS__THREADS",
            "HINDCAST_HOME",
        ];
        let right = "HINDCAST__RUNS__IN_FLIGHT_MAX".to_owned();
        assert_eq!(
            misnamed(names.map(OsString::from)),
            [(names[0].to_owned(), right)]
        );
    }
}
