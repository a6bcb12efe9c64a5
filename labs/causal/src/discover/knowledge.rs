//! What is known of the graph before the data are seen: edges that have to be there, edges that
//! may not, and tiers such as times of measurement.
//!
//! It is a statement about single edges. A tier says that no edge leads from a later tier to an
//! earlier one; a variable in no tier is free, so that a path back through it is allowed. Nothing
//! is weighed here: what is required is taken as true whatever the data say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cpdag::Cpdag;
use crate::error::LabError;
use crate::graph::{NodeSet, unknown_node};

/// Pairs in `required` or in `forbidden`.
const PAIRS_MAX: usize = 100_000;

/// Knowledge by name, as it is written in a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Background {
    pub required: Vec<[String; 2]>,
    pub forbidden: Vec<[String; 2]>,
    pub tiers: Vec<Vec<String>>,
}

impl Background {
    pub fn is_empty(&self) -> bool {
        self.required.is_empty() && self.forbidden.is_empty() && self.tiers.is_empty()
    }

    /// Refuses what is wrong whatever the data: loops, and more pairs than are read.
    pub(super) fn check_shape(&self) -> Result<(), LabError> {
        for (field, pairs) in [("required", &self.required), ("forbidden", &self.forbidden)] {
            if pairs.len() > PAIRS_MAX {
                return Err(LabError::TooLarge {
                    field: field.into(),
                    actual: pairs.len() as u64,
                    limit: PAIRS_MAX as u64,
                });
            }
            for (i, [from, to]) in pairs.iter().enumerate() {
                if from == to {
                    let message = format!("'{from}' cannot be its own cause");
                    return Err(LabError::invalid(format!("{field}[{i}]"), message));
                }
            }
        }
        Ok(())
    }
}

/// Knowledge about the columns of a dataset, free of contradictions.
#[derive(Debug, Clone)]
pub(super) struct Knowledge {
    empty: bool,
    required: Vec<Vec<usize>>,
    /// For each head the tails that may not be its parents.
    barred: Vec<NodeSet>,
    tiers: Vec<Option<usize>>,
}

impl Knowledge {
    /// Looks the names up and refuses contradictions.
    pub(super) fn new(stated: &Background, names: &[String]) -> Result<Self, LabError> {
        let d = names.len();
        let mut knowledge = Self {
            empty: stated.is_empty(),
            required: vec![Vec::new(); d],
            barred: vec![NodeSet::empty(d); d],
            tiers: vec![None; d],
        };
        if knowledge.empty {
            return Ok(knowledge);
        }
        stated.check_shape()?;
        let index: BTreeMap<&str, usize> = names
            .iter()
            .enumerate()
            .map(|(i, name)| (name.as_str(), i))
            .collect();
        let find = |name: &str, field: String| {
            let known = names.iter().map(String::as_str);
            index
                .get(name)
                .copied()
                .ok_or_else(|| unknown_node(field, name, known))
        };
        knowledge.read_tiers(&stated.tiers, find)?;
        for (i, [from, to]) in stated.forbidden.iter().enumerate() {
            let tail = find(from, format!("forbidden[{i}][0]"))?;
            let head = find(to, format!("forbidden[{i}][1]"))?;
            knowledge.barred[head].insert(tail);
        }
        for (i, [from, to]) in stated.required.iter().enumerate() {
            let tail = find(from, format!("required[{i}][0]"))?;
            let head = find(to, format!("required[{i}][1]"))?;
            if knowledge.barred[head].contains(tail) {
                let why = if knowledge.runs_back(tail, head) {
                    "leads from a later tier to an earlier one"
                } else {
                    "is forbidden too"
                };
                let message = format!("'{from}' -> '{to}' {why}");
                return Err(LabError::invalid(format!("required[{i}]"), message));
            }
            if !knowledge.required[head].contains(&tail) {
                knowledge.required[head].push(tail);
            }
            if let Some(cycle) = knowledge.cycle_through(tail, head) {
                let shown: Vec<&str> = cycle.iter().map(|&v| names[v].as_str()).collect();
                let message = format!("the required edges form a cycle: {}", shown.join(" -> "));
                return Err(LabError::invalid(format!("required[{i}]"), message));
            }
        }
        for head in 0..d {
            knowledge.required[head].sort_unstable();
            for tail in knowledge.required[head].clone() {
                knowledge.barred[tail].insert(head);
            }
        }
        Ok(knowledge)
    }

