//! Black-box tests: the real program, real files, real HTTP.

#![expect(
    clippy::print_stdout,
    reason = "a test says why it is skipped and what it counted"
)]

mod access;
mod api;
mod audit;
mod backup_targets;
mod backups;
mod breakers;
mod cache;
mod cli;
mod collector;
mod crash;
mod dashboards;
mod drills;
mod durability;
mod full_disk;
mod history;
mod inputs;
mod life;
mod load;
mod overload;
mod redact;
mod reload;
mod repair;
mod repeated;
mod retention;
mod runbook;
mod runs;
mod safe_mode;
mod sealed;
mod secrets;
mod slo;
mod slow_clients;
#[path = "../../snapshots/backup/tests/it/sshd.rs"]
#[expect(dead_code, reason = "the tests of the crate of backups use more of it")]
mod sshd;
mod support;
mod telemetry;
mod tools;
mod usage;
mod whatif;
