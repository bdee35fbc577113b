//! The API as something to ask: with its credentials, at its pace, again when that may help, and never anybody else
//! with the credentials meant for it. Secrets are resolved here, and nothing of them is in what is said.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Client, Response, StatusCode,
    header::{
        ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
        IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
    },
    redirect::Policy,
};
use serde_json::value::RawValue;
use url::Url;
use windrow_common::{
    clock::{Clock, SystemClock},
    count::counted,
    error,
};

use super::{
    link,
    pace::{LONGEST_WAIT, Pace},
    params::{self, Connection},
    retry::{self, MOST_TRIES, Trouble},
};
use crate::{
    error::{Result, WorkerError, in_one_line},
    storage::{Secret, resolve},
};

/// Redirects of one request.
const MOST_REDIRECTS: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an unwelcome answer that are looked at, and characters of it that are told.
const LOOKED_AT: usize = 4_096;
const TOLD: usize = 300;

/// A connection that can be asked.
pub(super) struct Service {
    client: Client,
    base: Url,
    headers: HeaderMap,
    query: Vec<(String, Secret)>,
    /// Everything resolved, to be hidden in what others say.
    secrets: Vec<Secret>,
    other_hosts: Vec<String>,
    timeout: Duration,
    pace: Arc<Pace>,
    clock: SystemClock,
}

/// What to ask for.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// Without the connection's own query.
    pub(super) url: Url,
    /// How it is called in errors and manifests: without the query parameters that stand beside the path.
    pub(super) shown: String,
    pub(super) most_bytes: usize,
}

/// An answer that is JSON.
pub(super) struct Answer {
    pub(super) body: Bytes,
    /// What the `Link` header says is next.
    pub(super) link: Option<String>,
    pub(super) version: Option<String>,
    /// Where it came from in the end, which relative links are relative to.
    pub(super) url: Url,
}

/// How much of an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted<'a> {
    Body,
    /// Its version alone; nothing of its body if that still is this.
    Version(Option<&'a str>),
}

impl Service {
    /// Resolves the connection's secrets; connects to nothing yet.
    pub(super) fn open(name: &str, connection: &Connection) -> Result<Self> {
        let at = |key: &str| format!("connection {name}, {key}");
        let mut secrets = Vec::new();
        let mut resolved = |key: &str, value: &str| -> Result<Secret> {
            let secret = resolve(value).map_err(|cause| {
                WorkerError::later(error::SECRET_UNRESOLVED, cause.to_string())
                    .at(at(key))
                    .fix("give this worker the variable or the file, or run the pipeline on one that has it")
            })?;
            secrets.push(secret.clone());
            Ok(secret)
        };
        let url = resolved("url", &connection.url)?;
        let base = params::base(url.reveal())
            .map_err(|message| WorkerError::never(error::BAD_VALUE, message).at(at("url")))?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (key, value) in &connection.headers {
            let secret = resolved(key, value)?;
            let (key, value) = header(key, secret.reveal()).ok_or_else(|| {
                WorkerError::never(error::BAD_VALUE, "the value cannot stand in a header").at(at(key))
            })?;
            headers.insert(key, value);
        }
        let query = connection.query.iter().map(|(key, value)| Ok((key.clone(), resolved(key, value)?)));
        let query = query.collect::<Result<_>>()?;
        let client = Client::builder()
            .user_agent(concat!("windrow/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(Policy::none())
            .build()
            .map_err(|cause| WorkerError::never(error::INTERNAL, "no HTTP client can be made").because(cause))?;
        let service = format!("{name}\0{}", connection.url);
        Ok(Self {
            client,
            base,
            headers,
            query,
            secrets,
            other_hosts: connection.other_hosts.clone(),
            timeout: connection.timeout.0,
            pace: Pace::of(&service, connection.requests_per_s),
            clock: SystemClock::new(),
        })
    }

    /// The address of a path behind the connection's, and how it is called: as the pipeline's file writes it.
    pub(super) fn address(&self, path: &str) -> Result<(Url, String)> {
        let text = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        let url = Url::parse(&text).map_err(|cause| {
            WorkerError::never(error::BAD_VALUE, format!("{path:?} is no path behind an address")).because(cause)
        })?;
        Ok((url, self.hide(&text)))
    }

    /// The answer, whole.
    pub(super) async fn get(&self, ask: &Ask) -> Result<Answer> {
        self.persistent(ask, Wanted::Body).await
    }

    /// The version of an answer, as its headers tell it, and without its body if it still is the `known` one.
    pub(super) async fn version(&self, ask: &Ask, known: Option<&str>) -> Result<Option<String>> {
        Ok(self.persistent(ask, Wanted::Version(known)).await?.version)
    }

    /// Asks until there is an answer, or none is to be had for now.
    async fn persistent(&self, ask: &Ask, wanted: Wanted<'_>) -> Result<Answer> {
        let mut tries = 0;
        loop {
            self.pace.turn().await.map_err(|wait| closed(wait).at(&ask.shown))?;
            let once = tokio::time::timeout(self.timeout, self.once(ask, wanted));
            let trouble = match once.await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(trouble)) => trouble,
                Err(_) => Trouble::Passing { error: self.too_slow(), wait: None },
            };
            let (error, wait) = match trouble {
                Trouble::Lasting(error) => return Err(error.at(&ask.shown)),
                Trouble::Passing { error, wait } => (error.at(&ask.shown), wait),
            };
            tries += 1;
            if let Some(wait) = wait {
                self.pace.hold(wait);
            }
            if tries >= MOST_TRIES || wait.is_some_and(|wait| wait > LONGEST_WAIT) {
                return Err(error);
            }
            tracing::debug!(tries, error = in_one_line(&error), "the request is made again");
            tokio::time::sleep(retry::pause(tries, rand::random())).await;
        }
    }

