//! Reading: one page after the other, each whole before a row of it goes on, so that a request can be made again.

use std::sync::Arc;

use futures::FutureExt;
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};
use tracing::Instrument;
use windrow_common::{error, manifest::Input, window::Window};

use super::{
    course::{Course, Step},
    page::Decoder,
    params::Config,
    service::{Answer, Ask, Service, set_query},
};
use crate::{
    error::{Result, WorkerError},
    source::{
        Chunk, RowStream,
        decode::{
            cursor::Cursor,
            emit::{AHEAD, Emitter, received},
            json::Objects,
            table::Table,
        },
    },
};

/// The first page of a window.
pub(super) fn first_page(service: &Service, config: &Config, window: &Window) -> Result<Ask> {
    let mut ask = first(service, config, window)?;
    if let Step::With(param, value) = Course::new(&config.paging).first() {
        set_query(&mut ask.url, &param, &value);
    }
    Ok(ask)
}

/// What all requests of a window have in common.
fn first(service: &Service, config: &Config, window: &Window) -> Result<Ask> {
    let path = config.path.in_window(window, encoded)?;
    let (mut url, shown) = service.address(&path)?;
    for (key, value) in &config.query {
        let value = value.in_window(window, |text| text)?;
        url.query_pairs_mut().append_pair(key, &value);
    }
    if let Some((param, size)) = &config.paging.size {
        url.query_pairs_mut().append_pair(param, &size.to_string());
    }
    Ok(Ask { url, shown, most_bytes: config.page_bytes })
}

/// A text as it stands in a path or a query.
fn encoded(text: String) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// The rows of a window.
pub(super) fn read(service: Arc<Service>, config: Arc<Config>, pin: &Input, window: &Window) -> Result<RowStream> {
    let first = first(&service, &config, window)?;
    let cursor = Cursor::of_text(config.cursor.as_deref(), &config.columns, config.cursor_zone.as_ref(), window)?;
    let table = Table::new(config.columns.clone(), config.nulls.clone(), cursor);
    let columns = Objects::new(config.columns.iter().map(|column| column.name.as_str()), false);
    let (send, receive) = mpsc::channel(AHEAD);
    let out = Emitter::new(&pin.name, table.schema().clone(), send.clone());
    let decoder = Decoder::new(config.records.clone(), config.paging.clone(), table, columns, out);
    let reading = Reading { service, config, pin: pin.clone(), first };
    let task = tokio::spawn(reading.run(decoder, send).in_current_span());
    Ok(received(receive, task))
}

struct Reading {
    service: Arc<Service>,
    config: Arc<Config>,
    pin: Input,
    first: Ask,
}

impl Reading {
    /// Ends early when nobody takes the rows any more: no request is made for nobody.
    async fn run(self, decoder: Decoder, send: mpsc::Sender<Chunk>) -> Result<()> {
        tokio::select! {
            biased;
            () = send.closed() => Ok(()),
            ended = self.pages(decoder).boxed() => ended,
        }
    }

    async fn pages(&self, mut decoder: Decoder) -> Result<()> {
        let mut course = Course::new(&self.config.paging);
        let mut next = Some(course.first());
        let mut last = self.first.url.clone();
        while let Some(step) = next {
            let ask = self.ask(step, &last, course.pages() + 1)?;
            let answer = self.service.get(&ask).await?;
            if course.pages() == 0 {
                self.check_version(answer.version.as_deref())?;
            }
            let Answer { body, link, url, .. } = answer;
            let decoding: JoinHandle<Result<_>> = spawn_blocking(move || decoder.take(&body, link));
            let decoded = decoding
                .await
                .map_err(|cause| WorkerError::later(error::INTERNAL, "the reading thread died").because(cause))?;
            let (back, found) = decoded.map_err(|error| error.at(&ask.shown))?;
            tracing::debug!(page = course.pages() + 1, records = found.records, "a page was read");
            (decoder, last) = (back, url);
            next = course.after(&found).map_err(|error| error.at(&ask.shown))?;
        }
        if course.pages() > 1 {
            self.check_still_the_same().await?;
        }
        spawn_blocking(move || decoder.finish())
            .await
            .map_err(|cause| WorkerError::later(error::INTERNAL, "the reading thread died").because(cause))?
    }

    /// What to ask for next. Links are relative to the page they stand on.
    fn ask(&self, step: Step, last: &url::Url, page: u32) -> Result<Ask> {
        let shown = if page == 1 { self.first.shown.clone() } else { format!("{} page {page}", self.first.shown) };
        let url = match step {
            Step::Plain => self.first.url.clone(),
            Step::With(param, value) => {
                let mut url = self.first.url.clone();
                set_query(&mut url, &param, &value);
                url
            }
            Step::Follow(address) => last.join(&address).map_err(|cause| {
                let message = "what the API names as the next page is no address";
                WorkerError::never(error::SOURCE_CORRUPT, message).at(&shown).because(cause)
            })?,
        };
        Ok(Ask { url, shown, ..self.first })
    }

    fn check_version(&self, version: Option<&str>) -> Result<()> {
        match &self.pin.version {
            Some(pinned) if Some(pinned.as_str()) != version => Err(changed().at(&self.pin.name)),
            _ => Ok(()),
        }
    }

    /// Pages shift under who reads them when records come or go; the first page's version tells.
    async fn check_still_the_same(&self) -> Result<()> {
        let Some(pinned) = self.pin.version.as_deref() else { return Ok(()) };
        let ask = self.ask(Course::new(&self.config.paging).first(), &self.first.url, 1)?;
        let version = self.service.version(&ask, Some(pinned)).await?;
        self.check_version(version.as_deref())
    }
}

fn changed() -> WorkerError {
    WorkerError::later(error::SOURCE_CHANGED, "the first page changed while the pages were read")
        .fix("read windows that are closed; `pin: none` does without, if the API's ETag changes with every answer")
}
