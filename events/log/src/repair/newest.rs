//! A newest segment that is gone as a whole.

use hindcast_model::Seq;

use super::{Pass, Repair};
use crate::error::LogError;
use crate::scan::Link;
use crate::segment::{self, Location};

impl Pass<'_> {
    /// A segment is archived only when another follows it: where that is gone, what a copy has of it
    /// is put back.
    pub(super) fn newest(&mut self, link: &Link, repair: &mut Repair) -> Result<(), LogError> {
        if repair.lost.last().is_none_or(|lost| lost.seq != link.next) {
            return Ok(());
        }
        let location = Location {
            first: link.next,
            path: segment::wal_dir(self.data_dir).join(segment::file_name(link.next)),
            archived: false,
        };
        let looked = self.segment(&location, &[], link)?;
        repair.lost.pop();
        repair.remedies.extend(looked.remedy);
        repair.lost.extend(looked.lost);
        let end = looked.end.map_or(link.next, |end| end.next);
        let lost = repair.lost.first().map(|lost| lost.seq);
        repair.whole_to = Seq(lost.unwrap_or(end).0.saturating_sub(1));
        Ok(())
    }
}
