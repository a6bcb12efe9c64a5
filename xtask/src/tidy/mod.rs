//! The rules no compiler knows: who may depend on whom, how long things may grow, which words
//! and names are not used here, and that configuration, golden files and modules are all in use.
//!
//! Every rule is a function from the tree (paths and texts, read once) to findings, and has
//! tests that show it failing.

mod config_keys;
mod edges;
mod golden;
mod layout;
mod lexer;
mod modules;
mod ratchet;
mod words;

use std::collections::BTreeMap;

use anyhow::{Context, bail};

use crate::session::Session;

/// Every file git tracks or would track, with its text; binary files have none.
#[derive(Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, Option<String>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    place: String,
    message: String,
}

impl Finding {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding {
            place: place.into(),
            message: message.into(),
        }
    }

    fn at(path: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding::new(format!("{path}:{line}"), message)
    }
}

pub(crate) fn run(session: &Session) -> anyhow::Result<()> {
    let tree = Tree::read(session)?;
    let mut findings = edges::check(&edges::from_cargo(session)?);
    for rule in [
        layout::check,
        words::check,
        modules::check,
        ratchet::check,
        config_keys::check,
        golden::check,
    ] {
        findings.extend(rule(&tree));
    }
    for finding in &findings {
        eprintln!("{}: {}", finding.place, finding.message);
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("tidy found {count} problems"),
    }
}

/// Lowers every entry of the ratchet to what is measured and drops those that are done.
pub(crate) fn update(session: &Session) -> anyhow::Result<()> {
    let tree = Tree::read(session)?;
    let lowered = ratchet::lowered(&tree)?;
    std::fs::write(session.root.join(ratchet::FILE), lowered)?;
    run(session)
}

impl Tree {
    fn read(session: &Session) -> anyhow::Result<Tree> {
        let list = [
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ];
        let paths = session
            .output("git", &list)
            .context("tidy needs the git work tree")?;
        let mut tree = Tree::default();
        for path in paths.split('\0').filter(|path| !path.is_empty()) {
            // A file that is deleted but still in the index is as good as gone.
            if let Ok(bytes) = std::fs::read(session.root.join(path)) {
                tree.files
                    .insert(path.to_owned(), String::from_utf8(bytes).ok());
            }
        }
        Ok(tree)
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    fn rust_files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter(|(path, _)| path.ends_with(".rs"))
            .filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Tree {
        let entry = |(path, text): &(&str, &str)| ((*path).to_owned(), Some((*text).to_owned()));
        Tree {
            files: files.iter().map(entry).collect(),
        }
    }
}

/// Files that hold only tests: they may be long and need no module comment.
fn is_test_file(path: &str) -> bool {
    path.split('/')
        .any(|part| part == "tests" || part == "tests.rs")
}

#[cfg(test)]
fn messages(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|f| format!("{}: {}\n", f.place, f.message))
        .collect()
}
