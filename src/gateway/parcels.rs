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
    ledger: Arc<Ledger>,
    /// What was kept up to here; what came later is in the log, or live.
    until: PushId,
    /// Where the page said it was, if it had by then got all that had waited.
    since: Option<PushId>,
    /// Up to where it has been read.
    read: PushId,
    /// Up to where the page has been handed what it is to get.
    given: PushId,
    /// What has been read and not been handed yet, the newest first.
    held: Vec<Held>,
    is_read: bool,
    has_failed: bool,
}

impl Parcels {
    /// What waits for a page that logs in and begins as it is said; `None` when nothing does. What
    /// the page is known to have, by its `ledger`, goes from now on.
    pub(crate) fn of(
        backlog: Option<&Arc<Backlog>>,
        (uid, since): (&Uid, Option<Since>),
        recovered: Recovered,
        ledger: &Arc<Ledger>,
        still: &Standstill<'_>,
    ) -> Option<Self> {
        let backlog = backlog?;
        if !backlog.may_hold(uid) {
            confirm(backlog, uid, ledger);
            return None;
        }
        // One that was cut while it got what had waited has not got the rest of that.
        if let Some(Since { id, parcel: None }) = since
            && let Some(parcel) = still.newest_parcel_up_to(id)
        {
            backlog.confirm(uid, parcel);
        }
        let read = match since {
            None => PushId::default(),
            Some(Since {
                parcel: Some(parcel),
                ..
            }) => parcel,
            Some(Since { parcel: None, .. }) if recovered == Recovered::Whole => {
                confirm(backlog, uid, ledger);
                return None;
            }
            Some(Since { id, parcel: None }) => id.before(DELAY),
        };
        Some(Self {
            backlog: Arc::clone(backlog),
            uid: uid.clone(),
            until: still.newest_parcel(),
            since: since
                .filter(|since| since.parcel.is_none())
                .map(|since| since.id),
            ledger: Arc::clone(ledger),
            read,
            given: read,
            held: Vec::new(),
            is_read: false,
            has_failed: false,
        })
    }

    /// Where a page that has had none of it yet stands, when it has everything up to `id`.
    pub(crate) fn since(&self, id: PushId) -> Since {
        Since {
            id,
            parcel: Some(self.given),
        }
    }

    /// How far the page is, while there may be more for it that it has not got: it must not say that it
    /// has.
    pub(crate) fn lacks(&self) -> Option<PushId> {
        let is_done = self.is_read && self.held.is_empty();
        (!is_done || self.has_failed).then_some(self.given)
    }

    /// Reads some more. False when nothing is left, or the store does not answer: then it goes on
    /// waiting for the next login. May be dropped and called again at any time.
    pub(crate) async fn fetch(&mut self) -> bool {
        if !self.held.is_empty() {
            return true;
        }
        if self.is_read {
            // In order, so that what the page has for certain it has up to there.
            confirm(&self.backlog, &self.uid, &self.ledger);
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
                // Nothing is confirmed by this page: it would confirm what it has not got.
                self.has_failed = true;
                return false;
            }
        }
        true
    }

    /// Gives `hand` as many as it takes, of what the page will not read in the log.
    pub(crate) fn give(
        &mut self,
        reading: &Reading,
        still: &Standstill<'_>,
        mut hand: impl FnMut(&Push) -> Handed,
    ) -> Read {
        while let Some(held) = self.held.last() {
            if self.is_due(held, still.parcel(held.id), reading) {
                match hand(&unpacked(held, &self.uid)) {
                    Handed::Taken => {}
                    Handed::Later => return Read::More,
                    Handed::Never => return Read::Lost,
                }
            }
            self.given = self.given.max(held.id);
            self.held.pop();
        }
        Read::All
    }

    /// Whether a page gets this one here; `logged` is the same in the log, if it is there.
    fn is_due(&self, held: &Held, logged: Option<&Push>, reading: &Reading) -> bool {
        let is_here = logged.is_none_or(|push| {
            let comes_later = push.id > reading.at;
            let is_known = self.since.is_some_and(|since| push.id <= since);
            !comes_later && !is_known && !reading.has_heard(push)
        });
        is_here && held.id <= self.until
    }
}

/// From now on what the page has for certain goes.
fn confirm(backlog: &Arc<Backlog>, uid: &Uid, ledger: &Ledger) {
    let (backlog, uid) = (Arc::clone(backlog), uid.clone());
    ledger.on_confirmed(Box::new(move |up_to| backlog.confirm(&uid, up_to)));
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

/// It has no place in the log, so a page that breaks before it arrives does not begin there.
fn unpacked(held: &Held, uid: &Uid) -> Push {
    let content = Content::from(Arc::<str>::from(held.content.as_str()));
    let mut push = Push::new(Target::Users([uid.clone()].into()), content);
    push.parcel = Some(held.id);
    push
}
