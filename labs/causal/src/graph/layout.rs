//! Where the nodes of a picture stand: layers by longest path, few crossings by barycentres
//! (Sugiyama, Tagawa and Toda 1981). Made for graphs that a reader can take in, up to some 50
//! nodes; larger ones are laid out as well, but nothing is done for their looks.

use super::draw::DrawnGraph;
use super::input::EdgeType;

const LETTER_WIDTH: f64 = 7.4;
const CAPITAL_WIDTH: f64 = 9.4;
const NODE_PADDING: f64 = 20.0;
const NODE_GAP: f64 = 28.0;
/// Letters of a name that are shown.
const LETTERS_MAX: usize = 24;
/// Layers that all edges together may cross before they are drawn straight.
const BENDS_MAX: usize = 4_000;
/// Passes over the layers, down and up in turn.
const SWEEPS: usize = 24;

/// A slot in a layer: a node, or a bend of an edge that crosses the layer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Node(usize),
    Bend,
}

pub(super) struct Layout {
    pub(super) slots: Vec<Slot>,
    pub(super) layer_of: Vec<usize>,
    pub(super) layers: Vec<Vec<usize>>,
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
    /// For each edge the slots that it runs through, ends included.
    pub(super) routes: Vec<Vec<usize>>,
    pub(super) x: Vec<f64>,
    pub(super) width: Vec<f64>,
}

/// The layer of each node: below all its causes. An edge that would close a cycle is left out of
/// the count, and one without a direction runs downwards from the node named first.
pub(super) fn longest_paths(graph: &DrawnGraph, ends: &[(usize, usize)]) -> Vec<usize> {
    let count = graph.nodes.len();
    let mut children = vec![Vec::new(); count];
    for (edge, &(from, to)) in graph.edges.iter().zip(ends) {
        match edge.kind {
            EdgeType::Directed | EdgeType::PartiallyDirected => children[from].push(to),
            EdgeType::Undirected | EdgeType::Nondirected | EdgeType::Bidirected => {}
        }
    }
    let order = forward_order(&children);
    let mut rank = vec![0; count];
    for (place, &node) in order.iter().enumerate() {
        rank[node] = place;
    }
    let mut layer = vec![0_usize; count];
    for &node in &order {
        for &child in &children[node] {
            if rank[child] > rank[node] {
                layer[child] = layer[child].max(layer[node] + 1);
            }
        }
    }
    spread_open_edges(graph, ends, &mut layer);
    layer
}

/// Reverse postorder of a depth-first search: topological where there is no cycle.
fn forward_order(children: &[Vec<usize>]) -> Vec<usize> {
    let mut seen = vec![false; children.len()];
    let mut order = Vec::with_capacity(children.len());
    for start in (0..children.len()).rev() {
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        let mut stack = vec![(start, 0_usize)];
        while let Some((node, next)) = stack.last_mut() {
            let Some(&child) = children[*node].get(*next) else {
                order.push(*node);
                stack.pop();
                continue;
            };
            *next += 1;
            if !std::mem::replace(&mut seen[child], true) {
                stack.push((child, 0));
            }
        }
    }
    order.reverse();
    order
}

/// Nodes that only open edges join would all share a layer: each moves below the first of its
/// neighbours if nothing directed holds it.
fn spread_open_edges(graph: &DrawnGraph, ends: &[(usize, usize)], layer: &mut [usize]) {
    let mut held = vec![false; layer.len()];
    for (edge, &(from, to)) in graph.edges.iter().zip(ends) {
        if matches!(edge.kind, EdgeType::Directed | EdgeType::PartiallyDirected) {
            held[from] = true;
            held[to] = true;
        }
    }
    for (edge, &(from, to)) in graph.edges.iter().zip(ends) {
        let is_open = matches!(edge.kind, EdgeType::Undirected | EdgeType::Nondirected);
        if is_open && layer[from] == layer[to] && !held[to] {
            layer[to] = layer[from] + 1;
            held[to] = true;
        }
    }
}

pub(super) fn shown(name: &str) -> String {
    if name.chars().count() <= LETTERS_MAX {
        return name.to_owned();
    }
    let start: String = name.chars().take(LETTERS_MAX - 1).collect();
    format!("{start}\u{2026}")
}

