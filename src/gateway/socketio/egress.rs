//! The hub's way to Socket.IO pages: one broadcast into rooms a push.

use std::sync::Arc;

use futures_util::FutureExt as _;
use serde::ser::{Error as _, Serialize, Serializer};
use socketioxide::extract::SocketRef;
use socketioxide::operators::BroadcastOperators;
use socketioxide::socket::Sid;
use socketioxide::{BroadcastError, SendError, SocketError, SocketIo};

use crate::gateway::event;
use crate::gateway::socketio::ascii::AsciiJson;
use crate::gateway::socketio::connections::Connections;
use crate::gateway::socketio::pressure::Pressure;
use crate::hub::Egress;
use crate::push::{Push, Target};
use crate::uid::Uid;

/// The namespace of every page.
pub(super) const ROOT: &str = "/";

/// See the module's text.
#[derive(Debug, Clone)]
pub(super) struct SocketIoEgress {
    pub(super) io: SocketIo,
    pub(super) connections: Arc<Connections>,
    /// Whether an addressee may also be a socket's id.
    pub(super) push_to_sid: bool,
    /// Whether queues have been full of late.
    pub(super) pressure: Arc<Pressure>,
}

/// The room of a user's pages. The prefix keeps uids apart from socket ids: in the original,
/// logging in with the id of somebody's socket was a way to listen to them.
pub(super) fn room(uid: &Uid) -> String {
    format!("uid:{uid}")
}

impl Egress for SocketIoEgress {
    fn deliver(&self, push: &Push) {
        // An addressee that cannot exist leaves no rooms, and no rooms would mean everyone.
        if matches!(&push.target, Target::Users(uids) if uids.is_empty()) {
            return;
        }
        let content = AsciiJson::new(&push.content);
        self.emit(&push.target, event::NEW_MSG, &content);
        if self.push_to_sid
            && let Target::Users(uids) = &push.target
        {
            for socket in uids.iter().filter_map(|uid| self.socket(uid)) {
                if let Err(SendError::Socket(SocketError::InternalChannelFull)) =
                    socket.emit(event::NEW_MSG, content.raw())
                {
                    self.connections.cut(&socket);
                }
            }
        }
    }
}

impl SocketIoEgress {
    /// Emits to every page of `target`; a page whose queue is full loses its connection.
    ///
    /// A broadcast tells how many pages had no room but not which, and a page that drains before
    /// it is looked for keeps its connection with a gap. So while there is pressure, full queues
    /// are looked for before the broadcast too: then only the message that first finds a queue
    /// full can be missed so, and that is told.
    pub(super) fn emit(&self, target: &Target, event: &str, data: &AsciiJson) {
        if self.pressure.is_on() {
            self.cut_laggards(target);
        }
        let Some(audience) = self.audience(target) else {
            return;
        };
        // With the local adapter the broadcast is done within the first poll.
        let emitted = audience.emit(event, data.raw()).now_or_never();
        match emitted {
            Some(Err(BroadcastError::Socket(errors))) if errors.iter().any(is_full) => {
                let (passed_over, cut) = (
                    errors.iter().filter(|error| is_full(error)).count(),
                    self.cut_laggards(target),
                );
                if self.pressure.begins() && cut < passed_over {
                    let unknown = passed_over - cut;
                    tracing::warn!(unknown, "pages fell behind by one message and caught up");
                }
            }
            Some(Err(BroadcastError::Socket(_)) | Ok(())) => {}
            Some(Err(e)) => tracing::error!(error = %e, event, "cannot emit"),
            None => tracing::error!(event, "emit did not complete at once"),
        }
    }

    /// `None` once the gateway is closed: then there is no namespace, and `io.to` would panic.
    fn audience(&self, target: &Target) -> Option<BroadcastOperators> {
        let root = self.io.of(ROOT)?;
        Some(match target {
            Target::Everyone => root,
            Target::Users(uids) => match &**uids {
                [uid] => root.to(room(uid)),
                uids => root.to(uids.iter().map(room).collect::<Vec<_>>()),
            },
        })
    }

    /// Cuts the pages whose queues are full; returns how many.
    fn cut_laggards(&self, target: &Target) -> usize {
        let sockets = self.audience(target).map(BroadcastOperators::sockets);
        let laggards = sockets.into_iter().flatten().filter(queue_is_full);
        laggards.map(|socket| self.connections.cut(&socket)).count()
    }

    fn socket(&self, uid: &Uid) -> Option<SocketRef> {
        let sid: Sid = uid.as_str().parse().ok()?;
        self.io.of(ROOT)?.get_socket(sid)
    }
}

fn is_full(error: &SocketError) -> bool {
    matches!(error, SocketError::InternalChannelFull)
}

/// `emit` takes a place in the queue before it encodes. A value that refuses to be encoded
/// therefore asks whether there is a place without sending anything.
fn queue_is_full(socket: &SocketRef) -> bool {
    struct Probe;
    impl Serialize for Probe {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(S::Error::custom("probe"))
        }
    }
    matches!(
        socket.emit(event::NEW_MSG, &Probe),
        Err(SendError::Socket(SocketError::InternalChannelFull))
    )
}
