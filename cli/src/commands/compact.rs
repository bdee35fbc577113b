//! `windrow compact`: small files become few large ones, now.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{self, Write},
    time::Duration,
};

use windrow_common::{
    compaction::Clustering,
    count::{counted, either, grouped},
    error,
    task::TaskPhase,
};
use windrow_proto::v1;
use windrow_worker::error::WorkerError;

use super::{exit::Exit, get, target::Target};
use crate::{
    client::Admin,
    show::{self, Output, number::bytes, table::table},
};

/// Have the small files of a pipeline's table rewritten as few large ones now
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The pipeline, which has to have a block `compaction`
    pipeline: String,
    /// Say what would be rewritten and what that gains, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Rewrite large files, too, and few ones: whatever does not lie as `cluster_by` says, or has not the target's size
    #[arg(long)]
    major: bool,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

/// How often it is looked at until it is done.
const PAUSE: Duration = Duration::from_millis(100);
/// Most times it is asked whether there is more to do. What is left then is done in the background.
const MOST_ROUNDS: usize = 1_000;

/// What compacting a table came to.
#[derive(Debug, Default)]
pub struct Compacted {
    before: v1::FileLayout,
    after: v1::FileLayout,
    /// What was rewritten, or would be.
    groups: Vec<v1::FileGroup>,
}

impl Compacted {
    /// A line, or none where nothing was done.
    pub fn in_words(&self, pipeline: &str) -> String {
        match self.groups.is_empty() {
            true => String::new(),
            false => {
                format!("{pipeline}: {} became {}\n", counted(self.before.files, "file"), grouped(self.after.files))
            }
        }
    }
}

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let opened = args.target.open()?;
    let done = async {
        match args.dry_run {
            true => plan(opened.admin(), &args.pipeline, args.major).await,
            false => compact(opened.admin(), &args.pipeline, args.major).await,
        }
    };
    let done = done.await;
    opened.close().await;
    let done = done?;
    let text = match show::encoded(&value(args, &done), args.output)? {
        Some(text) => text,
        None => render(args, &done)?,
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Ok)
}

/// What would be rewritten now.
async fn plan(admin: &Admin, pipeline: &str, major: bool) -> anyhow::Result<Compacted> {
    let found = ask(admin, pipeline, (true, major)).await?;
    let before = found.layout.unwrap_or_default();
    Ok(Compacted { before, after: before, groups: found.groups })
}

/// Has everything rewritten that is worth it, and stays until that is done: on this machine the work is done by this very
/// process.
pub async fn compact(admin: &Admin, pipeline: &str, major: bool) -> anyhow::Result<Compacted> {
    let mut done: Option<Compacted> = None;
    for _ in 0..MOST_ROUNDS {
        let found = ask(admin, pipeline, (false, major)).await?;
        let layout = found.layout.unwrap_or_default();
        let done = done.get_or_insert_with(|| Compacted { before: layout, ..Compacted::default() });
        done.after = layout;
        if found.tasks.is_empty() {
            break;
        }
        settle(admin, pipeline, &found.tasks.iter().cloned().collect()).await?;
        let taken = found.groups.len().min(found.tasks.len());
        done.groups.extend(found.groups.into_iter().take(taken));
    }
    Ok(done.unwrap_or_default())
}

async fn ask(admin: &Admin, pipeline: &str, (dry_run, major): (bool, bool)) -> anyhow::Result<v1::CompactResponse> {
    let request = v1::CompactRequest { pipeline: pipeline.to_owned(), dry_run, major };
    Ok(admin.call(request, |mut client, request| async move { client.compact(request).await }).await?)
}

/// Waits until the tasks are gone; fails when one of them is given up.
async fn settle(admin: &Admin, pipeline: &str, tasks: &BTreeSet<Vec<u8>>) -> anyhow::Result<()> {
    loop {
        let open = get::fetch_tasks(admin, pipeline.to_owned()).await?;
        let mut ours = open.iter().filter(|task| tasks.contains(&task.id)).peekable();
        if ours.peek().is_none() {
            return Ok(());
        }
        if let Some(given_up) = ours.find(|task| task.state == TaskPhase::Quarantined.to_string()) {
            let failure = given_up.failure.clone().unwrap_or_default();
            let code = error::find(&failure.code).copied().unwrap_or(error::INTERNAL);
            return Err(WorkerError::never(code, failure.message).at(format!("pipeline {pipeline}")).into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn value(args: &Args, done: &Compacted) -> serde_json::Value {
    let layout = |layout: &v1::FileLayout| {
        serde_json::json!({
            "files": layout.files, "small_files": layout.small_files, "bytes": layout.bytes,
            "partitions": layout.partitions, "most_in_partition": layout.most_in_partition,
        })
    };
    let group = |group: &v1::FileGroup| {
        serde_json::json!({
            "files": group.files, "bytes": group.bytes, "become": group.makes, "partition": group.place,
            "major": group.major.is_some(), "clustered_by": clustering(group).map(|by| by.columns),
        })
    };
    serde_json::json!({
        "pipeline": args.pipeline, "dry_run": args.dry_run, "before": layout(&done.before), "after": layout(&done.after),
        "groups": done.groups.iter().map(group).collect::<Vec<_>>(),
    })
}

/// How a group's rows are put in order, if they are.
fn clustering(group: &v1::FileGroup) -> Option<Clustering> {
    group.major.clone().map(Clustering::from).filter(|by| !by.columns.is_empty())
}

/// How many of a table's files are small.
fn of_them_small(layout: &v1::FileLayout) -> String {
    match (layout.files, layout.small_files) {
        (1, 0) => "no small one".to_owned(),
        (1, _) => "a small one".to_owned(),
        (_, small) => format!("{} of them small", grouped(small)),
    }
}

fn render(args: &Args, done: &Compacted) -> anyhow::Result<String> {
    let mut text = String::new();
    let before = &done.before;
    writeln!(
        text,
        "{}: {}, {}, {} in {}",
        args.pipeline,
        counted(before.files, "file"),
        of_them_small(before),
        bytes(before.bytes),
        counted(before.partitions, "partition"),
    )?;
    if done.groups.is_empty() {
        writeln!(text, "nothing to do: no files are worth rewriting")?;
        return Ok(text);
    }
    let headings = ["FILES", "BECOME", "BYTES", "PARTITION", "CLUSTERED BY"];
    let shown = headings.len() - usize::from(done.groups.iter().all(|group| clustering(group).is_none()));
    let row = |group: &v1::FileGroup| {
        let by = clustering(group).map(|by| by.to_string()).unwrap_or_default();
        let row = [grouped(group.files), grouped(group.makes), bytes(group.bytes), group.place.clone(), by];
        row.into_iter().take(shown).collect()
    };
    text.push_str(&table(&headings[..shown], done.groups.iter().map(row)));
    let sum = |what: fn(&v1::FileGroup) -> u64| done.groups.iter().map(what).sum::<u64>();
    let (files, makes) = (sum(|group| group.files), sum(|group| group.makes));
    let read = bytes(sum(|group| group.bytes));
    match args.dry_run {
        true => writeln!(
            text,
            "would rewrite {} ({read}) as {}: {} would be left",
            counted(files, "file"),
            grouped(makes),
            counted((before.files + makes).saturating_sub(files), "file"),
        )?,
        false => writeln!(
            text,
            "rewrote {} ({read}) as {}: {} {} left, {}",
            counted(files, "file"),
            grouped(makes),
            counted(done.after.files, "file"),
            either(done.after.files, "is", "are"),
            of_them_small(&done.after),
        )?,
    }
    Ok(text)
}
