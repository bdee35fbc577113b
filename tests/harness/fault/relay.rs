//! Bytes as they are, in both directions at once. A rule strikes a connection when it is made and holds as long as it.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::sleep,
};

use super::{Shared, rule::Fault};

/// Bytes passed on at a time.
const PIECE: usize = 16 << 10;

/// What is done to the bytes of one direction.
#[derive(Clone, Copy)]
struct Treatment {
    delay: Option<(Duration, Duration)>,
    /// Bytes a second.
    rate: Option<u32>,
    first: First,
    /// Whether these are the answers.
    answers: bool,
}

/// What happens when the first bytes come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Pass,
    /// They, and all after them, go nowhere.
    Vanish,
    /// The connection ends instead.
    End,
    /// The receiver is told that there will be none.
    Close,
}

pub(super) async fn serve(shared: &Shared, client: TcpStream) -> io::Result<()> {
    let verdict = shared.rules().judge(None);
    if let Some(Fault::Cut) = verdict.fault {
        return Ok(());
    }
    let (from_client, to_client) = client.into_split();
    let (from_upstream, to_upstream) = shared.dial().await?.into_split();
    let plain = Treatment { delay: verdict.delay, rate: None, first: First::Pass, answers: false };
    let answers = Treatment { answers: true, ..plain };
    let replies = match verdict.fault {
        Some(Fault::LoseReply) => Treatment { first: First::End, ..answers },
        Some(Fault::Silence) => Treatment { first: First::Vanish, ..answers },
        Some(Fault::HalfClose) => Treatment { first: First::Close, ..answers },
        Some(Fault::Slow(rate)) => Treatment { rate: Some(rate), ..answers },
        _ => answers,
    };
    let there = pass(shared, from_client, to_upstream, plain);
    let back = pass(shared, from_upstream, to_client, replies);
    // A direction that ends by itself leaves the other open, as TCP does; one that is broken takes it along.
    tokio::try_join!(there, back).map(|_| ())
}

async fn pass(shared: &Shared, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, how: Treatment) -> io::Result<()> {
    let piece = how.rate.map_or(PIECE, |rate| (rate / 10).clamp(1, PIECE as u32) as usize);
    let mut bytes = vec![0; piece];
    loop {
        let read = from.read(&mut bytes).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        if let Some(delay) = how.delay {
            let pause = shared.rules().draw(delay);
            sleep(pause).await;
        }
        shared.passage().await;
        if how.answers {
            shared.answer().await;
        }
        match how.first {
            First::Pass => to.write_all(&bytes[..read]).await?,
            First::Vanish => {}
            First::End => return Err(io::ErrorKind::ConnectionAborted.into()),
            First::Close => {
                to.shutdown().await?;
                return discard(from).await;
            }
        }
        if how.rate.is_some() {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn discard(mut from: OwnedReadHalf) -> io::Result<()> {
    let mut bytes = vec![0; PIECE];
    while from.read(&mut bytes).await? > 0 {}
    Ok(())
}
