//! `cargo xtask bench NAME`: builds one benchmark in release and prints its one JSON line.
//!
//! A benchmark is a plain program in `benches/src/bin/`; it says on standard output exactly one
//! JSON object and may say anything on standard error. What the numbers mean is its own affair.

use std::process::Stdio;

use anyhow::{Context, bail, ensure};

use crate::session::Session;
use crate::tools::{self, WhenMissing};

const PROGRAMS: &str = "benches/src/bin";

pub(crate) fn list(session: &Session) -> anyhow::Result<()> {
    for name in names(session)? {
        println!("{name}");
    }
    Ok(())
}

pub(crate) fn run(session: &Session, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let known = names(session)?;
    if !known.iter().any(|candidate| candidate == name) {
        bail!("no benchmark {name}; there are: {}", known.join(", "));
    }
    tools::ensure(session, tools::FOR_BENCHES, WhenMissing::Install)?;
    let cargo = [
        "run",
        "--release",
        "--quiet",
        "--package",
        "hindcast-benches",
        "--bin",
        name,
    ];
    let output = session
        .cargo(&cargo)
        .arg("--")
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    let text = String::from_utf8(output.stdout).context("the benchmark printed no UTF-8")?;
    print!("{text}");
    ensure!(
        output.status.success(),
        "benchmark {name}: {}",
        output.status
    );
    ensure!(
        is_one_json_object(&text),
        "benchmark {name} must print exactly one JSON object"
    );
    Ok(())
}

fn names(session: &Session) -> anyhow::Result<Vec<String>> {
    let folder = session.root.join(PROGRAMS);
    let entries = std::fs::read_dir(&folder).with_context(|| format!("no folder {PROGRAMS}"))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_program = path.is_dir() || path.extension().is_some_and(|end| end == "rs");
        if let Some(stem) = path.file_stem().filter(|_| is_program) {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn is_one_json_object(text: &str) -> bool {
    let mut lines = text.lines();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return false;
    };
    serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.is_object())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_on_one_line_is_a_result() {
        assert!(is_one_json_object("{\"events_per_second\": 1}\n"));
    }

    #[test]
    fn prose_two_lines_and_bare_numbers_are_not() {
        assert!(!is_one_json_object(""));
        assert!(!is_one_json_object("fast\n"));
        assert!(!is_one_json_object("3\n"));
        assert!(!is_one_json_object("{}\n{}\n"));
    }
}
