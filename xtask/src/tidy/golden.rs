//! Every golden file of a persisted format is named by a test, so that none rots unread.

use super::{Finding, Tree};

const FOLDER: &str = "events/log/tests/golden/";
const READERS: &str = "events/log/";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let readers: Vec<&str> = tree
        .rust_files()
        .filter(|(path, _)| path.starts_with(READERS))
        .map(|(_, text)| text)
        .collect();
    let is_read = |name: &str| readers.iter().any(|text| text.contains(name));
    tree.paths()
        .filter_map(|path| Some((path, path.strip_prefix(FOLDER)?)))
        .filter(|(_, name)| !is_read(name.rsplit('/').next().unwrap_or(name)))
        .map(|(path, _)| Finding::new(path, "no test in events/log names this golden file"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: (&str, &str) = (
        "events/log/tests/golden.rs",
        "include_bytes!(\"golden/format_1_run.bin\")",
    );

    #[test]
    fn a_golden_file_that_is_read_passes() {
        let tree = Tree::of(&[("events/log/tests/golden/format_1_run.bin", ""), TEST]);
        assert_eq!(check(&tree), []);
    }

    #[test]
    fn a_golden_file_nobody_reads_fails() {
        let tree = Tree::of(&[("events/log/tests/golden/format_2_run.bin", ""), TEST]);
        assert_eq!(check(&tree).len(), 1);
    }
}
