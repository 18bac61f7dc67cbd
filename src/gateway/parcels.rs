//! What waits on disk for a page's user, handed to the page before it reads the log.
//!
//! Whatever is in the log too is left to the log, so that it comes in its place among what is not kept
//! on disk. For a page that says where it was, what it says decides; any other gets all that the user
//! has not confirmed, also what another connection has been sent: whether it arrived nobody knows.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::gateway::ledger::Ledger;
use crate::hub::{Backlog, Handed, Held, Read, Reading, Standstill};
use crate::push::{Content, Push, PushId, Target};
use crate::uid::Uid;

/// How many are read from the store at a time.
const BATCH: u32 = 256;

/// A push is kept so long, at most, before it is delivered and has its place in the order.
const DELAY: Duration = Duration::from_secs(30);

/// What a page gets of the backlog.
#[derive(Debug)]
pub(crate) struct Parcels {
    backlog: Arc<Backlog>,
    uid: Uid,
    /// What was kept up to here; what came later is in the log, or live.
    until: PushId,
    /// Where the page said it was.
    since: Option<PushId>,
    /// Up to where it has been read.
    read: PushId,
    /// What has been read and not been handed yet, the newest first.
    held: Vec<Held>,
    is_read: bool,
}

impl Parcels {
    /// What waits for a page that logs in; `None` when nothing does. What the page is known to have,
    /// by its `ledger`, goes from now on.
    pub(crate) fn of(
        backlog: Option<&Arc<Backlog>>,
        (uid, since): (&Uid, Option<PushId>),
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
        if let Some(since) = since {
            let logged = still.parcels(&all_of(uid));
            let has = logged.iter().filter(|(_, logged)| **logged <= since);
            if let Some((parcel, _)) = has.max() {
                backlog.confirm(uid, *parcel);
            }
        }
        Some(Self {
            backlog: Arc::clone(backlog),
            uid: uid.clone(),
            until: still.newest_parcel(),
            since,
            // What is older it has said that it has.
            read: since.unwrap_or_default().before(DELAY),
            held: Vec::new(),
            is_read: false,
        })
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
            if self.is_due(held, place, at, still.floor()) {
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

    /// Whether a page gets this one here; `logged` is its place in the log, if it has one, and the
    /// log is complete after `floor`.
    fn is_due(&self, held: &Held, logged: Option<PushId>, at: PushId, floor: PushId) -> bool {
        match (logged, self.since) {
            (Some(logged), _) if logged > at => false,
            (Some(_), Some(_)) => false,
            (None, Some(since)) if since >= floor => false,
            (Some(_), None) | (None, _) => held.id <= self.until,
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
