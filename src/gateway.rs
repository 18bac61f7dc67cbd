//! The subscriber side: the protocols that pages speak. Gateways know the hub, not each other.

pub mod socketio;

/// The Socket.IO events of web-msg-sender.
pub(crate) mod event {
    /// From a page: its uid.
    pub(crate) const LOGIN: &str = "login";
    /// To a page: a message.
    pub(crate) const NEW_MSG: &str = "new_msg";
    /// To a page: the text that says how many are online.
    pub(crate) const UPDATE_ONLINE_COUNT: &str = "update_online_count";
}
