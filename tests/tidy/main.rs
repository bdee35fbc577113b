//! The rules of the house, as tests: which crate may know which, what the pure core does without, how files look.
//! Each rule says what it is for; a failure lists every place that breaks it.
#![allow(clippy::unwrap_used)]

mod capabilities;
mod documents;
mod failures;
mod house;
mod metrics;
mod source;
mod tree;

/// Fails with the rule and all places that break it.
fn hold(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "\nrule: {rule}\nbroken in {} place(s):\n  {}\n", broken.len(), broken.join("\n  "));
}

/// Whether generated documents are to be written instead of compared.
fn updating() -> bool {
    std::env::var_os("WINDROW_UPDATE").is_some_and(|value| value == "1")
}
