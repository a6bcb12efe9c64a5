//! Black-box tests of the log over the real disk and the real store.

mod log;
mod moves;
mod prune;
mod repair;
mod support;
mod verify;
