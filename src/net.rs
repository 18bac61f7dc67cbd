//! Listeners: an accept loop that we control, and HTTP/1.1 on what it accepts where that is spoken.
//!
//! It knows nothing of what is served. It exists because the stock loop sets no header timeout,
//! no send buffer bound, no user timeout and has no handle by which one connection can be cut.

mod acknowledged;
pub(crate) mod body;
pub(crate) mod browser;
mod connection;
mod first_line;
mod peer;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

pub(crate) use connection::{Connection, Stream, Tap};
pub(crate) use peer::Peer;

/// Connections that may wait to be accepted: a crowd that reconnects at one instant fits.
const BACKLOG: i32 = 4096;

/// How long to wait when the process is out of file descriptors before accepting again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A lack of descriptors is told once in this time: clients that use them up must not fill the log.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// How a listener treats its connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    /// Bytes the kernel may hold for a peer that does not read; `None` lets it decide.
    pub(crate) send_buffer: Option<usize>,
    /// How long sent data may stay unacknowledged, or a peer's window closed, before the kernel
    /// ends the connection. This is what frees a page that has stopped reading.
    pub(crate) user_timeout: Duration,
    /// The largest request head, in bytes. At least 8 KiB.
    pub(crate) max_head: usize,
    /// How long a request head may take to arrive.
    pub(crate) head_timeout: Duration,
    /// Whether a first request whose URL was not encoded is mended, rather than refused.
    pub(crate) mend_first_line: bool,
    /// Whether a peer that has shut down its sending side still gets its answer.
    pub(crate) half_close: bool,
}

/// An open port, not yet served.
#[derive(Debug)]
pub(crate) struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    tuning: Tuning,
}

impl Listener {
    /// Opens `address`; port 0 takes a free one.
    pub(crate) fn bind(address: SocketAddr, tuning: Tuning) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // A restarted server must not wait for the old one's connections to fade.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let tcp = TcpListener::from_std(socket.into())?;
        let address = tcp.local_addr()?;
        Ok(Self {
            tcp,
            address,
            tuning,
        })
    }

    /// The address that is open.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until `stop`, and serves each connection by HTTP in a task of `tasks` with the
    /// service that `make_service` gives for it. After `stop` each connection ends once its
    /// request is answered.
    pub(crate) async fn serve<M, S>(
        self,
        make_service: M,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) where
        M: Fn(Connection) -> S,
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
    {
        let tuning = self.tuning;
        let handler = |tcp| {
            let stream = Stream::new(tcp, tuning.mend_first_line);
            let service = make_service(stream.connection());
            serve_connection(stream, service, tuning, stop.clone())
        };
        self.accept(handler, stop.clone(), tasks).await;
    }

    /// Accepts until `stop`, and hands each connection to a task of `tasks` that `handler` makes.
    pub(crate) async fn accept<H, F>(self, handler: H, stop: CancellationToken, tasks: TaskTracker)
    where
        H: Fn(TcpStream) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut complained: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = self.tcp.accept() => accepted,
            };
            let fault = match accepted {
                Ok((tcp, _)) => match tune(&tcp, &self.tuning) {
                    Ok(()) => {
                        tasks.spawn(handler(tcp));
                        continue;
                    }
                    Err(e) => e,
                },
                Err(e) if is_about_one_connection(&e) => e,
                Err(e) => {
                    if complained.is_none_or(|at| at.elapsed() > COMPLAINT_INTERVAL) {
                        let address = self.address;
                        tracing::error!(error = %e, %address, "cannot accept connections");
                        complained = Some(Instant::now());
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            tracing::debug!(error = %fault, "connection lost before it was served");
        }
    }
}

async fn serve_connection<S>(stream: Stream, service: S, tuning: Tuning, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send,
    S::Future: Send,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(tuning.head_timeout)
        .max_buf_size(tuning.max_head)
        .half_close(tuning.half_close)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        biased;
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = served {
        tracing::debug!(error = %e, "connection ended early");
    }
}

fn tune(tcp: &TcpStream, tuning: &Tuning) -> io::Result<()> {
    let socket = SockRef::from(tcp);
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(tuning.user_timeout))?;
    if let Some(bytes) = tuning.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(())
}

/// Faults of the peer; any other fault is ours, most likely a lack of file descriptors.
fn is_about_one_connection(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
