//! Partial ancestral graphs and the orientation rules of FCI: R0 to R4 and R8 to R10 of Zhang
//! (Artificial Intelligence 172, 2008). R5 to R7 say something only under selection bias, which
//! is taken to be absent.
//!
//! A rule fills in circles, never overwrites an arrowhead or a tail, and closes no cycle of directed
//! edges; where the tests of a finite sample would have it so, that is counted as a conflict.

use std::collections::VecDeque;

use super::skeleton::Skeleton;
use crate::control::{Control, Stop};
use crate::graph::EdgeType;

/// What an edge has at one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::discover) enum End {
    Circle,
    Arrow,
    Tail,
}

/// An end for each ordered pair of adjacent variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::discover) struct Pag {
    width: usize,
    /// At (a, b): what the edge between a and b has at b.
    ends: Vec<Option<End>>,
    pub conflicts: usize,
}

impl Pag {
    /// Circles everywhere, then arrowheads at the unshielded colliders (R0).
    pub(in crate::discover) fn with_colliders(
        skeleton: &Skeleton,
        control: &dyn Control,
    ) -> Result<Self, Stop> {
        let mut pag = Self::circles(skeleton);
        pag.colliders(skeleton, control)?;
        Ok(pag)
    }

    pub(in crate::discover) fn circles(skeleton: &Skeleton) -> Self {
        let width = skeleton.width();
        let mut ends = vec![None; width * width];
        for a in 0..width {
            for b in skeleton.neighbours(a) {
                ends[a * width + b] = Some(End::Circle);
            }
        }
        Self {
            width,
            ends,
            conflicts: 0,
        }
    }

    pub(in crate::discover) fn colliders(
        &mut self,
        skeleton: &Skeleton,
        control: &dyn Control,
    ) -> Result<(), Stop> {
        skeleton.colliders(control, |[x, y, z]| {
            self.place(x, y, End::Arrow);
            self.place(z, y, End::Arrow);
        })
    }

    /// What the edge between `a` and `b` has at `b`.
    pub(in crate::discover) fn end(&self, a: usize, b: usize) -> Option<End> {
        self.ends[a * self.width + b]
    }

    fn is(&self, a: usize, b: usize, end: End) -> bool {
        self.end(a, b) == Some(end)
    }

    pub(in crate::discover) fn adjacent(&self, a: usize, b: usize) -> bool {
        self.end(a, b).is_some()
    }

