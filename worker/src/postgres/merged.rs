//! Rows that come many at a time. A server sends every row of a COPY as a message of its own, and the client library takes each
//! message apart, counts references to it and hands it on. Here the rows that have come are made one message before it sees them,
//! as the protocol allows: it gives the bounds of such messages no meaning. Everything else passes as it is, messages of
//! replication too, whose bounds do mean something. It waits for nothing: what is there is given.
//!
//! <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-COPY>

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A message's kind and its length, which counts itself.
const HEAD: usize = 5;
const ROWS: u8 = b'd';
/// "COPY out begins": the rows that follow are rows of a table.
const ROWS_BEGIN: u8 = b'H';
/// Notices, notifications and settings may come between rows.
const BETWEEN_ROWS: [u8; 3] = [b'N', b'A', b'S'];
/// Most bytes that are read at a time.
const ROOM: usize = 128 << 10;
/// Most bytes of rows that become one message: with its head it fits the buffers of the client library as they are.
const MOST: usize = 56 << 10;

/// A connection from which merged rows come.
pub struct Merged<S> {
    stream: S,
    merger: Merger,
}

/// What has come and was not given yet.
struct Merger {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    at: At,
    /// What comes are rows of a COPY.
    copying: bool,
}

/// What is given next.
#[derive(Clone, Copy, Debug)]
enum At {
    /// A message that begins at `start`.
    Bounds,
    /// The head of a message made of whole ones, then their rows. `given` bytes of it are given, `until` is where the last one ends.
    Head { head: [u8; HEAD], given: usize, until: usize },
    /// Rows that have all come; `row` is what is left of one.
    Rows { row: usize, until: usize },
    /// So many bytes as they are.
    Through(usize),
}

impl<S> Merged<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, merger: Merger::new(ROOM) }
    }

    pub(super) fn stream(&self) -> &S {
        &self.stream
    }
}

impl Merger {
    fn new(room: usize) -> Self {
        Self { bytes: vec![0; room].into(), start: 0, end: 0, at: At::Bounds, copying: false }
    }

    /// Where more is to be put. Called when nothing more can be given, so all that is there is less than a head.
    fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        &mut self.bytes[self.end..]
    }

    /// Gives what there is and `out` takes.
    fn give(&mut self, out: &mut ReadBuf<'_>) {
        while out.remaining() > 0 {
            self.at = match self.at {
                At::Bounds => match self.next() {
                    Some(next) => next,
                    None => return,
                },
                At::Head { head, given, until } => {
                    let now = out.remaining().min(HEAD - given);
                    out.put_slice(&head[given..given + now]);
                    match given + now {
                        HEAD => At::Rows { row: 0, until },
                        given => At::Head { head, given, until },
                    }
                }
                At::Rows { row: 0, until } if self.start == until => At::Bounds,
                At::Rows { row: 0, until } => {
                    let row = head_of(&self.bytes[self.start..self.end]).map_or(0, |(_, length)| length);
                    self.start += HEAD;
                    At::Rows { row, until }
                }
                At::Rows { row, until } => At::Rows { row: row - self.pass(row, out), until },
                At::Through(0) => At::Bounds,
                At::Through(_) if self.start == self.end => return,
                At::Through(left) => At::Through(left - self.pass(left, out)),
            };
        }
    }

    /// Gives up to `most` bytes as they are; how many.
    fn pass(&mut self, most: usize, out: &mut ReadBuf<'_>) -> usize {
        let now = most.min(self.end - self.start).min(out.remaining());
        out.put_slice(&self.bytes[self.start..self.start + now]);
        self.start += now;
        now
    }

    /// What to do with the message that begins here; nothing is known of it before its head has come.
    fn next(&mut self) -> Option<At> {
        let come = &self.bytes[self.start..self.end];
        let (kind, length) = head_of(come)?;
        if kind != ROWS || !self.copying {
            self.copying = kind == ROWS_BEGIN || self.copying && BETWEEN_ROWS.contains(&kind);
            return Some(At::Through(HEAD.saturating_add(length)));
        }
        let (mut messages, mut end, mut rows) = (0, 0, 0);
        while let Some((ROWS, length)) = head_of(&come[end..]) {
            if length > MOST - rows || come.len() - end - HEAD < length {
                break;
            }
            (messages, end, rows) = (messages + 1, end + HEAD + length, rows + length);
        }
        Some(match messages {
            // One that is long, or has not come as a whole, passes as it comes.
            0 | 1 => At::Through(HEAD.saturating_add(length)),
            _ => At::Head { head: head(rows), given: 0, until: self.start + end },
        })
    }
}

/// The kind of a message and the bytes behind its head. A length that cannot be is for the client library to refuse: it gets all
/// that follows as it is.
fn head_of(bytes: &[u8]) -> Option<(u8, usize)> {
    let [kind, length @ ..] = *bytes.first_chunk::<HEAD>()?;
    let length = u32::from_be_bytes(length).checked_sub(4);
    Some((kind, length.and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX)))
}

