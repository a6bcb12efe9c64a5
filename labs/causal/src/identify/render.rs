//! An expression as it leaves the lab: a JSON tree, a line of text and a line of LaTeX. In the
//! two lines an inner variable that hides an outer one carries primes, one more than any name
//! ends with; in the tree the scope of each sum says the same.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::expression::{Arena, Expr, ExprId};
use crate::graph::{Admg, NodeSet};

/// An estimand: a functional of the observed distribution. Sums bind lexically.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Estimand {
    /// The sum of `of` over every value of the variables.
    Sum {
        /// The variables summed over.
        over: Vec<String>,
        /// What is summed.
        #[cfg_attr(feature = "schema", schema(no_recursion))]
        of: Box<Estimand>,
    },
    /// The product of the terms.
    Product {
        /// At least two.
        #[cfg_attr(feature = "schema", schema(no_recursion))]
        terms: Vec<Estimand>,
    },
    /// A quotient.
    Fraction {
        /// What is divided.
        #[cfg_attr(feature = "schema", schema(no_recursion))]
        numerator: Box<Estimand>,
        /// What it is divided by.
        #[cfg_attr(feature = "schema", schema(no_recursion))]
        denominator: Box<Estimand>,
    },
    /// The observed probability `P(of | given)`.
    P {
        /// The variables it is a distribution of.
        of: Vec<String>,
        /// The variables it is conditioned on.
        given: Vec<String>,
    },
}

pub(crate) fn tree(graph: &Admg, arena: &Arena, id: ExprId) -> Estimand {
    match arena.get(id) {
        Expr::Sum { over, of } => Estimand::Sum {
            over: graph.names_of(over),
            of: Box::new(tree(graph, arena, *of)),
        },
        Expr::Product(terms) => Estimand::Product {
            terms: terms.iter().map(|&term| tree(graph, arena, term)).collect(),
        },
        Expr::Fraction {
            numerator,
            denominator,
        } => Estimand::Fraction {
            numerator: Box::new(tree(graph, arena, *numerator)),
            denominator: Box::new(tree(graph, arena, *denominator)),
        },
        Expr::Conditional { of, given } => Estimand::P {
            of: graph.names_of(of),
            given: graph.names_of(given),
        },
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Text,
    Latex,
}

/// One line. `visible` are the variables that have a value outside the expression.
pub(crate) fn line(
    graph: &Admg,
    arena: &Arena,
    id: ExprId,
    visible: &NodeSet,
    style: Style,
) -> String {
    let mut writer = Writer {
        graph,
        arena,
        style,
        visible: visible.union(arena.free(id)),
        primes: vec![0; graph.nodes()],
        // More than any name ends with, so that what is marked is no name, and no other one marked.
        mark: 1
            + (0..graph.nodes())
                .map(|node| trailing(graph.name(node)))
                .max()
                .unwrap_or(0),
        out: String::new(),
    };
    writer.expression(id);
    writer.out
}

struct Writer<'a> {
    graph: &'a Admg,
    arena: &'a Arena,
    style: Style,
    visible: NodeSet,
    /// How often a variable is marked, and how many primes a mark is.
    primes: Vec<usize>,
    mark: usize,
    out: String,
}

/// Primes at the end of a name.
fn trailing(name: &str) -> usize {
    name.len() - name.trim_end_matches('\'').len()
}

impl Writer<'_> {
    fn expression(&mut self, id: ExprId) {
        match self.arena.get(id) {
            Expr::Sum { over, of } => self.sum(over, *of),
            Expr::Product(terms) => {
                for (position, &term) in terms.iter().enumerate() {
                    if position > 0 {
                        self.out.push(' ');
                    }
                    self.factor(term);
                }
            }
            Expr::Fraction {
                numerator,
                denominator,
            } => self.fraction(*numerator, *denominator),
            Expr::Conditional { of, given } => {
                self.out.push_str("P(");
                self.names(of);
                if !given.is_empty() {
                    let bar = if self.style == Style::Text {
                        " | "
                    } else {
                        " \\mid "
                    };
                    self.out.push_str(bar);
                    self.names(given);
                }
                self.out.push(')');
            }
        }
    }

    /// A term of a product: a sum needs brackets so that its reach is clear.
    fn factor(&mut self, id: ExprId) {
        let is_sum = matches!(self.arena.get(id), Expr::Sum { .. });
        if is_sum {
            self.out.push_str(if self.style == Style::Text {
                "["
            } else {
                "\\left["
            });
        }
        self.expression(id);
        if is_sum {
            self.out.push_str(if self.style == Style::Text {
                "]"
            } else {
                "\\right]"
            });
        }
    }

    fn sum(&mut self, over: &NodeSet, of: ExprId) {
        let outer = self.visible.clone();
        for node in over.iter().filter(|&node| outer.contains(node)) {
            self.primes[node] += 1;
        }
        self.visible.add(over);
        self.out.push_str(if self.style == Style::Text {
            "sum_{"
        } else {
            "\\sum_{"
        });
        self.names(over);
        self.out.push_str("} ");
        self.expression(of);
        for node in over.iter().filter(|&node| outer.contains(node)) {
            self.primes[node] -= 1;
        }
        self.visible = outer;
    }

    fn fraction(&mut self, numerator: ExprId, denominator: ExprId) {
        let [open, middle, close] = match self.style {
            Style::Text => ["{", "} / {", "}"],
            Style::Latex => ["\\frac{", "}{", "}"],
        };
        self.out.push_str(open);
        self.expression(numerator);
        self.out.push_str(middle);
        self.expression(denominator);
        self.out.push_str(close);
    }

    fn names(&mut self, set: &NodeSet) {
        for (position, node) in set.iter().enumerate() {
            if position > 0 {
                self.out.push_str(", ");
            }
            let name = self.graph.name(node);
            match self.style {
                Style::Text => self.out.push_str(name),
                Style::Latex => latex_name(&mut self.out, name),
            }
            self.out
                .extend(std::iter::repeat_n('\'', self.primes[node] * self.mark));
        }
    }
}

/// A single letter stays in maths italics; a longer name is set as text with escapes.
fn latex_name(out: &mut String, name: &str) {
    if name.len() == 1 && name.chars().all(|letter| letter.is_ascii_alphabetic()) {
        out.push_str(name);
        return;
    }
    out.push_str("\\mathrm{");
    for letter in name.chars() {
        match letter {
            '_' | '%' | '$' | '#' | '&' | '{' | '}' => {
                out.push('\\');
                out.push(letter);
            }
            '\\' => out.push_str("\\backslash "),
            '^' => out.push_str("\\hat{\\ }"),
            '~' => out.push_str("\\sim "),
            ' ' => out.push_str("\\ "),
            other => {
                write!(out, "{other}").expect("writing to a string cannot fail");
            }
        }
    }
    out.push('}');
}
