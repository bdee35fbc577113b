//! The next change of a table that is a set of files, for every sink that has one: `plan` says which files go, which
//! are cut and which are taken as they are; `merge` which small ones become one; `rewrite` cuts and merges; `input` is
//! a data file being read; `views` how its texts are held; `union` what columns rows have together. Only invisible files are written. It knows no sink's log.

use std::{collections::BTreeMap, sync::Arc};

use arrow_schema::{Schema, SchemaRef};
use windrow_common::{
    manifest::StagedFile,
    window::{Axis, Window},
};

use crate::error::Result;

mod input;
mod merge;
mod plan;
mod rewrite;
mod union;
mod views;

pub(in crate::sink) use input::{
    FileRows, columns as columns_of_file, failure as read_failure, open as open_file, read as read_file,
    read_as as read_file_as,
};
pub(in crate::sink) use merge::Rule;
pub(in crate::sink) use plan::{Plan, Rewrite, Standing, plan};
pub(in crate::sink) use rewrite::Rewriter;
pub(in crate::sink) use union::union;
pub(in crate::sink) use views::views;

/// Fails unless the rows of all files to be cut can be told apart.
pub(in crate::sink) fn check_rewrites(rewrites: &[Rewrite], cursor: Option<&str>) -> Result<()> {
    let untellable = |rewrite: &&Rewrite| cursor.is_none() || rewrite.cuts.iter().any(|cut| cut.axis() != Axis::Time);
    rewrites.iter().find(untellable).map_or(Ok(()), |cut| Err(rewrite::no_cursor(cut)))
}

/// Rewrites and merges; the files to add, in an order that depends on the tasks alone.
pub(in crate::sink) async fn write(rewriter: &Rewriter<'_>, plan: Plan, rule: Rule<'_>) -> Result<Vec<StagedFile>> {
    let mut add: BTreeMap<(usize, Window, String), StagedFile> = BTreeMap::new();
    let mut insert = |task: usize, order: String, file: StagedFile| add.insert((task, file.window, order), file);
    for rewrite in &plan.rewrite {
        for (part, file) in rewriter.cut(rewrite).await?.into_iter().enumerate() {
            insert(rewrite.task, format!("{}/{part}", rewrite.path), file);
        }
    }
    let merge = merge::merge(plan.take, rule);
    for bin in &merge.bins {
        let (Some(first), Some(window)) = (bin.first(), merge::hull(bin)) else { continue };
        insert(first.task, first.file.path.clone(), rewriter.join(bin, window).await?);
    }
    for taken in merge.alone {
        insert(taken.task, taken.file.path.clone(), taken.file);
    }
    Ok(add.into_values().collect())
}

/// `schema` without the named columns: what is in the files when the columns are in folders' names.
pub(in crate::sink) fn without(schema: &Schema, columns: &[String]) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().filter(|field| !columns.contains(field.name())).cloned().collect();
    Arc::new(Schema::new(fields))
}
