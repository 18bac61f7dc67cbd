//! The hub: who is online, and whom a push reaches. The only thing that edges call.
//!
//! It knows no wire. Gateways give it their [`Egress`]; ingresses call [`Hub::publish`], and those
//! whose messages are kept call [`Recorder::keep`]; a gateway calls [`Hub::login`] and keeps the
//! [`Session`] for as long as the page is there, as it does with [`Joined`] and [`Subscribed`].
//!
//! A push gets its number, is logged and is delivered in one step that no login can come into the
//! middle of ([`Hub::between_pushes`]): pages hear in the order of the numbers, and one that comes back
//! hears each message either from the log or live, never both, never neither. The price is that pushes
//! are fanned out one after the other; the fan-out never waits for anything.

mod backlog;
mod commits;
mod cursors;
mod evicted;
mod groups;
mod log;
mod queue;
mod recorder;
mod recovery;
mod registry;
mod saved;
mod session;
mod topics;
mod watches;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::config;
use crate::group::Group;
use crate::push::{Delivery, Push, PushId, Target};
use crate::topic::Subscription;
use crate::uid::Uid;

pub use backlog::{Backlog, Held};
pub use commits::Commits;
use groups::Groups;
pub use groups::Joined;
use log::Log;
pub use log::LogSize;
pub use recorder::{Keep, KeepError, Kept, Recorder};
pub use recovery::{Beginning, Handed, Read, Reading, Recovered, Standstill};
pub use registry::Presence;
use registry::Registry;
pub use saved::SavedError;
pub use session::Session;
pub use topics::Subscribed;
use topics::Topics;
pub use watches::Watched;
use watches::Watches;

/// How long a publisher waits when a page of the user that it pushes to has fallen behind.
const BREATH: Duration = Duration::from_millis(1);

