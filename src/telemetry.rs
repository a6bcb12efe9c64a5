//! What the server tells of itself as it runs: log lines, and the traces of requests. Where they
//! go is configuration; that they go nowhere delays no request.

pub mod files;
pub mod lines;
pub mod otlp;
pub mod traces;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hindcast_actors::DependencyBreaker;
use hindcast_actors::trace::Finished;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::config::{LogFormat, OtlpConfig, TelemetryConfig};
use files::{Files, Rotation};
use otlp::Exporter;
use traces::Ring;

/// Why telemetry does not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryProblem {
    #[error("telemetry.filter: {0}")]
    Filter(#[from] ParseError),
    #[error("telemetry.log_file: {}: {source}", path.display())]
    LogFile { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Otlp(#[from] otlp::BadSetting),
    #[error("the thread that sends telemetry: {0}")]
    Thread(io::Error),
}

/// Traces that were slow or failed, of this process.
static RING: OnceLock<Ring> = OnceLock::new();
/// The log file, if there is one.
static FILES: OnceLock<Files> = OnceLock::new();
/// Where telemetry is sent, if anywhere.
static EXPORTER: OnceLock<Exporter> = OnceLock::new();

/// The filter that a text such as `info,hindcast::http=debug` stands for.
pub fn filter(text: &str) -> Result<EnvFilter, ParseError> {
    // The embedded store logs every page it touches at trace level, the framework its workers and
    // as errors what clients send that is no HTTP, and what sends telemetry would tell of itself.
    let ours = "sled=warn,actix_server=warn,actix_http::h1::dispatcher=off,ureq=warn,rustls=warn";
    EnvFilter::builder().parse(format!("{ours},{text}"))
}

/// Whether settings and variables make sense; nothing begins.
///
/// # Errors
/// One of them makes no sense.
pub fn check(config: &TelemetryConfig, otlp: &OtlpConfig) -> Result<(), TelemetryProblem> {
    filter(&config.filter)?;
    otlp::Settings::read(otlp, &|name| std::env::var(name).ok())?;
    Ok(())
}

/// Starts logging for this process. A second call changes nothing, so that several servers can
/// live in one process.
///
/// Of a directory that is only looked at no file changes, so that a log file in it, or one that
/// cannot be opened then, is left alone: the lines go to standard error.
///
/// # Errors
/// The log file cannot be opened, or a setting or variable makes no sense.
pub fn start(
    config: &TelemetryConfig,
    otlp: &OtlpConfig,
    looked_at: Option<&Path>,
) -> Result<(), TelemetryProblem> {
    let filter = filter(&config.filter)?;
    // What counts has to be there before there is something to count.
    drop(crate::metrics::process_metrics());
    if RING.get().is_some() {
        tracing::debug!("logging was started before");
        return Ok(());
    }
    let opened = match looked_at {
        _ if config.log_file.as_os_str().is_empty() => None,
        None => Some(log_files(config)?),
        Some(dir) if lies_below(&config.log_file, dir) => None,
        Some(_) => log_files(config).ok(),
    };
    let writer = match opened {
        None => BoxMakeWriter::new(io::stderr),
        Some(opened) => {
            let files = FILES.get_or_init(|| opened);
            BoxMakeWriter::new(move || files.make_writer())
        }
    };
    let lines = match config.format {
        LogFormat::Json => fmt::layer()
            .event_format(lines::Json)
            .with_writer(writer)
            .boxed(),
        LogFormat::Text => fmt::layer().with_ansi(false).with_writer(writer).boxed(),
    };
    if let Some(settings) = otlp::Settings::read(otlp, &|name| std::env::var(name).ok())? {
        let exporter = Exporter::start(settings).map_err(TelemetryProblem::Thread)?;
        // A process has one.
        drop(EXPORTER.set(exporter));
    }
    let sent = EXPORTER.get().map(Exporter::layer);
    let ring = Ring::new(config.traces_max, config.traces_bytes_max, config.slow_ms);
    if RING.set(ring).is_err() {
        return Ok(());
    }
    let registry = tracing_subscriber::registry().with(filter);
    if registry.with(lines).with(sent).try_init().is_err() {
        tracing::debug!("another subscriber was there before");
    }
    Ok(())
}

fn lies_below(file: &Path, dir: &Path) -> bool {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    let (Ok(folder), Ok(dir)) = (folder, dir.canonicalize()) else {
        return false;
    };
    folder.starts_with(dir)
}

fn log_files(config: &TelemetryConfig) -> Result<Files, TelemetryProblem> {
    let rotation = Rotation {
        bytes_max: config.log_file_bytes_max,
        age_max: Duration::from_millis(config.log_file_age_max_ms),
        keep: Duration::from_millis(config.log_keep_ms),
        keep_bytes_max: config.log_keep_bytes_max,
    };
    let path = config.log_file.clone();
    Files::open(path, rotation).map_err(|source| TelemetryProblem::LogFile {
        path: config.log_file.clone(),
        source,
    })
}

/// The file that log lines go to; none when they go to standard error.
#[must_use]
pub fn log_file() -> Option<&'static Files> {
    FILES.get()
}

/// Whether the log file does not take lines at this moment. Counts those that were lost, and tells how
/// many there were once it takes them again.
#[must_use]
pub fn loses_lines() -> bool {
    let Some(files) = FILES.get() else {
        return false;
    };
    metrics::counter!("log_lines_lost_total").absolute(files.lost().lines);
    if let Some(lines) = files.to_tell() {
        tracing::warn!(lines, "log lines were lost: there was no room for them");
    }
    files.lost().lasts
}

/// The traces that are kept.
#[must_use]
pub fn traces() -> Option<&'static Ring> {
    RING.get()
}

/// Whether anybody wants to know of traces.
#[must_use]
pub fn traced() -> bool {
    EXPORTER.get().is_some() || RING.get().is_some_and(Ring::keeps)
}

/// Takes a trace that has ended here. Waits for nothing.
pub fn finished(trace: Finished) {
    if let Some(exporter) = EXPORTER.get() {
        exporter.trace(&trace);
    }
    if let Some(ring) = RING.get() {
        ring.offer(trace);
    }
}

/// A server is up: this breaker says from here on whether the collector is called.
pub fn guard(collector: Arc<DependencyBreaker>) {
    if let Some(exporter) = EXPORTER.get() {
        exporter.guard(collector);
    }
}

/// The server stops: its breaker is told nothing any more, and what it said last holds.
pub fn unguard() {
    if let Some(exporter) = EXPORTER.get() {
        exporter.unguard();
    }
}

/// Memory of what waits to be sent.
#[must_use]
pub fn waiting_bytes() -> usize {
    EXPORTER.get().map_or(0, Exporter::waiting_bytes)
}

/// Gives what waits to be sent a moment to get away; called at the end of a process.
pub fn flush(patience: Duration) {
    if let Some(exporter) = EXPORTER.get() {
        exporter.flush(patience);
    }
}
