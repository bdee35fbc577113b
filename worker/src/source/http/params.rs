//! The parameters of the connection and of the source: as they are written, and checked. Nothing here is asked for
//! anything, and no secret is resolved.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use reqwest::header::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;
use windrow_common::{
    error,
    pipeline::SourceSpec,
    quantity::{ByteSize, Pause},
};

use super::{
    course::{By, Paging},
    pointer::Pointer,
};
use crate::{
    source::{
        ParamError,
        decode::{
            faults::{Faults, decode_fault},
            time::{Ambiguous, Zone},
            types::{Column, Declared},
            values::Nulls,
        },
    },
    template::Template,
};

/// An API of JSON over HTTP.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Connection {
    /// `https://api.example.com` or `https://api.example.com/base`.
    pub(super) url: String,
    /// Sent with every request. Secrets are references: `Bearer ${env:API_TOKEN}`.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// Query parameters of every request. Secrets are references: `${env:API_KEY}`.
    #[serde(default)]
    pub(super) query: BTreeMap<String, String>,
    /// Most requests a second from one worker; no limit when left out.
    #[serde(default)]
    pub(super) requests_per_s: Option<f64>,
    /// How long one request may take, with its answer's body.
    #[serde(default = "minute")]
    #[schemars(with = "String")]
    pub(super) timeout: Pause,
    /// Hosts beside that of `url` that redirects and links may lead to. They are not sent `headers` and `query`.
    #[serde(default)]
    pub(super) other_hosts: Vec<String>,
}

