//! Which language a graph text is in, and the one way to read it. Told apart by how the text
//! starts, so that a request need not say.

use super::bif::read_bif;
use super::build::GraphLimits;
use super::build::over_limit;
use super::draw::DrawnGraph;
use super::input::{EdgeType, GraphObject};
use super::lexer::{Position, wrong};
use super::sketch::Sketch;
use super::{gml, text};
use crate::LabError;
use crate::control::Control;

/// A language that graphs are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// dagitty or DOT.
    Statements,
    Gml,
    Bif,
    Json,
}

/// Reads a graph text of any language; errors say line and column.
pub(crate) fn read_text<'a>(
    text: &str,
    limits: &GraphLimits,
    control: &'a dyn Control,
) -> Result<Sketch<'a>, LabError> {
    if text.len() > limits.text_bytes_max {
        return Err(over_limit("graph", text.len(), limits.text_bytes_max));
    }
    match format_of(text) {
        Format::Statements => text::read(text, limits, control),
        Format::Gml => gml::read(text, limits, control),
        Format::Bif => read_bif(text)?.sketch(limits, control),
        Format::Json => json(text, limits, control),
    }
}

/// Reads a graph of any kind of edge from a text of any language, to draw it or write it again.
pub fn read_drawn(
    text: &str,
    limits: &GraphLimits,
    control: &dyn Control,
) -> Result<DrawnGraph, LabError> {
    read_text(text, limits, control)?.into_drawn()
}

/// Without spaces and comments in front.
fn trimmed(text: &str) -> &str {
    let mut rest = text;
    loop {
        let start = rest.trim_start_matches(|letter: char| {
            letter.is_whitespace() || letter == '\u{feff}' || letter == ';'
        });
        rest = if start.starts_with('#') || start.starts_with("//") {
            start.find('\n').map_or("", |end| &start[end..])
        } else if start.starts_with("/*") {
            start.find("*/").map_or("", |end| &start[end + 2..])
        } else {
            return start;
        };
    }
}

fn format_of(text: &str) -> Format {
    let start = trimmed(text);
    if start.starts_with('{') {
        return Format::Json;
    }
    let end = start.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let (word, rest) = start.split_at(end.unwrap_or(start.len()));
    match word.to_lowercase().as_str() {
        "graph" if trimmed(rest).starts_with('[') => Format::Gml,
        "creator" | "version" | "comment" | "directed" | "label" => Format::Gml,
        "network" | "variable" | "probability" => Format::Bif,
        _ => Format::Statements,
    }
}

fn json<'a>(
    text: &str,
    limits: &GraphLimits,
    control: &'a dyn Control,
) -> Result<Sketch<'a>, LabError> {
    let object: GraphObject =
        serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let said = error.to_string();
            let said = said.rsplit_once(" at line ").map_or(said.as_str(), |s| s.0);
            wrong(Position { line, column }, said)
        })?;
    let start = Position { line: 1, column: 1 };
    let mut sketch = Sketch::new(*limits, control);
    for name in &object.nodes {
        sketch.fresh_node(name, start)?;
    }
    let known = |sketch: &mut Sketch<'a>, name: &str| sketch.known(name, start);
    if let Some(edges) = &object.edges {
        if object.directed.is_some() || object.bidirected.is_some() {
            return Err(LabError::invalid(
                "graph.edges",
                "give either `edges` or `directed` and `bidirected`, not both",
            ));
        }
        for edge in edges {
            let ends = (
                known(&mut sketch, &edge.from)?,
                known(&mut sketch, &edge.to)?,
            );
            sketch.edge(ends, edge.kind, start, None)?;
        }
    }
    for (list, kind) in [
        (&object.directed, EdgeType::Directed),
        (&object.bidirected, EdgeType::Bidirected),
    ] {
        for pair in list.iter().flatten() {
            let [a, b] = pair.as_slice() else {
                let message = format!("an edge is a pair of names, this has {}", pair.len());
                return Err(LabError::invalid("graph", message));
            };
            let ends = (known(&mut sketch, a)?, known(&mut sketch, b)?);
            sketch.edge(ends, kind, start, None)?;
        }
    }
    Ok(sketch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_told_by_how_a_text_starts() {
        for (text, format) in [
            ("dag { x }", Format::Statements),
            ("/* graph [ */ digraph { x }", Format::Statements),
            ("graph { a -- b }", Format::Statements),
            ("# made by hand\n graph\n[ node [ id 0 ] ]", Format::Gml),
            ("Creator \"igraph\"\nVersion 1\ngraph [ ]", Format::Gml),
            ("graph[directed 1]", Format::Gml),
            ("// alarm\nnetwork unknown { }", Format::Bif),
            ("variable a { }", Format::Bif),
            (" {\"nodes\": []}", Format::Json),
            ("", Format::Statements),
        ] {
            assert_eq!(format_of(text), format, "{text}");
        }
    }
}
