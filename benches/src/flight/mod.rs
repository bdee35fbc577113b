//! The hop to a sink worker in another process: our DoPut beside a bare arrow-flight DoPut, pyarrow's and one TCP stream,
//! all over loopback, all with the same rows; with staging behind it; and what it holds when the sink is slow.

mod bare;
mod data;
mod python;
mod sink;
mod tcp;

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};
use futures::StreamExt;
use serde_json::json;
use tokio::{runtime::Runtime, time::Instant};
use windrow_common::{
    manifest::StagedFile,
    window::{Axis, Window},
};
use windrow_worker::flight::{Hop, Part};

use self::{bare::Limits, data::Data};
use crate::{
    Settings,
    other::Other,
    pass::{self, Claims},
    report::{Goal, Report, grouped, mebibytes, rounded},
    sample::median,
    usage,
};

const ROUNDS: usize = 5;
const GB: f64 = 1e9;

pub(crate) fn run(runtime: &Runtime, _: &Settings, report: &mut Report) -> Result<()> {
    runtime.block_on(async {
        let data = Data::make()?;
        report.say(format!(
            "{} rows of 8 columns, {:.0} MB in memory, from one process to another; medians of {ROUNDS} rounds",
            grouped(data.rows()),
            data.bytes() as f64 / 1e6
        ));
        carry(&data, report).await?;
        stage(&data, report).await?;
        hold_back(&data, report).await
    })
}

/// Is the other process of this bench.
pub(crate) fn be(runtime: &Runtime, part: &[String]) -> Result<()> {
    let part: Vec<&str> = part.iter().map(String::as_str).collect();
    match part.as_slice() {
        ["tcp"] => tcp::serve(),
        ["bare"] => runtime.block_on(bare::serve(Limits::None)),
        ["limited"] => runtime.block_on(bare::serve(Limits::Ours)),
        ["discard", pause_ms] => runtime.block_on(sink::serve_discarding(Duration::from_millis(pause_ms.parse()?))),
        ["stage", folder] => runtime.block_on(sink::serve_staging(Path::new(folder))),
        _ => anyhow::bail!("nobody can be {part:?}"),
    }
}

/// What moving the rows once took.
#[derive(Clone, Copy)]
struct Moved {
    wall: Duration,
    /// Of both processes.
    cpu: Duration,
}

async fn carry(data: &Data, report: &mut Report) -> Result<()> {
    let (tcp, bare, limited) = (Other::be(&["tcp"])?, Other::be(&["bare"])?, Other::be(&["limited"])?);
    let discard = Other::be(&["discard", "0"])?;
    let mut python = python::Pair::start(data)?;
    let hop = sink::hop(discard.port)?;
    let claims = Claims::of(pass::pipeline("/lake".as_ref(), "delta", "append", json!({})))?;
    let mut all: [Vec<Moved>; 5] = Default::default();
    for round in 0..=ROUNDS {
        let moved = [
            timed(&tcp, tcp::send(tcp.port, data)).await?,
            timed(&bare, bare::send(bare.port, Limits::None, data)).await?,
            timed(&limited, bare::send(limited.port, Limits::Ours, data)).await?,
            python.put()?,
            timed(&discard, put(&hop, &claims, data)).await?,
        ];
        // The first round opens connections and warms up.
        if round > 0 {
            all.iter_mut().zip(moved).for_each(|(all, moved)| all.push(moved));
        }
    }
    let [tcp, bare, limited, pyarrow, ours] = &all;
    tell(report, "limit: the same bytes over one TCP stream", tcp, data);
    tell(report, "arrow-flight DoPut as it comes, rows discarded", bare, data);
    tell(report, "  the same with the limits of our connections", limited, data);
    tell(report, &format!("pyarrow {} DoPut, rows discarded", python.version), pyarrow, data);
    tell(report, "windrow: DoPut under a ticket to a sink that discards", ours, data);
    report.goal("  rate to that of TCP", speed(ours, tcp), Goal::AtLeast(0.5), "x");
    report.goal("  rate to that of pyarrow", speed(ours, pyarrow), Goal::AtLeast(0.8), "x");
    report.goal("  rate to that of arrow-flight with our limits", speed(ours, limited), Goal::AtLeast(0.8), "x");
    Ok(())
}

