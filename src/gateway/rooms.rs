//! Pages found by what pushes are for. Both gateway families keep theirs so; it knows no wire.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::group::Group;
use crate::hub::Audience;
use crate::topic::Subscription;
use crate::uid::Uid;

/// What a page can be found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Room {
    /// It hears what is for everyone.
    Everyone,
    /// Its user.
    User(Uid),
    /// A group that it has joined.
    Group(Group),
    /// What it wants.
    Subscription(Subscription),
}

/// The pages of each room, by the number of their membership.
#[derive(Debug)]
pub(crate) struct Rooms<P> {
    pages: RwLock<Pages<P>>,
    next: AtomicU64,
}

/// While one of these is held, no page changes rooms.
#[derive(Debug)]
struct Pages<P>(HashMap<Room, HashMap<u64, Arc<P>>>);

/// One page in one room, until it is dropped.
#[derive(Debug)]
pub(crate) struct Member<P> {
    rooms: Arc<Rooms<P>>,
    room: Room,
    id: u64,
}

impl<P> Rooms<P> {
    /// Puts a page into a room.
    pub(crate) fn enter(self: &Arc<Self>, room: Room, page: &Arc<P>) -> Member<P> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.write().enter(room.clone(), id, Arc::clone(page));
        Member {
            rooms: Arc::clone(self),
            room,
            id,
        }
    }

    /// Visits each page of an audience. One that changes rooms meanwhile is found in one of them.
    pub(crate) fn each(&self, audience: Audience<'_>, mut visit: impl FnMut(&Arc<P>)) {
        let pages = self.read();
        match audience {
            Audience::Everyone => pages.each(&Room::Everyone, &mut visit),
            Audience::Users(uids) => {
                for uid in uids {
                    pages.each(&Room::User(uid.clone()), &mut visit);
                }
            }
            Audience::Group(group) => pages.each(&Room::Group(group.clone()), &mut visit),
            Audience::Subscribers(subscriptions) => {
                for subscription in subscriptions {
                    pages.each(&Room::Subscription(subscription.clone()), &mut visit);
                }
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Pages<P>> {
        self.pages.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Pages<P>> {
        // Nothing that can panic runs under this lock.
        self.pages.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> Default for Rooms<P> {
    fn default() -> Self {
        Self {
            pages: RwLock::new(Pages(HashMap::new())),
            next: AtomicU64::default(),
        }
    }
}

impl<P> Pages<P> {
    fn enter(&mut self, room: Room, id: u64, page: Arc<P>) {
        self.0.entry(room).or_default().insert(id, page);
    }

    fn leave(&mut self, room: &Room, id: u64) -> Option<Arc<P>> {
        let members = self.0.get_mut(room)?;
        let page = members.remove(&id);
        if members.is_empty() {
            self.0.remove(room);
        }
        page
    }

    fn each(&self, room: &Room, visit: impl FnMut(&Arc<P>)) {
        let members = self.0.get(room).into_iter();
        members.flat_map(HashMap::values).for_each(visit);
    }
}

impl<P> Member<P> {
    /// Takes the page to another room, in one step for those who deliver.
    pub(crate) fn change_to(&mut self, room: Room) {
        let mut pages = self.rooms.write();
        if let Some(page) = pages.leave(&self.room, self.id) {
            pages.enter(room.clone(), self.id, page);
        }
        drop(pages);
        self.room = room;
    }
}

impl<P> Drop for Member<P> {
    fn drop(&mut self) {
        self.rooms.write().leave(&self.room, self.id);
    }
}
