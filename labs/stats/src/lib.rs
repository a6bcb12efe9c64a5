//! Numbers that several labs need: counter-based randomness, dense linear algebra, reproducible sums.
