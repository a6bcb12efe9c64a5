//! Whether a path is open given some nodes, what blocks it, and an open path where there is one.

use super::answer::{BlockedBy, NodeRole, OpenedBy, PathView};
use super::network::{Network, Step};
use crate::graph::{Admg, NodeSet};

pub(super) struct Explainer<'a> {
    graph: &'a Admg,
    given: &'a NodeSet,
    /// Nodes that are given or cause one that is.
    openable: NodeSet,
}

impl<'a> Explainer<'a> {
    pub(super) fn new(graph: &'a Admg, given: &'a NodeSet) -> Self {
        let everything = NodeSet::full(graph.nodes());
        Self {
            graph,
            given,
            openable: graph.edges().ancestors(given, &everything),
        }
    }

    pub(super) fn view(&self, source: usize, steps: &[Step]) -> PathView {
        let name = |node: usize| self.graph.name(node).to_owned();
        let mut view = PathView {
            text: name(source),
            nodes: vec![name(source)],
            edges: Vec::with_capacity(steps.len()),
            open: true,
            blocked_by: Vec::new(),
            opened_by: Vec::new(),
        };
        for (place, step) in steps.iter().enumerate() {
            let sign = step.sign.text();
            view.text.push(' ');
            view.text.push_str(sign);
            view.text.push(' ');
            view.text.push_str(self.graph.name(step.node));
            view.nodes.push(name(step.node));
            view.edges.push(sign.to_owned());
            if let Some(next) = steps.get(place + 1) {
                let collides = step.sign.heads_right() && next.sign.heads_left();
                self.judge(step.node, collides, &mut view);
            }
        }
        view.open = view.blocked_by.is_empty();
        view
    }

    fn judge(&self, node: usize, collides: bool, view: &mut PathView) {
        let name = self.graph.name(node).to_owned();
        let blocked = |role, reason: &str| BlockedBy {
            node: name.clone(),
            role,
            reason: reason.to_owned(),
        };
        if !collides {
            if self.given.contains(node) {
                view.blocked_by
                    .push(blocked(NodeRole::NonCollider, "it is given"));
            }
            return;
        }
        if !self.openable.contains(node) {
            view.blocked_by.push(blocked(
                NodeRole::Collider,
                "neither it nor a descendant of it is given",
            ));
            return;
        }
        let by = if self.given.contains(node) {
            node
        } else {
            let alone = NodeSet::of(self.graph.nodes(), &[node]);
            let everything = NodeSet::full(self.graph.nodes());
            let below = self.graph.edges().descendants(&alone, &everything);
            let witness = below.intersection(self.given).first();
            witness.expect("a node that causes a given one has it below")
        };
        view.opened_by.push(OpenedBy {
            node: name,
            given: self.graph.name(by).to_owned(),
        });
    }

    /// A shortest open path. A shortest open walk never meets a node twice: what lies between
    /// could be left out, and the walk would be open still.
    pub(super) fn active_path(
        &self,
        network: &Network,
        (source, target): (usize, usize),
    ) -> Option<Vec<Step>> {
        // Nodes as they are come to: through a tail, then through an arrowhead.
        let state = |node: usize, head: bool| node * 2 + usize::from(head);
        let mut before: Vec<Option<(usize, Step)>> = vec![None; network.nodes * 2];
        let mut queue = vec![(source, false)];
        let mut next = 0;
        while let Some(&(node, head)) = queue.get(next) {
            next += 1;
            for &step in network.steps(node) {
                let collides = head && step.sign.heads_left();
                let passes = match (node == source, collides) {
                    (true, _) => true,
                    (false, true) => self.openable.contains(node),
                    (false, false) => !self.given.contains(node),
                };
                let reached = state(step.node, step.sign.heads_right());
                if !passes || step.node == source || before[reached].is_some() {
                    continue;
                }
                before[reached] = Some((state(node, head), step));
                if step.node == target {
                    return Some(trace(&before, reached));
                }
                queue.push((step.node, step.sign.heads_right()));
            }
        }
        None
    }
}

fn trace(before: &[Option<(usize, Step)>], end: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = end;
    while let Some((earlier, step)) = before[at] {
        steps.push(step);
        at = earlier;
    }
    steps.reverse();
    steps
}
