//! Length: a function aims at 70 lines, a file at 500 without its tests. What is longer is
//! listed with its size in `xtask/ratchet.toml` and may only shrink; what is done leaves the list.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Finding, Tree, is_test_file, lexer};

pub(super) const FILE: &str = "xtask/ratchet.toml";
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 500;
const HEADER: &str = "\
# What was longer than the rules allow when it was listed, in lines. Entries may only shrink:
# `cargo xtask tidy --update` lowers them and drops those that are done. A function is
# \"path::name\", and the second of that name in the file is \"path::name#2\".
";

type Sizes = BTreeMap<String, usize>;

/// Everything over its limit: files, functions.
struct TooLong {
    files: Sizes,
    functions: Sizes,
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let measured = measure(tree);
    match listed(tree) {
        Ok(listed) => {
            let mut findings = compare("files", &measured.files, &listed.files);
            findings.extend(compare("functions", &measured.functions, &listed.functions));
            findings
        }
        Err(error) => vec![Finding::new(FILE, error.to_string())],
    }
}

/// The text of the ratchet with every entry at its measured size; never a new entry.
pub(super) fn lowered(tree: &Tree) -> anyhow::Result<String> {
    let (measured, listed) = (measure(tree), listed(tree)?);
    let mut text = HEADER.to_owned();
    for (table, measured, listed) in [
        ("files", &measured.files, &listed.files),
        ("functions", &measured.functions, &listed.functions),
    ] {
        write!(text, "\n[{table}]\n")?;
        for (item, allowed) in listed {
            if let Some(lines) = measured.get(item) {
                writeln!(text, "\"{item}\" = {}", lines.min(allowed))?;
            }
        }
    }
    Ok(text)
}

fn compare(table: &str, measured: &Sizes, listed: &Sizes) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (item, lines) in measured {
        match listed.get(item) {
            None => findings.push(Finding::new(
                item,
                format!("{lines} lines are too long: split it (see {FILE}, [{table}])"),
            )),
            Some(allowed) if lines > allowed => findings.push(Finding::new(
                item,
                format!("grew from {allowed} to {lines} lines; a listed one may only shrink"),
            )),
            Some(_) => {}
        }
    }
    for item in listed.keys().filter(|item| !measured.contains_key(*item)) {
        let message = "is short enough or gone: run `cargo xtask tidy --update`";
        findings.push(Finding::new(format!("{FILE}: {item}"), message));
    }
    findings
}

fn measure(tree: &Tree) -> TooLong {
    let mut found = TooLong {
        files: Sizes::new(),
        functions: Sizes::new(),
    };
    for (path, text) in tree.rust_files().filter(|(path, _)| !is_test_file(path)) {
        let code = lexer::code_only(text);
        let kept = lexer::without_test_modules(&code);
        // A test module ends its file, so its lines are those behind the last line kept.
        let lines = text.lines().count() - test_lines(&code, &kept);
        if lines > FILE_LINES_MAX {
            found.files.insert(path.to_owned(), lines);
        }
        let mut seen = BTreeMap::new();
        for function in lexer::functions(&kept) {
            let count = seen
                .entry(function.name.clone())
                .and_modify(|n| *n += 1)
                .or_insert(1);
            let suffix = if *count > 1 {
                format!("#{count}")
            } else {
                String::new()
            };
            if function.lines > FUNCTION_LINES_MAX {
                let item = format!("{path}::{}{suffix}", function.name);
                found.functions.insert(item, function.lines);
            }
        }
    }
    found
}

/// Lines that hold something in `code` and nothing in `kept`, with the blank ones between them.
fn test_lines(code: &str, kept: &str) -> usize {
    let mut total = 0;
    let mut blank = 0;
    let mut inside = false;
    for (code, kept) in code.lines().zip(kept.lines()) {
        if code == kept && code.trim().is_empty() {
            blank += 1;
        } else {
            let removed = code != kept;
            total += usize::from(removed);
            if inside && removed {
                total += blank;
            }
            inside = removed;
            blank = 0;
        }
    }
    total
}

fn listed(tree: &Tree) -> anyhow::Result<TooLong> {
    let table: toml::Table = tree.text(FILE).unwrap_or_default().parse()?;
    let sizes = |name: &str| -> anyhow::Result<Sizes> {
        let Some(value) = table.get(name) else {
            return Ok(Sizes::new());
        };
        Ok(value.clone().try_into()?)
    };
    Ok(TooLong {
        files: sizes("files")?,
        functions: sizes("functions")?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;

    fn function_of(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn seventy_lines_pass_and_one_more_fails() {
        assert_eq!(check(&Tree::of(&[("src/a.rs", &function_of(70))])), []);
        let findings = check(&Tree::of(&[("src/a.rs", &function_of(71))]));
        assert!(messages(&findings).contains("src/a.rs::long: 71 lines"));
    }

    #[test]
    fn a_long_file_fails_and_its_tests_do_not_count() {
        let code = "const A: u8 = 0;\n".repeat(500);
        let tests = "#[cfg(test)]\nmod tests {\n    // why\n\n    const B: u8 = 0;\n}\n";
        assert_eq!(
            check(&Tree::of(&[("src/a.rs", &format!("{code}{tests}"))])),
            []
        );
        let longer = format!("{code}const C: u8 = 0;\n{tests}");
        let findings = check(&Tree::of(&[("src/a.rs", &longer)]));
        assert!(
            messages(&findings).contains("src/a.rs: 501 lines"),
            "{}",
            messages(&findings)
        );
    }

    #[test]
    fn files_of_tests_may_be_long() {
        assert_eq!(check(&Tree::of(&[("tests/it/a.rs", &function_of(90))])), []);
    }

    #[test]
    fn a_listed_function_may_shrink_but_not_grow() {
        let list = "[functions]\n\"src/a.rs::long\" = 80\n";
        let with = |lines| Tree::of(&[("src/a.rs", &function_of(lines)), (FILE, list)]);
        assert_eq!(check(&with(80)), []);
        assert_eq!(check(&with(75)), []);
        assert!(messages(&check(&with(81))).contains("grew from 80 to 81"));
    }

    #[test]
    fn a_stale_entry_fails() {
        let list = "[functions]\n\"src/a.rs::long\" = 80\n[files]\n\"src/gone.rs\" = 900\n";
        let tree = Tree::of(&[("src/a.rs", &function_of(60)), (FILE, list)]);
        assert_eq!(check(&tree).len(), 2);
    }

    #[test]
    fn update_lowers_drops_and_never_adds() {
        let list = "[functions]\n\"src/a.rs::long\" = 80\n\"src/b.rs::long\" = 90\n";
        let tree = Tree::of(&[
            ("src/a.rs", &function_of(75)),
            ("src/b.rs", &function_of(10)),
            ("src/c.rs", &function_of(99)),
            (FILE, list),
        ]);
        let text = lowered(&tree).expect("the list parses");
        assert!(text.contains("\"src/a.rs::long\" = 75"));
        assert!(!text.contains("src/b.rs") && !text.contains("src/c.rs"));
    }

    #[test]
    fn a_list_that_does_not_parse_fails() {
        assert_eq!(check(&Tree::of(&[(FILE, "files = 3")])).len(), 1);
    }
}
