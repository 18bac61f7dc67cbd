//! The log: the pushes of the last while, in the order in which they were accepted, and up to
//! which of them users had got what was for them when they left. Knows neither pages nor wires.
//!
//! Whatever happens between a push's number and its delivery happens under one lock, which also
//! holds while a page begins to hear: so every page hears in the order of the numbers, and what is
//! replayed to it ends exactly where live delivery begins.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::config;
use crate::group::Group;
use crate::hub::cursors::Cursors;
use crate::hub::evicted::Evicted;
use crate::push::{Push, PushId, Target};
use crate::uid::Uid;

/// What an entry costs beside its texts, and each of its addressees: near enough.
const ENTRY_BYTES: usize = 256;
const ADDRESSEE_BYTES: usize = 64;

/// How long pushes are kept where nothing is recovered: a page that logs in may be a moment on its
/// way from the first message to the last.
const SHORT_WINDOW: Duration = Duration::from_secs(5);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Log {
    is_on: bool,
    window: Duration,
    max_bytes: usize,
    /// The newest number that was given.
    newest: PushId,
    /// Every push after this one that can be logged is here.
    floor: PushId,
    entries: VecDeque<Arc<Push>>,
    bytes: usize,
    by_key: HashMap<Key, VecDeque<PushId>>,
    everyone: VecDeque<PushId>,
    /// Those that are kept on disk too: their numbers there, and here. Both grow.
    parcels: VecDeque<(PushId, PushId)>,
    pub(super) cursors: Cursors,
    pub(super) evicted: Evicted,
    /// The newest of what is kept on disk, of what was accepted.
    pub(super) newest_parcel: PushId,
}

/// Whom entries are found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    User(Uid),
    Group(Group),
}

/// How much the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSize {
    /// Pushes.
    pub messages: usize,
    /// What they cost in memory, near enough.
    pub bytes: usize,
}

/// What of the log is for one page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) uid: Option<&'a Uid>,
    pub(super) groups: &'a [Group],
}

impl Log {
    pub(super) fn new(recovery: config::Recovery) -> Self {
        let now = PushId::now();
        let is_on = !recovery.window.is_zero();
        Self {
            is_on,
            window: if is_on { recovery.window } else { SHORT_WINDOW },
            max_bytes: recovery.max_bytes(),
            newest: now,
            floor: now,
            entries: VecDeque::new(),
            bytes: 0,
            by_key: HashMap::new(),
            everyone: VecDeque::new(),
            parcels: VecDeque::new(),
            cursors: Cursors::default(),
            evicted: Evicted::new(now),
            // What earlier processes have kept is older.
            newest_parcel: now,
        }
    }

