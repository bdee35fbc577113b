//! Bytes over one TCP stream, as fast as two threads can: what the machine's loopback gives.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use anyhow::{Result, ensure};

use super::data::Data;
use crate::other::say_port;

const BUFFER: usize = 1 << 20;

/// Takes stream after stream and answers each with how long it was.
pub(super) fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    say_port(listener.local_addr()?.port())?;
    let mut buffer = vec![0; BUFFER];
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut left = u64::from_be_bytes(number(&mut stream)?);
        let mut seen = 0_u64;
        while left > 0 {
            let read = stream.read(&mut buffer)? as u64;
            ensure!(read > 0, "the stream was cut off");
            (left, seen) = (left.saturating_sub(read), seen + read);
        }
        stream.write_all(&seen.to_be_bytes())?;
    }
    Ok(())
}

/// Sends as many bytes as the rows have.
pub(super) async fn send(port: u16, data: &Data) -> Result<()> {
    let bytes = data.bytes();
    tokio::task::spawn_blocking(move || send_bytes(port, bytes)).await?
}

fn send_bytes(port: u16, bytes: u64) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(&bytes.to_be_bytes())?;
    let buffer = vec![b'x'; BUFFER];
    let mut left = bytes;
    while left > 0 {
        let next = left.min(BUFFER as u64);
        stream.write_all(&buffer[..usize::try_from(next)?])?;
        left -= next;
    }
    let seen = u64::from_be_bytes(number(&mut stream)?);
    ensure!(seen == bytes, "{seen} of {bytes} bytes arrived");
    Ok(())
}

fn number(stream: &mut TcpStream) -> Result<[u8; 8]> {
    let mut number = [0; 8];
    stream.read_exact(&mut number)?;
    Ok(number)
}
