//! One chat page: who it is, what it has joined, what it waits for.

mod orders;

use std::collections::HashMap;
use std::sync::Arc;

use crate::chat::answer::{self, Answer, Reference};
use crate::chat::request::{InvalidRequest, Order, Request};
use crate::chat::{InFlight, JoinedGroups, Missed, SendError, Step, Stepped, Watching, catch_up};
use crate::config::Strategy;
use crate::gateway::chat::ChatSocket;
use crate::gateway::websocket::{Member, Outbox, Progress, Room, text_frame};
use crate::hub::Session;
use crate::record::{Addressee, RecordId};
use crate::store::StoreError;
use crate::uid::Uid;
use bytes::Bytes;

/// See the module's text.
pub(crate) struct Talk {
    socket: ChatSocket,
    outbox: Arc<Outbox>,
    /// Dropped before the member, so that nobody counts a page that cannot be found.
    me: Option<Me>,
    groups: JoinedGroups<Member>,
    watches: HashMap<Uid, Watching>,
    in_flight: Arc<InFlight>,
    work: Option<Work>,
    /// Records that a catch-up brought and that may wait in the outbox, too.
    caught: Vec<RecordId>,
}

struct Me {
    session: Session,
    _rooms: [Member; 2],
    uid: Uid,
    /// Whether the user has been handed all that was missed.
    is_up_to_date: bool,
}

/// By what a page is somebody.
pub(super) enum Claim {
    /// A uid that need not be proven.
    Uid(String),
    /// A token.
    Token(String),
}

/// What a page waits for before its next message is taken.
enum Work {
    Answer(std::pin::Pin<Box<dyn Future<Output = String> + Send>>),
    CatchUp {
        step: Step,
        /// What the page is told before.
        greeting: Option<String>,
        /// Earlier records cannot wait in the outbox.
        live_from: RecordId,
        /// Whether it is the user's own.
        is_mine: bool,
    },
}

impl Talk {
    pub(super) fn new(socket: ChatSocket, outbox: Arc<Outbox>) -> Self {
        Self {
            socket,
            outbox,
            me: None,
            groups: JoinedGroups::default(),
            watches: HashMap::new(),
            in_flight: Arc::default(),
            work: None,
            caught: Vec::new(),
        }
    }

    pub(super) fn max_message(&self) -> usize {
        self.socket.chat.config.max_message_bytes()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.work.is_none() && self.in_flight.has_room()
    }

    pub(super) fn is_catching_up(&self) -> bool {
        matches!(self.work, Some(Work::CatchUp { .. }))
    }

    pub(super) fn has_caught(&self, record: RecordId) -> bool {
        self.caught.contains(&record)
    }

    pub(super) fn refuse_length(&self, length: u64) {
        let fault = InvalidRequest::TooLong(length, self.max_message());
        self.refuse(&None, &fault);
    }

