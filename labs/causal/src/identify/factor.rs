//! Tables over binary variables and the elimination of variables from products of them, with
//! every table bounded. Exact up to rounding; no sampling.

use std::borrow::Cow;

/// Entries of the largest table; a wider one is refused.
const STATES_BITS_MAX: u32 = 16;
/// Variables that are multiplied out at once.
const SMALL_BITS: u32 = 6;

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
    pub(crate) fn spend(&mut self, mask: u128) -> Result<usize, TooMuchWork> {
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

/// Walks through a table over `wide` and keeps the place in a table over the part `narrow` of it:
/// when the index of the wide table goes up by one, its lowest bits fall and one rises, and what
/// that does to the place is known for each such bit.
#[derive(Clone, Copy)]
struct Stride {
    changes: [usize; STATES_BITS_MAX as usize + 1],
    place: usize,
}

impl Stride {
    fn new(wide: u128, narrow: u128) -> Self {
        let mut stride = Self {
            changes: [0; STATES_BITS_MAX as usize + 1],
            place: 0,
        };
        let (mut rest, mut step, mut below) = (wide, 1_usize, 0_usize);
        for change in &mut stride.changes {
            if rest == 0 {
                break;
            }
            let variable = rest & rest.wrapping_neg();
            rest ^= variable;
            let own = if narrow & variable == 0 { 0 } else { step };
            *change = own.wrapping_sub(below);
            below += own;
            step += own;
        }
        stride
    }

    /// Steps from `index` to the one after it.
    fn step(&mut self, index: usize) {
        let rising = index.trailing_ones() as usize;
        let change = self.changes[rising.min(STATES_BITS_MAX as usize)];
        self.place = self.place.wrapping_add(change);
    }
}

impl Factor {
    pub(crate) fn over(&self, other: &Self, budget: &mut Budget) -> Result<Self, TooMuchWork> {
        self.combined(other, budget, |a, b| a / b)
    }

    fn combined(
        &self,
        other: &Self,
        budget: &mut Budget,
        operation: impl Fn(f64, f64) -> f64,
    ) -> Result<Self, TooMuchWork> {
        let mask = self.mask | other.mask;
        let states = budget.spend(mask)?;
        let (mut left, mut right) = (Stride::new(mask, self.mask), Stride::new(mask, other.mask));
        let mut values = Vec::with_capacity(states);
        for index in 0..states {
            values.push(operation(
                self.values[left.place],
                other.values[right.place],
            ));
            left.step(index);
            right.step(index);
        }
        Ok(Self { mask, values })
    }

    /// The largest difference to another table, for every value of the variables of both.
    pub(crate) fn distance(&self, other: &Self, budget: &mut Budget) -> Result<f64, TooMuchWork> {
        let apart = self.combined(other, budget, |a, b| (a - b).abs())?;
        let worst = |worst: f64, &error: &f64| {
            if error > worst || error.is_nan() {
                error
            } else {
                worst
            }
        };
        Ok(apart.values.iter().fold(0.0, worst))
    }

    /// The sum over the variables in `mask`; one that the table does not have counts twice.
    pub(crate) fn sum_out(&self, mask: u128) -> Self {
        let kept = self.mask & !mask;
        let absent = (mask & !self.mask).count_ones();
        let weight = f64::from(2_u32.saturating_pow(absent));
        let mut values = vec![0.0; 1 << kept.count_ones()];
        let mut stride = Stride::new(self.mask, kept);
        for (index, value) in self.values.iter().enumerate() {
            values[stride.place] += value * weight;
            stride.step(index);
        }
        Self { mask: kept, values }
    }
}

/// The sum over `away` of the product of the tables, one variable at a time, the cheapest first.
/// While everything fits in one small table, that is cheaper still.
pub(crate) fn eliminate(
    factors: &[&Factor],
    away: u128,
    budget: &mut Budget,
) -> Result<Factor, TooMuchWork> {
    let all = factors.iter().fold(0, |mask, factor| mask | factor.mask);
    if all.count_ones() <= SMALL_BITS {
        return product_summed(factors.iter().copied(), away, budget);
    }
    let mut factors: Vec<Cow<'_, Factor>> = factors
        .iter()
        .map(|&factor| Cow::Borrowed(factor))
        .collect();
    let mut rest = away;
    while rest != 0 {
        let variable = cheapest(&factors, rest);
        rest &= !variable;
        let (touched, others): (Vec<_>, Vec<_>) = factors
            .into_iter()
            .partition(|factor| factor.mask & variable != 0);
        factors = others;
        let made = product_summed(touched.iter().map(AsRef::as_ref), variable, budget)?;
        factors.push(Cow::Owned(made));
    }
    product_summed(factors.iter().map(AsRef::as_ref), 0, budget)
}

/// The variable whose elimination makes the smallest table, the lowest of equals.
fn cheapest(factors: &[Cow<'_, Factor>], candidates: u128) -> u128 {
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

/// The sum over `away` of the product.
fn product_summed<'a>(
    factors: impl Iterator<Item = &'a Factor> + Clone,
    away: u128,
    budget: &mut Budget,
) -> Result<Factor, TooMuchWork> {
    let wide = factors.clone().fold(0, |mask, factor| mask | factor.mask);
    let states = budget.spend(wide)?;
    let mut values = vec![1.0; states];
    for factor in factors {
        let mut stride = Stride::new(wide, factor.mask);
        for (index, value) in values.iter_mut().enumerate() {
            *value *= factor.values[stride.place];
            stride.step(index);
        }
    }
    let product = Factor { mask: wide, values };
    if away == 0 {
        return Ok(product);
    }
    Ok(product.sum_out(away))
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
        let full = product_summed([&f, &g].into_iter(), 0, &mut budget).unwrap();
        for index in 0..8_usize {
            let expected = f.values[index & 3] * g.values[index >> 1];
            assert!((full.values[index] - expected).abs() < 1e-15);
        }
        let fast = eliminate(&[&f, &g], 0b010, &mut budget).unwrap();
        let slow = full.sum_out(0b010);
        assert_eq!(fast.mask, 0b101);
        for (a, b) in fast.values.iter().zip(&slow.values) {
            assert!((a - b).abs() < 1e-15);
        }
    }

    fn constant(value: f64) -> Factor {
        Factor {
            mask: 0,
            values: vec![value],
        }
    }

    #[test]
    fn a_variable_outside_the_table_counts_twice() {
        let sum = constant(0.25).sum_out(0b11);
        assert!((sum.values[0] - 1.0).abs() < 1e-15);
        let none = eliminate(&[], 0b1, &mut Budget { left: 10 }).unwrap();
        assert!((none.values[0] - 2.0).abs() < 1e-15);
    }

    /// Nine variables in overlapping triples: more than are multiplied out at once.
    #[test]
    fn elimination_in_steps_agrees_with_the_full_table() {
        let mut budget = Budget { left: 1_000_000 };
        let factors: Vec<Factor> = (0..7_u32)
            .map(|first| Factor {
                mask: 0b111 << first,
                values: (0..8)
                    .map(|at| f64::from(at * 7 % 5 + first) + 0.5)
                    .collect(),
            })
            .collect();
        let borrowed: Vec<&Factor> = factors.iter().collect();
        let away = 0b1_0110_1101;
        let fast = eliminate(&borrowed, away, &mut budget).unwrap();
        let slow = product_summed(borrowed.iter().copied(), away, &mut budget).unwrap();
        assert_eq!(fast.mask, slow.mask);
        for (a, b) in fast.values.iter().zip(&slow.values) {
            assert!((a / b - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_distance_is_taken_for_every_value_of_both() {
        let mut budget = Budget { left: 100 };
        let f = Factor {
            mask: 0b01,
            values: vec![1.0, 2.0],
        };
        let g = Factor {
            mask: 0b10,
            values: vec![1.5, 4.0],
        };
        let apart = f.distance(&g, &mut budget).unwrap();
        assert!((apart - 3.0).abs() < 1e-15);
        assert!(
            constant(f64::NAN)
                .distance(&g, &mut budget)
                .unwrap()
                .is_nan()
        );
    }

    #[test]
    fn tables_and_work_are_bounded() {
        let wide = Factor {
            mask: (1 << 17) - 1,
            values: vec![1.0],
        };
        let mut budget = Budget { left: u64::MAX };
        assert_eq!(constant(1.0).over(&wide, &mut budget), Err(TooMuchWork));
        let mut budget = Budget { left: 3 };
        let pair = Factor {
            mask: 0b11,
            values: vec![1.0; 4],
        };
        assert_eq!(pair.over(&constant(1.0), &mut budget), Err(TooMuchWork));
    }
}
