//! Backups and restores of real logs in real directories.

mod backups;
mod faults;
mod kill;
mod moments;
mod shipping;
mod support;
