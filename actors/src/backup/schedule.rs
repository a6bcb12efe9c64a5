//! When a backup is due, and how long after a failed attempt the next one follows.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hindcast_model::{BackupId, UnixMicros};

const HOUR_MICROS: u64 = 3_600_000_000;
const DAY_MICROS: u64 = 24 * HOUR_MICROS;
const MINUTE_MICROS: u64 = 60_000_000;
/// The first wait after a failed attempt; it doubles.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// When backups are made without being asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Schedule {
    #[default]
    Never,
    /// So many hours after the one before.
    Every { hours: u64 },
    /// At this minute of the day, UTC.
    Daily { minute: u64 },
}

/// The text is no schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a schedule is empty, `every 6h` (1 to 8760 hours) or `daily 03:30` (UTC)")]
pub struct BadSchedule;

impl FromStr for Schedule {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        if text.is_empty() {
            return Ok(Self::Never);
        }
        let (word, rest) = text.split_once(' ').ok_or(BadSchedule)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| BadSchedule);
        match word {
            "every" => {
                let hours = number(rest.strip_suffix('h').ok_or(BadSchedule)?)?;
                let fits = (1..=8_760).contains(&hours);
                fits.then_some(Self::Every { hours }).ok_or(BadSchedule)
            }
            "daily" => {
                let (hour, minute) = rest.split_once(':').ok_or(BadSchedule)?;
                let (hour, minute) = (number(hour)?, number(minute)?);
                let minutes = hour * 60 + minute;
                let fits = hour < 24 && minute < 60;
                let daily = Self::Daily { minute: minutes };
                fits.then_some(daily).ok_or(BadSchedule)
            }
            _ => Err(BadSchedule),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => Ok(()),
            Self::Every { hours } => write!(f, "every {hours}h"),
            Self::Daily { minute } => write!(f, "daily {:02}:{:02}", minute / 60, minute % 60),
        }
    }
}

impl Schedule {
    /// Whether a backup is due, given when the last one was asked for and when the server started.
    pub(crate) const fn is_due(
        self,
        (last, started): (Option<UnixMicros>, UnixMicros),
        now: UnixMicros,
    ) -> bool {
        match (self, last) {
            (Self::Never, _) => false,
            (Self::Every { .. }, None) => true,
            (Self::Every { hours }, Some(last)) => now.since(last) >= hours * HOUR_MICROS,
            (Self::Daily { minute }, last) => {
                let since = match last {
                    Some(last) => last,
                    None => started,
                };
                // The last time that the minute came round.
                let at = minute * MINUTE_MICROS;
                match now.0.checked_sub(at) {
                    Some(past) => past / DAY_MICROS * DAY_MICROS + at > since.0,
                    None => false,
                }
            }
        }
    }
}

/// How long to wait before attempt number `attempt + 1`: doubling up to a limit, and between half
/// and all of that, drawn from the backup's id and the number alone.
pub(crate) fn backoff(backup: BackupId, attempt: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&backup.bytes())
        .update(&attempt.to_le_bytes());
    let byte = hasher.finalize().as_bytes()[0];
    doubled
        .min(BACKOFF_MAX)
        .mul_f64(0.5 + f64::from(byte) / 510.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_read_what_they_write() {
        for text in ["", "every 6h", "daily 03:30", "daily 00:00"] {
            let schedule: Schedule = text.parse().expect("a schedule");
            assert_eq!(schedule.to_string(), text);
        }
        for text in [
            "every 0h",
            "every 6",
            "daily 24:00",
            "daily 3",
            "weekly",
            "every 9999h",
        ] {
            assert_eq!(text.parse::<Schedule>(), Err(BadSchedule), "{text}");
        }
    }

    #[test]
    fn due_by_distance_and_by_the_minute_of_the_day() {
        let at = |hours: u64| UnixMicros(hours * HOUR_MICROS);
        let every = Schedule::Every { hours: 6 };
        assert!(every.is_due((None, at(0)), at(0)));
        assert!(!every.is_due((Some(at(10)), at(0)), at(15)));
        assert!(every.is_due((Some(at(10)), at(0)), at(16)));
        let daily = Schedule::Daily { minute: 3 * 60 };
        assert!(!daily.is_due((None, at(4)), at(26)));
        assert!(daily.is_due((None, at(4)), at(27)));
        assert!(!daily.is_due((Some(at(27)), at(4)), at(50)));
        assert!(daily.is_due((Some(at(27)), at(4)), at(51)));
        assert!(!Schedule::Never.is_due((None, at(0)), at(99)));
    }

    #[test]
    fn waits_double_up_to_a_limit_and_are_a_function_of_id_and_attempt() {
        let id = BackupId::from_bytes([7; 16]);
        for attempt in 1..40 {
            let wait = backoff(id, attempt);
            let whole = BACKOFF_FIRST.saturating_mul(1 << (attempt - 1).min(16));
            let whole = whole.min(BACKOFF_MAX);
            assert!(wait >= whole / 2 && wait <= whole, "{attempt}: {wait:?}");
            assert_eq!(wait, backoff(id, attempt));
        }
        assert_ne!(backoff(id, 3), backoff(BackupId::default(), 3));
    }
}
