//! What the disk and the requests will be like in some months, if they grow as they did or as is
//! commonly assumed.

use serde::Serialize;
use utoipa::ToSchema;

use super::resource::FULL_SHARE;

/// Growth of traffic that is assumed when the history is too short to tell.
pub const TRAFFIC_PERCENT_A_MONTH: f64 = 20.0;
/// Days in a month, in the mean.
const MONTH_DAYS: f64 = 30.44;
/// Days of history before a growth of its own is worked out: two whole months.
const OWN_GROWTH_DAYS: f64 = 60.88;
/// Days of history before anything is forecast.
const HISTORY_DAYS_MIN: f64 = 1.0;
/// Months that are forecast.
const MONTHS: [u32; 4] = [1, 3, 6, 12];
/// Days within which the end of the disk is looked for.
const DAYS_MAX: u32 = 3_653;
/// A growth that is worked out lies between these, in percent a month.
const OWN_GROWTH_PERCENT: (f64, f64) = (-50.0, 200.0);

/// What the log says of the past.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct History {
    /// From its oldest event to now.
    pub days: f64,
    /// Events that are kept.
    pub events: u64,
    /// Of the last day, and of the last seven, or of the whole if it is shorter.
    pub events_last_day: u64,
    pub events_last_week: u64,
    /// Of the last month and of the one before; none when it is shorter.
    pub events_by_month: Option<(u64, u64)>,
    /// That one takes on the disk.
    pub bytes_per_event: f64,
}

/// One month ahead.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Month {
    pub months: u32,
    pub events_per_day: f64,
    pub disk_used_bytes: f64,
    /// Of the disk; over 1 when it does not fit.
    pub disk_share: f64,
}

/// What will be.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Forecast {
    /// Days from the oldest event that is kept to now.
    pub history_days: f64,
    /// Why there is no forecast; null when there is one.
    pub not_enough_history: Option<String>,
    pub events_last_day: u64,
    /// In the mean of the last week; null as long as there is no day of history.
    pub events_per_day: Option<f64>,
    pub bytes_per_event: f64,
    /// Growth of the events in a day, in percent a month.
    pub growth_percent_a_month: f64,
    /// `assumed`, or `measured` over the last two months.
    pub growth_is: &'static str,
    pub months: Vec<Month>,
    /// Days until 80 % of the disk are used; null when that is more than ten years.
    pub days_to_80_percent: Option<u32>,
    pub notes: Vec<&'static str>,
}

