//! Moments as text.

use hindcast_model::UnixMicros;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const MICROS: u64 = 1_000_000;
const DAY_SECONDS: u64 = 86_400;

/// RFC 3339 in UTC with microseconds, such as `2026-11-22T13:52:46.000001Z`.
#[must_use]
pub fn rfc3339(at: UnixMicros) -> String {
    let (seconds, micros) = (at.0 / MICROS, at.0 % MICROS);
    let (days, second) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// The moment that a text in RFC 3339 names, with any offset; none when it names none since 1970.
#[must_use]
pub fn moment(text: &str) -> Option<UnixMicros> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let micros = at.unix_timestamp_nanos().div_euclid(1_000);
    u64::try_from(micros).ok().map(UnixMicros)
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar. Years
/// begin in March here, so that the leap day is the last.
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_followed_and_what_is_no_moment_is_refused() {
        let at = Some(UnixMicros(951_782_400 * MICROS));
        assert_eq!(moment("2000-02-29T02:00:00+02:00"), at);
        assert_eq!(moment("2000-02-29t00:00:00.0000009z"), at);
        for text in [
            "",
            "yesterday",
            "2000-02-30T00:00:00Z",
            "2000-02-29",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000007Z"),
        ] {
            assert_eq!(rfc3339(UnixMicros(seconds * MICROS + 7)), text);
            assert_eq!(moment(text), Some(UnixMicros(seconds * MICROS + 7)));
        }
    }
}
