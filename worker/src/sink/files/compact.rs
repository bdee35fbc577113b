//! Compaction of a folder: which files are worth rewriting, which the log tells of windrow's own and a listing of others'; their
//! rows in fewer files; and the commit that names these in their place. New files lie aside, under names no pattern for data
//! files finds, and old ones stay where they are: so whoever reads the folder without the list of files finds each row where it was.

use std::{collections::BTreeSet, sync::atomic::AtomicU32};

use futures::{StreamExt, TryStreamExt, stream};
use windrow_common::{
    error,
    intent::{IntentBody, IntentTask},
    manifest::{Input, Manifest},
    marker::Markers,
};

use super::{
    ASIDE_FOLDER, FilesSink,
    entry::File,
    folder::{self, Other},
    partition_folder,
    prepare::check_position,
    state::State,
};
use crate::{
    error::{Result, WorkerError},
    sink::{
        Next,
        change::without,
        regroup::{
            Form, Found, Group, Packed, Packing, Regrouper, Retiring, Rewrites, Rewritten, Text, Working, gone,
            pack_by_weight,
        },
    },
    stage::{FileFormat, joined},
};

/// Files looked at a time.
const HEADS_AT_A_TIME: usize = 32;
/// What rewritten files' names end in, so that `*.parquet` in any folder finds none of them.
const SUFFIX: &str = ".aside";
/// Most files one commit looks whether they are gone; the next one looks at others.
const MOST_LOOKED_AT: usize = 1_000;

/// Where rows of files in `folder` are written together.
fn aside_folder(folder: &str) -> String {
    joined(&[ASIDE_FOLDER, partition_folder(folder)])
}

pub(super) async fn worth_rewriting(sink: &FilesSink, rule: &Packing) -> Result<Packed> {
    let state = sink.log.refresh().await?;
    let others = match sink.settings.others {
        Some(others) => folder::find(sink, &state, others).await?,
        None => Vec::new(),
    };
    let files = || state.files.values().map(|file| found(sink, file)).chain(others.iter().map(Other::found));
    let columns = match form(sink, &state) {
        Form::Table(columns) => Some(columns),
        Form::Parquet | Form::Text(_) => None,
    };
    let rule = Packing { windows_are_replaced: rule.windows_are_replaced || sink.settings.apart, ..rule.clone() };
    Ok(pack_by_weight(&sink.settings.id, files, &rule, (&sink.storage, columns.as_ref())).await)
}

fn found<'a>(sink: &FilesSink, file: &'a File) -> Found<'a> {
    Found {
        path: &file.path,
        bytes: file.bytes,
        rows: Some(file.rows),
        version: None,
        partition: &file.partition,
        window: file.known_window(),
        told_apart: file.told_apart && !sink.settings.apart,
        modified: file.since,
        clustered: None,
    }
}

pub(super) async fn rewrite(
    sink: &FilesSink,
    group: &Group,
    Working { attempt, read, room }: Working<'_>,
) -> Result<Rewritten> {
    let inputs = group.inputs();
    let state = sink.log.refresh().await?;
    check_there(sink, &state, &inputs).await?;
    let regrouper = Regrouper {
        storage: &sink.storage,
        form: form(sink, &state),
        folder: aside_folder,
        suffix: SUFFIX,
        attempt,
        read,
        room,
        count: AtomicU32::new(0),
    };
    match regrouper.rewrite(group).await {
        Ok(files) => Ok(Rewritten { files, schema: schema(&state)? }),
        // A file that was replaced while it was read is no fault of the folder's.
        Err(cause) => match check_there(sink, &*sink.log.refresh().await?, &inputs).await {
            Err(gone) if gone.code() == error::GROUP_GONE => Err(gone.because(cause)),
            _ => Err(cause),
        },
    }
}

fn form(sink: &FilesSink, state: &State) -> Form {
    match (&sink.settings.format, &state.schema) {
        (FileFormat::Csv { delimiter, header }, _) => Form::Text(Text::Csv { delimiter: *delimiter, header: *header }),
        (FileFormat::JsonLines, _) => Form::Text(Text::Json),
        (FileFormat::Lines | FileFormat::Verbatim(_), _) => Form::Text(Text::Lines),
        // What others write has whatever columns it has.
        (FileFormat::Parquet { .. }, Some(schema)) if sink.settings.others.is_none() => {
            Form::Table(without(schema, &sink.settings.partition_by))
        }
        (FileFormat::Parquet { .. }, _) => Form::Parquet,
    }
}

