//! What processes use, as Linux tells in `/proc`: processor time, memory now and at its peak.

use std::{
    fs,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

/// How often a running process is looked at. Its peak is remembered by the kernel until it ends, so only what it takes
/// more in its last moments can be missed.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The unit of processor times in `/proc`: a hundredth of a second, by the kernel's promise to programs.
const TICK: Duration = Duration::from_millis(10);

/// A process that ran to its end.
pub(crate) struct Finished {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// Most memory that was resident at a time.
    pub(crate) peak_bytes: u64,
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Result<Finished> {
    let (out, err) = (tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?);
    command.stdin(Stdio::null()).stdout(out.reopen()?).stderr(err.reopen()?);
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let mut peak_bytes = 0;
    // Its figures can be read until it is waited for: as a zombie it keeps its times, though not its memory.
    let (wall, cpu) = loop {
        let stat = Stat::of(child.id())?;
        if stat.ended {
            break (began.elapsed(), stat.cpu);
        }
        peak_bytes = memory(child.id(), "VmHWM").map_or(peak_bytes, |peak| peak.max(peak_bytes));
        sleep(LOOK_EVERY);
    };
    let status = child.wait()?;
    let text = |file: &tempfile::NamedTempFile| fs::read_to_string(file.path()).unwrap_or_default();
    ensure!(status.success(), "{command:?} ended with {status}\n{}{}", text(&out), text(&err));
    Ok(Finished { wall, cpu, peak_bytes })
}

/// The processor time a running process has taken.
pub(crate) fn cpu(process: u32) -> Result<Duration> {
    Ok(Stat::of(process)?.cpu)
}

/// The memory a running process has resident.
pub(crate) fn resident(process: u32) -> Result<u64> {
    memory(process, "VmRSS").context("no VmRSS")
}

/// The most it had resident since it began, or since [`forget_peak`].
pub(crate) fn peak(process: u32) -> Result<u64> {
    memory(process, "VmHWM").context("no VmHWM")
}

/// Lets the peak begin anew at what is resident now.
pub(crate) fn forget_peak(process: u32) -> Result<()> {
    Ok(fs::write(format!("/proc/{process}/clear_refs"), "5")?)
}

struct Stat {
    ended: bool,
    cpu: Duration,
}

impl Stat {
    fn of(process: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name may hold anything; behind its last parenthesis are plain fields, the first of them the state.
        let fields: Vec<&str> =
            text.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).context("no fields in a stat")?;
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u32>().ok()).context("no ticks");
        Ok(Self { ended: matches!(fields.first(), Some(&"Z" | &"X")), cpu: TICK * (ticks(11)? + ticks(12)?) })
    }
}

fn memory(process: u32, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_that_works_and_remembers_is_seen_to() {
        let script = "x=$(head -c 40000000 /dev/zero | tr '\\0' x); for i in $(seq 200000); do :; done; : ${#x}";
        let finished = run(Command::new("bash").args(["-c", script])).unwrap();
        assert!(finished.cpu >= Duration::from_millis(50), "{:?}", finished.cpu);
        assert!(finished.wall >= finished.cpu / 4);
        assert!(finished.peak_bytes > 40_000_000, "{}", finished.peak_bytes);
        assert!(run(Command::new("false").arg("x")).is_err());
    }

    #[test]
    fn a_peak_outlasts_the_memory_until_it_is_forgotten() {
        const TAKEN: usize = 256 << 20;
        let me = std::process::id();
        drop(std::hint::black_box(vec![1_u8; TAKEN]));
        let high = peak(me).unwrap();
        assert!(high >= TAKEN as u64, "{high}");
        assert!(resident(me).unwrap() < high);
        forget_peak(me).unwrap();
        assert!(peak(me).unwrap() < high);
        assert!(cpu(me).is_ok());
    }
}
