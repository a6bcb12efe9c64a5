//! Reads GML (Himsolt 1997) as networkx and DoWhy write it: `graph [ directed 1 node [ id 0 label
//! "x" ] edge [ source 0 target 1 ] ]`. A node is called by its label, or by its id if it has
//! none. `type` of an edge is one of the kinds of a discovery result; `observed "no"` or
//! `latent 1` marks a latent node. Every other key is passed over.

use std::collections::BTreeMap;

use super::build::GraphLimits;
use super::input::EdgeType;
use super::lexer::{Position, Scanner, wrong, wrong_with_hint};
use super::sketch::{Role, Sketch};
use crate::LabError;
use crate::control::Control;

/// Lists inside lists; deeper is refused.
const NESTING_MAX: usize = 32;

/// A token: what is not a bracket is a key, a number or a string.
#[derive(Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Word(String),
    Text(String),
    End,
}

struct Reader<'a> {
    scanner: Scanner<'a>,
    ahead: Option<(Token, Position)>,
}

/// A value that is not a list.
struct Value {
    text: String,
    at: Position,
}

#[derive(Default)]
struct NodeEntry {
    id: Option<Value>,
    label: Option<Value>,
    is_latent: bool,
}

#[derive(Default)]
struct EdgeEntry {
    source: Option<Value>,
    target: Option<Value>,
    kind: Option<Value>,
    label: Option<String>,
}

pub(crate) fn read<'a>(
    text: &str,
    limits: &GraphLimits,
    control: &'a dyn Control,
) -> Result<Sketch<'a>, LabError> {
    let mut reader = Reader {
        scanner: Scanner::new(text),
        ahead: None,
    };
    loop {
        let (key, at) = reader.key("a key such as 'graph'")?;
        let Some(key) = key else {
            return Err(wrong(at, "there is no 'graph [ .. ]'"));
        };
        if key == "graph" {
            break;
        }
        reader.skip_value()?;
    }
    let mut sketch = Sketch::new(*limits, control);
    reader.graph(&mut sketch)?;
    while let (Some(key), at) = reader.key("a key")? {
        if key == "graph" {
            return Err(wrong(at, "there is more than one graph"));
        }
        reader.skip_value()?;
    }
    Ok(sketch)
}

