//! `windrow-benches`: figures beside their limits and peers, measured in one run.

fn main() {}
