//! Just enough of Rust's grammar to tell code from comments and strings, and to find where
//! functions and test modules begin and end. It does not parse; rustfmt has already run.

/// The text with comments, strings and characters blanked out; every newline stays in place.
pub(super) fn code_only(text: &str) -> String {
    let source: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < source.len() {
        let end = blank_until(&source, at);
        if end == at {
            code.push(source[at]);
            at += 1;
        } else {
            code.extend(
                source[at..end]
                    .iter()
                    .map(|c| if *c == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        }
    }
    code
}

/// Blanks every `#[cfg(test)] mod name { .. }`.
pub(super) fn without_test_modules(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut rest = code;
    let mut kept = String::with_capacity(code.len());
    while let Some(found) = rest.find(MARK) {
        let after = &rest[found + MARK.len()..];
        let is_module = after.trim_start().starts_with("mod ")
            || after.trim_start().starts_with("pub(crate) mod ");
        let body = after
            .find(['{', ';'])
            .filter(|at| after.as_bytes()[*at] == b'{');
        let length = match body {
            Some(open) if is_module => MARK.len() + block_end(after, open),
            _ => {
                kept.push_str(&rest[..found + MARK.len()]);
                rest = after;
                continue;
            }
        };
        kept.push_str(&rest[..found]);
        kept.extend(rest[found..found + length].chars().filter(|c| *c == '\n'));
        rest = &rest[found + length..];
    }
    kept.push_str(rest);
    kept
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// Counted from 1.
    pub(super) line: usize,
    /// From the line with `fn` to the line with the closing brace.
    pub(super) lines: usize,
}

/// Every function with a body, in order; `code` is free of comments and strings.
pub(super) fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = !code[..at].chars().next_back().is_some_and(is_word);
        let rest = &code[at + 3..];
        let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        if let Some(open) = body_start(rest) {
            let end = block_end(rest, open);
            found.push(Function {
                name,
                line: newlines(&code[..at]) + 1,
                lines: newlines(&rest[..end]) + 1,
            });
        }
    }
    found
}

pub(super) fn contains_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        !code[..at].chars().next_back().is_some_and(is_word)
            && !code[at + word.len()..].chars().next().is_some_and(is_word)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}

/// The end of the comment, string or character that starts here; `at` itself if none does.
fn blank_until(source: &[char], at: usize) -> usize {
    let next = |ahead: usize| source.get(at + ahead).copied().unwrap_or('\0');
    let inside_word = at > 0 && is_word(source[at - 1]);
    match source[at] {
        '/' if next(1) == '/' => position(source, at, |c| c == '\n').unwrap_or(source.len()),
        '/' if next(1) == '*' => comment_end(source, at),
        '"' => string_end(source, at + 1),
        'b' | 'c' if next(1) == '"' && !inside_word => string_end(source, at + 2),
        'b' | 'c' if next(1) == 'r' && !inside_word => raw_end(source, at + 2).unwrap_or(at),
        'r' if !inside_word => raw_end(source, at + 1).unwrap_or(at),
        '\'' if next(1) == '\\' => {
            position(source, at + 3, |c| c == '\'').map_or(source.len(), |end| end + 1)
        }
        '\'' if next(2) == '\'' => at + 3,
        _ => at,
    }
}

fn position(source: &[char], from: usize, is_end: impl Fn(char) -> bool) -> Option<usize> {
    (from..source.len()).find(|at| is_end(source[*at]))
}

fn comment_end(source: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at + 1 < source.len() {
        match (source[at], source[at + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    source.len()
}

fn string_end(source: &[char], start: usize) -> usize {
    let mut at = start;
    while at < source.len() {
        match source[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    source.len()
}

/// `start` is behind the `r`: hashes, then a quote, or it is no raw string.
fn raw_end(source: &[char], start: usize) -> Option<usize> {
    let open = position(source, start, |c| c != '#')?;
    if source[open] != '"' {
        return None;
    }
    let hashes = open - start;
    let closes = |at: usize| {
        source[at] == '"' && (1..=hashes).all(|ahead| source.get(at + ahead) == Some(&'#'))
    };
    (open + 1..source.len())
        .find(|at| closes(*at))
        .map(|at| at + hashes + 1)
}

/// The opening brace of a body; `None` for a declaration that ends with a semicolon.
fn body_start(signature: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, c) in signature.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Behind the brace that closes the one at `open`.
fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return open + at + 1;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_not_code() {
        let text =
            "a(\"x { \\\" y\"); // todo\nb /* { /* } */ */ c r#\"raw \" {\"# 'l' '\\'' &'a d";
        let code = code_only(text);
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(words, ["a(", ");", "b", "c", "&'a", "d"]);
        assert_eq!(code.chars().count(), text.chars().count());
    }

    #[test]
    fn multi_line_strings_keep_their_lines() {
        assert_eq!(newlines(&code_only("x(\"one\ntwo\nthree\");\n")), 3);
    }

    #[test]
    fn functions_are_measured_with_signature_and_brace() {
        let code = "struct S;\nfn one(a: [u8; 2]) -> u8 {\n    a\n}\ntrait T { fn none(&self); }\n";
        let expected = Function {
            name: "one".into(),
            line: 2,
            lines: 3,
        };
        assert_eq!(functions(code), [expected]);
    }

    #[test]
    fn function_pointers_are_not_functions() {
        assert!(functions("type F = fn (u8) -> u8; let x = impl_fn {};").is_empty());
    }

    #[test]
    fn modules_of_tests_vanish_and_lines_stay() {
        let code = "a\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let kept = without_test_modules(code);
        assert!(!kept.contains("fn b"));
        assert_eq!(functions(&kept)[0].line, 6);
    }

    #[test]
    fn cfg_test_on_other_items_stays() {
        let code = "#[cfg(test)]\nfn helper() { }\n#[cfg(test)]\nmod tests;\nfn c() {}\n";
        assert_eq!(without_test_modules(code), code);
    }

    #[test]
    fn words_are_whole() {
        assert!(contains_word("a.port()", "port"));
        assert!(!contains_word("a.report_port2", "port"));
    }
}
