//! Every kind of damage that can be done to a data directory is named by `verify` and healed by
//! `repair` to the bytes that were there, or told as lost.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::verify::{check, filled, parted};
use hindcast_log::{Blobs, NoSpares, Remedy, Repair, Spares, StoreCheck, repair};
use hindcast_model::{Digest, Seq};

/// The whole tree, as a copy to damage.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            fs::create_dir_all(&target).expect("made");
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Every file below `dir`, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), fs::read(path).expect("read"))),
        }
    }
    found
}

/// A copy of the whole directory serves as spare.
struct Twin(PathBuf);

impl Spares for Twin {
    fn frames(&self, first: Seq, _next: Option<Seq>) -> Result<Option<Vec<u8>>, String> {
        let name = format!("{:020}.seg", first.0);
        let found = ["archive", "wal"].map(|dir| fs::read(self.0.join(dir).join(&name)).ok());
        Ok(found.into_iter().flatten().next())
    }

    fn blob(&self, digest: Digest) -> Result<Option<Vec<u8>>, String> {
        let name = digest.to_string();
        let path = self.0.join("blobs").join(&name[..2]).join(&name[2..]);
        Ok(fs::read(path).ok())
    }
}

struct Bench {
    _tree: tempfile::TempDir,
    whole: PathBuf,
    work: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let tree = tempfile::tempdir().expect("a directory");
        let (whole, work) = (tree.path().join("whole"), tree.path().join("work"));
        fs::create_dir_all(&whole).expect("made");
        filled(&whole);
        let bench = Self {
            _tree: tree,
            whole,
            work,
        };
        bench.again();
        bench
    }

    fn again(&self) {
        if self.work.exists() {
            fs::remove_dir_all(&self.work).expect("removed");
        }
        fs::create_dir_all(&self.work).expect("made");
        copy(&self.whole, &self.work);
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for dir in ["archive", "wal"] {
            let entries = fs::read_dir(self.work.join(dir)).expect("a directory");
            paths.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
        paths.retain(|path| path.extension().is_some_and(|end| end == "seg"));
        paths.sort_by_key(|path| path.file_name().map(std::ffi::OsStr::to_owned));
        paths
    }

    /// The damage is seen, the plan changes nothing, and the repair gives the old log back.
    fn heals(&self, what: &str, spares: &dyn Spares) -> Repair {
        let before = check(&self.whole);
        let files = files(&self.work);
        let damaged = check(&self.work);
        assert!(!damaged.holds(), "{what}: unseen");
        let plan = repair(&self.work, spares, false).expect("planned");
        let left = self::files(&self.work);
        assert!(left == files, "{what}: verify or the plan wrote something");
        let done = repair(&self.work, spares, true).expect("repaired");
        assert_eq!(plan, done, "{what}");
        assert_eq!(done.lost, [], "{what}");
        let after = check(&self.work);
        assert!(after.holds(), "{what}: {:?}", after.problems);
        assert_eq!(after.chain, before.chain, "{what}");
        assert_eq!(after.state_hash, before.state_hash, "{what}");
        let again = repair(&self.work, spares, true).expect("repaired");
        assert_eq!(again.remedies, [], "{what}");
        done
    }
}

fn frames(bytes: &[u8]) -> Vec<usize> {
    let magic = |at: &usize| bytes[*at..].starts_with(b"HCF1\x01");
    (128..bytes.len() - 8).filter(magic).collect()
}

