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
}

impl Session {
    pub(super) fn new(hub: Arc<Hub>, uid: Option<Uid>) -> Self {
        let is_first = hub.registry.add(uid.as_ref());
        if let (true, Some(uid)) = (is_first, &uid) {
            hub.watches.note(uid);
        }
        Self { hub, uid }
    }

    /// Whose it is; `None` for a guest.
    #[must_use]
    pub fn uid(&self) -> Option<&Uid> {
        self.uid.as_ref()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let was_last = self.hub.registry.remove(self.uid.as_ref());
        if let (true, Some(uid)) = (was_last, &self.uid) {
            self.hub.watches.note(uid);
        }
    }
}
