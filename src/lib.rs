//! The binary's library: configuration, wiring, HTTP and the command line. No domain logic.

pub mod answer;
pub mod backups;
pub mod cli;
pub mod clock;
pub mod config;
pub mod disk;
pub mod http;
pub mod ids;
pub mod metrics;
pub mod nearest;
pub mod privacy;
pub mod profile;
mod retention;
pub mod series;
mod snapshots;
pub mod startup;
pub mod telemetry;
pub mod trace_context;
pub mod whatif;
