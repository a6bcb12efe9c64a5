//! Tables over binary variables and the elimination of variables from products of them, with
//! every table bounded. Exact up to rounding; no sampling.

/// Entries of the largest table; a wider one is refused.
const STATES_BITS_MAX: u32 = 16;

/// The check would need more work than is allowed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMuchWork;

/// A table over the variables in `mask`; the lowest variable is the lowest bit of the index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Factor {
    pub(crate) mask: u128,
    pub(crate) values: Vec<f64>,
}

/// The work that is left; one unit is one table entry written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) left: u64,
}

impl Budget {
    fn spend(&mut self, mask: u128) -> Result<usize, TooMuchWork> {
        if mask.count_ones() > STATES_BITS_MAX {
            return Err(TooMuchWork);
        }
        let states = 1_usize << mask.count_ones();
        self.left = self.left.checked_sub(states as u64).ok_or(TooMuchWork)?;
        Ok(states)
    }
}

pub(crate) fn bit(variable: usize) -> u128 {
    1 << variable
}

/// For each entry of a table over `wide`, the entry of a table over the part `narrow` of it.
fn places(wide: u128, narrow: u128) -> Vec<usize> {
    let mut places = vec![0_usize];
    let mut step = 1;
    let mut rest = wide;
    while rest != 0 {
        let variable = rest & rest.wrapping_neg();
        rest ^= variable;
        let count = places.len();
        let offset = if narrow & variable == 0 { 0 } else { step };
        for index in 0..count {
            let place = places[index] + offset;
            places.push(place);
        }
        step += offset;
    }
    places
}

impl Factor {
    pub(crate) fn constant(value: f64) -> Self {
        Self {
            mask: 0,
            values: vec![value],
        }
    }

    /// The table with further variables, on which its values do not depend.
    pub(crate) fn widened(&self, mask: u128, budget: &mut Budget) -> Result<Self, TooMuchWork> {
        let mask = mask | self.mask;
        budget.spend(mask)?;
        let values = places(mask, self.mask)
            .into_iter()
            .map(|at| self.values[at])
            .collect();
        Ok(Self { mask, values })
    }

    pub(crate) fn times(&self, other: &Self, budget: &mut Budget) -> Result<Self, TooMuchWork> {
        self.combined(other, budget, |a, b| a * b)
    }

    pub(crate) fn over(&self, other: &Self, budget: &mut Budget) -> Result<Self, TooMuchWork> {
        self.combined(other, budget, |a, b| a / b)
    }

    fn combined(
        &self,
        other: &Self,
        budget: &mut Budget,
        operation: impl Fn(f64, f64) -> f64,
    ) -> Result<Self, TooMuchWork> {
        let mut result = self.widened(other.mask, budget)?;
        let other_places = places(result.mask, other.mask);
        for (value, at) in result.values.iter_mut().zip(other_places) {
            *value = operation(*value, other.values[at]);
        }
        Ok(result)
    }

    /// The sum over the variables in `mask`; one that the table does not have counts twice.
    pub(crate) fn sum_out(&self, mask: u128) -> Self {
        let kept = self.mask & !mask;
        let absent = (mask & !self.mask).count_ones();
        let weight = f64::from(2_u32.saturating_pow(absent));
        let mut values = vec![0.0; 1 << kept.count_ones()];
        for (value, at) in self.values.iter().zip(places(self.mask, kept)) {
            values[at] += value * weight;
        }
        Self { mask: kept, values }
    }
}

/// The sum over `away` of the product of the tables, one variable at a time, the cheapest first.
pub(crate) fn eliminate(
    mut factors: Vec<Factor>,
    away: u128,
    budget: &mut Budget,
) -> Result<Factor, TooMuchWork> {
    let mut rest = away;
    while rest != 0 {
        let variable = cheapest(&factors, rest);
        rest &= !variable;
        let (touched, others): (Vec<_>, Vec<_>) = factors
            .into_iter()
            .partition(|factor| factor.mask & variable != 0);
        factors = others;
        factors.push(product(&touched, budget)?.sum_out(variable));
    }
    product(&factors, budget)
}

/// The variable whose elimination makes the smallest table, the lowest of equals.
fn cheapest(factors: &[Factor], candidates: u128) -> u128 {
    let mut best = (u32::MAX, 0);
    let mut rest = candidates;
    while rest != 0 {
        let variable = rest & rest.wrapping_neg();
        rest ^= variable;
        let touched = factors.iter().filter(|factor| factor.mask & variable != 0);
        let width = touched
            .fold(0, |mask, factor| mask | factor.mask)
            .count_ones();
        if width < best.0 {
            best = (width, variable);
        }
    }
    best.1
}

fn product(factors: &[Factor], budget: &mut Budget) -> Result<Factor, TooMuchWork> {
    let mut result = Factor::constant(1.0);
    for factor in factors {
        result = result.times(factor, budget)?;
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elimination_agrees_with_the_full_table() {
        let mut budget = Budget { left: 1_000 };
        let f = Factor {
            mask: 0b011,
            values: vec![0.1, 0.2, 0.3, 0.4],
        };
        let g = Factor {
            mask: 0b110,
            values: vec![0.5, 0.6, 0.7, 0.8],
        };
        let full = f.times(&g, &mut budget).unwrap();
        for index in 0..8_usize {
            let expected = f.values[index & 3] * g.values[index >> 1];
            assert!((full.values[index] - expected).abs() < 1e-15);
        }
        let fast = eliminate(vec![f, g], 0b010, &mut budget).unwrap();
        let slow = full.sum_out(0b010);
        assert_eq!(fast.mask, 0b101);
        for (a, b) in fast.values.iter().zip(&slow.values) {
            assert!((a - b).abs() < 1e-15);
        }
    }

    #[test]
    fn a_variable_outside_the_table_counts_twice() {
        let sum = Factor::constant(0.25).sum_out(0b11);
        assert!((sum.values[0] - 1.0).abs() < 1e-15);
    }

    #[test]
    fn tables_and_work_are_bounded() {
        let mut budget = Budget { left: u64::MAX };
        let wide = Factor::constant(1.0).widened((1 << 17) - 1, &mut budget);
        assert_eq!(wide, Err(TooMuchWork));
        let mut budget = Budget { left: 3 };
        assert_eq!(
            Factor::constant(1.0).widened(0b11, &mut budget),
            Err(TooMuchWork)
        );
    }
}
