//! The subscriber side: the protocols that pages speak. Gateways know the hub, not each other.

pub(crate) mod chat;
pub(crate) mod entrance;
mod ledger;
mod origins;
mod parcels;
mod rooms;
pub mod socketio;
pub(crate) mod topic_socket;
pub(crate) mod uid_socket;
pub mod websocket;

/// The Socket.IO events: web-msg-sender's, and ours.
pub(crate) mod event {
    /// From a page: its uid.
    pub(crate) const LOGIN: &str = "login";
    /// To a page: its login was refused, or is good no longer.
    pub(crate) const LOGIN_ERROR: &str = "login_error";
    /// To a page: it is over a limit, and has to go.
    pub(crate) const LIMIT: &str = "limit";
    /// From a page: what it wants to hear of.
    pub(crate) const SUBSCRIBE: &str = "subscribe";
    /// From a page: to hear a group, or not any more, or what was said.
    pub(crate) const JOIN: &str = "join";
    pub(crate) const LEAVE: &str = "leave";
    pub(crate) const HISTORY: &str = "history";
    /// To a page: a message. From a page: one to users or a group.
    pub(crate) const NEW_MSG: &str = "new_msg";
    /// To a page: the text that says how many are online.
    pub(crate) const UPDATE_ONLINE_COUNT: &str = "update_online_count";
}
