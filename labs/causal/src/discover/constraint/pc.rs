//! PC (Spirtes, Glymour and Scheines, 2000, section 5.4.2) in its order-independent form: the
//! skeleton of PC-stable, colliders, and the rules of Meek (UAI 1995).
//!
//! On a finite sample the tests may contradict each other. A collider that would reverse an edge
//! of an earlier one or close a directed cycle is left out, no rule closes one either, and nothing is
//! directed against what is known; all of it is counted.

use super::skeleton::{self, Skeleton};
use crate::control::{Control, Stop};
use crate::discover::cpdag::Cpdag;
use crate::discover::knowledge::Knowledge;

use crate::graph::EdgeType;

pub(in crate::discover) struct Oriented {
    pub class: Cpdag,
    /// Orientations that contradict another and were left out.
    pub conflicts: usize,
}

impl Oriented {
    pub(in crate::discover) fn edges(&self) -> Vec<(usize, usize, EdgeType)> {
        let class = &self.class;
        let mut edges = Vec::new();
        for a in 0..class.width() {
            for b in a + 1..class.width() {
                if class.undirected(a, b) {
                    edges.push((a, b, EdgeType::Undirected));
                } else if class.directed(a, b) {
                    edges.push((a, b, EdgeType::Directed));
                } else if class.directed(b, a) {
                    edges.push((b, a, EdgeType::Directed));
                }
            }
        }
        edges
    }
}

/// Without hidden causes what is known of edges says which are there.
pub(in crate::discover) struct Known<'a>(pub &'a Knowledge);

impl skeleton::Known for Known<'_> {
    fn barred(&self, a: usize, b: usize) -> bool {
        !self.0.allows(a, b)
    }

    fn joined(&self, a: usize, b: usize) -> bool {
        self.0.required_parents(a).contains(&b) || self.0.required_parents(b).contains(&a)
    }

    fn parts(&self) -> bool {
        true
    }
}

/// Directs the skeleton. Edges with one direction barred are directed first.
pub(in crate::discover) fn orient(
    skeleton: &Skeleton,
    known: &dyn skeleton::Known,
    control: &dyn Control,
) -> Result<Oriented, Stop> {
    let width = skeleton.width();
    let mut class = Cpdag::empty(width);
    for x in 0..width {
        for y in skeleton.neighbours(x) {
            class.join(x, y);
        }
    }
    let mut rules = Rules {
        class,
        known,
        conflicts: 0,
    };
    // Edges that have to be close no cycle; directions that are left when the other is barred may.
    for joined in [true, false] {
        for x in 0..width {
            for y in skeleton.neighbours(x) {
                let only = known.barred(y, x) && !known.barred(x, y);
                if only && known.joined(x, y) == joined {
                    rules.direct(x, y, control)?;
                }
            }
        }
    }
    skeleton.colliders(control, |[x, y, z]| {
        if rules.closed(x, y) || rules.closed(z, y) {
            rules.conflicts += 1;
        } else {
            rules.class.direct(x, y);
            rules.class.direct(z, y);
        }
    })?;
    rules.close(skeleton, control)?;
    Ok(Oriented {
        class: rules.class,
        conflicts: rules.conflicts,
    })
}

struct Rules<'a> {
    class: Cpdag,
    known: &'a dyn skeleton::Known,
    conflicts: usize,
}

impl Rules<'_> {
    /// Meek's rules until none applies, one rule after the other over all edges.
    fn close(&mut self, skeleton: &Skeleton, control: &dyn Control) -> Result<(), Stop> {
        loop {
            let before = self.conflicts;
            self.conflicts = 0;
            let mut changed = false;
            changed |= self.away_from_collider(skeleton, control)?;
            changed |= self.each_undirected((skeleton, control), |class, a, b, around| {
                around
                    .iter()
                    .any(|&c| class.directed(a, c) && class.directed(c, b))
            })?;
            changed |= self.each_undirected((skeleton, control), double_triangle)?;
            changed |= self.each_undirected((skeleton, control), through_two)?;
            if !changed {
                // Left-out orientations of the last round are those that stay open.
                self.conflicts += before;
                return Ok(());
            }
            self.conflicts = before;
        }
    }

    /// Rule 1: a -> b - c with a and c apart gives b -> c.
    fn away_from_collider(
        &mut self,
        skeleton: &Skeleton,
        control: &dyn Control,
    ) -> Result<bool, Stop> {
        let mut changed = false;
        for b in 0..skeleton.width() {
            for a in skeleton.neighbours(b) {
                control.check()?;
                if !self.class.directed(a, b) {
                    continue;
                }
                for c in skeleton.unshielded(a, b) {
                    if self.class.undirected(b, c) {
                        changed |= self.direct(b, c, control)?;
                    }
                }
            }
        }
        Ok(changed)
    }

    fn each_undirected(
        &mut self,
        (skeleton, control): (&Skeleton, &dyn Control),
        forced: impl Fn(&Cpdag, usize, usize, &[usize]) -> bool,
    ) -> Result<bool, Stop> {
        let mut changed = false;
        for a in 0..skeleton.width() {
            let around = skeleton.neighbours(a);
            for &b in &around {
                control.check()?;
                if self.class.undirected(a, b) && forced(&self.class, a, b, &around) {
                    changed |= self.direct(a, b, control)?;
                }
            }
        }
        Ok(changed)
    }

    /// Whether a -> b is known not to be, or would close a cycle.
    fn closed(&self, a: usize, b: usize) -> bool {
        !self.class.directed(a, b) && (self.known.barred(a, b) || self.class.leads(b, a))
    }

    /// Directs a - b unless that is closed.
    fn direct(&mut self, a: usize, b: usize, control: &dyn Control) -> Result<bool, Stop> {
        control.check()?;
        if self.closed(a, b) {
            self.conflicts += 1;
            return Ok(false);
        }
        self.class.direct(a, b);
        Ok(true)
    }
}

/// Rule 3: a - c -> b and a - e -> b with c and e apart.
fn double_triangle(class: &Cpdag, a: usize, b: usize, around: &[usize]) -> bool {
    let through: Vec<usize> = around
        .iter()
        .copied()
        .filter(|&c| class.undirected(a, c) && class.directed(c, b))
        .collect();
    through
        .iter()
        .enumerate()
        .any(|(i, &c)| through[..i].iter().any(|&e| !class.adjacent(c, e)))
}

/// Rule 4, needed only when directions were known beforehand: a - c -> e -> b with a next to e
/// and b and c apart.
fn through_two(class: &Cpdag, a: usize, b: usize, around: &[usize]) -> bool {
    around.iter().any(|&c| {
        class.undirected(a, c)
            && !class.adjacent(c, b)
            && around
                .iter()
                .any(|&e| class.directed(c, e) && class.directed(e, b))
    })
}
