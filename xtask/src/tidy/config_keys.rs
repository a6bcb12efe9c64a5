//! Every key of `config/default.toml` is explained beside it, is a field of the typed
//! configuration, and that field is read by something. The check is textual: a field that shares
//! its name with an unrelated one passes.

use super::{Finding, Tree, is_test_file, lexer};

const FILE: &str = "config/default.toml";
const TYPES: &str = "src/config.rs";
const TYPES_FOLDER: &str = "src/config/";
/// Where a component may define its own `Options`, and where a key may be read.
const READERS: &[&str] = &["src/", "actors/", "snapshots/", "events/log/"];

struct Source {
    is_config: bool,
    code: String,
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.text(FILE) else {
        return Vec::new();
    };
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return vec![Finding::new(FILE, error.to_string())],
    };
    let sources: Vec<Source> = tree
        .rust_files()
        .filter(|(path, _)| READERS.iter().any(|reader| path.starts_with(reader)))
        .filter(|(path, _)| !is_test_file(path))
        .map(|(path, text)| Source {
            is_config: path == TYPES || path.starts_with(TYPES_FOLDER),
            code: lexer::without_test_modules(&lexer::code_only(text)),
        })
        .collect();
    let mut findings = undocumented(text);
    for key in keys(&table) {
        let field = key.rsplit('.').next().unwrap_or(&key);
        if !sources.iter().any(|source| declares(source, field)) {
            findings.push(Finding::new(
                FILE,
                format!("{key}: no field {field} in {TYPES}"),
            ));
        } else if !sources.iter().any(|source| reads(source, field)) {
            findings.push(Finding::new(
                FILE,
                format!("{key}: nothing reads the field {field}"),
            ));
        }
    }
    findings
}

fn declares(source: &Source, field: &str) -> bool {
    let may_declare = source.is_config || lexer::contains_word(&source.code, "Options");
    may_declare && lexer::contains_word(&source.code, &format!("{field}:"))
}

/// `options.field` anywhere, or a pattern that takes it out of its struct.
fn reads(source: &Source, field: &str) -> bool {
    let code = &source.code;
    let access = format!(".{field}");
    let is_end = |at: usize| {
        !code[at + access.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
    };
    let accessed = code.match_indices(&access).any(|(at, _)| is_end(at));
    let taken = || {
        let pattern = |end: &str| lexer::contains_word(code, &format!("{field}{end}"));
        pattern(",") || pattern(" }")
    };
    // The configuration's own file checks and prints values, which is not using them.
    !source.is_config && (accessed || taken())
}

/// Dotted names of all values; tables and arrays of tables are walked into.
fn keys(table: &toml::Table) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in table {
        let items = value.as_array().into_iter().flatten();
        let inner: Vec<&toml::Table> = value
            .as_table()
            .into_iter()
            .chain(items.filter_map(toml::Value::as_table))
            .collect();
        if inner.is_empty() {
            found.push(name.clone());
        }
        for table in inner {
            found.extend(keys(table).into_iter().map(|key| format!("{name}.{key}")));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// A key is explained by the comment directly above it or behind it on its line.
fn undocumented(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut after_comment = false;
    let mut open_brackets = 0_i32;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let starts_key = open_brackets == 0
            && line.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '"')
            && line.contains('=');
        if starts_key && !after_comment && !line.contains(" # ") {
            let key = line.split('=').next().unwrap_or(line).trim();
            findings.push(Finding::at(
                FILE,
                number + 1,
                format!("{key}: say what it does"),
            ));
        }
        let is_comment = line.starts_with('#');
        if !is_comment {
            open_brackets += delta(line);
        }
        after_comment = is_comment;
    }
    findings
}

fn delta(line: &str) -> i32 {
    let value = line.split_once('=').map_or(line, |(_, value)| value);
    let is_header = line.starts_with('[') && !line.contains('=');
    value
        .chars()
        .filter(|_| !is_header)
        .fold(0, |depth, c| match c {
            '[' => depth + 1,
            ']' => depth - 1,
            _ => depth,
        })
}

#[cfg(test)]
mod tests {
    use super::super::messages;
    use super::*;

    const CONFIG: &str =
        "# Where to listen.\nlisten = \"x\"\n\n[log]\n# Bytes of a segment.\nsegment_bytes = 1\n";
    const TYPED: &str = "pub struct Config { pub listen: String, pub log: LogOptions }\n\
                         pub struct LogOptions { pub segment_bytes: u64 }";
    const USED: &str = "fn run(c: &Config) { bind(&c.listen); open(c.log.segment_bytes) }";

    fn found(config: &str, typed: &str, used: &str) -> String {
        let files = [(FILE, config), (TYPES, typed), ("src/startup.rs", used)];
        messages(&check(&Tree::of(&files)))
    }

    #[test]
    fn keys_that_are_typed_read_and_explained_pass() {
        assert_eq!(found(CONFIG, TYPED, USED), "");
        assert_eq!(check(&Tree::of(&[])), []);
    }

    #[test]
    fn a_key_without_a_field_fails() {
        let typed = TYPED.replace("segment_bytes", "segment_size_bytes");
        assert!(found(CONFIG, &typed, USED).contains("log.segment_bytes: no field"));
    }

    #[test]
    fn a_key_nobody_reads_fails() {
        let used = USED.replace("segment_bytes", "segment_bytes_max");
        assert!(found(CONFIG, TYPED, &used).contains("log.segment_bytes: nothing reads"));
        let only_in_config = format!("{TYPED} fn check(c: &Config) {{ c.log.segment_bytes > 0 }}");
        assert!(found(CONFIG, &only_in_config, &used).contains("nothing reads"));
    }

    #[test]
    fn a_key_without_a_comment_fails() {
        let config = CONFIG.replace("# Bytes of a segment.\n", "");
        assert!(found(&config, TYPED, USED).contains("config/default.toml:5: segment_bytes"));
    }

    #[test]
    fn values_over_several_lines_need_one_comment() {
        let text = "# Names.\nnames = [\n  \"a = 1\",\n  \"b\",\n]\n";
        assert_eq!(undocumented(text), []);
    }

    #[test]
    fn a_file_that_does_not_parse_fails() {
        assert_eq!(check(&Tree::of(&[(FILE, "= 1")])).len(), 1);
    }
}
