//! How a page that was away gets what it missed: each message once, in order, before anything newer.
//!
//! A page *reads* until it has all that the log holds for it, a few messages at a time, so that no
//! queue overflows; then, in the same [`Standstill`] in which it got the last of it, its gateway lets
//! it hear what is live. While it reads it hears nothing else.

use std::sync::MutexGuard;

use crate::group::Group;
use crate::hub::Hub;
use crate::hub::cursors::Cursor;
use crate::hub::log::{Log, Reader};
use crate::hub::session::Session;
use crate::push::{Push, PushId};
use crate::uid::Uid;

/// A moment between two pushes: none is accepted while it lasts, so whatever is done in it is done
/// either before or after any push, for everybody who looks. Short, and never waits.
#[derive(Debug)]
pub struct Standstill<'a> {
    hub: &'a Hub,
    log: MutexGuard<'a, Log>,
}

/// Where a page begins to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// It has everything up to this one.
    pub after: PushId,
    /// Whether the log reaches back to where the page left.
    pub recovered: Recovered,
    /// What its claim grants, and what the user's last page had joined when its connection broke: it
    /// is in them again.
    pub groups: Vec<Group>,
}

/// Whether a page gets all that it has missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// It is not known to have been here.
    New,
    /// It does.
    Whole,
    /// It was away for longer than the log reaches: all after [`Beginning::after`] is all there is.
    Partly,
}

/// A page's way through the log.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Whose page it is; `None` reads what is for everyone.
    pub uid: Option<Uid>,
    /// What it has joined.
    pub groups: Vec<Group>,
    /// It has everything up to this one.
    pub at: PushId,
    /// What was for everyone after the first of these and up to the second, it has heard live.
    pub heard: Option<(PushId, PushId)>,
}

impl Reading {
    /// Whether the page has had a push live, before it logged in.
    #[must_use]
    pub fn has_heard(&self, push: &Push) -> bool {
        let within = |(from, to)| push.id > from && push.id <= to;
        push.is_for_everyone() && self.heard.is_some_and(within)
    }
}

/// What became of a message that was for a page that catches up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// It is on its way.
    Taken,
    /// There is no room for it yet.
    Later,
    /// The page has to go, or has gone.
    Never,
}

/// How far a step of reading went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// There is more.
    More,
    /// The page has everything.
    All,
    /// The log has forgotten what comes next, or the page takes nothing more: it has to go.
    Lost,
}

impl Hub {
    /// Does something between two pushes.
    pub fn between_pushes<T>(&self, act: impl FnOnce(&mut Standstill<'_>) -> T) -> T {
        act(&mut Standstill {
            hub: self,
            log: self.log(),
        })
    }

    /// The sessions that end from now on end because the server stops: each page of a user may come
    /// back, and not just the last.
    pub fn leave(&self) {
        self.leaving_since.get_or_init(PushId::now);
    }
}

impl Standstill<'_> {
    /// The newest push.
    #[must_use]
    pub fn newest(&self) -> PushId {
        self.log.newest()
    }

    /// Every push after this one is remembered.
    #[must_use]
    pub fn floor(&self) -> PushId {
        self.log.floor()
    }

    /// Whether any is.
    #[must_use]
    pub fn recovers(&self) -> bool {
        self.log.is_on()
    }

    /// Where a page of `uid` begins that says it has everything up to `since`; or that says nothing,
    /// and then where the user's last page left. Its claim puts it into the groups that are `granted`,
    /// and it is in those of the last page too.
    pub fn begin(&mut self, uid: &Uid, since: Option<PushId>, granted: &[Group]) -> Beginning {
        let newest = self.log.newest();
        let known = match since {
            Some(since) => Some((since, Vec::new())),
            None => self.log.cursors.take(uid),
        };
        let Some((since, mut groups)) = known else {
            return Beginning {
                after: newest,
                recovered: Recovered::New,
                groups: granted.to_vec(),
            };
        };
        for group in granted {
            if !groups.contains(group) {
                groups.push(group.clone());
            }
        }
        let (floor, is_in_groups) = (self.log.floor(), !groups.is_empty());
        let misses_nothing =
            since >= floor || since >= self.log.evicted.last_for(uid, is_in_groups);
        // No number of ours is greater than the newest. Where nothing is recovered, all is new.
        let is_whole = self.log.is_on() && since <= newest && misses_nothing;
        Beginning {
            after: match (self.log.is_on(), is_whole) {
                (false, _) => newest,
                (true, true) => since.max(floor),
                (true, false) => floor,
            },
            recovered: if is_whole {
                Recovered::Whole
            } else {
                Recovered::Partly
            },
            groups,
        }
    }

    /// The newest of what is kept on disk, of what was accepted.
    #[must_use]
    pub fn newest_parcel(&self) -> PushId {
        self.log.newest_parcel
    }

    /// What has this number on disk, if the log has it too.
    #[must_use]
    pub fn parcel(&self, parcel: PushId) -> Option<&Push> {
        self.log.parcel(parcel).map(|push| &**push)
    }

    /// The newest number on disk of what was accepted up to `id`, as far as the log knows.
    #[must_use]
    pub fn newest_parcel_up_to(&self, id: PushId) -> Option<PushId> {
        self.log.newest_parcel_up_to(id)
    }

    /// Gives `hand` the next of what a page has missed, for as long as it takes it.
    pub fn read(&self, reading: &mut Reading, mut hand: impl FnMut(&Push) -> Handed) -> Read {
        if reading.at < self.log.floor() {
            return Read::Lost;
        }
        let reader = Reader {
            uid: reading.uid.as_ref(),
            groups: &reading.groups,
        };
        for push in self.log.after(reading.at, reader) {
            if reading.has_heard(push) {
                continue;
            }
            match hand(push) {
                Handed::Taken => reading.at = push.id,
                Handed::Later => return Read::More,
                Handed::Never => return Read::Lost,
            }
        }
        reading.at = self.log.newest();
        Read::All
    }

    /// Ends a session whose page has everything up to `reached`. Where it was the user's last, the
    /// user's next page begins there, and is in `groups` again.
    pub fn end(&mut self, session: Session, reached: PushId, groups: Vec<Group>) {
        if let Some(uid) = session.uid()
            && self.log.is_on()
        {
            let cursor = Cursor {
                at: reached,
                // By the clock: the newest push may be of long ago.
                left: PushId::now().max(self.log.newest()),
                pages: 1,
                groups,
            };
            let uid = uid.clone();
            if let Some(since) = self.hub.leaving_since.get() {
                self.log.cursors.put_one_more(uid, cursor, *since);
            } else if self.hub.registry.sessions(&uid) == 1 {
                self.log.cursors.put(uid, cursor);
            }
        }
        drop(session);
    }
}
