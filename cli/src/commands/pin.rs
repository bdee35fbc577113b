//! `windrow pin` and `windrow unpin`: a version of a table that somebody reads on is left whole by cleaning.

use std::io::{self, Write};

use jiff::{Timestamp, tz::TimeZone};
use windrow_common::{
    count::counted,
    pin::{Version, Wanted},
    quantity::Pause,
};
use windrow_proto::v1;

use super::{exit::Exit, failure::Mistake, range, target::Target};
use crate::show::{self, Output, instant, number::bytes};

/// Keep a version of a pipeline's table whole, whatever is cleaned, for a while
///
/// Answers when it is certain that the version stays. The pin ends by itself.
#[derive(Debug, clap::Args)]
pub struct PinArgs {
    /// The pipeline
    pipeline: String,
    /// The version: 17 as the table's own history has it, or v3 as `get versions` lists full loads
    #[arg(long, value_name = "VERSION", required_unless_present = "at")]
    version: Option<Version>,
    /// The version that was the newest at this time (UTC unless it says otherwise)
    #[arg(long, value_name = "TIME", conflicts_with = "version")]
    at: Option<String>,
    /// How long
    #[arg(long = "for", value_name = "TIME")]
    keep: Pause,
    /// Why, for whoever asks later
    #[arg(long, default_value = "by hand")]
    reason: String,
    /// A repeat with the same id finds what the first one did
    #[arg(long)]
    request_id: Option<String>,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

/// Let go of a pin before its time
#[derive(Debug, clap::Args)]
pub struct UnpinArgs {
    /// The pin, as `get pins` lists it
    pin: String,
    #[command(flatten)]
    target: Target,
}

pub async fn pin(args: &PinArgs) -> anyhow::Result<Exit> {
    let wanted = match (&args.version, &args.at) {
        (Some(version), _) => Wanted::Version(*version),
        (None, Some(at)) => Wanted::At(range::instant(at, &TimeZone::UTC)?),
        (None, None) => return Err(Mistake::usage("say which version: --version VERSION or --at TIME")),
    };
    let request = v1::CreatePinRequest {
        request_id: args.request_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        pipeline: args.pipeline.clone(),
        wanted: Some(wanted.into()),
        for_ms: u64::try_from(args.keep.0.as_millis()).unwrap_or(u64::MAX),
        reason: args.reason.clone(),
    };
    let opened = args.target.open()?;
    let made =
        opened.admin().call(request, |mut client, request| async move { client.create_pin(request).await }).await;
    opened.close().await;
    let pin = made?.pin.unwrap_or_default();
    let text = show::encoded(&value(&pin), args.output)?.unwrap_or_else(|| {
        format!(
            "{}: version {} of {} stays whole until {} ({}, {})\n",
            pin.id,
            version(&pin),
            pin.pipeline,
            instant(pin.until_us),
            counted(pin.files, "file"),
            bytes(pin.bytes)
        )
    });
    io::stdout().write_all(text.as_bytes())?;
    writeln!(io::stderr(), "let go of it sooner with: windrow unpin {}{}", pin.id, args.target.as_flags())?;
    Ok(Exit::Ok)
}

pub async fn unpin(args: &UnpinArgs) -> anyhow::Result<Exit> {
    let request = v1::DeletePinRequest { id: args.pin.clone() };
    let opened = args.target.open()?;
    let gone =
        opened.admin().call(request, |mut client, request| async move { client.delete_pin(request).await }).await;
    opened.close().await;
    gone?;
    writeln!(io::stderr(), "{} holds nothing any more", args.pin)?;
    Ok(Exit::Ok)
}

/// A pin, for programs.
pub fn value(pin: &v1::Pin) -> serde_json::Value {
    serde_json::json!({
        "id": pin.id, "pipeline": pin.pipeline, "sink": pin.sink, "version": version(pin), "held": pin.held,
        "until": instant(pin.until_us), "created": instant(pin.created_us), "reason": pin.reason, "files": pin.files,
        "bytes": pin.bytes,
    })
}

/// Its version as it is written; empty before that is known.
pub fn version(pin: &v1::Pin) -> String {
    written(pin.version.as_ref())
}

/// A version as it is written.
pub fn written(version: Option<&v1::PinnedVersion>) -> String {
    version.and_then(|version| Version::try_from(*version).ok()).map(|version| version.to_string()).unwrap_or_default()
}

/// A pin, for people.
pub fn row(pin: &v1::Pin) -> Vec<String> {
    let left = Timestamp::from_microsecond(pin.until_us).ok().map(|until| until.duration_since(now()));
    let ended = left.is_some_and(|left| left.is_negative());
    let state = match (pin.held, ended) {
        (false, _) => "asked",
        (true, true) => "over",
        (true, false) => "held",
    };
    vec![
        pin.id.clone(),
        pin.pipeline.clone(),
        version(pin),
        state.to_owned(),
        instant(pin.until_us),
        bytes(pin.bytes),
        pin.reason.clone(),
    ]
}

fn now() -> Timestamp {
    use windrow_common::clock::{Clock, SystemClock};
    SystemClock::new().now()
}
