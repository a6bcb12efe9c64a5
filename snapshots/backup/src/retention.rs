//! Which backups are kept: one of each of the last days, weeks and months, and always the newest and
//! the newest that was verified. What no kept backup needs is removed.

use std::collections::{BTreeMap, BTreeSet};

use hindcast_model::{BackupId, Seq, UnixMicros};

use crate::error::BackupError;
use crate::repository::{Listed, Repository, part_range, segment_first};
use crate::work::{Step, Work};

/// How many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    pub daily: usize,
    pub weekly: usize,
    pub monthly: usize,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            daily: 7,
            weekly: 5,
            monthly: 12,
        }
    }
}

/// What a pruning removes, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    pub kept: Vec<BackupId>,
    pub removed: Vec<BackupId>,
    /// Objects that nothing needs any more, and their bytes.
    pub objects: usize,
    pub bytes: u64,
}

const DAY_MICROS: u64 = 24 * 3_600 * 1_000_000;

/// Days since 1970-01-01, weeks since the Monday before it, and months since January 1970.
fn periods(at: UnixMicros) -> [u64; 3] {
    let days = at.0 / DAY_MICROS;
    // 1970-01-01 was a Thursday.
    [days, (days + 3) / 7, month(days)]
}

/// Months since January 1970: the civil calendar in eras of 400 years that begin with March
/// (Howard Hinnant, chrono-compatible low-level date algorithms).
fn month(days: u64) -> u64 {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    // Year 0 begins with March of the civil year 0; January and February belong to the next.
    (era * 400 + year_of_era) * 12 + from_march + 2 - 1_970 * 12
}

/// The backups that are kept of these, which are listed oldest first: one of each of the newest so many
/// periods that have any, and whatever the numbers the newest and the newest that was verified. What
/// retention removed from the log is in the newest verified one.
fn kept(listed: &[Listed], keep: Keep) -> BTreeSet<BackupId> {
    let mut kept = BTreeSet::new();
    let counts = [keep.daily, keep.weekly, keep.monthly];
    for (index, count) in counts.into_iter().enumerate() {
        let mut of_period: BTreeMap<u64, &Listed> = BTreeMap::new();
        // The newest of each period that was verified, or the newest where none was.
        for listed in listed.iter().rev() {
            let period = periods(listed.manifest.created_at)[index];
            let held = of_period.entry(period).or_insert(listed);
            if held.verified.is_none() && listed.verified.is_some() {
                *held = listed;
            }
        }
        let newest = of_period.values().rev().take(count);
        kept.extend(newest.map(|listed| listed.manifest.id));
    }
    let newest = listed.last();
    let verified = listed.iter().rev().find(|listed| listed.verified.is_some());
    kept.extend(newest.into_iter().chain(verified).map(|l| l.manifest.id));
    kept
}

/// Removes what is not kept, or tells what it would remove. What was shipped since the newest backup
/// stays, and so does what no backup names where that may belong to it.
pub fn prune(
    repository: &Repository,
    keep: Keep,
    dry_run: bool,
    work: &Work<'_>,
) -> Result<Pruned, BackupError> {
    // Listed before the manifests are read: what comes into being meanwhile is not looked at.
    let objects = repository.names("")?;
    let (listed, damaged) = repository.survey()?;
    if let Some(error) = damaged.into_iter().next() {
        // What only that backup needs cannot be told from what nobody needs.
        return Err(error);
    }
    let kept = kept(&listed, keep);
    let (mut pruned, mut needed, mut known) = (Pruned::default(), BTreeSet::new(), BTreeSet::new());
    for listed in &listed {
        let manifest = &listed.manifest;
        known.extend(manifest.names());
        match kept.contains(&manifest.id) {
            true => {
                pruned.kept.push(manifest.id);
                needed.extend(manifest.names());
            }
            false => pruned.removed.push(manifest.id),
        }
    }
    if !dry_run {
        for id in &pruned.removed {
            work.check()?;
            repository.remove_backup(*id)?;
        }
        work.step(Step::ManifestsRemoved)?;
    }
    // Where the newest backup's open segment begins, and where the backup ends.
    let newest = listed.last().map(|listed| &listed.manifest);
    let open = newest.map_or(Seq(0), |m| {
        let sealed = m.stretches.iter().rfind(|stretch| stretch.sealed);
        sealed.map_or(Seq(1), |stretch| stretch.last.next())
    });
    let end = newest.map_or(Seq(0), |m| m.to_seq);
    for (name, bytes) in objects {
        let stale = match (part_range(&name), segment_first(&name)) {
            (Some((_, last)), _) => last <= end,
            (None, Some(first)) => known.contains(name.as_str()) || first < open,
            (None, None) => {
                let named = name.starts_with("blobs/") || name.starts_with("bases/");
                named && known.contains(name.as_str())
            }
        };
        if !stale || needed.contains(name.as_str()) {
            continue;
        }
        work.check()?;
        pruned.objects += 1;
        pruned.bytes += bytes;
        if !dry_run {
            repository.remove(&name)?;
        }
    }
    if !dry_run {
        work.step(Step::ObjectsRemoved)?;
    }
    Ok(pruned)
}

