//! How frames get to a page's kernel, and the last of them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::Buf as _;

use crate::gateway::websocket::frame;
use crate::gateway::websocket::outbox::{Close, Waiting};
use crate::net::{Socket, Stream};
use crate::record::RecordId;

/// Frames written at a time.
pub(super) const WRITE: usize = 64;

/// How long a page may take to close its side after we have said goodbye.
const LINGER: Duration = Duration::from_secs(1);

/// A frame that has gone out whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    pub(super) record: Option<RecordId>,
    /// Its length, where the page's ledger has it.
    pub(super) entered: Option<usize>,
    /// Where its last byte stands among all that were written.
    pub(super) end: u64,
}

/// Writes frames until the kernel takes no more; the first may be left in part. `total` counts the
/// bytes. Tells what has gone out whole.
pub(super) fn write(
    socket: &Socket,
    frames: &mut VecDeque<Waiting>,
    total: &mut u64,
    mut wrote: impl FnMut(Left),
) -> io::Result<()> {
    while !frames.is_empty() {
        let mut slices = [IoSlice::new(&[]); WRITE];
        for (slice, frame) in slices.iter_mut().zip(frames.iter()) {
            *slice = IoSlice::new(&frame.frame);
        }
        let count = frames.len().min(WRITE);
        let mut written = match socket.try_write_vectored(&slices[..count]) {
            Ok(written) => written,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        };
        while let Some(waiting) = frames.front_mut() {
            let here = written.min(waiting.frame.len());
            *total += here as u64;
            if here < waiting.frame.len() {
                waiting.frame.advance(here);
                break;
            }
            written -= here;
            wrote(Left {
                record: waiting.record,
                entered: waiting.entered,
                end: *total,
            });
            frames.pop_front();
        }
    }
    Ok(())
}

/// Waits for the page to close its side, so that unread bytes of it do not undo our goodbye.
pub(super) async fn linger(socket: &Socket) {
    socket.finish().ok();
    let drained = async {
        while socket.readable().await.is_ok() {
            match socket.try_read(&mut [0; 512]) {
                Ok(0) => return,
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(LINGER, drained).await.ok();
}

/// Says goodbye to a page, after what is left to write to it; one that does not read gets none.
pub(super) async fn say_goodbye(stream: &Stream, mut left: VecDeque<Waiting>, close: &Close) {
    left.push_back(Waiting::from(frame::close(close.code, &close.reason)));
    if write(stream.socket(), &mut left, &mut 0, |_| {}).is_ok() && left.is_empty() {
        linger(stream.socket()).await;
    }
}
