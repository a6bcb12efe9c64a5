//! Metrics that follow from others over a while: shares and percentages, under the names that
//! dashboards without recording rules look for. Each is also there as the raw figures that it
//! follows from.

use std::collections::{BTreeMap, VecDeque};

use metrics::{Gauge, gauge};

use super::recorder::Recorder;

/// Microseconds over which shares are taken.
const SHARE_WINDOW_MICROS: u64 = 300_000_000;
/// Microseconds over which the use of processors is taken.
const CPU_WINDOW_MICROS: u64 = 60_000_000;
/// Points of a window.
const POINTS_MAX: u64 = 30;

/// Two counters over a window.
#[derive(Debug)]
struct Window {
    length_micros: u64,
    /// When, and what the counters were.
    points: VecDeque<(u64, [f64; 2])>,
}

impl Window {
    const fn new(length_micros: u64) -> Self {
        Self {
            length_micros,
            points: VecDeque::new(),
        }
    }

    /// How much each has grown since the beginning of the window.
    fn grown(&mut self, now: u64, values: [f64; 2]) -> [f64; 2] {
        let oldest = now.saturating_sub(self.length_micros);
        // The last point at or before the beginning of the window stays.
        while self.points.get(1).is_some_and(|(at, _)| *at <= oldest) {
            self.points.pop_front();
        }
        let (_, first) = *self.points.front().unwrap_or(&(now, values));
        let due = |(at, _): &(u64, _)| now.saturating_sub(*at) >= self.length_micros / POINTS_MAX;
        if self.points.back().is_none_or(due) {
            self.points.push_back((now, values));
        }
        [0, 1].map(|index| values[index] - first[index])
    }
}

struct Cache {
    window: Window,
    ratio: Gauge,
}

/// What is worked out once a second.
pub(super) struct Derived {
    caches: BTreeMap<String, Cache>,
    cpu: Window,
}

impl Derived {
    pub(super) fn new() -> Self {
        Self {
            caches: BTreeMap::new(),
            cpu: Window::new(CPU_WINDOW_MICROS),
        }
    }

    pub(super) fn derive(&mut self, recorder: &Recorder, now: u64) {
        self.caches(recorder, now);
        let cpu = |labels: &[(&str, &str)]| recorder.sum("node_cpu_seconds_total", labels);
        if let (Some(all), Some(idle)) = (cpu(&[]), cpu(&[("mode", "idle")])) {
            let waiting = cpu(&[("mode", "iowait")]).unwrap_or_default();
            let [all, idle] = self.cpu.grown(now, [all, idle + waiting]);
            if all > 0.0 {
                gauge!("cpu_usage_percent").set(100.0 * (1.0 - idle / all));
            }
        }
        let free_of = |free: &str, all: &str| {
            let share = recorder.sum(free, &[])? / recorder.sum(all, &[])?;
            Some(1.0 - share)
        };
        if let Some(used) = free_of(
            "node_memory_MemAvailable_bytes",
            "node_memory_MemTotal_bytes",
        ) {
            gauge!("memory_usage_percent").set(100.0 * used);
        }
        if let Some(used) = free_of("disk_free_bytes", "disk_size_bytes") {
            gauge!("disk_usage_ratio").set(used);
            gauge!("disk_usage_percent").set(100.0 * used);
        }
    }

    /// The share of hits; not a number while a cache was asked for nothing.
    fn caches(&mut self, recorder: &Recorder, now: u64) {
        let mut requests: BTreeMap<String, [f64; 2]> = BTreeMap::new();
        let families = recorder.families();
        let rows = families.get("cache_requests_total");
        for (labels, series) in rows.into_iter().flat_map(|family| family.series()) {
            let value = |wanted: &str| {
                let found = labels.iter().find(|(name, _)| name == wanted);
                found.map(|(_, value)| value.as_str())
            };
            if let (Some(cache), Some(result)) = (value("cache"), value("result")) {
                let [hits, all] = requests.entry(cache.to_owned()).or_default();
                let count = series.cell.value();
                *all += count;
                if result == "hit" {
                    *hits += count;
                }
            }
        }
        drop(families);
        for (name, values) in requests {
            let cache = self.caches.entry(name).or_insert_with_key(|name| Cache {
                window: Window::new(SHARE_WINDOW_MICROS),
                ratio: gauge!("cache_hit_ratio", "cache" => name.clone()),
            });
            let [hits, all] = cache.window.grown(now, values);
            cache.ratio.set(hits / all);
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics::{counter, with_local_recorder};

    use super::*;

    #[test]
    fn a_window_forgets_what_is_older() {
        let mut window = Window::new(300);
        let mut grown = |now: u64, values: [f64; 2]| window.grown(now, values).map(f64::to_bits);
        let bits = |values: [f64; 2]| values.map(f64::to_bits);
        assert_eq!(grown(0, [5.0, 10.0]), bits([0.0, 0.0]));
        assert_eq!(grown(100, [6.0, 20.0]), bits([1.0, 10.0]));
        assert_eq!(grown(300, [9.0, 30.0]), bits([4.0, 20.0]));
        assert_eq!(grown(400, [9.0, 30.0]), bits([3.0, 10.0]));
        assert_eq!(grown(1_000, [9.0, 30.0]), bits([0.0, 0.0]));
        for now in 1_001..3_000 {
            grown(now, [9.0, 30.0]);
        }
        assert!(window.points.len() as u64 <= POINTS_MAX + 2);
    }

    #[test]
    fn shares_follow_from_the_counters() {
        let recorder = Recorder::default();
        with_local_recorder(&recorder, || {
            let mut derived = Derived::new();
            let hits = counter!("cache_requests_total", "cache" => "results", "result" => "hit");
            let misses = counter!("cache_requests_total", "cache" => "results", "result" => "miss");
            derived.derive(&recorder, 0);
            let ratio = || recorder.sum("cache_hit_ratio", &[("cache", "results")]);
            assert!(ratio().is_some_and(f64::is_nan));
            hits.increment(3);
            misses.increment(1);
            gauge!("node_memory_MemTotal_bytes").set(8.0);
            gauge!("node_memory_MemAvailable_bytes").set(2.0);
            gauge!("disk_size_bytes").set(10.0);
            gauge!("disk_free_bytes").set(9.0);
            derived.derive(&recorder, 1_000_000);
            assert_eq!(ratio(), Some(0.75));
            let percent = |name: &str| recorder.sum(name, &[]).map(f64::round);
            assert_eq!(percent("memory_usage_percent"), Some(75.0));
            assert_eq!(percent("disk_usage_percent"), Some(10.0));
        });
    }
}
