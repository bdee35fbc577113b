//! What a commit does to a database, as the intent's body holds it: worked out before it is tried, the same for whoever
//! carries it out. Its form is a contract with older and newer versions of windrow. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use windrow_common::{
    error,
    intent::IntentBody,
    manifest::WriteMode,
    window::{Axis, Window},
};

use super::params::Name;
use crate::{
    error::{Result, WorkerError},
    verbatim::Verbatim,
};

/// The forms there are: the second changes the table's columns, the third has rows that nobody decoded, the fourth is of a table whose
/// keys are compared with those of its source.
const FORMS: [u32; 4] = [1, 2, 3, 4];

/// A commit's change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) form: u32,
    pub(super) name: Name,
    /// The columns of the rows, as a table made for them has them.
    pub(super) columns: Vec<NewColumn>,
    /// Of a table that is made.
    pub(super) primary_key: Vec<String>,
    pub(super) indexes: Vec<Vec<String>>,
    /// What becomes of the table's columns before the rows come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) alter: Vec<Alter>,
    /// For each of the body's files the place of its task in the body.
    pub(super) tasks: Vec<usize>,
    /// What the rows are that come as another server wrote them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) verbatim: Vec<Verbatim>,
    /// For each of the body's files which of those its rows are, from 1; 0 for rows of values. Left out, all are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) shapes: Vec<usize>,
    pub(super) deed: Deed,
}

/// A column of a table that is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NewColumn {
    pub(super) name: String,
    /// Its type as it stands in a statement.
    pub(super) sql: String,
    /// Whether values arrive in another type and are cast.
    #[serde(default)]
    pub(super) cast: bool,
}

/// A column that the table gets, or gets in a wider type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Alter {
    pub(super) column: String,
    /// Its type as it stands in a statement.
    pub(super) sql: String,
    pub(super) add: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Deed {
    /// Rows go and come in the table.
    Rows { steps: Vec<Step>, tell: Tell },
    /// The rows become a table of their own, which the view then shows.
    Version { keep: u32 },
    /// The newest row of each key takes the place of the one that is there, or deletes it.
    Upsert {
        key: Vec<String>,
        order: Vec<String>,
        /// How long deleted keys are remembered; always if `None`.
        #[serde(default)]
        keep_deleted_seconds: Option<u64>,
        /// Whether a row is touched also where an older one of its key is left out: it says that the key is at the source.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        touch: bool,
    },
    /// Rows go whose keys are gone at the source, if they are still those that were compared.
    Delete { key: Vec<String> },
    /// The view shows a table again that was kept. `seq` is the commit that showed it last.
    Again { table: Name, seq: u64 },
}

/// Tasks whose windows are apart, so that what they replace can go at once and what they bring come at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    /// First and last of its tasks.
    pub(super) tasks: (usize, usize),
    /// What goes: half-open, in order, not touching.
    pub(super) replace: Vec<(i64, i64)>,
}

/// By what a row's window is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tell {
    /// It need not be.
    Nothing,
    /// By a column of the rows.
    Cursor(String),
    /// By a column of ours that holds the window of the row's task.
    Tag,
}

impl Change {
    /// Of a table whose keys are compared: older versions would neither delete nor touch.
    pub(super) const OF_COMPARED: u32 = FORMS[3];

    /// The form of a change: older versions know nothing of columns that change, or of rows that were not decoded.
    pub(super) fn form(alter: &[Alter], verbatim: &[Verbatim]) -> u32 {
        match (verbatim, alter) {
            ([], []) => FORMS[0],
            ([], _) => FORMS[1],
            _ => FORMS[2],
        }
    }

    /// Of the file at a place.
    pub(super) fn shape(&self, file: usize) -> usize {
        self.shapes.get(file).copied().unwrap_or_default()
    }

    /// What rows of a shape are, if they were not decoded.
    pub(super) fn verbatim(&self, shape: usize) -> Option<&Verbatim> {
        self.verbatim.get(shape.checked_sub(1)?)
    }

