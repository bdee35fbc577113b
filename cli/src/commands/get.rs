//! `windrow get`: lists of what there is.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use clap::ValueEnum;
use windrow_common::{
    count::{counted, grouped},
    pipeline::Pipeline,
};
use windrow_proto::v1;

use super::{exit::Exit, failure::Mistake, pin, target::Target};
use crate::{
    client::{Admin, ClientError},
    show::{self, Output, instant, state, table::table},
};

/// List pipelines, windows, versions, pins, tasks, backfills or workers
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_enum)]
    what: What,
    /// Only of this pipeline; required for windows and versions
    pipeline: Option<String>,
    /// Windows from this time on
    #[arg(long)]
    from: Option<String>,
    /// Windows before this time
    #[arg(long)]
    to: Option<String>,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    Pipelines,
    Windows,
    Versions,
    Pins,
    Tasks,
    Backfills,
    Workers,
}

/// A list as it is printed: for programs, and for people.
struct Listing {
    values: Vec<serde_json::Value>,
    headings: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let opened = args.target.open()?;
    let listing = list(args, opened.admin()).await;
    opened.close().await;
    let listing = listing?;
    let text = match show::encoded(&listing.values, args.output)? {
        Some(text) => text,
        None => table(listing.headings, listing.rows),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Ok)
}

async fn list(args: &Args, admin: &Admin) -> anyhow::Result<Listing> {
    let pipeline = args.pipeline.clone().unwrap_or_default();
    Ok(match args.what {
        What::Pipelines => pipelines(fetch_pipelines(admin).await?),
        What::Windows => {
            if pipeline.is_empty() {
                return Err(Mistake::usage("say of which pipeline: windrow get windows PIPELINE"));
            }
            windows(fetch_windows(admin, &pipeline, (&args.from, &args.to)).await?)
        }
        What::Versions => {
            if pipeline.is_empty() {
                return Err(Mistake::usage("say of which pipeline: windrow get versions PIPELINE"));
            }
            let request = v1::ListVersionsRequest { pipeline: pipeline.clone() };
            let found = admin.call(request, |mut client, request| async move { client.list_versions(request).await });
            versions(found.await?.versions, &fetch_range(admin, &pipeline, None).await?)
        }
        What::Pins => {
            let request = v1::ListPinsRequest { pipeline };
            let found = admin.call(request, |mut client, request| async move { client.list_pins(request).await });
            pins(found.await?.pins)
        }
        What::Tasks => tasks(fetch_tasks(admin, pipeline).await?),
        What::Backfills => {
            let request = v1::ListBackfillsRequest { pipeline };
            let found = admin.call(request, |mut client, request| async move { client.list_backfills(request).await });
            backfills(found.await?.backfills)
        }
        What::Workers => {
            let request = v1::ListWorkersRequest {};
            let found = admin.call(request, |mut client, request| async move { client.list_workers(request).await });
            workers(found.await?.workers)
        }
    })
}

pub async fn fetch_pipelines(admin: &Admin) -> Result<Vec<v1::Pipeline>, ClientError> {
    let request = v1::ListPipelinesRequest {};
    let found = admin.call(request, |mut client, request| async move { client.list_pipelines(request).await });
    Ok(found.await?.pipelines)
}

pub async fn fetch_tasks(admin: &Admin, pipeline: String) -> Result<Vec<v1::Task>, ClientError> {
    let request = v1::ListTasksRequest { pipeline };
    let found = admin.call(request, |mut client, request| async move { client.list_tasks(request).await });
    Ok(found.await?.tasks)
}

/// All windows between two times.
pub async fn fetch_windows(
    admin: &Admin,
    pipeline: &str,
    (from, to): (&Option<String>, &Option<String>),
) -> anyhow::Result<Vec<v1::WindowStatus>> {
    let range = super::range::of(admin, pipeline, from.as_deref(), to.as_deref()).await?;
    fetch_range(admin, pipeline, range).await
}

