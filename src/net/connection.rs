//! One TCP connection: the stream that HTTP and websockets run on, and the handle that cuts it.

use std::fmt::Debug;
use std::io::{self, IoSlice, Read as _};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::net::acknowledged;
use crate::net::first_line::{FirstLine, Step};

/// A TCP stream that can be cut from elsewhere.
///
/// The stream is shared, rather than split off from its handle, because that is the only way to
/// reach a connection whose writer is stuck: it is owned by the task that is stuck.
#[derive(Debug)]
pub(crate) struct Stream {
    shared: Arc<Shared>,
    first_line: Option<FirstLine>,
}

/// A handle on a connection. Does not keep it open.
#[derive(Debug, Clone)]
pub(crate) struct Connection(Weak<Shared>);

#[derive(Debug)]
struct Shared {
    tcp: TcpStream,
    tap: OnceLock<Arc<dyn Tap>>,
    /// Nothing is written any more.
    is_closing: AtomicBool,
}

/// Sees what goes over a connection, in order and without gaps.
pub(crate) trait Tap: Debug + Send + Sync {
    /// The next bytes that arrived, before the reader gets them; they may be changed in place.
    fn arrived(&self, bytes: &mut [u8]);

    /// The next bytes that the kernel has taken.
    fn wrote(&self, bytes: &[u8]);

    /// The connection is of no more use; so many bytes of what was written had not been
    /// acknowledged by the peer, if that can be told.
    fn ended(&self, unacknowledged: Option<u64>);
}

impl Stream {
    /// `mend_first_line`: see [`FirstLine`].
    pub(crate) fn new(tcp: TcpStream, mend_first_line: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                tcp,
                tap: OnceLock::new(),
                is_closing: AtomicBool::new(false),
            }),
            first_line: mend_first_line.then(FirstLine::default),
        }
    }

    /// The socket, for those who read and write it by themselves.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.shared.tcp
    }

    /// A handle on it.
    pub(crate) fn connection(&self) -> Connection {
        Connection(Arc::downgrade(&self.shared))
    }
}

impl Connection {
    /// Ends the connection at once: reads and writes on it fail from now on, whoever waits in one.
    pub(crate) fn cut(&self) {
        if let Some(shared) = self.0.upgrade() {
            // Before the goodbye, which would count as one more byte.
            shared.end();
            let socket = SockRef::from(&shared.tcp);
            // What the peer has not got by now it does not get: it is told so by the tap's word,
            // and must not come in after all. It fails when the peer has gone already, which is
            // what was wanted.
            socket.set_linger(Some(Duration::ZERO)).ok();
            socket.shutdown(Shutdown::Both).ok();
        }
    }

    /// Says goodbye: what the kernel has is still sent, what is written later goes nowhere. The peer
    /// is expected to close its side.
    pub(crate) fn close(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.is_closing.store(true, Ordering::SeqCst);
            SockRef::from(&shared.tcp).shutdown(Shutdown::Write).ok();
        }
    }

    /// Notes that the connection carries a websocket from now on, and shows `tap` what goes over
    /// it. Once only; later calls change nothing.
    pub(crate) fn becomes_websocket(&self, tap: Arc<dyn Tap>) {
        if let Some(shared) = self.0.upgrade() {
            shared.tap.set(tap).ok();
        }
    }

    /// How many bytes that were written the peer has not acknowledged; `None` when the connection
    /// is closed, or that cannot be told.
    pub(crate) fn unacknowledged(&self) -> Option<u64> {
        acknowledged::outstanding(&self.0.upgrade()?.tcp)
    }

    /// Whether the connection is still open on our side.
    pub(crate) fn is_open(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Shared {
    fn end(&self) {
        if let Some(tap) = self.tap.get() {
            tap.ended(acknowledged::outstanding(&self.tcp));
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Some(line) = &mut self.first_line
                && let Some(bytes) = line.next(buf.remaining())
            {
                buf.put_slice(bytes);
                if line.is_done() {
                    self.first_line = None;
                }
                return Poll::Ready(Ok(()));
            }
            ready!(self.tcp().poll_read_ready(cx))?;
            let free = buf.initialize_unfilled();
            let arrived = match read_ready(self.tcp(), free) {
                Ok(n) => &mut free[..n],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Err(e) => return Poll::Ready(Err(e)),
            };
            if let Some(line) = &mut self.first_line {
                match line.take(arrived) {
                    Step::More | Step::Ready => continue,
                    Step::Pass => self.first_line = None,
                }
            }
            if let Some(tap) = self.shared.tap.get() {
                tap.arrived(arrived);
            }
            let n = arrived.len();
            buf.advance(n);
            return Poll::Ready(Ok(()));
        }
    }
}

/// Reads what is there. A short read means that there is no more, and is noted, as tokio's own
/// `TcpStream` does: the next read then waits for the kernel's word instead of asking for data
/// that is not there, which would be one more system call a message.
fn read_ready(tcp: &TcpStream, free: &mut [u8]) -> io::Result<usize> {
    let mut short = None;
    let read = tcp.try_io(Interest::READABLE, || {
        match (&*SockRef::from(tcp)).read(free) {
            Ok(n) if n > 0 && n < free.len() => {
                short = Some(n);
                Err(io::ErrorKind::WouldBlock.into())
            }
            read => read,
        }
    });
    short.map_or(read, Ok)
}

impl Stream {
    fn poll_write_bytes(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let ready = ready!(self.tcp().poll_write_ready(cx));
            match ready.and_then(|()| write(self.tcp())) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // On a websocket a write that fails is not reported: the reader finds the end
                // instead. engineioxide 0.17.9 forgets to close a session whose very first write
                // fails, and an Engine.IO 3 session would then stay for ever.
                Err(_) if self.shared.tap.get().is_some() => {
                    if !self.shared.is_closing.load(Ordering::SeqCst) {
                        self.connection().cut();
                    }
                    return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
                }
                Ok(written) => {
                    self.show(bufs, written);
                    return Poll::Ready(Ok(written));
                }
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// Shows the tap what the kernel has taken of `bufs`.
    fn show(&self, bufs: &[IoSlice<'_>], mut written: usize) {
        let Some(tap) = self.shared.tap.get() else {
            return;
        };
        for buf in bufs {
            let here = written.min(buf.len());
            tap.wrote(&buf[..here]);
            written -= here;
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_bytes(cx, &[IoSlice::new(buf)], |tcp| tcp.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_bytes(cx, bufs, |tcp| tcp.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel has every byte that was written.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(self.tcp()).shutdown(Shutdown::Write))
    }
}