    async fn once(&self, ask: &Ask, wanted: Wanted<'_>) -> Result<Answer, Trouble> {
        let (response, url) = self.follow(ask, wanted).await?;
        let version = version(response.headers());
        let link = link::next(response.headers());
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED
            && let Wanted::Version(Some(known)) = wanted
        {
            return Ok(Answer { body: Bytes::new(), link, version: Some(known.to_owned()), url });
        }
        if !status.is_success() {
            let headers = response.headers().clone();
            let said = self.said(response).await;
            return Err(retry::judge(status, &headers, &said, self.clock.now()));
        }
        let body = match wanted {
            Wanted::Version(_) => Bytes::new(),
            Wanted::Body => self.json(response, ask.most_bytes).await?,
        };
        Ok(Answer { body, link, version, url })
    }

    /// The answer behind redirects, and where it came from.
    async fn follow(&self, ask: &Ask, wanted: Wanted<'_>) -> Result<(Response, Url), Trouble> {
        let mut url = ask.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let response = self.send(url.clone(), wanted).await?;
            let target = response.headers().get(LOCATION).filter(|_| response.status().is_redirection());
            let Some(target) = target else { return Ok((response, url)) };
            let target = target.to_str().ok().and_then(|target| url.join(target).ok());
            url = target.ok_or_else(|| {
                Trouble::Lasting(WorkerError::never(
                    error::SOURCE_UNREADABLE,
                    "the API redirects to what is no address",
                ))
            })?;
        }
        let message = format!("the API redirects more than {MOST_REDIRECTS} times");
        Err(Trouble::Lasting(WorkerError::never(error::SOURCE_UNREADABLE, message)))
    }

    async fn send(&self, mut url: Url, wanted: Wanted<'_>) -> Result<Response, Trouble> {
        let mut request = match self.trust(&url).map_err(Trouble::Lasting)? {
            Trust::Other => self.client.get(url),
            Trust::Own => {
                add_query(&mut url, self.query.iter().map(|(key, value)| (key.as_str(), value.reveal())));
                self.client.get(url).headers(self.headers.clone())
            }
        };
        if let Wanted::Version(Some(known)) = wanted {
            let condition = if is_tag(known) { IF_NONE_MATCH } else { IF_MODIFIED_SINCE };
            request = request.header(condition, known);
        }
        request.send().await.map_err(|cause| self.broken(cause))
    }

    /// Whether an address may be asked, and with the credentials.
    fn trust(&self, url: &Url) -> Result<Trust> {
        let upgraded = self.base.scheme() == "http" && url.scheme() == "https" && self.base.port().is_none();
        let same_port = url.port_or_known_default() == self.base.port_or_known_default() || upgraded;
        let same_scheme = url.scheme() == self.base.scheme() || upgraded;
        let host = url.host_str().unwrap_or_default();
        if url.host_str() == self.base.host_str() && same_port && same_scheme {
            return Ok(Trust::Own);
        }
        if matches!(url.scheme(), "http" | "https") && self.other_hosts.iter().any(|other| other == host) {
            return Ok(Trust::Other);
        }
        let elsewhere = self.hide(&url.origin().ascii_serialization());
        Err(WorkerError::never(error::SOURCE_UNREADABLE, format!("the API points at another place, {elsewhere}")).fix(
            "if it is to be trusted, add its host to the connection's `other_hosts`; it is not sent the credentials",
        ))
    }

    /// The body, if it is JSON and not too large; empty where the API says that there is none. That it ends early may
    /// pass.
    async fn json(&self, response: Response, most: usize) -> Result<Bytes, Trouble> {
        if let Some(packed) = response.headers().get(CONTENT_ENCODING).filter(|packed| *packed != "identity") {
            let message = format!("the answer is packed as {packed:?}, which nobody asked for");
            return Err(Trouble::Lasting(WorkerError::never(error::SOURCE_CORRUPT, message)));
        }
        let too_large = || {
            Trouble::Lasting(
                WorkerError::never(error::INPUT_TOO_LARGE, format!("a page has more than {}", counted(most, "byte")))
                    .fix("ask for smaller pages by `pages.size`, or raise `limits.page`"),
            )
        };
        if response.content_length().is_some_and(|length| length > most as u64) {
            return Err(too_large());
        }
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(Bytes::new());
        }
        let mut response = response;
        let mut body = BytesMut::new();
        while let Some(part) = response.chunk().await.map_err(|cause| self.broken(cause))? {
            if body.len() + part.len() > most {
                return Err(too_large());
            }
            body.extend_from_slice(&part);
        }
        let body = body.freeze();
        match serde_json::from_slice::<&RawValue>(&body) {
            Ok(_) => Ok(body),
            Err(cause) if cause.is_eof() && !body.is_empty() => {
                let message = format!("the answer ends early, after {}", counted(body.len(), "byte"));
                let error = WorkerError::later(error::SOURCE_UNREADABLE, message).because(cause);
                Err(Trouble::Passing { error, wait: None })
            }
            Err(cause) => {
                let message = format!("the answer is no JSON: {}", self.told(&body));
                let error = WorkerError::never(error::SOURCE_CORRUPT, message).because(cause);
                Err(Trouble::Lasting(error.fix("correct `url` and `path`: they may lead to a page for people")))
            }
        }
    }

    /// The first of what an unwelcome answer says.
    async fn said(&self, mut response: Response) -> String {
        let mut text = Vec::new();
        while text.len() < LOOKED_AT {
            match response.chunk().await {
                Ok(Some(part)) => text.extend_from_slice(&part[..part.len().min(LOOKED_AT)]),
                Ok(None) | Err(_) => break,
            }
        }
        self.told(&text)
    }

    /// The first of a text of the API's, on one line and without secrets it may repeat.
    fn told(&self, text: &[u8]) -> String {
        let text = self.hide(&String::from_utf8_lossy(&text[..text.len().min(LOOKED_AT)]));
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let plain: String = words.chars().filter(|character| !character.is_control()).take(TOLD).collect();
        if plain.len() < words.len() { format!("{plain}…") } else { plain }
    }

    fn hide(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| secret.hide_in(&text))
    }

    fn broken(&self, cause: reqwest::Error) -> Trouble {
        // Addresses may have secrets in their query.
        let cause = self.hide(&in_one_line(&cause.without_url()));
        let error =
            WorkerError::later(error::SOURCE_UNREADABLE, "the API cannot be reached or broke off").because(cause);
        Trouble::Passing { error, wait: None }
    }

    fn too_slow(&self) -> WorkerError {
        let message = format!("a request took longer than {} s", self.timeout.as_secs_f64());
        WorkerError::later(error::SOURCE_UNREADABLE, message)
            .fix("ask for smaller pages, or raise the connection's `timeout`")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// The connection's own place.
    Own,
    /// One it may lead to.
    Other,
}

