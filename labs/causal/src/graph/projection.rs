//! Latent projection (Verma 1993; Tian and Pearl 2002): takes latent nodes out of a
//! graph and keeps what they say about the rest. One latent at a time: its parents become
//! parents of its children, and whatever shared it becomes bidirected.

use super::admg::Edges;
use super::node_set::{NodeSet, bits};

/// The graph over the nodes that are not in `latent`, with their names.
pub(crate) fn project(
    names: Vec<String>,
    mut edges: Edges,
    latent: &[usize],
) -> (Vec<String>, Edges) {
    for &node in latent {
        edges.eliminate(node);
    }
    let gone = NodeSet::of(names.len(), latent);
    let kept: Vec<usize> = (0..names.len())
        .filter(|&node| !gone.contains(node))
        .collect();
    let mut place = vec![0; names.len()];
    for (new, &old) in kept.iter().enumerate() {
        place[old] = new;
    }
    let mut result = Edges::new(kept.len());
    for &old in &kept {
        for child in bits(edges.children(old)).filter(|&child| !gone.contains(child)) {
            result.add_directed(place[old], place[child]);
        }
        for sibling in bits(edges.siblings(old)).filter(|&sibling| !gone.contains(sibling)) {
            result.add_bidirected(place[old], place[sibling]);
        }
    }
    let kept_names = kept.iter().map(|&old| names[old].clone()).collect();
    (kept_names, result)
}
