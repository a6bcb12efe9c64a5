//! What runs, and what it runs on.

use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::OnceLock;

use hindcast_model::Digest;
use serde::Serialize;
use utoipa::ToSchema;

use crate::metrics::recorder::Recorder;

/// Hexadecimal digits of a program's hash that are shown.
const HASH_DIGITS: usize = 16;

/// The program and its machine.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Build {
    pub version: &'static str,
    /// The beginning of the blake3 hash of the program's file; null when it cannot be read.
    pub binary: Option<String>,
    /// Processors that this process may use.
    pub cores: u32,
    /// Memory that it may use: that of its control group, or of the machine.
    pub memory_bytes: Option<u64>,
}

impl Build {
    /// Of this process. The first call reads the program's file.
    #[must_use]
    pub fn this(recorder: &Recorder) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            binary: binary().map(short),
            cores: cores(),
            memory_bytes: memory(recorder),
        }
    }
}

/// As it is shown.
#[must_use]
pub fn short(digest: Digest) -> String {
    let mut text = digest.to_string();
    text.truncate(HASH_DIGITS);
    text
}

/// The hash of the program's file, read once.
#[must_use]
pub fn binary() -> Option<Digest> {
    static HASH: OnceLock<Option<Digest>> = OnceLock::new();
    *HASH.get_or_init(|| {
        let file = File::open(std::env::current_exe().ok()?).ok()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file).ok()?;
        Some(Digest(*hasher.finalize().as_bytes()))
    })
}

/// Processors that this process may use.
#[must_use]
pub fn cores() -> u32 {
    let found = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    u32::try_from(found).unwrap_or(u32::MAX)
}

/// Bytes of memory that this process may use; none when the system does not say.
#[must_use]
pub fn memory(recorder: &Recorder) -> Option<u64> {
    let limit = recorder.sum("container_spec_memory_limit_bytes", &[]);
    let all = recorder.sum("node_memory_MemTotal_bytes", &[]);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes of memory are whole and below 2^53"
    )]
    let whole = |bytes: f64| (bytes > 0.0).then_some(bytes as u64);
    match (limit.and_then(whole), all.and_then(whole)) {
        (Some(limit), Some(all)) => Some(limit.min(all)),
        (limit, all) => limit.or(all),
    }
}

/// Bytes per second of the network's lines together, as far as they say; not of the loopback.
#[must_use]
pub fn line_bytes_per_s() -> Option<f64> {
    let interfaces = std::fs::read_dir("/sys/class/net").ok()?;
    let speeds = interfaces.filter_map(|entry| {
        let text = std::fs::read_to_string(entry.ok()?.path().join("speed")).ok()?;
        // In megabits; -1 where it is not known.
        let megabits: f64 = text.trim().parse().ok()?;
        (megabits > 0.0).then_some(megabits * 125_000.0)
    });
    speeds.reduce(|sum, speed| sum + speed)
}