/// Adds parameters the address does not have yet.
fn add_query<'a>(url: &mut Url, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    let missing: Vec<_> = pairs.filter(|(key, _)| url.query_pairs().all(|(known, _)| known != *key)).collect();
    if !missing.is_empty() {
        url.query_pairs_mut().extend_pairs(missing);
    }
}

/// Gives a parameter this value and no other.
pub(super) fn set_query(url: &mut Url, key: &str, value: &str) {
    let kept = url.query_pairs().filter(|(known, _)| known != key);
    let kept: Vec<_> = kept.map(|(known, value)| (known.into_owned(), value.into_owned())).collect();
    url.query_pairs_mut().clear().extend_pairs(kept).append_pair(key, value);
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
}

/// The entity tag, else the time of the last change.
fn version(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    text(ETAG).filter(|tag| is_tag(tag)).or_else(|| text(LAST_MODIFIED))
}

fn is_tag(version: &str) -> bool {
    version.starts_with('"') || version.starts_with("W/")
}

/// The service said when to come back, and that is too long to sit and wait.
fn closed(wait: Duration) -> WorkerError {
    let message = format!("the API wants no request for another {} s", wait.as_secs());
    WorkerError::later(error::SOURCE_UNREADABLE, message).fix("lower the connection's `requests_per_s`")
}