    /// The shapes of the rows there are; at least one, also where there are no rows.
    pub(super) fn shapes(&self) -> Vec<usize> {
        let found: BTreeSet<usize> = (0..self.tasks.len()).map(|file| self.shape(file)).collect();
        match found.is_empty() {
            true => vec![usize::from(!self.verbatim.is_empty())],
            false => found.into_iter().collect(),
        }
    }

    pub(super) fn of(body: &IntentBody) -> Result<Self> {
        let unreadable = || {
            WorkerError::later(error::VERSION_SKEW, "an intent says nothing this version can do to a database")
                .at(format!("commit {} of {}", body.seq, body.sink))
                .fix("upgrade workers to versions next to each other")
        };
        let change = body.change.clone().ok_or_else(unreadable)?;
        let change: Self = serde_json::from_value(change).map_err(|cause| unreadable().because(cause))?;
        let shaped = change.shapes.is_empty() || change.shapes.len() == body.add.len();
        let known = change.shapes.iter().all(|shape| *shape <= change.verbatim.len());
        let whole = FORMS.contains(&change.form) && change.tasks.len() == body.add.len() && shaped && known;
        whole.then_some(change).ok_or_else(unreadable)
    }
}

/// Tasks in their order, gathered while their windows are apart.
pub(super) fn steps(tasks: &[(Window, WriteMode)]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut gathered: Vec<Window> = Vec::new();
    for (task, (window, write)) in tasks.iter().enumerate() {
        let replaces = *write == WriteMode::ReplaceWindow && window.axis() == Axis::Time;
        let meets = replaces && gathered.iter().any(|other| other.overlaps(window));
        if meets || steps.is_empty() {
            steps.push(Step { tasks: (task, task), replace: Vec::new() });
            gathered.clear();
        }
        if let Some(step) = steps.last_mut() {
            step.tasks.1 = task;
            step.replace.extend(replaces.then(|| (window.start(), window.end())));
        }
        gathered.push(*window);
    }
    steps.iter_mut().for_each(|step| step.replace = joined(std::mem::take(&mut step.replace)));
    steps
}

/// Stretches in order, those that touch as one.
fn joined(mut stretches: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    stretches.sort_unstable();
    let mut out: Vec<(i64, i64)> = Vec::new();
    for (start, end) in stretches {
        match out.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => out.push((start, end)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn time(start: i64, end: i64) -> Window {
        Window::new(Axis::Time, start, end).unwrap()
    }

    /// A step's tasks and what it replaces.
    type Shape = ((usize, usize), Vec<(i64, i64)>);

    #[test]
    fn windows_apart_go_at_once_and_those_that_meet_one_after_the_other() {
        use WriteMode::{Append, ReplaceWindow as Replace};
        let shape = |tasks: &[(i64, i64, WriteMode)]| -> Vec<Shape> {
            let tasks: Vec<_> = tasks.iter().map(|(start, end, write)| (time(*start, *end), *write)).collect();
            steps(&tasks).into_iter().map(|step| (step.tasks, step.replace)).collect()
        };
        assert!(shape(&[]).is_empty());
        assert_eq!(
            shape(&[(10, 20, Replace), (0, 10, Replace), (30, 40, Replace)]),
            [((0, 2), vec![(0, 20), (30, 40)])]
        );
        // What an earlier task brought is replaced by a later one.
        assert_eq!(shape(&[(0, 10, Replace), (5, 15, Replace)]), [((0, 0), vec![(0, 10)]), ((1, 1), vec![(5, 15)])]);
        assert_eq!(shape(&[(0, 10, Append), (0, 10, Replace)]), [((0, 0), vec![]), ((1, 1), vec![(0, 10)])]);
        // What comes later is not.
        assert_eq!(shape(&[(0, 10, Replace), (0, 10, Append)]), [((0, 1), vec![(0, 10)])]);
        assert_eq!(shape(&[(0, 10, Append), (0, 10, Append)]), [((0, 1), vec![])]);
    }
}
