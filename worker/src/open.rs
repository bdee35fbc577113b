//! Connectors opened from pipelines and kept open, so that a thousand windows do not open a thousand of them. An entry
//! is let go after a while: secrets change, and whoever opens it again reads them again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use windrow_common::{clock::Clock, error, pipeline::Pipeline};

use crate::{
    error::{Result, WorkerError},
    sink::{self, Sink},
    source::{self, ParamError, Source},
};

/// Most connectors of a kind kept open.
const MOST: usize = 256;
/// How long one is kept.
const KEEP: Duration = Duration::from_secs(600);

/// Opens what a pipeline names.
pub trait Opener: Send + Sync + 'static {
    /// Fails with the code of the first parameter that is wrong.
    fn source(&self, pipeline: &Pipeline) -> Result<Arc<dyn Source>>;
    fn sink(&self, pipeline: &Pipeline) -> Result<Arc<dyn Sink>>;
}

/// The connectors of windrow: [`source::SOURCES`] and [`sink::SINKS`].
pub struct BuiltIn;

impl Opener for BuiltIn {
    fn source(&self, pipeline: &Pipeline) -> Result<Arc<dyn Source>> {
        let spec = &pipeline.source;
        let kind = source::find(spec).ok_or_else(|| {
            WorkerError::never(
                error::UNKNOWN_CONNECTOR,
                format!("no source serves connections of type {:?}", spec.from.kind),
            )
        })?;
        (kind.build)(spec).map_err(|errors| refused("source", &pipeline.name.to_string(), &errors))
    }

    fn sink(&self, pipeline: &Pipeline) -> Result<Arc<dyn Sink>> {
        let kind = sink::find(&pipeline.sink).ok_or_else(|| {
            WorkerError::never(error::UNKNOWN_CONNECTOR, format!("no sink writes {:?}", pipeline.sink.format))
        })?;
        (kind.build)(pipeline).map_err(|errors| refused("sink", &pipeline.name.to_string(), &errors))
    }
}

/// The sources and sinks this worker has open.
pub struct Connectors {
    sources: Kept<Arc<dyn Source>>,
    sinks: Kept<Arc<dyn Sink>>,
    opener: Arc<dyn Opener>,
    clock: Arc<dyn Clock>,
}

impl Connectors {
    pub fn new(opener: Arc<dyn Opener>, clock: Arc<dyn Clock>) -> Self {
        Self { sources: Kept::default(), sinks: Kept::default(), opener, clock }
    }

    /// The pipeline's source. Fails with the code of the first parameter that is wrong.
    pub fn source(&self, pipeline: &Pipeline) -> Result<Arc<dyn Source>> {
        self.sources.get_or_open(digest_of(&pipeline.source)?, self.clock.elapsed(), || self.opener.source(pipeline))
    }

    /// The pipeline's sink. Pipelines that write one place share its storage but not its settings, so it is kept per
    /// pipeline.
    pub fn sink(&self, pipeline: &Pipeline) -> Result<Arc<dyn Sink>> {
        self.sinks.get_or_open(digest_of(pipeline)?, self.clock.elapsed(), || self.opener.sink(pipeline))
    }
}

#[cfg(test)]
impl Connectors {
    /// Has `source` stand for the pipeline's.
    pub(crate) fn stand_in_source(&self, pipeline: &Pipeline, source: Arc<dyn Source>) {
        self.sources.keep(digest_of(&pipeline.source).unwrap_or_default(), self.clock.elapsed(), source);
    }

    /// Has `sink` stand for the pipeline's.
    pub(crate) fn stand_in_sink(&self, pipeline: &Pipeline, sink: Arc<dyn Sink>) {
        self.sinks.keep(digest_of(pipeline).unwrap_or_default(), self.clock.elapsed(), sink);
    }
}

/// Reads the pipeline a coordinator sent. It checked the pipeline before, so a failure is a difference of versions.
pub fn read_pipeline(json: &[u8]) -> Result<Pipeline> {
    serde_json::from_slice(json).map_err(|cause| {
        WorkerError::later(error::VERSION_SKEW, "the pipeline cannot be read by this version of windrow")
            .because(cause)
            .fix("upgrade workers and coordinators to versions next to each other")
    })
}

/// A missing secret may appear on this worker or be there on another; anything else stays wrong.
fn refused(what: &str, pipeline: &str, errors: &[ParamError]) -> WorkerError {
    let Some(first) = errors.first() else {
        return WorkerError::never(error::INTERNAL, format!("the {what} cannot be opened")).at(pipeline);
    };
    let message = format!("the {what} cannot be opened: {}", first.message);
    let place = format!("pipeline {pipeline}, {what}.{}", first.path);
    let error = match first.code == error::SECRET_UNRESOLVED {
        true => WorkerError::later(first.code, message),
        false => WorkerError::never(first.code, message),
    };
    match &first.fix {
        Some(fix) => error.at(place).fix(fix.clone()),
        None => error.at(place),
    }
}

fn digest_of(spec: &impl Serialize) -> Result<Key> {
    let json = serde_json::to_vec(spec)
        .map_err(|cause| WorkerError::never(error::INTERNAL, "a pipeline cannot be written as JSON").because(cause))?;
    Ok(Sha256::digest(json).into())
}

type Key = [u8; 32];

/// Opened things and when they were opened.
struct Kept<T>(Mutex<BTreeMap<Key, (Duration, T)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Kept<T> {
    fn get_or_open(&self, key: Key, now: Duration, open: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (opened, _)| now.saturating_sub(*opened) < KEEP);
        if let Some((_, found)) = kept.get(&key) {
            return Ok(found.clone());
        }
        drop(kept);
        // Opening may touch the disk; two at once do no harm.
        let opened = open()?;
        self.keep(key, now, opened.clone());
        Ok(opened)
    }

    fn keep(&self, key: Key, now: Duration, opened: T) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST
            && let Some(oldest) = kept.iter().min_by_key(|(_, (opened, _))| *opened).map(|(key, _)| *key)
        {
            kept.remove(&oldest);
        }
        kept.insert(key, (now, opened));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_thing_is_opened_once_until_it_is_old_and_never_too_many_are_kept() {
        let kept = Kept::default();
        let open = |key: u16, at: u64| {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&key.to_be_bytes());
            kept.get_or_open(id, Duration::from_secs(at), || Ok(at)).unwrap()
        };
        assert_eq!(open(0, 1), 1);
        assert_eq!(open(0, 500), 1);
        assert_eq!(open(0, 601), 601);
        for key in 0..1_000 {
            open(key, 700);
        }
        assert!(kept.0.lock().unwrap().len() <= MOST);
    }

    #[test]
    fn a_failure_to_open_is_not_kept() {
        let kept = Kept::default();
        let failed = kept.get_or_open([0; 32], Duration::ZERO, || Err(WorkerError::never(error::BAD_VALUE, "no")));
        assert!(failed.is_err());
        assert_eq!(kept.get_or_open([0; 32], Duration::ZERO, || Ok(1)).unwrap(), 1);
    }
}
