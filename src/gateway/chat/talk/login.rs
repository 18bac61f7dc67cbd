//! How a chat page comes to be somebody.

use std::sync::Arc;

use super::{Following, Me, Talk, Work};
use crate::auth::Admitted;
use crate::chat::answer::{Answer, Reference};
use crate::chat::{Missed, catch_up};
use crate::gateway::chat::ChatSocket;
use crate::gateway::entrance::{self, Refusal, Verdict};
use crate::gateway::websocket::{Asks, Close, Room};
use crate::group::Group;
use crate::record::{Addressee, RecordId};
use crate::uid::Uid;

/// Why an order is not carried out; told to the page.
#[derive(Debug)]
pub(in crate::gateway::chat) struct Fault {
    pub(in crate::gateway::chat) text: String,
    /// A word for it that stays the same, where there is one.
    pub(super) code: Option<&'static str>,
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self { text, code: None }
    }
}

impl Fault {
    /// The page is somebody already.
    fn second(uid: &Uid) -> Self {
        Self {
            text: format!("this page is logged in as {uid:?} already"),
            code: Some(Refusal::Second.code()),
        }
    }
}

/// By what a page is somebody.
pub(in crate::gateway::chat) enum Claim {
    /// A uid that need not be proven.
    Uid(String),
    /// A token.
    Token(String),
}

impl Talk {
    /// The page says who it is.
    pub(in crate::gateway::chat) fn enter(
        &mut self,
        claim: Claim,
        since: Option<RecordId>,
        reference: &Reference,
    ) -> Result<(), Fault> {
        if let (Some(me), true) = (&self.me, self.asks.entrance.auth.is_open()) {
            return Err(Fault::second(&me.uid));
        }
        let text = match claim {
            Claim::Uid(uid) if !self.asks.entrance.auth.is_open() => {
                let uid = Uid::parse(&uid).map_err(|e| Fault::from(e.to_string()))?;
                return self.is_judged(Ok(uid.into()), since, reference);
            }
            Claim::Uid(text) | Claim::Token(text) => text,
        };
        let Asks { entrance, visitor } = &self.asks;
        match entrance.ask(visitor, text.as_bytes(), None) {
            Verdict::Now(verdict) => self.is_judged(verdict, since, reference),
            Verdict::Later(verdict) => {
                self.work = Some(Work::Asking {
                    verdict,
                    since,
                    reference: reference.clone(),
                });
                Ok(())
            }
        }
    }

    pub(super) fn is_judged(
        &mut self,
        verdict: Result<Admitted, Refusal>,
        since: Option<RecordId>,
        reference: &Reference,
    ) -> Result<(), Fault> {
        let admitted = verdict.map_err(|refusal| self.is_refused(&refusal))?;
        let Some(me) = &mut self.me else {
            let pages = self.socket.chat.hub.sessions(&admitted.uid);
            let may = self.asks.entrance.limits.user_opens(pages);
            may.map_err(|over| self.is_refused(&over.into()))?;
            self.is_admitted(admitted, since, reference);
            return Ok(());
        };
        if !entrance::renews(&self.asks.entrance.auth, Some(&me.uid), &admitted) {
            return Err(Fault::second(&me.uid));
        }
        me.expires = entrance::deadline(admitted.expires);
        let login = Answer::Login {
            reference: reference.as_deref(),
            uid: me.uid.as_str(),
            last: me.handed,
        };
        self.outbox.text(&login.text());
        Ok(())
    }

    /// Refused once too often, the page has to go.
    fn is_refused(&self, refusal: &Refusal) -> Fault {
        let Asks { entrance, visitor } = &self.asks;
        let fault = Fault {
            text: refusal.to_string(),
            code: Some(refusal.code()),
        };
        if entrance.refused(visitor, refusal) {
            self.outbox.close(Close::refused(&fault.text));
        }
        fault
    }

    /// The page is somebody from now on.
    fn is_admitted(&mut self, admitted: Admitted, since: Option<RecordId>, reference: &Reference) {
        let expires = entrance::deadline(admitted.expires);
        let Admitted { uid, groups, .. } = admitted;
        let ChatSocket { chat, egress } = &self.socket;
        // What is delivered after this waits in the outbox, if it is not read from the store.
        let live_from = chat.recorder.begun();
        let rooms = [Room::User(uid.clone()), Room::Everyone];
        let rooms = rooms.map(|room| egress.enter(room, &self.outbox));
        let session = chat.hub.login(Some(uid.clone()));
        let until = chat.recorder.begun();
        let missed = chat.missed(&uid, since);
        let login = Answer::Login {
            reference: reference.as_deref(),
            uid: uid.as_str(),
            last: match missed {
                Missed::Nothing => Some(until),
                Missed::Since(since) => Some(since),
                Missed::Cursor => None,
            },
        };
        let login = login.text();
        let mut following = Following::Not;
        if missed == Missed::Nothing {
            self.outbox.text(&login);
            if chat.follows() {
                following = Following::UpToDate(chat.up_to_date.enter(uid.clone()));
            }
        } else {
            if chat.follows() {
                following = Following::CatchingUp(until);
            }
            let addressee = Addressee::User(uid.clone());
            self.work = Some(Work::CatchUp {
                step: catch_up(Arc::clone(chat), addressee, missed, until),
                greeting: Some(login),
                live_from,
                mine_until: Some(until),
            });
        }
        self.me = Some(Me {
            _session: session,
            _rooms: rooms,
            uid,
            following,
            handed: None,
            expires,
        });
        for group in groups {
            let enter = |group: &Group| egress.enter(Room::Group(group.clone()), &self.outbox);
            if let Err(fault) = self.groups.join(group, &chat.hub, enter) {
                tracing::debug!(%fault, "a group of the claim was not joined");
            }
        }
    }
}
