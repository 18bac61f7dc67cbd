//! Which was the last push for whom that the log has forgotten: who has it misses nothing, however long
//! ago it was. Knows neither pages nor pushes.

use std::collections::{HashMap, VecDeque};

use crate::push::PushId;
use crate::uid::Uid;

/// How many users are remembered.
const MAX_USERS: usize = 100_000;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Evicted {
    by_user: HashMap<Uid, PushId>,
    /// The oldest first; who has had another since is still in it.
    order: VecDeque<(PushId, Uid)>,
    /// The last for everyone.
    pub(super) everyone: PushId,
    /// The last for a group, whichever it was.
    pub(super) groups: PushId,
    /// The last for anybody who is not remembered.
    pub(super) others: PushId,
}

impl Evicted {
    /// Nothing is known of what was before `start`.
    pub(super) fn new(start: PushId) -> Self {
        Self {
            by_user: HashMap::new(),
            order: VecDeque::new(),
            everyone: start,
            groups: start,
            others: start,
        }
    }

    /// A push for a user is forgotten.
    pub(super) fn note(&mut self, uid: Uid, id: PushId) {
        self.order.push_back((id, uid.clone()));
        self.by_user.insert(uid, id);
        while self.by_user.len() > MAX_USERS || self.order.len() > 2 * MAX_USERS {
            let Some((id, uid)) = self.order.pop_front() else {
                return;
            };
            if self.by_user.get(&uid) == Some(&id) {
                self.by_user.remove(&uid);
                self.others = self.others.max(id);
            }
        }
    }

    /// A page of the user that has everything up to this one misses nothing of what is forgotten;
    /// `is_in_groups`: it hears some.
    pub(super) fn last_for(&self, uid: &Uid, is_in_groups: bool) -> PushId {
        let own = self.by_user.get(uid).copied().unwrap_or(self.others);
        let theirs = if is_in_groups { self.groups } else { own };
        own.max(self.everyone).max(theirs)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Uid, PushId)> {
        let newest = |(id, uid): &&(PushId, Uid)| self.by_user.get(uid) == Some(id);
        self.order.iter().filter(newest).map(|(id, uid)| (uid, *id))
    }
}
