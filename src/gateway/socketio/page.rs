//! One connected page: what it asks for, and its leaving. How it logs in is in [`admission`], how it
//! comes to hear messages in [`standing`].

mod admission;
mod answer;
mod standing;
mod turns;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use socketioxide::ParserError;
use socketioxide::extract::{AckSender, SocketRef, TryData};
use socketioxide::socket::DisconnectReason;

use crate::chat::Chat;
use crate::gateway::entrance::{Entrance, Visitor};
use crate::gateway::event;
use crate::gateway::ledger::{Bounds, End};
use crate::gateway::rooms::Room;
use crate::gateway::socketio::egress::{Place, SocketIoEgress};
use crate::gateway::socketio::expiries::Expiries;
use crate::gateway::socketio::link::{Fate, Link};
use crate::gateway::socketio::newcomers::Newcomers;
use crate::gateway::socketio::presence::Announcer;
use crate::gateway::socketio::talk::{self, Heard, Refusal, Rest, Talk};
use crate::gateway::socketio::wire::Wire;
use crate::group::Group;
use crate::hub::{Backlog, Hub, Session, Subscribed};
use crate::metrics::{self, Metrics, Reason};
use crate::push::PushId;
use crate::topic::{Subscription, TopicReader};
use admission::{IsAsked, Tell};
use standing::Standing;
use turns::Asking;

/// How long a page that has much to catch up with is left to read before it gets more.
const BREATH: Duration = Duration::from_millis(2);

/// What all pages share.
#[derive(Debug)]
pub(crate) struct Lobby {
    pub(crate) hub: Arc<Hub>,
    pub(crate) entrance: Arc<Entrance>,
    /// `None` while nothing pushes to topics.
    pub(crate) topics: Option<Arc<TopicReader>>,
    /// `None` while pages cannot send.
    pub(crate) chat: Option<Arc<Chat>>,
    /// `None` where there is no store.
    pub(crate) backlog: Option<Arc<Backlog>>,
    pub(crate) metrics: Metrics,
}

/// The same, with the gateway's own part of it.
#[derive(Debug)]
pub(super) struct House {
    pub(super) lobby: Lobby,
    pub(super) egress: SocketIoEgress,
    pub(super) announcer: Arc<Announcer>,
    pub(super) newcomers: Arc<Newcomers<Page>>,
    pub(super) expiries: Arc<Expiries<Page>>,
    pub(super) bounds: Bounds,
    pub(super) rewind: Duration,
}

/// A page, from its connect to its disconnect.
#[derive(Debug)]
pub(super) struct Page {
    house: Arc<House>,
    visitor: Arc<Visitor>,
    link: Arc<Link>,
    /// `None` once the page is gone.
    state: Mutex<Option<State>>,
}

/// What a page has become so far.
#[derive(Debug)]
struct State {
    /// What it said of itself when it connected, until it is logged in by it.
    claim: Option<Box<Value>>,
    session: Option<Session>,
    /// While a login is being judged.
    asking: Option<Box<Asking>>,
    /// Groups that its claim puts it into; those of a later claim may be others.
    granted: Vec<Group>,
    /// It had everything up to this one when it logged in.
    began: PushId,
    standing: Standing,
    /// Whether it is a page that came back; how many messages it got of what it had missed.
    recovers: bool,
    replayed: u64,
    subscription: Option<(Subscription, Subscribed, Place)>,
    /// Only pages that chat have one.
    talk: Option<Box<Talk>>,
}

