//! Facts about this process, under the names that Prometheus' own client libraries use.

use std::fs;

use metrics::Gauge;

use crate::supervisor::as_f64;

pub(super) struct HostMetrics {
    page_bytes: u64,
    ticks_per_second: u64,
    boot_seconds: Option<u64>,
    resident: Gauge,
    virtual_memory: Gauge,
    cpu: Gauge,
    threads: Gauge,
    descriptors: Gauge,
    started: Gauge,
}

/// What `/proc/self/stat` says.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl HostMetrics {
    pub(super) fn new() -> Self {
        Self {
            page_bytes: rustix::param::page_size() as u64,
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
            boot_seconds: fs::read_to_string("/proc/stat")
                .ok()
                .as_deref()
                .and_then(boot_seconds),
            resident: metrics::gauge!("process_resident_memory_bytes"),
            virtual_memory: metrics::gauge!("process_virtual_memory_bytes"),
            cpu: metrics::gauge!("process_cpu_seconds_total"),
            threads: metrics::gauge!("process_threads"),
            descriptors: metrics::gauge!("process_open_fds"),
            started: metrics::gauge!("process_start_time_seconds"),
        }
    }

    pub(super) const fn ticks_per_second(&self) -> u64 {
        self.ticks_per_second
    }

    /// Where there is no procfs, nothing is said.
    pub(super) fn sample(&self) {
        let text = fs::read_to_string("/proc/self/stat").ok();
        if let Some(stat) = text.as_deref().and_then(Stat::parse) {
            let ticks = as_f64(self.ticks_per_second);
            self.resident
                .set(as_f64(stat.resident_pages * self.page_bytes));
            self.virtual_memory.set(as_f64(stat.virtual_bytes));
            self.cpu.set(as_f64(stat.cpu_ticks) / ticks);
            self.threads.set(as_f64(stat.threads));
            if let Some(boot) = self.boot_seconds {
                self.started
                    .set(as_f64(boot) + as_f64(stat.start_ticks) / ticks);
            }
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // The directory that is being read is open as well.
            self.descriptors
                .set(as_f64(entries.count().saturating_sub(1) as u64));
        }
    }
}

impl Stat {
    /// The command's name may hold anything, so fields count from the last parenthesis.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

fn boot_seconds(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_the_last_parenthesis() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 5 0 999 4096 17 0";
        let expected = Stat {
            cpu_ticks: 42,
            threads: 5,
            start_ticks: 999,
            virtual_bytes: 4096,
            resident_pages: 17,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
        assert_eq!(
            boot_seconds("cpu 1 2\nbtime 1700000000\n"),
            Some(1_700_000_000)
        );
    }

    #[test]
    fn this_process_can_be_read() {
        let text = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(Stat::parse(&text).unwrap().resident_pages > 0);
    }
}