/// The parameters as they stand in a pipeline file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// What to ask for, behind the connection's `url`, perhaps with placeholders:
    /// `/v1/orders?since={window.start:%Y-%m-%dT%H:%M:%SZ}`.
    path: String,
    /// Query parameters beside those in `path`. Values may have placeholders.
    #[serde(default)]
    query: BTreeMap<String, String>,
    /// JSON pointer to the list of records in an answer: `/data`; the answer itself when left out.
    #[serde(default)]
    records: String,
    /// How pages follow each other; there is one when left out.
    #[serde(default)]
    pages: Option<PagesParams>,
    /// The columns and their types, as a map or, to fix the order, as a list of one-entry maps.
    schema: Value,
    /// Texts that mean null.
    #[serde(default)]
    nulls: Vec<String>,
    /// IANA zone of timestamps written without one, and of placeholders (there UTC when left out).
    #[serde(default)]
    timezone: Option<String>,
    /// IANA zone of the cursor column's values, where it differs from `timezone`.
    #[serde(default)]
    cursor_timezone: Option<String>,
    /// Which instant a local time means that a change of clocks makes ambiguous; without it such a value is rejected.
    #[serde(default)]
    ambiguous: Option<Ambiguous>,
    /// Whether the first page's `ETag` or `Last-Modified` must stay the same while the pages are read.
    #[serde(default)]
    pin: Pin,
    /// Limits that keep a hostile or broken API from taking the worker down.
    #[serde(default)]
    limits: LimitParams,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PagesParams {
    by: ByParam,
    /// `page`, `offset`, `cursor`: the parameter that names the page; `page`, `offset`, `cursor` when left out.
    #[serde(default)]
    param: Option<String>,
    /// `page`: the number of the first page; 1 when left out.
    #[serde(default)]
    start: Option<u64>,
    /// `cursor`: JSON pointer to the token of the next page. `link`: to its address; the `Link` header when left out.
    #[serde(default)]
    at: Option<String>,
    /// Records to ask for in one page.
    #[serde(default)]
    size: Option<u32>,
    /// The parameter of `size`; `limit` when left out.
    #[serde(default)]
    size_param: Option<String>,
    /// JSON pointer to what says whether there are more pages.
    #[serde(default)]
    more: Option<String>,
    /// JSON pointer to the number of records over all pages. What comes is held against it.
    #[serde(default)]
    total: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ByParam {
    Page,
    Offset,
    Cursor,
    Link,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Pin {
    /// If the API tells one of them.
    #[default]
    Auto,
    None,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct LimitParams {
    /// Most pages of one window.
    pages: u32,
    /// Most bytes of one page, which is kept in memory.
    #[schemars(with = "String")]
    page: ByteSize,
}

impl Default for LimitParams {
    fn default() -> Self {
        Self { pages: 10_000, page: ByteSize(64 << 20) }
    }
}

fn minute() -> Pause {
    Pause(Duration::from_secs(60))
}

/// The parameters, checked.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) connection: Connection,
    pub(super) path: Template,
    pub(super) query: Vec<(String, Template)>,
    pub(super) records: Pointer,
    pub(super) paging: Paging,
    pub(super) columns: Arc<[Column]>,
    pub(super) nulls: Nulls,
    pub(super) cursor: Option<String>,
    pub(super) cursor_zone: Option<Zone>,
    pub(super) pin: Pin,
    /// Most bytes of a page.
    pub(super) page_bytes: usize,
}

impl Config {
    pub(super) fn by_window(&self) -> bool {
        self.path.by_window() || self.query.iter().any(|(_, value)| value.by_window())
    }
}

/// Decodes and checks the parameters; all faults found are reported together.
pub(super) fn decode(spec: &SourceSpec) -> Result<Config, Vec<ParamError>> {
    let connection = connection(&spec.from.params)?;
    let raw: Params = serde_path_to_error::deserialize(Value::Object(spec.params.clone())).map_err(|fault| {
        let mut fault = decode_fault(&fault);
        if fault.message.contains("`schema`") {
            fault.fix = Some("declare the columns: `schema: { id: int, at: timestamp }`".to_owned());
        }
        vec![fault]
    })?;
    let mut faults = Faults::default();
    check_connection(&connection, &mut faults);
    let zone_of = |name: &Option<String>| -> Result<Option<Zone>, String> {
        let Some(name) = name else { return Ok(None) };
        let zone = TimeZone::get(name).map_err(|_| format!("{name:?} is no time zone this machine knows"))?;
        Ok(Some(Zone { zone, ambiguous: raw.ambiguous }))
    };
    let zone = faults.take("timezone", zone_of(&raw.timezone)).flatten();
    let own_cursor_zone = faults.take("cursor_timezone", zone_of(&raw.cursor_timezone)).flatten();
    let template_zone = zone.as_ref().map_or(TimeZone::UTC, |zone| zone.zone.clone());
    let path = faults.take("path", path(&raw.path, template_zone.clone()));
    let query = raw.query.iter().filter_map(|(name, value)| {
        let value = Template::parse(value, template_zone.clone()).and_then(|value| value.sample().map(|_| value));
        Some((name.clone(), faults.take(&format!("query.{name}"), value)?))
    });
    let query = query.collect();
    let records = faults.take("records", Pointer::parse(&raw.records));
    let paging = paging(raw.pages.as_ref(), raw.limits.pages.max(1), &mut faults);
    let declared = Declared::parse(&raw.schema, zone.as_ref(), raw.ambiguous, &mut faults);
    if let Some(cursor) = &spec.cursor
        && !declared.has(cursor)
    {
        faults.add("schema", error::CURSOR_MISSING, format!("the cursor column {cursor:?} is not declared"));
    }
    let config = path.zip(records).zip(paging).map(|((path, records), paging)| Config {
        connection,
        path,
        query,
        records,
        paging,
        columns: declared.columns.into(),
        nulls: Nulls::declared(Some(&raw.nulls)),
        cursor: spec.cursor.clone(),
        cursor_zone: own_cursor_zone.or(zone),
        pin: raw.pin,
        page_bytes: usize::try_from(raw.limits.page.0).unwrap_or(usize::MAX),
    });
    match config {
        Some(config) if faults.0.is_empty() => Ok(config),
        _ => Err(faults.0),
    }
}

fn connection(params: &Map<String, Value>) -> Result<Connection, Vec<ParamError>> {
    serde_path_to_error::deserialize(Value::Object(params.clone())).map_err(|fault| {
        let fault = decode_fault(&fault);
        let path = format!("connection.{}", fault.path).trim_end_matches('.').to_owned();
        vec![ParamError { path, ..fault }]
    })
}

fn check_connection(connection: &Connection, faults: &mut Faults) {
    // What a reference leads to is checked when it is resolved.
    if !connection.url.contains("${") {
        faults.take("connection.url", base(&connection.url));
    }
    for name in connection.headers.keys() {
        let known = HeaderName::from_bytes(name.as_bytes()).map(drop);
        faults
            .take(&format!("connection.headers.{name}"), known.map_err(|_| format!("{name:?} is no name of a header")));
    }
    // Slower than one request an hour is rather a mistake.
    if connection.requests_per_s.is_some_and(|rate| !(1.0 / 3_600.0..=100_000.0).contains(&rate)) {
        faults.add(
            "connection.requests_per_s",
            error::BAD_VALUE,
            "a rate lies between one an hour and 100,000 a second",
        );
    }
    if connection.timeout.0.is_zero() {
        faults.add("connection.timeout", error::BAD_VALUE, "no request is that fast");
    }
}

/// The address everything is asked for behind.
pub(super) fn base(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|cause| format!("the url is no address: {cause}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("the url is no address of http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "the url has credentials in it; `headers: { authorization: \"Basic ${env:..}\" }` has them".to_owned()
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the url has a query or a fragment; write `query` beside it".to_owned());
    }
    Ok(url)
}

fn path(text: &str, zone: TimeZone) -> Result<Template, String> {
    if !text.starts_with('/') || text.starts_with("//") || text.contains('#') {
        return Err(format!("{text:?} is no path behind an address: it begins with one `/` and has no fragment"));
    }
    let template = Template::parse(text, zone)?;
    template.sample()?;
    Ok(template)
}

fn paging(raw: Option<&PagesParams>, most: u32, faults: &mut Faults) -> Option<Paging> {
    let Some(raw) = raw else { return Some(Paging { by: By::One, more: None, total: None, size: None, most }) };
    let mut pointer = |key: &str, text: &Option<String>| match text {
        None => Some(None),
        Some(text) => faults.take(&format!("pages.{key}"), Pointer::parse(text)).map(Some),
    };
    let (at, more, total) = (pointer("at", &raw.at)?, pointer("more", &raw.more)?, pointer("total", &raw.total)?);
    let of_others = [
        ("param", raw.param.is_some() && raw.by == ByParam::Link, "a link needs no parameter"),
        ("start", raw.start.is_some() && raw.by != ByParam::Page, "only pages with numbers have a first one"),
        (
            "at",
            at.is_some() && !matches!(raw.by, ByParam::Cursor | ByParam::Link),
            "only cursors and links stand in answers",
        ),
        (
            "size_param",
            raw.size_param.is_some() && raw.size.is_none(),
            "without a `size` there is nothing to put into it",
        ),
    ];
    for (key, _, message) in of_others.iter().filter(|(_, wrong, _)| *wrong) {
        faults.add(format!("pages.{key}"), error::CONTRADICTION, *message);
    }
    let param = |usual: &str| raw.param.clone().unwrap_or_else(|| usual.to_owned());
    let by = match (raw.by, at) {
        (ByParam::Page, _) => By::Page { param: param("page"), start: raw.start.unwrap_or(1) },
        (ByParam::Offset, _) => By::Offset { param: param("offset") },
        (ByParam::Link, at) => By::Link { at },
        (ByParam::Cursor, Some(at)) => By::Cursor { param: param("cursor"), at },
        (ByParam::Cursor, None) => {
            let fix = "write `at: /next_cursor`, the JSON pointer to the token of the next page";
            faults.add_with_fix("pages.at", error::MISSING_KEY, "nothing tells where the token stands", fix);
            return None;
        }
    };
    let size = raw.size.map(|size| (raw.size_param.clone().unwrap_or_else(|| "limit".to_owned()), size));
    Some(Paging { by, more, total, size, most })
}
