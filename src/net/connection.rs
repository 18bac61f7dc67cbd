//! One connection: the stream that HTTP and websockets run on, and the handle that cuts it.

mod below;
mod heads;
mod sealed;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::net::acknowledged::Account;
use crate::net::first_line::{FirstLine, Step};
use crate::net::guests::Place;
use crate::net::socket::Socket;
use below::Below;
pub(crate) use heads::Asks;
use heads::{Ahead, Heads};
use sealed::{HELD, Sealed};

/// A stream that can be cut from elsewhere.
///
/// The stream is shared, rather than split off from its handle, because that is the only way to
/// reach a connection whose writer is stuck: it is owned by the task that is stuck.
#[derive(Debug)]
pub(crate) struct Stream {
    shared: Arc<Shared>,
    /// Between the socket and us, where it is spoken.
    tls: Option<Box<TlsStream<Below>>>,
    first_line: Option<FirstLine>,
    ahead: Ahead,
}

/// A handle on a connection. Does not keep it open.
#[derive(Debug, Clone)]
pub(crate) struct Connection(Weak<Shared>);

#[derive(Debug)]
struct Shared {
    socket: Socket,
    tap: OnceLock<Arc<dyn Tap>>,
    /// Where it may become a websocket that a tap has to see all of.
    heads: OnceLock<Heads>,
    /// Nothing is written any more.
    is_closing: AtomicBool,
    account: Account,
    /// By which it counts against the limits.
    place: OnceLock<Place>,
    /// What is within TLS, where it is spoken.
    sealed: OnceLock<Box<Sealed>>,
}

/// Sees what goes over a connection, in order and without gaps; within TLS, if that is spoken.
pub(crate) trait Tap: Debug + Send + Sync {
    /// The next bytes that arrived, before the reader gets them; they may be changed in place.
    fn arrived(&self, bytes: &mut [u8]);

    /// The next bytes that the kernel has taken, or TLS on their way to it.
    fn wrote(&self, bytes: &[u8]);

    /// The connection is of no more use. The function tells how many bytes of what was written by
    /// the time that it is called have not been acknowledged by the peer, if that can be told.
    fn ended(&self, unacknowledged: &dyn Fn() -> Option<u64>);
}

impl Stream {
    /// `mend_first_line`: see [`FirstLine`].
    pub(crate) fn new(socket: impl Into<Socket>, mend_first_line: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                socket: socket.into(),
                tap: OnceLock::new(),
                heads: OnceLock::new(),
                is_closing: AtomicBool::new(false),
                account: Account::default(),
                place: OnceLock::new(),
                sealed: OnceLock::new(),
            }),
            tls: None,
            first_line: mend_first_line.then(FirstLine::default),
            ahead: Ahead::default(),
        }
    }

    /// Counts against the limits for as long as the connection is there.
    pub(super) fn holds(&self, place: Place) {
        self.shared.place.set(place).ok();
    }

    /// Shakes hands: what is read and written from now on is within TLS. Whoever calls it bounds the
    /// time.
    pub(super) async fn secured(mut self, acceptor: &TlsAcceptor) -> io::Result<Self> {
        self.shared.sealed.get_or_init(Box::default);
        let below = Below(Arc::clone(&self.shared));
        let mut tls = acceptor.accept(below).await?;
        tls.get_mut().1.set_buffer_limit(Some(HELD));
        self.tls = Some(Box::new(tls));
        Ok(self)
    }

    /// The socket, for those who read and write it by themselves. They do not speak TLS.
    pub(crate) fn socket(&self) -> &Socket {
        &self.shared.socket
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
            // And what the peer has not got by now, as the tap has been told, must not come in
            // after all.
            shared.socket.cut();
        }
    }

    /// Says goodbye: what the kernel has is still sent, what is written later goes nowhere. The peer
    /// is expected to close its side.
    pub(crate) fn close(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.is_closing.store(true, Ordering::SeqCst);
            shared.socket.finish().ok();
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
        self.0.upgrade()?.unacknowledged()
    }

    /// Whether the connection is still open on our side.
    pub(crate) fn is_open(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Shared {
    fn end(&self) {
        if let Some(tap) = self.tap.get() {
            tap.ended(&|| self.unacknowledged());
        }
    }

    /// How many bytes that were written the peer's kernel may not have; never too few. Within TLS,
    /// what was written there.
    fn unacknowledged(&self) -> Option<u64> {
        let outstanding = || self.account.outstanding(&self.socket);
        match self.sealed.get() {
            Some(sealed) => sealed.missing(outstanding),
            None => outstanding(),
        }
    }

    /// TLS has taken so many bytes. `is_flushed`: it has handed all to the kernel.
    fn seals(&self, taken: usize, is_flushed: bool) {
        if let Some(sealed) = self.sealed.get() {
            sealed.took(taken, is_flushed);
        }
    }

    fn poll_read(&self, cx: &mut Context<'_>, free: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.read_ready(free) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                read => {
                    if let Socket::Unix(_) = self.socket {
                        self.account.look(&self.socket);
                    }
                    return Poll::Ready(read);
                }
            }
        }
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(cx))?;
            if let Socket::Unix(_) = self.socket {
                self.account.look(&self.socket);
            }
            match write(&self.socket) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    if let (Socket::Unix(_), Ok(bytes)) = (&self.socket, &written) {
                        self.account.wrote(*bytes);
                    }
                    return Poll::Ready(written);
                }
            }
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
            let is_held = |heads: &Heads| self.shared.tap.get().is_none() && heads.holds(cx);
            if self.shared.heads.get().is_some_and(is_held) {
                return Poll::Pending;
            }
            let free = buf.initialize_unfilled();
            let n = match self.ahead.copy(free) {
                Some(n) => n,
                None => ready!(self.poll_read_bytes(cx, free))?,
            };
            let arrived = &mut free[..n];
            if let Some(line) = &mut self.first_line {
                match line.take(arrived) {
                    Step::More | Step::Ready => continue,
                    Step::Pass => self.first_line = None,
                }
            }
            let Self { shared, ahead, .. } = &mut *self;
            let n = match (shared.tap.get(), shared.heads.get()) {
                (Some(tap), _) => {
                    tap.arrived(arrived);
                    ahead.hand(None, arrived)
                }
                (None, Some(heads)) => ahead.hand(Some(heads), arrived),
                (None, None) => n,
            };
            buf.advance(n);
            return Poll::Ready(Ok(()));
        }
    }
}

