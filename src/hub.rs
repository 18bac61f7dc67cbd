//! The hub: who is online, and whom a push reaches. The only thing that edges call.
//!
//! It knows no wire. Gateways give it their [`Egress`]; ingresses call [`Hub::publish`]; a gateway
//! calls [`Hub::login`] and keeps the [`Session`] for as long as the page is there.
//!
//! The order of steps is the design: *publish reads presence before it delivers; login joins its
//! room before it counts.* A push that is answered [`Delivery::Online`] is therefore delivered
//! after the room was joined, and a login that races with it loses nothing.

mod registry;
mod session;

use std::sync::Arc;

use crate::push::{Delivery, Push, Target};
use crate::uid::Uid;

pub use registry::Presence;
use registry::Registry;
pub use session::Session;

/// The hub's view of a gateway: something that can hand a push to the pages it holds.
pub trait Egress: Send + Sync {
    /// Hands `push` to every page of this gateway that it is for. Never blocks; a page that
    /// cannot take it loses its own connection, never anybody else's message.
    fn deliver(&self, push: &Push);
}

/// See the module's text.
pub struct Hub {
    registry: Registry,
    egresses: Box<[Arc<dyn Egress>]>,
}

impl Hub {
    /// A hub that delivers through `egresses`, with nobody online.
    #[must_use]
    pub fn new(egresses: Vec<Arc<dyn Egress>>) -> Arc<Self> {
        Arc::new(Self {
            registry: Registry::default(),
            egresses: egresses.into_boxed_slice(),
        })
    }

    /// Accepts a push: reads presence, delivers it, and says whether anybody it is for is online.
    ///
    /// It delivers even when presence says that nobody is: a page that is just logging in has
    /// joined its room before it is counted, and then gets the message after all.
    pub async fn publish(&self, push: Push) -> Delivery {
        let delivery = self.delivery(&push.target);
        self.deliver(&push);
        if push.target == Target::Everyone {
            // A fan-out wakes one writer task a page. Publishers that pipeline must not outrun
            // them: let the writers run before the next push fills their queues further.
            tokio::task::yield_now().await;
        }
        delivery
    }

    /// Hands a push to the pages on this node.
    pub fn deliver(&self, push: &Push) {
        for egress in &self.egresses {
            egress.deliver(push);
        }
    }

    /// Counts one more session of `uid`, until the [`Session`] is dropped. `None` is a guest: a
    /// page that logged in without a name, counted (all guests as one user) but not addressable.
    pub fn login(self: &Arc<Self>, uid: Option<Uid>) -> Session {
        Session::new(Arc::clone(self), uid)
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

    fn delivery(&self, target: &Target) -> Delivery {
        let online = match target {
            Target::Everyone => true,
            Target::Users(uids) => uids.iter().any(|uid| self.registry.is_online(uid)),
        };
        if online {
            Delivery::Online
        } else {
            Delivery::Offline
        }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("presence", &self.presence())
            .finish_non_exhaustive()
    }
}
