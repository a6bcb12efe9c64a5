//! Segments that a running server moves while their directories are listed.

use std::path::Path;
use std::sync::Arc;

use hindcast_log::{Disk, Reader, SimDisk, open_journal, replay, state_hash, walk};
use hindcast_model::{Seq, UnixMicros};

use crate::support::{LOG, completed, request, submission};

const SEGMENT_BYTES: u64 = 16 << 10;

/// A log of some segments. Returns its last sequence.
fn grow(disk: &Arc<dyn Disk>, dir: &Path) -> Seq {
    let (mut journal, _) = open_journal(disk, dir, SEGMENT_BYTES, LOG).expect("opens");
    for n in 0..120 {
        journal.begin(UnixMicros(u64::try_from(n).expect("few") + 1), 1);
        for submission in [
            submission(n, request(n, None)),
            submission(n + (1 << 64), completed(n)),
        ] {
            assert!(journal.stage(submission).is_ok());
        }
        journal.commit().expect("committed");
    }
    journal.state().seq()
}

#[test]
fn a_segment_that_moves_between_two_listings_is_seen() {
    let sim = SimDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(sim.clone());
    let dir = Path::new("/data");
    let head = grow(&disk, dir);
    let whole = replay(disk.as_ref(), dir, &|_| {}).expect("reads");
    let state = state_hash(&whole.state).expect("hashes");
    let (wal, archive) = (dir.join("wal"), dir.join("archive"));
    let names = disk.list(&wal).expect("listed");
    let names: Vec<&String> = names.iter().filter(|n| n.ends_with(".seg")).collect();
    let (_, sealed) = names.split_last().expect("there are segments");
    assert!(sealed.len() > 1);
    // They are moved in order, each at the first listing after it was seen to be open, or the second.
    for name in sealed {
        let (from, to) = (wal.join(name), archive.join(name));
        let mut moved = 0;
        for after in 1.. {
            sim.rename_after_listing(after, &from, &to);
            let reader = Reader::open_on(Arc::clone(&disk), dir).expect("opens");
            let was = disk.open(&to, false).is_ok();
            moved += u32::from(was);
            // A move that did not happen while the directories were listed does not happen at all.
            sim.rename_after_listing(u64::MAX, &from, &to);
            let first = reader.segments()[0].first;
            assert_eq!(first, Seq(1), "{name} after {after}");
            let read = reader.read(Seq(1), usize::MAX >> 1).expect("reads");
            assert_eq!(read.last().map(|last| last.seq()), Some(head));
            let folded = reader.fold(None, head).expect("folds");
            assert_eq!(state_hash(&folded.state).expect("hashes"), state);
            let mut walked = 0;
            walk(disk.as_ref(), dir, |_, _| {
                walked += 1;
                Ok(())
            })
            .expect("reads");
            assert_eq!(Seq(walked), head);
            if !was {
                break;
            }
            disk.rename(&to, &from).expect("put back");
        }
        assert!(moved >= 2, "{name} was moved at {moved} listings");
        disk.rename(&from, &to).expect("archived");
    }
}