/// The head of a message of so many bytes of rows, at most [`MOST`].
fn head(rows: usize) -> [u8; HEAD] {
    let [a, b, c, d] = (rows as u32 + 4).to_be_bytes();
    [ROWS, a, b, c, d]
}

impl<S: AsyncRead + Unpin> AsyncRead for Merged<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, merger } = self.get_mut();
        let before = out.remaining();
        loop {
            merger.give(out);
            if out.remaining() < before || before == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut come = ReadBuf::new(merger.room());
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut come))?;
            match come.filled().len() {
                // A head that broke off is as good as none: to the library the connection was closed.
                0 => return Poll::Ready(Ok(())),
                more => merger.end += more,
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Merged<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    type Message = (u8, Vec<u8>);

    fn sent(messages: &[Message]) -> Vec<u8> {
        let one = |(kind, body): &Message| {
            let length = (body.len() as u32 + 4).to_be_bytes();
            [&[*kind], &length[..], body].concat()
        };
        messages.iter().flat_map(one).collect()
    }

    /// What comes out when `bytes` come in pieces, and are taken in pieces of other sizes.
    fn through(bytes: &[u8], (room, come, take): (usize, usize, usize)) -> Vec<u8> {
        let mut merger = Merger::new(room);
        let (mut rest, mut given) = (bytes, Vec::new());
        loop {
            let mut place = vec![0; take];
            let mut out = ReadBuf::new(&mut place);
            merger.give(&mut out);
            given.extend_from_slice(out.filled());
            if !out.filled().is_empty() {
                continue;
            }
            if rest.is_empty() {
                return given;
            }
            let free = merger.room();
            let now = come.min(free.len()).min(rest.len());
            free[..now].copy_from_slice(&rest[..now]);
            merger.end += now;
            rest = &rest[now..];
        }
    }

    fn received(mut bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some((kind, length)) = head_of(bytes) {
            messages.push((kind, bytes[HEAD..HEAD + length].to_vec()));
            bytes = &bytes[HEAD + length..];
        }
        assert!(bytes.is_empty());
        messages
    }

    /// Neighbouring rows of a COPY as one.
    fn joined(messages: Vec<Message>) -> Vec<Message> {
        let mut joined: Vec<Message> = Vec::new();
        let mut copying = false;
        for (kind, body) in messages {
            match joined.last_mut() {
                Some((ROWS, rows)) if kind == ROWS && copying => rows.extend(body),
                _ => {
                    copying = kind == ROWS_BEGIN || copying && (kind == ROWS || BETWEEN_ROWS.contains(&kind));
                    joined.push((kind, body));
                }
            }
        }
        joined
    }

    fn messages() -> impl Strategy<Value = Vec<Message>> {
        let kind = prop_oneof![8 => Just(ROWS), 1 => prop::sample::select(b"HNASWcCZET".to_vec())];
        vec((kind, vec(any::<u8>(), 0..40)), 0..60)
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_only_rows_of_a_copy_are_joined(
            sent_messages in messages(), room in 8_usize..300, come in 1_usize..300, take in 1_usize..300,
        ) {
            let given = received(&through(&sent(&sent_messages), (room, come, take)));
            prop_assert_eq!(joined(given), joined(sent_messages));
        }
    }

    #[test]
    fn rows_that_are_there_become_one_message_and_others_stay_apart() {
        let rows: Vec<Message> = (0..100).map(|row| (ROWS, vec![row; 30])).collect();
        let count = |first: u8| {
            let messages = [vec![(first, Vec::new())], rows.clone(), vec![(b'c', Vec::new())]].concat();
            received(&through(&sent(&messages), (ROOM, ROOM, 8 << 10))).len()
        };
        assert_eq!(count(ROWS_BEGIN), 3);
        assert_eq!(count(b'W'), 102, "of a replication");
    }

    #[test]
    fn a_message_of_rows_is_no_longer_than_the_library_likes_unless_a_row_is() {
        let rows: Vec<Message> =
            (0..40).map(|row| (ROWS, vec![row; if row == 7 { 2 * ROOM } else { 5_000 }])).collect();
        let messages = [vec![(ROWS_BEGIN, Vec::new())], rows].concat();
        let given = received(&through(&sent(&messages), (ROOM, ROOM, 8 << 10)));
        assert!(given.iter().all(|(_, body)| body.len() <= MOST || body.len() == 2 * ROOM));
        assert_eq!(joined(given), joined(messages));
    }

    #[test]
    fn a_length_that_cannot_be_is_left_to_the_library() {
        let bytes = [b"Z\0\0\0\x03".as_slice(), &[7; 500]].concat();
        assert_eq!(through(&bytes, (64, 50, 20)), bytes);
    }
}
