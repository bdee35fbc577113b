//! The commit: judge, check, write exactly the next version, and on any doubt look again. This is the only place that
//! writes to the table's log.

use std::{sync::Arc, time::Duration};

use arrow_schema::{Field, Schema};
use tokio::sync::MutexGuard;
use windrow_common::{
    error, failpoint,
    intent::{IntentBody, Verdict, judge},
    manifest::Digest,
};

use super::{
    DeltaSink,
    actions::{self, Commit, Deed, Writing},
    evolution,
    log::{Written, broken},
    prepare::schema_of,
    table::{Advance, Stamp, Table},
    types,
};
use crate::{
    error::{Result, WorkerError},
    sink::{Applied, Refusal, regroup::Rewrites},
    stage::unmarked,
};

/// How often an unclear outcome is looked at before it is reported as unknown.
const ATTEMPTS: u32 = 12;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

type Held<'a> = MutexGuard<'a, Option<Arc<Table>>>;

/// What an attempt came to.
enum Attempt {
    Over(Applied),
    /// The version was taken; by whom, the next look tells.
    Taken,
}

impl DeltaSink {
    /// Carries out an intent or its abort. An error means that the outcome is unknown, as the trait says.
    pub(super) async fn carry_out(&self, deed: Deed, body: &IntentBody, digest: &Digest) -> Result<Applied> {
        let writing = Writing { body, digest, apps: &self.log.reading().apps, now: self.now() };
        let mut table = self.table.lock().await;
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(pause(attempt)).await;
            }
            match self.attempt(deed, &writing, &mut table).await {
                Ok(Attempt::Over(applied)) => return Ok(applied),
                Ok(Attempt::Taken) => last = None,
                Err(cause) => {
                    tracing::warn!(seq = body.seq, attempt, error = %cause, "the outcome of a commit is unknown");
                    last = Some(cause);
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            WorkerError::later(error::SINK_CONFLICT, format!("other writers were faster {ATTEMPTS} times in a row"))
                .at(self.storage.url().to_string())
                .fix("let fewer writers commit to the table, or commit less often")
        }))
    }

    async fn attempt(&self, deed: Deed, writing: &Writing<'_>, held: &mut Held<'_>) -> Result<Attempt> {
        let body = writing.body;
        self.catch_up(held).await?;
        let found = match held.as_deref() {
            Some(table) => self.committed(table)?,
            None => None,
        };
        let version = held.as_deref().map_or(0, |table| table.version);
        match judge(body.seq, writing.digest, found) {
            Verdict::Apply => {}
            Verdict::Done => return Ok(Attempt::Over(Applied::Committed { version })),
            Verdict::Aborted => return Ok(Attempt::Over(Applied::Aborted { version })),
            Verdict::Stale => return Ok(Attempt::Over(Applied::Stale)),
            Verdict::Forked | Verdict::RolledBack => return Ok(Attempt::Over(Applied::Refused(Refusal::Halt))),
        }
        let Some(table) = held.as_deref() else {
            self.create(body, writing.now).await?;
            return Ok(Attempt::Taken);
        };
        if deed == Deed::Apply
            && let Some(refusal) = refusal(body, table, &self.params.partition_by)?
        {
            return Ok(Attempt::Over(Applied::Refused(refusal)));
        }
        if deed == Deed::Apply && body.shows.is_some() && !self.stay(table, body).await? {
            return Ok(Attempt::Over(Applied::Refused(Refusal::Conflict)));
        }
        let text = writing.text(deed, table)?;
        let version = table.version + 1;
        failpoint::reach(failpoint::Point::Committing, body.sink.as_str()).await?;
        match self.log.write(version, text.clone()).await? {
            Written::Exists => return Ok(Attempt::Taken),
            Written::Done(stamp) => {
                failpoint::reach(failpoint::Point::Committed, body.sink.as_str()).await?;
                self.remember(&text, stamp, held)?;
            }
        }
        Ok(Attempt::Over(match deed {
            Deed::Apply => Applied::Committed { version },
            Deed::Abort => Applied::Aborted { version },
        }))
    }

    /// Makes the table: version 0 holds no data, so that every commit with data has a version to be judged on.
    async fn create(&self, body: &IntentBody, now: i64) -> Result<()> {
        let wanted = schema_of(&body.schema)?;
        let schema = Schema::new(wanted.fields().iter().map(|field| unmarked(field)).collect::<Vec<_>>());
        let text = actions::creation(&schema.into(), &self.params.partition_by, now)?;
        // Whether it is ours or somebody else's: the next look tells what the table is.
        self.log.write(0, text).await.map(|_| ())
    }

    /// Advances the table in memory by the commit just made. The commit stands whatever happens here.
    fn remember(&self, text: &[u8], stamp: Stamp, held: &mut Held<'_>) -> Result<()> {
        let commit = Commit::parse(text).map_err(broken)?;
        if let Some(table) = held.as_mut() {
            let table = Arc::make_mut(table);
            if table.apply(&commit, stamp, self.log.reading()) == Advance::Applied {
                self.checkpoints.after(table);
                return Ok(());
            }
        }
        // A commit that changes the schema: the next look loads the table anew.
        **held = None;
        Ok(())
    }
}

/// Why the table cannot take the intent any more, if so.
fn refusal(body: &IntentBody, table: &Table, partition_by: &[String]) -> Result<Option<Refusal>> {
    // A file that got a deletion vector is not the file the intent was worked out from.
    let as_before = |path: &String| table.files.get(path).is_some_and(|file| file.deletion_vector.is_none());
    if !body.remove.iter().all(as_before) {
        return Ok(Some(Refusal::Conflict));
    }
    let wanted = schema_of(&body.schema)?;
    if let Some(refusal) = evolution::refusal(&wanted, body, table) {
        return Ok(Some(refusal));
    }
    let stays = evolution::staying(&wanted, table);
    let takes = |field: &Field| {
        table.schema.field_with_name(field.name()).is_ok_and(|column| {
            column.data_type() == field.data_type() && (column.is_nullable() || !field.is_nullable())
        })
    };
    // Rewritten files lie in the table's partitions, whatever the pipeline says of these.
    let unchanged = (table.partition_by == partition_by || Rewrites::of(body).is_some())
        && stays.fields().iter().all(|field| takes(field))
        && types::fits(&stays, &table.schema);
    Ok((!unchanged).then_some(Refusal::Schema))
}

/// Doubling, with up to half of it left to chance, so that two writers do not meet again.
fn pause(attempt: u32) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
    full.mul_f64(rand::random_range(0.5..1.0))
}
