//! What a question of what would have been may use and take, for the server and the command line.

use std::time::Duration;

use hindcast_actors::operation::Question;
use hindcast_actors::whatif::{Bounds, Means};
use hindcast_log::Clock;

use crate::config::WhatIfConfig;
use crate::series::Series;

/// The operations of an experiment's spec.
fn series(text: &str, draw: &mut dyn FnMut() -> u64) -> Option<Vec<(Question, u64)>> {
    let series: Series = serde_json::from_str(text).ok()?;
    series.runs_with(draw).ok()
}

/// What results are computed with.
#[must_use]
pub fn means(numeric_profile: &str) -> Means<'_> {
    Means {
        series: &series,
        numeric_profile,
    }
}

/// How much an answer may take. `gone` says that nobody waits for it.
pub fn bounds<'a>(
    config: &WhatIfConfig,
    clock: &'a dyn Clock,
    gone: &'a (dyn Fn() -> bool + Sync),
) -> Bounds<'a> {
    Bounds {
        clock,
        time_max: Duration::from_millis(config.time_ms_max),
        recomputed_max: config.recomputed_max,
        compute_max: Duration::from_millis(config.compute_ms_max),
        gone,
    }
}