#[cfg(test)]
mod tests {
    use hindcast_model::Digest;
    use hindcast_model::event::BackupKind;
    use uuid::Uuid;

    use super::*;
    use crate::manifest::{Manifest, Verified};

    fn listed(day: u64, verified: bool) -> Listed {
        listed_at(day, 0, verified)
    }

    fn listed_at(day: u64, minute: u64, verified: bool) -> Listed {
        let id = BackupId(Uuid::from_u128(u128::from(day * 10_000 + minute)));
        let at = UnixMicros(day * DAY_MICROS + minute * 60_000_000 + 5);
        let manifest = Manifest {
            format: 1,
            id,
            log: Uuid::nil(),
            kind: BackupKind::Full,
            parent: None,
            created_at: at,
            from_seq: Seq(1),
            to_seq: Seq(1),
            epoch: 1,
            chain: Digest::default(),
            state_hash: Digest::default(),
            decider_version: 1,
            binary_version: String::new(),
            base: None,
            stretches: Vec::new(),
            blobs: Vec::new(),
            keys: Vec::new(),
            sent_bytes: 0,
        };
        let verified = verified.then_some(Verified {
            backup: id,
            at,
            state_hash: Digest::default(),
            events: 1,
            micros: 1,
        });
        Listed { manifest, verified }
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        let months = |days| month(days);
        assert_eq!(
            [months(0), months(30), months(31), months(58)],
            [0, 0, 1, 1]
        );
        // 2024-02-29, 2024-03-01, 2026-11-25.
        assert_eq!(months(19_782), (2024 - 1970) * 12 + 1);
        assert_eq!(months(19_783), (2024 - 1970) * 12 + 2);
        assert_eq!(months(20_782), (2026 - 1970) * 12 + 10);
    }

    #[test]
    fn a_year_of_daily_backups_leaves_days_weeks_and_months() {
        let first = 20_454;
        let all: Vec<Listed> = (first..first + 400).map(|day| listed(day, true)).collect();
        let kept = kept(&all, Keep::default());
        let days: Vec<u64> = all
            .iter()
            .filter(|l| kept.contains(&l.manifest.id))
            .map(|l| l.manifest.created_at.0 / DAY_MICROS)
            .collect();
        let newest = first + 399;
        assert!((0..7).all(|ago| days.contains(&(newest - ago))), "{days:?}");
        let months: BTreeSet<u64> = days.iter().map(|day| month(*day)).collect();
        assert_eq!(months.len(), 12, "{days:?}");
        let weeks: BTreeSet<u64> = days.iter().map(|day| (day + 3) / 7).collect();
        assert!((0..5).all(|ago| weeks.contains(&((newest + 3) / 7 - ago))));
        assert!(days.len() <= 7 + 5 + 12, "{days:?}");
    }

    #[test]
    fn the_newest_and_the_newest_that_was_verified_stay_whatever_the_numbers() {
        let all = [listed(100, true), listed(200, false), listed(300, false)];
        let none = Keep {
            daily: 0,
            weekly: 0,
            monthly: 0,
        };
        let kept = kept(&all, none);
        let ids: Vec<BackupId> = all.iter().map(|l| l.manifest.id).collect();
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), [ids[0], ids[2]]);
    }

    #[test]
    fn the_newest_periods_count_whichever_of_their_backups_were_verified() {
        // Two a day, of which the earlier or none was verified, and old ones that all were.
        let mut all: Vec<Listed> = (100..110).map(|day| listed_at(day, 1, true)).collect();
        for day in 200..210 {
            all.push(listed_at(day, 618, day % 2 == 0));
            all.push(listed_at(day, 619, false));
        }
        let daily = |daily| Keep {
            daily,
            weekly: 0,
            monthly: 0,
        };
        let places = |keep| -> Vec<(u64, u64)> {
            let kept = kept(&all, keep);
            let kept = all.iter().filter(|l| kept.contains(&l.manifest.id));
            let micros = kept.map(|l| l.manifest.created_at.0);
            let place = |at| (at / DAY_MICROS, at % DAY_MICROS / 60_000_000);
            micros.map(place).collect()
        };
        // Days 207 to 209, and the newest verified, which is of one of them.
        assert_eq!(places(daily(3)), [(207, 619), (208, 618), (209, 619)]);
        // Every period, and one of each; the newest is that of its day.
        assert_eq!(places(daily(1_000)).len(), 20);
        // The newest verified is older than what is kept of the only day.
        assert_eq!(places(daily(1)), [(208, 618), (209, 619)]);
        let months = Keep {
            monthly: 1,
            ..daily(0)
        };
        // Of the newest month the newest verified, and the newest of all.
        assert_eq!(places(months), [(208, 618), (209, 619)]);
    }
}
