//! Cuts what arrives on a connection into frames: a length of four bytes, then so many bytes (Kafka protocol guide).
//!
//! Bytes are read once into pooled buffers and handed on as slices of them; a frame that spans buffers stays in pieces.
//! A buffer is only as large as the bytes that have arrived justify, so that a frame of 100 MiB which is announced and
//! never sent costs one small buffer. A connection with nothing to read holds no buffer at all.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use sluice_protocol::records::Chunks;
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::OwnedSemaphorePermit,
};

use super::memory::{Buffer, CAPACITIES, CAPACITY_MAX, Grant, NetworkMemory};

/// Why no more frames come from a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The peer speaks something else, or wants more than it is allowed.
    #[error("a frame announces {length} bytes, and socket.request.max.bytes is {max}")]
    Length {
        /// What the four bytes say.
        length: i32,
        /// What they may say at most.
        max: usize,
    },
    /// The peer left in the middle of a frame.
    #[error("the peer left after {arrived} bytes of a frame")]
    Truncated {
        /// Bytes of the unfinished frame, its length included.
        arrived: usize,
    },
    /// The socket failed, or TLS did.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Bytes of a frame's length.
const LENGTH_LEN: usize = 4;

/// A piece of a frame's beginning that is shorter than this is copied into the next buffer, so that it does not keep
/// the large buffer alive in which it arrived.
const COPIED_TAIL_MAX: usize = 4 << 10;

/// What a connection that sends much may read ahead before it is known how long the next frame is.
const READ_AHEAD_MAX: usize = 64 << 10;

/// Reads one connection's frames.
pub(crate) struct FrameReader {
    memory: Arc<NetworkMemory>,
    frame_bytes_max: usize,
    /// Full buffers, and slices of them, that belong to frames not yet taken.
    arrived: Chunks,
    /// The buffer that is being filled.
    buffer: Option<Buffer>,
    /// The wait for a buffer, while memory is short.
    waiting: Option<BoxFuture<'static, Grant>>,
    /// The overdraft, if the frame that is being read has it.
    overdraft: Option<Arc<OwnedSemaphorePermit>>,
    /// The capacity to read with between frames: follows what the peer sends.
    read_ahead: usize,
}

impl FrameReader {
    pub(crate) fn new(memory: Arc<NetworkMemory>, frame_bytes_max: usize) -> Self {
        Self {
            memory,
            frame_bytes_max,
            arrived: Chunks::new(),
            buffer: None,
            waiting: None,
            overdraft: None,
            read_ahead: CAPACITIES[0],
        }
    }

    /// The next frame, without its length; `None` once the peer has said that nothing more comes.
    pub(crate) fn poll_frame<R>(&mut self, cx: &mut Context<'_>, io: &mut R) -> Poll<Result<Option<Chunks>, FrameError>>
    where
        R: AsyncRead + Unpin,
    {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Poll::Ready(Ok(Some(frame)));
            }
            ready!(self.poll_buffer(cx))?;
            let read = self.poll_read(cx, io);
            let Some(buffer) = &self.buffer else { unreachable!("poll_buffer leaves a buffer") };
            match read {
                Poll::Pending => {
                    if buffer.filled().is_empty() {
                        // Others may have it until something arrives.
                        self.buffer = None;
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(match self.unfinished() {
                        0 => Ok(None),
                        arrived => Err(FrameError::Truncated { arrived }),
                    });
                }
                Poll::Ready(Ok(_)) => {
                    let full = buffer.is_full();
                    if full || self.frame_is_whole()? {
                        self.freeze(full);
                    }
                }
            }
        }
    }

    /// Bytes that have arrived and belong to no frame that was taken.
    pub(crate) fn unfinished(&self) -> usize {
        self.arrived.len() + self.buffer.as_ref().map_or(0, |buffer| buffer.filled().len())
    }

    /// Takes the first frame if it lies whole in frozen buffers.
    fn take_frame(&mut self) -> Result<Option<Chunks>, FrameError> {
        let Some(length) = self.announced()? else { return Ok(None) };
        if self.arrived.len() < LENGTH_LEN + length {
            return Ok(None);
        }
        let mut frame = self.arrived.split_to(LENGTH_LEN + length);
        drop(frame.split_to(LENGTH_LEN));
        self.overdraft = None;
        Ok(Some(frame))
    }

    fn frame_is_whole(&self) -> Result<bool, FrameError> {
        Ok(self.announced()?.is_some_and(|length| self.unfinished() >= LENGTH_LEN + length))
    }