    fn read_tiers(
        &mut self,
        tiers: &[Vec<String>],
        find: impl Fn(&str, String) -> Result<usize, LabError>,
    ) -> Result<(), LabError> {
        for (t, tier) in tiers.iter().enumerate() {
            for (i, name) in tier.iter().enumerate() {
                let field = format!("tiers[{t}][{i}]");
                let variable = find(name, field.clone())?;
                if let Some(other) = self.tiers[variable] {
                    let message = format!("'{name}' is in tiers[{other}] already");
                    return Err(LabError::invalid(field, message));
                }
                self.tiers[variable] = Some(t);
            }
        }
        let d = self.tiers.len();
        for head in 0..d {
            for tail in 0..d {
                if self.runs_back(tail, head) {
                    self.barred[head].insert(tail);
                }
            }
        }
        Ok(())
    }

    fn runs_back(&self, tail: usize, head: usize) -> bool {
        matches!((self.tiers[tail], self.tiers[head]), (Some(t), Some(h)) if t > h)
    }

    /// The cycle that the required edge `tail -> head` closes.
    fn cycle_through(&self, tail: usize, head: usize) -> Option<Vec<usize>> {
        let mut next = vec![None; self.required.len()];
        let mut stack = vec![tail];
        while let Some(v) = stack.pop() {
            if v == head {
                let mut cycle = vec![head];
                while let Some(after) = next[cycle[cycle.len() - 1]] {
                    cycle.push(after);
                }
                cycle.push(head);
                return Some(cycle);
            }
            for &parent in &self.required[v] {
                if parent != tail && next[parent].is_none() {
                    next[parent] = Some(v);
                    stack.push(parent);
                }
            }
        }
        None
    }

