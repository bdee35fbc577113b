//! What the source of a task holds, proven before its rows are read, so that what changes while they are read is seen the next
//! time. A proof is a digest of what the source says of itself and of what in the pipeline would make other rows of it.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use windrow_common::{
    error,
    manifest::{Digest, Proof},
    pipeline::{Pattern, Pipeline, SourceLimits, SourceSpec},
};

use super::Leave;
use crate::{
    error::{Result, WorkerError},
    flight::{Hop, Pass},
    session::{Assignment, Published},
    source::{Slice, Source},
};

/// The proof of what was resolved, if one is wanted and the source has one. Of a run each window is proven, in one question.
pub(super) async fn of(
    source: &dyn Source,
    slices: &[Slice],
    (pipeline, task): (&Pipeline, &Assignment),
) -> Result<Option<Proof>> {
    if !task.prove || task.part.is_some() {
        return Ok(None);
    }
    if task.seams.is_empty() {
        let state = source.prove(slices, &task.window).await?;
        return state.map(|state| digest(pipeline, &state).map(Proof::from)).transpose();
    }
    let Some(states) = source.prove_each(slices, &task.each_window()).await? else { return Ok(None) };
    let windows = states.iter().map(|state| digest(pipeline, state)).collect::<Result<Vec<_>>>()?;
    let mut whole = Sha256::new();
    windows.iter().for_each(|window| whole.update(window.0));
    Ok(Some(Proof { whole: Digest(whole.finalize().into()), windows }))
}

/// Whether there is nothing to move: what is proven is what readers see, and the coordinator takes it for done.
pub(super) async fn is_shown(proof: Option<&Proof>, shown: Option<Published>, leave: &dyn Leave) -> Result<bool> {
    match (proof, shown) {
        (Some(proof), Some(shown)) if shown.proof == proof.whole => {
            leave.proven(proof.clone(), shown.seq, String::new()).await
        }
        _ => Ok(false),
    }
}

/// What was published, if readers still see it. It is asked for before the source is, which keeps a snapshot open from then on. A
/// sink that cannot say so is loaded, and says why it cannot then.
pub(super) async fn shown(task: &Assignment, hop: &Hop, pass: &Pass) -> Option<Published> {
    let published = task.published.filter(|_| task.prove)?;
    match hop.shows(pass, published.seq, published.rows).await {
        Ok(shown) => shown.then_some(published),
        Err(error) => {
            tracing::debug!(%error, "whether the sink shows what was loaded is not known");
            None
        }
    }
}

fn digest(pipeline: &Pipeline, state: &str) -> Result<Digest> {
    let unwritten = |cause: serde_json::Error| {
        WorkerError::never(error::INTERNAL, "a pipeline cannot be written as JSON").because(cause)
    };
    let told = serde_json::to_vec(&told(pipeline)).map_err(unwritten)?;
    let mut hash = Sha256::new();
    hash.update((told.len() as u64).to_be_bytes());
    hash.update(told);
    hash.update(state);
    Ok(Digest(hash.finalize().into()))
}

/// What of a pipeline decides which rows become of its source. How fast it may be read does not; and windows are held against
/// their source alone, for a new transform makes none of them stale.
fn told(pipeline: &Pipeline) -> Value {
    let mut source: SourceSpec = pipeline.source.clone();
    source.from.limits = SourceLimits::default();
    match pipeline.pattern {
        // Of a table that is only compacted no window is proven.
        Pattern::Incremental | Pattern::Compact => json!({ "source": source }),
        Pattern::Full => json!({
            "source": source, "transform": pipeline.transform, "sink": pipeline.sink, "schema": pipeline.schema,
            "guard": pipeline.guard, "max_rejected": pipeline.limits.max_rejected,
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pipeline(edit: Value) -> Pipeline {
        let mut whole = json!({
            "name": "visits", "pattern": "full",
            "source": { "from": { "name": "shop", "type": "postgres", "url": "${env:SHOP}" }, "table": "visits" },
            "sink": {
                "to": { "name": "lake", "type": "local", "root": "/lake" },
                "format": "delta", "write": "replace_all", "path": "visits",
            },
        });
        for (key, value) in edit.as_object().unwrap() {
            whole[key] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn a_proof_is_of_what_makes_the_rows_and_of_nothing_else() {
        let plain = digest(&pipeline(json!({})), "state").unwrap();
        let limits = json!({ "concurrency": 2 });
        assert_eq!(digest(&pipeline(json!({ "limits": limits, "name": "visitors" })), "state").unwrap(), plain);
        let slower = json!({
            "from": { "name": "shop", "type": "postgres", "url": "${env:SHOP}", "limits": { "rows_per_s": 5 } },
            "table": "visits",
        });
        assert_eq!(digest(&pipeline(json!({ "source": slower })), "state").unwrap(), plain);
        for other in [
            json!({ "transform": [{ "sql": "SELECT 1" }] }),
            json!({ "guard": { "min_rows": 7 } }),
            json!({ "schema": { "new_column": "freeze" } }),
        ] {
            assert_ne!(digest(&pipeline(other.clone()), "state").unwrap(), plain, "{other}");
        }
        assert_ne!(digest(&pipeline(json!({})), "another state").unwrap(), plain);
    }

    #[test]
    fn a_window_is_held_against_its_source_alone() {
        let windows = |edit: Value| {
            let mut edit = edit;
            edit["pattern"] = json!("incremental");
            edit["window"] = json!({ "every": "1h", "start": "2024-01-01T00:00:00" });
            pipeline(edit)
        };
        let plain = digest(&windows(json!({})), "state").unwrap();
        assert_eq!(digest(&windows(json!({ "transform": [{ "sql": "SELECT 1" }] })), "state").unwrap(), plain);
    }
}
