//! The hub's way to Socket.IO pages: one broadcast into rooms a push.

use std::sync::Arc;

use futures_util::FutureExt as _;
use serde::Serialize;
use serde::ser::{Error as _, Serializer};
use socketioxide::extract::SocketRef;
use socketioxide::operators::BroadcastOperators;
use socketioxide::{BroadcastError, SendError, SocketError, SocketIo};

use crate::gateway::event;
use crate::gateway::ledger::{Entered, Entry};
use crate::gateway::rooms::{Member, Room, Rooms};
use crate::gateway::socketio::ascii::AsciiJson;
use crate::gateway::socketio::connections::Connections;
use crate::gateway::socketio::link::Link;
use crate::gateway::socketio::packet::Packet;
use crate::hub::{Audience, Egress, Handed, Pace};
use crate::metrics::{Metrics, Wire};
use crate::push::{Push, PushId};
use crate::uid::Uid;

/// The namespace of every page.
pub(super) const ROOT: &str = "/";

/// See the module's text.
#[derive(Debug, Clone)]
pub(super) struct SocketIoEgress {
    pub(super) io: SocketIo,
    pub(super) connections: Arc<Connections>,
    /// The pages that hear what is live, as they stand in socketioxide's rooms too.
    pub(super) rooms: Arc<Rooms<Link>>,
    /// Users' pages that still get what they missed, and hear nothing live.
    pub(super) arriving: Arc<Rooms<Link>>,
    /// Whether an addressee may also be a socket's id.
    pub(super) push_to_sid: bool,
    pub(super) metrics: Metrics,
}

/// The name of a room in socketioxide. The prefix keeps uids apart from socket ids: in the original,
/// logging in with the id of somebody's socket was a way to listen to them. Pages that are told the
/// messages' numbers have rooms of their own, since their packets are others.
pub(super) fn room_name(room: &Room, is_numbered: bool) -> String {
    let mark = if is_numbered { "+" } else { "" };
    match room {
        Room::Everyone => format!("{mark}all"),
        Room::User(uid) => format!("{mark}uid:{uid}"),
        Room::Group(group) => format!("{mark}group:{group}"),
        // Quoted, so that no value can pass for the start of another pair.
        Room::Subscription(subscription) => format!("{mark}topic:{:?}", subscription.pairs()),
    }
}

/// A page's place in a room: ours, by which its ledger is found, and socketioxide's.
#[derive(Debug)]
pub(super) struct Place {
    name: String,
    ours: Ours,
    /// Whether it is in socketioxide's. Not while it stands apart.
    is_joined: bool,
}

#[derive(Debug)]
enum Ours {
    /// It will be in the room when it has caught up: until then it reads in the log what is for it.
    Kept(Room),
    In {
        _member: Member<Link>,
    },
}

/// Which pages a push is entered for.
#[derive(Debug, Default)]
struct Found {
    plain: bool,
    numbered: bool,
    is_behind: bool,
    entered: u64,
    apart: Vec<Arc<Link>>,
    full: Vec<Arc<Link>>,
}

impl Egress for SocketIoEgress {
    /// Called for one push at a time: pages' ledgers and queues get them in the same order.
    fn deliver(&self, audience: Audience<'_>, push: &Push) -> Pace {
        let packet = Packet::new(push);
        let mut found = Found::default();
        self.rooms
            .each(audience, |link| found.enter(link, push, &packet));
        for (is_there, is_numbered) in [(found.plain, false), (found.numbered, true)] {
            if is_there {
                self.broadcast(audience, &packet, is_numbered);
            }
        }
        // As in the original, for the backend; pages reach pages by their uids.
        if self.push_to_sid
            && push.record.is_none()
            && let Audience::Users(uids) = audience
        {
            let links = uids.iter().filter_map(|uid| self.link_by_sid(uid));
            found.apart.extend(links);
        }
        for link in std::mem::take(&mut found.apart) {
            match self.put_live(&link, push, &packet) {
                Entered::Full => found.full.push(link),
                Entered::Behind => found.is_behind = true,
                Entered::Kept | Entered::Gone => {}
            }
        }
        for link in &found.full {
            self.connections.cut(link);
        }
        self.metrics.delivered(Wire::SocketIo, found.entered);
        if found.is_behind {
            Pace::Behind
        } else {
            Pace::Kept
        }
    }

