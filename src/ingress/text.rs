//! The text push port of Workerman's example: LF-ended lines of JSON with a `uid`, each delivered
//! verbatim to the pages of that uid and answered `ok` or `fail`, in order.

#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod line;

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use tokio_util::sync::CancellationToken;

use crate::auth::api_keys::{Denied, Keys, Rights, Scope};
use crate::config;
use crate::hub::Hub;
use crate::ingress::Reply;
use crate::metrics::{Ingress, Metrics, Outcome};
use crate::net::{Accepted, Socket};
use crate::push::Push;
use line::{InvalidLine, Line, Order};

/// Bytes read at a time.
const READ: usize = 128 * 1024;

/// Lines handled before the pages that they are for get their turn to be written to: several
/// messages for one page then go out by one system call.
const BATCH: usize = 512;

/// The ingress. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct TextIngress {
    hub: Arc<Hub>,
    max_line: usize,
    extensions: bool,
    keys: Arc<Keys>,
    metrics: Metrics,
}

impl TextIngress {
    pub(crate) fn new(
        hub: Arc<Hub>,
        keys: Arc<Keys>,
        config: &config::Text,
        metrics: Metrics,
    ) -> Self {
        Self {
            hub,
            max_line: config.max_line_bytes(),
            extensions: config.extensions,
            keys,
            metrics,
        }
    }

    /// Serves one connection until it ends or `stop`. What has arrived whole is answered first.
    pub(crate) async fn serve(self, accepted: Accepted, stop: CancellationToken) {
        let Accepted {
            socket,
            peer,
            seat: _seat,
        } = accepted;
        if let Err(e) = self.converse(&socket, &stop).await {
            tracing::debug!(error = %e, peer = %peer.address, "text connection ended early");
        }
    }

    async fn converse(&self, socket: &Socket, stop: &CancellationToken) -> io::Result<()> {
        let mut unread = BytesMut::new();
        let mut replies = Vec::new();
        // Where the search for the next LF goes on: a long line is not searched again and again.
        let mut searched = 0;
        let mut is_heard = true;
        let mut rights = self.keys.rights(None);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                ready = socket.readable() => ready?,
            }
            unread.reserve(READ);
            match socket.try_read_buf(&mut unread) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e),
            }
            let mut handled = 0;
            while let Some(at) = unread[searched..].iter().position(|byte| *byte == b'\n') {
                let end = searched + at;
                if end >= self.max_line {
                    self.refuse_length(end);
                    return Ok(());
                }
                let reply = self.handle(&unread[..end], &mut rights).await;
                replies.extend_from_slice(word(reply));
                unread.advance(end + 1);
                searched = 0;
                handled += 1;
                if handled % BATCH == 0 {
                    tokio::task::yield_now().await;
                }
            }
            searched = unread.len();
            // A backend that has gone without reading its replies is heard to the end.
            if is_heard && !replies.is_empty() {
                is_heard = socket.write_all(&replies).await.is_ok();
            }
            replies.clear();
            if unread.len() >= self.max_line {
                self.refuse_length(unread.len());
                return Ok(());
            }
            if unread.is_empty() {
                // An idle connection keeps no buffer.
                unread = BytesMut::new();
            }
        }
    }

    /// A line of at least so many bytes ends its connection: what follows it cannot be told apart.
    fn refuse_length(&self, bytes: usize) {
        self.count(Outcome::Fail);
        tracing::debug!(bytes, most = self.max_line, "line too long, connection cut");
    }

    /// Does what a line asks for, as far as `rights` go; a line with a key sets them.
    async fn handle(&self, line: &[u8], rights: &mut Result<Rights, Denied>) -> Reply {
        let line = match Line::read(line) {
            Ok(line) => line,
            Err(fault) => return self.refuse(&fault),
        };
        if let Some(key) = line.key().filter(|_| !self.keys.is_open()) {
            *rights = self.keys.rights(Some(key));
            return match rights {
                Ok(_) => Reply::Ok,
                Err(denied) => self.deny(*denied),
            };
        }
        let order = match line.order(self.extensions) {
            Ok(order) => order,
            Err(fault) => return self.refuse(&fault),
        };
        if let Err(denied) = rights.and_then(|rights| rights.allow(scope(&order))) {
            return self.deny(denied);
        }
        match order {
            Order::Push(target, content) => {
                let push = Push::new(target, Arc::<str>::from(content).into());
                let reply = Reply::from(self.hub.publish(push).await);
                self.count(reply.into());
                reply
            }
            Order::IsOnline(uid) => found(self.hub.is_online(&uid)),
            Order::Kick(uid) => found(self.hub.disconnect(&uid)),
        }
    }

    fn refuse(&self, fault: &InvalidLine) -> Reply {
        tracing::debug!(%fault, "line refused");
        self.count(Outcome::Fail);
        Reply::Fail
    }

    fn deny(&self, denied: Denied) -> Reply {
        tracing::debug!(%denied, "line refused");
        self.count(Outcome::Denied);
        Reply::Denied(denied)
    }

    fn count(&self, outcome: Outcome) {
        self.metrics.pushed(Ingress::Text, outcome);
    }
}

fn scope(order: &Order<'_>) -> Scope {
    match order {
        Order::Push(..) => Scope::Push,
        Order::IsOnline(_) => Scope::Read,
        Order::Kick(_) => Scope::Admin,
    }
}

fn found(is_there: bool) -> Reply {
    if is_there { Reply::Ok } else { Reply::Offline }
}

/// The port knows two words: `fail` is also said of a user who is not there.
fn word(reply: Reply) -> &'static [u8] {
    match reply {
        Reply::Ok => b"ok\n",
        Reply::Offline | Reply::Fail | Reply::Unkept(_) | Reply::Denied(_) | Reply::CrossSite => {
            b"fail\n"
        }
    }
}