impl Page {
    /// Takes a socket in. Call it before the page learns that it is connected: pages log in at
    /// once, and an event without a handler is lost without a word.
    pub(super) fn attach(socket: &SocketRef, auth: Option<Value>, house: &Arc<House>) {
        let extensions = &socket.req_parts().extensions;
        let Some(visitor) = extensions.get::<Arc<Visitor>>().map(Arc::clone) else {
            tracing::error!(session = %socket.id, "a session has come by no entrance");
            return;
        };
        let stay = Arc::clone(&visitor);
        let link = Arc::new(Link::new(socket.id, socket.protocol(), house.bounds, stay));
        // A session that began as a websocket; the others' are known by their ids.
        if let Some(wire) = socket.req_parts().extensions.get::<Arc<Wire>>() {
            link.goes_over(Arc::clone(wire));
        }
        house.egress.connections.attach(&link);
        let newest = house.lobby.hub.between_pushes(|still| still.newest());
        let is_open = house.lobby.entrance.auth.is_open();
        let claim = auth.filter(|auth| {
            let has = |name| auth.get(name).is_some_and(|value: &Value| !value.is_null());
            // Where nobody asks for a token, one is for somebody else.
            has("uid") || has("token") && !is_open
        });
        let page = Arc::new(Self {
            house: Arc::clone(house),
            visitor,
            link,
            state: Mutex::new(Some(State {
                claim: claim.map(Box::new),
                session: None,
                asking: None,
                granted: Vec::new(),
                began: newest,
                standing: Standing::new(newest),
                recovers: false,
                replayed: 0,
                subscription: None,
                talk: None,
            })),
        });
        house.newcomers.add(socket.id, Arc::clone(&page));
        house.lobby.metrics.opened(metrics::Gateway::SocketIo);
        page.listen(socket);
    }

    fn listen(self: &Arc<Self>, socket: &SocketRef) {
        let page = Arc::clone(self);
        // The login is done in the call, not in the future: futures of one socket's events are
        // spawned and overtake each other.
        socket.on(
            event::LOGIN,
            move |socket: SocketRef, claim: TryData<Value>, is_asked: IsAsked, ack: AckSender| {
                let tell = Tell::Ack(ack, is_asked);
                let may = page.may_speak(&socket);
                let rest = may.then(|| page.logs_in_by_event(&socket, claim.0, tell));
                finish(rest.flatten())
            },
        );
        let lobby = &self.house.lobby;
        if lobby.topics.is_some() {
            let page = Arc::clone(self);
            socket.on(
                event::SUBSCRIBE,
                move |socket: SocketRef, wanted: TryData<Value>| {
                    if page.may_speak(&socket) {
                        page.subscribe(&socket, wanted.0);
                    }
                    std::future::ready(())
                },
            );
        }
        // While the chat is off, who sends is told so; a handler costs each page memory.
        let chat: &[_] = match lobby.chat {
            Some(_) => &[event::NEW_MSG, event::JOIN, event::LEAVE, event::HISTORY],
            None => &[event::NEW_MSG],
        };
        for name in chat.iter().copied() {
            let page = Arc::clone(self);
            socket.on(
                name,
                move |socket: SocketRef, payload: TryData<Value>, ack: AckSender| {
                    let payload = payload.0.unwrap_or_default();
                    let may = page.may_speak(&socket);
                    let rest = may.then(|| page.hear(name, payload, ack, &socket));
                    finish(rest.flatten())
                },
            );
        }
        let page = Arc::clone(self);
        // An event that nobody minds has been read all the same.
        socket.on_fallback(move |socket: SocketRef| {
            page.may_speak(&socket);
            std::future::ready(())
        });
        let page = Arc::clone(self);
        // In the future and not in the call: a page that is cut as a push is delivered must not wait
        // here for that very push.
        socket.on_disconnect(move |reason: DisconnectReason| async move {
            let (end, reason) = end(reason);
            page.is_gone(end, reason);
        });
    }

