//! Every source file is part of a crate. The compiler does not report a file that no `mod` names:
//! it is never compiled, so it never fails.

use super::{Finding, Tree, lexer};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.paths()
        .filter(|path| path.ends_with(".rs"))
        .filter_map(|p| orphan(tree, p))
        .collect()
}

fn orphan(tree: &Tree, path: &str) -> Option<Finding> {
    let (folder, file) = path.rsplit_once('/')?;
    let stem = file.strip_suffix(".rs")?;
    let (holder, module) = match stem {
        "lib" | "main" | "build" => return None,
        "mod" => folder.rsplit_once('/')?,
        _ => (folder, stem),
    };
    // Cargo finds these by their place: programs, test and bench targets.
    let by_place = ["bin", "tests", "benches", "examples"];
    if holder
        .rsplit('/')
        .next()
        .is_some_and(|last| by_place.contains(&last))
    {
        return None;
    }
    let own = holder
        .rsplit_once('/')
        .map(|(up, name)| format!("{up}/{name}.rs"));
    let parents = ["lib.rs", "main.rs", "mod.rs"].map(|name| format!("{holder}/{name}"));
    let declaration = format!("mod {module}");
    let is_named = parents
        .iter()
        .chain(own.iter())
        .filter_map(|parent| tree.text(parent))
        .any(|text| lexer::contains_word(&lexer::code_only(text), &declaration));
    (!is_named).then(|| Finding::new(path, format!("no `{declaration}` names this file")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_modules_and_targets_pass() {
        let tree = Tree::of(&[
            ("src/lib.rs", "pub mod clock;\nmod http;\n"),
            ("src/clock.rs", ""),
            ("src/http/mod.rs", "mod routes;"),
            ("src/http/routes.rs", "mod health;"),
            ("src/http/routes/health.rs", ""),
            ("benches/src/bin/append.rs", ""),
            ("events/model/tests/admission.rs", ""),
            ("tests/it/main.rs", "mod runs;"),
            ("tests/it/runs.rs", ""),
        ]);
        assert_eq!(check(&tree), []);
    }

    #[test]
    fn a_file_nobody_names_fails() {
        let tree = Tree::of(&[
            ("src/lib.rs", "// mod clock;\nmod clocks;\n"),
            ("src/clock.rs", ""),
            ("src/clocks.rs", ""),
            ("tests/it/main.rs", ""),
            ("tests/it/runs.rs", ""),
        ]);
        let places: Vec<String> = check(&tree).into_iter().map(|found| found.place).collect();
        assert_eq!(places, ["src/clock.rs", "tests/it/runs.rs"]);
    }
}
