//! Threads for work that may take its time: snapshots, scrubs, backups. They yield the processor to
//! those that answer somebody.

use std::io;
use std::thread::JoinHandle;

/// Added to the niceness of such a thread; on Linux it is the thread's own.
const NICER_BY: i32 = 10;

/// Runs `work` on a thread of low priority.
pub fn background<R: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> R + Send + 'static,
) -> io::Result<JoinHandle<R>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // A system that refuses leaves the priority as it is.
            let _refused = rustix::process::nice(NICER_BY);
            work()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The niceness of the calling thread, as the kernel shows it.
    fn niceness() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux");
        let after_name = stat.rsplit(") ").next().expect("fields");
        after_name.split(' ').nth(16).expect("a field").to_owned()
    }

    #[test]
    fn only_the_thread_itself_is_nicer() {
        let before = niceness();
        let thread = background("nice", niceness).expect("a thread");
        let there: i32 = thread.join().expect("ended").parse().expect("a number");
        assert_eq!(niceness(), before);
        let before: i32 = before.parse().expect("a number");
        assert_eq!(there, (before + NICER_BY).min(19));
    }
}