    /// Whether pages that come back get what they missed.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(super) fn newest(&self) -> PushId {
        self.newest
    }

    pub(super) fn floor(&self) -> PushId {
        self.floor
    }

    pub(super) fn size(&self) -> LogSize {
        LogSize {
            messages: self.entries.len(),
            bytes: self.bytes,
        }
    }

    /// The next number.
    pub(super) fn draw(&mut self) -> PushId {
        self.newest = PushId::now().max(PushId(self.newest.0 + 1));
        self.newest
    }

    /// Gives a push its number, and keeps it. Topics are not kept: who wants what is known of live
    /// pages only.
    pub(super) fn accept(&mut self, mut push: Push) -> Arc<Push> {
        push.id = self.draw();
        self.newest_parcel = self.newest_parcel.max(push.parcel.unwrap_or_default());
        let push = Arc::new(push);
        if !matches!(push.target, Target::Topic(_)) {
            self.keep(Arc::clone(&push));
            self.evict(push.id);
        }
        push
    }

    fn keep(&mut self, push: Arc<Push>) {
        match &push.target {
            Target::Everyone => self.everyone.push_back(push.id),
            Target::Users(uids) => {
                for uid in uids {
                    self.index(Key::User(uid.clone()), push.id);
                }
            }
            Target::Group(group) => self.index(Key::Group(group.clone()), push.id),
            Target::Topic(_) => {}
        }
        if let Some(parcel) = push.parcel {
            self.parcels.push_back((parcel, push.id));
        }
        self.bytes += weight(&push);
        self.entries.push_back(push);
    }

    fn index(&mut self, key: Key, id: PushId) {
        self.by_key.entry(key).or_default().push_back(id);
    }

    /// Forgets what is too old at `now`, or too much.
    pub(super) fn evict(&mut self, now: PushId) {
        let too_old = now.before(self.window);
        while let Some(oldest) = self.entries.front()
            && (oldest.id < too_old || self.bytes > self.max_bytes)
        {
            self.bytes -= weight(oldest);
            let oldest = self.entries.pop_front();
            if let Some(oldest) = oldest {
                self.floor = oldest.id;
                self.unindex(&oldest);
            }
        }
        self.cursors.evict(too_old);
    }

    fn unindex(&mut self, push: &Push) {
        if push.parcel.is_some() {
            self.parcels.pop_front();
        }
        match &push.target {
            Target::Everyone => {
                self.everyone.pop_front();
                self.evicted.everyone = push.id;
            }
            Target::Users(uids) => {
                for uid in uids {
                    self.unindex_key(&Key::User(uid.clone()));
                    self.evicted.note(uid.clone(), push.id);
                }
            }
            Target::Group(group) => {
                self.unindex_key(&Key::Group(group.clone()));
                self.evicted.groups = push.id;
            }
            Target::Topic(_) => {}
        }
    }

    fn unindex_key(&mut self, key: &Key) {
        // The oldest entry of all is the oldest of each of its lists.
        if let Some(ids) = self.by_key.get_mut(key) {
            ids.pop_front();
            if ids.is_empty() {
                self.by_key.remove(key);
            }
        }
    }

    /// The entries after `after` that are for a page, the oldest first.
    pub(super) fn after<'a>(
        &'a self,
        after: PushId,
        reader: Reader<'_>,
    ) -> impl Iterator<Item = &'a Arc<Push>> + use<'a> {
        let user = reader
            .uid
            .and_then(|uid| self.by_key.get(&Key::User(uid.clone())));
        let groups = reader.groups.iter();
        let groups = groups.filter_map(|group| self.by_key.get(&Key::Group(group.clone())));
        let lists = groups.chain(user).chain([&self.everyone]);
        let mut lists: Vec<_> = lists
            .map(|ids| (ids, ids.partition_point(|id| *id <= after)))
            .collect();
        std::iter::from_fn(move || {
            let heads = lists.iter_mut();
            let heads = heads.filter_map(|(ids, at)| Some((*ids.get(*at)?, at)));
            let (id, at) = heads.min_by_key(|(id, _)| *id)?;
            *at += 1;
            self.entry(id)
        })
    }

    /// What has this number on disk, if it is here too.
    pub(super) fn parcel(&self, parcel: PushId) -> Option<&Arc<Push>> {
        let at = self
            .parcels
            .binary_search_by_key(&parcel, |(parcel, _)| *parcel);
        let (_, id) = self.parcels.get(at.ok()?)?;
        self.entry(*id)
    }

    /// The newest number on disk of what was accepted up to `id`, of what is here.
    pub(super) fn newest_parcel_up_to(&self, id: PushId) -> Option<PushId> {
        let count = self
            .parcels
            .partition_point(|(_, accepted)| *accepted <= id);
        let (parcel, _) = self.parcels.get(count.checked_sub(1)?)?;
        Some(*parcel)
    }

    fn entry(&self, id: PushId) -> Option<&Arc<Push>> {
        let at = self.entries.binary_search_by_key(&id, |push| push.id);
        at.ok().and_then(|at| self.entries.get(at))
    }

    /// Everything, to be taken to the next process.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<Push>> {
        self.entries.iter()
    }

    /// Takes up what an earlier process has left: it was complete after `floor`, and nothing was
    /// accepted between its end and now.
    pub(super) fn take_up(&mut self, (floor, newest): (PushId, PushId), pushes: Vec<Push>) {
        self.newest = self.newest.max(newest);
        // The clock may have been set back since.
        self.newest_parcel = self.newest_parcel.max(newest);
        self.floor = floor;
        for push in pushes {
            self.keep(Arc::new(push));
        }
        self.evict(PushId::now());
    }
}

fn weight(push: &Push) -> usize {
    let content = &push.content;
    let frame = if Arc::ptr_eq(&content.frame, &content.event) {
        0
    } else {
        content.frame.len()
    };
    let addressees = match &push.target {
        Target::Users(uids) => uids.len(),
        Target::Everyone | Target::Group(_) | Target::Topic(_) => 1,
    };
    content.event.len() + frame + ENTRY_BYTES + addressees * ADDRESSEE_BYTES
}