#[test]
fn flipped_bits_anywhere_are_healed_from_the_lookup_store() {
    let bench = Bench::new();
    let count = bench.segments().len();
    assert!(count >= 2);
    for index in 0..count {
        let path = bench.segments()[index].clone();
        let bytes = fs::read(&path).expect("read");
        let starts = frames(&bytes);
        let end = starts[starts.len() - 1];
        let middle = starts[starts.len() / 2];
        // The segment's header; magic, epoch, count, length, hash and checksum of a frame; records.
        let places = [
            3,
            40,
            126,
            starts[0],
            middle + 24,
            middle + 28,
            middle + 41,
            middle + 50,
        ];
        for offset in places
            .into_iter()
            .chain([middle + 81, middle + 200, end + 60])
        {
            bench.again();
            let mut bad = bytes.clone();
            bad[offset] ^= 4;
            fs::write(&path, bad).expect("damaged");
            let what = format!("segment {index}, byte {offset}");
            if index + 1 == count && offset > end {
                // The header of the very last frame: only a copy can tell.
                bench.heals(&what, &Twin(bench.whole.clone()));
                continue;
            }
            let done = bench.heals(&what, &NoSpares);
            assert!(matches!(
                done.remedies[..],
                [Remedy::Segment { spare: 0, .. }]
            ));
        }
    }
}

#[test]
fn two_places_in_two_segments_are_healed_at_once_and_named_each() {
    let bench = Bench::new();
    let paths = bench.segments();
    for path in &paths[..2] {
        let mut bytes = fs::read(path).expect("read");
        let starts = frames(&bytes);
        bytes[starts[1] + 150] ^= 1;
        bytes[starts[starts.len() - 2] + 90] ^= 1;
        fs::write(path, bytes).expect("damaged");
    }
    let report = check(&bench.work);
    assert_eq!(report.problems_total, 2, "{:?}", report.problems);
    let done = bench.heals("two segments", &NoSpares);
    assert_eq!(done.remedies.len(), 2);
    let [Remedy::Segment { healed, store, .. }, _] = &done.remedies[..] else {
        panic!("{done:?}");
    };
    assert_eq!((healed.len(), *store), (2, 2));
}

#[test]
fn swapped_frames_go_back_to_their_places() {
    let bench = Bench::new();
    let path = bench.segments()[0].clone();
    let bytes = fs::read(&path).expect("read");
    let starts = frames(&bytes);
    let at = &starts[5..8];
    let swapped = [
        &bytes[..at[0]],
        &bytes[at[1]..at[2]],
        &bytes[at[0]..at[1]],
        &bytes[at[2]..],
    ];
    fs::write(&path, swapped.concat()).expect("damaged");
    let done = bench.heals("swapped frames", &NoSpares);
    assert!(matches!(
        done.remedies[..],
        [Remedy::Segment {
            moved: 2,
            store: 0,
            ..
        }]
    ));
}

#[test]
fn truncated_and_missing_segments_come_from_the_store_or_a_copy() {
    let bench = Bench::new();
    let spare = Twin(bench.whole.clone());
    for index in 0..bench.segments().len() {
        bench.again();
        let path = bench.segments()[index].clone();
        fs::remove_file(&path).expect("removed");
        if index + 1 < bench.segments().len() + 1 && index < 2 {
            let done = bench.heals(&format!("segment {index} is missing"), &spare);
            assert!(matches!(
                done.remedies[..],
                [Remedy::Segment { store: 0, .. }]
            ));
            bench.again();
            fs::remove_file(&path).expect("removed");
            let lost = repair(&bench.work, &NoSpares, true).expect("looked");
            assert_eq!(lost.lost.len(), 1, "{lost:?}");
        }
        bench.again();
        let bytes = fs::read(&path).expect("read");
        let starts = frames(&bytes);
        let cut = starts[starts.len() - 3] + 10;
        fs::write(&path, &bytes[..cut]).expect("damaged");
        bench.heals(&format!("segment {index} is cut"), &spare);
    }
}

#[test]
fn blobs_come_from_a_copy_and_are_lost_without_one() {
    let bench = Bench::new();
    let digest = Blobs::digest(b"a large spec");
    let name = digest.to_string();
    let path = bench.work.join("blobs").join(&name[..2]).join(&name[2..]);
    fs::write(&path, b"a large").expect("cut");
    let lost = repair(&bench.work, &NoSpares, true).expect("looked");
    assert_eq!(lost.lost.len(), 1);
    assert_eq!(lost.lost[0].seq, Seq(1));
    let done = bench.heals("a cut blob", &Twin(bench.whole.clone()));
    assert_eq!(
        done.remedies,
        [Remedy::Blob {
            digest,
            seq: Seq(1)
        }]
    );
    fs::remove_file(&path).expect("removed");
    bench.heals("a missing blob", &Twin(bench.whole.clone()));
}

