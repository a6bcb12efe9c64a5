//! What constraint-based discovery asks of data: is x independent of y given S? And the plain
//! enumeration of the sets S, for tests that have nothing faster.

use crate::control::{Control, Stop};

/// The sets that are asked about: all subsets with `size` members of `pool` together with each of
/// `targets` that is not in the subset. Neither list holds `of`; both rise.
#[derive(Debug, Clone, Copy)]
pub(in crate::discover) struct Question<'a> {
    pub of: usize,
    pub targets: &'a [usize],
    pub pool: &'a [usize],
    pub size: usize,
}

/// A test of conditional independence.
pub(in crate::discover) trait Independence: Sync {
    fn width(&self) -> usize;

    /// Largest set that can be conditioned on.
    fn size_max(&self) -> usize;

    /// Whether the data let `x` and `y` pass for independent given `given`. `false` when the test
    /// cannot be done: what cannot be tested is not removed.
    fn independent(&self, x: usize, y: usize, given: &[usize]) -> bool;

    /// Tells `found` of every target and subset that pass for independent.
    fn separations(
        &self,
        question: Question<'_>,
        control: &dyn Control,
        found: &mut dyn FnMut(usize, &[usize]),
    ) -> Result<(), Stop> {
        let Question {
            of,
            targets,
            pool,
            size,
        } = question;
        let mut given = Vec::with_capacity(size);
        let mut at: Vec<usize> = (0..size).collect();
        if size > pool.len() {
            return Ok(());
        }
        loop {
            given.clear();
            given.extend(at.iter().map(|&i| pool[i]));
            for &target in targets.iter().filter(|t| !given.contains(t)) {
                control.check()?;
                if self.independent(of, target, &given) {
                    found(target, &given);
                }
            }
            if !next_subset(&mut at, pool.len()) {
                return Ok(());
            }
        }
    }
}

/// The next subset of 0..n in lexicographic order; `false` after the last.
fn next_subset(at: &mut [usize], n: usize) -> bool {
    let size = at.len();
    let Some(i) = (0..size).rev().find(|&i| at[i] < n - size + i) else {
        return false;
    };
    at[i] += 1;
    for j in i + 1..size {
        at[j] = at[j - 1] + 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_come_once_and_in_order() {
        let mut at = vec![0, 1];
        let mut seen = vec![at.clone()];
        while next_subset(&mut at, 4) {
            seen.push(at.clone());
        }
        assert_eq!(
            seen,
            [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]].map(Vec::from)
        );
        assert!(!next_subset(&mut [], 4));
    }
}
