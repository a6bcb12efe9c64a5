//! What the program prints: results on standard output, everything else on standard error. A
//! reader that goes away (`| head`) ends the program quietly.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use hindcast_backup::BackupError;
use hindcast_log::LogError;
use serde::Serialize;
use serde_json::json;

use crate::config::ConfigError;

/// Why a verb did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is wrong: exit code 2.
    Usage(String),
    /// A value on the command line is wrong: exit code 2.
    Misused {
        message: String,
        field: Option<String>,
        hint: Option<String>,
    },
    /// Anything else: exit code 1.
    Failed {
        message: String,
        field: Option<String>,
        hint: Option<String>,
    },
    /// Nobody reads what is printed any more.
    ReaderGone,
}

impl Failure {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            field: None,
            hint: None,
        }
    }

    /// The same, with what to do about it.
    pub(crate) fn with_hint(self, advice: Option<String>) -> Self {
        match self {
            Self::Failed {
                message,
                field,
                hint,
            } => Self::Failed {
                message,
                field,
                hint: hint.or(advice),
            },
            Self::Usage(_) | Self::Misused { .. } | Self::ReaderGone => self,
        }
    }

    /// The same as wrong usage, if it is about a field that the command line gave.
    pub(crate) fn blaming(self, given: &[&str]) -> Self {
        match self {
            Self::Failed {
                message,
                field: Some(field),
                hint,
            } if given.contains(&field.split(['.', '[']).next().unwrap_or("")) => Self::Misused {
                message,
                field: Some(field),
                hint,
            },
            Self::Failed { .. } | Self::Usage(_) | Self::Misused { .. } | Self::ReaderGone => self,
        }
    }

    /// What is wrong with a configuration.
    pub(crate) fn configuration(error: ConfigError) -> Self {
        let usage = error.is_usage();
        let (message, field, hint) = match error {
            ConfigError::UnknownKey {
                source_name,
                key,
                nearest,
            } => {
                let hint = format!("did you mean `{nearest}`?");
                (format!("unknown key in {source_name}"), Some(key), hint)
            }
            ConfigError::Value {
                key,
                message,
                source_name,
            } => {
                let from = source_name.map_or_else(String::new, |name| format!(" (set by {name})"));
                let hint = "`hindcast config default` shows every key with its meaning and range";
                (format!("{message}{from}"), Some(key), hint.to_owned())
            }
            other @ (ConfigError::Unreadable { .. }
            | ConfigError::Syntax { .. }
            | ConfigError::Exposed(_)) => {
                let message = other.to_string();
                return match usage {
                    true => Self::Usage(message),
                    false => Self::failed(message),
                };
            }
        };
        let hint = Some(hint);
        match usage {
            true => Self::Misused {
                message,
                field,
                hint,
            },
            false => Self::Failed {
                message,
                field,
                hint,
            },
        }
    }
}

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let known = &error as &(dyn std::error::Error + 'static);
        let of_log = known.downcast_ref().or(match known.downcast_ref() {
            Some(BackupError::Log(of_log)) => Some(of_log),
            Some(_) | None => None,
        });
        let hint = match of_log {
            Some(LogError::Pruned(gap)) => Some(gap.hint()),
            Some(_) | None => None,
        };
        Self::failed(error.to_string()).with_hint(hint)
    }
}

/// Where and how results are printed.
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints one line of text, or several.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{text}").and_then(|()| out.flush());
        written.map_err(|error| {
            if error.kind() == std::io::ErrorKind::BrokenPipe {
                return Failure::ReaderGone;
            }
            Failure::failed(format!("cannot print: {error}"))
        })
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn value<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        self.text(&serde_json::to_string(value)?)
    }

    /// Prints JSON, or the text made from it.
    pub(crate) fn either(
        &self,
        json: &str,
        text: impl FnOnce() -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        match self.json {
            true => self.text(json),
            false => self.text(&text()?),
        }
    }

    /// Says why the program fails, and gives the exit code.
    pub(crate) fn fail(&self, failure: &Failure) -> ExitCode {
        let (code, message, field, hint) = match failure {
            Failure::ReaderGone => return ExitCode::SUCCESS,
            Failure::Usage(message) => (2, message, None, None),
            Failure::Misused {
                message,
                field,
                hint,
            } => (2, message, field.as_deref(), hint.as_deref()),
            Failure::Failed {
                message,
                field,
                hint,
            } => (1, message, field.as_deref(), hint.as_deref()),
        };
        let text = if self.json {
            json!({ "error": message, "field": field, "hint": hint }).to_string()
        } else {
            let mut text = match field {
                Some(field) => format!("error: {field}: {message}"),
                None => format!("error: {message}"),
            };
            if let Some(hint) = hint {
                text.push_str("\nhint: ");
                text.push_str(hint);
            }
            text
        };
        note(&text);
        ExitCode::from(code)
    }
}

/// Says something that is no result.
pub(crate) fn note(text: &str) {
    let mut out = std::io::stderr().lock();
    // Who cannot be told cannot be told that either.
    drop(writeln!(out, "{text}"));
}

/// Whether a person watches.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}
