//! What every metric of this crate means, for the `HELP` lines.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Tells the installed recorder what the metrics of the actors mean. Called once, after the
/// recorder is installed and before the actors start.
pub fn describe() {
    actors();
    computations();
    scrub();
    log_facts();
    log_figures();
    backups();
    breakers();
    objectives();
    process();
    machine();
    container();
    dependencies();
}

fn machine() {
    describe_gauge!(
        "node_cpu_seconds_total",
        Unit::Seconds,
        "Time that each processor of the machine spent in each mode"
    );
    describe_gauge!(
        "node_memory_MemTotal_bytes",
        Unit::Bytes,
        "Memory of the machine"
    );
    describe_gauge!(
        "node_memory_MemAvailable_bytes",
        Unit::Bytes,
        "Memory of the machine that programs could still get"
    );
    describe_gauge!(
        "network_io_bytes",
        Unit::Bytes,
        "Bytes over the network interfaces that this process sees, without the loopback, by direction"
    );
}

fn container() {
    describe_gauge!(
        "container_cpu_usage_seconds_total",
        Unit::Seconds,
        "CPU time of the control group of this process"
    );
    describe_gauge!(
        "container_memory_usage_bytes",
        Unit::Bytes,
        "Memory of the control group of this process"
    );
    describe_gauge!(
        "container_spec_memory_limit_bytes",
        Unit::Bytes,
        "Memory that the control group of this process may take; absent without a limit"
    );
    describe_gauge!(
        "container_network_receive_bytes_total",
        Unit::Bytes,
        "Bytes received, by network interface"
    );
    describe_gauge!(
        "container_network_transmit_bytes_total",
        Unit::Bytes,
        "Bytes sent, by network interface"
    );
}

fn backups() {
    describe_gauge!(
        "backup_last_success_timestamp_seconds",
        Unit::Seconds,
        "When a backup last succeeded, by kind and target"
    );
    describe_gauge!(
        "backup_last_verified_timestamp_seconds",
        Unit::Seconds,
        "When a backup of the target was last restored, replayed and found to be the log"
    );
    describe_gauge!(
        "backup_size_bytes",
        Unit::Bytes,
        "Bytes that the last backup takes in its target"
    );
    describe_gauge!(
        "backup_duration_seconds",
        Unit::Seconds,
        "Time that the last backup took, without its verification"
    );
    describe_counter!(
        "backup_failures_total",
        "Attempts at a backup, a verification or shipping that failed, by kind and target"
    );
    describe_gauge!(
        "restore_test_duration_seconds",
        Unit::Seconds,
        "Time that restoring and replaying the last verified backup took"
    );
    describe_gauge!(
        "backup_ship_lag_seconds",
        Unit::Seconds,
        "Time since the target last had every durable event; 0 when it has them"
    );
    describe_gauge!(
        "backup_ship_failing",
        "1 while the log cannot be shipped to the target"
    );
    describe_counter!(
        "backup_shipped_bytes_total",
        Unit::Bytes,
        "Bytes shipped to the target as the log grew"
    );
    describe_gauge!(
        "vault_bytes",
        Unit::Bytes,
        "Bytes of the objects in a vault of this server, since it was first written to"
    );
    describe_counter!(
        "vault_objects_total",
        "Objects of a vault that were read, written or removed, by verb"
    );
}