impl Stream {
    fn poll_read_bytes(
        &mut self,
        cx: &mut Context<'_>,
        free: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(tls) = &mut self.tls else {
            return self.shared.poll_read(cx, free);
        };
        let mut buf = ReadBuf::new(free);
        match ready!(Pin::new(tls.as_mut()).poll_read(cx, &mut buf)) {
            // Many close without the goodbye of TLS. Neither HTTP nor a websocket takes the end of
            // the stream for the end of a message.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
            Err(e) => Poll::Ready(Err(e)),
            Ok(()) => Poll::Ready(Ok(buf.filled().len())),
        }
    }

    fn poll_write_bytes(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        write: impl Fn(&Socket) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.tls {
            None => ready!(self.shared.poll_write(cx, write)),
            Some(tls) => {
                let taken = ready!(Pin::new(tls.as_mut()).poll_write_vectored(cx, bufs));
                if let Ok(taken) = taken {
                    let is_flushed = !tls.get_ref().1.wants_write();
                    self.shared.seals(taken, is_flushed);
                }
                taken
            }
        };
        match written {
            Ok(written) => {
                self.show(bufs, written);
                Poll::Ready(Ok(written))
            }
            Err(e) => {
                let all = || bufs.iter().map(|buf| buf.len()).sum();
                Poll::Ready(self.failed(e).map(|()| all()))
            }
        }
    }

