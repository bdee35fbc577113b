//! Batch streams between workers.
