//! `windrow-benches`: figures beside their limits and peers, measured in one run. There are none yet, and it says so.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("not yet: windrow has no benchmarks, so nothing is claimed about its speed or memory");
    ExitCode::FAILURE
}
