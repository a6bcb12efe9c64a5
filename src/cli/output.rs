//! What the program prints: results on standard output, everything else on standard error. A
//! reader that goes away (`| head`) ends the program quietly.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

/// Why a verb did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is wrong: exit code 2.
    Usage(String),
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
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::failed(error.to_string())
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
