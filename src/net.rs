//! Listeners: an accept loop that we control, and HTTP/1.1 on what it accepts where that is spoken,
//! within TLS or not; and who is on the other side, behind proxies or not.
//!
//! It knows nothing of what is served. It exists because the stock loop sets no header timeout,
//! no send buffer bound, no user timeout and has no handle by which one connection can be cut.

mod acknowledged;
pub(crate) mod body;
pub(crate) mod browser;
mod connection;
mod door;
mod first_line;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod guests;
mod peer;
mod preamble;
mod socket;
mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

pub(crate) use connection::{Asks, Connection, Stream, Tap};
use door::Door;
pub(crate) use guests::Guests;
use guests::{Place, refuse};
use peer::Introduced;
pub(crate) use peer::{Peer, Proxies};
pub(crate) use socket::Socket;
pub(crate) use tls::Certificate;

/// How long what comes before a connection's first request may take: a proxy's header, and TLS's
/// handshake.
const PREPARATION: Duration = Duration::from_secs(10);

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

/// An open port or Unix socket, not yet served.
#[derive(Debug)]
pub(crate) struct Listener {
    door: Door,
    tuning: Tuning,
    proxies: Arc<Proxies>,
    certificate: Option<Arc<Certificate>>,
    guests: Option<Guests>,
}

/// A connection that has just been accepted.
pub(crate) struct Accepted {
    pub(crate) socket: Socket,
    pub(crate) peer: Peer,
    /// Keep it for as long as the connection is there.
    pub(crate) seat: Option<Place>,
}

impl Listener {
    /// Opens `address`; port 0 takes a free one.
    pub(crate) fn bind(address: SocketAddr, tuning: Tuning) -> io::Result<Self> {
        Ok(Self::new(Door::tcp(address)?, tuning))
    }

    /// Opens a Unix socket at `path`, whose file gets this mode. It is removed with the listener.
    pub(crate) fn bind_unix(path: &Path, mode: u32, tuning: Tuning) -> io::Result<Self> {
        Ok(Self::new(Door::unix(path, mode)?, tuning))
    }

    fn new(door: Door, tuning: Tuning) -> Self {
        Self {
            door,
            tuning,
            proxies: Arc::default(),
            certificate: None,
            guests: None,
        }
    }

    /// Counts its connections.
    pub(crate) fn limited(mut self, guests: Guests) -> Self {
        self.guests = Some(guests);
        self
    }

    /// Takes the word of `proxies` on whom they speak for.
    pub(crate) fn behind(mut self, proxies: &Arc<Proxies>) -> Self {
        self.proxies = Arc::clone(proxies);
        self
    }

    /// Speaks TLS, with this certificate, in [`serve`](Self::serve).
    pub(crate) fn secured(mut self, certificate: &Arc<Certificate>) -> Self {
        self.certificate = Some(Arc::clone(certificate));
        self
    }

