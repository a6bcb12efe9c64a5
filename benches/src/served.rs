//! The program as a server in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A server that ends with the value.
pub struct Served {
    child: Child,
    /// Such as `http://127.0.0.1:34567`.
    pub url: String,
}

impl Served {
    /// The program beside this one over a data directory, ready.
    ///
    /// # Panics
    /// It does not start: `cargo build --release` first.
    #[must_use]
    pub fn start(data_dir: &Path) -> Self {
        let own = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(own.with_file_name("hindcast"));
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(data_dir);
        Self::run(command, 1)
    }

    /// Any program that says on its first line where it listens; `more` lines are waited for then.
    ///
    /// # Panics
    /// It does not start, or says something else.
    #[must_use]
    pub fn run(mut command: Command, more: usize) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let out = child.stdout.take().expect("piped");
        let mut lines = BufReader::new(out).lines().map_while(Result::ok);
        let first = lines.next().expect("it says where it listens");
        lines.by_ref().take(more).for_each(drop);
        std::thread::spawn(move || lines.for_each(drop));
        let line: Value = serde_json::from_str(&first).expect("JSON");
        let told = line["starting"].as_str().or(line["listening"].as_str());
        let url = told.expect("an address").to_owned();
        Self { child, url }
    }

    /// Host and port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// A field of its `/proc` status that is told in KiB, such as `VmRSS:`, in MiB.
    #[must_use]
    pub fn status_mib(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        (kib.unwrap_or(0.0) / 1_024.0).round()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
