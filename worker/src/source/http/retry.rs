//! What an answer's status means, and how long to wait before asking again.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{
    StatusCode,
    header::{DATE, HeaderMap, RETRY_AFTER},
};
use windrow_common::error;

use crate::error::WorkerError;

/// How often a request is made before the service is taken to be out.
pub(super) const MOST_TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why a request brought nothing.
pub(super) enum Trouble {
    /// It may pass; after so long if the service says so.
    Passing { error: WorkerError, wait: Option<Duration> },
    /// Asking again would bring the same.
    Lasting(WorkerError),
}

/// What to make of an answer that is no success, given the first of its text.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap, said: &str, now: Timestamp) -> Trouble {
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    let message = format!("the API answered {status}{said}");
    let passing = matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error() && status.as_u16() != 501;
    if passing {
        let error = WorkerError::later(error::SOURCE_UNREADABLE, message);
        return Trouble::Passing { error, wait: retry_after(headers, now) };
    }
    let (code, fix) = match status.as_u16() {
        401 => (error::SOURCE_UNREADABLE, "check the credentials in the connection's `headers` or `query`"),
        403 => (error::SOURCE_UNREADABLE, "give the connection's credentials the right to read this"),
        404 | 410 => (error::SOURCE_MISSING, "correct the connection's `url` or the source's `path`"),
        300..=399 => (error::SOURCE_UNREADABLE, "write the address that the API points at"),
        _ => (error::SOURCE_UNREADABLE, "correct `path`, `query` and `pages`: the API does not take this request"),
    };
    Trouble::Lasting(WorkerError::never(code, message).fix(fix))
}

/// The pause before the next try: doubling, at least half of it.
pub(super) fn pause(tries: u32, jitter: f64) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX));
    whole.min(LONGEST_PAUSE).mul_f64(0.5 + jitter / 2.0)
}

/// Seconds, or an instant of the service's own clock if it tells that, else of ours.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = instant(text)?;
    let now = headers.get(DATE).and_then(|date| instant(date.to_str().ok()?)).unwrap_or(now);
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

fn instant(text: &str) -> Option<Timestamp> {
    rfc2822::parse(text).ok().map(|date| date.timestamp())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date_by_the_services_clock() {
        let now = "2015-10-21T07:00:00Z".parse().unwrap();
        let wait = |pairs: &[_]| retry_after(&headers(pairs), now);
        assert_eq!(wait(&[("retry-after", "120")]), Some(Duration::from_secs(120)));
        assert_eq!(wait(&[("retry-after", "Wed, 21 Oct 2015 07:00:30 GMT")]), Some(Duration::from_secs(30)));
        let skewed = [("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"), ("date", "Wed, 21 Oct 2015 07:27:55 GMT")];
        assert_eq!(wait(&skewed), Some(Duration::from_secs(5)));
        assert_eq!(wait(&[("retry-after", "Wed, 21 Oct 2015 06:00:00 GMT")]), Some(Duration::ZERO), "it is over");
        assert_eq!(wait(&[("retry-after", "soon")]), None);
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn a_status_may_pass_or_last() {
        let code = |status: u16| match judge(status.try_into().unwrap(), &HeaderMap::new(), "", Timestamp::UNIX_EPOCH) {
            Trouble::Passing { error, .. } => (true, error.code().code),
            Trouble::Lasting(error) => (false, error.code().code),
        };
        for status in [408, 425, 429, 500, 502, 503, 504, 520] {
            assert_eq!(code(status), (true, "WR-S002"), "{status}");
        }
        for status in [302, 400, 401, 403, 405, 422, 501] {
            assert_eq!(code(status), (false, "WR-S002"), "{status}");
        }
        assert_eq!((code(404), code(410)), ((false, "WR-S001"), (false, "WR-S001")));
    }

    #[test]
    fn pauses_double_within_bounds() {
        let millis = |tries, jitter| pause(tries, jitter).as_millis();
        assert_eq!((millis(1, 0.0), millis(1, 1.0), millis(3, 1.0), millis(60, 1.0)), (125, 250, 1_000, 10_000));
    }
}
