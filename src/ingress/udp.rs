//! The UDP push port of Swoole's example: each packet is a JSON object and goes verbatim to the
//! pages whose subscription it concerns. There is never an answer, and UDP loses packets: the text
//! port is the reliable way in.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use crate::auth::api_keys::{Keys, Scope};
use crate::config::Secret;
use crate::hub::Hub;
use crate::ingress::Reply;
use crate::metrics::{Ingress, Metrics, Outcome};
use crate::php::json::{self, Member};
use crate::push::{Push, Target};
use crate::topic::TopicReader;

/// The largest payload that UDP over IPv4 carries is 65,507 bytes.
const MAX_PACKET: usize = 65_536;

/// What the kernel keeps of a burst.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// How long to wait after a fault of the port itself, which is most likely to stay for a while.
const PAUSE: Duration = Duration::from_millis(50);

/// Packets handled before the pages that they are for get their turn to be written to.
const BATCH: usize = 64;

/// The ingress, with its port open.
#[derive(Debug)]
pub(crate) struct UdpIngress {
    socket: UdpSocket,
    address: SocketAddr,
}

/// What packets mean.
#[derive(Debug)]
pub(crate) struct PacketReader {
    topics: Arc<TopicReader>,
    /// What each packet has to carry; empty asks for nothing.
    secret: Secret,
    /// Or one of these.
    keys: Arc<Keys>,
}

/// Why a packet goes nowhere.
#[derive(Debug, thiserror::Error)]
enum InvalidPacket {
    #[error("not valid UTF-8")]
    NotUtf8,
    #[error("not a JSON object: {0}")]
    NotObject(serde_json::Error),
    #[error("the secret is missing or wrong")]
    Secret,
    #[error("no topic key")]
    NoTopic,
}

impl UdpIngress {
    /// Opens `address`; port 0 takes a free one.
    pub(crate) fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        // The kernel may grant less.
        socket.set_recv_buffer_size(RECEIVE_BUFFER).ok();
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// The address that is open.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes packets in their order until `stop`.
    pub(crate) async fn run(
        self,
        reader: PacketReader,
        hub: Arc<Hub>,
        metrics: Metrics,
        stop: CancellationToken,
    ) {
        let mut packet = vec![0; MAX_PACKET];
        let mut handled = 0;
        loop {
            let received = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                received = self.socket.recv_from(&mut packet) => received,
            };
            let (length, peer) = match received {
                Ok(received) => received,
                Err(e) => {
                    tracing::debug!(error = %e, "packet not received");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let outcome = match reader.read(&packet[..length]) {
                Ok(push) => Reply::from(hub.publish(push).await).into(),
                Err(fault) => {
                    tracing::debug!(%peer, %fault, "packet ignored");
                    match fault {
                        InvalidPacket::Secret => Outcome::Denied,
                        _ => Outcome::Fail,
                    }
                }
            };
            metrics.pushed(Ingress::Udp, outcome);
            handled += 1;
            if handled % BATCH == 0 {
                tokio::task::yield_now().await;
            }
        }
    }
}

impl PacketReader {
    pub(crate) fn new(topics: Arc<TopicReader>, secret: Secret, keys: Arc<Keys>) -> Self {
        Self {
            topics,
            secret,
            keys,
        }
    }

    fn read(&self, packet: &[u8]) -> Result<Push, InvalidPacket> {
        let topics = &self.topics;
        let text = std::str::from_utf8(packet).map_err(|_| InvalidPacket::NotUtf8)?;
        let asks = !self.secret.is_empty() || !self.keys.is_open();
        let (mut pairs, mut shown) = (Vec::new(), None);
        json::members(
            text,
            |_| true,
            |name, value| {
                if asks && name == "secret" {
                    shown = Some(value);
                } else if let Some(value) = value.to_text() {
                    pairs.extend(topics.pair(&name, &value));
                }
            },
        )
        .map_err(InvalidPacket::NotObject)?;
        let content = if asks {
            match shown {
                Some(Member::Text(shown)) if self.knows(&shown) => without_secret(text)?,
                _ => return Err(InvalidPacket::Secret),
            }
        } else {
            Arc::from(text)
        };
        if pairs.is_empty() {
            return Err(InvalidPacket::NoTopic);
        }
        let topic = topics.topic(pairs);
        Ok(Push::new(Target::Topic(topic), content.into()))
    }
}

impl PacketReader {
    fn knows(&self, shown: &str) -> bool {
        let is_secret = !self.secret.is_empty() && self.secret.is(shown);
        let is_key = || !self.keys.is_open() && self.keys.shown(Some(shown), Scope::Push).is_ok();
        is_secret || is_key()
    }
}

/// The packet as pages get it. Every other value stays as it was written, byte for byte.
fn without_secret(text: &str) -> Result<Arc<str>, InvalidPacket> {
    json::without_member(text, "secret")
        .map(Arc::from)
        .map_err(InvalidPacket::NotObject)
}
