//! Words and names that are not used here: unfinished code, silenced lints, characters outside
//! ASCII, and file names that say nothing about the domain. Every module says what it is for.

use super::{Finding, Tree, is_test_file, lexer};

/// Split in two, so that this file passes its own rule.
const UNFINISHED: &[&str] = &[concat!("FIX", "ME"), concat!("XX", "X:")];

const CODE: &[(&str, &str)] = &[
    ("todo!", "finish it or leave it out"),
    ("unimplemented!", "finish it or leave it out"),
    ("dbg!", "log a field or delete it"),
    (
        "#[allow(",
        "use #[expect(.., reason = \"..\")], which reports itself when stale",
    ),
    (
        "#![allow(",
        "use #![expect(.., reason = \"..\")], which reports itself when stale",
    ),
];

const NAME_STARTS: &[&str] = &["advanced_", "enhanced_", "final_", "improved_"];
const NAME_ENDS: &[&str] = &["_v2", "_final", "_old", "_manager"];
const NAMES: &[&str] = &[
    "utils", "util", "common", "helpers", "helper", "manager", "misc",
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = tree.paths().filter_map(name).collect();
    for (path, text) in tree.rust_files() {
        findings.extend(characters(path, text));
        findings.extend(code(path, text));
        if !is_test_file(path) && !text.starts_with("//!") {
            findings.push(Finding::at(
                path,
                1,
                "open with `//!`: what it is for, and not for",
            ));
        }
    }
    findings
}

fn name(path: &str) -> Option<Finding> {
    let is_vague = |part: &str| {
        let stem = part.split('.').next().unwrap_or(part);
        NAMES.contains(&stem)
            || NAME_STARTS.iter().any(|start| stem.starts_with(start))
            || NAME_ENDS.iter().any(|end| stem.ends_with(end))
    };
    path.split('/')
        .any(is_vague)
        .then(|| Finding::new(path, "name it after what it holds in the domain"))
}

fn characters(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if !line.is_ascii() {
            findings.push(Finding::at(
                path,
                number + 1,
                "Rust files are ASCII; write an escape",
            ));
        }
        if UNFINISHED.iter().any(|word| line.contains(word)) {
            findings.push(Finding::at(
                path,
                number + 1,
                "no notes to self: do it or file it",
            ));
        }
    }
    findings
}

fn code(path: &str, text: &str) -> Vec<Finding> {
    let code = lexer::code_only(text);
    let mut findings = Vec::new();
    for (number, line) in code.lines().enumerate() {
        for (word, instead) in CODE {
            if line.contains(word) {
                let message = format!("no `{word}`: {instead}");
                findings.push(Finding::at(path, number + 1, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;

    fn found(path: &str, text: &str) -> String {
        messages(&check(&Tree::of(&[(path, text)])))
    }

    #[test]
    fn a_good_file_passes() {
        assert_eq!(
            found(
                "src/clock.rs",
                "//! Reads the clock.\nfn a() { \"todo!\"; }\n"
            ),
            ""
        );
    }

    #[test]
    fn unfinished_code_fails() {
        for bad in [
            "todo!()",
            "unimplemented!()",
            "dbg!(a)",
            "#[allow(dead_code)]",
        ] {
            assert!(
                found("src/a.rs", &format!("//! A.\n{bad}\n")).contains("src/a.rs:2"),
                "{bad}"
            );
        }
        assert!(found("src/a.rs", &format!("//! A.\n// {}\n", UNFINISHED[0])).contains(":2"));
    }

    #[test]
    fn other_characters_fail_in_tests_too() {
        assert!(found("tests/it/a.rs", "// caf\u{e9}\n").contains("ASCII"));
    }

    #[test]
    fn a_module_without_its_purpose_fails() {
        assert!(found("src/a.rs", "fn a() {}\n").contains("open with"));
        assert_eq!(found("tests/it/a.rs", "fn a() {}\n"), "");
    }

    #[test]
    fn names_that_say_nothing_fail() {
        for bad in [
            "src/utils.rs",
            "src/common/mod.rs",
            "src/store_v2.rs",
            "docs/final_report.md",
        ] {
            assert!(found(bad, "//! A.\n").contains("domain"), "{bad}");
        }
    }
}