/// The pages that a push is for, as a gateway finds them.
#[derive(Debug, Clone, Copy)]
pub enum Audience<'a> {
    /// See [`Target::Everyone`].
    Everyone,
    /// The pages of these users. No uid twice; possibly none.
    Users(&'a [Uid]),
    /// The pages that have joined this group.
    Group(&'a Group),
    /// The pages with these subscriptions. None twice; possibly none.
    Subscribers(&'a [Subscription]),
}

/// Whether pages keep up with what they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// They do, as far as can be told.
    Kept,
    /// The queue of at least one is more than half full.
    Behind,
}

/// The hub's view of a gateway: something that can hand a push to the pages it holds.
pub trait Egress: Send + Sync {
    /// Hands `push` to every page of this gateway in `audience`. Never blocks; a page that
    /// cannot take it loses its own connection, never anybody else's message. Says whether one of
    /// them has begun to fall behind.
    fn deliver(&self, audience: Audience<'_>, push: &Push) -> Pace;

    /// Ends the connections of a user's pages.
    fn disconnect(&self, uid: &Uid);
}

/// See the module's text.
pub struct Hub {
    registry: Registry,
    groups: Groups,
    topics: Topics,
    watches: Watches,
    log: Mutex<Log>,
    /// Since when the server stops.
    leaving_since: OnceLock<PushId>,
    egresses: Box<[Arc<dyn Egress>]>,
}

impl Hub {
    /// A hub that delivers through `egresses`, with nobody online.
    #[must_use]
    pub fn new(egresses: Vec<Arc<dyn Egress>>, recovery: config::Recovery) -> Arc<Self> {
        Arc::new(Self {
            registry: Registry::default(),
            groups: Groups::default(),
            topics: Topics::default(),
            watches: Watches::default(),
            log: Mutex::new(Log::new(recovery)),
            leaving_since: OnceLock::new(),
            egresses: egresses.into_boxed_slice(),
        })
    }

    /// Accepts a push: numbers it, delivers it, and says whether anybody it is for is online.
    pub async fn publish(&self, push: Push) -> Delivery {
        let (push, reach, pace) = self.accept(push);
        match push.target {
            // A fan-out wakes one writer task a page. Publishers that pipeline must not outrun
            // them: let the writers run before the next push fills their queues further.
            Target::Everyone => tokio::task::yield_now().await,
            // One publisher can outrun a page that reads as fast as it can. It waits for so long
            // that such a page catches up; one that does not read loses its connection soon, since
            // its queue goes on filling.
            Target::Users(_) if pace == Pace::Behind => tokio::time::sleep(BREATH).await,
            Target::Users(_) | Target::Group(_) | Target::Topic(_) => {}
        }
        Delivery::of(&push.target, reach)
    }

    /// Delivers a push that is kept already.
    fn deliver_kept(&self, push: Push) -> Delivery {
        let (push, reach, _) = self.accept(push);
        Delivery::of(&push.target, reach)
    }

    /// Numbers for pushes that have to be kept before they are accepted, in order.
    fn draw(&self, count: usize) -> Vec<PushId> {
        let mut log = self.log();
        (0..count).map(|_| log.draw()).collect()
    }

    /// Hands a push to the pages on this node. Says how many sessions it concerned just before; for
    /// a topic, how many subscriptions.
    pub fn deliver(&self, push: Push) -> usize {
        self.accept(push).1
    }

    fn accept(&self, push: Push) -> (Arc<Push>, usize, Pace) {
        let mut log = self.log();
        let push = log.accept(push);
        let (reach, pace) = self.fan_out(&push);
        drop(log);
        (push, reach, pace)
    }

    fn fan_out(&self, push: &Push) -> (usize, Pace) {
        let (reach, audience) = match &push.target {
            Target::Everyone => (self.registry.presence().pages, Audience::Everyone),
            Target::Users(uids) => {
                let reach = uids.iter().map(|uid| self.registry.sessions(uid)).sum();
                (reach, Audience::Users(uids))
            }
            Target::Group(group) => (self.groups.sessions(group), Audience::Group(group)),
            Target::Topic(topic) => {
                return self.topics.with_concerned(topic, |concerned| {
                    let pace = self.deliver_to(Audience::Subscribers(concerned), push);
                    (concerned.len(), pace)
                });
            }
        };
        (reach, self.deliver_to(audience, push))
    }

    fn deliver_to(&self, audience: Audience<'_>, push: &Push) -> Pace {
        let egresses = self.egresses.iter();
        let paces = egresses.map(|egress| egress.deliver(audience, push));
        paces.max().unwrap_or(Pace::Kept)
    }

    /// Forgets what need not be remembered any longer; otherwise that is done as pushes come.
    pub fn forget(&self) {
        self.log().evict(PushId::now());
    }

    /// How much of what was pushed is remembered.
    #[must_use]
    pub fn log_size(&self) -> LogSize {
        self.log().size()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // A panic in a fan-out leaves the log as it was.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more session of `uid`, until the [`Session`] is dropped. `None` is a guest: a
    /// page that logged in without a name, counted (all guests as one user) but not addressable.
    pub fn login(self: &Arc<Self>, uid: Option<Uid>) -> Session {
        Session::new(Arc::clone(self), uid)
    }

    /// Counts one more session of `group`, until the [`Joined`] is dropped.
    pub fn join(self: &Arc<Self>, group: Group) -> Joined {
        Joined::new(Arc::clone(self), group)
    }

    /// Lets topics find `subscription`, until the [`Subscribed`] is dropped.
    pub fn subscribe(self: &Arc<Self>, subscription: Subscription) -> Subscribed {
        Subscribed::new(Arc::clone(self), subscription)
    }

    /// Lets [`Hub::changed_user`] tell of `uid`, until the [`Watched`] is dropped.
    pub fn watch(self: &Arc<Self>, uid: Uid) -> Watched {
        Watched::new(Arc::clone(self), uid)
    }

    /// Waits for a watched user who has come or gone since; whether they are there now has to be
    /// asked. For one caller at a time.
    pub async fn changed_user(&self) -> Uid {
        self.watches.changed().await
    }

    /// Ends the connections of a user's pages. Says whether there were any.
    pub fn disconnect(&self, uid: &Uid) -> bool {
        let was_online = self.is_online(uid);
        for egress in &self.egresses {
            egress.disconnect(uid);
        }
        was_online
    }

    /// How many sessions a user has.
    #[must_use]
    pub fn sessions(&self, uid: &Uid) -> usize {
        self.registry.sessions(uid)
    }

    /// Whether a user has a session.
    #[must_use]
    pub fn is_online(&self, uid: &Uid) -> bool {
        self.registry.sessions(uid) > 0
    }

    /// How many users and pages are online now.
    #[must_use]
    pub fn presence(&self) -> Presence {
        self.registry.presence()
    }

    /// Up to `limit` users with their numbers of sessions, in no particular order.
    #[must_use]
    pub fn online(&self, limit: usize) -> Vec<(Uid, usize)> {
        self.registry.users(limit)
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("presence", &self.presence())
            .finish_non_exhaustive()
    }
}
