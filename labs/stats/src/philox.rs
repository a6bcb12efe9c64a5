//! Counter-based randomness: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
//! 1, 2, 3", SC 2011).
//!
//! A value is a pure function of (seed, stream, counter), so a result never depends on how many
//! threads drew before it. It is not for secrets.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: u32 = 10;

/// One stream of random numbers; streams of one seed are independent.
#[derive(Debug, Clone)]
pub struct Philox {
    seed: u64,
    stream: u64,
    counter: u64,
    block: [u32; 4],
    words_left: usize,
}

impl Philox {
    /// The stream from its start.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self {
            seed,
            stream,
            counter: 0,
            block: [0; 4],
            words_left: 0,
        }
    }

    /// Four words of the stream at `counter`, whatever was drawn before.
    pub fn block(seed: u64, stream: u64, counter: u64) -> [u32; 4] {
        let [c0, c1] = halves(counter);
        let [s0, s1] = halves(stream);
        philox4x32_10([c0, c1, s0, s1], halves(seed))
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.words_left == 0 {
            self.block = Self::block(self.seed, self.stream, self.counter);
            self.counter = self.counter.wrapping_add(1);
            self.words_left = 4;
        }
        self.words_left -= 1;
        self.block[3 - self.words_left]
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.next_u32());
        low | (u64::from(self.next_u32()) << 32)
    }

    /// Uniform on [0, 1), a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Uniform on 0..bound, without bias.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "no number is below 0");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            let [low, high] = halves(product);
            if low >= threshold {
                return high;
            }
        }
    }

    /// Like `below`, for indexes.
    ///
    /// # Panics
    /// When `bound` is 0 or over 2^32 - 1.
    pub fn index_below(&mut self, bound: usize) -> usize {
        self.below(u32::try_from(bound).expect("indexes here are far below 2^32")) as usize
    }

    /// Standard normal (Box and Muller; one value per two uniforms, so that the number of draws
    /// does not depend on the values).
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.index_below(i + 1));
        }
    }

    /// A uniformly random order of 0..n.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "splitting into halves is the purpose"
)]
fn halves(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let [low0, high0] = halves(u64::from(MULTIPLIERS[0]) * u64::from(counter[0]));
        let [low1, high1] = halves(u64::from(MULTIPLIERS[1]) * u64::from(counter[2]));
        counter = [
            high1 ^ counter[1] ^ key[0],
            low1,
            high0 ^ counter[3] ^ key[1],
            low0,
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of `kat_vectors` in the Random123 distribution.
    #[test]
    fn known_answers_of_random123() {
        let cases = [
            (
                [0; 4],
                [0; 2],
                [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
            ),
            (
                [u32::MAX; 4],
                [u32::MAX; 2],
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(philox4x32_10(counter, key), expected);
        }
    }

    #[test]
    fn stream_equals_its_blocks() {
        let mut rng = Philox::new(7, 3);
        for counter in 0..5 {
            let words: Vec<u32> = (0..4).map(|_| rng.next_u32()).collect();
            assert_eq!(words, Philox::block(7, 3, counter));
        }
        assert_ne!(Philox::block(7, 3, 0), Philox::block(7, 4, 0));
        assert_ne!(Philox::block(7, 3, 0), Philox::block(8, 3, 0));
    }

    #[test]
    fn normals_have_the_moments_of_a_standard_normal() {
        let mut rng = Philox::new(1, 0);
        let draws: Vec<f64> = (0..100_000).map(|_| rng.normal()).collect();
        let mean = crate::sum(&draws) / 1e5;
        let square = draws.iter().map(|x| x * x).sum::<f64>() / 1e5;
        let fourth = draws.iter().map(|x| x.powi(4)).sum::<f64>() / 1e5;
        // Six standard errors: 1/sqrt(n), sqrt(2/n), sqrt(96/n).
        assert!(mean.abs() < 0.019 && (square - 1.0).abs() < 0.027 && (fourth - 3.0).abs() < 0.19);
    }

    #[test]
    fn bounded_draws_cover_their_range_evenly() {
        let mut rng = Philox::new(2, 0);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[rng.index_below(7)] += 1;
        }
        assert!(
            counts.iter().all(|c| c.abs_diff(10_000) < 600),
            "{counts:?}"
        );
    }

    #[test]
    fn permutation_holds_every_index_once() {
        let mut order = Philox::new(3, 0).permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
