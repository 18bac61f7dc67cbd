//! What waits on disk for a page's user, handed to the page before it reads the log.
//!
//! Whatever is in the log too is left to the log, so that it comes in its place among what is not kept
//! on disk. For a page that says where it was, what it says decides; any other gets all that the user
//! has not confirmed, also what another connection has been sent: whether it arrived nobody knows.

use std::error::Error;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::gateway::ledger::Ledger;
use crate::hub::{Backlog, Handed, Held, Read, Reading, Recovered, Standstill};
use crate::push::{Content, Push, PushId, Target};
use crate::uid::Uid;

/// How many are read from the store at a time.
const BATCH: u32 = 256;

/// A push is kept so long, at most, before it is delivered and has its place in the order.
const DELAY: Duration = Duration::from_secs(30);

/// Where a page says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Since {
    /// It has what was accepted up to this one.
    pub(crate) id: PushId,
    /// Of what waited when it logged in it has what was kept up to this one; `None`: all of it.
    pub(crate) parcel: Option<PushId>,
}

/// What a page gets of the backlog.
#[derive(Debug)]
pub(crate) struct Parcels {
    backlog: Arc<Backlog>,
    uid: Uid,
    /// What was kept up to here; what came later is in the log, or live.
    until: PushId,
    /// Whether the page said where it was.
    is_told: bool,
    /// Up to where it has been read.
    read: PushId,
    /// What has been read and not been handed yet, the newest first.
    held: Vec<Held>,
    is_read: bool,
}

impl Parcels {
    /// What waits for a page that logs in and begins as it is said; `None` when nothing does. What
    /// the page is known to have, by its `ledger`, goes from now on.
    pub(crate) fn of(
        backlog: Option<&Arc<Backlog>>,
        (uid, since): (&Uid, Option<Since>),
        recovered: Recovered,
        ledger: &Ledger,
        still: &Standstill<'_>,
    ) -> Option<Self> {
        let backlog = backlog?;
        let confirmed = (Arc::clone(backlog), uid.clone());
        let confirms = move |up_to| confirmed.0.confirm(&confirmed.1, up_to);
        ledger.on_confirmed(Box::new(confirms));
        if !backlog.may_hold(uid) {
            return None;
        }
        if let Some(Since { id, .. }) = since {
            let logged = still.parcels(&all_of(uid));
            let has = logged.iter().filter(|(_, logged)| **logged <= id);
            if let Some((parcel, _)) = has.max() {
                backlog.confirm(uid, *parcel);
            }
        }
        let read = match since {
            None => PushId::default(),
            Some(Since {
                parcel: Some(parcel),
                ..
            }) => parcel,
            Some(Since { parcel: None, .. }) if recovered == Recovered::Whole => return None,
            Some(Since { id, parcel: None }) => id.before(DELAY),
        };
        Some(Self {
            backlog: Arc::clone(backlog),
            uid: uid.clone(),
            until: still.newest_parcel(),
            is_told: since.is_some(),
            read,
            held: Vec::new(),
            is_read: false,
        })
    }

    /// Where a page that has had none of it yet stands, when it has everything up to `id`.
    pub(crate) fn since(&self, id: PushId) -> Since {
        Since {
            id,
            parcel: Some(self.read),
        }
    }

    /// Reads some more. False when nothing is left, or the store does not answer: then it goes on
    /// waiting for the next login. May be dropped and called again at any time.
    pub(crate) async fn fetch(&mut self) -> bool {
        if !self.held.is_empty() {
            return true;
        }
        if self.is_read {
            return false;
        }
        match self.backlog.waiting(&self.uid, self.read, BATCH).await {
            Ok(mut batch) => {
                self.read = batch.last().map_or(self.read, |last| last.id);
                self.is_read = batch.len() < BATCH as usize || self.read >= self.until;
                batch.reverse();
                self.held = batch;
            }
            Err(e) => {
                let error = &e as &dyn Error;
                tracing::warn!(
                    error,
                    "the backlog cannot be read; it waits for the next login"
                );
                self.is_read = true;
            }
        }
        !self.held.is_empty()
    }

    /// Gives `hand` as many as it takes; the page has read the log up to `at`.
    pub(crate) fn give(
        &mut self,
        at: PushId,
        still: &Standstill<'_>,
        mut hand: impl FnMut(&Push) -> Handed,
    ) -> Read {
        let logged = still.parcels(&all_of(&self.uid));
        while let Some(held) = self.held.last() {
            let place = logged.get(&held.id).copied();
            if self.is_due(held, place, at) {
                match hand(&unpacked(held, &self.uid)) {
                    Handed::Taken => {}
                    Handed::Later => return Read::More,
                    Handed::Never => return Read::Lost,
                }
            }
            self.held.pop();
        }
        Read::All
    }

    /// Whether a page gets this one here; `logged` is its place in the log, if it has one.
    fn is_due(&self, held: &Held, logged: Option<PushId>, at: PushId) -> bool {
        let is_here = logged.is_none_or(|logged| logged <= at && !self.is_told);
        is_here && held.id <= self.until
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parcel {
            None => write!(f, "{}", self.id.0),
            Some(parcel) => write!(f, "{}:{}", self.id.0, parcel.0),
        }
    }
}

impl FromStr for Since {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let (id, parcel) = match text.split_once(':') {
            None => (text, None),
            Some((id, parcel)) => (id, Some(parcel)),
        };
        let parcel = parcel.map(str::parse).transpose()?;
        Ok(Self {
            id: PushId(id.parse()?),
            parcel: parcel.map(PushId),
        })
    }
}

impl Serialize for Since {
    /// A number where it is one, else a text; pages send back what they got.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.parcel {
            None => serializer.serialize_u64(self.id.0),
            Some(_) => serializer.collect_str(self),
        }
    }
}

/// All that the log has for a user.
fn all_of(uid: &Uid) -> Reading {
    Reading {
        uid: Some(uid.clone()),
        groups: Vec::new(),
        at: PushId::default(),
        heard: None,
    }
}

/// It has no place in the log, so a page that breaks before it arrives does not begin there.
fn unpacked(held: &Held, uid: &Uid) -> Push {
    let content = Content::from(Arc::<str>::from(held.content.as_str()));
    let mut push = Push::new(Target::Users([uid.clone()].into()), content);
    push.parcel = Some(held.id);
    push
}
