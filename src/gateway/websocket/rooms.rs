//! The pages of the raw websockets, found by what pushes are for: the hub's way to them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use bytes::Bytes;
use tungstenite::protocol::frame::coding::CloseCode;

use crate::gateway::websocket::frame;
use crate::gateway::websocket::outbox::{Close, Outbox};
use crate::group::Group;
use crate::hub::{Audience, Egress, Pace};
use crate::push::Push;
use crate::topic::Subscription;
use crate::uid::Uid;

/// What a page can be found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Room {
    /// It can be found by pushes to everyone: it has said who it is, or what it wants.
    Everyone,
    /// Its user.
    User(Uid),
    /// A group that it has joined.
    Group(Group),
    /// What it wants.
    Subscription(Subscription),
}

/// One gateway egress for all raw dialects: a user's pages are found whatever they speak.
#[derive(Debug, Default)]
pub struct WebsocketEgress {
    rooms: RwLock<Rooms>,
    next: AtomicU64,
}

/// The pages of each room, by the number of their membership.
#[derive(Debug, Default)]
struct Rooms(HashMap<Room, HashMap<u64, Arc<Outbox>>>);

/// One page in one room, until it is dropped.
#[derive(Debug)]
pub(crate) struct Member {
    egress: Arc<WebsocketEgress>,
    room: Room,
    id: u64,
}

impl WebsocketEgress {
    /// Puts a page into a room.
    pub(crate) fn enter(self: &Arc<Self>, room: Room, outbox: &Arc<Outbox>) -> Member {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut rooms = self.rooms.write().unwrap_or_else(PoisonError::into_inner);
        rooms.enter(room.clone(), id, Arc::clone(outbox));
        Member {
            egress: Arc::clone(self),
            room,
            id,
        }
    }
}

impl Rooms {
    fn enter(&mut self, room: Room, id: u64, outbox: Arc<Outbox>) {
        self.0.entry(room).or_default().insert(id, outbox);
    }

    fn leave(&mut self, room: &Room, id: u64) -> Option<Arc<Outbox>> {
        let members = self.0.get_mut(room)?;
        let outbox = members.remove(&id);
        if members.is_empty() {
            self.0.remove(room);
        }
        outbox
    }

    fn each(&self, room: &Room, visit: impl FnMut(&Arc<Outbox>)) {
        let members = self.0.get(room).into_iter();
        members.flat_map(HashMap::values).for_each(visit);
    }
}

impl Egress for WebsocketEgress {
    fn deliver(&self, audience: Audience<'_>, push: &Push) -> Pace {
        let record = push.record.as_ref().map(|record| record.id);
        // Encoded once, and only if somebody is there.
        let mut encoded: Option<Bytes> = None;
        let mut pace = Pace::Kept;
        let mut hand = |outbox: &Arc<Outbox>| {
            let frame = encoded.get_or_insert_with(|| frame::text(&push.frame()));
            pace = pace.max(outbox.push(frame.clone(), record));
        };
        // One lock for all rooms: a page that changes rooms is in one of them.
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        match audience {
            Audience::Everyone => rooms.each(&Room::Everyone, &mut hand),
            Audience::Users(uids) => {
                for uid in uids {
                    rooms.each(&Room::User(uid.clone()), &mut hand);
                }
            }
            Audience::Group(group) => rooms.each(&Room::Group(group.clone()), &mut hand),
            Audience::Subscribers(subscriptions) => {
                for subscription in subscriptions {
                    rooms.each(&Room::Subscription(subscription.clone()), &mut hand);
                }
            }
        }
        pace
    }

    fn disconnect(&self, uid: &Uid) {
        let rooms = self.rooms.read().unwrap_or_else(PoisonError::into_inner);
        rooms.each(&Room::User(uid.clone()), |outbox| {
            outbox.close(Close::new(
                CloseCode::Policy,
                "disconnected by the application",
            ));
        });
    }
}

impl Member {
    /// Takes the page to another room, in one step for those who deliver.
    pub(crate) fn change_to(&mut self, room: Room) {
        let mut rooms = self.lock();
        if let Some(outbox) = rooms.leave(&self.room, self.id) {
            rooms.enter(room.clone(), self.id, outbox);
        }
        drop(rooms);
        self.room = room;
    }

    fn lock(&self) -> RwLockWriteGuard<'_, Rooms> {
        // Nothing that can panic runs under this lock.
        let rooms = &self.egress.rooms;
        rooms.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.lock().leave(&self.room, self.id);
    }
}