/// All windows that overlap a range, page by page.
pub async fn fetch_range(
    admin: &Admin,
    pipeline: &str,
    range: Option<v1::Window>,
) -> anyhow::Result<Vec<v1::WindowStatus>> {
    let mut request =
        v1::ListWindowsRequest { pipeline: pipeline.to_owned(), range, page_size: 10_000, page_token: String::new() };
    let mut all = Vec::new();
    loop {
        let page = admin
            .call(request.clone(), |mut client, request| async move { client.list_windows(request).await })
            .await?;
        all.extend(page.windows);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        request.page_token = page.next_page_token;
    }
}

fn pipelines(found: Vec<v1::Pipeline>) -> Listing {
    let value = |pipeline: &v1::Pipeline| {
        let totals = pipeline.totals.unwrap_or_default();
        serde_json::json!({
            "name": pipeline.name, "state": state::word(pipeline), "paused": pipeline.paused, "sink": pipeline.sink,
            "held_up": pipeline.held_up, "trouble": pipeline.trouble.as_ref().map(trouble_value),
            "last_failure": pipeline.last_failure.as_ref().map(failure_value),
            "windows": {
                "published": pipeline.published, "due": pipeline.unplanned, "waiting": pipeline.waiting,
                "pending": pipeline.pending, "claimed": pipeline.claimed, "sealed": pipeline.sealed,
                "quarantined": pipeline.quarantined, "unchanged": pipeline.unchanged, "recounts": pipeline.recounts,
                "held": pipeline.held,
            },
            "rows_written": totals.rows_written, "rows_rejected": totals.rows_rejected,
            "values_discarded": totals.values_discarded, "rows_deleted": totals.rows_deleted,
            "comparison": pipeline.comparison.as_ref().map(comparison_value),
            "bytes_written": totals.bytes_written, "files": totals.files, "seq": pipeline.seq,
            "complete_to": (pipeline.complete_to != 0 && is_of_time(pipeline)).then(|| instant(pipeline.complete_to)),
        })
    };
    let row = |pipeline: &v1::Pipeline| {
        let open = pipeline.unplanned + pipeline.waiting + pipeline.pending + pipeline.claimed + pipeline.sealed;
        vec![
            pipeline.name.clone(),
            grouped(pipeline.published),
            grouped(open),
            grouped(pipeline.quarantined),
            grouped(pipeline.totals.unwrap_or_default().rows_written),
            state_of(pipeline),
        ]
    };
    Listing {
        values: found.iter().map(value).collect(),
        headings: &["PIPELINE", "PUBLISHED", "OPEN", "FAILED", "ROWS", "STATE"],
        rows: found.iter().map(row).collect(),
    }
}

/// `commit fails WR-K003`.
fn state_of(pipeline: &v1::Pipeline) -> String {
    let word = state::word(pipeline);
    let reason = match word {
        "halted" | "commit fails" => pipeline.trouble.as_ref().and_then(|trouble| trouble.failure.as_ref()),
        "held up" => pipeline.last_failure.as_ref(),
        _ => None,
    };
    reason.map_or_else(|| word.to_owned(), |failure| format!("{word} {}", failure.code))
}

fn failure_value(failure: &v1::Failure) -> serde_json::Value {
    serde_json::json!({ "code": failure.code, "message": failure.message })
}

fn comparison_value(comparison: &v1::Comparison) -> serde_json::Value {
    serde_json::json!({
        "next": (comparison.next_us != 0).then(|| instant(comparison.next_us)), "due": comparison.due,
        "given_up": comparison.given_up.as_ref().map(failure_value),
    })
}

/// Why nothing is committed, for programs.
pub fn trouble_value(trouble: &v1::SinkTrouble) -> serde_json::Value {
    serde_json::json!({
        "halted": trouble.halted, "failures": trouble.failures, "retry_in_ms": trouble.retry_in_ms,
        "failure": trouble.failure.as_ref().map(failure_value),
    })
}

/// Whether the pipeline's windows are stretches of time; a full load's are numbered.
pub fn is_of_time(pipeline: &v1::Pipeline) -> bool {
    serde_json::from_slice::<Pipeline>(&pipeline.spec).is_ok_and(|spec| spec.window.is_some())
}

