//! What a gate is made of. `actors/tests/gate.rs` puts loom's in its place.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
pub(super) use std::sync::{Mutex, PoisonError};
