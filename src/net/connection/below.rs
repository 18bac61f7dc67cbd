//! What is below TLS: the socket, as a layer above it wants it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::connection::Shared;
use crate::net::socket::Socket;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Below(pub(super) Arc<Shared>);

impl Below {
    fn counted(&self, wrote: io::Result<usize>) -> io::Result<usize> {
        if let (Some(sealed), Ok(bytes)) = (self.0.sealed.get(), &wrote) {
            sealed.wrote(*bytes);
        }
        wrote
    }
}

impl AsyncRead for Below {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let n = ready!(self.0.poll_read(cx, buf.initialize_unfilled()))?;
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Below {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = ready!(self.0.poll_write(cx, |socket| socket.try_write(buf)));
        Poll::Ready(self.counted(wrote))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = |socket: &Socket| socket.try_write_vectored(bufs);
        let wrote = ready!(self.0.poll_write(cx, write));
        Poll::Ready(self.counted(wrote))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel has every byte that was written.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.socket.finish())
    }
}
