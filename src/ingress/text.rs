//! The text push port of Workerman's example: LF-ended lines of JSON with a `uid`, each delivered
//! verbatim to the pages of that uid and answered `ok` or `fail`, in order.

mod foreign;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod line;
mod talk;

use std::io;
use std::sync::Arc;

use bytes::Buf as _;
use tokio_util::sync::CancellationToken;

use crate::auth::api_keys::{Denied, Keys, Rights, Scope};
use crate::config;
use crate::hub::Hub;
use crate::ingress::Reply;
use crate::metrics::{Ingress, Metrics, Outcome};
use crate::net::{Accepted, Socket};
use crate::push::Push;
use line::{InvalidLine, Line, Order};
use talk::Talk;

/// Bytes read at a time.
const READ: usize = 128 * 1024;

/// The longest line, in bytes, of somebody who has to show a key and has not yet.
const STRANGERS_LINE: usize = 4 * 1024;

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

/// Why a connection is ended.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("a line of {0} bytes or more, which is more than text.max_line allows")]
    Line(usize),
    #[error("a line of {0} bytes or more before a key was shown; the most is {STRANGERS_LINE}")]
    StrangersLine(usize),
    #[error("no key was shown in time; the first line has to be {{\"@\":\"key\",\"key\":…}}")]
    NoKey,
    #[error("not lines but a request of HTTP or TLS, as a browser sends it")]
    Foreign,
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
        let mut talk = Talk::new(self.keys.rights(None));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = talk.patience_ends() => {
                    self.hang_up(&Cut::NoKey);
                    // By the kernel itself, if it takes it: whoever does not read is not waited for.
                    socket.try_write(word(Reply::Fail)).ok();
                    return Ok(());
                }
                ready = socket.readable() => ready?,
            }
            // A stranger gets no more memory than it may use.
            let room = if talk.is_stranger() {
                STRANGERS_LINE
            } else {
                READ
            };
            talk.unread.reserve(room);
            match socket.try_read_buf(&mut talk.unread) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e),
            }
            let heard = self.hear(&mut talk).await;
            if let Err(Cut::Foreign | Cut::StrangersLine(_)) = heard {
                talk.replies.extend_from_slice(word(Reply::Fail));
            }
            talk.answer(socket).await;
            if let Err(cut) = heard {
                self.hang_up(&cut);
                return Ok(());
            }
        }
    }

    /// Handles each line that has arrived whole.
    async fn hear(&self, talk: &mut Talk) -> Result<(), Cut> {
        if talk.is_first && foreign::is_tls(&talk.unread) {
            return Err(Cut::Foreign);
        }
        let mut handled = 0;
        while let Some(end) = talk.line_end() {
            self.check_length(end, talk)?;
            let line = &talk.unread[..end];
            // What follows is chosen by a web page: not a byte of it is looked at.
            if foreign::is_request(line) {
                return Err(Cut::Foreign);
            }
            let reply = self.handle(line, &mut talk.rights).await;
            talk.replies.extend_from_slice(word(reply));
            talk.unread.advance(end + 1);
            talk.has_heard_a_line();
            handled += 1;
            if handled % BATCH == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.check_length(talk.unread.len(), talk)
    }

    /// A line of at least so many bytes ends its connection: what follows it cannot be told apart.
    fn check_length(&self, bytes: usize, talk: &Talk) -> Result<(), Cut> {
        if talk.is_stranger() && bytes >= STRANGERS_LINE {
            return Err(Cut::StrangersLine(bytes));
        }
        if bytes >= self.max_line {
            return Err(Cut::Line(bytes));
        }
        Ok(())
    }

    fn hang_up(&self, cut: &Cut) {
        self.count(match cut {
            Cut::Line(_) | Cut::Foreign => Outcome::Fail,
            Cut::StrangersLine(_) | Cut::NoKey => Outcome::Denied,
        });
        tracing::debug!(%cut, "text connection cut");
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
