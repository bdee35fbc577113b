//! The committer against sinks that answer, fail and wait as the test tells them to.
