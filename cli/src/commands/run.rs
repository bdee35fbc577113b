//! `windrow run`: pipelines from files, in this process, until everything due is settled.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use windrow_common::{
    clock::{Clock, SystemClock},
    pipeline::Pipeline,
    quantity::Pause,
};
use windrow_proto::v1;

use crate::{
    commands::{apply, compact, exit::Exit, get, here::Here},
    local::Local,
    show::{Style, progress::Progress, summary},
};

/// Run pipelines here and now, without a cluster
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    here: Here,
    /// How long to wait, while nothing else goes on, for a source or a sink that cannot be reached
    #[arg(long, default_value = "10m")]
    patience: Pause,
}

/// How often the state of the pipelines is looked at: what a run takes longer than its last commit, at most ...
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// ... unless there is so much to look at that it would take more than one in so many of a processor's seconds.
const LOOK_SHARE: u32 = 20;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing is due any more.
    Settled,
    /// What is left waits for something that cannot be reached.
    HeldUp,
    /// What is left waits for an operator.
    Halted,
}

/// 0 when every due window is published (one that waits for its source is not due), 1 when a sink is halted, 2 when the files cannot be used, 4 when windows are
/// quarantined, 75 when something could not be reached for too long.
pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let Some(pipelines) = args.here.load()? else { return Ok(Exit::Config) };
    let started = SystemClock::new();
    let local = args.here.start_to_leave()?;
    let outcome = async {
        apply::send(local.admin(), &pipelines, false).await?;
        let before = reports(&local, &pipelines).await?;
        let (after, end) = until_settled(&local, &pipelines, args.patience.0).await?;
        let rewritten = if end == End::Settled { compact_all(&local, &pipelines).await? } else { String::new() };
        let waiting = waiting(&local, &after).await?;
        anyhow::Ok((before, after, (waiting, rewritten), end))
    };
    let outcome = tokio::select! {
        outcome = outcome => Some(outcome),
        _ = tokio::signal::ctrl_c() => None,
    };
    local.stop().await;
    let Some(outcome) = outcome else {
        writeln!(io::stderr(), "interrupted; the same command goes on where it stopped")?;
        return Ok(Exit::Failed);
    };
    let (before, after, (waiting, rewritten), end) = outcome?;
    let (before, after, waiting) = (&before[..], &after[..], &waiting[..]);
    let ran = summary::Ran { before, after, waiting, rewritten: &rewritten, took: started.elapsed() };
    let text = summary::render(&args.here.path, &pipelines, &ran, Style::of(&io::stdout()));
    io::stdout().write_all(text.as_bytes())?;
    let given_up = |pipeline: &v1::Pipeline| pipeline.comparison.as_ref().is_some_and(|found| found.given_up.is_some());
    let failed = after.iter().any(|pipeline| pipeline.quarantined > 0 || given_up(pipeline));
    Ok(match end {
        End::Halted => Exit::Failed,
        End::HeldUp => Exit::TryAgain,
        End::Settled if failed => Exit::SomeWindowsFailed,
        End::Settled => Exit::Ok,
    })
}

/// Rewrites what is worth it of the tables that are to be compacted; what that came to.
async fn compact_all(local: &Local, pipelines: &[Pipeline]) -> anyhow::Result<String> {
    let mut text = String::new();
    for pipeline in pipelines.iter().filter(|pipeline| pipeline.compaction.is_some()) {
        let done = compact::compact(local.admin(), pipeline.name.as_str(), false).await?;
        text.push_str(&done.in_words(pipeline.name.as_str()));
    }
    Ok(text)
}

async fn until_settled(
    local: &Local,
    pipelines: &[Pipeline],
    patience: Duration,
) -> anyhow::Result<(Vec<v1::Pipeline>, End)> {
    let clock = SystemClock::new();
    let mut progress = Progress::new(io::stderr().is_terminal());
    let (mut settled, mut moved) = (0, Duration::ZERO);
    loop {
        let began = clock.elapsed();
        let reports = reports(local, pipelines).await?;
        let took = clock.elapsed().saturating_sub(began);
        progress.show(&reports);
        let now_settled = reports.iter().map(|report| report.published + report.quarantined).sum::<u64>();
        // A window that is being read, and has not failed to reach anything, moves however long it takes.
        if now_settled != settled || reports.iter().any(is_working) {
            (settled, moved) = (now_settled, clock.elapsed());
        }
        if let Some(end) = end(&reports, clock.elapsed().saturating_sub(moved) >= patience) {
            progress.finish(&reports);
            return Ok((reports, end));
        }
        tokio::time::sleep(LOOK_EVERY.max(took * LOOK_SHARE)).await;
    }
}

fn is_working(report: &v1::Pipeline) -> bool {
    report.working > 0 || report.comparison.as_ref().is_some_and(|comparison| comparison.working)
}

