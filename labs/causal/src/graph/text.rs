//! The dagitty and DOT languages, as far as they describe a causal graph. Both are statement
//! lists in braces, so one parser reads both; what differs is the arrows and the attributes.

use std::collections::BTreeSet;

use super::build::{GraphLimits, over_limit};
use super::input::EdgeType;
use super::lexer::{Arrow, Position, Token, tokens, wrong, wrong_with_hint};
use super::sketch::{Role, Sketch};
use crate::LabError;
use crate::control::Control;

/// Braces inside braces; deeper is refused.
const NESTING_MAX: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Dagitty,
    Dot,
}

/// What is drawn at one end of an edge.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Tail,
    Arrow,
    Circle,
}

/// The attributes that matter, from one or more bracket lists.
#[derive(Default)]
struct Attributes {
    roles: Vec<Role>,
    label: Option<String>,
    direction: Option<(String, Position)>,
    head: Option<Mark>,
    tail: Option<Mark>,
}

struct Parser<'a> {
    tokens: Vec<(Token, Position)>,
    next: usize,
    dialect: Dialect,
    /// What an arrow without marks means: an edge of a DOT `graph` has no direction.
    is_undirected: bool,
    sketch: Sketch<'a>,
}

/// Reads a dagitty or DOT text; errors say line and column.
pub(crate) fn read<'a>(
    text: &str,
    limits: &GraphLimits,
    control: &'a dyn Control,
) -> Result<Sketch<'a>, LabError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        dialect: Dialect::Dagitty,
        is_undirected: false,
        sketch: Sketch::new(*limits, control),
    };
    parser.header()?;
    parser.block(0)?;
    parser.expect_end()?;
    Ok(parser.sketch)
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].0
    }

    fn at(&self) -> Position {
        self.tokens[self.next].1
    }

    /// Steps over the token; the `End` is never passed.
    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        if token != Token::End {
            self.next += 1;
        }
        token
    }

    fn take_if(&mut self, wanted: &Token) -> bool {
        let found = self.peek() == wanted;
        if found {
            self.take();
        }
        found
    }

    fn keyword(&self) -> Option<String> {
        if let Token::Word {
            text,
            quoted: false,
        } = self.peek()
        {
            return Some(text.to_lowercase());
        }
        None
    }

    fn header(&mut self) -> Result<(), LabError> {
        if self.keyword().as_deref() == Some("strict") {
            self.sketch.repeats = true;
            self.take();
        }
        let (at, strict) = (self.at(), self.sketch.repeats);
        let following = self.tokens.get(self.next + 1).map(|(token, _)| token);
        self.dialect = match self.keyword().as_deref() {
            Some("digraph") => Dialect::Dot,
            Some("dag") if !strict => Dialect::Dagitty,
            Some("pdag" | "mag" | "pag") if !strict => {
                self.sketch.open = Some(at);
                Dialect::Dagitty
            }
            Some("graph") if following.is_some() => {
                self.sketch.open = Some(at);
                self.is_undirected = true;
                Dialect::Dot
            }
            _ => {
                return Err(wrong_with_hint(
                    at,
                    "a graph text starts with 'dag' or 'digraph'",
                    "write 'dag { x -> y }' or 'digraph { x -> y }'; GML starts with 'graph [', \
                     BIF with 'network'",
                ));
            }
        };
        self.take();
        if matches!(self.peek(), Token::Word { .. }) {
            self.take();
        }
        Ok(())
    }

    fn expect_end(&mut self) -> Result<(), LabError> {
        while self.take_if(&Token::Semicolon) {}
        if *self.peek() == Token::End {
            return Ok(());
        }
        Err(wrong(self.at(), "text after the end of the graph"))
    }

    /// `{ statements }`; answers every node named inside.
    fn block(&mut self, depth: usize) -> Result<BTreeSet<usize>, LabError> {
        let open = self.at();
        if !self.take_if(&Token::Open) {
            return Err(wrong(open, "expected '{'"));
        }
        if depth > NESTING_MAX {
            return Err(wrong(
                open,
                format!("braces are nested deeper than {NESTING_MAX}"),
            ));
        }
        let mut named = BTreeSet::new();
        loop {
            if self.take_if(&Token::Close) {
                return Ok(named);
            }
            if self.take_if(&Token::Semicolon) || self.take_if(&Token::Comma) {
                continue;
            }
            if *self.peek() == Token::End {
                return Err(wrong(open, "this '{' has no '}'"));
            }
            self.statement(depth, &mut named)?;
        }
    }

    fn statement(&mut self, depth: usize, named: &mut BTreeSet<usize>) -> Result<(), LabError> {
        if self.defaults_or_assignment()? {
            return Ok(());
        }
        let at = self.at();
        let mut chain = vec![self.endpoint(depth)?];
        let mut arrows = Vec::new();
        while let Token::Arrow(arrow) = *self.peek() {
            let arrow_at = self.at();
            self.take();
            self.check_arrow(arrow, arrow_at)?;
            arrows.push((arrow, arrow_at));
            chain.push(self.endpoint(depth)?);
        }
        let attributes = self.attributes()?;
        named.extend(chain.iter().flatten().copied());
        if arrows.is_empty() {
            return chain[0]
                .iter()
                .flat_map(|&node| attributes.roles.iter().map(move |&role| (node, role)))
                .try_for_each(|(node, role)| self.sketch.mark(node, role, at));
        }
        if !attributes.roles.is_empty() {
            return Err(wrong(
                at,
                "an edge cannot be latent, exposure, outcome or adjusted",
            ));
        }
        for (step, &(arrow, arrow_at)) in arrows.iter().enumerate() {
            let marks = self.marks(arrow, &attributes)?;
            self.join(
                &chain[step],
                (marks, arrow_at),
                &chain[step + 1],
                &attributes,
            )?;
        }
        Ok(())
    }

    /// `node [..]`, `edge [..]`, `graph [..]` and `name = value` say nothing about the structure.
    fn defaults_or_assignment(&mut self) -> Result<bool, LabError> {
        let following = self.tokens.get(self.next + 1).map(|(token, _)| token);
        let is_word = matches!(self.peek(), Token::Word { .. });
        if is_word && following == Some(&Token::Equals) {
            self.take();
            self.attribute_value()?;
            return Ok(true);
        }
        let keyword = self.keyword();
        let is_default = matches!(keyword.as_deref(), Some("node" | "edge" | "graph"));
        if self.dialect == Dialect::Dot && is_default {
            let at = self.at();
            self.take();
            let attributes = self.attributes()?;
            if attributes.direction.is_some() {
                return Err(wrong_with_hint(
                    at,
                    "a default for 'dir' is not read",
                    "write [dir=both] on each bidirected edge",
                ));
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn check_arrow(&self, arrow: Arrow, at: Position) -> Result<(), LabError> {
        match (self.dialect, arrow, self.is_undirected) {
            (Dialect::Dagitty, _, _)
            | (Dialect::Dot, Arrow::Right, false)
            | (Dialect::Dot, Arrow::Undirected, true) => Ok(()),
            (Dialect::Dot, Arrow::Undirected, false) => Err(wrong_with_hint(
                at,
                "an undirected edge leaves the causal graph open",
                "orient it as '->', or write [dir=both] for a latent common cause",
            )),
            (Dialect::Dot, _, true) => Err(wrong(at, "the edges of a 'graph' are written '--'")),
            (Dialect::Dot, _, false) => Err(wrong_with_hint(
                at,
                "DOT knows only '->'",
                "write 'a -> b [dir=both]' for a latent common cause",
            )),
        }
    }

    /// The marks at the two ends once the attributes have been read.
    fn marks(&self, arrow: Arrow, attributes: &Attributes) -> Result<[Mark; 2], LabError> {
        use Mark::{Arrow as Head, Circle, Tail};
        if self.dialect == Dialect::Dagitty || self.is_undirected {
            return Ok(match arrow {
                Arrow::Right => [Tail, Head],
                Arrow::Left => [Head, Tail],
                Arrow::Both => [Head, Head],
                Arrow::Undirected => [Tail, Tail],
                Arrow::CircleRight => [Circle, Head],
                Arrow::CircleLeft => [Head, Circle],
                Arrow::Circles => [Circle, Circle],
            });
        }
        let (tail, head) = (
            attributes.tail.unwrap_or(Head),
            attributes.head.unwrap_or(Head),
        );
        let Some((direction, at)) = &attributes.direction else {
            return Ok([Tail, head]);
        };
        match direction.as_str() {
            "forward" => Ok([Tail, head]),
            "back" => Ok([tail, Tail]),
            "both" => Ok([tail, head]),
            "none" => Ok([Tail, Tail]),
            _ => Err(wrong(*at, "'dir' is one of forward, back, both and none")),
        }
    }

    /// One node, or the nodes named in braces.
    fn endpoint(&mut self, depth: usize) -> Result<BTreeSet<usize>, LabError> {
        if self.keyword().as_deref() == Some("subgraph") && self.dialect == Dialect::Dot {
            self.take();
            if matches!(self.peek(), Token::Word { .. }) {
                self.take();
            }
            return self.block(depth + 1);
        }
        if *self.peek() == Token::Open {
            return self.block(depth + 1);
        }
        let at = self.at();
        let Token::Word { text, .. } = self.take() else {
            return Err(wrong(at, "expected a node or '{'"));
        };
        if *self.peek() == Token::Colon {
            return Err(wrong(
                self.at(),
                "ports are not read; quote a name with a ':'",
            ));
        }
        let node = self.sketch.node(&text, at)?;
        Ok(BTreeSet::from([node]))
    }

    fn attributes(&mut self) -> Result<Attributes, LabError> {
        let mut found = Attributes::default();
        while *self.peek() == Token::OpenBracket {
            let open = self.at();
            self.take();
            while !self.take_if(&Token::CloseBracket) {
                if self.take_if(&Token::Comma) || self.take_if(&Token::Semicolon) {
                    continue;
                }
                let at = self.at();
                let Token::Word { text: key, .. } = self.take() else {
                    let end = *self.peek() == Token::End;
                    let message = if end {
                        "this '[' has no ']'"
                    } else {
                        "expected an attribute"
                    };
                    return Err(wrong(if end { open } else { at }, message));
                };
                let value = self.attribute_value()?;
                self.attribute(&key, value, at, &mut found)?;
            }
        }
        Ok(found)
    }

    fn attribute_value(&mut self) -> Result<Option<String>, LabError> {
        if !self.take_if(&Token::Equals) {
            return Ok(None);
        }
        let at = self.at();
        if let Token::Word { text, .. } = self.take() {
            return Ok(Some(text));
        }
        Err(wrong(at, "expected a value after '='"))
    }

    fn attribute(
        &self,
        key: &str,
        value: Option<String>,
        at: Position,
        found: &mut Attributes,
    ) -> Result<(), LabError> {
        let given = value.as_deref();
        let yes = given.is_none_or(|value| matches!(value, "true" | "yes" | "1"));
        let role = match (key.to_lowercase().as_str(), self.dialect) {
            ("latent" | "unobserved", _) | ("l" | "u", Dialect::Dagitty) => {
                yes.then_some(Role::Latent)
            }
            ("observed", _) => matches!(given, Some("no" | "false" | "0")).then_some(Role::Latent),
            ("exposure" | "treatment", _) | ("e", Dialect::Dagitty) => {
                yes.then_some(Role::Exposure)
            }
            ("outcome", _) | ("o", Dialect::Dagitty) => yes.then_some(Role::Outcome),
            ("adjusted", _) | ("a", Dialect::Dagitty) => yes.then_some(Role::Adjusted),
            ("selected", Dialect::Dagitty) | ("s", Dialect::Dagitty) if yes => {
                return Err(wrong(
                    at,
                    "a selected node is not read: selection bias is not handled",
                ));
            }
            ("label", _) => {
                found.label = value;
                None
            }
            ("dir", Dialect::Dot) => {
                found.direction = value.map(|value| (value.to_lowercase(), at));
                None
            }
            ("arrowhead", Dialect::Dot) => {
                found.head = given.map(mark);
                None
            }
            ("arrowtail", Dialect::Dot) => {
                found.tail = given.map(mark);
                None
            }
            _ => None,
        };
        found.roles.extend(role);
        Ok(())
    }

    fn join(
        &mut self,
        left: &BTreeSet<usize>,
        (marks, at): ([Mark; 2], Position),
        right: &BTreeSet<usize>,
        attributes: &Attributes,
    ) -> Result<(), LabError> {
        let (kind, is_reversed) = kind(marks)
            .ok_or_else(|| wrong(at, "an edge with a tail and an open end is not read"))?;
        let edges_max = self.sketch.limits().edges_max;
        let joined = left.len().saturating_mul(right.len());
        let joined = joined.saturating_add(self.sketch.joined);
        if joined > edges_max {
            return Err(over_limit("graph.edges", joined, edges_max));
        }
        for &a in left {
            for &b in right {
                let ends = if is_reversed { (b, a) } else { (a, b) };
                self.sketch.edge(ends, kind, at, attributes.label.clone())?;
            }
        }
        Ok(())
    }
}

/// What Graphviz draws at the end of an edge.
fn mark(name: &str) -> Mark {
    match name {
        "none" => Mark::Tail,
        "odot" | "dot" => Mark::Circle,
        _ => Mark::Arrow,
    }
}

/// The kind of edge, and whether it runs from the second end to the first.
fn kind(marks: [Mark; 2]) -> Option<(EdgeType, bool)> {
    use Mark::{Arrow, Circle, Tail};
    Some(match marks {
        [Tail, Arrow] => (EdgeType::Directed, false),
        [Arrow, Tail] => (EdgeType::Directed, true),
        [Arrow, Arrow] => (EdgeType::Bidirected, false),
        [Tail, Tail] => (EdgeType::Undirected, false),
        [Circle, Arrow] => (EdgeType::PartiallyDirected, false),
        [Arrow, Circle] => (EdgeType::PartiallyDirected, true),
        [Circle, Circle] => (EdgeType::Nondirected, false),
        [Tail, Circle] | [Circle, Tail] => return None,
    })
}
