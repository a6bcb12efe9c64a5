//! Log lines on standard error, filtered by configuration. One line is one JSON object; fields
//! carry the facts (`trace_id`, `run_id`, `actor`).

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{LogFormat, TelemetryConfig};

/// The filter that a text such as `info,hindcast::http=debug` stands for.
pub fn filter(text: &str) -> Result<EnvFilter, ParseError> {
    // The embedded store logs every page it touches at trace level, the framework its workers and
    // as errors what clients send that is no HTTP.
    let ours = "sled=warn,actix_server=warn,actix_http::h1::dispatcher=off";
    EnvFilter::builder().parse(format!("{ours},{text}"))
}

/// Starts logging for this process. A second call changes nothing, so that several servers can
/// live in one process.
pub fn start(config: &TelemetryConfig) -> Result<(), ParseError> {
    let filter = filter(&config.filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(false).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    Ok(())
}