#[test]
fn neither_a_check_nor_a_plan_writes_anything() {
    let bench = Bench::new();
    let unlocked = bench.work.join("LOCK");
    fs::remove_file(&unlocked).expect("removed");
    let before = files(&bench.work);
    for _ in 0..2 {
        let report = check(&bench.work);
        assert_eq!(report.store, StoreCheck::Compared(6_002));
        let plan = repair(&bench.work, &NoSpares, false).expect("planned");
        assert_eq!((plan.remedies.len(), plan.lost.len()), (0, 0), "{plan:?}");
        assert!(files(&bench.work) == before, "something was written");
    }
}

#[test]
fn edited_lookup_store_is_moved_aside() {
    let bench = Bench::new();
    let db = bench.work.join("sled").join("db");
    let bytes = fs::read(&db).expect("read");
    fs::write(&db, &bytes[..bytes.len() / 3]).expect("damaged");
    let report = check(&bench.work);
    assert!(!report.holds());
    let done = repair(&bench.work, &NoSpares, true).expect("repaired");
    assert!(
        matches!(done.remedies[..], [Remedy::Store { .. }]),
        "{done:?}"
    );
    assert!(check(&bench.work).holds());
}

#[test]
fn a_whole_log_has_nothing_to_heal() {
    let bench = Bench::new();
    let found = repair(&bench.work, &NoSpares, true).expect("looked");
    let nothing = Repair {
        whole_to: Seq(6_002),
        ..Repair::default()
    };
    assert_eq!(found, nothing);
}

/// A copy that ends before the log does, as a backup.
struct Short(Twin, usize);

impl Spares for Short {
    fn frames(&self, first: Seq, next: Option<Seq>) -> Result<Option<Vec<u8>>, String> {
        let whole = self.0.frames(first, next)?;
        Ok(whole.map(|bytes| bytes[..frames(&bytes)[self.1]].to_vec()))
    }

    fn blob(&self, digest: Digest) -> Result<Option<Vec<u8>>, String> {
        self.0.blob(digest)
    }
}

#[test]
fn of_the_newest_segment_what_a_copy_has_is_put_back() {
    let bench = Bench::new();
    let path = bench.segments().pop().expect("a segment");
    let whole = fs::read(&path).expect("read");
    let count = frames(&whole).len();
    assert!(count > 3);
    let ends = |spares: &dyn Spares| {
        let found = repair(&bench.work, spares, true).expect("repaired");
        (found.lost.len(), found.whole_to)
    };
    fs::remove_file(&path).expect("removed");
    let (lost, nothing) = ends(&NoSpares);
    assert_eq!(lost, 1);
    bench.again();
    fs::remove_file(&path).expect("removed");
    let (lost, part) = ends(&Short(Twin(bench.whole.clone()), count - 2));
    assert_eq!(lost, 1, "what the copy lacks is named");
    assert!(part > nothing, "{part} {nothing}");
    assert_eq!(check(&bench.work).events, part.0);
    // Nothing of what is there is taken away where only the end is damaged.
    bench.again();
    let mut bytes = whole.clone();
    bytes[frames(&whole)[count - 1] + 150] ^= 1;
    fs::write(&path, &bytes).expect("written");
    fs::remove_dir_all(bench.work.join("sled")).expect("removed");
    let (_, kept) = ends(&NoSpares);
    assert!(kept > part, "{kept} {part}");
}

