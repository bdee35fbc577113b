//! Carrying an intent out: the rows are loaded first, without any lock; then one short transaction locks the sink's row,
//! judges by the rule of committing, changes the table and moves the row. All of it may be done again by anybody at any time.

use tokio_postgres::Error;
use windrow_common::{
    error, failpoint,
    intent::{IntentBody, Verdict, judge},
    manifest::Digest,
};

use super::{
    PostgresSink, again,
    change::{Change, Deed},
    deleting::Deleting,
    failure::{failed, is_locked, unfit},
    head::{self, Head},
    load::{Load, Loaded, Loading},
    rows::Rows,
    session::{Open, Purpose},
    tidy,
    upsert::Upserting,
    version::Version,
};
use crate::{
    error::{Result, WorkerError},
    sink::{Applied, Refusal},
};

/// Tries at a row that another session holds; after each, sessions that were left behind are ended.
const ROUNDS: usize = 3;

/// What is to become of the intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Applied,
    Aborted,
}

/// What goes wrong within the transaction.
pub(super) enum Trouble {
    /// The database does not take the change, and will not next time.
    Unfit(String),
    Database(Error),
    Failed(WorkerError),
}

/// What the transaction is to do.
enum Work<'a> {
    Abort,
    Load(&'a Change, Loaded),
    /// A version is shown again: there is nothing to load.
    Again(&'a Change),
}

/// How a try ended.
enum Try {
    Over(Applied),
    /// Another session holds the sink's row.
    Held,
}

pub(super) async fn settle(sink: &PostgresSink, wanted: Wanted, body: &IntentBody, digest: &Digest) -> Result<Applied> {
    let change = match wanted {
        Wanted::Applied => Some(Change::of(body)?),
        Wanted::Aborted => None,
    };
    for _ in 0..ROUNDS {
        let mut open = sink.database.open(Purpose::Commit).await?;
        head::ensure(&open, &body.sink).await?;
        match attempt(sink, &mut open, (body, digest), change.as_ref()).await? {
            Try::Over(applied) => {
                tidy::tidy(&open, &body.sink, change.as_ref()).await;
                return Ok(applied);
            }
            Try::Held => {
                let ended = open.end_older().await?;
                tracing::warn!(sink = %body.sink, ended, "another session held the sink; those left behind are ended");
            }
        }
    }
    Err(WorkerError::later(error::SINK_UNREACHABLE, "another session holds the sink's row")
        .at(format!("windrow.head, {}", body.sink))
        .fix("the work goes on by itself; if it does not, look in pg_locks who holds the row"))
}

async fn attempt(
    sink: &PostgresSink,
    open: &mut Open,
    (body, digest): (&IntentBody, &Digest),
    change: Option<&Change>,
) -> Result<Try> {
    // Before anything is loaded: whoever comes late has nothing to load.
    let found = match head::read(open, &body.sink, "SHARE").await {
        Ok(found) => found?,
        Err(cause) if is_locked(&cause) => return Ok(Try::Held),
        Err(cause) => return Err(failed(cause, open.place())),
    };
    if let Some(applied) = answer(found, body, digest) {
        return Ok(Try::Over(applied));
    }
    let work = match change {
        None => Work::Abort,
        Some(change) if matches!(change.deed, Deed::Again { .. }) => Work::Again(change),
        Some(change) => {
            let load = Load { storage: &sink.storage, body, digest, change };
            match load.run(open).await? {
                Loading::Done(loaded) => Work::Load(change, loaded),
                Loading::Unfit(reason) => return Ok(Try::Over(Applied::Unfit(reason))),
            }
        }
    };
    let done = transact(open, (body, digest), &work).await;
    let trouble = match done {
        Ok(outcome) => return Ok(outcome),
        Err(trouble) => trouble,
    };
    let reason = match trouble {
        Trouble::Failed(error) => return Err(error),
        Trouble::Unfit(reason) => reason,
        Trouble::Database(cause) => match unfit(&cause) {
            Some(reason) => reason,
            None => return Err(failed(cause, open.place())),
        },
    };
    // The transaction is over, and it did nothing: the database said so itself.
    open.run("ROLLBACK").await?;
    Ok(Try::Over(Applied::Unfit(reason)))
}

/// The transaction. Every error means that nothing is known, but one by which the database itself refuses the change.
async fn transact(open: &Open, (body, digest): (&IntentBody, &Digest), work: &Work<'_>) -> Result<Try, Trouble> {
    let client = open.client();
    // Of all settings only one would let a commit be lost that was answered.
    client
        .batch_execute(
            "BEGIN; SELECT set_config('synchronous_commit', 'on', true) \
             WHERE current_setting('synchronous_commit') = 'off'",
        )
        .await?;
    let found = match head::read(open, &body.sink, "UPDATE").await {
        Ok(found) => found?,
        Err(cause) if is_locked(&cause) => {
            client.batch_execute("ROLLBACK").await?;
            return Ok(Try::Held);
        }
        Err(cause) => return Err(cause.into()),
    };
    if let Some(applied) = answer(found, body, digest) {
        client.batch_execute("ROLLBACK").await?;
        return Ok(Try::Over(applied));
    }
    let rows = match work {
        Work::Abort => 0,
        Work::Load(change, loaded) => match &change.deed {
            Deed::Rows { steps, tell } => Rows { change, body, loaded }.apply(open, steps, tell).await?,
            Deed::Version { .. } => Version { change, body, loaded }.show(open).await?,
            Deed::Upsert { key, order, touch, .. } => {
                Upserting { change, loaded, key, order, touch: *touch }.apply(open).await?
            }
            Deed::Delete { key } => Deleting { change, loaded, key }.apply(open).await?,
            Deed::Again { .. } => return Err(Trouble::Unfit("a kept version is not loaded".to_owned())),
        },
        Work::Again(change) => match &change.deed {
            Deed::Again { table, seq } => again::apply(open, (change, body), (table, *seq)).await?,
            _ => return Err(Trouble::Unfit("rows are to be loaded first".to_owned())),
        },
    };
    let aborted = matches!(work, Work::Abort);
    client.batch_execute(&head::advance(body, digest, aborted, rows)).await?;
    failpoint::reach(failpoint::Point::Committing, body.sink.as_str()).await.map_err(WorkerError::from)?;
    client.batch_execute("COMMIT").await?;
    failpoint::reach(failpoint::Point::Committed, body.sink.as_str()).await.map_err(WorkerError::from)?;
    Ok(Try::Over(match aborted {
        false => Applied::Committed { version: body.seq },
        true => Applied::Aborted { version: body.seq },
    }))
}

/// What the sink's row says about the intent; `None` if it is to be carried out.
fn answer(found: Head, body: &IntentBody, digest: &Digest) -> Option<Applied> {
    match judge(body.seq, digest, found.committed()) {
        Verdict::Apply if found.digest == body.previous => None,
        Verdict::Done => Some(Applied::Committed { version: body.seq }),
        Verdict::Aborted => Some(Applied::Aborted { version: body.seq }),
        Verdict::Stale => Some(Applied::Stale),
        Verdict::Apply | Verdict::Forked | Verdict::RolledBack => Some(Applied::Refused(Refusal::Halt)),
    }
}