    fn neighbours(&self, a: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.width).filter(move |&b| self.adjacent(a, b))
    }

    pub(in crate::discover) fn directed(&self, a: usize, b: usize) -> bool {
        self.is(a, b, End::Arrow) && self.is(b, a, End::Tail)
    }

    /// Fills in a circle; `true` when that changed something.
    pub(in crate::discover) fn place(&mut self, a: usize, b: usize, end: End) -> bool {
        let at = a * self.width + b;
        match self.ends[at] {
            Some(End::Circle) => {
                self.ends[at] = Some(end);
                true
            }
            Some(known) if known == end => false,
            Some(_) => {
                self.conflicts += 1;
                false
            }
            None => false,
        }
    }

    /// Makes an edge a -> b, both ends or neither; `true` when that changed something.
    pub(in crate::discover) fn direct(&mut self, a: usize, b: usize) -> bool {
        if self.directed(a, b) {
            return false;
        }
        let open = |end: Option<End>, wanted: End| end == Some(End::Circle) || end == Some(wanted);
        let free = open(self.end(a, b), End::Arrow) && open(self.end(b, a), End::Tail);
        if !free || self.leads(b, a) {
            self.conflicts += usize::from(self.adjacent(a, b));
            return false;
        }
        self.ends[a * self.width + b] = Some(End::Arrow);
        self.ends[b * self.width + a] = Some(End::Tail);
        true
    }

    /// Whether a path of directed edges leads from `from` to `to`.
    fn leads(&self, from: usize, to: usize) -> bool {
        let mut seen = vec![false; self.width];
        let mut stack = vec![from];
        while let Some(v) = stack.pop() {
            if v == to {
                return true;
            }
            for (w, seen) in seen.iter_mut().enumerate() {
                if !*seen && self.directed(v, w) {
                    *seen = true;
                    stack.push(w);
                }
            }
        }
        false
    }

    /// Edges with their ends as an answer lists them: the end that is known of more comes last.
    pub(in crate::discover) fn edges(&self) -> Vec<(usize, usize, EdgeType)> {
        let mut edges = Vec::new();
        for a in 0..self.width {
            for b in a + 1..self.width {
                let (Some(at_a), Some(at_b)) = (self.end(b, a), self.end(a, b)) else {
                    continue;
                };
                edges.push(match (at_a, at_b) {
                    (End::Arrow, End::Arrow) => (a, b, EdgeType::Bidirected),
                    (End::Tail, End::Arrow) => (a, b, EdgeType::Directed),
                    (End::Arrow, End::Tail) => (b, a, EdgeType::Directed),
                    (End::Circle, End::Arrow) => (a, b, EdgeType::PartiallyDirected),
                    (End::Arrow, End::Circle) => (b, a, EdgeType::PartiallyDirected),
                    (End::Circle, End::Circle) => (a, b, EdgeType::Nondirected),
                    // A tail always comes with an arrowhead at the other end.
                    (End::Tail, End::Tail | End::Circle) | (End::Circle, End::Tail) => {
                        (a, b, EdgeType::Undirected)
                    }
                });
            }
        }
        edges
    }

    /// All rules until none applies.
    pub(in crate::discover) fn close(
        &mut self,
        skeleton: &Skeleton,
        control: &dyn Control,
    ) -> Result<(), Stop> {
        loop {
            let before = self.conflicts;
            self.conflicts = 0;
            let mut changed = self.away_from_collider(control)?;
            changed |= self.away_from_cycle(control)?;
            changed |= self.double_triangle(control)?;
            changed |= self.discriminating_paths(skeleton, control)?;
            changed |= self.tails(control)?;
            // A rule that contradicts an end does so again in every round.
            self.conflicts += before;
            if !changed {
                return Ok(());
            }
            self.conflicts = before;
        }
    }

    /// R1: a *-> b o-* c with a and c apart gives b -> c.
    fn away_from_collider(&mut self, control: &dyn Control) -> Result<bool, Stop> {
        let mut changed = false;
        for b in 0..self.width {
            control.check()?;
            let around: Vec<usize> = self.neighbours(b).collect();
            for &c in &around {
                let forced = self.is(c, b, End::Circle)
                    && around
                        .iter()
                        .any(|&a| a != c && self.is(a, b, End::Arrow) && !self.adjacent(a, c));
                if forced {
                    changed |= self.direct(b, c);
                }
            }
        }
        Ok(changed)
    }

    /// R2: a -> b *-> c or a *-> b -> c, with a *-o c, gives a *-> c.
    fn away_from_cycle(&mut self, control: &dyn Control) -> Result<bool, Stop> {
        let mut changed = false;
        for a in 0..self.width {
            control.check()?;
            for c in 0..self.width {
                let forced = self.is(a, c, End::Circle)
                    && self.neighbours(a).any(|b| {
                        self.is(a, b, End::Arrow)
                            && self.is(b, c, End::Arrow)
                            && (self.is(b, a, End::Tail) || self.is(c, b, End::Tail))
                    });
                if forced {
                    changed |= self.place(a, c, End::Arrow);
                }
            }
        }
        Ok(changed)
    }

    /// R3: a *-> b <-* c with a *-o t o-* c, a and c apart, and t *-o b, gives t *-> b.
    fn double_triangle(&mut self, control: &dyn Control) -> Result<bool, Stop> {
        let mut changed = false;
        for t in 0..self.width {
            for b in 0..self.width {
                if !self.is(t, b, End::Circle) {
                    continue;
                }
                control.check()?;
                let sides: Vec<usize> = self
                    .neighbours(b)
                    .filter(|&a| self.is(a, b, End::Arrow) && self.is(a, t, End::Circle))
                    .collect();
                let apart = sides
                    .iter()
                    .enumerate()
                    .any(|(i, &a)| sides[..i].iter().any(|&c| !self.adjacent(a, c)));
                if apart {
                    changed |= self.place(t, b, End::Arrow);
                }
            }
        }
        Ok(changed)
    }

    /// R4: what a discriminating path says of its last but one variable.
    fn discriminating_paths(
        &mut self,
        skeleton: &Skeleton,
        control: &dyn Control,
    ) -> Result<bool, Stop> {
        let mut changed = false;
        for b in 0..self.width {
            for c in 0..self.width {
                if !self.is(c, b, End::Circle) {
                    continue;
                }
                control.check()?;
                let Some((first, a)) = self.discriminating_path(b, c) else {
                    continue;
                };
                if skeleton.separates(b, first, c) {
                    changed |= self.direct(b, c);
                } else {
                    changed |= self.place(a, b, End::Arrow);
                    changed |= self.place(c, b, End::Arrow);
                    changed |= self.place(b, c, End::Arrow);
                }
            }
        }
        Ok(changed)
    }

    /// The shortest path t, ..., a, b, c with t and c apart, on which every variable between t and
    /// b is a collider and a parent of c: its first variable and a.
    fn discriminating_path(&self, b: usize, c: usize) -> Option<(usize, usize)> {
        let mut seen = vec![false; self.width];
        (seen[b], seen[c]) = (true, true);
        let mut queue = VecDeque::new();
        for a in self.neighbours(b) {
            if a != c && self.directed(a, c) && self.is(b, a, End::Arrow) {
                seen[a] = true;
                queue.push_back((a, a));
            }
        }
        while let Some((v, a)) = queue.pop_front() {
            for t in self.neighbours(v) {
                if seen[t] || !self.is(t, v, End::Arrow) {
                    continue;
                }
                if !self.adjacent(t, c) {
                    return Some((t, a));
                }
                if self.directed(t, c) && self.is(v, t, End::Arrow) {
                    seen[t] = true;
                    queue.push_back((t, a));
                }
            }
        }
        None
    }

    /// R8 to R10 on every a o-> c: when a has to be an ancestor of c its circle becomes a tail.
    fn tails(&mut self, control: &dyn Control) -> Result<bool, Stop> {
        let mut changed = false;
        for a in 0..self.width {
            for c in 0..self.width {
                let open = self.is(a, c, End::Arrow) && self.is(c, a, End::Circle);
                if open && (self.through_chain(a, c) || self.through_paths(a, c, control)?) {
                    changed |= self.direct(a, c);
                }
            }
        }
        Ok(changed)
    }

    /// R8: a -> b -> c.
    fn through_chain(&self, a: usize, c: usize) -> bool {
        self.neighbours(a)
            .any(|b| self.directed(a, b) && self.directed(b, c))
    }

    /// R9: an uncovered potentially directed path from a to c whose second variable is not next to
    /// c. R10: two such paths from a to two parents of c whose second variables differ and are not
    /// adjacent.
    fn through_paths(&self, a: usize, c: usize, control: &dyn Control) -> Result<bool, Stop> {
        let seconds: Vec<usize> = self
            .neighbours(a)
            .filter(|&m| m != c && self.may_lead(a, m))
            .collect();
        let ends = seconds.iter().map(|&m| self.reached(a, m, control));
        let ends = ends.collect::<Result<Vec<_>, Stop>>()?;
        let far = seconds
            .iter()
            .zip(&ends)
            .any(|(&m, reached)| !self.adjacent(m, c) && reached.contains(&c));
        if far {
            return Ok(true);
        }
        let parents = |reached: &Vec<usize>| -> Vec<usize> {
            let parents = reached.iter().copied();
            parents.filter(|&p| self.directed(p, c)).collect()
        };
        let parents: Vec<Vec<usize>> = ends.iter().map(parents).collect();
        let two = (0..seconds.len()).any(|i| {
            (0..i).any(|j| {
                // Two different parents, one from each list.
                let two = parents[i].iter().any(|p| parents[j].iter().any(|q| p != q));
                two && !self.adjacent(seconds[i], seconds[j])
            })
        });
        Ok(two)
    }

    /// Whether a -> b is possible.
    fn may_lead(&self, a: usize, b: usize) -> bool {
        !self.is(b, a, End::Arrow) && !self.is(a, b, End::Tail)
    }

    /// Ends of the uncovered potentially directed paths that start with a, m; m itself is one.
    fn reached(&self, a: usize, m: usize, control: &dyn Control) -> Result<Vec<usize>, Stop> {
        // Steps with the index of the step before, so that no path meets itself.
        let mut steps = vec![(a, m, usize::MAX)];
        let mut seen = vec![false; self.width * self.width];
        seen[a * self.width + m] = true;
        let mut next = 0;
        while let Some(&(before, at, _)) = steps.get(next) {
            control.check()?;
            for to in self.neighbours(at) {
                let fresh = !seen[at * self.width + to];
                if fresh
                    && to != before
                    && !self.adjacent(before, to)
                    && self.may_lead(at, to)
                    && !on_path(&steps, next, to)
                {
                    seen[at * self.width + to] = true;
                    steps.push((at, to, next));
                }
            }
            next += 1;
        }
        let mut ends: Vec<usize> = steps.iter().map(|step| step.1).collect();
        ends.sort_unstable();
        ends.dedup();
        Ok(ends)
    }

    /// Variables that may be in a set that separates `x` from another (Spirtes, Glymour and
    /// Scheines, 2000, section 6.3): those at the end of a path from `x` on which every inner
    /// variable is a collider or in a triangle with its neighbours on the path.
    pub(in crate::discover) fn possible_separators(
        &self,
        x: usize,
        control: &dyn Control,
    ) -> Result<Vec<usize>, Stop> {
        let mut member = vec![false; self.width];
        let mut seen = vec![false; self.width * self.width];
        let mut stack = Vec::new();
        for v in self.neighbours(x) {
            member[v] = true;
            seen[x * self.width + v] = true;
            stack.push((x, v));
        }
        while let Some((before, at)) = stack.pop() {
            control.check()?;
            for to in self.neighbours(at) {
                if to == before || to == x || seen[at * self.width + to] {
                    continue;
                }
                let collider = self.is(before, at, End::Arrow) && self.is(to, at, End::Arrow);
                if collider || self.adjacent(before, to) {
                    seen[at * self.width + to] = true;
                    member[to] = true;
                    stack.push((at, to));
                }
            }
        }
        Ok((0..self.width).filter(|&v| member[v]).collect())
    }
}

fn on_path(steps: &[(usize, usize, usize)], mut at: usize, variable: usize) -> bool {
    while let Some(&(from, to, before)) = steps.get(at) {
        if from == variable || to == variable {
            return true;
        }
        at = before;
    }
    false
}