/// Forecasts from the history and what the disk holds: used and total bytes.
#[must_use]
pub fn forecast(history: &History, disk: Option<(u64, u64)>) -> Forecast {
    let week = history.days.min(7.0);
    let enough = history.days >= HISTORY_DAYS_MIN && history.events > 0;
    let per_day = match enough {
        true => history.events_last_week as f64 / week,
        false => 0.0,
    };
    let bytes_per_event = history.bytes_per_event;
    let own = history
        .events_by_month
        .filter(|(_, before)| history.days >= OWN_GROWTH_DAYS && *before > 0);
    let (growth, growth_is) = match own {
        Some((last, before)) => {
            let percent = (last as f64 / before as f64 - 1.0) * 100.0;
            let (least, most) = OWN_GROWTH_PERCENT;
            (percent.clamp(least, most), "measured")
        }
        None => (TRAFFIC_PERCENT_A_MONTH, "assumed"),
    };
    let a_day = (1.0 + growth / 100.0).powf(1.0 / MONTH_DAYS);
    let (mut months, mut full) = (Vec::new(), None);
    if let (true, Some((used, total))) = (enough, disk.filter(|(_, total)| *total > 0)) {
        let (mut bytes, mut events) = (used as f64, per_day);
        for day in 0..=DAYS_MAX {
            let share = bytes / total as f64;
            if full.is_none() && share >= FULL_SHARE {
                full = Some(day);
            }
            let ends =
                |months: &&u32| (f64::from(**months) * MONTH_DAYS - f64::from(day)).abs() < 0.5;
            if let Some(number) = MONTHS.iter().find(ends) {
                months.push(Month {
                    months: *number,
                    events_per_day: events.round(),
                    disk_used_bytes: bytes.round(),
                    disk_share: (share * 10_000.0).round() / 10_000.0,
                });
            }
            bytes += events * bytes_per_event;
            events *= a_day;
        }
    }
    Forecast {
        history_days: (history.days * 100.0).round() / 100.0,
        not_enough_history: (!enough).then(|| {
            format!(
                "the log tells of {:.1} hours; a forecast needs a day",
                history.days * 24.0
            )
        }),
        events_last_day: history.events_last_day,
        events_per_day: enough.then(|| per_day.round()),
        bytes_per_event: bytes_per_event.round(),
        growth_percent_a_month: (growth * 10.0).round() / 10.0,
        growth_is,
        months,
        days_to_80_percent: full,
        notes: vec![
            "memory is not forecast: it is bounded by the caches and limits of the configuration, and does \
             not grow with the log",
            "retention and what else fills the disk are not foreseen",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn history(days: f64) -> History {
        History {
            days,
            events: 1_000_000,
            events_last_day: 10_000,
            events_last_week: 70_000,
            events_by_month: None,
            bytes_per_event: 500.0,
        }
    }

    #[test]
    fn without_a_day_of_history_nothing_is_foreseen() {
        let found = forecast(&history(0.5), Some((GIB, 10 * GIB)));
        assert!(
            found
                .not_enough_history
                .as_ref()
                .expect("why")
                .contains("12.0 hours")
        );
        assert_eq!((found.months.len(), found.days_to_80_percent), (0, None));
        assert_eq!(
            (found.events_per_day, found.events_last_day),
            (None, 10_000)
        );
        let empty = History {
            events: 0,
            ..history(30.0)
        };
        assert!(forecast(&empty, None).not_enough_history.is_some());
    }

    #[test]
    fn growth_is_assumed_until_two_months_have_passed() {
        let found = forecast(&history(30.0), Some((GIB, 10 * GIB)));
        assert_eq!(
            (found.growth_is, found.events_per_day),
            ("assumed", Some(10_000.0))
        );
        let numbers: Vec<u32> = found.months.iter().map(|month| month.months).collect();
        assert_eq!(numbers, MONTHS);
        let year = &found.months[3];
        let wanted = 10_000.0 * 1.2_f64.powi(12);
        assert!(
            (year.events_per_day / wanted - 1.0).abs() < 0.01,
            "{year:?}"
        );
        // 5 MB a day, more by a fifth each month: the sum of a geometric series.
        let daily = 1.2_f64.powf(1.0 / MONTH_DAYS);
        let sum = 5e6 * (daily.powi(365) - 1.0) / (daily - 1.0);
        let bytes = year.disk_used_bytes - GIB as f64;
        assert!((bytes / sum - 1.0).abs() < 0.01, "{bytes} {sum}");
        let grown = History {
            events_by_month: Some((110, 100)),
            ..history(61.0)
        };
        let found = forecast(&grown, Some((GIB, 10 * GIB)));
        assert_eq!(found.growth_is, "measured");
        assert!((found.growth_percent_a_month - 10.0).abs() < 1e-9);
    }

    #[test]
    fn the_day_on_which_the_disk_is_nearly_full_is_found() {
        let found = forecast(&history(30.0), Some((8 * GIB, 10 * GIB)));
        assert_eq!(found.days_to_80_percent, Some(0));
        let nearly = 8 * GIB - 11_000_000;
        let found = forecast(&history(30.0), Some((nearly, 10 * GIB)));
        assert_eq!(found.days_to_80_percent, Some(3));
        let idle = History {
            events_last_week: 0,
            ..history(30.0)
        };
        let found = forecast(&idle, Some((GIB, 10 * GIB)));
        assert_eq!(found.days_to_80_percent, None);
    }
}
