//! Black-box tests of the log over the real disk and the real store.

mod log;
mod repair;
mod support;
mod verify;
