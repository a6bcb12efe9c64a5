//! Outcomes that the recorded history does not hold, and when they come.

use std::collections::BTreeMap;

use hindcast_model::{RunId, UnixMicros};

use crate::samples::Sample;

/// How a run ends that is being computed in the other history alone.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) due: UnixMicros,
    /// What was drawn for it; `None` when nothing was ever recorded of its operation.
    pub(crate) sample: Option<Sample>,
}

/// What is under way, by when it ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    order: BTreeMap<(UnixMicros, RunId), Planned>,
    due: BTreeMap<RunId, UnixMicros>,
}

impl Plan {
    pub(crate) fn insert(&mut self, run: RunId, planned: Planned) {
        self.remove(run);
        self.due.insert(run, planned.due);
        self.order.insert((planned.due, run), planned);
    }

    pub(crate) fn remove(&mut self, run: RunId) {
        if let Some(due) = self.due.remove(&run) {
            self.order.remove(&(due, run));
        }
    }

    pub(crate) fn contains(&self, run: RunId) -> bool {
        self.due.contains_key(&run)
    }

    /// When the first of them ends.
    pub(crate) fn first(&self) -> Option<UnixMicros> {
        self.order.first_key_value().map(|((due, _), _)| *due)
    }

    pub(crate) fn pop(&mut self) -> Option<(RunId, Planned)> {
        let ((_, run), planned) = self.order.pop_first()?;
        self.due.remove(&run);
        Some((run, planned))
    }

    /// All of them, of which none is under way any more.
    pub(crate) fn take(&mut self) -> Vec<RunId> {
        self.order.clear();
        std::mem::take(&mut self.due).into_keys().collect()
    }
}
