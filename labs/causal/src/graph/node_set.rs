//! Sets of nodes as bitsets. A set knows only its words: callers keep the number of nodes, and
//! only sets and rows of one graph may meet.

use smallvec::{SmallVec, smallvec};

/// Words that a set keeps without an allocation of its own: graphs of up to 128 nodes.
const WORDS_INLINE: usize = 2;

/// A set of node indices of one graph.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeSet {
    words: SmallVec<[u64; WORDS_INLINE]>,
}

/// Words needed for `nodes` bits.
pub(crate) fn words_for(nodes: usize) -> usize {
    nodes.div_ceil(64).max(1)
}

/// The indices of the bits that are set, ascending.
pub(crate) fn bits(words: &[u64]) -> impl Iterator<Item = usize> + '_ {
    words.iter().enumerate().flat_map(|(index, &word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let bit = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            Some(index * 64 + bit)
        })
    })
}

impl NodeSet {
    /// No node of a graph of `nodes` nodes.
    #[must_use]
    pub fn empty(nodes: usize) -> Self {
        Self {
            words: smallvec![0; words_for(nodes)],
        }
    }

    /// Every node of a graph of `nodes` nodes.
    #[must_use]
    pub fn full(nodes: usize) -> Self {
        let mut set = Self::empty(nodes);
        for (index, word) in set.words.iter_mut().enumerate() {
            let left = nodes.saturating_sub(index * 64);
            *word = if left >= 64 {
                u64::MAX
            } else {
                (1_u64 << left) - 1
            };
        }
        set
    }

    /// The nodes listed.
    #[must_use]
    pub fn of(nodes: usize, members: &[usize]) -> Self {
        let mut set = Self::empty(nodes);
        for &node in members {
            set.insert(node);
        }
        set
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Adds a node.
    pub fn insert(&mut self, node: usize) {
        self.words[node / 64] |= 1 << (node % 64);
    }

    /// Takes a node out.
    pub fn remove(&mut self, node: usize) {
        self.words[node / 64] &= !(1 << (node % 64));
    }

    /// Takes every node out.
    pub(crate) fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Whether the node is a member.
    #[must_use]
    pub fn contains(&self, node: usize) -> bool {
        self.words[node / 64] >> (node % 64) & 1 == 1
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        bits(&self.words)
    }

    /// The smallest member.
    #[must_use]
    pub fn first(&self) -> Option<usize> {
        self.iter().next()
    }

    /// Adds every node of the row.
    pub(crate) fn add_words(&mut self, other: &[u64]) {
        for (word, more) in self.words.iter_mut().zip(other) {
            *word |= more;
        }
    }

    /// Adds every member of `other`.
    pub fn add(&mut self, other: &Self) {
        self.add_words(&other.words);
    }

    /// Takes every member of `other` out.
    pub fn subtract(&mut self, other: &Self) {
        for (word, less) in self.words.iter_mut().zip(&other.words) {
            *word &= !less;
        }
    }

    /// Keeps only members of `other`.
    pub(crate) fn intersect(&mut self, other: &Self) {
        for (word, kept) in self.words.iter_mut().zip(&other.words) {
            *word &= kept;
        }
    }

    /// Takes the members that are in the row out, and adds them to both sets.
    pub(crate) fn move_to(&mut self, row: &[u64], one: &mut Self, other: &mut Self) {
        let words = self.words.iter_mut().zip(row);
        let sets = one.words.iter_mut().zip(&mut other.words);
        for ((word, row), (one, other)) in words.zip(sets) {
            let moved = *word & row;
            *word &= !moved;
            *one |= moved;
            *other |= moved;
        }
    }

    /// Members of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut result = self.clone();
        result.add(other);
        result
    }

    /// Members of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let words = self
            .words
            .iter()
            .zip(&other.words)
            .map(|(a, b)| a & b)
            .collect();
        Self { words }
    }

    /// Members of `self` that are not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut result = self.clone();
        result.subtract(other);
        result
    }

    /// Whether the two share a member.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }

    /// Whether every member is in `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.words
            .iter()
            .zip(&other.words)
            .all(|(a, b)| a & !b == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_set_has_no_bit_past_the_end() {
        for nodes in [1, 63, 64, 65, 128, 130] {
            let set = NodeSet::full(nodes);
            assert_eq!(set.len(), nodes);
            assert_eq!(
                set.iter().collect::<Vec<_>>(),
                (0..nodes).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn set_algebra_agrees_with_membership() {
        let a = NodeSet::of(70, &[1, 5, 69]);
        let b = NodeSet::of(70, &[5, 64]);
        assert_eq!(a.union(&b).iter().collect::<Vec<_>>(), [1, 5, 64, 69]);
        assert_eq!(a.minus(&b).iter().collect::<Vec<_>>(), [1, 69]);
        assert_eq!(a.intersection(&b).iter().collect::<Vec<_>>(), [5]);
        assert!(a.intersects(&b) && !a.is_subset(&b));
    }
}