fn windows(found: Vec<v1::WindowStatus>) -> Listing {
    let bounds = |status: &v1::WindowStatus| super::range::bounds(status.window.as_ref());
    let value = |status: &v1::WindowStatus| {
        let (start, end) = bounds(status);
        serde_json::json!({
            "start": start, "end": end, "state": state_name(status.state()), "unchanged": status.unchanged,
            "recount": (status.recount_us != 0).then(|| instant(status.recount_us)), "revision": status.revision,
            "held": status.held.as_ref().map(failure_value),
            "declared_by": status.declared.as_ref().map(|declared| &declared.by),
            "declared_because": status.declared.as_ref().map(|declared| &declared.reason),
        })
    };
    let row = |status: &v1::WindowStatus| {
        let (start, end) = bounds(status);
        let task = status.task.as_ref();
        let attempts = task.map(|task| task.attempts.to_string()).unwrap_or_default();
        let failure = task.and_then(|task| task.failure.as_ref()).or(status.held.as_ref());
        let failure = failure.map(|failure| failure.code.clone());
        vec![start, end, standing(status), attempts, failure.unwrap_or_default()]
    };
    Listing {
        values: found.iter().map(value).collect(),
        headings: &["START", "END", "STATE", "ATTEMPTS", "ERROR"],
        rows: found.iter().map(row).collect(),
    }
}

/// A window's state, and what else is known of one that is published.
fn standing(status: &v1::WindowStatus) -> String {
    let state = state_name(status.state());
    if let (v1::WindowState::Published, Some(declared)) = (status.state(), &status.declared) {
        return format!("{state}, declared by {}", declared.by);
    }
    if status.held.is_some() {
        return format!("{state}, changed since");
    }
    match (status.state(), status.unchanged, status.recount_us) {
        (v1::WindowState::Published, true, _) => format!("{state}, unchanged"),
        (v1::WindowState::Published, _, at) if at != 0 => format!("{state}, counted again at {}", instant(at)),
        _ => state.to_owned(),
    }
}

/// A window's state in one word.
pub fn state_name(state: v1::WindowState) -> &'static str {
    match state {
        v1::WindowState::Open => "open",
        v1::WindowState::Due => "due",
        v1::WindowState::Waiting => "waiting",
        v1::WindowState::Pending => "pending",
        v1::WindowState::Claimed => "claimed",
        v1::WindowState::Sealed => "sealed",
        v1::WindowState::Published => "published",
        v1::WindowState::Quarantined => "quarantined",
        v1::WindowState::Missing => "missing",
        v1::WindowState::Unspecified => "unknown",
    }
}

fn tasks(found: Vec<v1::Task>) -> Listing {
    let id = |task: &v1::Task| windrow_proto::convert::task_id(&task.id).map(|id| id.to_string()).unwrap_or_default();
    let value = |task: &v1::Task| {
        let (start, end) = super::range::bounds(task.window.as_ref());
        serde_json::json!({
            "id": id(task), "pipeline": task.pipeline, "start": start, "end": end, "windows": task.windows,
            "state": task.state, "attempts": task.attempts, "errors": task.errors, "lost_leases": task.lost_leases,
            "worker": task.worker, "shard": task.shard, "backfill": task.backfill, "obstacles": task.obstacles,
            "failure": task.failure.as_ref().map(failure_value), "recount": task.recount,
            "comparison": task.comparison,
            "rewrites": task.group.as_ref().map(|group| serde_json::json!({
                "files": group.files, "bytes": group.bytes, "become": group.makes, "partition": group.place,
            })),
        })
    };
    let row = |task: &v1::Task| {
        let (start, end) = super::range::bounds(task.window.as_ref());
        let shard = match &task.group {
            Some(group) => format!(", {}", counted(group.files, "file")),
            None if task.shard > 0 => format!(", shard {}", task.shard),
            None if task.comparison => ", comparison".to_owned(),
            None => String::new(),
        };
        vec![
            id(task)[..16.min(id(task).len())].to_owned(),
            format!("{}{shard}{}", task.pipeline, if task.recount { ", recount" } else { "" }),
            start,
            end,
            task.windows.to_string(),
            task.state.clone(),
            task.attempts.to_string(),
            task.worker.clone(),
        ]
    };
    Listing {
        values: found.iter().map(value).collect(),
        headings: &["TASK", "PIPELINE", "START", "END", "WINDOWS", "STATE", "ATTEMPTS", "WORKER"],
        rows: found.iter().map(row).collect(),
    }
}

