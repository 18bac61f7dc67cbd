//! One chat page: who it is, what it has joined, what it waits for.

mod login;
mod orders;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;

use crate::auth::Admitted;
use crate::chat::answer::{self, Reference};
use crate::chat::request::{InvalidRequest, Order, Request};
use crate::chat::{InFlight, JoinedGroups, SendError, Step, Stepped, UpToDatePage, Watching};
use crate::gateway::chat::ChatSocket;
use crate::gateway::entrance::Refusal;
use crate::gateway::websocket::{Asks, Member, Outbox, Progress, Waiting, text_frame};
use crate::hub::Session;
use crate::record::RecordId;
use crate::store::StoreError;
use crate::uid::Uid;
pub(in crate::gateway::chat) use login::Claim;
use login::Fault;
/// See the module's text.
pub(crate) struct Talk {
    socket: ChatSocket,
    asks: Asks,
    outbox: Arc<Outbox>,
    /// Dropped before the member, so that nobody counts a page that cannot be found.
    me: Option<Me>,
    groups: JoinedGroups<Member>,
    watches: HashMap<Uid, Watching>,
    in_flight: Arc<InFlight>,
    work: Option<Work>,
    /// Records that a catch-up brought and that may wait in the outbox, too.
    caught: HashSet<RecordId>,
}

/// Dropped in this order: first nobody counts the page, then nobody finds it.
struct Me {
    _session: Session,
    _rooms: [Member; 2],
    uid: Uid,
    following: Following,
    /// The newest record of which all for the user has been handed to the kernel.
    handed: Option<RecordId>,
    /// When its claim is good no longer.
    expires: Option<Instant>,
}

/// Whether what a page is handed tells what its user has been handed.
enum Following {
    /// It does not: the strategy does not ask for it, or something is missing.
    Not,
    /// It does, and the page has something to catch up with, up to this record.
    CatchingUp(RecordId),
    /// It does, and other pages of the user need not catch up.
    UpToDate(#[expect(dead_code, reason = "a guard: it is only ever dropped")] UpToDatePage),
}

/// What a page waits for before its next message is taken.
enum Work {
    Answer(std::pin::Pin<Box<dyn Future<Output = String> + Send>>),
    /// Whether it may be who it says is being asked.
    Asking {
        verdict: BoxFuture<'static, Result<Admitted, Refusal>>,
        since: Option<RecordId>,
        reference: Reference,
    },
    CatchUp {
        step: Step,
        /// What the page is told before.
        greeting: Option<String>,
        /// Earlier records cannot wait in the outbox.
        live_from: RecordId,
        /// For the user's own: up to which record.
        mine_until: Option<RecordId>,
    },
}

impl Talk {
    pub(super) fn new(socket: ChatSocket, outbox: Arc<Outbox>, asks: Asks) -> Self {
        Self {
            socket,
            asks,
            outbox,
            me: None,
            groups: JoinedGroups::default(),
            watches: HashMap::new(),
            in_flight: Arc::default(),
            work: None,
            caught: HashSet::new(),
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
        self.socket.chat.note_refused();
        let fault = InvalidRequest::TooLong(length, self.max_message());
        self.refuse(&None, &fault);
    }

    /// A message has arrived.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        let Ok(text) = std::str::from_utf8(bytes) else {
            self.socket.chat.note_refused();
            self.refuse(&None, &InvalidRequest::NotUtf8);
            return;
        };
        let Request { order, reference } = match Request::read(text, self.socket.chat.limits()) {
            Ok(request) => request,
            Err((fault, reference)) => {
                self.socket.chat.note_refused();
                self.refuse(&reference, &fault);
                return;
            }
        };
        let carried_out = match order {
            Order::Login { uid, token, since } => {
                match (self.asks.entrance.auth.is_open(), uid, token) {
                    (true, Some(uid), _) => self.enter(Claim::Uid(uid), since, &reference),
                    (true, None, _) => Err(Fault::from("uid is missing".to_owned())),
                    (false, _, Some(token)) => self.enter(Claim::Token(token), since, &reference),
                    // Who is asked looks at more than that.
                    (false, _, None) if self.asks.entrance.auth.judges_more() => {
                        self.enter(Claim::Token(String::new()), since, &reference)
                    }
                    (false, _, None) => Err(Fault::from("token is missing".to_owned())),
                }
            }
            order => {
                let sends = matches!(order, Order::Send(_));
                let carried_out = self.carry_out(order, text, &reference);
                if sends && carried_out.is_err() {
                    self.socket.chat.note_refused();
                }
                carried_out.map_err(Fault::from)
            }
        };
        if let Err(fault) = carried_out {
            self.tell(&reference, &fault);
        }
    }

