//! One connected page: its login, once, and its leaving.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use socketioxide::ParserError;
use socketioxide::extract::{SocketRef, TryData};

use crate::gateway::event;
use crate::gateway::socketio::claim;
use crate::gateway::socketio::egress::room;
use crate::gateway::socketio::presence::Announcer;
use crate::hub::{Hub, Session};

/// What all pages share.
#[derive(Debug)]
pub(super) struct Lobby {
    pub(super) hub: Arc<Hub>,
    pub(super) announcer: Arc<Announcer>,
}

/// A page, from its connect to its disconnect.
#[derive(Debug)]
pub(super) struct Page {
    lobby: Arc<Lobby>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    New,
    /// Held for its `Drop`, which is the logout.
    LoggedIn(#[expect(dead_code, reason = "a guard: it is only ever dropped")] Session),
    Gone,
}

impl Page {
    /// Takes a socket in. Call it before the page learns that it is connected: pages log in at
    /// once, and an event without a handler is lost without a word.
    pub(super) fn attach(socket: &SocketRef, lobby: Arc<Lobby>) {
        let page = Arc::new(Self {
            lobby,
            state: Mutex::new(State::New),
        });
        let leaving = Arc::clone(&page);
        // The login is done in the call, not in the future: futures of one socket's events are
        // spawned and overtake each other.
        socket.on(
            event::LOGIN,
            move |socket: SocketRef, claim: TryData<Value>| {
                page.login(&socket, claim.0);
                std::future::ready(())
            },
        );
        socket.on_disconnect(move || {
            leaving.leave();
            std::future::ready(())
        });
    }

    /// The first login of a page counts; later ones are ignored, as in the original.
    fn login(&self, socket: &SocketRef, claim: Result<Value, ParserError>) {
        let uid = match claim.map(|claim| claim::uid(claim, socket)) {
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
        let State::New = *state else {
            tracing::debug!(session = %socket.id, "second login ignored");
            return;
        };
        // Join before counting, so that a push that is answered `ok` finds the page in its room;
        // all under the lock that `leave` takes, since a socket that joins after it has left
        // stays in the room for ever.
        if let Some(uid) = &uid {
            socket.join(room(uid));
        }
        *state = State::LoggedIn(self.lobby.hub.login(uid));
        self.lobby.announcer.greet(socket);
    }

    fn leave(&self) {
        let left = std::mem::replace(&mut *self.lock(), State::Gone);
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock would leave `New` or `LoggedIn`, both of which are sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
