//! `hindcast doctor`: what a server would need here, looked at one by one, each with what to do.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hindcast_log::{LogError, Reader, RealDisk, is_open, replay};
use hindcast_model::UnixMicros;
use serde::Serialize;

use super::arguments::Global;
use super::output::{Failure, Output};
use crate::access::{self, Keys};
use crate::config::{Config, ConfigError};
use crate::privacy::master_key;
use crate::tls::Certificate;
use crate::{clock, descriptors, disk, telemetry};

/// No clock is right that shows a time before this program was written.
const WRITTEN_AT: UnixMicros = UnixMicros(1_767_225_600_000_000);
/// Bytes of memory that a loaded server takes, beside its caches.
const MEMORY_BYTES: u64 = 512 << 20;

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    /// It works, and could be better.
    Warn,
    /// A server does not work like this.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do; absent when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            found: found.into(),
            advice: None,
        }
    }

    fn not(
        verdict: Verdict,
        check: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            check,
            verdict,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }
}

pub(crate) fn run(global: &Global, output: &Output) -> Result<(), Failure> {
    let (config, configuration) = configuration(global);
    let findings = [
        configuration,
        exposure(&config),
        port(&config),
        directory(&config.server.data_dir),
        space(&config),
        keys(&config.server.data_dir),
        readable("access", Keys::read(&access::file(&config)).map(|_| ())),
        readable("certificate", Certificate::open(&config).map(|_| ())),
        readable("master_key", master_key(&config).map(|_| ())),
        readable(
            "telemetry",
            telemetry::check(&config.telemetry, &config.otlp),
        ),
        store(&config.server.data_dir),
        descriptors(&config),
        memory(&config),
        time(),
        Finding::ok("gpu", "not used: everything is computed on the CPU"),
    ];
    let worst = |verdict| {
        findings
            .iter()
            .filter(|finding| finding.verdict == verdict)
            .count()
    };
    let (failed, warned) = (worst(Verdict::Fail), worst(Verdict::Warn));
    let document = serde_json::json!({
        "healthy": failed == 0,
        "failed": failed,
        "warned": warned,
        "checks": findings,
    });
    output.either(&document.to_string(), || Ok(text(&findings)))?;
    match failed {
        0 => Ok(()),
        _ => Err(Failure::failed(format!("{failed} checks failed"))),
    }
}

fn text(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for Finding {
        check,
        verdict,
        found,
        advice,
    } in findings
    {
        let mark = match verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        lines.push(format!("{mark}  {check:<14} {found}"));
        lines.extend(advice.iter().map(|advice| format!("{:>20} {advice}", "->")));
    }
    lines.join("\n")
}

/// The configuration, and how it is. What cannot be read leaves the defaults, so that the rest can
/// be looked at.
fn configuration(global: &Global) -> (Config, Finding) {
    let check = "configuration";
    let advice = "correct it; hindcast config show prints what is in force, and from where";
    let bad = |error: ConfigError| Finding::not(Verdict::Fail, check, error.to_string(), advice);
    match global.load() {
        Ok(config) => match config.check() {
            Ok(()) => {
                let found = "every key is known and in its range";
                (config, Finding::ok(check, found))
            }
            Err(error) => (config, bad(error)),
        },
        Err(error) => {
            let mut config = Config::default();
            if let Some(data_dir) = &global.data_dir {
                config.server.data_dir.clone_from(data_dir);
            }
            (config, bad(error))
        }
    }
}

fn exposure(config: &Config) -> Finding {
    match config.check_exposure() {
        Ok(()) if config.server.listen.ip().is_loopback() => {
            Finding::ok("exposure", "only this machine can reach it")
        }
        Ok(()) if !config.server.allow_unauthenticated => {
            Finding::ok("exposure", "every request needs a key")
        }
        Ok(()) => {
            let advice = "put something that authenticates in front of it";
            Finding::not(
                Verdict::Warn,
                "exposure",
                "anyone on the network can use it",
                advice,
            )
        }
        Err(error) => {
            let advice =
                "make a key with hindcast keys create NAME --role admin, or listen on 127.0.0.1";
            Finding::not(Verdict::Fail, "exposure", error.to_string(), advice)
        }
    }
}

fn port(config: &Config) -> Finding {
    let address = config.server.listen;
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok("port", format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let found = format!("{address} is taken");
            match is_open(&config.server.data_dir) {
                true => {
                    let advice = "a server runs over this data directory already";
                    Finding::not(Verdict::Warn, "port", found, advice)
                }
                false => {
                    let advice = "another program has it: choose another with server.listen";
                    Finding::not(Verdict::Fail, "port", found, advice)
                }
            }
        }
        Err(error) => {
            let found = format!("{address}: {error}");
            Finding::not(
                Verdict::Fail,
                "port",
                found,
                "choose another with server.listen",
            )
        }
    }
}

/// Whether what a server reads at its start can be read.
fn readable<E: std::fmt::Display>(check: &'static str, read: Result<(), E>) -> Finding {
    match read {
        Ok(()) => Finding::ok(check, "what is configured can be read"),
        Err(error) => {
            let advice = "a server does not start like this: correct it";
            Finding::not(Verdict::Fail, check, error.to_string(), advice)
        }
    }
}

