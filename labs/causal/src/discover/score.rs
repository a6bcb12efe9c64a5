//! What an order search and a search over classes ask of a score: that it is a sum over the
//! variables of a term that depends on the variable and its parents alone, and that graphs which
//! the data cannot tell apart have the same sum.

use hindcast_stats::Matrix;

use super::knowledge::Knowledge;
use crate::control::Stop;

/// A move has to improve the score by more than rounding can.
pub(super) const IMPROVEMENT_MIN: f64 = 1e-6;

/// A decomposable score; higher is better.
pub(super) trait LocalScore: Sync {
    /// Work space, and what is remembered between calls. It never changes an answer.
    type Work: Send;

    fn work(&self) -> Self::Work;

    /// Number of variables.
    fn width(&self) -> usize;

    /// The term of `target` with `parents`; minus infinity when there is none.
    fn local(&self, work: &mut Self::Work, target: usize, parents: &[usize]) -> Result<f64, Stop>;

    /// Drops parents, worst first, as long as that improves the term; the first `kept` stay. What
    /// is left, and its term.
    fn shrink(
        &self,
        work: &mut Self::Work,
        target: usize,
        parents: &[usize],
        kept: usize,
    ) -> Result<(Vec<usize>, f64), Stop>;

    /// Adds to `out` each variable that would improve the term of `target` as one more parent, and
    /// by how much, by rising variable.
    fn gains(
        &self,
        work: &mut Self::Work,
        target: usize,
        parents: &[usize],
        out: &mut Vec<(usize, f64)>,
    ) -> Result<(), Stop>;

    /// The same variables, best first.
    fn rank(
        &self,
        work: &mut Self::Work,
        target: usize,
        parents: &[usize],
        out: &mut Vec<Candidate>,
    ) -> Result<(), Stop> {
        let mut gains = Vec::new();
        self.gains(work, target, parents, &mut gains)?;
        out.extend(gains.iter().map(|&(v, gain)| Candidate::new(gain, v)));
        out.sort_unstable_by(|a, b| b.cmp(a));
        Ok(())
    }

    /// Correlations and the number n of rows, if no term is above `-n ln v` where v is what the
    /// parents leave of the variance of a variable.
    fn correlations(&self) -> Option<(&Matrix, f64)> {
        None
    }

    /// The score of a graph given by the parents of each variable.
    fn total(&self, work: &mut Self::Work, dag: &[Vec<usize>]) -> Result<f64, Stop> {
        let mut total = 0.0;
        for (v, parents) in dag.iter().enumerate() {
            total += self.local(work, v, parents)?;
        }
        Ok(total)
    }
}

/// A variable and a positive number to rank it by, packed so that sorting compares whole numbers:
/// the bits of a positive number rise with it, and its last eleven, about 5e-13 of it, make room
/// for the variable. Of two with the same number the first column is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate(u64);

impl Candidate {
    const VARIABLE: u64 = (1 << 11) - 1;

    pub(super) fn new(worth: f64, variable: usize) -> Self {
        Self(worth.to_bits() & !Self::VARIABLE | (Self::VARIABLE - variable as u64))
    }

    pub(super) fn variable(self) -> u16 {
        u16::try_from(Self::VARIABLE - (self.0 & Self::VARIABLE)).expect("eleven bits")
    }
}

/// What every search works on.
pub(super) struct Task<'a, S> {
    pub score: &'a S,
    pub knowledge: &'a Knowledge,
    pub control: &'a dyn crate::control::Control,
}

impl<S> Clone for Task<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Task<'_, S> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_sort_by_worth_and_then_by_column() {
        let mut all = [
            Candidate::new(0.5, 7),
            Candidate::new(2.0, 1023),
            Candidate::new(2.0, 3),
            Candidate::new(1e-9, 0),
        ];
        all.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(all.map(Candidate::variable), [3, 1023, 7, 0]);
    }
}
