//! A pipeline's state in a word, and what holds it up in a sentence: the same in every list and at the end of a run.

use windrow_proto::v1;

/// `running`, `paused`, `halted`, `commit fails`, `held up`; what needs somebody comes first.
pub fn word(pipeline: &v1::Pipeline) -> &'static str {
    match &pipeline.trouble {
        Some(trouble) if trouble.halted => "halted",
        _ if pipeline.paused => "paused",
        Some(_) => "commit fails",
        None if pipeline.held_up > 0 => "held up",
        None => "running",
    }
}

/// Why windows that are due are not published, if something is wrong; with the code of the error.
pub fn what_holds_it_up(pipeline: &v1::Pipeline) -> Option<String> {
    let said = |failure: Option<&v1::Failure>| {
        failure.map(|failure| format!("{} [{}]", failure.message, failure.code)).unwrap_or_default()
    };
    match &pipeline.trouble {
        Some(trouble) if trouble.halted => {
            Some(format!("the sink is halted until somebody has looked: {}", said(trouble.failure.as_ref())))
        }
        Some(trouble) => Some(format!("commits fail and are tried again: {}", said(trouble.failure.as_ref()))),
        None if pipeline.held_up > 0 => Some(format!(
            "{} of them wait for something that cannot be reached: {}",
            pipeline.held_up,
            said(pipeline.last_failure.as_ref())
        )),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_needs_somebody_comes_first() {
        let trouble = |halted| {
            let failure =
                v1::Failure { code: "WR-K009".into(), message: "commits are gone".into(), ..Default::default() };
            v1::SinkTrouble { failure: Some(failure), halted, ..Default::default() }
        };
        let pipeline = |paused, held_up, trouble| v1::Pipeline { paused, held_up, trouble, ..Default::default() };
        let table = [
            (pipeline(false, 0, None), "running", None),
            (pipeline(true, 3, None), "paused", Some("3 of them wait")),
            (pipeline(false, 3, None), "held up", Some("3 of them wait")),
            (pipeline(false, 3, Some(trouble(false))), "commit fails", Some("commits are gone [WR-K009]")),
            (pipeline(true, 0, Some(trouble(true))), "halted", Some("halted until somebody has looked")),
        ];
        for (pipeline, expected, sentence) in table {
            assert_eq!(word(&pipeline), expected);
            let said = what_holds_it_up(&pipeline);
            assert_eq!(said.is_some(), sentence.is_some(), "{said:?}");
            assert!(sentence.is_none_or(|part| said.clone().unwrap().contains(part)), "{said:?}");
        }
    }
}
