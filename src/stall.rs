//! Whether the log still answers. A disk that hangs fails nothing: what was submitted waits, and
//! nobody is told. Pure: the caller says what time it is.

use hindcast_log::Stats;

/// Microseconds without an answer while submissions wait, from which on the log is stalled.
const STALLED_MICROS: u64 = 2_000_000;

/// What is known of its answers.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    answered: u64,
    /// When it last answered or had nothing to answer.
    since: u64,
    stalled: bool,
}

/// What a look at the log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Answers,
    /// For so many microseconds; `is_news` when it was not so at the look before.
    Stalled {
        micros: u64,
        is_news: bool,
    },
}

impl Stall {
    /// Looks at the log, about once a second.
    pub(crate) fn look(&mut self, stats: &Stats, now_micros: u64) -> Found {
        if stats.unanswered == 0 || stats.answered != self.answered {
            (self.answered, self.since, self.stalled) = (stats.answered, now_micros, false);
            return Found::Answers;
        }
        let micros = now_micros.saturating_sub(self.since);
        if micros < STALLED_MICROS {
            return Found::Answers;
        }
        let is_news = !std::mem::replace(&mut self.stalled, true);
        Found::Stalled { micros, is_news }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(unanswered: usize, answered: u64) -> Stats {
        Stats {
            unanswered,
            answered,
            ..Stats::default()
        }
    }

    #[test]
    fn it_is_stalled_when_something_waits_and_nothing_is_answered() {
        let mut stall = Stall::default();
        let second = 1_000_000;
        assert_eq!(stall.look(&stats(0, 7), 10 * second), Found::Answers);
        assert_eq!(stall.look(&stats(3, 7), 11 * second), Found::Answers);
        let stalled = |micros, is_news| Found::Stalled { micros, is_news };
        assert_eq!(
            stall.look(&stats(3, 7), 12 * second),
            stalled(2 * second, true)
        );
        assert_eq!(
            stall.look(&stats(4, 7), 13 * second),
            stalled(3 * second, false)
        );
        // Slow is not stalled.
        assert_eq!(stall.look(&stats(4, 8), 14 * second), Found::Answers);
        assert_eq!(stall.look(&stats(4, 8), 15 * second), Found::Answers);
        assert_eq!(
            stall.look(&stats(4, 8), 16 * second),
            stalled(2 * second, true)
        );
    }

    #[test]
    fn a_log_without_work_is_well() {
        let mut stall = Stall::default();
        for second in 0..100 {
            assert_eq!(stall.look(&stats(0, 1), second * 1_000_000), Found::Answers);
        }
    }
}