    fn disconnect(&self, uid: &Uid) {
        let mut links: Vec<Arc<Link>> = Vec::new();
        let pages = Audience::Users(std::slice::from_ref(uid));
        // In this order, as a page goes from the one to the other.
        for rooms in [&self.arriving, &self.rooms] {
            rooms.each(pages, |link| {
                if !links.iter().any(|known| Arc::ptr_eq(known, link)) {
                    links.push(Arc::clone(link));
                }
            });
        }
        for link in links {
            self.say_goodbye(&link);
        }
    }
}

impl Place {
    /// Takes the page out of the room. Between two pushes only. A page that is gone is in none of
    /// socketioxide's rooms any more: then it is enough to drop this.
    pub(super) fn leave(self, socket: &SocketRef) {
        if self.is_joined {
            socket.leave(self.name);
        }
    }

    /// The page has caught up. Between two pushes only.
    pub(super) fn wakes(&mut self, egress: &SocketIoEgress, link: &Arc<Link>, socket: &SocketRef) {
        if let Ours::Kept(room) = &self.ours {
            let _member = egress.rooms.enter(room.clone(), link);
            self.ours = Ours::In { _member };
        }
        if !self.is_joined && link.apart().is_none() {
            self.is_joined = true;
            socket.join(self.name.clone());
        }
    }
}

impl Found {
    fn enter(&mut self, link: &Arc<Link>, push: &Push, packet: &Packet<'_>) {
        if link.apart().is_some() {
            self.apart.push(Arc::clone(link));
            return;
        }
        let is_numbered = link.is_numbered();
        match link.ledger.enter(entry(push, packet, is_numbered)) {
            Entered::Kept => {}
            Entered::Behind => self.is_behind = true,
            Entered::Full => {
                self.full.push(Arc::clone(link));
                return;
            }
            Entered::Gone => return,
        }
        self.entered += 1;
        self.plain |= !is_numbered;
        self.numbered |= is_numbered;
    }
}

fn entry(push: &Push, packet: &Packet<'_>, is_numbered: bool) -> Entry {
    Entry {
        id: push.id,
        parcel: push.parcel.unwrap_or_default(),
        length: packet.length(is_numbered),
        is_early: false,
    }
}

impl SocketIoEgress {
    /// Hands one page a message that it has missed, if there is room. Between two pushes only.
    pub(super) fn hand(&self, link: &Arc<Link>, push: &Push, packet: &Packet<'_>) -> Handed {
        if !link.ledger.has_room(packet.length(link.is_numbered())) {
            return Handed::Later;
        }
        match self.put(link, packet, entry(push, packet, link.is_numbered())) {
            Entered::Kept | Entered::Behind => Handed::Taken,
            Entered::Full | Entered::Gone => Handed::Never,
        }
    }

    /// Puts what is live into one page's queue, whatever rooms it is in and wherever it stands.
    fn put_live(&self, link: &Arc<Link>, push: &Push, packet: &Packet<'_>) -> Entered {
        let is_numbered = link.is_numbered();
        let Some(apart) = link.apart() else {
            return self.put(link, packet, entry(push, packet, is_numbered));
        };
        let packet = Packet::since(push, Some(apart.with(push)));
        let entry = Entry {
            is_early: apart.at.is_some(),
            ..entry(push, &packet, is_numbered)
        };
        self.put(link, &packet, entry)
    }

    fn put(&self, link: &Arc<Link>, packet: &Packet<'_>, entry: Entry) -> Entered {
        let is_numbered = link.is_numbered();
        let entered = link.ledger.enter(entry);
        if matches!(entered, Entered::Full | Entered::Gone) {
            return entered;
        }
        self.metrics.delivered(Wire::SocketIo, 1);
        if let Some(socket) = self.socket(link) {
            let content = packet.content();
            match packet.stamp(is_numbered) {
                None => alone(&socket, event::NEW_MSG, content.raw()),
                Some(stamp) => alone(&socket, event::NEW_MSG, &(content.raw(), stamp.raw())),
            }
        }
        entered
    }

    /// Puts a page into a room, ours and socketioxide's. Between two pushes only.
    pub(super) fn enter(&self, socket: &SocketRef, room: Room, link: &Arc<Link>) -> Place {
        let mut place = Self::keep(room, link);
        place.wakes(self, link, socket);
        place
    }

    /// Keeps a place for a page that does not hear yet what is live there.
    pub(super) fn keep(room: Room, link: &Link) -> Place {
        Place {
            name: room_name(&room, link.is_numbered()),
            ours: Ours::Kept(room),
            is_joined: false,
        }
    }