fn end(reports: &[v1::Pipeline], out_of_patience: bool) -> Option<End> {
    let open: Vec<&v1::Pipeline> = reports.iter().filter(|report| !is_settled(report)).collect();
    let halted = |report: &&v1::Pipeline| report.trouble.as_ref().is_some_and(|trouble| trouble.halted);
    let waits = |report: &&v1::Pipeline| {
        report.held_up > 0 || report.trouble.is_some() || report.untold > 0 || is_comparing(report)
    };
    match () {
        () if open.is_empty() => Some(End::Settled),
        () if open.iter().all(|report| halted(report) && only_commits_are_left(report)) => Some(End::Halted),
        () if out_of_patience && open.iter().any(waits) => Some(End::HeldUp),
        () => None,
    }
}

/// Whether nothing is due any more, and everybody knows. A window that waits for its source is not due.
fn is_settled(pipeline: &v1::Pipeline) -> bool {
    let left = pipeline.pending + pipeline.claimed + pipeline.sealed + pipeline.unplanned;
    left + pipeline.recounts_due + pipeline.untold == 0 && !is_comparing(pipeline)
}

/// Whether a comparison of keys is due or under way.
fn is_comparing(pipeline: &v1::Pipeline) -> bool {
    pipeline.comparison.as_ref().is_some_and(|comparison| comparison.due)
}

fn only_commits_are_left(pipeline: &v1::Pipeline) -> bool {
    pipeline.pending + pipeline.claimed + pipeline.unplanned == 0
}

async fn reports(local: &Local, pipelines: &[Pipeline]) -> anyhow::Result<Vec<v1::Pipeline>> {
    let request = v1::ListPipelinesRequest {};
    let response =
        local.admin().call(request, |mut client, request| async move { client.list_pipelines(request).await }).await?;
    let ours = |report: &v1::Pipeline| pipelines.iter().any(|pipeline| pipeline.name.as_str() == report.name);
    Ok(response.pipelines.into_iter().filter(ours).collect())
}

/// The tasks of our windows whose source is not ready.
async fn waiting(local: &Local, reports: &[v1::Pipeline]) -> anyhow::Result<Vec<v1::Task>> {
    let mut all = Vec::new();
    for report in reports.iter().filter(|report| report.waiting > 0) {
        let tasks = get::fetch_tasks(local.admin(), report.name.clone()).await?;
        all.extend(tasks.into_iter().filter(|task| !task.waiting_for.is_empty() && !task.recount && !task.comparison));
    }
    all.sort_by_key(|task| task.window.map(|window| window.start));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_waits_for_receivers_of_events_as_long_as_it_has_patience() {
        let untold = v1::Pipeline { untold: 2, ..v1::Pipeline::default() };
        assert_eq!(end(std::slice::from_ref(&untold), false), None);
        assert_eq!(end(&[untold], true), Some(End::HeldUp));
    }

    fn report(sealed: u64, pending: u64, held_up: u64, halted: Option<bool>) -> v1::Pipeline {
        let trouble = halted.map(|halted| v1::SinkTrouble { halted, ..v1::SinkTrouble::default() });
        v1::Pipeline { sealed, pending, held_up, trouble, ..v1::Pipeline::default() }
    }

    #[test]
    fn a_run_ends_when_nothing_is_left_or_nothing_can_be_done() {
        let (done, working) = (report(0, 0, 0, None), report(0, 3, 0, None));
        let (halted, down) = (report(2, 0, 0, Some(true)), report(0, 3, 3, None));
        let retried = report(2, 0, 0, Some(false));
        let table = [
            (vec![], true, Some(End::Settled)),
            (vec![done.clone()], false, Some(End::Settled)),
            (vec![done.clone(), working.clone()], true, None),
            (vec![done.clone(), halted.clone()], false, Some(End::Halted)),
            (vec![working, halted.clone()], false, None),
            (vec![report(2, 1, 0, Some(true))], false, None),
            (vec![v1::Pipeline { recounts: 3, ..done.clone() }], false, Some(End::Settled)),
            (vec![v1::Pipeline { recounts: 3, recounts_due: 1, ..done.clone() }], false, None),
            (
                vec![v1::Pipeline {
                    comparison: Some(v1::Comparison { due: true, ..v1::Comparison::default() }),
                    ..done.clone()
                }],
                false,
                None,
            ),
            (
                vec![v1::Pipeline { comparison: Some(v1::Comparison::default()), ..done.clone() }],
                false,
                Some(End::Settled),
            ),
            (vec![done, down.clone()], false, None),
            (vec![down], true, Some(End::HeldUp)),
            (vec![retried.clone()], false, None),
            (vec![retried, halted], true, Some(End::HeldUp)),
        ];
        for (reports, out_of_patience, expected) in table {
            assert_eq!(end(&reports, out_of_patience), expected, "{reports:?}");
        }
    }
}
