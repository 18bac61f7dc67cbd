//! How a page of the uid websocket comes to hear: through what waits on disk for its user, and what
//! the user has missed, to what is live.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::Admitted;
use crate::gateway::ledger::{Bounds, End, Ledger};
use crate::gateway::parcels::Parcels;
use crate::gateway::rooms::Room;
use crate::gateway::uid_socket::UidSocket;
use crate::gateway::websocket::{Member, Outbox, text_message};
use crate::group::Group;
use crate::hub::{Handed, Joined, Read, Reading, Recovered, Session, Standstill};
use crate::metrics::Reason;
use crate::push::{Push, PushId};
use crate::uid::Uid;

/// How long a page that has much to catch up with is left to read before it gets more.
const BREATH: Duration = Duration::from_millis(2);

/// How much may wait is the outbox's business.
const UNBOUNDED: Bounds = Bounds {
    messages: usize::MAX,
    bytes: usize::MAX,
};

/// A page that has said who it is.
#[derive(Debug)]
pub(super) struct Presence {
    session: Session,
    ledger: Arc<Ledger>,
    /// It had everything up to this one when it came.
    began: PushId,
    recovers: bool,
    replayed: u64,
    standing: Standing,
    /// By which it is found until it is live.
    found: Option<Box<Member>>,
    /// Those that its claim puts it into.
    groups: Vec<(Group, Joined)>,
}

#[derive(Debug)]
enum Standing {
    /// It gets what waits on disk, and will then read on.
    Unpacking(Box<(Parcels, Reading)>),
    /// It gets what it has missed.
    Reading(Box<Reading>),
    /// It is found by pushes.
    Live { _rooms: Vec<Member> },
}

impl Presence {
    /// Counts the session, and hands the page what it can be handed at once.
    pub(super) fn begin(dialect: &UidSocket, outbox: &Arc<Outbox>, admitted: Admitted) -> Self {
        let Admitted { uid, groups, .. } = admitted;
        let ledger = Arc::new(Ledger::new(UNBOUNDED));
        outbox.keeps(Arc::clone(&ledger));
        let backlog = dialect.backlog.as_ref();
        dialect.hub.between_pushes(|still| {
            let beginning = still.begin(&uid, None, &groups);
            let parcels = Parcels::of(backlog, (&uid, None), beginning.recovered, &ledger, still);
            if beginning.recovered == Recovered::Partly {
                dialect.metrics.not_recovered();
            }
            let reading = Reading {
                uid: Some(uid.clone()),
                groups: groups.clone(),
                at: beginning.after,
                heard: None,
            };
            let mut presence = Self {
                found: Some(Box::new(dialect.egress.expect(uid.clone(), outbox))),
                session: dialect.hub.login(Some(uid)),
                ledger,
                began: beginning.after,
                recovers: beginning.recovered == Recovered::Whole,
                replayed: 0,
                groups: groups
                    .into_iter()
                    .map(|group| (group.clone(), dialect.hub.join(group)))
                    .collect(),
                standing: match parcels {
                    Some(parcels) => Standing::Unpacking(Box::new((parcels, reading))),
                    None => Standing::Reading(Box::new(reading)),
                },
            };
            presence.read(dialect, outbox, still);
            presence
        })
    }

    /// Who the page is.
    pub(super) fn uid(&self) -> Option<&Uid> {
        self.session.uid()
    }

    /// Goes on until something has changed. May be dropped and called again at any time.
    pub(super) async fn progress(&mut self, dialect: &UidSocket, outbox: &Arc<Outbox>) {
        if outbox.is_ending() {
            return std::future::pending().await;
        }
        match &mut self.standing {
            Standing::Unpacking(unpacking) => {
                let (parcels, reading) = &mut **unpacking;
                if !parcels.fetch().await {
                    self.standing = Standing::Reading(Box::new(reading.clone()));
                } else {
                    let hub = &dialect.hub;
                    let given = hub.between_pushes(|still| {
                        parcels.give(reading, still, |push| hand(outbox, push))
                    });
                    if given == Read::More {
                        tokio::time::sleep(BREATH).await;
                    }
                    return;
                }
            }
            Standing::Reading(_) => tokio::time::sleep(BREATH).await,
            Standing::Live { .. } => std::future::pending().await,
        }
        let hub = &dialect.hub;
        hub.between_pushes(|still| self.read(dialect, outbox, still));
    }

    /// Hands the page some of what it has missed; with the last of it, lets it hear what is live.
    fn read(&mut self, dialect: &UidSocket, outbox: &Arc<Outbox>, still: &Standstill<'_>) {
        let Standing::Reading(reading) = &mut self.standing else {
            return;
        };
        let read = still.read(reading, |push| {
            let handed = hand(outbox, push);
            self.replayed += u64::from(handed == Handed::Taken);
            handed
        });
        match (read, &reading.uid) {
            (Read::All, Some(uid)) => {
                if self.recovers {
                    dialect.metrics.recovered(self.replayed);
                }
                let groups = self
                    .groups
                    .iter()
                    .map(|(group, _)| Room::Group(group.clone()));
                let rooms = [Room::User(uid.clone()), Room::Everyone].into_iter();
                let enter = |room| dialect.egress.enter(room, outbox);
                let _rooms = rooms.chain(groups).map(enter).collect();
                self.standing = Standing::Live { _rooms };
                self.found = None;
            }
            // Who is sent away gets no more.
            (Read::Lost, _) if outbox.is_ending() => {}
            (Read::Lost, _) => outbox.overrun(PushId(reading.at.0 + 1)),
            (Read::All | Read::More, _) => {}
        }
    }

    /// The page is gone. What it has for certain is where its user's next page begins.
    pub(super) fn end(self, dialect: &UidSocket, reason: Reason, arrived: Option<u64>) {
        let end = match reason {
            Reason::Left => End::Left,
            Reason::Stopped => End::Stopped,
            Reason::Silent => End::Silent,
            Reason::Broken | Reason::Slow | Reason::Refused => End::Broken,
            Reason::Expired => End::Stopped,
        };
        dialect.hub.between_pushes(|still| {
            let handed = match &self.standing {
                Standing::Unpacking(unpacking) => unpacking.1.at,
                Standing::Reading(reading) => reading.at,
                Standing::Live { .. } => still.newest(),
            };
            let reached = self.ledger.reached(end, arrived, dialect.rewind, handed);
            still.end(self.session, reached.max(self.began), Vec::new());
            drop(self.standing);
        });
    }
}

fn hand(outbox: &Outbox, push: &Push) -> Handed {
    let frame = text_message(push);
    if !outbox.has_room(frame.len()) {
        Handed::Later
    } else if outbox.push(frame, push).is_taken {
        Handed::Taken
    } else {
        Handed::Never
    }
}
