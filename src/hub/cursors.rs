//! Up to which push users who have left had got what was for them. Knows neither pages nor pushes.

use std::collections::{HashMap, VecDeque};

use crate::group::Group;
use crate::push::PushId;
use crate::uid::Uid;

/// How many users are remembered; beyond them the first who left are forgotten.
const MAX_CURSORS: usize = 200_000;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    by_uid: HashMap<Uid, Cursor>,
    /// Who left when, the first first; those who are back, or left again, are still in it.
    left: VecDeque<(PushId, Uid)>,
}

/// Where a user's pages left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    /// They have everything up to this one.
    pub(super) at: PushId,
    /// When they left.
    pub(super) left: PushId,
    /// How many pages may begin here: one, or those that one stop of the server ended.
    pub(super) pages: usize,
    /// What they had joined, if they did not leave of their own will.
    pub(super) groups: Vec<Group>,
}

impl Cursors {
    /// Remembers where a user's last page left.
    pub(super) fn put(&mut self, uid: Uid, cursor: Cursor) {
        self.left.push_back((cursor.left, uid.clone()));
        self.by_uid.insert(uid, cursor);
        while self.by_uid.len() > MAX_CURSORS || self.left.len() > 2 * MAX_CURSORS {
            self.forget_first();
        }
    }

    /// Remembers where one of several pages left that one stop, begun at `since`, ends: the others may
    /// come back too.
    pub(super) fn put_one_more(&mut self, uid: Uid, cursor: Cursor, since: PushId) {
        let known = self.by_uid.remove(&uid);
        let cursor = match known.filter(|known| known.left >= since) {
            None => cursor,
            Some(mut known) => {
                let new = cursor.groups.into_iter();
                let new = new.filter(|group| !known.groups.contains(group));
                known.groups.extend(new.collect::<Vec<_>>());
                Cursor {
                    at: known.at.min(cursor.at),
                    left: cursor.left,
                    pages: known.pages + 1,
                    groups: known.groups,
                }
            }
        };
        self.put(uid, cursor);
    }

    /// Where a page of a user begins who is back, and what it hears again.
    pub(super) fn take(&mut self, uid: &Uid) -> Option<(PushId, Vec<Group>)> {
        let cursor = self.by_uid.get_mut(uid)?;
        let taken = (cursor.at, cursor.groups.clone());
        cursor.pages -= 1;
        if cursor.pages == 0 {
            self.by_uid.remove(uid);
        }
        Some(taken)
    }

    /// Forgets who left before `too_old`.
    pub(super) fn evict(&mut self, too_old: PushId) {
        while self.left.front().is_some_and(|(left, _)| *left < too_old) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((left, uid)) = self.left.pop_front() else {
            return;
        };
        if self
            .by_uid
            .get(&uid)
            .is_some_and(|cursor| cursor.left == left)
        {
            self.by_uid.remove(&uid);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Uid, &Cursor)> {
        self.by_uid.iter()
    }
}
