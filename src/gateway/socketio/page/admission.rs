//! How a page logs in: what it claims is judged, now or when somebody has been asked, and answered.

use std::convert::Infallible;
use std::sync::Arc;

use serde_json::Value;
use socketioxide::ParserError;
use socketioxide::adapter::Adapter;
use socketioxide::extract::{AckSender, SocketRef};
use socketioxide::handler::FromMessageParts;
use socketioxide::socket::Socket;

use crate::auth::Admitted;
use crate::gateway::entrance::{self, Refusal, Verdict};
use crate::gateway::event;
use crate::gateway::socketio::ascii::AsciiJson;
use crate::gateway::socketio::claim::{Login, Nobody};
use crate::gateway::socketio::egress::alone;
use crate::gateway::socketio::expiries::Expiring;
use crate::gateway::socketio::link::Fate;
use crate::gateway::socketio::page::Page;
use crate::gateway::socketio::page::answer::Answer;
use crate::gateway::socketio::page::turns::{Comes, Turn};
use crate::gateway::socketio::talk::Rest;

/// Whether a page wants its event to be answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct IsAsked(bool);

impl<A: Adapter> FromMessageParts<A> for IsAsked {
    type Error = Infallible;

    fn from_message_parts(
        _: &Arc<Socket<A>>,
        _: &mut socketioxide::handler::Value,
        ack: &Option<i64>,
    ) -> Result<Self, Infallible> {
        Ok(Self(ack.is_some()))
    }
}

/// How a page is told what became of its login.
pub(super) enum Tell {
    /// By the acknowledgement of its event, if it wants one.
    Ack(AckSender, IsAsked),
    /// By an event: it said who it is as it connected.
    Event,
}

impl Tell {
    pub(super) fn begun(self, socket: &SocketRef, answer: &AsciiJson) {
        match self {
            Self::Ack(ack, _) => send(ack, socket, answer),
            Self::Event => alone(socket, event::LOGIN, answer.raw()),
        }
    }

    /// Who asks for no answer gets an event, unless `is_quiet`: the original had none.
    pub(super) fn refused(self, socket: &SocketRef, answer: &AsciiJson, is_quiet: bool) {
        match self {
            Self::Ack(ack, IsAsked(true)) => send(ack, socket, answer),
            Self::Ack(..) if is_quiet => {}
            Self::Ack(..) | Self::Event => alone(socket, event::LOGIN_ERROR, answer.raw()),
        }
    }
}

fn send(ack: AckSender, socket: &SocketRef, answer: &AsciiJson) {
    if let Err(e) = ack.send(answer.raw()) {
        tracing::debug!(session = %socket.id, error = %e, "login not answered");
    }
}

impl Page {
    /// The event `login`. The first counts; a later one renews the claim of the same user where claims
    /// expire, and is ignored otherwise, as in the original.
    pub(super) fn logs_in_by_event(
        self: &Arc<Self>,
        socket: &SocketRef,
        sent: Result<Value, ParserError>,
        tell: Tell,
    ) -> Option<Rest> {
        // The original took a login without a word for one without a name.
        let Ok(sent) = sent else {
            tracing::debug!(session = %socket.id, "login without a uid refused");
            return None;
        };
        self.logs_in(socket, &sent, tell)
    }

    /// The page is connected. One that has said who it is is logged in by that, and told so by an
    /// event; where nothing is recovered, any page hears what is for everyone from now on.
    pub(in crate::gateway::socketio) fn is_connected(
        self: &Arc<Self>,
        socket: &SocketRef,
    ) -> Option<Rest> {
        let claim = self.lock().as_mut()?.claim.take();
        if let Some(claim) = claim {
            return self.logs_in(socket, &claim, Tell::Event);
        }
        self.may_hear_as_guest();
        None
    }

    fn logs_in(self: &Arc<Self>, socket: &SocketRef, sent: &Value, tell: Tell) -> Option<Rest> {
        let entrance = &self.house.lobby.entrance;
        let login = match Login::read(sent, socket, &entrance.auth) {
            Ok(login) => login,
            Err(nobody) => {
                self.is_nobody(socket, &nobody, tell);
                return None;
            }
        };
        // Where claims do not expire only the first login counts, whatever the others are.
        if entrance.auth.is_open() && self.is_somebody() {
            return self.is_admitted(socket, login, None, tell);
        }
        if login.is_guest {
            return self.is_admitted(socket, login, None, tell);
        }
        match Turn::comes(self)? {
            Comes::Now(turn) => self.is_asked_about(turn, socket, (login, sent), tell),
            Comes::Next(waiting) => {
                let (page, socket, sent) = (Arc::clone(self), socket.clone(), sent.clone());
                Some(Box::pin(async move {
                    let Some(turn) = waiting.comes().await else {
                        return;
                    };
                    if let Some(rest) = page.is_asked_about(turn, &socket, (login, &sent), tell) {
                        rest.await;
                    }
                }))
            }
            Comes::Never => {
                self.is_refused(socket, &Refusal::Pending, tell);
                None
            }
        }
    }

