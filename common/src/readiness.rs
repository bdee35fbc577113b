//! When the input of a window is complete, for sources that cannot tell by themselves, and how consumers learn that its
//! output is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    closed::Late,
    id::PipelineName,
    look::{Question, TableVersion},
    quantity::Pause,
};

/// What a pipeline waits for, and what it tells those who wait for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Readiness {
    /// What has to be so before a window is read. Until then it waits, and holds no slot.
    pub require: Require,
    /// How consumers are told that a window is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<Publish>,
    /// Who is told when a window is published, or published again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// What becomes of windows of time that are published, when rows came late to them.
    #[serde(skip_serializing_if = "Late::is_reopen")]
    pub late: Late,
}

/// Conditions on a window's input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Require {
    /// Every one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<Condition>,
    /// One of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<Condition>,
    /// How long a window waits, from the moment it is planned, before `then` is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub timeout: Option<Pause>,
    /// What becomes of a window that has waited for so long.
    #[serde(skip_serializing_if = "Then::is_alert")]
    pub then: Then,
}

/// What becomes of a window whose input is not complete in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It goes on waiting, and is counted as overdue.
    #[default]
    Alert,
    /// It is quarantined.
    Fail,
    /// What is there is read.
    Go,
}

/// A condition on a window's input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// A file is there: `_SUCCESS` in the folder of the window's objects, or a path with placeholders as in `source.path`.
    Marker(String),
    /// The next window has objects: whoever writes it is done with this one.
    NextPartition(NextPartition),
    /// Another pipeline has published all of the window.
    Pipeline(#[schemars(with = "String")] PipelineName),
    /// A Delta table has come so far.
    Delta(TableVersion),
    /// A database says so.
    Sql(Question),
    /// The source, asked when the window was read, counts as many rows as were read.
    Count(Count),
}

/// The objects that say that a window is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// A path with placeholders: an object for each window. Without any: one for a full load, or one in each partition the
    /// window has rows in.
    pub marker: String,
    /// The folder markers lie in, under the connection that keeps the sink's files. Files have theirs beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Whether each partition the window has rows in gets one too, called by the last part of `marker`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partitions: bool,
    /// Where the description of what is complete stands.
    #[serde(default, skip_serializing_if = "Description::is_inside")]
    pub manifest: Description,
}

/// A webhook that is told of windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// The address events are posted to: `https://..`, or a reference to one.
    pub url: String,
    /// A reference to what they are signed with: `whsec_` and a key in base64.
    pub secret: String,
    /// Hosts in private networks that may be told, and may be told by plain http.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub private: Vec<String>,
}

/// Where the description of what is complete stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Description {
    /// In the marker.
    #[default]
    Inside,
    /// In an object beside it, called as the marker with `.json` behind it. The marker is empty.
    Beside,
}

/// The only thing to say of the next partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "bool", into = "bool")]
#[schemars(with = "bool")]
pub struct NextPartition;

/// The only thing to say of the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "bool", into = "bool")]
#[schemars(with = "bool")]
pub struct Count;

impl Readiness {
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Condition {
    /// Whether it is looked at now and then, for all windows that wait at once.
    pub fn is_looked_at(&self) -> bool {
        matches!(self, Self::Delta(_) | Self::Sql(_)) || self.is_about_objects()
    }

    /// Whether each window has objects of its own that say so, and only its source knows where.
    pub fn is_about_objects(&self) -> bool {
        matches!(self, Self::Marker(_) | Self::NextPartition(_))
    }
}

impl Require {
    /// All conditions there are.
    pub fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.all.iter().chain(&self.any)
    }

    /// Whether what was read is held against the source's own count.
    pub fn counts(&self) -> bool {
        self.all.contains(&Condition::Count(Count))
    }
}

impl Then {
    fn is_alert(&self) -> bool {
        *self == Self::Alert
    }
}

impl Description {
    fn is_inside(&self) -> bool {
        *self == Self::Inside
    }
}

/// What is said of `next_partition: false`.
const NO_CONDITION: &str = "a condition is there or it is not: write true, or remove it";

impl TryFrom<bool> for NextPartition {
    type Error = &'static str;

    fn try_from(required: bool) -> Result<Self, &'static str> {
        if required { Ok(Self) } else { Err(NO_CONDITION) }
    }
}

impl TryFrom<bool> for Count {
    type Error = &'static str;

    fn try_from(required: bool) -> Result<Self, &'static str> {
        if required { Ok(Self) } else { Err(NO_CONDITION) }
    }
}

impl From<Count> for bool {
    fn from(Count: Count) -> bool {
        true
    }
}

impl From<NextPartition> for bool {
    fn from(NextPartition: NextPartition) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_read_as_they_stand_in_a_file() {
        let text = json!({ "require": { "any": [{ "marker": "_SUCCESS" }, { "next_partition": true }] } });
        let read: Readiness = serde_json::from_value(text.clone()).unwrap();
        let expected = [Condition::Marker("_SUCCESS".to_owned()), Condition::NextPartition(NextPartition)];
        assert_eq!(read.require.any, expected);
        assert_eq!(serde_json::to_value(&read).unwrap(), text);
        assert_eq!(read.require.conditions().count(), 2);
        for wrong in
            [json!({ "require": { "any": [{ "next_partition": false }] } }), json!({ "require": { "marker": "x" } })]
        {
            assert!(serde_json::from_value::<Readiness>(wrong.clone()).is_err(), "{wrong}");
        }
    }
    #[test]
    fn what_is_looked_at_is_read_by_names_and_sent_whole() {
        let text = json!({ "require": { "all": [
            { "delta": { "from": "lake", "path": "orders", "version": 7 } },
            { "sql": { "from": "shop", "query": "SELECT true" } },
        ] } });
        let mut read: Readiness = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), text);
        assert!(read.require.conditions().all(Condition::is_looked_at));
        let Some(Condition::Sql(question)) = read.require.all.last_mut() else { panic!("{read:?}") };
        assert_eq!((question.from.name(), question.from.connection()), ("shop", None));
        let whole = json!({ "name": "shop", "type": "postgres", "url": "${env:SHOP}" });
        question.from = serde_json::from_value(whole.clone()).unwrap();
        assert_eq!(question.from.name(), "shop");
        assert_eq!(serde_json::to_value(&read).unwrap()["require"]["all"][1]["sql"]["from"], whole);
    }
    #[test]
    fn what_is_told_and_how_long_is_waited_survive_their_text_form() {
        let text = json!({
            "require": { "all": [{ "pipeline": "flights" }], "timeout": "6h", "then": "fail" },
            "publish": { "marker": "dt={window.start:%F}/_SUCCESS", "partitions": true, "manifest": "beside" },
        });
        let read: Readiness = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(read.require.then, Then::Fail);
        assert_eq!(serde_json::to_value(&read).unwrap(), text);
        let usual: Readiness = serde_json::from_value(json!({ "publish": { "marker": "_SUCCESS" } })).unwrap();
        let publish = usual.publish.unwrap();
        assert_eq!((publish.partitions, publish.manifest), (false, Description::Inside));
        assert!(serde_json::from_value::<Readiness>(json!({ "publish": {} })).is_err());
    }
}
