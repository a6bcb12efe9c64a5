//! Every limit of the core, with its unit.

/// Payloads up to this stand in the log; larger ones are blobs.
pub const INLINE_BYTES_MAX: usize = 32 * 1024;
/// Bytes of one encoded event: it fits a chunk of the lookup store.
pub const EVENT_BYTES_MAX: usize = 48 * 1024;
/// Commands in one submission: an experiment's request and its runs.
pub const SUBMISSION_COMMANDS_MAX: usize = 1 + EXPERIMENT_RUNS_MAX;
/// Runs of one experiment.
pub const EXPERIMENT_RUNS_MAX: usize = 256;
/// Datasets that one server keeps.
pub const DATASETS_MAX: usize = 100_000;
/// Default of `[runs] in_flight_max`: runs admitted and not ended.
pub const RUNS_IN_FLIGHT_MAX: u32 = 1_024;
/// How long an idempotency key is remembered, in microseconds of log time: 24 hours.
pub const IDEMPOTENCY_TTL_MICROS: u64 = 24 * 3_600 * 1_000_000;
/// Idempotency keys remembered at most; the oldest goes first.
pub const IDEMPOTENCY_ENTRIES_MAX: usize = 1_000_000;
/// Bytes of an answer that is kept under an idempotency key; of a larger one only the key is.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Characters of method and path of a request whose answer is kept.
pub const ANSWER_REQUEST_CHARS_MAX: usize = 256;
/// Open experiments at most.
pub const EXPERIMENTS_OPEN_MAX: usize = 256;
/// Characters of an operation's name.
pub const OPERATION_CHARS_MAX: usize = 64;
/// Characters of a dataset's or experiment's name.
pub const NAME_CHARS_MAX: usize = 128;
/// Runs that one `TimeReached` ends at most; the timer is due again at once for the others.
pub const TIMERS_MAX: usize = 128;

/// Damaged files that the state names.
pub const DAMAGED_MAX: usize = 1_000;
/// Targets whose last verified backup is remembered; the one verified longest ago goes first.
pub const BACKUP_TARGETS_MAX: usize = 64;
/// Backups and verifications asked for and not ended.
pub const BACKUPS_OPEN_MAX: usize = 32;
/// Bytes of what is kept of a panic or a silence with the restart that followed.
pub const EVIDENCE_BYTES_MAX: usize = 16_384;
/// Circuit breakers; further ones of a configuration are not looked at.
pub const BREAKERS_MAX: usize = 96;
/// Characters of a breaker's name.
pub const BREAKER_NAME_CHARS_MAX: usize = 96;
/// Calls that a breaker looks at.
pub const WINDOW_CALLS_MAX: u32 = 1_000;
/// Pairs of states between which a breaker changes.
pub const BREAKER_CHANGE_KINDS_MAX: usize = 36;
/// Times of fallbacks that a breaker remembers.
pub const FALLBACKS_REMEMBERED_MAX: usize = 64;
/// Characters of the reason that somebody gives for a wish about a breaker.
pub const BREAKER_REASON_CHARS_MAX: usize = 256;
/// Bytes of what somebody asked of a cache.
pub const CACHE_DETAIL_BYTES_MAX: usize = 2_048;
/// Entries of one report of calls to what is not run here; further ones are not looked at.
pub const ALIKE_CALLS_MAX: usize = 64;
/// Breakers that one `TimeReached` changes at most; the timer is due again at once for the others.
pub const BREAKER_TIMERS_MAX: usize = 16;
/// Objectives; further ones are not looked at.
pub const SLO_OBJECTIVES_MAX: usize = 32;
/// Characters of an objective's name.
pub const SLO_NAME_CHARS_MAX: usize = 64;
/// Series that one side of an objective sums up.
pub const SLO_SERIES_MAX: usize = 128;
/// Microseconds of an objective's window: an hour at least, 30 days at most.
pub const SLO_WINDOW_MICROS_MIN: u64 = 3_600 * 1_000_000;
pub const SLO_WINDOW_MICROS_MAX: u64 = 30 * 24 * 3_600 * 1_000_000;
