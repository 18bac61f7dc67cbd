//! One connected page: its login, once, and its leaving.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use socketioxide::ParserError;
use socketioxide::extract::{SocketRef, TryData};

use crate::gateway::event;
use crate::gateway::socketio::claim;
use crate::gateway::socketio::egress::room;
use crate::gateway::socketio::presence::Announcer;
use crate::hub::{Hub, Session};

/// How often, and how many times, a page that logged in at once is looked at before it is greeted.
/// The first look nearly always is enough.
const CONNECT_CHECK: Duration = Duration::from_millis(1);
const CONNECT_CHECKS: u32 = 10_000;

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
                let logged_in = page.login(&socket, claim.0);
                let page = Arc::clone(&page);
                async move {
                    if logged_in {
                        page.greet(&socket).await;
                    }
                }
            },
        );
        socket.on_disconnect(move || {
            leaving.leave();
            std::future::ready(())
        });
    }

    /// The first login of a page counts; later ones are ignored, as in the original. Returns
    /// whether this one counted.
    fn login(&self, socket: &SocketRef, claim: Result<Value, ParserError>) -> bool {
        let uid = match claim.map(|claim| claim::uid(claim, socket)) {
            Ok(Ok(uid)) => uid,
            Ok(Err(fault)) => {
                tracing::debug!(session = %socket.id, %fault, "login refused");
                return false;
            }
            Err(_) => {
                tracing::debug!(session = %socket.id, "login without a uid refused");
                return false;
            }
        };
        let mut state = self.lock();
        let State::New = *state else {
            tracing::debug!(session = %socket.id, "second login ignored");
            return false;
        };
        // Join before counting, so that a push that is answered `ok` finds the page in its room;
        // both under the lock that `leave` takes, since a socket that joins after it has left
        // stays in the room for ever.
        if let Some(uid) = &uid {
            socket.join(room(uid));
        }
        *state = State::LoggedIn(self.lobby.hub.login(uid));
        true
    }

    /// Tells the page the count. socketioxide takes an emit to one socket only once it has noted
    /// that the socket is connected, which it does after it has told the page so: a page that
    /// logs in at once can be faster.
    async fn greet(&self, socket: &SocketRef) {
        for _ in 0..CONNECT_CHECKS {
            if socket.connected() {
                self.lobby.announcer.greet(socket);
                return;
            }
            if matches!(*self.lock(), State::Gone) {
                return;
            }
            tokio::time::sleep(CONNECT_CHECK).await;
        }
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
