//! Where the processor's time goes: stacks of all threads, taken a hundred times for each second of
//! processor time while somebody asks. Between such times nothing of this runs.

mod flamegraph;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Samples for each second of processor time; not a divisor of what timers usually tick at.
const SAMPLES_PER_SECOND: i32 = 99;
/// How often it is looked whether anybody still waits.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Distinct stacks that are told; rarer ones are summed.
const STACKS_MAX: usize = 10_000;

/// Why there is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoProfile {
    #[error("a profile is being taken")]
    Busy,
    #[error("nobody waits for the profile any more")]
    Gone,
    #[error("the profiler: {0}")]
    Failed(String),
}

/// Stacks, outermost function first, and how often each was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    stacks: BTreeMap<Vec<String>, u64>,
    seconds: u64,
}

/// One profile at a time: there is one timer in a process.
static BUSY: AtomicBool = AtomicBool::new(false);

struct Turn;

impl Turn {
    fn take() -> Option<Self> {
        (!BUSY.swap(true, Ordering::AcqRel)).then_some(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        BUSY.store(false, Ordering::Release);
    }
}

impl Profile {
    /// Samples for so many seconds, on this thread, unless nobody waits any more.
    ///
    /// # Errors
    /// Another profile is being taken, or the system does not allow it.
    pub fn take(seconds: u64, gone: &AtomicBool) -> Result<Self, NoProfile> {
        let _turn = Turn::take().ok_or(NoProfile::Busy)?;
        let failed = |error: pprof::Error| NoProfile::Failed(error.to_string());
        let guard = pprof::ProfilerGuardBuilder::default()
            .frequency(SAMPLES_PER_SECOND)
            // A stack that is taken while one of these is unwound may never come to its end.
            .blocklist(&["libc", "libgcc", "pthread", "vdso"])
            .build()
            .map_err(failed)?;
        let (_open, never) = sync_channel::<()>(1);
        let looks = seconds * 1_000 / u64::try_from(LOOK_EVERY.as_millis()).unwrap_or(1);
        for _ in 0..looks {
            if gone.load(Ordering::Acquire) {
                return Err(NoProfile::Gone);
            }
            if never.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
        let report = guard.report().build().map_err(failed)?;
        drop(guard);
        // The names came out of the debug information of the whole program, which is kept in memory
        // when nobody says that it is not needed any more.
        backtrace::clear_symbol_cache();
        let mut stacks: BTreeMap<Vec<String>, u64> = BTreeMap::new();
        #[expect(clippy::iter_over_hash_type, reason = "what is made of it is sorted")]
        for (frames, count) in &report.data {
            let functions = frames.frames.iter().rev().flat_map(|frame| {
                // Inlined functions of a frame come innermost first.
                frame.iter().rev().map(pprof::Symbol::name)
            });
            let mut stack = vec![thread(&frames.thread_name)];
            stack.extend(functions);
            *stacks.entry(stack).or_default() += u64::try_from(*count).unwrap_or(0);
        }
        Ok(Self { stacks, seconds }.bounded())
    }

    /// Sums the rarest stacks when there are too many.
    fn bounded(mut self) -> Self {
        if self.stacks.len() > STACKS_MAX {
            let mut counts: Vec<u64> = self.stacks.values().copied().collect();
            counts.sort_unstable_by(|a, b| b.cmp(a));
            let least = counts[STACKS_MAX];
            let before = self.samples();
            self.stacks.retain(|_, count| *count > least);
            let rest = before - self.samples();
            self.stacks.insert(vec!["rarer stacks".to_owned()], rest);
        }
        self
    }

    /// Stacks that were taken.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.stacks.values().sum()
    }

    /// One line for each stack: functions between semicolons, and how often it was met.
    #[must_use]
    pub fn folded(&self) -> String {
        let mut out = String::new();
        for (stack, count) in &self.stacks {
            let names = stack.iter().map(|name| name.replace([';', '\n'], ":"));
            let line = names.collect::<Vec<_>>().join(";");
            let _ = writeln!(out, "{line} {count}");
        }
        out
    }

    /// A flame graph as SVG.
    #[must_use]
    pub fn svg(&self) -> String {
        flamegraph::draw(&self.stacks, self.seconds)
    }
}

/// A thread's name without its number, so that equal threads lie together.
fn thread(name: &str) -> String {
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-' || c == ':');
    if name.is_empty() { "thread" } else { name }.to_owned()
}
