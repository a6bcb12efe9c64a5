//! The dagitty and DOT languages, as far as they describe a causal graph. Both are statement
//! lists in braces, so one parser reads both; what differs is the arrows and the attributes.

use std::collections::BTreeSet;

use super::build::{Draft, GraphLimits, over_limit};
use super::input::ParsedGraph;
use super::lexer::{Arrow, Position, Token, tokens, wrong, wrong_with_hint};
use crate::LabError;
use crate::control::Control;

/// Braces inside braces; deeper is refused.
const NESTING_MAX: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Dagitty,
    Dot,
}

/// The attributes that matter, from one or more bracket lists.
#[derive(Default)]
struct Attributes {
    latent: bool,
    exposure: bool,
    outcome: bool,
    adjusted: bool,
    direction: Option<(String, Position)>,
}

struct Parser<'a> {
    tokens: Vec<(Token, Position)>,
    next: usize,
    dialect: Dialect,
    strict: bool,
    joined: usize,
    draft: Draft<'a>,
    latents: BTreeSet<String>,
    exposures: BTreeSet<String>,
    outcomes: BTreeSet<String>,
    adjusted: BTreeSet<String>,
}

/// Reads a dagitty or DOT text; errors say line and column.
pub(crate) fn parse_text(
    text: &str,
    limits: &GraphLimits,
    control: &dyn Control,
) -> Result<ParsedGraph, LabError> {
    if text.len() > limits.text_bytes_max {
        return Err(over_limit("graph", text.len(), limits.text_bytes_max));
    }
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        dialect: Dialect::Dagitty,
        strict: false,
        joined: 0,
        draft: Draft::new(*limits, control),
        latents: BTreeSet::new(),
        exposures: BTreeSet::new(),
        outcomes: BTreeSet::new(),
        adjusted: BTreeSet::new(),
    };
    parser.header()?;
    parser.block(0)?;
    parser.expect_end()?;
    parser.finish()
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
        let hint = "write 'dag { x -> y }' or 'digraph { x -> y }'";
        if self.keyword().as_deref() == Some("strict") {
            self.strict = true;
            self.take();
        }
        let at = self.at();
        self.dialect = match self.keyword().as_deref() {
            Some("digraph") => Dialect::Dot,
            Some("dag") if !self.strict => Dialect::Dagitty,
            Some("graph" | "pdag" | "mag" | "pag") => {
                let message = "only fully directed graphs and bidirected edges can be validated";
                return Err(wrong_with_hint(at, message, hint));
            }
            _ => {
                return Err(wrong_with_hint(
                    at,
                    "a graph text starts with 'dag' or 'digraph'",
                    hint,
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
            return self.mark(&chain[0], &attributes, at);
        }
        if attributes.latent || attributes.exposure || attributes.outcome || attributes.adjusted {
            return Err(wrong(
                at,
                "an edge cannot be latent, exposure, outcome or adjusted",
            ));
        }
        for (step, &(arrow, arrow_at)) in arrows.iter().enumerate() {
            let arrow = self.directed_by(arrow, &attributes)?;
            self.join(&chain[step], arrow, &chain[step + 1], arrow_at)?;
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
        match (arrow, self.dialect) {
            (Arrow::Undirected, _) => Err(wrong_with_hint(
                at,
                "an undirected edge leaves the causal graph open",
                "orient it as '->' or '<-', or write '<->' for a latent common cause",
            )),
            (Arrow::Left | Arrow::Both, Dialect::Dot) => Err(wrong_with_hint(
                at,
                "DOT knows only '->'",
                "write 'a -> b [dir=both]' for a latent common cause",
            )),
            (Arrow::Left | Arrow::Both, Dialect::Dagitty) | (Arrow::Right, _) => Ok(()),
        }
    }

    /// What an arrow means once `dir=` has been read.
    fn directed_by(&self, arrow: Arrow, attributes: &Attributes) -> Result<Arrow, LabError> {
        let Some((direction, at)) = &attributes.direction else {
            return Ok(arrow);
        };
        if self.dialect == Dialect::Dagitty {
            return Ok(arrow);
        }
        match direction.as_str() {
            "forward" => Ok(Arrow::Right),
            "back" => Ok(Arrow::Left),
            "both" => Ok(Arrow::Both),
            _ => Err(wrong(*at, "'dir' is one of forward, back and both")),
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
        let node = self
            .draft
            .node(&text, "graph")
            .map_err(|error| located(error, at))?;
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
                self.attribute(&key, value.as_deref(), at, &mut found);
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

    fn attribute(&self, key: &str, value: Option<&str>, at: Position, found: &mut Attributes) {
        let yes = value.is_none_or(|value| matches!(value, "true" | "yes" | "1"));
        match (key.to_lowercase().as_str(), self.dialect) {
            ("latent" | "unobserved", _) | ("l" | "u", Dialect::Dagitty) => found.latent |= yes,
            ("observed", _) => found.latent |= matches!(value, Some("no" | "false" | "0")),
            ("exposure" | "treatment", _) | ("e", Dialect::Dagitty) => found.exposure |= yes,
            ("outcome", _) | ("o", Dialect::Dagitty) => found.outcome |= yes,
            ("adjusted", _) | ("a", Dialect::Dagitty) => found.adjusted |= yes,
            ("dir", Dialect::Dot) => {
                found.direction = value.map(|value| (value.to_lowercase(), at));
            }
            _ => {}
        }
    }

    fn mark(
        &mut self,
        nodes: &BTreeSet<usize>,
        attributes: &Attributes,
        at: Position,
    ) -> Result<(), LabError> {
        for &node in nodes {
            let name = self.draft.name(node).to_owned();
            let marks = [
                (attributes.latent, &mut self.latents),
                (attributes.exposure, &mut self.exposures),
                (attributes.outcome, &mut self.outcomes),
                (attributes.adjusted, &mut self.adjusted),
            ];
            for (_, set) in marks.into_iter().filter(|(marked, _)| *marked) {
                set.insert(name.clone());
            }
            let used = self.exposures.contains(&name)
                || self.outcomes.contains(&name)
                || self.adjusted.contains(&name);
            if self.latents.contains(&name) {
                if used {
                    let message =
                        format!("'{name}' is latent, so it has no role as a measured node");
                    return Err(wrong(at, message));
                }
                self.draft.set_latent(node);
            }
        }
        Ok(())
    }

    fn join(
        &mut self,
        left: &BTreeSet<usize>,
        arrow: Arrow,
        right: &BTreeSet<usize>,
        at: Position,
    ) -> Result<(), LabError> {
        let field = || "graph".to_owned();
        let edges_max = self.draft.limits().edges_max;
        self.joined = self
            .joined
            .saturating_add(left.len().saturating_mul(right.len()));
        if self.joined > edges_max {
            return Err(over_limit("graph.edges", self.joined, edges_max));
        }
        for &a in left {
            for &b in right {
                let (fresh, sign) = match arrow {
                    Arrow::Right => (self.draft.directed(a, b, field), "->"),
                    Arrow::Left => (self.draft.directed(b, a, field), "<-"),
                    Arrow::Both => (self.draft.bidirected(a, b, field), "<->"),
                    Arrow::Undirected => return Err(wrong(at, "an undirected edge")),
                };
                if !fresh.map_err(|error| located(error, at))? && !self.strict {
                    return Err(located(self.draft.duplicate(a, b, sign, field()), at));
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<ParsedGraph, LabError> {
        let list = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>();
        let graph = self.draft.finish("graph")?;
        if graph.nodes() == 0 {
            return Err(LabError::invalid(
                "graph",
                "a graph needs at least one observed node",
            ));
        }
        Ok(ParsedGraph {
            graph,
            exposures: list(self.exposures),
            outcomes: list(self.outcomes),
            adjusted: list(self.adjusted),
            latents: list(self.latents),
        })
    }
}

/// The same refusal with the place in the text in front of its message.
fn located(error: LabError, at: Position) -> LabError {
    match error {
        LabError::Invalid {
            field,
            message,
            hint,
        } => {
            let Position { line, column } = at;
            LabError::Invalid {
                field,
                message: format!("line {line}, column {column}: {message}"),
                hint,
            }
        }
        other @ (LabError::TooLarge { .. } | LabError::Stopped(_) | LabError::Internal(_)) => other,
    }
}