    /// The address that is open; `None` for a Unix socket.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match &self.door {
            Door::Tcp(_, address) => Some(*address),
            Door::Unix { .. } => None,
        }
    }

    /// Accepts until `stop`, and serves each connection by HTTP in a task of `tasks` with the
    /// service that `make_service` gives for it. Each request carries its [`Peer`]. After `stop`
    /// each connection ends once its request is answered.
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
        let (tuning, proxies) = (self.tuning, Arc::clone(&self.proxies));
        let certificate = self.certificate.clone();
        let handler = |Accepted { socket, peer, seat }| {
            let stream = Stream::new(socket, tuning.mend_first_line);
            let service = Introduced {
                service: make_service(stream.connection()),
                peer,
                proxies: Arc::clone(&proxies),
            };
            let tls = certificate.as_ref().map(|current| current.acceptor());
            serve_connection((stream, seat, tls), service, tuning, stop.clone())
        };
        self.accept(handler, stop.clone(), tasks).await;
    }

    /// Accepts until `stop`, and hands each connection to a task of `tasks` that `handler` makes.
    pub(crate) async fn accept<H, F>(self, handler: H, stop: CancellationToken, tasks: TaskTracker)
    where
        H: Fn(Accepted) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut complained: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = self.door.accept() => accepted,
            };
            let fault = match accepted {
                Ok((socket, address)) => match tune(&socket, &self.tuning) {
                    Ok(()) => {
                        let peer = match address {
                            Some(address) => self.proxies.peer(address),
                            None => self.proxies.local_peer(),
                        };
                        let place = self.guests.as_ref().map(|guests| guests.place(peer));
                        match place.transpose() {
                            Ok(seat) => {
                                tasks.spawn(handler(Accepted { socket, peer, seat }));
                            }
                            Err(over) => {
                                let (peer, limit) = (peer.address, over.code());
                                tracing::debug!(%peer, limit, "connection refused");
                                let is_plain = self.certificate.is_none();
                                refuse(&socket, self.guests.as_ref(), is_plain);
                            }
                        }
                        continue;
                    }
                    Err(e) => e,
                },
                Err(e) if is_about_one_connection(&e) => e,
                Err(e) => {
                    if complained.is_none_or(|at| at.elapsed() > COMPLAINT_INTERVAL) {
                        let address = &self.door;
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

async fn serve_connection<S>(
    (mut stream, mut place, tls): (Stream, Option<Place>, Option<TlsAcceptor>),
    mut service: Introduced<S>,
    tuning: Tuning,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send,
    S::Future: Send,
{
    let is_proxy = service.proxies.protocol && service.peer.is_trusted();
    if is_proxy || tls.is_some() {
        let proxies = is_proxy.then_some(&*service.proxies);
        // In a box, since each page would be larger for it for as long as it is there.
        let prepared = Box::pin(prepare(stream, tls, (service.peer, &mut place), proxies));
        let prepared = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            prepared = tokio::time::timeout(PREPARATION, prepared) => prepared,
        };
        (stream, service.peer) = match prepared.unwrap_or_else(|late| Err(late.into())) {
            Ok(prepared) => prepared,
            Err(e) => {
                let peer = service.peer.address;
                tracing::debug!(error = %e, %peer, "connection refused");
                return;
            }
        };
    }
    if let Some(place) = place {
        stream.holds(place);
    }
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

/// Reads whom a proxy speaks for, if it is one, and shakes hands, where TLS is spoken.
async fn prepare(
    stream: Stream,
    tls: Option<TlsAcceptor>,
    (mut peer, place): (Peer, &mut Option<Place>),
    proxies: Option<&Proxies>,
) -> io::Result<(Stream, Peer)> {
    if let Some(proxies) = proxies {
        peer = match preamble::read(stream.socket()).await? {
            Some(client) => proxies.peer(client),
            // It speaks for itself, or does not know: then what its client wrote is nobody's word.
            None => peer.alone(),
        };
        let is_in = place.as_mut().map_or(Ok(()), |place| place.is_of(peer));
        if let Err(over) = is_in {
            refuse(stream.socket(), None, tls.is_none());
            return Err(io::Error::other(over));
        }
    }
    let stream = match tls {
        Some(tls) => stream.secured(&tls).await?,
        None => stream,
    };
    Ok((stream, peer))
}

fn tune(socket: &Socket, tuning: &Tuning) -> io::Result<()> {
    let options = SockRef::from(socket);
    if let Socket::Tcp(_) = socket {
        options.set_tcp_nodelay(true)?;
        #[cfg(target_os = "linux")]
        options.set_tcp_user_timeout(Some(tuning.user_timeout))?;
    }
    if let Some(bytes) = tuning.send_buffer {
        options.set_send_buffer_size(bytes)?;
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use axum::body::Body;
    use http::{Request, Response};
    use hyper::body::Incoming;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::{Listener, Peer, Proxies, Tuning};
    use crate::config::{ForwardedBy, Proxy};

    /// A server that answers whom it takes a request to be from.
    fn mirror(trusted: &[&str], protocol: bool) -> SocketAddr {
        let tuning = Tuning {
            send_buffer: None,
            user_timeout: Duration::from_secs(30),
            max_head: 16 * 1024,
            head_timeout: Duration::from_secs(30),
            mend_first_line: false,
            half_close: false,
        };
        let trusted = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let proxies = Arc::new(Proxies::new(&Proxy {
            trusted,
            header: ForwardedBy::XForwardedFor,
            protocol,
        }));
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), tuning).unwrap();
        let listener = listener.behind(&proxies);
        let address = listener.address().unwrap();
        let each = |_| {
            tower::service_fn(async |request: Request<Incoming>| {
                let peer: &Peer = request.extensions().get().unwrap();
                Ok(Response::new(Body::from(peer.address.to_string())))
            })
        };
        tokio::spawn(listener.serve(each, CancellationToken::new(), TaskTracker::new()));
        address
    }

    /// Whom the server takes requests to be from, one after another on a connection.
    async fn told(server: SocketAddr, preamble: &str, headers: &[&str]) -> Vec<String> {
        let mut tcp = TcpStream::connect(server).await.unwrap();
        tcp.write_all(preamble.as_bytes()).await.unwrap();
        for (i, header) in headers.iter().enumerate() {
            let is_last = i + 1 == headers.len();
            let end = if is_last { "close" } else { "keep-alive" };
            let line = if header.is_empty() {
                String::new()
            } else {
                format!("X-Forwarded-For: {header}\r\n")
            };
            let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{line}Connection: {end}\r\n\r\n");
            tcp.write_all(request.as_bytes()).await.unwrap();
        }
        let mut answers = String::new();
        // Refused before all was read, a connection ends with a reset.
        tcp.read_to_string(&mut answers).await.ok();
        let mut told = Vec::new();
        for answer in answers.split("HTTP/1.1 ").skip(1) {
            told.push(answer.split("\r\n\r\n").nth(1).unwrap().to_owned());
        }
        told
    }

    #[tokio::test]
    async fn each_request_tells_whom_it_is_from() {
        let forged = ["6.6.6.6", "", "6.6.6.6, 7.7.7.7"];
        let open = mirror(&["10.0.0.0/8"], false);
        assert_eq!(told(open, "", &forged).await, ["127.0.0.1"; 3]);
        let behind = mirror(&["127.0.0.1", "10.0.0.0/8"], false);
        let claims = ["192.0.2.1", "", "6.6.6.6, 192.0.2.2, 10.1.1.1", "nonsense"];
        let peers = ["192.0.2.1", "127.0.0.1", "192.0.2.2", "127.0.0.1"];
        assert_eq!(told(behind, "", &claims).await, peers);
    }

    #[tokio::test]
    async fn a_proxys_own_header_comes_first() {
        let behind = mirror(&["127.0.0.1", "10.0.0.0/8"], true);
        let client = "PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n";
        // The client itself is not trusted.
        assert_eq!(
            told(behind, client, &["6.6.6.6", ""]).await,
            ["192.0.2.7"; 2]
        );
        let proxy = "PROXY TCP4 10.0.0.9 127.0.0.1 4711 80\r\n";
        let peers = ["192.0.2.9", "10.0.0.9"];
        assert_eq!(told(behind, proxy, &["192.0.2.9", ""]).await, peers);
        // Whoever it does not name cannot name itself.
        let local = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        for unknown in ["PROXY UNKNOWN\r\n", local] {
            let peers = ["127.0.0.1"; 2];
            assert_eq!(told(behind, unknown, &["192.0.2.9", ""]).await, peers);
        }
        assert!(told(behind, "", &["192.0.2.9"]).await.is_empty());
    }
}
