//! Words with a form: ids, digests, lengths of time, sizes. What is read is written as something that reads the same.

use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

use windrow_common::{
    id::{PipelineName, TaskId},
    manifest::Digest,
    pipeline::Every,
    quantity::{ByteSize, Pause},
};

/// The input as each kind of word.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(name) = survives::<PipelineName>(text) {
        assert_eq!(name.as_str(), text);
    }
    survives::<Every>(text);
    survives::<Pause>(text);
    survives::<ByteSize>(text);
    if let Some(task) = survives::<TaskId>(text) {
        assert_eq!(task.to_string(), text.to_ascii_lowercase(), "two texts name one task");
    }
    if let Ok(digest) = Digest::try_from(text.to_owned()) {
        assert_eq!(digest.to_string(), text.to_ascii_lowercase(), "two texts name one digest");
    }
}

/// What the text means, if it means something; read from its own form it is the same.
fn survives<T: FromStr + Display + Debug + PartialEq>(text: &str) -> Option<T> {
    let word: T = text.parse().ok()?;
    let written = word.to_string();
    assert_eq!(written.parse().ok().as_ref(), Some(&word), "{text:?} is written {written:?}");
    Some(word)
}
