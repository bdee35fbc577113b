//! Where the bytes of a Parquet file are written: pieces that are given up one by one. In one piece, a row group would be copied
//! again and again while it grows, and stay in memory as a whole until the upload of its last byte.

use std::io::{self, Write};

use bytes::Bytes;

/// Most bytes of a piece.
const PIECE: usize = 1 << 20;

/// Bytes that were written and not taken.
#[derive(Default)]
pub(in crate::stage) struct Pieces {
    full: Vec<Bytes>,
    last: Vec<u8>,
}

impl Pieces {
    /// All of them, in order.
    pub(super) fn take(&mut self) -> Vec<Bytes> {
        let mut pieces = std::mem::take(&mut self.full);
        pieces.extend(Some(std::mem::take(&mut self.last)).filter(|last| !last.is_empty()).map(Bytes::from));
        pieces
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.last.len() == PIECE {
            self.full.push(std::mem::take(&mut self.last).into());
        }
        let now = bytes.len().min(PIECE - self.last.len());
        self.last.extend_from_slice(&bytes[..now]);
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_is_taken_in_order_and_in_pieces() {
        let mut pieces = Pieces::default();
        assert!(pieces.take().is_empty());
        let all: Vec<u8> = (0..3 * PIECE + 7).map(|at| at as u8).collect();
        all.chunks(70_001).for_each(|chunk| pieces.write_all(chunk).unwrap());
        let taken = pieces.take();
        assert!(taken.iter().all(|piece| piece.len() <= PIECE));
        assert_eq!((taken.len(), taken.concat()), (4, all));
        pieces.write_all(b"more").unwrap();
        assert_eq!(pieces.take(), [Bytes::from_static(b"more")]);
    }
}
