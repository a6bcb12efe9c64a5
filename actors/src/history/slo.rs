//! Service level objectives as they were at a moment.

use super::{HistoryError, Source, When, place};
use crate::views::{self, SloList};

/// Every objective at a moment, with what was counted until then.
pub fn slos(source: &dyn Source, when: When) -> Result<SloList, HistoryError> {
    let seq = place(source, "at", when)?;
    let moment = super::state::moment(source, seq)?;
    Ok(views::slo_list(&moment.state))
}