    /// Ends a page's session; stock clients do not come back by themselves.
    pub(super) fn say_goodbye(&self, link: &Link) {
        let socket = self.socket(link);
        if socket.is_some_and(|socket| socket.disconnect().is_err()) {
            // Its queue has no place for it.
            self.connections.cut(link);
        }
    }

    /// Gives up on a page that cannot be handed what comes after `last`.
    pub(super) fn give_up(&self, link: &Link, last: PushId) {
        link.ledger.give_up(PushId(last.0 + 1));
        self.connections.cut(link);
    }

    /// Tells every page that is connected something that is no message.
    pub(super) fn announce(&self, event: &str, text: &AsciiJson) {
        if let Some(root) = self.io.of(ROOT) {
            // With the local adapter the broadcast is done within the first poll. Who has no room
            // for it is told again soon, or is cut.
            let _ = root.emit(event, text.raw()).now_or_never();
        }
    }

    fn broadcast(&self, audience: Audience<'_>, packet: &Packet<'_>, is_numbered: bool) {
        let Some(rooms) = self.socket_rooms(audience, is_numbered) else {
            return;
        };
        let content = packet.content();
        // With the local adapter the broadcast is done within the first poll.
        let emitted = match packet.stamp(is_numbered) {
            None => rooms.emit(event::NEW_MSG, content.raw()).now_or_never(),
            Some(stamp) => {
                let arguments = (content.raw(), stamp.raw());
                rooms.emit(event::NEW_MSG, &arguments).now_or_never()
            }
        };
        match emitted {
            Some(Err(BroadcastError::Socket(errors))) if errors.iter().any(is_full) => {
                // Only what a page has asked for by itself can have filled its queue. Those that
                // are not found here have a gap in their ledgers, and are cut when it shows.
                self.cut_full(audience);
            }
            Some(Err(BroadcastError::Socket(_)) | Ok(())) => {}
            Some(Err(e)) => tracing::error!(error = %e, "cannot emit"),
            None => tracing::error!("emit did not complete at once"),
        }
    }

    /// `None` when there is nobody: no rooms would mean everyone. Also once the gateway is closed,
    /// for then there is no namespace, and `io.to` would panic.
    fn socket_rooms(
        &self,
        audience: Audience<'_>,
        is_numbered: bool,
    ) -> Option<BroadcastOperators> {
        let root = self.io.of(ROOT)?;
        let name = |room: Room| room_name(&room, is_numbered);
        Some(match audience {
            Audience::Everyone => root.to(name(Room::Everyone)),
            Audience::Users([]) | Audience::Subscribers([]) => return None,
            Audience::Users([uid]) => root.to(name(Room::User(uid.clone()))),
            Audience::Users(uids) => {
                let users = uids.iter().map(|uid| name(Room::User(uid.clone())));
                root.to(users.collect::<Vec<_>>())
            }
            Audience::Group(group) => root.to(name(Room::Group(group.clone()))),
            Audience::Subscribers(wanted) => {
                let wanted = wanted
                    .iter()
                    .map(|one| name(Room::Subscription(one.clone())));
                root.to(wanted.collect::<Vec<_>>())
            }
        })
    }

    fn cut_full(&self, audience: Audience<'_>) {
        let mut links = Vec::new();
        self.rooms
            .each(audience, |link| links.push(Arc::clone(link)));
        links.retain(|link| {
            self.socket(link)
                .is_some_and(|socket| queue_is_full(&socket))
        });
        for link in links {
            self.connections.cut(&link);
        }
    }

    fn link_by_sid(&self, uid: &Uid) -> Option<Arc<Link>> {
        self.connections.link(uid.as_str().parse().ok()?)
    }

    pub(super) fn socket(&self, link: &Link) -> Option<SocketRef> {
        self.io.of(ROOT)?.get_socket(link.sid)
    }
}

/// Emits to one page.
///
/// By way of a room that it has to itself for the moment: socketioxide refuses an emit to one
/// socket until it has noted that the socket is connected, which it does after it has told the
/// page so, and a page that logs in at once can be faster. Call it before the page has left.
pub(super) fn alone<T: Serialize + ?Sized>(socket: &SocketRef, event: &str, data: &T) {
    let room = format!("alone:{}", socket.id);
    socket.join(room.clone());
    // With the local adapter it is done within the first poll.
    let emitted = socket.within(room.clone()).emit(event, data).now_or_never();
    socket.leave(room);
    if let Some(Err(e)) = emitted {
        tracing::debug!(session = %socket.id, error = %e, "nothing could be emitted");
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
