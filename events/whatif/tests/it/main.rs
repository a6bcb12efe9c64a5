//! The other history, over logs that a real journal wrote.

mod cone;
mod empty;
mod search;
mod support;
mod worlds;
