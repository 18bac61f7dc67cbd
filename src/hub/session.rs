//! The session guard: one logged-in page. Dropping it is the logout; there is no other.

use std::sync::Arc;

use crate::hub::Hub;
use crate::uid::Uid;

/// One logged-in page, counted in the hub's presence until it is dropped. There is no `logout()`,
/// so no way out of a connection can forget it.
#[derive(Debug)]
#[must_use = "dropping a session logs it out"]
pub struct Session {
    hub: Arc<Hub>,
    uid: Option<Uid>,
    is_first: bool,
    has_ended: bool,
}

impl Session {
    pub(super) fn new(hub: Arc<Hub>, uid: Option<Uid>) -> Self {
        let is_first = hub.registry.add(uid.as_ref());
        if let (true, Some(uid)) = (is_first, &uid) {
            hub.watches.note(uid);
        }
        Self {
            hub,
            uid,
            is_first,
            has_ended: false,
        }
    }

    /// Whose it is; `None` for a guest.
    #[must_use]
    pub fn uid(&self) -> Option<&Uid> {
        self.uid.as_ref()
    }

    /// Whether its user had no other when it began.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// Ends it, as dropping it does, and says whether it was its user's last.
    #[must_use]
    pub fn end(mut self) -> bool {
        self.log_out()
    }

    fn log_out(&mut self) -> bool {
        if std::mem::replace(&mut self.has_ended, true) {
            return false;
        }
        let was_last = self.hub.registry.remove(self.uid.as_ref());
        if let (true, Some(uid)) = (was_last, &self.uid) {
            self.hub.watches.note(uid);
        }
        was_last
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.log_out();
    }
}