    fn is_asked_about(
        self: &Arc<Self>,
        mut turn: Turn,
        socket: &SocketRef,
        (login, sent): (Login, &Value),
        tell: Tell,
    ) -> Option<Rest> {
        let entrance = &self.house.lobby.entrance;
        let verdict = match entrance.ask(&self.visitor, login.credential.as_bytes(), Some(sent)) {
            Verdict::Now(verdict) => return self.is_judged(socket, login, verdict, tell),
            Verdict::Later(verdict) => verdict,
        };
        let (page, socket) = (Arc::clone(self), socket.clone());
        Some(Box::pin(async move {
            let Some(verdict) = turn.stays(verdict).await else {
                return;
            };
            let rest = page.is_judged(&socket, login, verdict, tell);
            drop(turn);
            if let Some(rest) = rest {
                rest.await;
            }
        }))
    }

    fn is_somebody(&self) -> bool {
        let state = self.lock();
        state.as_ref().is_some_and(|state| state.session.is_some())
    }

    fn is_judged(
        self: &Arc<Self>,
        socket: &SocketRef,
        login: Login,
        verdict: Result<Admitted, Refusal>,
        tell: Tell,
    ) -> Option<Rest> {
        let is_other = |uid: &str| login.named.as_deref().is_some_and(|named| named != uid);
        match verdict {
            Ok(admitted) if is_other(admitted.uid.as_str()) => {
                self.is_refused(socket, &Refusal::OtherUid, tell);
                None
            }
            Ok(admitted) => self.is_admitted(socket, login, Some(admitted), tell),
            Err(refusal) => {
                self.is_refused(socket, &refusal, tell);
                None
            }
        }
    }

    /// The page may be who it says; a guest is nobody.
    fn is_admitted(
        self: &Arc<Self>,
        socket: &SocketRef,
        login: Login,
        admitted: Option<Admitted>,
        tell: Tell,
    ) -> Option<Rest> {
        let expires = admitted
            .as_ref()
            .and_then(|admitted| entrance::deadline(admitted.expires));
        let guard = self.lock();
        let state = guard.as_ref()?;
        let Some(session) = &state.session else {
            drop(guard);
            return self.begins(socket, login, admitted, tell);
        };
        let (uid, auth) = (session.uid(), &self.house.lobby.entrance.auth);
        let renews = |admitted| entrance::renews(auth, uid, admitted);
        if admitted.as_ref().is_some_and(renews) {
            self.house.expiries.set(self.link.sid, expires, self);
            tell.begun(socket, &Answer::renewed(uid));
            return None;
        }
        tracing::debug!(session = %socket.id, "second login ignored");
        let answer = Answer::second(uid);
        let is_quiet = auth.is_open() || admitted.is_none();
        drop(guard);
        tell.refused(socket, &answer, is_quiet);
        None
    }

    fn is_nobody(self: &Arc<Self>, socket: &SocketRef, nobody: &Nobody, tell: Tell) {
        tracing::debug!(session = %socket.id, %nobody, "login refused");
        let answer = Answer::refused(nobody, "invalid_login");
        let is_quiet = self.house.lobby.entrance.auth.is_open();
        tell.refused(socket, &answer, is_quiet);
    }

    pub(super) fn is_refused(self: &Arc<Self>, socket: &SocketRef, refusal: &Refusal, tell: Tell) {
        let entrance = &self.house.lobby.entrance;
        tracing::debug!(session = %socket.id, %refusal, "login refused");
        let is_last = entrance.refused(&self.visitor, refusal);
        // The original neither answered such a login nor minded how many there were; it knew no limits.
        let is_quiet = entrance.auth.is_open() && !matches!(refusal, Refusal::Over(_));
        tell.refused(socket, &Answer::refused(refusal, refusal.code()), is_quiet);
        if is_last && !is_quiet {
            self.has_to_go(Fate::Refused);
        }
    }

    /// The session ends, and soon the connection. The page was told why.
    fn has_to_go(&self, fate: Fate) {
        if self.link.decide(fate) {
            self.house.expiries.leaves(&self.link);
        }
    }

    /// Whether the page is heard: not when it says more than its share, nor once it has to go.
    pub(super) fn may_speak(self: &Arc<Self>, socket: &SocketRef) -> bool {
        if self.link.fate() != Fate::Free {
            return false;
        }
        let may = self.visitor.spends();
        if !may {
            let over = self.house.lobby.entrance.limits.talks_too_much();
            alone(
                socket,
                event::LIMIT,
                Answer::refused(&over, over.code()).raw(),
            );
            self.has_to_go(Fate::Refused);
        }
        may
    }
}

impl Expiring for Page {
    fn expires(self: Arc<Self>) {
        let Some(socket) = self.house.egress.socket(&self.link) else {
            return;
        };
        let expired = entrance::expired();
        let answer = Answer::refused(&expired, expired.code());
        alone(&socket, event::LOGIN_ERROR, answer.raw());
        self.has_to_go(Fate::Expired);
    }
}
