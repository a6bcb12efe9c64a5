//! What lies at the top of the repository, and how long its two first documents may be.

use std::collections::BTreeSet;

use super::{Finding, Tree};

const FOLDERS: &[&str] = &[
    "src",
    "actors",
    "events",
    "snapshots",
    "config",
    "tests",
    "chaos",
    "benches",
    "docs",
    "docker",
    "labs",
    "web",
    "xtask",
    ".ci",
    ".cargo",
    ".config",
    ".github",
];

const FILES: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "NOTICE",
    "clippy.toml",
    "rustfmt.toml",
    "deny.toml",
    "rust-toolchain.toml",
    "build.rs",
    ".gitignore",
    ".gitattributes",
    ".dockerignore",
    ".editorconfig",
];

/// The longest a document may be, in lines.
const DOCUMENTS: &[(&str, usize)] = &[("README.md", 149), ("docs/architecture.md", 399)];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut unknown = BTreeSet::new();
    for path in tree.paths() {
        match path.split_once('/') {
            Some((folder, _)) if !FOLDERS.contains(&folder) => unknown.insert(folder),
            None if !FILES.contains(&path) => unknown.insert(path),
            _ => false,
        };
    }
    for name in unknown {
        findings.push(Finding::new(
            name,
            "is not on the map: put it where it belongs",
        ));
    }
    for (path, lines_max) in DOCUMENTS {
        let lines = tree.text(path).map_or(0, |text| text.lines().count());
        if lines > *lines_max {
            findings.push(Finding::new(
                *path,
                format!("{lines} lines, at most {lines_max}"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;

    #[test]
    fn known_places_pass() {
        let tree = Tree::of(&[("src/main.rs", ""), (".ci/run", ""), ("Cargo.toml", "")]);
        assert_eq!(check(&tree), []);
    }

    #[test]
    fn a_new_folder_or_report_at_the_top_fails_once() {
        let tree = Tree::of(&[
            ("scripts/a.sh", ""),
            ("scripts/b.sh", ""),
            ("SUMMARY.md", ""),
        ]);
        assert_eq!(check(&tree).len(), 2);
    }

    #[test]
    fn a_long_document_fails() {
        let readme = "line\n".repeat(150);
        let findings = check(&Tree::of(&[("README.md", &readme)]));
        assert!(messages(&findings).contains("150 lines"));
        assert_eq!(check(&Tree::of(&[("README.md", &readme[5..])])), []);
    }
}
