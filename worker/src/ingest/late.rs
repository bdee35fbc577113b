//! What came late to a closed window: the objects that are there now, held against those it was loaded from. Which rows of an object
//! came late nobody can say, so one that was there before and is another now is told and not read.

use std::collections::BTreeMap;

use windrow_common::{error, manifest::Input};

use crate::{
    error::{Result, WorkerError},
    flight::{Hop, Pass},
    session::Assignment,
    source::Slice,
};

/// Most objects that are named.
const MOST_NAMED: usize = 5;

/// What is otherwise than when the window was loaded.
struct Compared {
    came: Vec<Slice>,
    changed: Vec<String>,
    gone: Vec<String>,
}

/// What of the slices is to be read: all, unless the task is to load what came late.
pub(super) async fn alone(hop: &Hop, pass: &Pass, task: &Assignment, slices: Vec<Slice>) -> Result<Vec<Slice>> {
    match &task.loaded {
        Some(loaded) => Compared::of(hop.inputs(pass, loaded).await?, slices).alone(task),
        None => Ok(slices),
    }
}

/// What is otherwise than when the window was loaded. Whether it has changed is proven without it.
pub(super) async fn in_words(hop: &Hop, pass: &Pass, task: &Assignment, slices: &[Slice]) -> String {
    let Some(loaded) = &task.loaded else { return String::new() };
    match hop.inputs(pass, loaded).await {
        Ok(before) => Compared::of(before, slices.to_vec()).in_words(),
        Err(error) => {
            tracing::debug!(%error, "what the window was loaded from is not known any more");
            String::new()
        }
    }
}

impl Compared {
    fn of(before: Vec<Input>, now: Vec<Slice>) -> Self {
        let mut known: BTreeMap<String, Input> = before.into_iter().map(|input| (input.name.clone(), input)).collect();
        let (mut came, mut changed) = (Vec::new(), Vec::new());
        for slice in now {
            match known.remove(&slice.input.name) {
                None => came.push(slice),
                Some(input) if input != slice.input => changed.push(input.name),
                Some(_) => {}
            }
        }
        Self { came, changed, gone: known.into_keys().collect() }
    }

    /// Nothing but what came late, if that can be told.
    fn alone(self, task: &Assignment) -> Result<Vec<Slice>> {
        if self.changed.is_empty() {
            return Ok(self.came);
        }
        let what = format!("of {} {} since it was loaded", task.window, changed(&self.changed));
        Err(WorkerError::never(error::LATE_MIXED, what).fix(
            "write what comes late to objects of its own and release the window: windrow ready release; \
             or let windows be loaded again: `late: reopen`",
        ))
    }

    fn in_words(&self) -> String {
        let came: Vec<String> = self.came.iter().map(|slice| slice.input.name.clone()).collect();
        let parts = [
            (!came.is_empty()).then(|| format!("{} came late", named(&came))),
            (!self.changed.is_empty()).then(|| changed(&self.changed)),
            (!self.gone.is_empty()).then(|| format!("{} went", named(&self.gone))),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

fn changed(names: &[String]) -> String {
    format!("{} became other than it was", named(names))
}

fn named(names: &[String]) -> String {
    let some: Vec<String> = names.iter().take(MOST_NAMED).map(|name| format!("{name:?}")).collect();
    match names.len().saturating_sub(MOST_NAMED) {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str, version: &str) -> Input {
        Input { name: name.to_owned(), bytes: 1, version: Some(version.to_owned()), into: None }
    }

    fn now(inputs: &[(&str, &str)]) -> Vec<Slice> {
        inputs.iter().map(|(name, version)| input(name, version).into()).collect()
    }

    #[test]
    fn what_came_is_told_from_what_was_there_and_what_is_another() {
        let before = || vec![input("a", "1"), input("b", "1"), input("c", "1")];
        let found = Compared::of(before(), now(&[("a", "1"), ("b", "2"), ("d", "1")]));
        assert_eq!(found.came.iter().map(|slice| slice.input.name.as_str()).collect::<Vec<_>>(), ["d"]);
        assert_eq!(found.in_words(), "\"d\" came late; \"b\" became other than it was; \"c\" went");
        assert_eq!(Compared::of(before(), now(&[("a", "1"), ("b", "1"), ("c", "1")])).in_words(), "");
        let many: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        assert!(named(&many).ends_with("\"4\" and 2 more"), "{}", named(&many));
    }
}
