//! Facts about the machine and about the container that this process is in, under the names of
//! Prometheus' own exporters, so that queries written for them are answered without one. They are
//! read from procfs and from the second version of control groups; where there is none, nothing is
//! said.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use metrics::{Gauge, gauge};

use crate::supervisor::as_f64;

/// Processors with series of their own; the first ones stand for further ones.
const PROCESSORS_MAX: usize = 64;
/// What `/proc/stat` counts for each processor, in its order.
const MODES: [&str; 8] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
];
/// Network interfaces with series of their own; further ones are left out.
const INTERFACES_MAX: usize = 32;
const GROUPS: &str = "/sys/fs/cgroup";

pub(super) struct NodeMetrics {
    ticks_per_second: f64,
    /// By processor; grows when one is seen for the first time.
    processors: Vec<[Gauge; MODES.len()]>,
    /// The control group of this process, when it is limited or measured.
    group: Option<PathBuf>,
}

impl NodeMetrics {
    pub(super) fn new(ticks_per_second: u64) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let group = group_of(&own, Path::new(GROUPS));
        Self {
            ticks_per_second: as_f64(ticks_per_second),
            processors: Vec::new(),
            group: group.filter(|group| group.join("memory.current").exists()),
        }
    }

    /// Everything but the processors' times.
    pub(super) fn sample(&self) {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        if let Some(bytes) = kib(&memory, "MemTotal:") {
            gauge!("node_memory_MemTotal_bytes").set(as_f64(bytes));
        }
        if let Some(bytes) = kib(&memory, "MemAvailable:") {
            gauge!("node_memory_MemAvailable_bytes").set(as_f64(bytes));
        }
        let network = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
        let interfaces = interfaces(&network);
        let total = |of: fn(&(u64, u64)) -> u64| as_f64(interfaces.values().map(of).sum());
        if !interfaces.is_empty() {
            gauge!("network_io_bytes", "direction" => "receive").set(total(|found| found.0));
            gauge!("network_io_bytes", "direction" => "transmit").set(total(|found| found.1));
        }
        if let Some(group) = self.group.clone() {
            container(&group, &interfaces);
        }
    }

    /// The processors' times, which are read together with those of the process: they are compared.
    pub(super) fn processors(&mut self) {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        for (number, ticks) in processors(&text).into_iter().enumerate() {
            if self.processors.len() == number {
                let cpu = number.to_string();
                self.processors.push(MODES.map(
                    |mode| gauge!("node_cpu_seconds_total", "cpu" => cpu.clone(), "mode" => mode),
                ));
            }
            for (gauge, ticks) in self.processors[number].iter().zip(ticks) {
                gauge.set(as_f64(ticks) / self.ticks_per_second);
            }
        }
    }
}

fn container(group: &Path, interfaces: &BTreeMap<String, (u64, u64)>) {
    let number = |file: &str| {
        let text = fs::read_to_string(group.join(file)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    if let Some(bytes) = number("memory.current") {
        gauge!("container_memory_usage_bytes").set(as_f64(bytes));
    }
    // Without a limit it says "max".
    if let Some(bytes) = number("memory.max") {
        gauge!("container_spec_memory_limit_bytes").set(as_f64(bytes));
    }
    let cpu = fs::read_to_string(group.join("cpu.stat")).unwrap_or_default();
    if let Some(micros) = field(&cpu, "usage_usec") {
        gauge!("container_cpu_usage_seconds_total").set(as_f64(micros) / 1e6);
    }
    for (interface, (received, sent)) in interfaces.iter().take(INTERFACES_MAX) {
        let set = |name: &'static str, bytes: u64| {
            gauge!(name, "interface" => interface.clone()).set(as_f64(bytes));
        };
        set("container_network_receive_bytes_total", *received);
        set("container_network_transmit_bytes_total", *sent);
    }
}

/// Where the control group is, by what `/proc/self/cgroup` says; none under the first version.
fn group_of(own: &str, groups: &Path) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(groups.join(path.trim_start_matches('/')))
}

/// Ticks by processor and mode.
fn processors(stat: &str) -> Vec<[u64; MODES.len()]> {
    let lines = stat.lines().filter(|line| {
        let number = line.strip_prefix("cpu");
        number.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    let ticks = lines.map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        MODES.map(|_| {
            fields
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        })
    });
    ticks.take(PROCESSORS_MAX).collect()
}

/// Bytes received and sent, by interface, but for the loopback.
fn interfaces(text: &str) -> BTreeMap<String, (u64, u64)> {
    let lines = text.lines().filter_map(|line| {
        let (name, figures) = line.split_once(':')?;
        let figures: Vec<&str> = figures.split_ascii_whitespace().collect();
        let figure = |index: usize| figures.get(index)?.parse::<u64>().ok();
        Some((name.trim().to_owned(), (figure(0)?, figure(8)?)))
    });
    lines.filter(|(name, _)| name != "lo").collect()
}

/// A field that counts in KiB, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    field(text, name).map(|kib| kib << 10)
}

/// The number after a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let mut found = lines.filter_map(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
    found.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\ncpu1 1 0 0 9\nintr 5\n";
        assert_eq!(
            processors(stat),
            [[1, 2, 3, 4, 5, 6, 7, 8], [1, 0, 0, 9, 0, 0, 0, 0]]
        );
        let memory = "MemTotal:       16 kB\nMemFree: 3 kB\nMemAvailable:  5 kB\n";
        assert_eq!(kib(memory, "MemTotal:"), Some(16 << 10));
        assert_eq!(kib(memory, "MemAvailable:"), Some(5 << 10));
        let network = "Inter-|   Receive |  Transmit\n face |bytes packets\n    \
                       lo: 7 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n  \
                       eth0: 10 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n";
        let expected = BTreeMap::from([("eth0".to_owned(), (10, 20))]);
        assert_eq!(interfaces(network), expected);
        assert_eq!(field("nr_x 1\nusage_usec 77\n", "usage_usec"), Some(77));
    }

    #[test]
    fn the_group_is_that_of_the_second_version() {
        let groups = Path::new("/g");
        let second = group_of("0::/a/b\n", groups);
        assert_eq!(second, Some(PathBuf::from("/g/a/b")));
        assert_eq!(group_of("12:cpu:/a\n", groups), None);
    }
}
