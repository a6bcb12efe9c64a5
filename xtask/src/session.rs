//! Where the workspace is, where tools are kept, and how a child process is started.
//!
//! Tools live outside `target/`, so that `cargo clean` and a second clone do not cost an
//! installation; each is kept under its version, so that two branches may want two versions.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

pub(crate) struct Session {
    pub(crate) root: PathBuf,
    pub(crate) tools: PathBuf,
    pub(crate) in_ci: bool,
}

impl Session {
    pub(crate) fn open() -> anyhow::Result<Session> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask has no parent folder")?
            .to_path_buf();
        Ok(Session {
            root,
            tools: tools_dir()?,
            in_ci: std::env::var_os("CI").is_some(),
        })
    }

    /// A command in the workspace root that sees the installed tools first.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env("PATH", self.search_path());
        if self.in_ci {
            // A fresh clone is built once: incremental state would only cost disk and time.
            command.env("CARGO_INCREMENTAL", "0");
        }
        command
    }

    /// Runs to the end with our own output; anything but success is an error.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        finish(self.command(program).args(arguments))
    }

    /// Runs cargo. In CI the lock file is law: a stale one fails instead of being rewritten.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("cargo");
        let split = arguments
            .iter()
            .position(|word| *word == "--")
            .unwrap_or(arguments.len());
        command.args(&arguments[..split]);
        if self.in_ci {
            command.arg("--locked");
        }
        command.args(&arguments[split..]);
        command
    }

    /// What a command prints; its errors go to our own standard error.
    pub(crate) fn output(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self
            .command(program)
            .args(arguments)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {program}"))?;
        ensure!(
            output.status.success(),
            "{program} {} failed",
            arguments.join(" ")
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The executable a child would find under this name.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        let paths = self.search_path();
        std::env::split_paths(&paths)
            .map(|dir| dir.join(program))
            .find(|path| path.is_file())
    }

    fn search_path(&self) -> OsString {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let installed = installed_bin_dirs(&self.tools);
        let all = installed
            .into_iter()
            .chain(std::env::split_paths(&inherited));
        std::env::join_paths(all).unwrap_or(inherited)
    }
}

/// Runs to the end with our own output; anything but success is an error.
pub(crate) fn finish(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if status.success() {
        return Ok(());
    }
    let words: Vec<_> = command
        .get_args()
        .map(|word| word.to_string_lossy())
        .collect();
    bail!(
        "{} {}: {status}",
        command.get_program().display(),
        words.join(" ")
    )
}

fn tools_dir() -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(dir) = variable("HINDCAST_TOOLS") {
        return Ok(PathBuf::from(dir));
    }
    if let Some(cache) = variable("XDG_CACHE_HOME") {
        return Ok(Path::new(&cache).join("hindcast-tools"));
    }
    let home = variable("HOME").context("neither HINDCAST_TOOLS nor HOME is set")?;
    Ok(Path::new(&home).join(".cache/hindcast-tools"))
}

/// `TOOL-VERSION/bin` (cargo, Python) and where unpacked Debian packages have programs.
fn installed_bin_dirs(tools: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(tools) else {
        return Vec::new();
    };
    let mut dirs: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|dir| dir.join(crate::tools::COMPLETE).is_file())
        .flat_map(|dir| {
            ["bin", "usr/bin", "usr/sbin", "usr/lib/openssh"].map(|below| dir.join(below))
        })
        .filter(|dir| dir.is_dir())
        .collect();
    // Newest version first, whatever order the file system lists them in.
    dirs.sort();
    dirs.reverse();
    dirs
}
