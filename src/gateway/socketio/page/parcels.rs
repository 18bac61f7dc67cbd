//! What waits on disk for a page's user, handed to the page before it reads the log.
//!
//! Whatever is in the log too is left to the log, so that it comes in its place among what is not kept
//! on disk. For a page that says where it was, what it says decides; any other gets all that the user
//! has not confirmed, also what another connection has been sent: whether it arrived nobody knows.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::gateway::socketio::claim::Claim;
use crate::gateway::socketio::packet::Packet;
use crate::gateway::socketio::page::{BREATH, Page, State};
use crate::hub::{Backlog, Held, Reading, Standstill};
use crate::push::{Content, Push, PushId, Target};
use crate::uid::Uid;

/// How many are read from the store at a time.
const BATCH: u32 = 256;

/// A push is kept so long, at most, before it is delivered and has its place in the order.
const DELAY: Duration = Duration::from_secs(30);

/// What a page gets of the backlog.
#[derive(Debug)]
pub(super) struct Parcels {
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
}

impl Parcels {
    /// `None` when nothing waits.
    pub(super) fn new(
        backlog: &Arc<Backlog>,
        uid: &Uid,
        since: Option<PushId>,
        still: &Standstill<'_>,
    ) -> Option<Self> {
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
        })
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

impl Page {
    /// What waits for a page that logs in; and from now on what it confirms goes no more.
    pub(super) fn parcels(&self, claim: &Claim, still: &Standstill<'_>) -> Option<Parcels> {
        let backlog = self.house.lobby.backlog.as_ref()?;
        let uid = claim.uid.as_ref()?;
        let confirmed = (Arc::clone(backlog), uid.clone());
        let confirms = move |up_to| confirmed.0.confirm(&confirmed.1, up_to);
        self.link.ledger.on_confirmed(Box::new(confirms));
        Parcels::new(backlog, uid, claim.since, still)
    }

    /// Hands the page what waits for its user. Returns when that is done, or the store does not
    /// answer: then it goes on waiting for the next login.
    pub(super) async fn unpack(&self, mut parcels: Parcels) {
        loop {
            let batch = parcels
                .backlog
                .waiting(&parcels.uid, parcels.read, BATCH)
                .await;
            parcels.held = match batch {
                Ok(batch) => batch,
                Err(e) => {
                    let error = &e as &dyn Error;
                    tracing::warn!(
                        error,
                        "the backlog cannot be read; it waits for the next login"
                    );
                    return;
                }
            };
            let Some(last) = parcels.held.last() else {
                return;
            };
            parcels.read = last.id;
            let is_last = parcels.held.len() < BATCH as usize || parcels.read >= parcels.until;
            parcels.held.reverse();
            while !parcels.held.is_empty() {
                if !self.hand_parcels(&mut parcels) {
                    return;
                }
                if !parcels.held.is_empty() {
                    tokio::time::sleep(BREATH).await;
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// Hands it as many as it has room for. False when the page is gone.
    fn hand_parcels(&self, parcels: &mut Parcels) -> bool {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else {
            return false;
        };
        let hub = &self.house.lobby.hub;
        hub.between_pushes(|still| self.hand_some(state, parcels, still))
    }

    fn hand_some(&self, state: &mut State, parcels: &mut Parcels, still: &Standstill<'_>) -> bool {
        let Some(at) = state.standing.read_up_to() else {
            return false;
        };
        let logged = still.parcels(&all_of(&parcels.uid));
        let (mut messages, mut bytes) = self.link.ledger.room();
        while let Some(held) = parcels.held.pop() {
            let place = logged.get(&held.id).copied();
            if !parcels.is_due(&held, place, at, still.floor()) {
                continue;
            }
            if messages == 0 || bytes == 0 {
                parcels.held.push(held);
                return true;
            }
            messages -= 1;
            bytes = bytes.saturating_sub(held.content.len());
            let push = unpacked(held, &parcels.uid);
            if self
                .house
                .egress
                .hand(&self.link, &push, &Packet::new(&push))
                .is_err()
            {
                self.house.egress.connections.cut(&self.link);
                return false;
            }
        }
        true
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
fn unpacked(held: Held, uid: &Uid) -> Push {
    let content = Content::from(Arc::<str>::from(held.content));
    let mut push = Push::new(Target::Users([uid.clone()].into()), content);
    push.parcel = Some(held.id);
    push
}