/// Works out the commit. Where a file is not what it was when it was read, it fails, and says whose it was.
pub(super) async fn replace_files(sink: &FilesSink, next: Next) -> Result<IntentBody> {
    let state = sink.log.refresh().await?;
    check_position(&state, next.seq, next.previous)?;
    let mut rewrites = Rewrites::by(next.tasks.iter().map(|(task, _)| task));
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (task, manifest) in &next.tasks {
        let blame = |cause: WorkerError| cause.staged_again(task.task);
        check_there(sink, &state, &manifest.inputs).await.map_err(blame)?;
        // Of two groups with a file in common one was too late.
        if let Some(twice) = manifest.inputs.iter().find(|input| !taken.insert(&input.name)) {
            return Err(blame(gone(&twice.name)));
        }
        rewrites
            .retire
            .extend(manifest.inputs.iter().map(|input| retiring(input, (task, manifest))).collect::<Result<Vec<_>>>()?);
    }
    rewrites.forget = forgotten(sink, &state).await?;
    let own = rewrites.retire.iter().filter(|file| file.version.is_none());
    Ok(IntentBody {
        sink: sink.settings.id.clone(),
        seq: next.seq,
        previous: next.previous,
        previous_aborted: next.previous_aborted,
        tasks: Vec::new(),
        schema: schema(&state)?,
        remove: own.map(|file| file.path.clone()).collect(),
        change: Some(rewrites.told()?),
        add: next.tasks.into_iter().flat_map(|(_, manifest)| manifest.files).collect(),
        dead_letters: Vec::new(),
        shows: None,
        markers: Markers::default(),
    })
}

fn retiring(input: &Input, (task, manifest): (&IntentTask, &Manifest)) -> Result<Retiring> {
    let within = input.into.and_then(|number| manifest.files.get(number as usize));
    let Some(within) = within else {
        let what = "a manifest does not say which file the rows of another are in now";
        return Err(WorkerError::later(error::STAGED_FILE_BAD, what).at(&task.manifest.path));
    };
    Ok(Retiring {
        path: input.name.clone(),
        bytes: input.bytes,
        version: input.version.clone(),
        within: within.path.clone(),
    })
}

/// Fails unless all of these are what they were: windrow's own part of the folder, those of others not rewritten and not changed.
async fn check_there(sink: &FilesSink, state: &State, inputs: &[Input]) -> Result<()> {
    let own = |input: &Input| state.files.get(&input.name).is_some_and(|file| file.bytes == input.bytes);
    let known = |input: &Input| match input.version {
        None => own(input),
        Some(_) => !state.retired.contains_key(&input.name) && !state.files.contains_key(&input.name),
    };
    if let Some(input) = inputs.iter().find(|input| !known(input)) {
        return Err(gone(&input.name));
    }
    stream::iter(inputs.iter().filter(|input| input.version.is_some()).map(Ok))
        .try_for_each_concurrent(HEADS_AT_A_TIME, |input| async move {
            let found = sink.storage.head(&input.name).await?;
            let same = found.is_some_and(|meta| input.version.as_ref() == Some(&folder::version(&meta)));
            if same { Ok(()) } else { Err(gone(&input.name)) }
        })
        .await
}

/// Retired files that were kept long enough and are gone: a file that comes by such a name is a new one.
async fn forgotten(sink: &FilesSink, state: &State) -> Result<Vec<String>> {
    let before = sink.now().saturating_sub(sink.keep_ms());
    let mut old: Vec<String> =
        state.retired.iter().filter(|(_, file)| file.since < before).map(|(path, _)| path.clone()).collect();
    let round = usize::try_from(state.seq).unwrap_or_default().wrapping_mul(MOST_LOOKED_AT);
    let first = round.checked_rem(old.len()).unwrap_or_default();
    old.rotate_left(first);
    old.truncate(MOST_LOOKED_AT);
    stream::iter(old)
        .map(|path| async move { Ok::<_, WorkerError>(sink.storage.head(&path).await?.is_none().then_some(path)) })
        .buffered(HEADS_AT_A_TIME)
        .try_filter_map(|path| std::future::ready(Ok(path)))
        .try_collect()
        .await
}

/// As manifests and intents hold it; null where others alone wrote the files.
fn schema(state: &State) -> Result<serde_json::Value> {
    serde_json::to_value(&state.schema)
        .map_err(|cause| WorkerError::never(error::INTERNAL, "a schema cannot be written as JSON").because(cause))
}
