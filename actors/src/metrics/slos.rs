//! Error budgets as gauges. They follow from the state, and change with each batch of figures.

use std::collections::BTreeMap;

use hindcast_model::event::ObjectivesConfigured;
use hindcast_model::{State, UnixMicros};
use metrics::gauge;

use crate::views;

/// What was shown last.
#[derive(Debug, Default)]
pub(super) struct SloMetrics {
    /// The windows of each objective that has gauges.
    shown: BTreeMap<String, Vec<String>>,
    at: Option<UnixMicros>,
    configured: Option<ObjectivesConfigured>,
}

impl SloMetrics {
    pub(super) fn show(&mut self, state: &State) {
        let slos = state.slos();
        let configured = ObjectivesConfigured { plan: slos.plan() };
        if self.at == slos.sampled_at() && self.configured.as_ref() == Some(&configured) {
            return;
        }
        self.at = slos.sampled_at();
        self.configured = Some(configured);
        let mut gone = std::mem::take(&mut self.shown);
        for slo in views::slo_list(state).items {
            let left = slo.budget.remaining_ratio.unwrap_or(f64::NAN);
            let name = slo.name.clone();
            gauge!("slo_error_budget_remaining_ratio", "slo" => name.clone()).set(left);
            gauge!("slo_frozen", "slo" => name.clone()).set(if slo.frozen { 1.0 } else { 0.0 });
            gauge!("slo_covered_ratio", "slo" => name.clone()).set(slo.covered);
            let mut windows = gone.remove(&name).unwrap_or_default();
            for burn in slo.burn {
                windows.retain(|window| *window != burn.window);
                let rate = burn.rate.unwrap_or(f64::NAN);
                gauge!("slo_burn_rate", "slo" => name.clone(), "window" => burn.window.clone())
                    .set(rate);
                self.shown
                    .entry(name.clone())
                    .or_default()
                    .push(burn.window);
            }
            forget_windows(&name, &windows);
        }
        for (name, windows) in gone {
            for gauge in [
                "slo_error_budget_remaining_ratio",
                "slo_frozen",
                "slo_covered_ratio",
            ] {
                gauge!(gauge, "slo" => name.clone()).set(f64::NAN);
            }
            forget_windows(&name, &windows);
        }
    }
}

/// A window that is not looked at any more has no rate.
fn forget_windows(name: &str, windows: &[String]) {
    for window in windows {
        gauge!("slo_burn_rate", "slo" => name.to_owned(), "window" => window.clone()).set(f64::NAN);
    }
}
