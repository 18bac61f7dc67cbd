//! A connected socket, TCP or Unix: what both can do, without a box around them.

use std::io::{self, IoSlice, Read as _};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BufMut;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// See the module's text.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Calls what both kinds have by the same name.
macro_rules! either {
    ($socket:expr, $inner:ident => $call:expr) => {
        match $socket {
            Socket::Tcp($inner) => $call,
            Socket::Unix($inner) => $call,
        }
    };
}

impl Socket {
    /// Waits until there may be something to read.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        either!(self, s => s.readable().await)
    }

    /// Waits until there may be room to write.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        either!(self, s => s.writable().await)
    }

    /// Reads what is there.
    pub(crate) fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        either!(self, s => s.try_read(bytes))
    }

    /// The same, into what grows.
    pub(crate) fn try_read_buf(&self, buf: &mut impl BufMut) -> io::Result<usize> {
        either!(self, s => s.try_read_buf(buf))
    }

    /// Writes what the kernel takes.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, s => s.try_write(bytes))
    }

    /// The same, from several places.
    pub(crate) fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, s => s.try_write_vectored(bufs))
    }

    /// Writes all of it, however long that takes.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.writable().await?;
            match self.try_write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_read_ready(cx))
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_write_ready(cx))
    }

    /// Reads what is there. A short read means that there is no more, and is noted, as tokio's own
    /// `TcpStream` does: the next read then waits for the kernel's word instead of asking for data
    /// that is not there, which would be one more system call a message.
    pub(super) fn read_ready(&self, free: &mut [u8]) -> io::Result<usize> {
        let mut short = None;
        let read = || match (&*SockRef::from(self)).read(free) {
            Ok(n) if n > 0 && n < free.len() => {
                short = Some(n);
                Err(io::ErrorKind::WouldBlock.into())
            }
            read => read,
        };
        let read = either!(self, s => s.try_io(Interest::READABLE, read));
        short.map_or(read, Ok)
    }

    /// Says that nothing more is written.
    pub(crate) fn finish(&self) -> io::Result<()> {
        SockRef::from(self).shutdown(Shutdown::Write)
    }

    /// Ends it at once, whoever reads or writes.
    pub(super) fn cut(&self) {
        let socket = SockRef::from(self);
        // What the peer has not got by now it does not get. It fails when the peer has gone already,
        // which is what was wanted.
        socket.set_linger(Some(Duration::ZERO)).ok();
        socket.shutdown(Shutdown::Both).ok();
    }
}

impl From<TcpStream> for Socket {
    fn from(tcp: TcpStream) -> Self {
        Self::Tcp(tcp)
    }
}

impl From<UnixStream> for Socket {
    fn from(unix: UnixStream) -> Self {
        Self::Unix(unix)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, s => s.as_fd())
    }
}
