//! Which snapshots are kept: stepping stones over the whole log, dense near its end and thinner
//! towards its beginning, within a budget of bytes. Nothing is removed here.

use hindcast_model::Seq;

/// Snapshots that are kept whatever they take: when the newest does not verify, the one before it
/// is near.
const KEPT_LEAST: usize = 2;
/// Snapshots that are kept at most, so that a folder of them stays quick to list.
const KEPT_MOST: usize = 2_000;

/// The snapshots to remove so that the others take at most `bytes_max`. Of those given, oldest
/// first with their bytes, the one goes whose neighbours stand closest, again and again: of evenly
/// spaced ones every second, the oldest first.
pub(crate) fn surplus(mut kept: Vec<(Seq, u64)>, bytes_max: u64) -> Vec<Seq> {
    let mut bytes: u64 = kept.iter().map(|(_, bytes)| bytes).sum();
    let mut surplus = Vec::new();
    while kept.len() > KEPT_LEAST && (bytes > bytes_max || kept.len() > KEPT_MOST) {
        let gap = |at: usize| {
            let before = at.checked_sub(1).map_or(0, |before| kept[before].0.0);
            kept[at + 1].0.0 - before
        };
        let candidates = 0..kept.len() - KEPT_LEAST;
        let at = candidates.min_by_key(|at| gap(*at)).unwrap_or(0);
        let (seq, freed) = kept.remove(at);
        bytes -= freed;
        surplus.push(seq);
    }
    surplus
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `count` snapshots of `size` bytes, one every 100 events, thinning after each.
    fn ladder(count: u64, size: u64, bytes_max: u64) -> Vec<u64> {
        let mut kept: Vec<(Seq, u64)> = Vec::new();
        for n in 1..=count {
            kept.push((Seq(n * 100), size));
            let gone = surplus(kept.clone(), bytes_max);
            kept.retain(|(seq, _)| !gone.contains(seq));
        }
        kept.into_iter().map(|(seq, _)| seq.0).collect()
    }

    #[test]
    fn everything_is_kept_within_the_budget() {
        assert_eq!(ladder(5, 10, 50), [100, 200, 300, 400, 500]);
    }

    #[test]
    fn no_gap_is_more_than_a_few_times_the_even_one() {
        for count in [37, 64, 101, 500, 1_000] {
            let kept = ladder(count, 10, 200);
            assert_eq!(kept.len(), 20, "{count}");
            assert_eq!(kept.last(), Some(&(count * 100)));
            let before = std::iter::once(&0).chain(&kept);
            let widest = before.zip(&kept).map(|(a, b)| b - a).max();
            assert!(
                widest.is_some_and(|widest| widest <= 3 * count * 100 / 20 + 100),
                "{count}: {kept:?}"
            );
        }
    }

    #[test]
    fn the_newest_two_stay_whatever_they_take() {
        assert_eq!(ladder(9, 1_000, 1), [800, 900]);
        assert_eq!(ladder(KEPT_MOST as u64 + 7, 0, 1).len(), KEPT_MOST);
    }
}