    /// On a websocket a write that fails is not reported: the reader finds the end instead.
    /// engineioxide 0.17.9 forgets to close a session whose very first write fails, and an
    /// Engine.IO 3 session would then stay for ever.
    fn failed(&self, e: io::Error) -> io::Result<()> {
        if self.shared.tap.get().is_none() {
            return Err(e);
        }
        if !self.shared.is_closing.load(Ordering::SeqCst) {
            self.connection().cut();
        }
        Ok(())
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
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_bytes(cx, &[IoSlice::new(buf)], |socket| socket.try_write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_bytes(cx, bufs, |socket| socket.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(tls) = &mut self.tls else {
            // The kernel has every byte that was written.
            return Poll::Ready(Ok(()));
        };
        match ready!(Pin::new(tls.as_mut()).poll_flush(cx)) {
            Ok(()) => {
                self.shared.seals(0, true);
                Poll::Ready(Ok(()))
            }
            Err(e) => Poll::Ready(self.failed(e)),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.tls {
            None => Poll::Ready(self.socket().finish()),
            Some(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, IoSlice};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::{Stream, Tap};

    /// Counts what is written.
    #[derive(Debug, Default)]
    struct Count(AtomicU64);

    impl Tap for Count {
        fn arrived(&self, _: &mut [u8]) {}

        fn wrote(&self, bytes: &[u8]) {
            self.0.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        }

        fn ended(&self, _: &dyn Fn() -> Option<u64>) {}
    }

    fn both_sides() -> (TlsAcceptor, TlsConnector) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (server, client) = (Arc::new(server), Arc::new(client));
        (TlsAcceptor::from(server), TlsConnector::from(client))
    }

    /// A page whose kernel takes little, and our side of its connection, with little room too.
    async fn narrow_pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let page = TcpSocket::new_v4().unwrap();
        page.set_recv_buffer_size(20_000).unwrap();
        let connecting = page.connect(listener.local_addr().unwrap());
        let (page, accepted) = tokio::join!(connecting, listener.accept());
        let accepted = accepted.unwrap().0;
        let socket = socket2::SockRef::from(&accepted);
        socket.set_send_buffer_size(20_000).unwrap();
        (page.unwrap(), accepted)
    }

    #[tokio::test]
    async fn what_tls_counts_as_arrived_the_peer_can_read_after_the_cut() -> io::Result<()> {
        let (acceptor, connector) = both_sides();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut all_told = 0;
        for round in 0..300_usize {
            let (page, accepted) = narrow_pair(&listener).await;
            let name = ServerName::try_from("localhost").unwrap();
            let (page, stream) = tokio::join!(
                connector.connect(name, page),
                Stream::new(accepted, false).secured(&acceptor)
            );
            let (mut page, mut stream) = (page?, stream?);
            let count = Arc::new(Count::default());
            let connection = stream.connection();
            connection.becomes_websocket(Arc::clone(&count) as Arc<dyn Tap>);
            // Of all sizes, until no more is taken; the page reads some of it or nothing.
            let (mut read, mut turns) = (0, 0);
            let size = 1 + round * 397 % 40_000;
            let piece = vec![b'x'; size];
            while turns < 1 + round % 7 {
                let two = [IoSlice::new(&piece), IoSlice::new(b"and more")];
                let written = stream.write_vectored(&two).now_or_never();
                if round % 2 == 0 {
                    stream.flush().now_or_never();
                }
                if written.is_none() || size > 20_000 {
                    let mut some = vec![0; 1 + round * 7919 % 30_000];
                    if let Some(n) = page.read(&mut some).now_or_never() {
                        read += n?;
                    }
                    turns += 1;
                    tokio::task::yield_now().await;
                }
            }
            let written = count.0.load(Ordering::SeqCst);
            let missing = connection.unacknowledged().unwrap();
            connection.cut();
            drop(stream);
            let mut rest = Vec::new();
            page.read_to_end(&mut rest).await.ok();
            let had = (read + rest.len()) as u64;
            let told = written.saturating_sub(missing);
            assert!(
                told <= had,
                "round {round}: {told} arrived, {had} were there"
            );
            all_told += told;
        }
        // It is not always told that nothing has arrived.
        assert!(all_told > 1_000_000, "{all_told}");
        Ok(())
    }

    #[tokio::test]
    async fn tls_that_is_flushed_and_acknowledged_misses_nothing() -> io::Result<()> {
        let (acceptor, connector) = both_sides();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (page, accepted) = narrow_pair(&listener).await;
        let name = ServerName::try_from("localhost").unwrap();
        let (page, stream) = tokio::join!(
            connector.connect(name, page),
            Stream::new(accepted, false).secured(&acceptor)
        );
        let (mut page, mut stream) = (page?, stream?);
        let content = vec![b'x'; 300_000];
        let (mut read, connection) = (vec![0; content.len()], stream.connection());
        let writing = async {
            stream.write_all(&content).await?;
            stream.flush().await
        };
        let (read, written) = tokio::join!(page.read_exact(&mut read), writing);
        read?;
        written?;
        let all = async {
            while connection.unacknowledged() != Some(0) {
                tokio::task::yield_now().await;
            }
        };
        let all = tokio::time::timeout(Duration::from_secs(10), all).await;
        assert!(all.is_ok(), "{:?}", connection.unacknowledged());
        Ok(())
    }

    #[tokio::test]
    async fn what_a_unix_socket_threw_away_when_its_peer_closed_is_missing() -> io::Result<()> {
        for reads in [0, 10, 4000] {
            let (mut page, ours) = UnixStream::pair()?;
            let mut stream = Stream::new(ours, false);
            let connection = stream.connection();
            stream.write_all(&[b'x'; 1000]).await?;
            let mut read = vec![0; 1000];
            page.read_exact(&mut read).await?;
            assert_eq!(connection.unacknowledged(), Some(0));
            stream.write_all(&[b'x'; 5000]).await?;
            let mut read = vec![0; reads];
            page.read_exact(&mut read).await?;
            drop(page);
            let missing = connection.unacknowledged();
            assert_eq!(missing, Some(5000), "{reads} of them were read");
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
            assert_eq!(connection.unacknowledged(), Some(5000));
        }
        Ok(())
    }
}
