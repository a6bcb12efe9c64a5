//! `hindcast redact`: makes everything that was kept for a subject unreadable.

use serde_json::{Value, json};

use super::arguments::Global;
use super::local::Session;
use super::output::{Failure, Output};

/// Whose data, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The subject, as it was named by --subject or the header Hindcast-Subject.
    subject: String,
    /// Why. It stays readable in the log.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

pub(crate) fn run(global: &Global, options: &Options, output: &Output) -> Result<(), Failure> {
    let session = Session::open(global)?;
    let body = json!({ "subject": options.subject, "reason": options.reason }).to_string();
    let reply = session
        .client
        .post("/api/v1/redactions", "application/json", body.as_bytes());
    session.close()?;
    let answer = reply?.value()?;
    output.either(&answer.to_string(), || Ok(text(&answer)))
}

fn text(answer: &Value) -> String {
    let keys = answer["keys"].as_array().map_or(0, Vec::len);
    format!(
        "{} is redacted: {keys} data keys are gone (event {})",
        answer["subject"].as_str().unwrap_or_default(),
        answer["sequence"]
    )
}