/// Versions that have rows of their own, and up to which one those after them were found unchanged.
fn versions(found: Vec<v1::Version>, windows: &[v1::WindowStatus]) -> Listing {
    let unchanged: BTreeSet<i64> = windows
        .iter()
        .filter(|status| status.unchanged)
        .filter_map(|status| status.window.map(|window| window.start))
        .collect();
    let unchanged_to = |version: &v1::Version| {
        let next = i64::from(version.version) + 1;
        (next..).take_while(|version| unchanged.contains(version)).last()
    };
    let loaded = |version: &v1::Version| (version.at_us != 0).then(|| instant(version.at_us));
    let value = |version: &v1::Version| {
        serde_json::json!({
            "version": version.version, "shown": version.shown, "rows": version.rows, "loaded": loaded(version),
            "attempt": (version.attempt != 0).then_some(version.attempt), "seq": version.seq,
            "kept": version.gone.is_empty(), "why_not": version.gone, "unchanged_to": unchanged_to(version),
        })
    };
    let row = |version: &v1::Version| {
        let state = match (version.shown, version.gone.as_str()) {
            (true, _) => "shown",
            (false, "") => "kept",
            (false, gone) => gone,
        };
        vec![
            format!("v{}", version.version),
            unchanged_to(version).map_or_else(|| state.to_owned(), |to| format!("{state}, unchanged to v{to}")),
            grouped(version.rows),
            loaded(version).unwrap_or_default(),
            if version.attempt == 0 { String::new() } else { version.attempt.to_string() },
            version.seq.to_string(),
        ]
    };
    Listing {
        values: found.iter().map(value).collect(),
        headings: &["VERSION", "STATE", "ROWS", "LOADED", "ATTEMPT", "COMMIT"],
        rows: found.iter().map(row).collect(),
    }
}

fn pins(found: Vec<v1::Pin>) -> Listing {
    Listing {
        values: found.iter().map(pin::value).collect(),
        headings: &["PIN", "PIPELINE", "VERSION", "STATE", "UNTIL", "SIZE", "REASON"],
        rows: found.iter().map(pin::row).collect(),
    }
}

fn backfills(found: Vec<v1::Backfill>) -> Listing {
    let rows = found.iter().map(|backfill| {
        let spec = backfill.spec.clone().unwrap_or_default();
        let (start, end) = super::range::bounds(spec.range.as_ref());
        vec![
            backfill.id.clone(),
            spec.pipeline,
            start,
            end,
            super::backfill::state_name(backfill.state()).to_owned(),
            format!("{}/{}", grouped(backfill.published), grouped(backfill.windows)),
            grouped(backfill.failed),
        ]
    });
    Listing {
        values: found.iter().map(super::backfill::value).collect(),
        headings: &["BACKFILL", "PIPELINE", "FROM", "TO", "STATE", "PUBLISHED", "FAILED"],
        rows: rows.collect(),
    }
}

fn workers(found: Vec<v1::Worker>) -> Listing {
    let value = |worker: &v1::Worker| {
        serde_json::json!({
            "id": worker.id, "roles": worker.roles, "slots": worker.slots, "claims": worker.claims,
            "heard_ms_ago": worker.heard_ms_ago, "version": worker.version, "flight": worker.flight_endpoint,
            "sinks": worker.sinks,
        })
    };
    let row = |worker: &v1::Worker| {
        vec![
            worker.id.clone(),
            worker.roles.join(","),
            format!("{}/{}", worker.claims, worker.slots),
            format!("{} ms ago", worker.heard_ms_ago),
            worker.version.clone(),
            worker.sinks.join(","),
        ]
    };
    Listing {
        values: found.iter().map(value).collect(),
        headings: &["WORKER", "ROLES", "SLOTS", "HEARD", "VERSION", "COMMITS TO"],
        rows: found.iter().map(row).collect(),
    }
}
