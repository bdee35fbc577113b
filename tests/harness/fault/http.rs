//! Requests of HTTP/1.1, one after another, each over a connection of its own to the upstream, so that no reply can be
//! mistaken for another's.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufStream},
    net::TcpStream,
    time::sleep,
};

use super::{
    Shared,
    message::{Reply, Request},
    rule::{Fault, Seen, Verdict},
};

/// Pieces a slow reply comes in, a second.
const PIECES: u32 = 10;

pub(super) async fn serve(shared: &Shared, client: TcpStream) -> io::Result<()> {
    let mut client = BufStream::new(client);
    while let Some(request) = Request::read(&mut client).await? {
        let verdict = shared.rules().judge(Some(&request));
        let mut seen = Seen {
            method: request.method().to_owned(),
            path: request.path().to_owned(),
            answer: None,
            fault: verdict.fault.as_ref().map(|fault| format!("{fault:?}")),
        };
        let end = treat(shared, &mut client, request, verdict, &mut seen).await;
        shared.rules().note(seen);
        if matches!(end?, After::Over) {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether the connection goes on.
enum After {
    Next,
    Over,
}

async fn treat(
    shared: &Shared,
    client: &mut BufStream<TcpStream>,
    mut request: Request,
    verdict: Verdict,
    seen: &mut Seen,
) -> io::Result<After> {
    if let Some(delay) = verdict.delay {
        let pause = shared.rules().draw(delay);
        sleep(pause).await;
    }
    shared.passage().await;
    match &verdict.fault {
        Some(Fault::Cut) => return Ok(After::Over),
        Some(Fault::Refuse(status)) => return send(client, &Reply::of(*status).bytes(false)).await,
        Some(Fault::CutRequest) => {
            let mut upstream = shared.dial().await?;
            upstream.write_all(&request.bytes(true)).await?;
            upstream.flush().await?;
            return Ok(After::Over);
        }
        Some(Fault::Rewrite(rewriting)) => rewriting(&mut request),
        _ => {}
    }
    let mut upstream = BufStream::new(shared.dial().await?);
    upstream.write_all(&request.bytes(false)).await?;
    upstream.flush().await?;
    let reply = Reply::read(&mut upstream, request.method()).await?;
    seen.answer = Some(reply.status());
    shared.passage().await;
    match verdict.fault {
        Some(Fault::LoseReply) => Ok(After::Over),
        Some(Fault::FailReply(status)) => send(client, &Reply::of(status).bytes(false)).await,
        Some(Fault::CutReply) => {
            send(client, &reply.bytes(true)).await?;
            Ok(After::Over)
        }
        Some(Fault::Silence) => hear_out(client).await,
        Some(Fault::HalfClose) => {
            client.shutdown().await?;
            hear_out(client).await
        }
        Some(Fault::Slow(rate)) => {
            trickle(client, &reply.bytes(false), rate).await?;
            Ok(after(&reply))
        }
        _ => {
            send(client, &reply.bytes(false)).await?;
            Ok(after(&reply))
        }
    }
}

fn after(reply: &Reply) -> After {
    if reply.keeps_connection() { After::Next } else { After::Over }
}

async fn send(client: &mut BufStream<TcpStream>, bytes: &[u8]) -> io::Result<After> {
    client.write_all(bytes).await?;
    client.flush().await?;
    Ok(After::Next)
}

async fn trickle(client: &mut BufStream<TcpStream>, bytes: &[u8], rate: u32) -> io::Result<()> {
    for piece in bytes.chunks((rate / PIECES).max(1) as usize) {
        send(client, piece).await?;
        sleep(Duration::from_secs(1) / PIECES).await;
    }
    Ok(())
}

/// Takes in whatever comes until the client has had enough.
async fn hear_out(client: &mut BufStream<TcpStream>) -> io::Result<After> {
    let mut ignored = [0; 4096];
    while client.read(&mut ignored).await? > 0 {}
    Ok(After::Over)
}