    /// The length of the frame that is being read, once its four bytes are there.
    fn announced(&self) -> Result<Option<usize>, FrameError> {
        let mut length = [0; LENGTH_LEN];
        let in_arrived = self.arrived.len().min(LENGTH_LEN);
        let filled = self.buffer.as_ref().map_or(&[][..], |buffer| buffer.filled());
        if in_arrived + filled.len() < LENGTH_LEN {
            return Ok(None);
        }
        self.arrived.copy_to(&mut length[..in_arrived], 0);
        length[in_arrived..].copy_from_slice(&filled[..LENGTH_LEN - in_arrived]);
        let length = i32::from_be_bytes(length);
        match usize::try_from(length) {
            Ok(bytes) if bytes <= self.frame_bytes_max => Ok(Some(bytes)),
            _ => Err(FrameError::Length { length, max: self.frame_bytes_max }),
        }
    }

    /// Makes sure that there is a buffer with room to read into.
    fn poll_buffer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), FrameError>> {
        if self.buffer.is_some() {
            return Poll::Ready(Ok(()));
        }
        let wanted = self.capacity_wanted()?;
        let grant = match (&mut self.waiting, &self.overdraft) {
            (Some(waiting), _) => {
                let grant = ready!(waiting.poll_unpin(cx));
                self.waiting = None;
                grant
            }
            (None, Some(token)) => self.memory.grant_overdraft(wanted, token),
            (None, None) => match self.memory.try_grant(wanted) {
                Some(grant) => grant,
                None => {
                    // Short of memory: as little as possible, so that as many as possible get on.
                    let mid_frame = !self.arrived.is_empty();
                    let least = CAPACITIES[0].max(if self.arrived.len() <= COPIED_TAIL_MAX {
                        2 * self.arrived.len()
                    } else {
                        0
                    });
                    let waiting = self.waiting.insert(Arc::clone(&self.memory).grant(least, mid_frame).boxed());
                    let grant = ready!(waiting.poll_unpin(cx));
                    self.waiting = None;
                    grant
                }
            },
        };
        self.overdraft = self.overdraft.take().or_else(|| grant.overdraft());
        let mut buffer = self.memory.buffer(grant);
        let tail = self.arrived.len();
        if tail > 0 && tail <= COPIED_TAIL_MAX && tail < buffer.unfilled().len() {
            self.arrived.copy_to(&mut buffer.unfilled()[..tail], 0);
            buffer.advance(tail);
            self.arrived = Chunks::new();
        }
        self.buffer = Some(buffer);
        Poll::Ready(Ok(()))
    }

    /// The capacity the next buffer should have: never more than has arrived of this frame already, nor than is missing,
    /// but for the read-ahead that the connection has earned.
    fn capacity_wanted(&self) -> Result<usize, FrameError> {
        let arrived = self.arrived.len();
        let copied = if arrived <= COPIED_TAIL_MAX { arrived } else { 0 };
        let room = match self.announced()? {
            Some(length) => (LENGTH_LEN + length - arrived).min(arrived.max(self.read_ahead)),
            None => self.read_ahead,
        };
        Ok((copied + room).min(CAPACITY_MAX))
    }

    fn poll_read<R>(&mut self, cx: &mut Context<'_>, io: &mut R) -> Poll<io::Result<usize>>
    where
        R: AsyncRead + Unpin,
    {
        let Some(buffer) = &mut self.buffer else { unreachable!("poll_buffer leaves a buffer") };
        let mut room = ReadBuf::new(buffer.unfilled());
        ready!(Pin::new(io).poll_read(cx, &mut room))?;
        let n = room.filled().len();
        buffer.advance(n);
        Poll::Ready(Ok(n))
    }

    /// The buffer's bytes become shareable; what comes next goes into another.
    fn freeze(&mut self, full: bool) {
        let Some(buffer) = self.buffer.take() else { return };
        self.read_ahead = if full {
            (self.read_ahead * 4).min(READ_AHEAD_MAX)
        } else if buffer.filled().len() < self.read_ahead / 8 {
            (self.read_ahead / 4).max(CAPACITIES[0])
        } else {
            self.read_ahead
        };
        self.arrived.push(Bytes::from_owner(buffer));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;

    const MAX: usize = 1 << 20;

    /// Sends `wire` in writes of `step` bytes and returns all frames, or the error after them.
    fn frames(wire: &[u8], step: usize) -> (Vec<Vec<u8>>, Option<FrameError>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
        runtime.block_on(async {
            let memory = NetworkMemory::new(4 * MAX);
            let (mut near, mut far) = tokio::io::duplex(step.max(1));
            let sent = async {
                for piece in wire.chunks(step.max(1)) {
                    if near.write_all(piece).await.is_err() {
                        break; // the reader has given up, which is what some rows are about
                    }
                }
                drop(near);
            };
            let received = async {
                let mut reader = FrameReader::new(Arc::clone(&memory), MAX);
                let mut frames = Vec::new();
                let error = loop {
                    match std::future::poll_fn(|cx| reader.poll_frame(cx, &mut far)).await {
                        Ok(Some(frame)) => frames.push(frame.to_bytes().to_vec()),
                        Ok(None) => break None,
                        Err(error) => break Some(error),
                    }
                };
                drop((reader, far));
                (frames, error)
            };
            let (_, received) = tokio::join!(sent, received);
            assert_eq!(memory.available(), 4 * MAX, "all memory came back");
            received
        })
    }

    fn framed(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = Vec::new();
        for frame in frames {
            wire.extend_from_slice(&i32::try_from(frame.len()).expect("small frames").to_be_bytes());
            wire.extend_from_slice(frame);
        }
        wire
    }

    proptest! {
        #[test]
        fn frames_come_back_however_they_were_cut(
            sizes in prop::collection::vec(prop_oneof![0_usize..40, 4000..4200_usize, 60_000..140_000_usize], 0..8),
            step in prop_oneof![1_usize..7, 4000..4200_usize, 100_000..200_000_usize],
        ) {
            prop_assume!(step >= 7 || sizes.iter().sum::<usize>() < 20_000);
            let sent: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, &size)| (0..size).map(|at| (at * 7 + i) as u8).collect()).collect();
            let (received, error) = frames(&framed(&sent), step);
            prop_assert!(error.is_none(), "{error:?}");
            prop_assert_eq!(received, sent);
        }
    }

    #[test]
    fn lengths_that_are_refused() {
        for length in [i32::MAX, -1, i32::MIN, MAX as i32 + 1, i32::from_be_bytes(*b"GET ")] {
            let mut wire = framed(&[b"first".to_vec()]);
            wire.extend_from_slice(&length.to_be_bytes());
            wire.extend_from_slice(&[0; 100]);
            let (received, error) = frames(&wire, 1000);
            assert_eq!(received, [b"first"], "{length}: what came before is served");
            assert!(
                matches!(error, Some(FrameError::Length { length: got, max: MAX }) if got == length),
                "{length}: {error:?}"
            );
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_an_error_and_between_frames_is_not() {
        let wire = framed(&[vec![1; 5], vec![2; 7]]);
        for cut in 0..=wire.len() {
            let (received, error) = frames(&wire[..cut], 3);
            let (whole, rest) = match cut {
                0..9 => (0, cut),
                9..20 => (1, cut - 9),
                _ => (2, 0),
            };
            assert_eq!(received.len(), whole, "cut at {cut}");
            match error {
                None => assert_eq!(rest, 0, "cut at {cut}"),
                Some(FrameError::Truncated { arrived }) => assert_eq!(arrived, rest, "cut at {cut}"),
                Some(other) => panic!("cut at {cut}: {other}"),
            }
        }
    }

    #[tokio::test]
    async fn memory_follows_what_arrived_and_not_what_was_announced() {
        let budget = 4 * MAX;
        let memory = NetworkMemory::new(budget);
        let mut reader = FrameReader::new(Arc::clone(&memory), MAX);
        let (mut near, mut far) = tokio::io::duplex(2 * MAX);
        let mut poll = async || {
            futures::poll!(std::future::poll_fn(|cx| reader.poll_frame(cx, &mut far)).boxed_local()).is_pending()
        };

        assert!(poll().await);
        assert_eq!(memory.available(), budget, "nothing has arrived: nothing is held");
        near.write_all(&(MAX as i32).to_be_bytes()).await.expect("room");
        assert!(poll().await);
        assert_eq!(budget - memory.available(), CAPACITIES[0], "a mebibyte is announced: the smallest buffer is held");
        let mut sent = 4;
        for step in [1000, 10_000, 100_000, 500_000] {
            near.write_all(&vec![0; step]).await.expect("room");
            sent += step;
            assert!(poll().await);
            let held = budget - memory.available();
            assert!(held >= sent && held <= 2 * sent + READ_AHEAD_MAX, "{held} held for {sent} that arrived");
        }
    }
}
