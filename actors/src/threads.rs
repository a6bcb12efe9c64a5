//! What every thread of the process does at this moment, as the system tells it in
//! `/proc/self/task` (proc(5)): evidence for when one of them stands still.

use std::fmt::Write;
use std::fs;
use std::path::Path;

/// A line for each thread: id, name, state, where in the kernel it waits, its system call, and
/// its CPU time. Empty where the system does not say.
#[must_use]
pub fn table() -> String {
    let mut lines = String::from("thread name state waits_in system_call cpu_ticks\n");
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return String::new();
    };
    for task in tasks.flatten() {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // A thread that has ended since is left out.
        let Some(thread) = Thread::read(&stat) else {
            continue;
        };
        let wait = word(&task.path(), "wchan").filter(|wait| wait != "0");
        let call = word(&task.path(), "syscall");
        let _ = writeln!(
            lines,
            "{} {} {} {} {} {}",
            task.file_name().display(),
            thread.name,
            thread.state,
            wait.as_deref().unwrap_or("-"),
            call.as_deref().unwrap_or("-"),
            thread.ticks,
        );
    }
    lines
}

fn word(task: &Path, file: &str) -> Option<String> {
    let text = fs::read_to_string(task.join(file)).ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

#[derive(Debug, PartialEq, Eq)]
struct Thread<'a> {
    name: &'a str,
    /// R runs, S sleeps, D waits for a disk.
    state: &'a str,
    /// Clock ticks on a CPU, in the process and in the kernel.
    ticks: u64,
}

impl<'a> Thread<'a> {
    /// Reads a line of `stat`, whose name may hold blanks and brackets.
    fn read(stat: &'a str) -> Option<Self> {
        let (open, close) = (stat.find('(')?, stat.rfind(')')?);
        let mut fields = stat.get(close + 1..)?.split_whitespace();
        let state = fields.next()?;
        let user: u64 = fields.nth(10)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        Some(Self {
            name: stat.get(open + 1..close)?,
            state,
            ticks: user + system,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_system_are_read() {
        let stat = "77 (a) b (c) S 1 77 77 0 -1 4194304 9 0 0 0 12 3 0 0 20 0 4 0 100 0 0";
        let thread = Thread {
            name: "a) b (c",
            state: "S",
            ticks: 15,
        };
        assert_eq!(Thread::read(stat), Some(thread));
        assert_eq!(Thread::read("77 (cut"), None);
    }

    #[test]
    fn a_sleeping_thread_stands_in_the_table() {
        let (wake, sleeps) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("sleeper".to_owned())
            .spawn(move || sleeps.recv())
            .unwrap();
        let asleep = || table().lines().any(|line| line.contains(" sleeper S "));
        while !asleep() {
            std::thread::yield_now();
        }
        drop(wake);
        assert!(thread.join().unwrap().is_err());
    }
}
