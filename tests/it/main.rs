//! Black-box tests: the real program, real files, real HTTP.

#![expect(
    clippy::print_stdout,
    reason = "a test says why it is skipped and what it counted"
)]

mod api;
mod backups;
mod cli;
mod crash;
mod durability;
mod history;
mod inputs;
mod life;
mod redact;
mod repair;
mod retention;
mod runbook;
mod runs;
mod safe_mode;
mod sealed;
mod support;
mod telemetry;
mod tools;
mod usage;
mod whatif;