#[test]
fn a_segment_under_another_name_does_not_keep_a_repair_going() {
    let bench = Bench::new();
    let path = bench.segments()[1].clone();
    let name = path.file_stem().and_then(std::ffi::OsStr::to_str);
    let first: u64 = name.and_then(|name| name.parse().ok()).expect("a number");
    let other = path.with_file_name(format!("{:020}.seg", first + 1));
    fs::rename(&path, &other).expect("renamed");
    for apply in [false, true] {
        let found = repair(&bench.work, &Twin(bench.whole.clone()), apply).expect("ends");
        assert!(!found.remedies.is_empty() || !found.lost.is_empty());
    }
    bench.again();
    fs::rename(&path, &other).expect("renamed");
    repair(&bench.work, &NoSpares, false).expect("ends");
}

#[test]
fn bytes_behind_a_sealed_segment_are_left_out() {
    let bench = Bench::new();
    let path = bench.segments()[0].clone();
    let mut content = fs::read(&path).expect("read");
    let length = content.len();
    content.push(b'x');
    fs::write(&path, &content).expect("written");
    let planned = repair(&bench.work, &NoSpares, false).expect("planned");
    assert!(
        matches!(planned.remedies[..], [Remedy::Segment { stray: 1, .. }]),
        "{:?}",
        planned.remedies
    );
    assert!(planned.lost.is_empty());
    assert_eq!(
        fs::read(&path).expect("read"),
        content,
        "a plan changes nothing"
    );
    let healed = repair(&bench.work, &NoSpares, true).expect("healed");
    assert_eq!(healed.remedies, planned.remedies);
    assert_eq!(fs::read(&path).expect("read"), content[..length]);
    assert!(check(&bench.work).holds());
}

/// The events of the frame at `start`: the first, and the last.
fn events(bytes: &[u8], start: usize) -> (Seq, Seq) {
    let number = |at: usize, len: usize| {
        let mut number = [0; 8];
        number[..len].copy_from_slice(&bytes[start + at..start + at + len]);
        u64::from_le_bytes(number)
    };
    let (count, first) = (number(28, 4), number(32, 8));
    (Seq(first), Seq(first + count - 1))
}

/// What is named as lost, from and to.
fn lost(found: &Repair) -> Vec<(Seq, Seq)> {
    found.lost.iter().map(|lost| (lost.seq, lost.to)).collect()
}

#[test]
fn on_both_sides_of_each_hole_what_can_be_healed_is() {
    let bench = Bench::new();
    let path = bench.segments()[0].clone();
    let whole = fs::read(&path).expect("read");
    let starts = frames(&whole);
    // Of two neighbours without headers nothing tells where the second begins.
    let holes = [(20, 21), (40, 42)];
    let mut left = whole.clone();
    for (from, to) in holes {
        for frame in from..=to {
            left[starts[frame]] ^= 1;
        }
    }
    let mut damaged = left.clone();
    // Records: before, between and behind the holes, and right behind one.
    for frame in [5, 22, 30, starts.len() - 2] {
        damaged[starts[frame] + 100] ^= 1;
    }
    fs::write(&path, &damaged).expect("written");
    let range = |(from, to): (usize, usize)| {
        let (from, to) = (events(&whole, starts[from]), events(&whole, starts[to]));
        (from.0, to.1)
    };
    let planned = repair(&bench.work, &NoSpares, false).expect("planned");
    assert_eq!(lost(&planned), holes.map(range), "{:?}", planned.lost);
    assert_eq!(planned.whole_to.next(), range(holes[0]).0);
    for (lost, hole) in planned.lost.iter().zip(holes) {
        let (from, to) = range(hole);
        let told = format!("events {from} to {to}: ");
        assert!(lost.what.starts_with(&told), "{}", lost.what);
    }
    let [Remedy::Segment { healed, store, .. }] = &planned.remedies[..] else {
        panic!("{:?}", planned.remedies);
    };
    let frames = [5, 22, 30, starts.len() - 2].map(|frame| events(&whole, starts[frame]));
    assert_eq!((&healed[..], *store), (&frames[..], 4));
    let done = repair(&bench.work, &NoSpares, true).expect("repaired");
    assert_eq!(done, planned);
    let content = fs::read(&path).expect("read");
    assert!(content == left, "only the holes are left, as they were");
    let again = repair(&bench.work, &NoSpares, true).expect("repaired");
    assert_eq!((again.remedies, again.lost), (Vec::new(), done.lost));
    bench.heals("the holes", &Twin(bench.whole.clone()));
    assert!(fs::read(&path).expect("read") == whole);
}

