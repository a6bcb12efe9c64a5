//! Samples of what older versions wrote.

use hindcast_model::Event;

use super::samples::{requests_and_outcomes, restarted, server_events};

/// Records of older schemas, which are read and not written any more.
pub(super) fn older_records() -> Vec<(&'static str, Event)> {
    let mut written = requests_and_outcomes();
    written.extend(server_events());
    let same_as = |name: &str| {
        let found = written.iter().find(|(file, _)| *file == name);
        found.expect("a written record").1.clone()
    };
    let unchanged = [
        (
            "record_3_1_configuration_loaded.bin",
            "record_3_2_configuration_loaded.bin",
        ),
        (
            "record_6_1_run_requested.bin",
            "record_6_3_run_requested.bin",
        ),
        (
            "record_6_1_run_requested_plain.bin",
            "record_6_3_run_requested_plain.bin",
        ),
        (
            "record_6_1_run_requested_blob.bin",
            "record_6_3_run_requested_blob.bin",
        ),
        (
            "record_6_1_run_requested_sealed.bin",
            "record_6_3_run_requested_sealed.bin",
        ),
        (
            "record_6_2_run_requested.bin",
            "record_6_3_run_requested.bin",
        ),
        (
            "record_6_2_run_requested_plain.bin",
            "record_6_3_run_requested_plain.bin",
        ),
        (
            "record_6_2_run_requested_blob.bin",
            "record_6_3_run_requested_blob.bin",
        ),
        (
            "record_6_2_run_requested_sealed.bin",
            "record_6_3_run_requested_sealed.bin",
        ),
        (
            "record_7_1_outcome_observed.bin",
            "record_7_2_outcome_observed.bin",
        ),
        (
            "record_7_1_outcome_observed_failed.bin",
            "record_7_2_outcome_observed_failed.bin",
        ),
    ];
    let mut older: Vec<_> = unchanged.map(|(old, new)| (old, same_as(new))).into();
    older.extend([
        super::breakers::older(),
        ("record_11_1_actor_restarted.bin", restarted("")),
        (
            "record_50_1_metrics_sampled.bin",
            super::operating::sampled().1,
        ),
    ]);
    older
}
