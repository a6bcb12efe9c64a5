//! A drill: a machine is taken for lost at this moment, and what its target holds is restored into a
//! scratch directory and opened, as after a loss. What that costs is measured: the recovery point,
//! which is the age of the oldest event that the target lacks, and the recovery time, until the log
//! takes work again (ISO 22301, RPO and RTO). The log that is not lost says whether the result is right.

use std::path::Path;
use std::sync::Arc;

use hindcast_log::{Clock, Log, Options};
use hindcast_model::{Digest, Seq};
use uuid::Uuid;

use crate::error::BackupError;
use crate::plan::{Wanted, plan};
use crate::repository::Repository;
use crate::restore::{Restore, restore};
use crate::verify::Scratch;
use crate::work::Work;

/// What a drill came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drilled {
    /// Where the log was when the loss was assumed.
    pub head: Seq,
    /// The last event that came back.
    pub to_seq: Seq,
    /// Microseconds of work that would be lost.
    pub lost_micros: u64,
    /// Microseconds from the decision to restore until the log takes work.
    pub ready_micros: u64,
    /// The state after `to_seq`, as it was restored.
    pub state_hash: Digest,
    /// The log that is not lost has the same state there.
    pub state_equal: bool,
}

/// Restores the newest that a target has into a scratch directory under `data_dir`, whose log goes
/// on meanwhile, and opens it. The directory is removed afterwards.
pub fn drill(
    repository: &Repository,
    data_dir: &Path,
    (clock, fresh): (&Arc<dyn Clock>, Uuid),
    work: &Work<'_>,
) -> Result<Drilled, BackupError> {
    let no_log = || BackupError::NoLog(data_dir.to_owned());
    let head = work.read(data_dir)?.head()?.ok_or_else(no_log)?.seq;
    let (loss, begun) = (work.clock.wall(), work.clock.monotonic());
    let scratch = Scratch::make(data_dir, "drill", work)?;
    let dir = scratch.path().join("data");
    let segment_bytes = Options::new(&dir).segment_bytes;
    let to = Restore {
        data_dir: &dir,
        segment_bytes,
    };
    let restored = restore(&plan(repository, Wanted::Latest)?, &to, work)?;
    let mut options = Options::new(&dir);
    let newest = hindcast_snapshots::newest(&dir).ok();
    options.checkpoint = newest.and_then(|found| found.checkpoint);
    let (log, _) = Log::open(options, Arc::clone(clock), fresh, &|_| {})?;
    let ready_micros = work.clock.monotonic().saturating_sub(begun);
    log.close();
    let reader = work.read(data_dir)?;
    let moment = hindcast_snapshots::at(&reader, restored.to_seq)?;
    let state_equal = hindcast_log::state_hash(&moment.state)? == restored.state_hash;
    let lost = match restored.to_seq < head {
        true => reader.read(restored.to_seq.next(), 1)?.pop(),
        false => None,
    };
    Ok(Drilled {
        head,
        to_seq: restored.to_seq,
        lost_micros: lost.map_or(0, |lost| loss.since(lost.context.at)),
        ready_micros,
        state_hash: restored.state_hash,
        state_equal,
    })
}
