//! `windrow-sim`: one seed of the simulation. The real coordinator, etcd client, session, worker and sink code run in one
//! thread on a simulated network and simulated clocks, over a fake etcd and a fake object store that misbehave. What
//! goes wrong follows from the seed alone, so a seed that fails fails again.
//!
//! ```text
//! windrow-sim --seed 7            runs it, prints a line of JSON, exits with 1 if something did not hold
//! windrow-sim --seed 7 --sabotage unguarded    leaves a guard out, which has to be seen
//! windrow-sim --seed 7 --trace    and tells every event; WINDROW_LOG=info adds what windrow itself logs
//! ```
#![allow(clippy::unwrap_used, reason = "tests")]

mod admin;
mod bucket;
mod check;
mod clock;
mod consumer;
mod coordinator;
mod etcd;
mod faults;
mod input;
mod net;
mod oracle;
mod others;
mod pipelines;
mod plan;
mod reader;
mod rows;
mod run;
mod source;
mod trace;
mod worker;
mod world;

use rand_seeded::SeedableRng;

/// Futures of unoptimized builds are large, and all hosts share this stack.
const STACK_BYTES: usize = 256 << 20;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let seed = match args.iter().position(|arg| arg == "--seed").and_then(|at| args.get(at + 1)) {
        Some(seed) => seed.parse()?,
        None => anyhow::bail!("usage: windrow-sim --seed NUMBER [--trace]"),
    };
    let sabotage = args.iter().position(|arg| arg == "--sabotage").and_then(|at| args.get(at + 1));
    let sabotage = sabotage.and_then(|name| plan::Sabotage::named(name));
    let tells = args.iter().any(|arg| arg == "--trace");
    if tells {
        // Before randomness is pinned: whether a run is told must not change it.
        let filter = std::env::var("WINDROW_LOG").unwrap_or_else(|_| "off".to_owned());
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_writer(std::io::stderr).init();
    }
    // From here on every random number of this process follows from the seed: hash maps, `select!`, jitter, names.
    mad_turmoil::rand::set_rng(rand_seeded::rngs::StdRng::seed_from_u64(seed));
    // A new thread, because this one has drawn random numbers before.
    let simulation =
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || run::run(seed, sabotage, tells))?;
    let report = simulation.join().map_err(|_| anyhow::anyhow!("seed {seed}: the simulation panicked"))?;
    println!("{}", serde_json::to_string(&report)?);
    if !report.violations.is_empty() {
        std::process::exit(1);
    }
    Ok(())
}
