//! Rows into files: cast, cut by partition, rolled by size, within a bound on open files and on memory.

use std::collections::HashMap;

use arrow_array::RecordBatch;
use futures::StreamExt;
use windrow_common::{failpoint, manifest::StagedFile};

use super::{
    Attempt, BatchStream, Layout,
    cast::Caster,
    file::{FilePlan, OpenFile},
    name::{StagedName, joined},
    partition::{Key, Partitioner},
};
use crate::{error::Result, storage::Storage};

/// Most files of one attempt that are open at a time; past it the longest unused is ended.
const MAX_OPEN_FILES: usize = 64;
/// Most memory the open files of one attempt may take, about; past it the largest is ended.
const MAX_OPEN_BYTES: usize = 256 << 20;
/// Encoded bytes a row group may reach.
const ROW_GROUP_BYTES: usize = 64 << 20;
/// Rows encoded at a time: some milliseconds, after which other tasks of the runtime get their turn.
const ROWS_AT_A_TIME: usize = 8_192;

/// Writes the rows of one attempt.
pub(super) struct StageWriter<'a> {
    storage: &'a Storage,
    layout: &'a Layout,
    attempt: &'a Attempt,
    caster: Caster,
    partitioner: Partitioner,
    open: HashMap<Key, Open>,
    begun: u32,
    /// By the number the file was begun with.
    done: Vec<(u32, StagedFile)>,
    clock: u64,
}

struct Open {
    file: OpenFile,
    number: u32,
    last_used: u64,
}

impl<'a> StageWriter<'a> {
    pub(super) fn new(storage: &'a Storage, layout: &'a Layout, attempt: &'a Attempt) -> Result<Self> {
        Ok(Self {
            storage,
            layout,
            attempt,
            caster: Caster::new(layout.schema.clone()),
            partitioner: Partitioner::new(&layout.schema, &layout.partition_by)?,
            open: HashMap::new(),
            begun: 0,
            done: Vec::new(),
            clock: 0,
        })
    }

    /// Takes the whole stream; leaves no unfinished upload behind when it fails.
    pub(super) async fn write_all(mut self, rows: BatchStream) -> Result<Vec<StagedFile>> {
        if let Err(error) = self.take_all(rows).await {
            for (_, open) in self.open.drain() {
                open.file.abort().await;
            }
            return Err(error);
        }
        self.done.sort_unstable_by_key(|(number, _)| *number);
        Ok(self.done.into_iter().map(|(_, file)| file).collect())
    }

    async fn take_all(&mut self, mut rows: BatchStream) -> Result<()> {
        while let Some(batch) = rows.next().await {
            let batch = self.caster.cast(&batch?)?;
            for (key, part) in self.partitioner.split(&batch)? {
                self.write_part(&key, &part).await?;
            }
            failpoint::reach(failpoint::Point::Staging, &self.attempt.task.to_string()).await?;
        }
        let left: Vec<Key> = self.open.keys().cloned().collect();
        for key in left {
            self.end(&key).await?;
        }
        Ok(())
    }

    async fn write_part(&mut self, key: &Key, part: &RecordBatch) -> Result<()> {
        for start in (0..part.num_rows()).step_by(ROWS_AT_A_TIME) {
            let rows = part.slice(start, ROWS_AT_A_TIME.min(part.num_rows() - start));
            let file = self.file_for(key).await?;
            file.write(&rows).await?;
            if file.bytes() >= self.layout.target_bytes {
                self.end(key).await?;
            }
            self.keep_within_memory().await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The open file of a partition, begun if there is none.
    async fn file_for(&mut self, key: &Key) -> Result<&mut OpenFile> {
        if !self.open.contains_key(key) && self.open.len() >= MAX_OPEN_FILES {
            self.end_longest_unused().await?;
        }
        self.clock += 1;
        let open = match self.open.remove(key) {
            Some(open) => open,
            None => self.begin(key)?,
        };
        let open = self.open.entry(key.clone()).insert_entry(open).into_mut();
        open.last_used = self.clock;
        Ok(&mut open.file)
    }

    fn begin(&mut self, key: &Key) -> Result<Open> {
        let number = self.begun;
        let name = StagedName::new(&self.attempt.task, self.attempt.token, number, self.layout.format.extension());
        let plan = FilePlan {
            path: joined(&[&self.layout.folder, &self.partitioner.folder(key)?, &name.to_string()]),
            partition: self.partitioner.names().iter().cloned().zip(key.iter().cloned()).collect(),
            format: &self.layout.format,
            schema: self.partitioner.file_schema(),
            stats: self.layout.stats,
            row_group_bytes: ROW_GROUP_BYTES,
        };
        let file = OpenFile::new(self.storage, plan)?;
        self.begun += 1;
        Ok(Open { file, number, last_used: self.clock })
    }

    async fn end(&mut self, key: &Key) -> Result<()> {
        let Some(open) = self.open.remove(key) else { return Ok(()) };
        self.done.push((open.number, open.file.finish(self.attempt.window).await?));
        Ok(())
    }

    async fn end_longest_unused(&mut self) -> Result<()> {
        let key = self.open.iter().min_by_key(|(_, open)| open.last_used).map(|(key, _)| key.clone());
        match key {
            Some(key) => self.end(&key).await,
            None => Ok(()),
        }
    }

    async fn keep_within_memory(&mut self) -> Result<()> {
        while self.open.values().map(|open| open.file.memory()).sum::<usize>() > MAX_OPEN_BYTES {
            let largest = self.open.iter().max_by_key(|(_, open)| open.file.memory()).map(|(key, _)| key.clone());
            let Some(key) = largest else { return Ok(()) };
            self.end(&key).await?;
        }
        Ok(())
    }
}
