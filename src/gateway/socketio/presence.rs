//! The event `update_online_count`: told to everyone when the count has changed, at most once an
//! interval, and to each page at its login.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socketioxide::extract::SocketRef;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::gateway::event;
use crate::gateway::socketio::ascii::AsciiJson;
use crate::gateway::socketio::egress::{SocketIoEgress, alone};
use crate::hub::{Hub, Presence};

/// Keeps the count that pages were told last.
#[derive(Debug)]
pub(super) struct Announcer {
    config: config::Presence,
    announced: Mutex<Announced>,
}

#[derive(Debug)]
struct Announced {
    presence: Presence,
    text: AsciiJson,
}

impl Announcer {
    pub(super) fn new(config: config::Presence) -> Arc<Self> {
        let presence = Presence::default();
        let text = render(&config.text, presence);
        Arc::new(Self {
            config,
            announced: Mutex::new(Announced { presence, text }),
        })
    }

    /// Tells one page, at its login, what all were told last; the new count follows with the next
    /// tick. The original did so, and a page that waits for its first count gets it at once.
    pub(super) fn greet(&self, socket: &SocketRef) {
        let text = self.lock().text.clone();
        alone(socket, event::UPDATE_ONLINE_COUNT, text.raw());
    }

    /// Tells everyone of changes until `stop`.
    pub(super) async fn run(
        self: Arc<Self>,
        hub: Arc<Hub>,
        egress: SocketIoEgress,
        stop: CancellationToken,
    ) {
        // Not at once: who logs in as the server starts is greeted like everybody else.
        let period = self.config.interval;
        let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.announce(hub.presence(), &egress),
            }
        }
    }

    fn announce(&self, presence: Presence, egress: &SocketIoEgress) {
        let text = {
            let mut announced = self.lock();
            if announced.presence == presence {
                return;
            }
            let text = render(&self.config.text, presence);
            *announced = Announced {
                presence,
                text: text.clone(),
            };
            text
        };
        egress.announce(event::UPDATE_ONLINE_COUNT, &text);
    }

    fn lock(&self) -> MutexGuard<'_, Announced> {
        // Nothing that can panic runs between the two fields' changes.
        self.announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn render(text: &str, presence: Presence) -> AsciiJson {
    let text = text
        .replace("{users}", &presence.users.to_string())
        .replace("{pages}", &presence.pages.to_string());
    AsciiJson::new(&text)
}
