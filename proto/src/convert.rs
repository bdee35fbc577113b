//! Between the wire's small types and the words of `windrow-common`. What comes from the wire or the store is checked;
//! what goes out cannot fail.

use std::time::Duration;

use jiff::Timestamp;
use windrow_common::{
    claim::Token,
    closed::Declared,
    compaction::{Clustering, FileLayout, GroupRef, Order},
    count::counted,
    guard::{Guard, Percent},
    id::{InvalidName, TaskId},
    manifest::{Counts, Digest, ManifestRef, Proof},
    pin,
    task::{Failure, Retry},
    window::{Axis, EmptyWindow, Window},
};

use crate::v1;

/// Why a message or a record makes no sense.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Malformed {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{what} has {}, not {expected}", counted(*found, "byte"))]
    Length { what: &'static str, found: usize, expected: usize },
    #[error("{0} has an unknown value")]
    Unknown(&'static str),
    #[error("a task's seams do not ascend within its window")]
    Seams,
    #[error("a time is out of range: {0} us")]
    Time(i64),
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error(transparent)]
    Window(#[from] EmptyWindow),
    #[error("record cannot be decoded: {0}")]
    Record(String),
}

/// The field, or an error that names it.
pub fn required<T>(field: Option<T>, name: &'static str) -> Result<T, Malformed> {
    field.ok_or(Malformed::Missing(name))
}

pub fn instant(us: i64) -> Result<Timestamp, Malformed> {
    Timestamp::from_microsecond(us).map_err(|_| Malformed::Time(us))
}

pub fn task_id(bytes: &[u8]) -> Result<TaskId, Malformed> {
    let found = bytes.len();
    bytes.try_into().map(TaskId::from_bytes).map_err(|_| Malformed::Length { what: "task id", found, expected: 16 })
}

pub fn digest(bytes: &[u8]) -> Result<Digest, Malformed> {
    let found = bytes.len();
    bytes.try_into().map(Digest).map_err(|_| Malformed::Length { what: "digest", found, expected: 32 })
}

/// An empty field is no digest.
pub fn optional_digest(bytes: &[u8]) -> Result<Option<Digest>, Malformed> {
    if bytes.is_empty() { Ok(None) } else { digest(bytes).map(Some) }
}

pub fn digest_bytes(digest: Option<&Digest>) -> Vec<u8> {
    digest.map(|digest| digest.0.to_vec()).unwrap_or_default()
}

/// A proof as messages have it: of all, and of each window.
pub fn proof_out(proof: Option<&Proof>) -> (Vec<u8>, Vec<Vec<u8>>) {
    let windows = proof.map(|proof| proof.windows.iter().map(|digest| digest.0.to_vec()).collect());
    (digest_bytes(proof.map(|proof| &proof.whole)), windows.unwrap_or_default())
}

pub fn proof_in(whole: &[u8], windows: &[Vec<u8>]) -> Result<Option<Proof>, Malformed> {
    let Some(whole) = optional_digest(whole)? else { return Ok(None) };
    let windows = windows.iter().map(|bytes| digest(bytes)).collect::<Result<_, _>>()?;
    Ok(Some(Proof { whole, windows }))
}

/// An empty text stands for nothing.
pub fn optional_text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl From<pin::Version> for v1::PinnedVersion {
    fn from(version: pin::Version) -> Self {
        use v1::pinned_version::Of;
        Self {
            of: Some(match version {
                pin::Version::Table(version) => Of::Table(version),
                pin::Version::Load(version) => Of::Load(version),
            }),
        }
    }
}

impl TryFrom<v1::PinnedVersion> for pin::Version {
    type Error = Malformed;

    fn try_from(version: v1::PinnedVersion) -> Result<Self, Malformed> {
        use v1::pinned_version::Of;
        Ok(match required(version.of, "version")? {
            Of::Table(version) => Self::Table(version),
            Of::Load(version) => Self::Load(version),
        })
    }
}

impl From<pin::Wanted> for v1::PinWanted {
    fn from(wanted: pin::Wanted) -> Self {
        use v1::pin_wanted::Wanted;
        Self {
            wanted: Some(match wanted {
                pin::Wanted::Version(version) => Wanted::Version(version.into()),
                pin::Wanted::At(at) => Wanted::AtUs(at.as_microsecond()),
            }),
        }
    }
}

impl TryFrom<v1::PinWanted> for pin::Wanted {
    type Error = Malformed;

    fn try_from(wanted: v1::PinWanted) -> Result<Self, Malformed> {
        use v1::pin_wanted::Wanted;
        Ok(match required(wanted.wanted, "version or time")? {
            Wanted::Version(version) => Self::Version(version.try_into()?),
            Wanted::AtUs(at) => Self::At(instant(at)?),
        })
    }
}

impl From<Window> for v1::Window {
    fn from(window: Window) -> Self {
        Self { axis: v1::Axis::from(window.axis()).into(), start: window.start(), end: window.end() }
    }
}

impl TryFrom<v1::Window> for Window {
    type Error = Malformed;

    fn try_from(window: v1::Window) -> Result<Self, Malformed> {
        Ok(Self::new(axis(window.axis)?, window.start, window.end)?)
    }
}

impl From<Axis> for v1::Axis {
    fn from(axis: Axis) -> Self {
        match axis {
            Axis::Time => Self::Time,
            Axis::Version => Self::Version,
        }
    }
}

pub fn axis(value: i32) -> Result<Axis, Malformed> {
    match v1::Axis::try_from(value) {
        Ok(v1::Axis::Time) => Ok(Axis::Time),
        Ok(v1::Axis::Version) => Ok(Axis::Version),
        _ => Err(Malformed::Unknown("axis")),
    }
}

impl From<Token> for v1::Token {
    fn from(token: Token) -> Self {
        Self { epoch: token.epoch, revision: token.revision }
    }
}

impl From<v1::Token> for Token {
    fn from(token: v1::Token) -> Self {
        Self { epoch: token.epoch, revision: token.revision }
    }
}

impl From<Guard> for v1::Guard {
    fn from(guard: Guard) -> Self {
        Self { min_rows: guard.min_rows, max_row_change: guard.max_row_change.map(|most| most.hundredths) }
    }
}

impl From<v1::Guard> for Guard {
    fn from(guard: v1::Guard) -> Self {
        let max_row_change = guard.max_row_change.map(|hundredths| Percent { hundredths });
        Self { min_rows: guard.min_rows, max_row_change }
    }
}

impl From<Counts> for v1::Counts {
    fn from(counts: Counts) -> Self {
        let Counts { rows_read, rows_written, rows_rejected, bytes_written, files, values_discarded, rows_deleted } =
            counts;
        Self { rows_read, rows_written, rows_rejected, bytes_written, files, values_discarded, rows_deleted }
    }
}

impl From<v1::Counts> for Counts {
    fn from(counts: v1::Counts) -> Self {
        let v1::Counts { rows_read, rows_written, rows_rejected, bytes_written, files, values_discarded, rows_deleted } =
            counts;
        Self { rows_read, rows_written, rows_rejected, bytes_written, files, values_discarded, rows_deleted }
    }
}

impl From<&Declared> for v1::Declared {
    fn from(declared: &Declared) -> Self {
        Self { by: declared.by.clone(), reason: declared.reason.clone(), at_us: declared.at.as_microsecond() }
    }
}

impl TryFrom<v1::Declared> for Declared {
    type Error = Malformed;

    fn try_from(declared: v1::Declared) -> Result<Self, Malformed> {
        Ok(Self { by: declared.by, reason: declared.reason, at: instant(declared.at_us)? })
    }
}

impl From<&ManifestRef> for v1::ManifestRef {
    fn from(manifest: &ManifestRef) -> Self {
        let (proof, window_proofs) = proof_out(manifest.proof.as_ref());
        Self {
            path: manifest.path.clone(),
            sha256: manifest.sha256.0.to_vec(),
            counts: Some(manifest.counts.into()),
            proof,
            window_proofs,
        }
    }
}

impl TryFrom<v1::ManifestRef> for ManifestRef {
    type Error = Malformed;

    fn try_from(manifest: v1::ManifestRef) -> Result<Self, Malformed> {
        Ok(Self {
            path: manifest.path,
            sha256: digest(&manifest.sha256)?,
            counts: manifest.counts.unwrap_or_default().into(),
            proof: proof_in(&manifest.proof, &manifest.window_proofs)?,
        })
    }
}

impl From<&GroupRef> for v1::FileGroup {
    fn from(group: &GroupRef) -> Self {
        Self {
            sha256: group.sha256.0.to_vec(),
            files: group.files,
            bytes: group.bytes,
            makes: group.makes,
            window: group.window.map(Into::into),
            place: group.place.clone(),
            major: group.major.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<v1::FileGroup> for GroupRef {
    type Error = Malformed;

    fn try_from(group: v1::FileGroup) -> Result<Self, Malformed> {
        Ok(Self {
            sha256: digest(&group.sha256)?,
            files: group.files,
            bytes: group.bytes,
            makes: group.makes,
            window: group.window.map(TryInto::try_into).transpose()?,
            place: group.place,
            major: group.major.map(Into::into),
        })
    }
}

impl From<&Clustering> for v1::Clustering {
    fn from(clustering: &Clustering) -> Self {
        Self { columns: clustering.columns.clone(), zorder: clustering.order == Order::Zorder }
    }
}

impl From<v1::Clustering> for Clustering {
    fn from(clustering: v1::Clustering) -> Self {
        let order = if clustering.zorder { Order::Zorder } else { Order::Sort };
        Self { columns: clustering.columns, order }
    }
}

impl From<FileLayout> for v1::FileLayout {
    fn from(layout: FileLayout) -> Self {
        let FileLayout { files, small_files, bytes, partitions, most_in_partition } = layout;
        Self { files, small_files, bytes, partitions, most_in_partition }
    }
}

impl From<v1::FileLayout> for FileLayout {
    fn from(layout: v1::FileLayout) -> Self {
        let v1::FileLayout { files, small_files, bytes, partitions, most_in_partition } = layout;
        Self { files, small_files, bytes, partitions, most_in_partition }
    }
}

impl From<&Failure> for v1::Failure {
    fn from(failure: &Failure) -> Self {
        let retry = match failure.retry {
            Retry::Later => v1::RetryAdvice::Later,
            Retry::Never => v1::RetryAdvice::Never,
        };
        Self {
            code: failure.code.clone(),
            message: failure.message.clone(),
            retry: retry.into(),
            at_us: failure.at.as_microsecond(),
            worker: failure.worker.as_ref().map(ToString::to_string).unwrap_or_default(),
            took_ms: u64::try_from(failure.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl TryFrom<v1::Failure> for Failure {
    type Error = Malformed;

    fn try_from(failure: v1::Failure) -> Result<Self, Malformed> {
        let retry = match v1::RetryAdvice::try_from(failure.retry) {
            Ok(v1::RetryAdvice::Never) => Retry::Never,
            Ok(v1::RetryAdvice::Later) => Retry::Later,
            _ => return Err(Malformed::Unknown("retry advice")),
        };
        Ok(Self {
            code: failure.code,
            message: failure.message,
            retry,
            at: instant(failure.at_us)?,
            took: Duration::from_millis(failure.took_ms),
            worker: optional_text(failure.worker).map(|worker| worker.parse()).transpose()?,
        })
    }
}
