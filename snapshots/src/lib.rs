//! Snapshots: the folded state in a file, so that a start reads the log from there on, and any
//! moment of the past is near one of them.
//!
//! A snapshot is only a saving: it is taken from durable events, it is used when its checksum, the
//! rules' version and its place in the log's hash chain all hold, and the log is read from further
//! back when one of them does not. Nothing is ever recovered from a snapshot alone.

mod file;
mod ladder;
mod load;
mod moment;
mod take;

pub use file::{Bad, FORMAT};
pub use load::{
    Checked, Found, SetAside, all, damaged, newest, newest_in_place, newest_on, path, set_aside,
};
pub use moment::{Moment, at};
pub use take::{Step, Taken, forget, take, take_watched};
