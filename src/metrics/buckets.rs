//! Upper bounds of the buckets of histograms. They are fixed: a histogram takes the same memory
//! however often it is recorded to. Each time that a requirement or an alert names is a bound
//! itself, so that the share of what is slower is exact.

/// Seconds that a request or a computation takes.
pub const LATENCY_SECONDS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0,
    10.0, 30.0,
];

/// Seconds of what takes microseconds: messages of actors, writes to the store.
pub const SHORT_SECONDS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0,
];

/// Seconds of work in the background.
pub const LONG_SECONDS: &[f64] = &[
    0.000_5, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    600.0, 1_800.0, 3_600.0,
];

/// Bytes, by powers of four from a KiB to a GiB.
pub const BYTES: &[f64] = &[
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
];

/// Counts of things.
pub const COUNTS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0,
];

/// Families whose bounds do not follow from their unit.
const SPECIAL: &[(&str, &[f64])] = &[
    ("actor_message_duration_seconds", SHORT_SECONDS),
    ("db_flush_duration_seconds", SHORT_SECONDS),
    ("scrub_duration_seconds", LONG_SECONDS),
];

/// The bounds of a family, by its name.
#[must_use]
pub fn of(family: &str) -> &'static [f64] {
    let special = SPECIAL.iter().find(|(name, _)| *name == family);
    match special {
        Some((_, bounds)) => bounds,
        None if family.ends_with("_seconds") => LATENCY_SECONDS,
        None if family.ends_with("_bytes") => BYTES,
        None => COUNTS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_every_threshold_is_one() {
        for bounds in [LATENCY_SECONDS, SHORT_SECONDS, LONG_SECONDS, BYTES, COUNTS] {
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
        }
        let bounds = of("http_request_duration_seconds");
        for threshold in [0.000_5, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0] {
            assert!(bounds.contains(&threshold), "{threshold}");
        }
        assert_eq!(of("frame_bytes"), BYTES);
        assert_eq!(of("batch_events"), COUNTS);
    }

    #[test]
    fn times_have_a_bound_at_each_threshold() {
        let families = SPECIAL.iter().map(|(family, _)| *family);
        for family in families.chain(["http_request_duration_seconds"]) {
            let bounds = of(family);
            for wanted in [0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0_f64] {
                assert!(bounds.contains(&wanted), "{family} {wanted}");
            }
            assert!(bounds[0] <= 0.000_5 && bounds.is_sorted(), "{family}");
        }
    }
}