impl Reader<'_> {
    fn token(&mut self) -> Result<(Token, Position), LabError> {
        if let Some(token) = self.ahead.take() {
            return Ok(token);
        }
        loop {
            let at = self.scanner.at;
            let Some(letter) = self.scanner.next() else {
                return Ok((Token::End, at));
            };
            return Ok(match letter {
                '[' => (Token::Open, at),
                ']' => (Token::Close, at),
                '#' => {
                    self.scanner.skip_line();
                    continue;
                }
                '"' => (Token::Text(self.string(at)?), at),
                letter if letter.is_whitespace() || letter == '\u{feff}' => continue,
                letter => {
                    let mut word = String::from(letter);
                    while let Some(next) = self.scanner.peek().filter(|&next| {
                        !next.is_whitespace() && !matches!(next, '[' | ']' | '"' | '#')
                    }) {
                        word.push(next);
                        self.scanner.next();
                    }
                    (Token::Word(word), at)
                }
            });
        }
    }

    fn string(&mut self, start: Position) -> Result<String, LabError> {
        let mut text = String::new();
        while let Some(found) = self.scanner.next() {
            if found == '"' {
                return Ok(unescaped(&text));
            }
            text.push(found);
        }
        Err(wrong(start, "this string has no end"))
    }

    /// The next key in lower case; `None` at the end of the list or the text.
    fn key(&mut self, wanted: &str) -> Result<(Option<String>, Position), LabError> {
        match self.token()? {
            (Token::Word(word), at) => Ok((Some(word.to_lowercase()), at)),
            (Token::End, at) => Ok((None, at)),
            (Token::Open | Token::Close | Token::Text(_), at) => {
                Err(wrong(at, format!("expected {wanted}")))
            }
        }
    }

    fn value(&mut self, key: &str) -> Result<Value, LabError> {
        match self.token()? {
            (Token::Word(text) | Token::Text(text), at) => Ok(Value { text, at }),
            (Token::Open | Token::Close | Token::End, at) => {
                Err(wrong(at, format!("expected a value of '{key}'")))
            }
        }
    }

    fn skip_value(&mut self) -> Result<(), LabError> {
        let mut depth = 0_usize;
        loop {
            match self.token()? {
                (Token::Open, at) => {
                    depth += 1;
                    if depth > NESTING_MAX {
                        let message = format!("lists are nested deeper than {NESTING_MAX}");
                        return Err(wrong(at, message));
                    }
                }
                (Token::Close, at) => {
                    depth = depth
                        .checked_sub(1)
                        .ok_or_else(|| wrong(at, "expected a value"))?;
                }
                (Token::Word(_) | Token::Text(_), _) => {}
                (Token::End, at) => return Err(wrong(at, "the text ends inside a list")),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// `[`, then each key of the list in turn for `entry`.
    fn list(
        &mut self,
        name: &str,
        mut entry: impl FnMut(&mut Self, &str, Position) -> Result<(), LabError>,
    ) -> Result<(), LabError> {
        let (open, start) = self.token()?;
        if open != Token::Open {
            return Err(wrong(start, format!("expected '[' after '{name}'")));
        }
        loop {
            match self.token()? {
                (Token::Close, _) => return Ok(()),
                (Token::Word(key), at) => entry(self, &key.to_lowercase(), at)?,
                (Token::End, _) => return Err(wrong(start, "this '[' has no ']'")),
                (Token::Open | Token::Text(_), at) => return Err(wrong(at, "expected a key")),
            }
        }
    }

    fn graph(&mut self, sketch: &mut Sketch<'_>) -> Result<(), LabError> {
        let mut is_directed = false;
        let mut nodes = BTreeMap::new();
        let mut edges = Vec::new();
        self.list("graph", |reader, key, at| match key {
            "directed" => {
                let value = reader.value(key)?;
                is_directed = value.text == "1";
                Ok(())
            }
            "node" => {
                let entry = reader.node()?;
                add_node(sketch, &mut nodes, entry, at)
            }
            "edge" => {
                edges.push((reader.edge()?, at));
                if edges.len() > sketch.limits().edges_max {
                    let (actual, limit) = (edges.len(), sketch.limits().edges_max);
                    return Err(super::build::over_limit("graph.edges", actual, limit));
                }
                Ok(())
            }
            _ => reader.skip_value(),
        })?;
        for (edge, at) in edges {
            add_edge(sketch, &nodes, edge, (is_directed, at))?;
        }
        Ok(())
    }

    fn node(&mut self) -> Result<NodeEntry, LabError> {
        let mut entry = NodeEntry::default();
        self.list("node", |reader, key, _| {
            match key {
                "id" => entry.id = Some(reader.value(key)?),
                "label" => entry.label = Some(reader.value(key)?),
                "observed" => {
                    let value = reader.value(key)?.text;
                    entry.is_latent |= matches!(value.as_str(), "no" | "0" | "false");
                }
                "latent" => {
                    let value = reader.value(key)?.text;
                    entry.is_latent |= matches!(value.as_str(), "yes" | "1" | "true");
                }
                _ => reader.skip_value()?,
            }
            Ok(())
        })?;
        Ok(entry)
    }

    fn edge(&mut self) -> Result<EdgeEntry, LabError> {
        let mut entry = EdgeEntry::default();
        self.list("edge", |reader, key, _| {
            match key {
                "source" => entry.source = Some(reader.value(key)?),
                "target" => entry.target = Some(reader.value(key)?),
                "type" => entry.kind = Some(reader.value(key)?),
                "label" => entry.label = Some(reader.value(key)?.text),
                _ => reader.skip_value()?,
            }
            Ok(())
        })?;
        Ok(entry)
    }
}

fn add_node(
    sketch: &mut Sketch<'_>,
    nodes: &mut BTreeMap<String, usize>,
    entry: NodeEntry,
    at: Position,
) -> Result<(), LabError> {
    let name = entry.label.as_ref().or(entry.id.as_ref());
    let Some(name) = name else {
        return Err(wrong(at, "a node needs an 'id'"));
    };
    let node = sketch.fresh_node(&name.text, name.at)?;
    if entry.is_latent {
        sketch.mark(node, Role::Latent, at)?;
    }
    let id = entry.id.as_ref().unwrap_or(name);
    if nodes.insert(id.text.clone(), node).is_some() {
        return Err(wrong(id.at, format!("the id '{}' is given twice", id.text)));
    }
    Ok(())
}

fn add_edge(
    sketch: &mut Sketch<'_>,
    nodes: &BTreeMap<String, usize>,
    entry: EdgeEntry,
    (is_directed, at): (bool, Position),
) -> Result<(), LabError> {
    let end = |value: Option<Value>, key: &str| {
        let value = value.ok_or_else(|| wrong(at, format!("an edge needs a '{key}'")))?;
        nodes
            .get(&value.text)
            .copied()
            .ok_or_else(|| wrong(value.at, format!("no node has the id '{}'", value.text)))
    };
    let ends = (end(entry.source, "source")?, end(entry.target, "target")?);
    let kind = match entry.kind.as_ref().map(|kind| kind.text.as_str()) {
        Some("directed") => EdgeType::Directed,
        Some("undirected") => EdgeType::Undirected,
        Some("bidirected") => EdgeType::Bidirected,
        Some("partially_directed") => EdgeType::PartiallyDirected,
        Some("nondirected") => EdgeType::Nondirected,
        Some(_) => {
            let at = entry.kind.as_ref().map_or(at, |kind| kind.at);
            return Err(wrong_with_hint(
                at,
                "unknown type of edge",
                "one of directed, bidirected, undirected, partially_directed and nondirected",
            ));
        }
        None if is_directed => EdgeType::Directed,
        None => EdgeType::Undirected,
    };
    sketch.edge(ends, kind, at, entry.label)
}

/// GML is ASCII: other letters are character entities.
fn unescaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        result.push_str(&rest[..start]);
        rest = &rest[start..];
        let entity = rest.find(';').map(|end| (&rest[1..end], &rest[end + 1..]));
        let letter = entity.and_then(|(name, _)| entity_letter(name));
        match (letter, entity) {
            (Some(letter), Some((_, after))) => {
                result.push(letter);
                rest = after;
            }
            _ => {
                result.push('&');
                rest = &rest[1..];
            }
        }
    }
    result.push_str(rest);
    result
}