    /// What the page wants to hear of; replaces what it wanted before. As on the topic websocket.
    fn subscribe(&self, socket: &SocketRef, wanted: Result<Value, ParserError>) {
        let Some(topics) = &self.house.lobby.topics else {
            return;
        };
        let wanted = wanted.map_err(|_| None).and_then(|wanted| {
            let json = wanted.to_string();
            topics.subscription(json.as_bytes()).map_err(Some)
        });
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(fault) => {
                tracing::debug!(session = %socket.id, ?fault, "subscription ignored");
                return;
            }
        };
        let mut state = self.lock();
        let Some(State { subscription, .. }) = &mut *state else {
            return;
        };
        let known = subscription.as_ref().map(|(known, ..)| known);
        if known == wanted.as_ref() {
            return;
        }
        let hub = &self.house.lobby.hub;
        hub.between_pushes(|_| {
            let new = wanted.map(|wanted| {
                let room = Room::Subscription(wanted.clone());
                let place = self.house.egress.enter(socket, room, &self.link);
                (wanted.clone(), hub.subscribe(wanted), place)
            });
            if let Some((_, _, place)) = std::mem::replace(subscription, new) {
                place.leave(socket);
            }
        });
    }

    /// An event of the chat. It is answered in any case.
    fn hear(
        &self,
        name: &'static str,
        payload: Value,
        ack: AckSender,
        socket: &SocketRef,
    ) -> Option<Rest> {
        let Some(chat) = &self.house.lobby.chat else {
            talk::refuse(ack, &None, &Refusal::Off);
            return None;
        };
        let mut state = self.lock();
        let State {
            session,
            talk,
            standing,
            ..
        } = state.as_mut()?;
        let Some(me) = session.as_ref().and_then(Session::uid) else {
            talk::refuse(ack, &None, &Refusal::NotLoggedIn);
            return None;
        };
        let heard = Heard {
            name,
            payload,
            ack,
            socket,
            egress: &self.house.egress,
            link: &self.link,
        };
        let talk = talk.get_or_insert_default();
        let rest = talk.hear(heard, me, chat);
        standing.keeps_to(talk);
        rest
    }

    /// The page is gone. What it has for certain is where its user's next page begins.
    fn is_gone(&self, end: End, reason: Reason) {
        let left = self.lock().take();
        self.house.newcomers.remove(self.link.sid);
        self.house.expiries.remove(self.link.sid);
        if let Some(state) = left {
            self.ends(state, end, reason);
        }
        // Last, since a server that stops waits for it, and then saves where the pages were.
        self.house.egress.connections.detach(&self.link);
    }

    fn ends(&self, state: State, end: End, reason: Reason) {
        let (end, reason) = match self.link.fate() {
            Fate::Free => (end, reason),
            // It has everything that came before the goodbye.
            Fate::SentAway => (End::Stopped, Reason::Stopped),
            Fate::Slow => (End::Broken, Reason::Slow),
            Fate::Refused => (end, Reason::Refused),
            Fate::Expired => (end, Reason::Expired),
        };
        self.house
            .lobby
            .metrics
            .closed(metrics::Gateway::SocketIo, reason);
        let rewind = self.house.rewind;
        self.house.lobby.hub.between_pushes(|still| {
            let State {
                session,
                began,
                standing,
                talk,
                granted,
                ..
            } = state;
            if let Some(session) = session {
                let handed = standing.handed(still.newest());
                let arrived = self.link.arrived();
                let reached = self.link.ledger.reached(end, arrived, rewind, handed);
                // Who has gone does not want to be in them when it comes again.
                let stays = end != End::Left;
                let groups = talk.filter(|_| stays).map(|talk| talk.groups());
                let mut groups = groups.unwrap_or_default();
                groups.retain(|group| !granted.contains(group));
                still.end(session, reached.max(began), groups);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        // A panic under this lock would leave the page as it was, or one step further.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn finish(rest: Option<Rest>) {
    if let Some(rest) = rest {
        rest.await;
    }
}

fn end(reason: DisconnectReason) -> (End, Reason) {
    match reason {
        DisconnectReason::TransportClose | DisconnectReason::ClientNSDisconnect => {
            (End::Left, Reason::Left)
        }
        DisconnectReason::ServerNSDisconnect | DisconnectReason::ClosingServer => {
            (End::Stopped, Reason::Stopped)
        }
        DisconnectReason::HeartbeatTimeout => (End::Silent, Reason::Silent),
        DisconnectReason::PacketParsingError => (End::Broken, Reason::Refused),
        DisconnectReason::TransportError | DisconnectReason::MultipleHttpPollingError => {
            (End::Broken, Reason::Broken)
        }
    }
}