    /// A message has arrived.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        let Ok(text) = std::str::from_utf8(bytes) else {
            self.refuse(&None, &InvalidRequest::NotUtf8);
            return;
        };
        let Request { order, reference } = match Request::read(text, self.socket.chat.limits()) {
            Ok(request) => request,
            Err((fault, reference)) => {
                self.refuse(&reference, &fault);
                return;
            }
        };
        let carried_out = match order {
            Order::Login { uid, token, since } => match (self.socket.auth.is_open(), uid, token) {
                (true, Some(uid), _) => self.enter(Claim::Uid(uid), since, &reference),
                (true, None, _) => Err("uid is missing".to_owned()),
                (false, _, Some(token)) => self.enter(Claim::Token(token), since, &reference),
                (false, _, None) => Err("token is missing".to_owned()),
            },
            order => self.carry_out(order, text, &reference),
        };
        if let Err(fault) = carried_out {
            self.refuse(&reference, &fault);
        }
    }

    /// The page is somebody from now on.
    pub(super) fn enter(
        &mut self,
        claim: Claim,
        since: Option<RecordId>,
        reference: &Reference,
    ) -> Result<(), String> {
        if let Some(me) = &self.me {
            return Err(format!("this page is logged in as {:?} already", me.uid));
        }
        let ChatSocket { chat, auth, egress } = &self.socket;
        let uid = match claim {
            Claim::Uid(uid) => Uid::parse(&uid).map_err(|e| e.to_string())?,
            Claim::Token(token) => auth.uid(token.as_bytes()).map_err(|e| e.to_string())?,
        };
        // What is delivered after this waits in the outbox, if it is not read from the store.
        let live_from = chat.recorder.begun();
        let rooms = [Room::User(uid.clone()), Room::Everyone];
        let rooms = rooms.map(|room| egress.enter(room, &self.outbox));
        let session = chat.hub.login(Some(uid.clone()));
        let until = chat.recorder.begun();
        let missed = chat.missed_since(since, session.is_first());
        let login = Answer::Login {
            reference: reference.as_deref(),
            uid: uid.as_str(),
            last: until,
        };
        let login = login.text();
        if missed == Missed::Nothing {
            self.outbox.text(&login);
        } else {
            let addressee = Addressee::User(uid.clone());
            self.work = Some(Work::CatchUp {
                step: catch_up(Arc::clone(chat), addressee, missed, until),
                greeting: Some(login),
                live_from,
                is_mine: true,
            });
        }
        self.me = Some(Me {
            session,
            _rooms: rooms,
            uid,
            is_up_to_date: missed == Missed::Nothing,
        });
        Ok(())
    }

    fn refuse(&self, reference: &Reference, fault: &impl std::fmt::Display) {
        tracing::debug!(uid = ?self.me.as_ref().map(|me| &me.uid), %fault, "chat message refused");
        self.outbox.text(&answer::error(reference, fault));
    }

    /// Goes on with what was begun; see [`Protocol::progress`](super::Protocol::progress).
    pub(super) async fn progress(&mut self) -> Progress {
        match &mut self.work {
            None => {
                if self.is_ready() {
                    return std::future::pending().await;
                }
                self.in_flight.landed().await;
                Progress::default()
            }
            Some(Work::Answer(answer)) => {
                let text = answer.await;
                self.work = None;
                Progress(vec![text_frame(&text)])
            }
            Some(Work::CatchUp { step, .. }) => {
                let stepped = step.await;
                Progress(self.caught_up(stepped))
            }
        }
    }

    fn caught_up(&mut self, stepped: Result<Stepped, StoreError>) -> Vec<Bytes> {
        let Some(Work::CatchUp {
            greeting,
            live_from,
            is_mine,
            ..
        }) = self.work.take()
        else {
            return Vec::new();
        };
        let mut frames: Vec<Bytes> = greeting.iter().map(|text| text_frame(text)).collect();
        match stepped {
            Ok(Stepped {
                messages,
                ids,
                next,
            }) => {
                self.caught
                    .extend(ids.into_iter().filter(|id| *id >= live_from));
                frames.extend(messages.iter().map(|text| text_frame(text)));
                match (next, &mut self.me) {
                    (Some(step), _) => {
                        self.work = Some(Work::CatchUp {
                            step,
                            greeting: None,
                            live_from,
                            is_mine,
                        });
                    }
                    (None, Some(me)) if is_mine => me.is_up_to_date = true,
                    (None, _) => {}
                }
            }
            Err(e) => {
                tracing::debug!(error = &e as &dyn std::error::Error, "nothing caught up");
                let fault = answer::error(&None, &SendError::Unread);
                frames.push(text_frame(&fault));
            }
        }
        frames
    }
}

impl Drop for Talk {
    /// A user whose last page leaves has been handed all that was delivered until now.
    fn drop(&mut self) {
        let chat = &self.socket.chat;
        if chat.config.strategy != Strategy::LiveAndOffline {
            return;
        }
        // Asked before the page leaves its room; what is being delivered at this moment may come
        // again at the next login.
        let handed = RecordId(chat.recorder.begun().0.saturating_sub(1));
        if let Some(me) = self.me.take()
            && me.is_up_to_date
            && me.session.end()
        {
            chat.recorder.move_cursor(me.uid, handed);
        }
    }
}