fn breakers() {
    describe_gauge!(
        "circuit_breaker_state",
        "0 closed, 1 half-open, 2 open, 3 forced open, 4 disabled, 5 metrics only"
    );
    describe_gauge!(
        "isl_circuit_breaker_state",
        "As circuit_breaker_state, limited to 0, 1 and 2"
    );
    describe_counter!(
        "circuit_breaker_transitions_total",
        "Changes of a breaker, by where from and where to"
    );
    describe_counter!(
        "circuit_breaker_calls_total",
        "Calls by outcome (success, failure, slow, rejected, ignored)"
    );
    describe_counter!(
        "circuit_breaker_refused_early_total",
        "Calls that were refused before anything was recorded"
    );
    describe_gauge!(
        "service_health_status",
        "1 healthy, 0.5 degraded, 0 failing, by success rate and breaker"
    );
    describe_gauge!("isl_service_health_status", "As service_health_status");
    describe_counter!(
        "fallback_triggered_total",
        "Answers in place of a service, by the state of its breaker"
    );
    describe_counter!(
        "isl_fallback_triggered_total",
        "As fallback_triggered_total"
    );
}

fn objectives() {
    describe_gauge!(
        "slo_error_budget_remaining_ratio",
        "Error budget that is left, of one; negative when it is overdrawn, not a number without data"
    );
    describe_gauge!(
        "slo_burn_rate",
        "How fast an error budget goes, by window; 1 is the rate at which it lasts"
    );
    describe_gauge!("slo_frozen", "1 while an error budget is frozen");
    describe_gauge!(
        "slo_covered_ratio",
        "Share of the window of an objective that was measured"
    );
}

fn actors() {
    describe_gauge!(
        "up",
        "1 while the component answers its heartbeat, 0 otherwise"
    );
    describe_gauge!(
        "actor_mailbox_depth",
        "Messages sent to an actor and not handled yet"
    );
    describe_histogram!(
        "actor_message_duration_seconds",
        Unit::Seconds,
        "Time that an actor took to handle a message"
    );
    describe_gauge!(
        "actor_heartbeat_age_seconds",
        Unit::Seconds,
        "Time since a heartbeat last came through an actor's mailbox"
    );
    describe_counter!("actor_restarts_total", "Times that an actor was built anew");
    describe_counter!(
        "component_restarts_total",
        "Times that a component was built anew, by cause (panic, stall)"
    );
}

fn computations() {
    describe_counter!(
        "causal_computations_total",
        "Requested computations that ended, by kind, backend and outcome"
    );
    describe_histogram!(
        "causal_computation_duration_seconds",
        Unit::Seconds,
        "Time that completed computations took"
    );
    describe_histogram!(
        "causal_computation_queued_seconds",
        Unit::Seconds,
        "Time between the request for a computation and its start"
    );
    describe_counter!(
        "cache_requests_total",
        "Lookups in a cache, by result (hit, miss, not_cacheable)"
    );
    describe_counter!(
        "cache_evictions_total",
        "Entries that left a cache, by cause (size, ttl, explicit, invalidated)"
    );
    describe_gauge!("cache_size_bytes", Unit::Bytes, "Bytes held by a cache");
    describe_gauge!("cache_entries", "Entries held by a cache");
    describe_gauge!(
        "cache_file_bytes",
        Unit::Bytes,
        "Bytes of the files of a cache on disk"
    );
    describe_gauge!(
        "cache_tier_ready",
        "Whether a cache on disk is in use: 1, or 0 while it is opened, off or lost"
    );
    describe_counter!(
        "cache_refuted_total",
        "Entries of a cache on disk that were damaged or that the log does not bear out"
    );
}

fn scrub() {
    describe_gauge!(
        "storage_damaged_files",
        "Files of the data directory that are known to be damaged"
    );
    describe_counter!(
        "scrubs_total",
        "Background readings of all files, by outcome (completed, failed)"
    );
    describe_counter!(
        "scrub_bytes_total",
        Unit::Bytes,
        "Bytes that background readings have checked"
    );
    describe_histogram!(
        "scrub_duration_seconds",
        Unit::Seconds,
        "Time that completed background readings took"
    );
    describe_gauge!(
        "scrub_last_completed_timestamp_seconds",
        Unit::Seconds,
        "When a background reading last came to its end"
    );
}

