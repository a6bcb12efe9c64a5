//! Paths one after the other, in lexicographic order of their steps, with polynomial delay: a
//! step is taken only if the target can still be reached without meeting the path again (the
//! certificate of Birmele et al., SODA 2013, here found by one search for each extension), so
//! every branch ends in a path. Where it stands is told by the places of its steps in the lists
//! of the network, and from these it can be taken up again.

use super::network::{Course, Network, Route, Sign, Step};
use crate::LabError;
use crate::control::Control;
use crate::graph::NodeSet;

struct Frame {
    node: usize,
    /// The place of the next step to be tried.
    next: usize,
    /// The node to be passed has been.
    passed: bool,
    /// From where the target can be reached without the path.
    reach: Option<NodeSet>,
}

pub(super) struct Walk<'a> {
    route: &'a Route<'a>,
    frames: Vec<Frame>,
    steps: Vec<Step>,
    on_path: NodeSet,
    /// Searches made for extensions.
    pub(super) searches: u64,
    is_at_target: bool,
}

/// The nodes joined to the target without a node of the path.
pub(super) fn reach(network: &Network, target: usize, on_path: &NodeSet) -> NodeSet {
    let mut reached = NodeSet::of(network.nodes, &[target]);
    let mut stack = vec![target];
    while let Some(node) = stack.pop() {
        let row = network.row(node);
        let fresh = row.minus(&reached).minus(on_path);
        stack.extend(fresh.iter());
        reached.add(&fresh);
    }
    reached
}

impl<'a> Walk<'a> {
    pub(super) fn start(route: &'a Route<'a>) -> Self {
        let mut walk = Self {
            route,
            frames: Vec::new(),
            steps: Vec::new(),
            on_path: NodeSet::empty(route.network.nodes),
            searches: 0,
            is_at_target: false,
        };
        walk.enter(route.source, false);
        walk
    }

    /// Behind the path whose steps stand at these places.
    pub(super) fn resume(route: &'a Route<'a>, places: &[usize]) -> Result<Self, LabError> {
        let mut walk = Self::start(route);
        for &place in places {
            let frame = walk.frames.last_mut().ok_or_else(wrong_cursor)?;
            let steps = route.network.steps(frame.node);
            let step = *steps.get(place).ok_or_else(wrong_cursor)?;
            frame.next = place + 1;
            if walk.is_at_target || !walk.leads_on(step) {
                return Err(wrong_cursor());
            }
            walk.take(step);
        }
        if walk.is_at_target {
            return Ok(walk);
        }
        Err(wrong_cursor())
    }

    fn enter(&mut self, node: usize, passed: bool) {
        self.on_path.insert(node);
        let reach = match self.route.course {
            Course::Directed { .. } => None,
            Course::Simple { .. } => {
                self.searches += 1;
                let network = self.route.network;
                Some(reach(network, self.route.target, &self.on_path))
            }
        };
        self.frames.push(Frame {
            node,
            next: 0,
            passed,
            reach,
        });
    }

    /// Whether the step may be taken from the last node and leads to the target.
    fn leads_on(&self, step: Step) -> bool {
        let frame = self.frames.last().expect("a walk in progress has a node");
        if self.frames.len() == 1 && !self.route.may_start(step) {
            return false;
        }
        match (&frame.reach, self.route.course) {
            (Some(reach), _) => reach.contains(step.node) && !self.on_path.contains(step.node),
            (None, Course::Directed { via: Some(_), .. }) if !frame.passed => {
                step.sign == Sign::Forward && self.route.towards_via.contains(step.node)
            }
            (None, _) => {
                step.sign == Sign::Forward && self.route.towards_target.contains(step.node)
            }
        }
    }

    fn take(&mut self, step: Step) {
        self.steps.push(step);
        if step.node == self.route.target {
            self.is_at_target = true;
            return;
        }
        let passed = self.frames.last().is_some_and(|frame| frame.passed);
        let via = match self.route.course {
            Course::Directed { via, .. } => via,
            Course::Simple { .. } => None,
        };
        self.enter(step.node, passed || via == Some(step.node));
    }

    /// Moves to the next path; `false` if there is none.
    pub(super) fn advance(&mut self, control: &dyn Control) -> Result<bool, LabError> {
        if std::mem::take(&mut self.is_at_target) {
            self.steps.pop();
        }
        loop {
            control.check()?;
            let Some(frame) = self.frames.last() else {
                return Ok(false);
            };
            let steps = self.route.network.steps(frame.node);
            let found = (frame.next..steps.len()).find(|&place| self.leads_on(steps[place]));
            let frame = self.frames.last_mut().expect("it was there a line above");
            let Some(place) = found else {
                let node = frame.node;
                self.frames.pop();
                self.on_path.remove(node);
                self.steps.pop();
                continue;
            };
            frame.next = place + 1;
            self.take(steps[place]);
            if self.is_at_target {
                return Ok(true);
            }
        }
    }

    /// The path it stands at.
    pub(super) fn path(&self) -> Vec<Step> {
        self.steps.clone()
    }

    /// The places of its steps, from which it can be taken up again.
    pub(super) fn places(&self) -> Vec<usize> {
        self.frames.iter().map(|frame| frame.next - 1).collect()
    }
}

fn wrong_cursor() -> LabError {
    LabError::invalid_with_hint(
        "cursor",
        "is not a cursor of this question",
        "send back the `next_cursor` of an answer to the same graph, nodes and kind",
    )
}
