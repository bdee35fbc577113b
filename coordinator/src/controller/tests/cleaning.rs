//! Cleaning and pins that come together, and workers that know no pins.

use windrow_common::{
    id::SinkId,
    pin::{Version, Wanted},
    task::{Failure, Retry},
};

use super::*;
use crate::core::pins;

const PINNED: Version = Version::Table(7);

impl Led {
    fn sink(&self) -> SinkId {
        hourly().sink.id()
    }

    fn asks<T: Send + 'static>(
        &self,
        command: impl FnOnce(Reply<T>) -> Command + Send + 'static,
    ) -> JoinHandle<Result<T, CommandError>> {
        let handle = self.handle.clone();
        tokio::spawn(async move { handle.command(command).await })
    }

    fn asks_for_pin(&self) -> JoinHandle<Result<pins::Pin, CommandError>> {
        let request = pins::Request {
            request_id: "a".to_owned(),
            pipeline: hourly().name,
            wanted: Wanted::Version(PINNED),
            keep: Duration::from_secs(3_600),
            reason: String::new(),
        };
        self.asks(|reply| Command::Pin { request, reply })
    }

    /// The next message to the worker that `wanted` takes.
    async fn hears<T>(&mut self, wanted: impl Fn(Out) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.hear().await) {
                return found;
            }
        }
    }

    async fn hears_list(&mut self) -> v1::SweepList {
        self.hears(|message| if let Out::SweepList(list) = message { Some(list) } else { None }).await
    }

    async fn hears_delete(&mut self) -> v1::SweepDelete {
        self.hears(|message| if let Out::SweepDelete(delete) = message { Some(delete) } else { None }).await
    }

    async fn hears_check(&mut self) -> v1::CheckPin {
        self.hears(|message| if let Out::CheckPin(check) = message { Some(check) } else { None }).await
    }

    async fn says(&self, event: SessionEvent) {
        self.handle.session(worker(), 1, event).await.unwrap();
    }

    async fn listed(&self, list: &v1::SweepList) {
        self.says(SessionEvent::Listed { request: list.request, sink: self.sink(), listed: Ok((3, Vec::new())) }).await;
    }

    async fn checked(&self, check: &v1::CheckPin) {
        let whole = Whole { version: PINNED, files: 2, bytes: 20 };
        self.says(SessionEvent::PinChecked { request: check.request, found: Ok(whole) }).await;
    }
}

/// Proves CO10. A pin that is asked for between the list and the decision: the decision waits, and then is taken with it.
#[tokio::test]
async fn nothing_is_deleted_by_a_decision_that_did_not_know_of_a_pin_that_was_asked_for() {
    let mut led = Led::begin().await;
    let cleaning = led.asks(|reply| Command::Clean { pipeline: hourly().name, only_look: false, reply });
    let list = led.hears_list().await;
    assert_eq!(list.clean(), v1::CleanExtent::Asked);
    let pinning = led.asks_for_pin();
    let check = led.hears_check().await;
    led.listed(&list).await;
    let look = led.handle.read(|view| pins::undecided(view.table, &hourly().sink.id())).await.unwrap();
    assert!(look, "the pin is in the ledger before anybody looks");
    led.checked(&check).await;
    assert!(matches!(
        pinning.await.unwrap().unwrap().phase,
        pins::Phase::Held { version: PINNED, files: 2, bytes: 20 }
    ));
    // The first list was no use: it begins anew.
    let again = led.hears_list().await;
    assert!(again.request > list.request);
    led.listed(&again).await;
    let delete = led.hears_delete().await;
    assert_eq!((delete.request, delete.pinned), (again.request, vec![PINNED.into()]));
    let report = v1::CleanReport { files: 2, ..v1::CleanReport::default() };
    let swept = Ok((0, 0, Some(report)));
    led.says(SessionEvent::Swept { request: delete.request, sink: led.sink(), swept }).await;
    assert_eq!(cleaning.await.unwrap().unwrap().files, 2);
}

/// Proves CO10. A pin whose version is not whole leaves no record; whoever asks again later is looked for again.
#[tokio::test]
async fn a_pin_that_cannot_be_held_leaves_nothing() {
    let mut led = Led::begin().await;
    let pinning = led.asks_for_pin();
    let check = led.hears_check().await;
    let failure = Failure {
        code: windrow_common::error::PIN_GONE.code.to_owned(),
        message: "gone".to_owned(),
        retry: Retry::Never,
        at: windrow_common::clock::Clock::now(&SystemClock::new()),
        took: Duration::ZERO,
        worker: None,
    };
    led.says(SessionEvent::PinChecked { request: check.request, found: Err(failure) }).await;
    assert_eq!(pinning.await.unwrap().unwrap_err().code(), windrow_common::error::PIN_GONE);
    let left = led.stored().await;
    assert!(left.sink(&led.sink()).unwrap().pins.is_empty());
    let pinning = led.asks_for_pin();
    let check = led.hears_check().await;
    led.checked(&check).await;
    assert!(pinning.await.unwrap().is_ok());
    let repeated = led.asks_for_pin().await.unwrap().unwrap();
    assert_eq!(repeated.id, pins::id_of("a"));
}

/// Proves CL17, CO10. A worker of before would take away what pins hold, so it sweeps nothing while there are some.
#[tokio::test]
async fn a_worker_that_knows_no_pins_is_not_asked_to_sweep_what_they_hold() {
    let often = Duration::from_millis(50);
    let timing = Timing { first_sweep: Duration::ZERO, sweep_every: often, ..Timing::default() };
    let mut led = Led::begin_with(timing, windrow_proto::version::NEWEST).await;
    let pinning = led.asks_for_pin();
    let check = led.hears_check().await;
    led.checked(&check).await;
    let pin = pinning.await.unwrap().unwrap();
    let list = led.hears_list().await;
    assert_eq!(list.clean(), v1::CleanExtent::Declared);

    // The same worker in an older version, as far as the leader is told.
    let (out, answers) = mpsc::channel(1_024);
    led.answers = answers;
    let info = Led::info(2);
    led.handle.session(worker(), 2, SessionEvent::Hello { info, protocol: 2, held: Vec::new(), out }).await.unwrap();
    let sweeps = |led: &mut Led| {
        let mut count = 0;
        while let Ok(message) = led.answers.try_recv() {
            count += u32::from(matches!(message.message, Some(Out::SweepList(_))));
        }
        count
    };
    tokio::time::sleep(20 * often).await;
    assert_eq!(sweeps(&mut led), 0);
    led.asks(move |reply| Command::Unpin { id: pin.id, reply }).await.unwrap().unwrap();
    tokio::time::sleep(20 * often).await;
    assert!(sweeps(&mut led) > 0, "without pins it does what it always did");
}