fn log_facts() {
    describe_counter!("events_total", "Durable events, by type");
    describe_counter!(
        "audit_events_total",
        "What somebody did, or was not allowed to do, by verb and outcome"
    );
    describe_counter!(
        "metrics_events_skipped_total",
        "Durable events that no event-derived metric accounts for"
    );
    describe_gauge!("runs_in_flight", "Runs admitted and not ended");
    describe_gauge!(
        "experiments_open",
        "Experiments with runs that have not ended"
    );
    describe_counter!("experiments_total", "Experiments, by what became of them");
    describe_gauge!("datasets", "Datasets kept");
    describe_counter!("datasets_registered_total", "Uploads that were accepted");
    describe_gauge!(
        "missing_data_ratio",
        "Cells of a dataset without a value, of all, as it was uploaded to this process"
    );
    describe_gauge!(
        "missing_data_percentage",
        "Cells of a dataset without a value, in per cent, as it was uploaded to this process"
    );
    describe_gauge!("idempotency_keys", "Idempotency keys remembered");
    describe_gauge!(
        "intake_paused",
        "1 while no work is admitted because the disk is nearly full"
    );
    describe_counter!(
        "requests_shed_total",
        "Requests turned away before they were recorded, by reason"
    );
    describe_gauge!(
        "config_generation",
        "Generation of the configuration that holds"
    );
    describe_gauge!(
        "config_last_reload_successful",
        "1 when the last reload was taken over"
    );
    describe_gauge!(
        "config_last_reload_success_timestamp_seconds",
        Unit::Seconds,
        "When a configuration was last taken over"
    );
}

fn log_figures() {
    describe_gauge!("log_head_sequence", "Sequence of the newest durable event");
    describe_gauge!("log_queue_depth", "Submissions that wait for the committer");
    describe_counter!("log_frames_total", "Frames written, each with one sync");
    describe_counter!(
        "log_frame_bytes_total",
        Unit::Bytes,
        "Bytes of the frames written"
    );
    describe_gauge!(
        "log_sync_seconds_total",
        Unit::Seconds,
        "Time spent in writing and syncing frames"
    );
    describe_gauge!(
        "log_sync_seconds_max",
        Unit::Seconds,
        "The longest sync since the start"
    );
    describe_histogram!(
        "db_flush_duration_seconds",
        Unit::Seconds,
        "Time that writing and syncing a frame took"
    );
    describe_counter!(
        "db_slow_operations_total",
        "Operations on files that took 100 ms or more, by operation"
    );
    describe_gauge!("db_size_bytes", Unit::Bytes, "Bytes of the lookup store");
    describe_gauge!(
        "db_pending_writes",
        "Durable events that the lookup store has not taken yet"
    );
    describe_gauge!("log_segments_sealed", "Segments that are full and archived");
    describe_gauge!("blobs", "Content-addressed files");
    describe_gauge!(
        "blob_bytes",
        Unit::Bytes,
        "Bytes of content-addressed files"
    );
}

fn dependencies() {
    describe_gauge!(
        "external_dependency_up",
        "1 when the last call to what is not run here was answered, by dependency"
    );
    describe_histogram!(
        "external_request_duration_seconds",
        Unit::Seconds,
        "Calls to what is not run here, by dependency"
    );
    describe_counter!(
        "external_rate_limited_total",
        "Calls that a dependency answered with a wish for fewer of them"
    );
}

fn process() {
    describe_gauge!(
        "process_resident_memory_bytes",
        Unit::Bytes,
        "Resident memory"
    );
    describe_gauge!(
        "process_virtual_memory_bytes",
        Unit::Bytes,
        "Virtual memory"
    );
    describe_gauge!(
        "process_cpu_seconds_total",
        Unit::Seconds,
        "User and system CPU time"
    );
    describe_gauge!("process_threads", "Threads");
    describe_gauge!("process_open_fds", "Open file descriptors");
    describe_gauge!(
        "process_start_time_seconds",
        Unit::Seconds,
        "Start of the process since 1970"
    );
}