/// Whether files can be made in a directory, or in the one that it would be made in.
fn directory(data_dir: &Path) -> Finding {
    let check = "data_dir";
    let existing = data_dir.ancestors().find(|path| path.is_dir());
    let place = match existing {
        Some(path) if path.as_os_str().is_empty() => Path::new("."),
        Some(path) => path,
        None => Path::new("."),
    };
    match tempfile::Builder::new()
        .prefix(".hindcast-doctor-")
        .tempfile_in(place)
    {
        Ok(_) if data_dir.is_dir() => {
            Finding::ok(check, format!("{} can be written to", data_dir.display()))
        }
        Ok(_) => Finding::ok(check, format!("{} can be made", data_dir.display())),
        Err(error) => {
            let found = format!("{}: {error}", place.display());
            Finding::not(
                Verdict::Fail,
                check,
                found,
                "choose another with server.data_dir",
            )
        }
    }
}

fn space(config: &Config) -> Finding {
    let data_dir = &config.server.data_dir;
    let measured = data_dir
        .ancestors()
        .find_map(|path| match path.as_os_str().is_empty() {
            true => disk::space(Path::new(".")),
            false => disk::space(path),
        });
    let Some((free, size)) = measured else {
        let advice = "server.data_dir has to be on a disk that can be asked";
        return Finding::not(Verdict::Warn, "disk", "the system does not say", advice);
    };
    let reserve = config.disk.reserve_bytes;
    let found = format!("{} MiB of {} MiB are free", free >> 20, size >> 20);
    if free < reserve {
        let advice = format!(
            "work is refused below {} MiB: free some space",
            reserve >> 20
        );
        return Finding::not(Verdict::Fail, "disk", found, advice);
    }
    if free < reserve.saturating_mul(4) {
        let advice = format!("work is refused below {} MiB", reserve >> 20);
        return Finding::not(Verdict::Warn, "disk", found, advice);
    }
    Finding::ok("disk", found)
}

/// Whether only the owner can read the data keys.
fn keys(data_dir: &Path) -> Finding {
    let mut open = Vec::new();
    for entry in fs::read_dir(data_dir.join("keys"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let mode = entry
            .metadata()
            .map_or(0, |found| found.permissions().mode());
        if entry.path().extension().is_some_and(|end| end == "key") && mode & 0o077 != 0 {
            open.push(entry.path().display().to_string());
        }
    }
    match open.is_empty() {
        true => Finding::ok("keys", "no data key is readable by others"),
        false => {
            let found = format!("others can read {}", open.join(", "));
            Finding::not(Verdict::Warn, "keys", found, "chmod 600 them")
        }
    }
}

/// Whether the log can be read. A running server is left alone.
fn store(data_dir: &Path) -> Finding {
    if !data_dir.join("wal").is_dir() {
        return Finding::ok("log", "there is none yet");
    }
    if is_open(data_dir) {
        return match Reader::open(data_dir).and_then(|reader| reader.head()) {
            Ok(head) => {
                let head = head.map_or(0, |head| head.seq.0);
                Finding::ok(
                    "log",
                    format!("a server has it open; it ends at event {head}"),
                )
            }
            Err(error) => damaged(&error),
        };
    }
    match replay(&RealDisk, data_dir, &|_| {}) {
        Ok(replayed) => {
            let (head, clean) = (replayed.head(), replayed.clean());
            let how = match clean {
                true => "it was closed in good order",
                false => "the last process did not close it; the next start recovers",
            };
            Finding::ok("log", format!("{head} events fold; {how}"))
        }
        Err(error) => damaged(&error),
    }
}

fn damaged(error: &LogError) -> Finding {
    let advice = "copy the data directory, then: hindcast verify, hindcast repair --plan";
    Finding::not(Verdict::Fail, "log", error.to_string(), advice)
}

fn descriptors(config: &Config) -> Finding {
    let wanted = (config.http.connections_max as u64).saturating_add(descriptors::BESIDE);
    match descriptors::limit() {
        Some(limit) if limit < descriptors::LEAST => {
            let found = format!("{limit} descriptors, which a server cannot start with");
            Finding::not(
                Verdict::Fail,
                "descriptors",
                found,
                format!("ulimit -n {wanted}"),
            )
        }
        Some(limit) if limit < wanted => {
            let found = format!("{limit} descriptors, and up to {wanted} may be wanted");
            let advice = format!("ulimit -n {wanted}, or fewer http.connections_max");
            Finding::not(Verdict::Warn, "descriptors", found, advice)
        }
        Some(limit) => Finding::ok("descriptors", format!("{limit} may be open")),
        None => Finding::ok("descriptors", "there is no limit"),
    }
}

fn memory(config: &Config) -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    let Some(available) = kib.map(|kib| kib << 10) else {
        return Finding::ok("memory", "the system does not say");
    };
    let wanted = MEMORY_BYTES
        .saturating_add(config.cache.results_bytes_max)
        .saturating_add(config.cache.datasets_bytes_max);
    let found = format!("{} MiB are available", available >> 20);
    if available < wanted {
        let advice = format!(
            "up to {} MiB may be wanted: make the caches smaller",
            wanted >> 20
        );
        return Finding::not(Verdict::Warn, "memory", found, advice);
    }
    Finding::ok("memory", found)
}

fn time() -> Finding {
    match clock::wall() {
        now if now < WRITTEN_AT => {
            let found = "the clock shows a time before this program was written";
            Finding::not(
                Verdict::Fail,
                "clock",
                found,
                "set it, and keep it set with NTP",
            )
        }
        _ => Finding::ok("clock", "it shows a time that can be"),
    }
}