/// A copy that lacks the frames from one to before another.
struct Gap(Twin, usize, usize);

impl Spares for Gap {
    fn frames(&self, first: Seq, next: Option<Seq>) -> Result<Option<Vec<u8>>, String> {
        let whole = self.0.frames(first, next)?;
        Ok(whole.map(|bytes| {
            let starts = frames(&bytes);
            [&bytes[..starts[self.1]], &bytes[starts[self.2]..]].concat()
        }))
    }

    fn blob(&self, digest: Digest) -> Result<Option<Vec<u8>>, String> {
        self.0.blob(digest)
    }
}

#[test]
fn of_a_copy_with_a_gap_what_is_borne_out_is_put_back() {
    let bench = Bench::new();
    let path = bench.segments()[0].clone();
    let whole = fs::read(&path).expect("read");
    let starts = frames(&whole);
    let spare = Gap(Twin(bench.whole.clone()), 10, 13);
    let (first, last) = (events(&whole, starts[10]).0, events(&whole, starts[12]).1);
    fs::remove_file(&path).expect("removed");
    // The lookup store has the records of what is before the gap.
    let found = repair(&bench.work, &spare, true).expect("repaired");
    assert_eq!(lost(&found), [(first, last)]);
    let content = fs::read(&path).expect("read");
    assert!(content == [&whole[..starts[10]], &whole[starts[13]..]].concat());
    bench.heals("a gap", &Twin(bench.whole.clone()));
    // Without it nothing bears that out, and what is behind the gap the next segment does.
    fs::remove_file(&path).expect("removed");
    fs::remove_dir_all(bench.work.join("sled")).expect("removed");
    let found = repair(&bench.work, &spare, true).expect("repaired");
    assert_eq!(lost(&found), [(Seq(1), last)]);
    assert_eq!(found.whole_to, Seq(0));
    let content = fs::read(&path).expect("read");
    assert!(content == [&whole[..128], &whole[starts[13]..]].concat());
    bench.heals("a longer gap", &Twin(bench.whole.clone()));
}

#[test]
fn frames_of_another_history_are_not_put_back() {
    let bench = Bench::new();
    let path = bench.segments()[0].clone();
    let whole = fs::read(&path).expect("read");
    let starts = frames(&whole);
    // The same for ninety-nine frames, and then something else.
    let other = bench.work.with_file_name("other");
    fs::create_dir_all(&other).expect("made");
    parted(&other, 99);
    let theirs = fs::read(other.join("wal").join(path.file_name().expect("a name")));
    let theirs = theirs.expect("read");
    assert!(theirs[..starts[99]] == whole[..starts[99]]);
    assert!(theirs[starts[99]..starts[100]] != whole[starts[99]..starts[100]]);
    // Cut where both are the same, so that theirs goes on from what is left.
    fs::write(&path, &whole[..starts[90]]).expect("written");
    for sled in [true, false] {
        if !sled {
            fs::remove_dir_all(bench.work.join("sled")).expect("removed");
        }
        let found = repair(&bench.work, &Twin(other.clone()), true).expect("repaired");
        assert_eq!(found.lost.len(), 1, "{found:?}");
        let content = fs::read(&path).expect("read");
        let kept = if sled { starts[99] } else { starts[90] };
        assert!(
            content == whole[..kept],
            "{} of {kept} bytes",
            content.len()
        );
        fs::write(&path, &whole[..starts[90]]).expect("written");
    }
}
