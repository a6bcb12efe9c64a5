//! Expressions over the observed distribution, in an arena so that shared parts are stored once.
//! Sums bind lexically: an inner sum over a variable hides an outer value of it.
//!
//! Only rewrites that hold for every distribution are done here; none looks at the graph.

use crate::graph::NodeSet;

/// An expression's place in its arena.
pub(crate) type ExprId = usize;

/// One node of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expr {
    Sum {
        over: NodeSet,
        of: ExprId,
    },
    Product(Vec<ExprId>),
    Fraction {
        numerator: ExprId,
        denominator: ExprId,
    },
    Conditional {
        of: NodeSet,
        given: NodeSet,
    },
}

/// Expressions of one graph; parts come before what is made of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arena {
    exprs: Vec<Expr>,
    free: Vec<NodeSet>,
    size: Vec<u64>,
    depth: Vec<u64>,
}

impl Arena {
    pub(crate) fn get(&self, id: ExprId) -> &Expr {
        &self.exprs[id]
    }

    pub(crate) fn len(&self) -> usize {
        self.exprs.len()
    }

    /// Variables whose value the expression leaves to the reader.
    pub(crate) fn free(&self, id: ExprId) -> &NodeSet {
        &self.free[id]
    }

    /// Nodes of the tree that the expression unfolds to, node names included.
    pub(crate) fn size(&self, id: ExprId) -> u64 {
        self.size[id]
    }

    /// Levels of the tree.
    pub(crate) fn depth(&self, id: ExprId) -> u64 {
        self.depth[id]
    }

    fn push(&mut self, expr: Expr, free: NodeSet, size: u64) -> ExprId {
        let below = match &expr {
            Expr::Sum { of, .. } => self.depth[*of],
            Expr::Product(terms) => terms
                .iter()
                .map(|&term| self.depth[term])
                .max()
                .unwrap_or(0),
            Expr::Fraction {
                numerator,
                denominator,
            } => self.depth[*numerator].max(self.depth[*denominator]),
            Expr::Conditional { .. } => 0,
        };
        self.depth.push(below + 1);
        self.exprs.push(expr);
        self.free.push(free);
        self.size.push(size);
        self.exprs.len() - 1
    }

    /// `P(of | given)`.
    pub(crate) fn conditional(&mut self, of: NodeSet, given: NodeSet) -> ExprId {
        let free = of.union(&given);
        let size = 1 + free.len() as u64;
        self.push(Expr::Conditional { of, given }, free, size)
    }

    /// The sum over every value of `over`. Neighbouring sums become one, and a probability of
    /// variables that are summed and stand nowhere else adds up to one and is left out.
    pub(crate) fn sum(&mut self, over: &NodeSet, of: ExprId) -> ExprId {
        if over.is_empty() {
            return of;
        }
        match self.get(of) {
            Expr::Conditional { of: inside, given } => {
                let left = inside.minus(over);
                if over.is_subset(inside) && !left.is_empty() {
                    let given = given.clone();
                    return self.conditional(left, given);
                }
            }
            Expr::Sum {
                over: inner,
                of: body,
            } if !inner.intersects(over) => {
                let (both, body) = (inner.union(over), *body);
                return self.sum(&both, body);
            }
            Expr::Product(terms) => {
                let (kept, left) = self.without_complete_terms(terms, over);
                if kept.len() < terms.len() {
                    let product = self.product(&kept);
                    return self.sum(&left, product);
                }
            }
            Expr::Sum { .. } | Expr::Fraction { .. } => {}
        }
        let free = self.free(of).minus(over);
        let size = self.size(of).saturating_add(1 + over.len() as u64);
        self.push(
            Expr::Sum {
                over: over.clone(),
                of,
            },
            free,
            size,
        )
    }

    /// The terms that are left, at least one, and the variables still to be summed.
    fn without_complete_terms(&self, terms: &[ExprId], over: &NodeSet) -> (Vec<ExprId>, NodeSet) {
        let mut left = over.clone();
        let mut kept = terms.to_vec();
        let mut uses = vec![0_u32; over.words().len() * 64];
        for &term in terms {
            for node in self.free(term).iter() {
                uses[node] += 1;
            }
        }
        let mut place = kept.len();
        while place > 0 && kept.len() > 1 {
            place -= 1;
            let term = kept[place];
            let Expr::Conditional { of, .. } = self.get(term) else {
                continue;
            };
            if of.is_subset(&left) && of.iter().all(|node| uses[node] == 1) {
                for node in self.free(term).iter() {
                    uses[node] -= 1;
                }
                left.subtract(of);
                kept.remove(place);
                place = kept.len();
            }
        }
        (kept, left)
    }

    /// The product of at least one term.
    pub(crate) fn product(&mut self, terms: &[ExprId]) -> ExprId {
        let mut flat = Vec::with_capacity(terms.len());
        for &term in terms {
            match self.get(term) {
                Expr::Product(inner) => flat.extend_from_slice(inner),
                Expr::Sum { .. } | Expr::Fraction { .. } | Expr::Conditional { .. } => {
                    flat.push(term);
                }
            }
        }
        if let [only] = flat.as_slice() {
            return *only;
        }
        let mut free = self.free(flat[0]).clone();
        let mut size = 1_u64;
        for &term in &flat {
            free.add(self.free(term));
            size = size.saturating_add(self.size(term));
        }
        self.push(Expr::Product(flat), free, size)
    }

    /// The quotient of two expressions.
    pub(crate) fn fraction(&mut self, numerator: ExprId, denominator: ExprId) -> ExprId {
        let free = self.free(numerator).union(self.free(denominator));
        let size = self
            .size(numerator)
            .saturating_add(self.size(denominator))
            .saturating_add(1);
        self.push(
            Expr::Fraction {
                numerator,
                denominator,
            },
            free,
            size,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(members: &[usize]) -> NodeSet {
        NodeSet::of(4, members)
    }

    #[test]
    fn a_sum_inside_one_probability_is_its_marginal() {
        let mut arena = Arena::default();
        let p = arena.conditional(set(&[0, 1]), set(&[2]));
        let sum = arena.sum(&set(&[1]), p);
        assert_eq!(
            *arena.get(sum),
            Expr::Conditional {
                of: set(&[0]),
                given: set(&[2])
            }
        );
    }

    #[test]
    fn a_variable_that_is_used_elsewhere_stays_under_its_sum() {
        let mut arena = Arena::default();
        let p = arena.conditional(set(&[0]), set(&[]));
        let q = arena.conditional(set(&[1]), set(&[0]));
        let product = arena.product(&[p, q]);
        let over_both = arena.sum(&set(&[0, 1]), product);
        assert_eq!(
            *arena.get(over_both),
            Expr::Sum {
                over: set(&[0]),
                of: p
            }
        );
        let over_first = arena.sum(&set(&[0]), product);
        assert_eq!(
            *arena.get(over_first),
            Expr::Sum {
                over: set(&[0]),
                of: product
            }
        );
    }

    #[test]
    fn a_sum_over_a_hidden_variable_is_not_merged() {
        let mut arena = Arena::default();
        let p = arena.conditional(set(&[0]), set(&[1, 2]));
        let q = arena.conditional(set(&[1]), set(&[]));
        let product = arena.product(&[p, q]);
        let inner = arena.sum(&set(&[1]), product);
        let outer = arena.sum(&set(&[1, 2]), inner);
        assert_eq!(
            *arena.get(outer),
            Expr::Sum {
                over: set(&[1, 2]),
                of: inner
            }
        );
    }
}
