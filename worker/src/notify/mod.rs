//! Telling others that windows are published: one event after the other to a webhook, signed, until it is taken. What there is to
//! tell and what was told already is not known here.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, header::CONTENT_TYPE, redirect::Policy};
use url::Url;
use windrow_common::{error, id::PipelineName, readiness::Notify};

use crate::{
    error::{Result, WorkerError, in_one_line},
    storage::{Secret, resolve},
};

mod event;
mod reach;
mod sign;
#[cfg(test)]
mod tests;

pub(crate) use event::{Event, events};
pub use reach::check;
use sign::Key;

/// How long a receiver may take to say that it has an event.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A receiver that can be told.
pub(crate) struct Webhook {
    client: Client,
    url: Url,
    key: Key,
    /// The address is given by reference, perhaps with a secret in it.
    address: Secret,
    pipeline: PipelineName,
}

impl Webhook {
    /// Resolves the address and the secret; connects to nothing yet.
    pub(crate) fn open(pipeline: &PipelineName, notify: &Notify) -> Result<Self> {
        let at = |key: &str| format!("pipeline {pipeline}, readiness.notify.{key}");
        let resolved = |key: &str, value: &str| {
            resolve(value).map_err(|cause| {
                WorkerError::later(error::SECRET_UNRESOLVED, cause.to_string())
                    .at(at(key))
                    .fix("give this worker the variable or the file")
            })
        };
        let (address, secret) = (resolved("url", &notify.url)?, resolved("secret", &notify.secret)?);
        let refused = |key: &str, why: String| WorkerError::never(error::EVENT_FORBIDDEN, why).at(at(key));
        let url = reach::address(address.reveal(), &notify.private).map_err(|why| refused("url", why))?;
        let key = Key::parse(secret.reveal()).map_err(|why| refused("secret", why.to_owned()))?;
        let client = Client::builder()
            .dns_resolver(std::sync::Arc::new(reach::Resolver::new(&notify.private)))
            .redirect(Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .map_err(|cause| WorkerError::never(error::INTERNAL, "there is no client of HTTP").because(cause))?;
        Ok(Self { client, url, key, address, pipeline: pipeline.clone() })
    }

    /// Has the receiver take an event. Repeated, it has the same id.
    pub(crate) async fn send(&self, event: &Event, now: Timestamp) -> Result<()> {
        let body = event.body(now)?;
        let stamp = now.as_second();
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/cloudevents+json")
            .header("webhook-id", &event.id)
            .header("webhook-timestamp", stamp.to_string())
            .header("webhook-signature", self.key.sign(&event.id, stamp, &body))
            .body(body);
        let answer = request.send().await.map_err(|cause| self.undelivered(event, &why(&cause.without_url())))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(self.undelivered(event, &format!("it answers {status}"))),
        }
    }

    fn undelivered(&self, event: &Event, why: &str) -> WorkerError {
        let host = self.url.host_str().unwrap_or_default();
        let message = format!("the receiver at {host} does not take {}: {}", event.subject, self.address.hide_in(why));
        WorkerError::later(error::EVENT_UNDELIVERED, message)
            .at(format!("pipeline {}, readiness.notify", self.pipeline))
            .fix("nothing needs to be done if it comes back: it is told again, in order")
    }
}

/// An error of HTTP with its causes.
fn why(cause: &reqwest::Error) -> String {
    match std::error::Error::source(cause) {
        Some(source) => format!("{cause}: {}", in_one_line(source)),
        None => cause.to_string(),
    }
}
