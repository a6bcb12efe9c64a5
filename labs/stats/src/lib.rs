//! Numbers that several labs need: counter-based randomness, dense linear algebra, reproducible
//! sums.
//!
//! Everything here gives the same bits on every machine: no instruction set is picked at run
//! time, sums have a fixed order, fused multiply-add is never used, and elementary functions come
//! from the `libm` crate. It does not aim at being a general matrix library.

pub mod cholesky;
pub mod lbfgs;
pub mod matrix;
pub mod philox;
pub mod tail;

pub use cholesky::{Cholesky, PivotedCholesky};
pub use lbfgs::History;
pub use matrix::Matrix;
pub use philox::Philox;

use std::fmt;

/// What a result's last bits depend on. Two results are comparable byte for byte when the
/// profiles are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumericProfile {
    /// The instruction set the loops are compiled for; none is chosen at run time.
    pub isa: &'static str,
    /// Where exp, ln and their kind come from.
    pub maths: &'static str,
    /// Raised whenever a change here changes the bits of a result.
    pub version: u32,
}

impl fmt::Display for NumericProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, stats {}", self.isa, self.maths, self.version)
    }
}

/// The profile of this build.
pub fn numeric_profile() -> NumericProfile {
    let isa = if cfg!(target_arch = "x86_64") {
        "x86_64 baseline"
    } else if cfg!(target_arch = "aarch64") {
        "aarch64 baseline"
    } else {
        "portable"
    };
    NumericProfile {
        isa,
        maths: "libm 0.2.16",
        version: 1,
    }
}

/// Natural logarithm, the same bits everywhere.
pub fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// e to the power of x, the same bits everywhere.
pub fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// Natural logarithm of the gamma function of a positive number, the same bits everywhere.
pub fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// Sum in blocks of fixed size, so that the rounding error grows with the number of blocks and
/// the order never changes.
pub fn sum(values: &[f64]) -> f64 {
    sum_in_blocks(values, |x| x)
}

/// `sum` of the magnitudes.
pub fn sum_of_magnitudes(values: &[f64]) -> f64 {
    sum_in_blocks(values, f64::abs)
}

/// Four blocks are summed side by side, each in its order.
fn sum_in_blocks(values: &[f64], of: impl Fn(f64) -> f64) -> f64 {
    const BLOCK: usize = 128;
    let groups = values.chunks_exact(4 * BLOCK);
    let rest = groups.remainder().chunks(BLOCK);
    let mut total = 0.0;
    for group in groups {
        let mut sums = [0.0; 4];
        for at in 0..BLOCK {
            for (block, sum) in sums.iter_mut().enumerate() {
                *sum += of(group[block * BLOCK + at]);
            }
        }
        total = sums.iter().fold(total, |total, sum| total + sum);
    }
    rest.map(|block| block.iter().fold(0.0, |sum, x| sum + of(*x)))
        .fold(total, |total, sum| total + sum)
}

/// Inner product with four fixed partial sums.
///
/// # Panics
/// When the lengths differ.
#[inline]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "inner product of unequal lengths");
    let mut lanes = [0.0; 4];
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let tail: f64 = a4
        .remainder()
        .iter()
        .zip(b4.remainder())
        .fold(0.0, |s, (x, y)| s + x * y);
    for (x, y) in a4.zip(b4) {
        for lane in 0..4 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]) + tail
}

/// `y += factor * x`, element by element.
///
/// # Panics
/// When the lengths differ.
#[inline]
pub fn axpy(factor: f64, x: &[f64], y: &mut [f64]) {
    assert_eq!(x.len(), y.len(), "axpy of unequal lengths");
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_names_what_decides_the_bits() {
        let text = numeric_profile().to_string();
        assert!(
            text.contains("libm 0.2.16") && text.contains("stats 1"),
            "{text}"
        );
    }

    #[test]
    fn sums_do_not_depend_on_how_many_blocks_go_side_by_side() {
        let mut rng = Philox::new(3, 0);
        for length in [0, 1, 127, 512, 513, 1_000, 1_700] {
            let values: Vec<f64> = (0..length).map(|_| rng.normal()).collect();
            let expected = values
                .chunks(128)
                .map(|block| block.iter().fold(0.0, |a, b| a + b))
                .fold(0.0, |a, b| a + b);
            assert_eq!(sum(&values).to_bits(), expected.to_bits());
        }
    }

    #[test]
    fn ln_gamma_agrees_with_factorials() {
        let mut factorial = 1.0;
        for n in 1..30 {
            factorial *= f64::from(n);
            assert!((ln_gamma(f64::from(n) + 1.0) - ln(factorial)).abs() < 1e-12 * 80.0);
        }
        // Of a half it is the root of pi.
        assert!((ln_gamma(0.5) - 0.5 * ln(std::f64::consts::PI)).abs() < 1e-15);
    }

    #[test]
    fn blocked_sum_keeps_small_terms() {
        let values = vec![0.1; 1_000_000];
        assert!((sum(&values) - 100_000.0).abs() < 1e-7);
    }

    #[test]
    fn inner_product_handles_every_tail_length() {
        for length in 0..12_u32 {
            let a: Vec<f64> = (0..length).map(f64::from).collect();
            let expected: f64 = (0..length).map(|i| f64::from(i * i)).sum();
            assert!((dot(&a, &a) - expected).abs() < 1e-12);
        }
    }
}
