//! Hyvarinen's approximation of the entropy of a variable with mean 0 and variance 1 (NIPS 1998;
//! the constants as in Hyvarinen and Smith, JMLR 14, 2013): it needs the means of `log cosh u` and
//! of `u exp(-u^2 / 2)`.
//!
//! Both are computed in plain loops over short arrays that the compiler turns into vector
//! instructions. The exponential is a polynomial of degree 10 after reduction to half of ln 2,
//! accurate to 1e-15 of its value; the logarithms in `log cosh u = |u| + ln(1 + e^-2|u|) - ln 2`
//! are taken once for a product of many factors.

const K1: f64 = 79.047;
const K2: f64 = 7.4129;
const GAMMA: f64 = 0.37457;

const LANES: usize = 8;
/// A product of this many times `LANES` factors up to 2 is far from overflow.
const PRODUCT_STEPS: usize = 64;

/// Coefficients of the interpolation of exp at the Chebyshev nodes of (-ln 2 / 2, ln 2 / 2).
const POLYNOMIAL: [f64; 11] = [
    1.0,
    1.000_000_000_000_006_7,
    0.500_000_000_000_000_6,
    0.166_666_666_665_544_06,
    0.041_666_666_666_573_14,
    0.008_333_333_385_667_782,
    0.001_388_888_893_248_859_9,
    0.000_198_411_702_704_400_67,
    2.480_150_434_699_768_6e-5,
    2.764_018_079_620_985e-6,
    2.762_635_724_144_722_3e-7,
];
const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// Adding it rounds to a whole number, which then stands in the last bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// Below it the result would not be a normal number; e^-700 is nothing beside 1.
const LEAST: f64 = -700.0;

/// e^x for x up to 0.
#[inline(always)]
fn exp_of_negative(x: f64) -> f64 {
    let x = if x < LEAST { LEAST } else { x };
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = (x - whole * LN2_HIGH) - whole * LN2_LOW;
    let c = &POLYNOMIAL;
    let square = rest * rest;
    let fourth = square * square;
    // In pairs, so that the steps do not wait for each other.
    let low = (c[0] + c[1] * rest) + (c[2] + c[3] * rest) * square;
    let high = (c[4] + c[5] * rest) + (c[6] + c[7] * rest) * square;
    let top = (c[8] + c[9] * rest) + c[10] * square;
    let polynomial = low + (high + top * fourth) * fourth;
    let scale = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
    polynomial * scale
}

#[derive(Clone, Copy)]
struct Sums {
    magnitude: [f64; LANES],
    product: [f64; LANES],
    odd: [f64; LANES],
}

impl Sums {
    const NONE: Self = Self {
        magnitude: [0.0; LANES],
        product: [1.0; LANES],
        odd: [0.0; LANES],
    };

    #[inline(always)]
    fn add(&mut self, u: &[f64; LANES]) {
        for lane in 0..LANES {
            let (u, size) = (u[lane], u[lane].abs());
            self.magnitude[lane] += size;
            self.product[lane] *= 1.0 + exp_of_negative(-2.0 * size);
            self.odd[lane] += u * exp_of_negative(-0.5 * (u * u));
        }
    }

    fn total(lanes: &[f64; LANES]) -> f64 {
        lanes.iter().fold(0.0, |a, b| a + b)
    }
}

