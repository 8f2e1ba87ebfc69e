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