fn entity_letter(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "lt" => Some('<'),
        "gt" => Some('>'),
        _ => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix('x') {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                None => digits.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Uncontrolled;

    fn error(text: &str) -> String {
        let read = read(text, &GraphLimits::default(), &Uncontrolled);
        match read.and_then(Sketch::into_parsed) {
            Err(LabError::Invalid { message, .. }) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn networkx_and_dowhy_texts_are_read() {
        let networkx = "graph [\n  directed 1\n  node [\n id 0\n label \"a b\"\n ]\n node [ id 1 \
                        label \"caf&#233;\" graphics [ x 1.5 ] ]\n edge [ source 0 target 1 weight \
                        0.5 ] ]";
        let dowhy = "graph[directed 1 node[ id \"X\" label \"X\"] node[id \"U\" label \"U\" \
                     observed \"no\"] node[id \"Y\" label \"Y\"] edge[source \"U\" target \"X\"] \
                     edge[source \"U\" target \"Y\"]]";
        let parsed = |text| {
            let read = read(text, &GraphLimits::default(), &Uncontrolled);
            read.unwrap().into_parsed().unwrap()
        };
        assert_eq!(parsed(networkx).graph.directed(), [["a b", "caf\u{e9}"]]);
        assert_eq!(parsed(dowhy).graph.bidirected(), [["X", "Y"]]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let cases = [
            (
                "graph [ node [ id 0 ]",
                "line 1, column 7: this '[' has no ']'",
            ),
            (
                "graph [\n edge [ source 0 target 1 ] ]",
                "line 2, column 16: no node has the id '0'",
            ),
            (
                "graph [ node [ id 0 ] node [ id 0 ] ]",
                "line 1, column 33: the node '0' is given twice",
            ),
            (
                "graph [ node [ label ] ]",
                "line 1, column 22: expected a value of 'label'",
            ),
            ("Version 1", "line 1, column 10: there is no 'graph [ .. ]'"),
            (
                "graph [ node [ id \"0 ] ]",
                "line 1, column 19: this string has no end",
            ),
            (
                "graph [ node [ id 0 ] node [ id 1 ] edge [ source 0 target 1 ] ]",
                "line 1, column 37: an undirected edge leaves the causal graph open",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(error(text), message, "{text}");
        }
        let deep = format!("graph [ x {}", "[ y ".repeat(10_000));
        assert!(error(&deep).contains("nested deeper than 32"));
    }
}