/// Entropy of `(a - slope * b) * scale`.
pub(super) fn entropy_of_residual(a: &[f64], b: &[f64], slope: f64, scale: f64) -> f64 {
    let n = a.len() as f64;
    let (mut log_cosh, mut odd) = (0.0, 0.0);
    let block = LANES * PRODUCT_STEPS;
    for (a, b) in a.chunks(block).zip(b.chunks(block)) {
        let mut sums = Sums::NONE;
        let (whole_a, whole_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
        let rest = whole_a.remainder().iter().zip(whole_b.remainder());
        let mut u = [0.0; LANES];
        for (value, (a, b)) in u.iter_mut().zip(rest.clone()) {
            *value = (a - slope * b) * scale;
        }
        let missing = if rest.len() == 0 {
            0
        } else {
            LANES - rest.len()
        };
        if rest.len() > 0 {
            sums.add(&u);
        }
        for (a, b) in whole_a.zip(whole_b) {
            for lane in 0..LANES {
                u[lane] = (a[lane] - slope * b[lane]) * scale;
            }
            sums.add(&u);
        }
        let product = sums.product.iter().fold(1.0, |a, b| a * b);
        // A lane without a value took part as 0, with a factor of 2.
        let used = (a.len() + missing) as f64;
        log_cosh += Sums::total(&sums.magnitude) + hindcast_stats::ln(product)
            - used * std::f64::consts::LN_2;
        odd += Sums::total(&sums.odd);
    }
    let (log_cosh, odd) = (log_cosh / n - GAMMA, odd / n);
    let gaussian = 0.5 * (1.0 + hindcast_stats::ln(std::f64::consts::TAU));
    gaussian - K1 * log_cosh * log_cosh - K2 * odd * odd
}

/// Entropy of a variable with mean 0 and variance 1.
pub(super) fn entropy(u: &[f64]) -> f64 {
    entropy_of_residual(u, u, 0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hindcast_stats::Philox;

    #[test]
    fn exponential_is_accurate_to_1e_15() {
        for i in 0..70_000 {
            let x = -0.01 * f64::from(i) - 1e-5 * f64::from(i % 97);
            let expected = hindcast_stats::exp(x.max(LEAST));
            assert!((exp_of_negative(x) / expected - 1.0).abs() < 1e-15, "{x}");
        }
        assert!((exp_of_negative(0.0) - 1.0).abs() < 1e-15);
        assert!(exp_of_negative(-1e9) < 1e-300);
    }

    /// Against the definition, for every remainder of the lanes and a length over one block.
    #[test]
    fn entropy_agrees_with_its_definition() {
        let mut rng = Philox::new(8, 0);
        for n in (1..20).chain([512, 513, 1500]) {
            let a: Vec<f64> = (0..n).map(|_| 3.0 * rng.normal()).collect();
            let b: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
            let (mut log_cosh, mut odd) = (0.0, 0.0);
            for (a, b) in a.iter().zip(&b) {
                let u: f64 = (a - 0.3 * b) * 1.2;
                let e = hindcast_stats::exp(-2.0 * u.abs());
                log_cosh += u.abs() + hindcast_stats::ln(1.0 + e) - std::f64::consts::LN_2;
                odd += u * hindcast_stats::exp(-0.5 * u * u);
            }
            let (log_cosh, odd) = (log_cosh / f64::from(n) - GAMMA, odd / f64::from(n));
            let gaussian = 0.5 * (1.0 + hindcast_stats::ln(std::f64::consts::TAU));
            let expected = gaussian - K1 * log_cosh * log_cosh - K2 * odd * odd;
            let found = entropy_of_residual(&a, &b, 0.3, 1.2);
            // 1e-13 of the means, times twice K1.
            assert!(
                (found - expected).abs() < 1e-10 * (1.0 + expected.abs()),
                "{n}"
            );
        }
    }

    /// The value for a standard normal is the greatest; an exponential variable lies below it.
    #[test]
    fn gaussian_has_the_greatest_entropy() {
        let mut rng = Philox::new(9, 0);
        let normal: Vec<f64> = (0..100_000).map(|_| rng.normal()).collect();
        let skewed: Vec<f64> = (0..100_000)
            .map(|_| -hindcast_stats::ln(1.0 - rng.uniform()) - 1.0)
            .collect();
        assert!((entropy(&normal) - 1.4189).abs() < 2e-3);
        assert!(entropy(&skewed) < 1.2);
    }
}
