//! The source `http` on a real server.

mod faults;
mod flights;
mod reading;
mod trusting;
