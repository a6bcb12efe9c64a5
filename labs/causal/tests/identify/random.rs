//! Random small graphs and random models of them, with a latent for each bidirected edge.

use std::collections::BTreeMap;

use hindcast_causal::graph::Admg;

/// A multiplicative counter generator; only for tests.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = self.0 ^ (self.0 >> 33);
        mixed.wrapping_mul(0xff51_afd7_ed55_8ccd) >> 20
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }

    pub(crate) fn unit(&mut self) -> f64 {
        f64::from(u32::try_from(self.roll() & 0xffff_ffff).unwrap()) / 4_294_967_296.0
    }
}

/// A random graph over `a`, `b`, .. whose topological order is not the order of the names.
pub(crate) fn graph(dice: &mut Dice, nodes: usize, directed: u64, bidirected: u64) -> Admg {
    let names: Vec<String> = (0..nodes).map(|node| format!("v{node}")).collect();
    let mut order: Vec<usize> = (0..nodes).collect();
    for place in (1..nodes).rev() {
        let other = usize::try_from(dice.roll()).unwrap() % (place + 1);
        order.swap(place, other);
    }
    let (mut arrows, mut arcs) = (Vec::new(), Vec::new());
    for place in 0..nodes {
        for other in 0..place {
            let (from, to) = (names[order[other]].as_str(), names[order[place]].as_str());
            if dice.chance(directed) {
                arrows.push((from, to));
            }
            if dice.chance(bidirected) {
                arcs.push((from, to));
            }
        }
    }
    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    Admg::from_edges(&list, &arrows, &arcs).unwrap()
}

/// A binary model: for each node, its probability of 1 for each value of parents and latents.
pub(crate) struct Model {
    nodes: usize,
    causes: Vec<Vec<usize>>,
    order: Vec<usize>,
    chances: Vec<BTreeMap<Vec<usize>, f64>>,
    latent: Vec<f64>,
}

impl Model {
    pub(crate) fn draw(graph: &Admg, dice: &mut Dice) -> Self {
        let nodes = graph.nodes();
        let mut causes: Vec<Vec<usize>> = (0..nodes)
            .map(|node| {
                (0..nodes)
                    .filter(|&p| graph.edges().has_directed(p, node))
                    .collect()
            })
            .collect();
        let mut latent = Vec::new();
        for a in 0..nodes {
            for b in (0..a).filter(|&b| graph.edges().has_bidirected(a, b)) {
                causes[a].push(nodes + latent.len());
                causes[b].push(nodes + latent.len());
                latent.push(0.2 + 0.6 * dice.unit());
            }
        }
        let mut chances = Vec::new();
        for list in &causes {
            let table = (0..1_usize << list.len()).map(|number| {
                let key = (0..list.len())
                    .map(|place| number >> place & 1)
                    .collect::<Vec<_>>();
                (key, 0.05 + 0.9 * dice.unit())
            });
            chances.push(table.collect());
        }
        Self {
            nodes,
            causes,
            order: graph.order().to_vec(),
            chances,
            latent,
        }
    }

    /// The joint distribution, in C order over the nodes; nodes in `fixed` get their value with
    /// certainty, whatever their causes.
    pub(crate) fn joint(&self, fixed: &[(usize, usize)]) -> Vec<f64> {
        let mut table = vec![0.0; 1 << self.nodes];
        let latents = self.latent.len();
        for hidden in 0..1_usize << latents {
            for (state, total) in table.iter_mut().enumerate() {
                let value = |variable: usize| {
                    if variable < self.nodes {
                        state >> (self.nodes - 1 - variable) & 1
                    } else {
                        hidden >> (variable - self.nodes) & 1
                    }
                };
                if fixed.iter().any(|&(node, wanted)| value(node) != wanted) {
                    continue;
                }
                let mut probability = 1.0;
                for (number, &chance) in self.latent.iter().enumerate() {
                    let one = hidden >> number & 1 == 1;
                    probability *= if one { chance } else { 1.0 - chance };
                }
                for &node in &self.order {
                    if fixed.iter().any(|&(other, _)| other == node) {
                        continue;
                    }
                    let key: Vec<usize> = self.causes[node].iter().map(|&c| value(c)).collect();
                    let chance = self.chances[node][&key];
                    probability *= if value(node) == 1 {
                        chance
                    } else {
                        1.0 - chance
                    };
                }
                *total += probability;
            }
        }
        table
    }
}
