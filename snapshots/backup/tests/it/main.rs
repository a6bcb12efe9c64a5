//! Backups and restores of real logs in real directories.

#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

mod backups;
mod faults;
mod kill;
mod lost;
mod moments;
mod object_store;
mod pruned;
mod sftp;
mod shipping;
mod sshd;
mod support;