    fn tell(&self, reference: &Reference, fault: &Fault) {
        tracing::debug!(uid = ?self.me.as_ref().map(|me| &me.uid), fault = fault.text, "chat message refused");
        self.outbox
            .text(&answer::refused(reference, &fault.text, fault.code));
    }

    fn refuse(&self, reference: &Reference, fault: &impl std::fmt::Display) {
        tracing::debug!(uid = ?self.me.as_ref().map(|me| &me.uid), %fault, "chat message refused");
        self.outbox.text(&answer::error(reference, fault));
    }

    /// When the page's claim is good no longer.
    pub(super) fn expires(&self) -> Option<Instant> {
        self.me.as_ref()?.expires
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
                Progress(vec![text_frame(&text, None)])
            }
            Some(Work::Asking { verdict, .. }) => {
                let verdict = verdict.await;
                if let Some(Work::Asking {
                    since, reference, ..
                }) = self.work.take()
                    && let Err(fault) = self.is_judged(verdict, since, &reference)
                {
                    self.tell(&reference, &fault);
                }
                Progress::default()
            }
            Some(Work::CatchUp { step, .. }) => {
                let stepped = step.await;
                Progress(self.caught_up(stepped))
            }
        }
    }

    fn caught_up(&mut self, stepped: Result<Stepped, StoreError>) -> Vec<Waiting> {
        let Some(Work::CatchUp {
            greeting,
            live_from,
            mine_until,
            ..
        }) = self.work.take()
        else {
            return Vec::new();
        };
        let mut frames: Vec<_> = greeting.iter().map(|text| text_frame(text, None)).collect();
        let Stepped { messages, next } = match stepped {
            Ok(stepped) => stepped,
            Err(e) => {
                tracing::debug!(error = &e as &dyn std::error::Error, "nothing caught up");
                if let (Some(me), true) = (&mut self.me, mine_until.is_some()) {
                    // What follows live is not all that there is.
                    me.following = Following::Not;
                }
                let fault = answer::error(&None, &SendError::Unread);
                frames.push(text_frame(&fault, None));
                return frames;
            }
        };
        for (id, text) in messages {
            if id >= live_from {
                self.caught.insert(id);
            }
            // Of a group's records nothing follows for the user's own.
            frames.push(text_frame(&text, mine_until.map(|_| id)));
        }
        if let Some(step) = next {
            self.work = Some(Work::CatchUp {
                step,
                greeting: None,
                live_from,
                mine_until,
            });
        } else if let Some(until) = mine_until {
            match frames.last_mut() {
                Some(last) => last.record = Some(until),
                // The piece before has been written, and was the last.
                None => self.wrote(until),
            }
        }
        frames
    }

    /// The kernel has a frame of this record, and all before it.
    pub(super) fn wrote(&mut self, record: RecordId) {
        let chat = &self.socket.chat;
        let Some(me) = &mut self.me else { return };
        match me.following {
            Following::Not => return,
            Following::CatchingUp(until) if record >= until => {
                let page = chat.up_to_date.enter(me.uid.clone());
                me.following = Following::UpToDate(page);
                chat.recorder.move_cursor(me.uid.clone(), record);
            }
            Following::CatchingUp(_) | Following::UpToDate(_) => {}
        }
        me.handed = Some(record);
    }
}

impl Drop for Talk {
    /// Notes how far the user has been handed what was for them.
    fn drop(&mut self) {
        if let Some(Me {
            uid,
            handed: Some(handed),
            ..
        }) = &self.me
        {
            self.socket.chat.recorder.move_cursor(uid.clone(), *handed);
        }
    }
}
