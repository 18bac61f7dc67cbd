//! The hub's way to Socket.IO pages: one broadcast into rooms a push.

use std::sync::Arc;

use futures_util::FutureExt as _;
use serde::Serialize;
use serde::ser::{Error as _, Serializer};
use socketioxide::extract::SocketRef;
use socketioxide::operators::BroadcastOperators;
use socketioxide::socket::Sid;
use socketioxide::{BroadcastError, SendError, SocketError, SocketIo};

use crate::gateway::event;
use crate::gateway::socketio::ascii::AsciiJson;
use crate::gateway::socketio::connections::Connections;
use crate::gateway::socketio::pressure::Pressure;
use crate::group::Group;
use crate::hub::{Audience, Egress, Pace};
use crate::push::{Push, Recorded};
use crate::topic::Subscription;
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

/// The room of a group's pages.
pub(super) fn group_room(group: &Group) -> String {
    format!("group:{group}")
}

/// The room of the pages with one and the same subscription.
pub(super) fn subscription_room(subscription: &Subscription) -> String {
    let pairs = subscription.pairs();
    // Quoted, so that no value can pass for the start of another pair.
    format!("topic:{pairs:?}")
}

/// What a page is told of a message that is kept, beside the message.
#[derive(Debug, Serialize)]
struct Stamp<'a> {
    id: u64,
    ts: u64,
    from: Option<&'a str>,
}

impl Egress for SocketIoEgress {
    /// socketioxide does not tell how full a queue is.
    fn deliver(&self, audience: Audience<'_>, push: &Push) -> Pace {
        if matches!(audience, Audience::Users([]) | Audience::Subscribers([])) {
            return Pace::Kept;
        }
        let content = AsciiJson::new(&push.content.event);
        match &push.record {
            None => self.emit(audience, event::NEW_MSG, content.raw()),
            Some(record) => {
                let stamp = stamp(record);
                self.emit(audience, event::NEW_MSG, &(content.raw(), stamp.raw()));
            }
        }
        // As in the original, for the backend; pages reach pages by their uids.
        if self.push_to_sid
            && push.record.is_none()
            && let Audience::Users(uids) = audience
        {
            for socket in uids.iter().filter_map(|uid| self.socket(uid)) {
                if let Err(SendError::Socket(SocketError::InternalChannelFull)) =
                    socket.emit(event::NEW_MSG, content.raw())
                {
                    self.connections.cut(&socket);
                }
            }
        }
        Pace::Kept
    }

    fn disconnect(&self, uid: &Uid) {
        let sockets = self.audience(Audience::Users(std::slice::from_ref(uid)));
        for socket in sockets.into_iter().flat_map(BroadcastOperators::sockets) {
            if socket.clone().disconnect().is_err() {
                // Its queue has no place for the goodbye.
                self.connections.cut(&socket);
            }
        }
    }
}

fn stamp(record: &Recorded) -> AsciiJson {
    AsciiJson::of(&Stamp {
        id: record.id.0,
        ts: record.at,
        from: record.sender.as_ref().map(Uid::as_str),
    })
}

impl SocketIoEgress {
    /// Emits to every page of `target`; a page whose queue is full loses its connection.
    ///
    /// A broadcast tells how many pages had no room but not which, and a page that drains before
    /// it is looked for keeps its connection with a gap. So while there is pressure, full queues
    /// are looked for before the broadcast too: then only the message that first finds a queue
    /// full can be missed so, and that is told.
    pub(super) fn emit<T: Serialize + ?Sized>(&self, to: Audience<'_>, event: &str, data: &T) {
        if self.pressure.is_on() {
            self.cut_laggards(to);
        }
        let Some(audience) = self.audience(to) else {
            return;
        };
        // With the local adapter the broadcast is done within the first poll.
        let emitted = audience.emit(event, data).now_or_never();
        match emitted {
            Some(Err(BroadcastError::Socket(errors))) if errors.iter().any(is_full) => {
                let (passed_over, cut) = (
                    errors.iter().filter(|error| is_full(error)).count(),
                    self.cut_laggards(to),
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

    /// `None` when there is nobody: no rooms would mean everyone. Also once the gateway is closed,
    /// for then there is no namespace, and `io.to` would panic.
    fn audience(&self, audience: Audience<'_>) -> Option<BroadcastOperators> {
        let root = self.io.of(ROOT)?;
        Some(match audience {
            Audience::Everyone => root,
            Audience::Users([]) | Audience::Subscribers([]) => return None,
            Audience::Users([uid]) => root.to(room(uid)),
            Audience::Users(uids) => root.to(uids.iter().map(room).collect::<Vec<_>>()),
            Audience::Group(group) => root.to(group_room(group)),
            Audience::Subscribers(subscriptions) => {
                let rooms = subscriptions.iter().map(subscription_room);
                root.to(rooms.collect::<Vec<_>>())
            }
        })
    }

    /// Cuts the pages whose queues are full; returns how many.
    fn cut_laggards(&self, audience: Audience<'_>) -> usize {
        let sockets = self.audience(audience).map(BroadcastOperators::sockets);
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
