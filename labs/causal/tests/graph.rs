//! Graphs as texts and pictures, and the paths in them.

#[cfg(test)]
mod graph {
    mod formats;
    mod paths;
}
