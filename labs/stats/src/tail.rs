//! Tails of the normal and the chi-square distribution: what independence tests compare with.
//!
//! Only upper tails are here; densities and samplers are not.

/// Terms of a series or steps of a continued fraction before it is given up; at the arguments of
/// tests some tens are enough.
const TERMS_MAX: usize = 100_000;

/// The value that the magnitude of a standard normal exceeds with probability `alpha`.
///
/// # Panics
/// When `alpha` is not between 0 and 1.
pub fn normal_two_sided(alpha: f64) -> f64 {
    assert!(alpha > 0.0 && alpha < 1.0, "a level is between 0 and 1");
    // erfc(27.2 / sqrt 2) is 0 in doubles, so the answer lies below.
    let (mut low, mut high) = (0.0, 40.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if normal_two_sided_tail(middle) > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Probability that the magnitude of a standard normal exceeds `z`.
pub fn normal_two_sided_tail(z: f64) -> f64 {
    libm::erfc(z * std::f64::consts::FRAC_1_SQRT_2)
}

/// Probability that a chi-square variable with `freedom` degrees exceeds `x`: the upper incomplete
/// gamma function at half of both (series below the mean, continued fraction above; Numerical
/// Recipes, section 6.2).
///
/// # Panics
/// When `freedom` is not above 0.
pub fn chi_square_tail(x: f64, freedom: f64) -> f64 {
    assert!(freedom > 0.0, "a chi-square has degrees of freedom");
    if x <= 0.0 {
        return 1.0;
    }
    let (a, x) = (0.5 * freedom, 0.5 * x);
    let scale = libm::exp(a * libm::log(x) - x - libm::lgamma(a));
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for n in 1..TERMS_MAX {
            term *= x / (a + n as f64);
            sum += term;
            if term < sum * 1e-17 {
                break;
            }
        }
        return (1.0 - scale * sum).max(0.0);
    }
    // Lentz's method for the continued fraction.
    let mut b = x + 1.0 - a;
    let mut c = 1e300;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for n in 1..TERMS_MAX {
        let n = n as f64;
        let factor = -n * (n - a);
        b += 2.0;
        d = 1.0 / nonzero(factor * d + b);
        c = nonzero(b + factor / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-16 {
            break;
        }
    }
    (scale * fraction).min(1.0)
}

fn nonzero(x: f64) -> f64 {
    if x.abs() < 1e-300 { 1e-300 } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of R's `qnorm` and of the tables.
    #[test]
    fn normal_levels_agree_with_tables() {
        for (alpha, z) in [
            (0.05, 1.959_963_984_540_054),
            (0.01, 2.575_829_303_548_901),
            (1e-10, 6.466_951_087_240_516),
        ] {
            assert!((normal_two_sided(alpha) - z).abs() < 1e-9, "{alpha}");
            assert!((normal_two_sided_tail(z) / alpha - 1.0).abs() < 1e-9);
        }
    }

    /// Even degrees of freedom have a closed form: exp(-x/2) sum of (x/2)^k / k!.
    #[test]
    fn chi_square_tail_agrees_with_its_closed_form() {
        for half in 1..30_u32 {
            for x in [0.1, 1.0, 7.0, 30.0, 90.0] {
                let (mut term, mut sum): (f64, f64) = (1.0, 0.0);
                for k in 0..half {
                    sum += term;
                    term *= 0.5 * x / f64::from(k + 1);
                }
                let expected = sum * libm::exp(-0.5 * x);
                let found = chi_square_tail(x, f64::from(2 * half));
                assert!((found - expected).abs() < 1e-12, "{half} {x}: {found}");
            }
        }
    }

    #[test]
    fn one_degree_of_freedom_is_a_squared_normal() {
        for z in [0.1, 0.9, 2.5, 6.0] {
            let found = chi_square_tail(z * z, 1.0);
            assert!((found / normal_two_sided_tail(z) - 1.0).abs() < 1e-11);
        }
    }
}
