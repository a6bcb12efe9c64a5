//! The command line of caches.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Which results are meant: those for which everything holds that is named.
#[derive(Debug, Args)]
pub(crate) struct Meant {
    /// Every one of them.
    #[arg(long, conflicts_with_all = ["prefix", "operation", "algorithm", "dataset", "experiment"])]
    pub(crate) all: bool,
    /// Those whose key begins with these hexadecimal digits.
    #[arg(long, value_name = "DIGITS")]
    pub(crate) prefix: Option<String>,
    /// Those of an operation, such as causal.discover.
    #[arg(long, value_name = "NAME")]
    pub(crate) operation: Option<String>,
    /// Those of an algorithm, such as boss, or one version of it, such as boss/3.
    #[arg(long, value_name = "NAME")]
    pub(crate) algorithm: Option<String>,
    /// Those of a stored dataset.
    #[arg(long, value_name = "DIGEST")]
    pub(crate) dataset: Option<String>,
    /// Those that an experiment asked for first.
    #[arg(long, value_name = "ID")]
    pub(crate) experiment: Option<String>,
}

/// What is to go.
#[derive(Debug, Args)]
pub(crate) struct Invalidate {
    #[command(flatten)]
    pub(crate) meant: Meant,
    /// Which cache: results or datasets.
    #[arg(long, value_name = "NAME", default_value = "results")]
    pub(crate) cache: String,
    /// Results that go in a second; 100 if left out.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) per_second: Option<u32>,
    /// Why. It stays readable in the log.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

/// Other bounds.
#[derive(Debug, Args)]
pub(crate) struct ResizeCache {
    /// Which cache: results or datasets.
    #[arg(long, value_name = "NAME", default_value = "results")]
    pub(crate) cache: String,
    /// Bytes in memory.
    #[arg(long, value_name = "BYTES")]
    pub(crate) bytes_max: Option<u64>,
    /// Results in memory; 0 sets no limit.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) entries_max: Option<u64>,
    /// Milliseconds that a result is in memory.
    #[arg(long, value_name = "MS")]
    pub(crate) age_max_ms: Option<u64>,
    /// Milliseconds that a result is in memory after its last use.
    #[arg(long, value_name = "MS")]
    pub(crate) idle_max_ms: Option<u64>,
    /// Bytes of entries on disk.
    #[arg(long, value_name = "BYTES")]
    pub(crate) disk_bytes_max: Option<u64>,
    /// Milliseconds for which a result is read back from the log.
    #[arg(long, value_name = "MS")]
    pub(crate) disk_age_max_ms: Option<u64>,
    /// Why. It stays readable in the log.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) reason: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Show what the caches hold, how often they had it, and what is used most.
    #[command(after_help = "Examples:\n  hindcast cache stats\n  \
        hindcast cache stats --server http://127.0.0.1:8080 --json")]
    Stats,
    /// Remove results, some of them a second; those that are left are still answered with.
    #[command(
        after_help = "No result is ever stale, so this is for what should not have been computed, and for \
        memory.\n\nExamples:\n  \
        hindcast cache invalidate --algorithm boss --reason 'a faulty memory module'\n  \
        hindcast cache invalidate --all --per-second 50 --server http://127.0.0.1:8080\n  \
        hindcast cache invalidate --cache datasets --all"
    )]
    Invalidate(Invalidate),
    /// Read recorded results back into memory, those first that were asked for most often.
    #[command(
        after_help = "Examples:\n  hindcast cache warm --server http://127.0.0.1:8080\n  \
        hindcast cache warm --runs-max 200 --server http://127.0.0.1:8080 --json"
    )]
    Warm {
        /// Results at most; 1,000 if left out.
        #[arg(long, value_name = "NUMBER")]
        runs_max: Option<u64>,
        /// Why. It stays readable in the log.
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Give a cache other bounds until the server ends; a reload leaves them as they are.
    #[command(after_help = "Examples:\n  \
        hindcast cache resize --bytes-max 16777216 --server http://127.0.0.1:8080\n  \
        hindcast cache resize --cache datasets --bytes-max 0 --reason 'memory is short'")]
    Resize(ResizeCache),
    /// Show why requests were answered from the cache or not, and whether one would be.
    #[command(after_help = "Examples:\n  hindcast cache cacheable-report\n  \
        hindcast cache cacheable-report --events 50000 --server http://127.0.0.1:8080 --json\n  \
        hindcast cache cacheable-report --operation discover --request request.json")]
    CacheableReport {
        /// How many of the newest events are looked at; 10,000 if left out.
        #[arg(long, value_name = "NUMBER", conflicts_with = "operation")]
        events: Option<u64>,
        /// Ask about one request instead: discover, validate or paths.
        #[arg(long, value_name = "NAME", requires = "request")]
        operation: Option<String>,
        /// The file of that request; - for standard input.
        #[arg(long, value_name = "FILE", requires = "operation")]
        request: Option<PathBuf>,
    },
}