    /// Nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.empty
    }

    /// Whether `tail -> head` may be an edge.
    pub(super) fn allows(&self, tail: usize, head: usize) -> bool {
        !self.barred[head].contains(tail)
    }

    /// Variables that have to be parents of `head`, ascending.
    pub(super) fn required_parents(&self, head: usize) -> &[usize] {
        &self.required[head]
    }

    /// Required edges, by their heads.
    pub(super) fn required(&self) -> &[Vec<usize>] {
        &self.required
    }

    /// Whether the graph, given by the parents of each variable, has all edges that it has to have
    /// and none that it may not.
    pub(super) fn holds_in(&self, dag: &[Vec<usize>]) -> bool {
        self.empty
            || dag.iter().enumerate().all(|(head, parents)| {
                parents.iter().all(|&tail| self.allows(tail, head))
                    && self.required[head]
                        .iter()
                        .all(|tail| parents.contains(tail))
            })
    }

    /// For each variable those that have to come before it in every order: the tails of required
    /// edges and, when every variable is in a tier, all earlier tiers. With a free variable a tier
    /// says nothing about the order.
    pub(super) fn predecessors(&self) -> Vec<Vec<usize>> {
        let d = self.required.len();
        let all_placed = self.tiers.iter().all(Option::is_some);
        (0..d)
            .map(|head| {
                let earlier = (0..d).filter(|&v| all_placed && self.tiers[v] < self.tiers[head]);
                let mut before: Vec<usize> =
                    earlier.chain(self.required[head].iter().copied()).collect();
                before.sort_unstable();
                before.dedup();
                before
            })
            .collect()
    }

    /// Moves variables later until the tails of required edges come before their heads, and keeps
    /// the order otherwise.
    pub(super) fn arrange(&self, order: &mut Vec<usize>) {
        if self.required.iter().all(Vec::is_empty) {
            return;
        }
        let mut placed = vec![false; order.len()];
        let mut arranged = Vec::with_capacity(order.len());
        while !order.is_empty() {
            let at = order
                .iter()
                .position(|&v| self.required[v].iter().all(|&p| placed[p]))
                .expect("required edges have no cycle");
            let variable = order.remove(at);
            placed[variable] = true;
            arranged.push(variable);
        }
        *order = arranged;
    }

    /// Directs in `class` what is known and what follows from it by the rules 1 to 4 of Meek (UAI
    /// 1995). An edge that is known in both directions not to be there is left as it is.
    pub(super) fn orient(&self, class: &mut Cpdag) {
        if self.empty {
            return;
        }
        let mut touched = Vec::new();
        for a in 0..class.width() {
            for b in class.neighbours(a) {
                if !self.allows(b, a) && self.allows(a, b) {
                    class.direct(a, b);
                    touched.extend([a, b]);
                }
            }
        }
        class.close(touched, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    fn pairs(list: &[[&str; 2]]) -> Vec<[String; 2]> {
        list.iter().map(|pair| pair.map(str::to_owned)).collect()
    }

    fn knowledge(stated: &Background) -> Result<Knowledge, LabError> {
        Knowledge::new(stated, &names(&["age", "dose", "pain", "sleep"]))
    }

    #[test]
    fn contradictions_and_unknown_names_are_named_by_field_and_index() {
        let tiers = vec![names(&["age"]), names(&["pain", "dose"])];
        let cases = [
            (
                Background {
                    required: pairs(&[["age", "dose"], ["dose", "pian"]]),
                    ..Default::default()
                },
                "required[1][1]: unknown node 'pian'",
            ),
            (
                Background {
                    forbidden: pairs(&[["ag", "dose"]]),
                    ..Default::default()
                },
                "forbidden[0][0]: unknown node 'ag'",
            ),
            (
                Background {
                    forbidden: pairs(&[["age", "age"]]),
                    ..Default::default()
                },
                "forbidden[0]: 'age' cannot be its own cause",
            ),
            (
                Background {
                    required: pairs(&[["age", "dose"]]),
                    forbidden: pairs(&[["age", "dose"]]),
                    ..Default::default()
                },
                "required[0]: 'age' -> 'dose' is forbidden too",
            ),
            (
                Background {
                    required: pairs(&[["pain", "age"]]),
                    tiers: tiers.clone(),
                    ..Default::default()
                },
                "required[0]: 'pain' -> 'age' leads from a later tier to an earlier one",
            ),
            (
                Background {
                    tiers: vec![names(&["age"]), names(&["pain", "age"])],
                    ..Default::default()
                },
                "tiers[1][1]: 'age' is in tiers[0] already",
            ),
            (
                Background {
                    required: pairs(&[["age", "dose"], ["dose", "pain"], ["pain", "age"]]),
                    ..Default::default()
                },
                "required[2]: the required edges form a cycle: age -> dose -> pain -> age",
            ),
        ];
        for (stated, expected) in cases {
            assert_eq!(knowledge(&stated).unwrap_err().to_string(), expected);
        }
        let stated = Background {
            forbidden: pairs(&[["ag", "dose"]]),
            ..Default::default()
        };
        let LabError::Invalid { hint, .. } = knowledge(&stated).unwrap_err() else {
            panic!("a wrong field")
        };
        assert_eq!(hint.unwrap(), "did you mean 'age'?");
    }

    #[test]
    fn tiers_bar_edges_back_and_order_only_when_nobody_is_free() {
        let tiers = vec![names(&["age"]), names(&["pain", "dose"])];
        let found = knowledge(&Background {
            tiers: tiers.clone(),
            ..Default::default()
        })
        .unwrap();
        assert!(!found.allows(2, 0) && found.allows(0, 2) && found.allows(1, 2));
        assert!(found.allows(2, 3) && found.allows(3, 0));
        assert_eq!(found.predecessors(), vec![Vec::<usize>::new(); 4]);
        let all = [tiers, vec![names(&["sleep"])]].concat();
        let found = knowledge(&Background {
            tiers: all,
            ..Default::default()
        })
        .unwrap();
        assert_eq!(found.predecessors()[3], [0, 1, 2]);
        assert_eq!(found.predecessors()[1], [0]);
    }

    #[test]
    fn required_edges_are_arranged_and_bar_their_reversal() {
        let required = pairs(&[["sleep", "age"], ["age", "pain"]]);
        let found = knowledge(&Background {
            required,
            ..Default::default()
        })
        .unwrap();
        let mut order = vec![2, 0, 1, 3];
        found.arrange(&mut order);
        assert_eq!(order, [1, 3, 0, 2]);
        assert!(found.required_parents(0) == [3] && !found.allows(0, 3));
        assert!(found.holds_in(&[vec![3], vec![], vec![0, 1], vec![]]));
        assert!(!found.holds_in(&[vec![3], vec![], vec![1], vec![]]));
    }

    /// Two chains 0 - 1 - 2: one known direction settles the other by rule 1.
    #[test]
    fn what_is_known_spreads_through_the_class() {
        let required = pairs(&[["age", "dose"]]);
        let found = knowledge(&Background {
            required,
            ..Default::default()
        })
        .unwrap();
        let mut class = Cpdag::of(&[vec![], vec![0], vec![1], vec![]]);
        assert!(class.undirected(1, 2));
        found.orient(&mut class);
        assert!(class.directed(0, 1) && class.directed(1, 2));
    }
}
