//! The binary's library: configuration, wiring, HTTP and the command line. No domain logic.

pub mod access;
pub mod answer;
pub mod backups;
mod breakers;
pub mod cli;
pub mod clock;
pub mod config;
pub mod disk;
mod hangup;
pub mod http;
pub mod ids;
pub mod metrics;
pub mod nearest;
pub mod overload;
pub mod privacy;
pub mod profile;
mod retention;
pub mod series;
mod snapshots;
pub mod startup;
pub mod telemetry;
pub mod tls;
pub mod trace_context;
mod vaults;
pub mod whatif;
