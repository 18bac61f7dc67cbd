//! One connected page: its login, once, and its leaving.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use socketioxide::ParserError;
use socketioxide::extract::{AckSender, SocketRef, TryData};

use crate::auth::Auth;
use crate::chat::Chat;
use crate::gateway::event;
use crate::gateway::socketio::claim;
use crate::gateway::socketio::egress::{room, subscription_room};
use crate::gateway::socketio::presence::Announcer;
use crate::gateway::socketio::talk::{self, Heard, Refusal, Rest, Talk};
use crate::hub::{Hub, Session, Subscribed};
use crate::topic::{Subscription, TopicReader};

/// What all pages share.
#[derive(Debug)]
pub(crate) struct Lobby {
    pub(crate) hub: Arc<Hub>,
    pub(crate) auth: Arc<Auth>,
    /// `None` while nothing pushes to topics.
    pub(crate) topics: Option<Arc<TopicReader>>,
    /// `None` while pages cannot send.
    pub(crate) chat: Option<Arc<Chat>>,
}

/// A page, from its connect to its disconnect.
#[derive(Debug)]
pub(super) struct Page {
    lobby: Arc<Lobby>,
    announcer: Arc<Announcer>,
    /// `None` once the page is gone.
    state: Mutex<Option<State>>,
}

/// What a page has become so far.
#[derive(Debug, Default)]
struct State {
    /// Held for its `Drop`, which is the logout.
    session: Option<Session>,
    subscription: Option<(Subscription, Subscribed)>,
    /// Only pages that chat have one.
    talk: Option<Box<Talk>>,
}

impl Page {
    /// Takes a socket in. Call it before the page learns that it is connected: pages log in at
    /// once, and an event without a handler is lost without a word.
    pub(super) fn attach(socket: &SocketRef, lobby: Arc<Lobby>, announcer: Arc<Announcer>) {
        let page = Arc::new(Self {
            lobby,
            announcer,
            state: Mutex::new(Some(State::default())),
        });
        let (leaving, subscribing) = (Arc::clone(&page), Arc::clone(&page));
        let logging_in = Arc::clone(&page);
        // The login is done in the call, not in the future: futures of one socket's events are
        // spawned and overtake each other.
        socket.on(
            event::LOGIN,
            move |socket: SocketRef, claim: TryData<Value>| {
                logging_in.login(&socket, claim.0);
                std::future::ready(())
            },
        );
        if page.lobby.topics.is_some() {
            socket.on(
                event::SUBSCRIBE,
                move |socket: SocketRef, wanted: TryData<Value>| {
                    subscribing.subscribe(&socket, wanted.0);
                    std::future::ready(())
                },
            );
        }
        // While the chat is off, who sends is told so; a handler costs each page memory.
        let chat: &[_] = match page.lobby.chat {
            Some(_) => &[event::NEW_MSG, event::JOIN, event::LEAVE, event::HISTORY],
            None => &[event::NEW_MSG],
        };
        for name in chat.iter().copied() {
            let page = Arc::clone(&page);
            socket.on(
                name,
                move |socket: SocketRef, payload: TryData<Value>, ack: AckSender| {
                    let payload = payload.0.unwrap_or_default();
                    let rest = page.hear(Heard {
                        name,
                        payload,
                        ack,
                        socket: &socket,
                    });
                    async move {
                        if let Some(rest) = rest {
                            rest.await;
                        }
                    }
                },
            );
        }
        socket.on_disconnect(move || {
            leaving.leave();
            std::future::ready(())
        });
    }

    /// The first login of a page counts; later ones are ignored, as in the original.
    fn login(&self, socket: &SocketRef, claim: Result<Value, ParserError>) {
        let uid = match claim.map(|claim| claim::uid(claim, socket, &self.lobby.auth)) {
            Ok(Ok(uid)) => uid,
            Ok(Err(fault)) => {
                tracing::debug!(session = %socket.id, %fault, "login refused");
                return;
            }
            Err(_) => {
                tracing::debug!(session = %socket.id, "login without a uid refused");
                return;
            }
        };
        let mut state = self.lock();
        let Some(State { session, .. }) = &mut *state else {
            return;
        };
        if session.is_some() {
            tracing::debug!(session = %socket.id, "second login ignored");
            return;
        }
        // Join before counting, so that a push that is answered `ok` finds the page in its room;
        // all under the lock that `leave` takes, since a socket that joins after it has left
        // stays in the room for ever.
        if let Some(uid) = &uid {
            socket.join(room(uid));
        }
        *session = Some(self.lobby.hub.login(uid));
        self.announcer.greet(socket);
    }

    /// What the page wants to hear of; replaces what it wanted before. As on the topic websocket.
    fn subscribe(&self, socket: &SocketRef, wanted: Result<Value, ParserError>) {
        let Some(topics) = &self.lobby.topics else {
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
        if subscription.as_ref().map(|(known, _)| known) == wanted.as_ref() {
            return;
        }
        // The page is in the new room before it leaves the old one; one that is in both gets a
        // push to both once.
        let new = wanted.map(|wanted| {
            socket.join(subscription_room(&wanted));
            let subscribed = self.lobby.hub.subscribe(wanted.clone());
            (wanted, subscribed)
        });
        if let Some((old, _)) = std::mem::replace(subscription, new) {
            socket.leave(subscription_room(&old));
        }
    }

    /// An event of the chat. It is answered in any case.
    fn hear(&self, heard: Heard<'_>) -> Option<Rest> {
        let Some(chat) = &self.lobby.chat else {
            talk::refuse(heard.ack, &None, &Refusal::Off);
            return None;
        };
        let mut state = self.lock();
        let State { session, talk, .. } = state.as_mut()?;
        let Some(me) = session.as_ref().and_then(Session::uid) else {
            talk::refuse(heard.ack, &None, &Refusal::NotLoggedIn);
            return None;
        };
        talk.get_or_insert_default().hear(heard, me, chat)
    }

    fn leave(&self) {
        let left = self.lock().take();
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        // A panic under this lock would leave the page as it was, or one step further.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