/// A count of drawn things as a length.
pub(super) fn length(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

impl Layout {
    pub(super) fn new(graph: &DrawnGraph, ends: &[(usize, usize)], layer_of: &[usize]) -> Self {
        let count = graph.nodes.len();
        let depth = layer_of.iter().max().map_or(0, |last| last + 1);
        let mut layout = Self {
            slots: (0..count).map(Slot::Node).collect(),
            layer_of: layer_of.to_vec(),
            layers: vec![Vec::new(); depth],
            above: vec![Vec::new(); count],
            below: vec![Vec::new(); count],
            routes: Vec::with_capacity(ends.len()),
            x: Vec::new(),
            width: Vec::new(),
        };
        for (node, &layer) in layer_of.iter().enumerate() {
            layout.layers[layer].push(node);
        }
        // Bends are for graphs whose long edges can be followed by eye.
        let crossed = |&(from, to): &(usize, usize)| layer_of[from].abs_diff(layer_of[to]);
        let bends = ends.iter().map(crossed).sum::<usize>() <= BENDS_MAX;
        for &(from, to) in ends {
            let route = layout.route(from, to, bends);
            layout.routes.push(route);
        }
        layout.width = layout
            .slots
            .iter()
            .map(|&slot| match slot {
                Slot::Node(node) => {
                    let letters = shown(&graph.nodes[node]);
                    let widths = letters.chars().map(|letter| {
                        // Letters of scripts without lower case are wide as well.
                        let is_wide = letter.is_uppercase() || !letter.is_ascii();
                        if is_wide { CAPITAL_WIDTH } else { LETTER_WIDTH }
                    });
                    (widths.sum::<f64>() + NODE_PADDING).max(36.0)
                }
                Slot::Bend => 4.0,
            })
            .collect();
        layout
    }

    fn route(&mut self, from: usize, to: usize, bends: bool) -> Vec<usize> {
        let (mut top, mut bottom) = (from, to);
        if self.layer_of[top] > self.layer_of[bottom] {
            std::mem::swap(&mut top, &mut bottom);
        }
        let mut route = vec![top];
        let (first, last) = (self.layer_of[top], self.layer_of[bottom]);
        if bends {
            for layer in first + 1..last {
                let bend = self.slots.len();
                self.slots.push(Slot::Bend);
                self.layer_of.push(layer);
                self.layers[layer].push(bend);
                self.above.push(Vec::new());
                self.below.push(Vec::new());
                route.push(bend);
            }
        }
        route.push(bottom);
        if first < last {
            for pair in route.windows(2) {
                self.below[pair[0]].push(pair[1]);
                self.above[pair[1]].push(pair[0]);
            }
        }
        if top != from {
            route.reverse();
        }
        route
    }

    /// Sorts each layer by the mean place of the neighbours in the layer before, and keeps the
    /// order with the fewest crossings.
    pub(super) fn order(&mut self) {
        let mut place = vec![0_usize; self.slots.len()];
        let note = |layers: &[Vec<usize>], place: &mut Vec<usize>| {
            for layer in layers {
                for (at, &slot) in layer.iter().enumerate() {
                    place[slot] = at;
                }
            }
        };
        note(&self.layers, &mut place);
        let mut best = (self.crossings(&place), self.layers.clone());
        for sweep in 0..SWEEPS {
            if best.0 == 0 {
                break;
            }
            let is_down = sweep % 2 == 0;
            let depth = self.layers.len();
            for step in 1..depth {
                let layer = if is_down { step } else { depth - 1 - step };
                let near = if is_down { &self.above } else { &self.below };
                let key = |slot: usize| -> f64 {
                    let around = &near[slot];
                    if around.is_empty() {
                        return length(place[slot]);
                    }
                    let total: usize = around.iter().map(|&other| place[other]).sum();
                    length(total) / length(around.len())
                };
                let mut keyed: Vec<(f64, usize)> = self.layers[layer]
                    .iter()
                    .map(|&slot| (key(slot), slot))
                    .collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.layers[layer] = keyed.into_iter().map(|(_, slot)| slot).collect();
                for (at, &slot) in self.layers[layer].iter().enumerate() {
                    place[slot] = at;
                }
            }
            let crossings = self.crossings(&place);
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
    }

    /// Pairs of edges between neighbouring layers that cross; graphs beyond a reader's reach are
    /// not counted.
    fn crossings(&self, place: &[usize]) -> usize {
        let mut total = 0;
        for layer in &self.layers {
            let mut lines: Vec<(usize, usize)> = Vec::new();
            for &slot in layer {
                let ends = self.below[slot].iter();
                lines.extend(ends.map(|&other| (place[slot], place[other])));
            }
            if lines.len() > 2_000 {
                return 0;
            }
            for (first, &(a, b)) in lines.iter().enumerate() {
                let crossed = |&&(c, d): &&(usize, usize)| (a < c && b > d) || (a > c && b < d);
                total += lines[first + 1..].iter().filter(crossed).count();
            }
        }
        total
    }

    /// Places from left to right: each slot near the mean of its neighbours, no two closer than
    /// the gap.
    pub(super) fn place(&mut self) {
        self.x = vec![0.0; self.slots.len()];
        for layer in &self.layers {
            let mut at = 0.0;
            for &slot in layer {
                self.x[slot] = at + self.width[slot] / 2.0;
                at += self.width[slot] + NODE_GAP;
            }
        }
        for sweep in 0..SWEEPS {
            let depth = self.layers.len();
            for step in 0..depth {
                let layer = if sweep % 2 == 0 {
                    step
                } else {
                    depth - 1 - step
                };
                self.settle(layer);
            }
        }
        let left = (0..self.slots.len())
            .map(|slot| self.x[slot] - self.width[slot] / 2.0)
            .fold(f64::INFINITY, f64::min);
        for x in &mut self.x {
            *x += super::svg::MARGIN - left;
        }
    }

    fn settle(&mut self, layer: usize) {
        let slots = &self.layers[layer];
        let wished: Vec<f64> = slots
            .iter()
            .map(|&slot| {
                let around = self.above[slot].iter().chain(&self.below[slot]);
                let (sum, count) = around.fold((0.0, 0), |(sum, count), &other| {
                    (sum + self.x[other], count + 1)
                });
                if count == 0 {
                    self.x[slot]
                } else {
                    sum / length(count)
                }
            })
            .collect();
        let gap = |left: usize, right: usize| {
            (self.width[slots[left]] + self.width[slots[right]]) / 2.0 + NODE_GAP
        };
        let mut rightwards = wished.clone();
        for at in 1..slots.len() {
            rightwards[at] = rightwards[at].max(rightwards[at - 1] + gap(at - 1, at));
        }
        let mut leftwards = wished;
        for at in (1..slots.len()).rev() {
            leftwards[at - 1] = leftwards[at - 1].min(leftwards[at] - gap(at - 1, at));
        }
        // The mean of two orderings that keep the gaps keeps them too.
        for (at, &slot) in slots.iter().enumerate() {
            self.x[slot] = f64::midpoint(rightwards[at], leftwards[at]);
        }
    }
}
