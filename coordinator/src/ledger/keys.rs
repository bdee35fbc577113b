//! Where each record lies in the store.

use windrow_common::id::{BackfillId, PinId, PipelineName, SinkId, TaskId};

use crate::core::table::Key;

/// The keys of one cluster, under `/windrow/<cluster>/`.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

/// The version of the records' form; a coordinator refuses to lead a cluster whose records have another.
pub const SCHEMA: &str = "1";

impl Keys {
    pub fn of_cluster(cluster: &str) -> Self {
        Self { prefix: format!("/windrow/{cluster}/") }
    }

    /// What all records of the cluster begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn leader(&self) -> Vec<u8> {
        self.path("coord/leader")
    }

    pub fn epoch(&self) -> Vec<u8> {
        self.path("meta/epoch")
    }

    pub fn schema(&self) -> Vec<u8> {
        self.path("meta/schema")
    }

    pub fn of(&self, key: &Key) -> Vec<u8> {
        self.path(&match key {
            Key::Pipeline(name) => format!("p/{name}/spec"),
            Key::Cursor(name) => format!("p/{name}/cursor"),
            Key::Coverage(name) => format!("p/{name}/coverage"),
            Key::Task(name, id) => format!("t/{name}/{id}"),
            Key::Group(name, id) => format!("g/{name}/{id}"),
            Key::Comparison(name, id) => format!("k/{name}/{id}"),
            Key::Head(sink) => format!("s/{sink}/head"),
            Key::Intent(sink) => format!("s/{sink}/intent"),
            Key::Committer(sink) => format!("s/{sink}/com"),
            Key::Rollback(sink) => format!("s/{sink}/rollback"),
            Key::Pin(sink, id) => format!("s/{sink}/pins/{id}"),
            Key::Told(sink) => format!("s/{sink}/told"),
            Key::Spent(sink) => format!("s/{sink}/spent"),
            Key::Backfill(id) => format!("b/{id}"),
            Key::Recovery => "meta/recovery".to_owned(),
        })
    }

    /// Which record a key names; `None` for keys that hold no record of the table.
    pub fn parse(&self, key: &[u8]) -> Option<Key> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let pipeline = |name: &str| name.parse::<PipelineName>().ok();
        let sink = |name: &str| name.parse::<SinkId>().ok();
        match parts.as_slice() {
            ["p", name, "spec"] => Some(Key::Pipeline(pipeline(name)?)),
            ["p", name, "cursor"] => Some(Key::Cursor(pipeline(name)?)),
            ["p", name, "coverage"] => Some(Key::Coverage(pipeline(name)?)),
            ["t", name, id] => Some(Key::Task(pipeline(name)?, id.parse::<TaskId>().ok()?)),
            ["g", name, id] => Some(Key::Group(pipeline(name)?, id.parse::<TaskId>().ok()?)),
            ["k", name, id] => Some(Key::Comparison(pipeline(name)?, id.parse::<TaskId>().ok()?)),
            ["s", name, "head"] => Some(Key::Head(sink(name)?)),
            ["s", name, "intent"] => Some(Key::Intent(sink(name)?)),
            ["s", name, "com"] => Some(Key::Committer(sink(name)?)),
            ["s", name, "rollback"] => Some(Key::Rollback(sink(name)?)),
            ["s", name, "pins", id] => Some(Key::Pin(sink(name)?, id.parse::<PinId>().ok()?)),
            ["s", name, "told"] => Some(Key::Told(sink(name)?)),
            ["s", name, "spent"] => Some(Key::Spent(sink(name)?)),
            ["meta", "recovery"] => Some(Key::Recovery),
            ["b", id] => Some(Key::Backfill(id.parse::<BackfillId>().ok()?)),
            _ => None,
        }
    }

    fn path(&self, rest: &str) -> Vec<u8> {
        format!("{}{rest}", self.prefix).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use windrow_common::window::Window;

    use super::*;

    #[test]
    fn every_key_is_read_back_as_what_it_names() {
        let keys = Keys::of_cluster("test");
        let pipeline: PipelineName = "flights".parse().unwrap();
        let sink: SinkId = "lake-1".parse().unwrap();
        let task = TaskId::of(&pipeline, 0, &Window::version(3), 0);
        let all = [
            Key::Pipeline(pipeline.clone()),
            Key::Cursor(pipeline.clone()),
            Key::Coverage(pipeline.clone()),
            Key::Task(pipeline.clone(), task),
            Key::Group(pipeline.clone(), task),
            Key::Comparison(pipeline, task),
            Key::Head(sink.clone()),
            Key::Intent(sink.clone()),
            Key::Committer(sink.clone()),
            Key::Rollback(sink.clone()),
            Key::Pin(sink.clone(), "pin-1".parse().unwrap()),
            Key::Told(sink.clone()),
            Key::Spent(sink),
            Key::Backfill("bf-1".parse().unwrap()),
            Key::Recovery,
        ];
        for key in all {
            assert_eq!(keys.parse(&keys.of(&key)), Some(key));
        }
        assert_eq!(keys.parse(&keys.leader()), None);
        assert_eq!(keys.parse(b"/windrow/other/b/bf-1"), None);
    }
}
