//! Writes answers to a connection, in order, without copying what is already in memory.
//!
//! Byte parts go to the socket as they are, several in one vectored write. A file part is read into a scratch buffer
//! just when the socket can take it, and what the socket did not take is read again later: a client that does not read
//! its answers therefore pins no memory for them.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use sluice_protocol::records::{FileRange, Part};
use tokio::io::AsyncWrite;

use super::{memory::NetworkMemory, transport::WriteReady};

/// Slices handed to one vectored write: a fetch answer has about three per partition, and the kernel's own bound is 1024.
const SLICES_MAX: usize = 64;

/// What waits to be written on one connection.
pub(super) struct AnswerWriter {
    memory: Arc<NetworkMemory>,
    parts: VecDeque<Part>,
    bytes: usize,
    flushed: bool,
}

impl AnswerWriter {
    pub(super) const fn new(memory: Arc<NetworkMemory>) -> Self {
        Self { memory, parts: VecDeque::new(), bytes: 0, flushed: true }
    }

    /// Queues one answer.
    pub(super) fn push(&mut self, answer: Vec<Part>) {
        for part in answer {
            let len = part.len();
            if len > 0 {
                self.bytes += len;
                self.parts.push_back(part);
            }
        }
    }

    /// Bytes that are not written yet.
    pub(super) const fn unwritten(&self) -> usize {
        self.bytes
    }

    /// Whether everything has been written and flushed.
    pub(super) const fn is_idle(&self) -> bool {
        self.bytes == 0 && self.flushed
    }

    /// Writes as much as the socket takes; ready once all is written and flushed. `progress` tells whether bytes left.
    pub(super) fn poll_write<W>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut W,
        progress: &mut bool,
    ) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + WriteReady + Unpin,
    {
        while !self.parts.is_empty() {
            let n = ready!(self.poll_write_some(cx, io))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.flushed = false;
            *progress = true;
            self.advance(n);
        }
        if !self.flushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_some<W>(&self, cx: &mut Context<'_>, io: &mut W) -> Poll<io::Result<usize>>
    where
        W: AsyncWrite + WriteReady + Unpin,
    {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut used = 0;
        let mut file = None;
        for part in self.parts.iter().take(SLICES_MAX) {
            match part {
                Part::Bytes(bytes) => {
                    slices[used] = IoSlice::new(bytes);
                    used += 1;
                }
                Part::File(range) => {
                    file = Some(range);
                    break;
                }
            }
        }
        let Some(range) = file else {
            return Pin::new(io).poll_write_vectored(cx, &slices[..used]);
        };
        ready!(io.poll_write_ready(cx))?;
        self.memory.with_scratch(|scratch| {
            let len = range.len.min(scratch.len());
            let scratch = &mut scratch[..len];
            range.file.read_exact_at(scratch, range.position)?;
            let mut all = [IoSlice::new(&[]); SLICES_MAX];
            all[..used].copy_from_slice(&slices[..used]);
            all[used] = IoSlice::new(scratch);
            Pin::new(io).poll_write_vectored(cx, &all[..=used])
        })
    }

    /// `n` bytes have been taken by the socket.
    fn advance(&mut self, mut n: usize) {
        self.bytes -= n;
        while n > 0 {
            let Some(first) = self.parts.front_mut() else {
                unreachable!("a socket cannot take more than it was given");
            };
            let len = first.len();
            if n >= len {
                n -= len;
                self.parts.pop_front();
            } else {
                skip(first, n);
                return;
            }
        }
    }
}

fn skip(part: &mut Part, n: usize) {
    match part {
        Part::Bytes(bytes) => Bytes::advance(bytes, n),
        Part::File(FileRange { position, len, .. }) => {
            *position += n as u64;
            *len -= n;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;
    use sluice_protocol::records::ReadAt;

    use super::*;

    /// A socket that takes so many bytes at a time, in turn, and has no room where a turn is 0.
    struct Narrow {
        turns: VecDeque<usize>,
        taken: Vec<u8>,
    }

    impl Narrow {
        fn turn(&mut self, cx: &Context<'_>) -> Poll<usize> {
            match self.turns.pop_front() {
                Some(0) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Some(n) => Poll::Ready(n),
                None => Poll::Ready(usize::MAX),
            }
        }
    }

    impl WriteReady for Narrow {
        fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Narrow {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let room = ready!(self.turn(cx));
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).take(room).collect();
            self.taken.extend_from_slice(&all);
            Poll::Ready(Ok(all.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.turn(cx).map(|_| Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Debug)]
    struct Stored(Vec<u8>);

    impl ReadAt for Stored {
        fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
            let at = usize::try_from(position).expect("small files");
            buf.copy_from_slice(self.0.get(at..at + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
    }

    fn part(len: usize, seed: u8, is_file: bool) -> (Part, Vec<u8>) {
        let bytes: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect();
        let part = if is_file {
            let stored = [&[0xee; 7][..], &bytes, &[0xee; 3]].concat();
            Part::File(FileRange { file: Arc::new(Stored(stored)), position: 7, len })
        } else {
            Part::Bytes(Bytes::from(bytes.clone()))
        };
        (part, bytes)
    }

    proptest! {
        #[test]
        fn all_bytes_leave_in_order_however_narrow_the_socket(
            parts in prop::collection::vec((prop_oneof![0_usize..5, 0..200_000_usize], any::<u8>(), any::<bool>()), 0..80),
            turns in prop::collection::vec(prop_oneof![Just(0_usize), 1..9_usize, 1..70_000_usize], 0..60),
        ) {
            let parts = parts.into_iter().enumerate().map(|(at, (len, seed, is_file))| part(if at > 12 { len % 9 } else { len }, seed, is_file));
            let (parts, expected): (Vec<Part>, Vec<Vec<u8>>) = parts.unzip();
            let expected = expected.concat();
            let mut writer = AnswerWriter::new(NetworkMemory::new(0));
            writer.push(parts);
            prop_assert_eq!(writer.unwritten(), expected.len());
            let mut socket = Narrow { turns: turns.into(), taken: Vec::new() };
            let mut progress = false;
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
            runtime.block_on(poll_fn(|cx| writer.poll_write(cx, &mut socket, &mut progress))).expect("writes");
            prop_assert!(socket.taken == expected, "{} bytes of {}", socket.taken.len(), expected.len());
            prop_assert!(writer.is_idle() && writer.unwritten() == 0 && progress != expected.is_empty());
        }
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_ends_the_connection() {
        let mut writer = AnswerWriter::new(NetworkMemory::new(0));
        let short = FileRange { file: Arc::new(Stored(vec![1; 10])), position: 5, len: 6 };
        writer.push(vec![Part::Bytes(Bytes::from_static(b"length")), Part::File(short)]);
        let mut socket = Narrow { turns: VecDeque::new(), taken: Vec::new() };
        let written = poll_fn(|cx| writer.poll_write(cx, &mut socket, &mut false)).await;
        assert_eq!(written.map_err(|error| error.kind()), Err(io::ErrorKind::UnexpectedEof));
        assert!(
            socket.taken.is_empty(),
            "not even the length: an answer that is cut short cannot be told from a whole one"
        );
    }
}