/// The hop in front of what it is for: Parquet staged on the disk.
async fn stage(data: &Data, report: &mut Report) -> Result<()> {
    let (there, here) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let other = Other::be(&["stage", &there.path().to_string_lossy()])?;
    let remote = sink::hop(other.port)?;
    let far = Claims::of(pass::pipeline(there.path(), "delta", "append", json!({})))?;
    let near = Claims::of(pass::pipeline(here.path(), "delta", "append", json!({})))?;
    let local = Hop::Local(sink::staging(&near)?);
    let (mut over, mut by_hand) = (vec![], vec![]);
    for _ in 0..3 {
        by_hand.push(timed(&other, put(&local, &near, data)).await?);
        over.push(timed(&other, put(&remote, &far, data)).await?);
    }
    tell(report, "staged as Parquet in this process, by hand", &by_hand, data);
    tell(report, "staged as Parquet on the other side of the hop", &over, data);
    let cpu = |moved: &[Moved]| median(moved.iter().map(|moved| moved.cpu.as_secs_f64()));
    report.figure(
        "  processor time of the hop beside that of staging",
        format!("{:+.0} %", (cpu(&over) / cpu(&by_hand) - 1.0) * 1e2),
    );
    Ok(())
}

/// A sink that takes far less than the sender could give.
async fn hold_back(data: &Data, report: &mut Report) -> Result<()> {
    let slow = Other::be(&["discard", "20"])?;
    let hop = sink::hop(slow.port)?;
    let claims = Claims::of(pass::pipeline("/lake".as_ref(), "delta", "append", json!({})))?;
    put(&hop, &claims, &data.part(1)).await?;
    let mut growth = Vec::new();
    for part in [4, 1] {
        let me = std::process::id();
        usage::forget_peak(slow.process())?;
        usage::forget_peak(me)?;
        let before = (usage::resident(slow.process())?, usage::resident(me)?);
        let part = data.part(part);
        let began = Instant::now();
        put(&hop, &claims, &part).await?;
        growth.push((
            part.bytes() as f64 / 1e6,
            part.bytes() as f64 / 1e6 / began.elapsed().as_secs_f64(),
            usage::peak(slow.process())?.saturating_sub(before.0),
            usage::peak(me)?.saturating_sub(before.1),
        ));
    }
    for (sent, rate, receiver, sender) in growth {
        report.say(format!("  {sent:.0} MB to a sink that takes {rate:.0} MB/s:"));
        report.goal(
            "    the sink worker grows by (4 messages of the largest size)",
            mebibytes(receiver),
            Goal::AtMost(64.0),
            " MiB",
        );
        report.goal("    the sender grows by", mebibytes(sender), Goal::AtMost(64.0), " MiB");
    }
    Ok(())
}

/// Our way: a claim's rows, put under its pass.
async fn put(hop: &Hop, claims: &Claims, data: &Data) -> Result<()> {
    let claim = claims.claim(Window::new(Axis::Time, 0, 10)?, 2)?;
    let rows = data.clone().stream().map(Ok).boxed();
    let files = hop.put(&claim.pass, Part::Rows, data.schema(), rows).await?.files;
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    ensure!(rows == data.rows(), "{rows} of {} rows arrived", data.rows());
    for sum in files.iter().filter_map(sum_of) {
        ensure!(sum == data.sum(), "the rows' numbers sum up to {sum}, not {}", data.sum());
    }
    Ok(())
}

/// What a sink that discards says of the rows it saw.
fn sum_of(file: &StagedFile) -> Option<i64> {
    file.stats.as_ref()?.get("sum")?.as_i64()
}

async fn timed(other: &Other, moving: impl Future<Output = Result<()>>) -> Result<Moved> {
    let both = || anyhow::Ok(usage::cpu(other.process())? + usage::cpu(std::process::id())?);
    let (before, began) = (both()?, Instant::now());
    moving.await?;
    Ok(Moved { wall: began.elapsed(), cpu: both()?.saturating_sub(before) })
}

fn tell(report: &mut Report, what: &str, moved: &[Moved], data: &Data) {
    let bytes = data.bytes() as f64;
    let rate = median(moved.iter().map(|moved| bytes / 1e6 / moved.wall.as_secs_f64()));
    let cpu = median(moved.iter().map(|moved| moved.cpu.as_secs_f64() / (bytes / GB)));
    report.figure(what, format!("{rate:.0} MB/s, {} CPU s/GB", rounded(cpu)));
}

/// The median of the rounds' ratios of rates.
fn speed(mine: &[Moved], theirs: &[Moved]) -> f64 {
    median(mine.iter().zip(theirs).map(|(mine, theirs)| theirs.wall.as_secs_f64() / mine.wall.as_secs_f64()))
}
