//! The values of the figures' labels.

/// What a page speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// Socket.IO.
    SocketIo,
    /// The uid websocket.
    UidSocket,
    /// The topic websocket.
    TopicSocket,
    /// The chat websocket.
    Chat,
}

/// How a page is written to: the three raw gateways are one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// By Socket.IO.
    SocketIo,
    /// By a raw websocket.
    Websocket,
}

/// Why a page's connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The page said goodbye: a closing frame, or a packet that disconnects.
    Left,
    /// The connection ended without a goodbye.
    Broken,
    /// The page did not answer the heartbeat.
    Silent,
    /// The page fell too far behind.
    Slow,
    /// What it said could not be accepted: its claim, or its breach of the protocol.
    Refused,
    /// We ended it: the server stops, or the application wanted it.
    Stopped,
    /// Its claim was good until then.
    Expired,
}

/// By what way a push came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingress {
    /// The HTTP push port.
    Http,
    /// The text push port.
    Text,
    /// The UDP push port.
    Udp,
    /// The form of the demo page.
    Web,
    /// A page that sends.
    Chat,
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Somebody it is for is online, or it was for everyone, or it was only to be kept and was.
    Ok,
    /// Nobody it is for is online.
    Offline,
    /// It was not understood.
    Fail,
    /// It had to be kept, and was not.
    Unkept,
    /// Who asked may not.
    Denied,
}

impl Gateway {
    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        GATEWAYS[self as usize]
    }
}

/// Over which limit somebody was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// All connections of pages.
    Connections,
    /// All connections that push.
    PushConnections,
    /// Connections or sessions of one peer.
    PeerConnections,
    /// New sessions of one peer.
    Handshakes,
    /// Logins of one peer.
    Logins,
    /// Messages of one page.
    Events,
    /// All sessions that poll.
    Polling,
    /// The server's memory.
    Memory,
    /// Pages of one uid.
    PagesPerUid,
}

impl Limit {
    /// Its word, also for those who are told.
    #[must_use]
    pub const fn name(self) -> &'static str {
        LIMITS[self as usize]
    }
}

// In the order of the variants.
pub(super) const GATEWAYS: [&str; 4] = ["socketio", "uid_socket", "topic_socket", "chat"];
pub(super) const WIRES: [&str; 2] = ["socketio", "websocket"];
pub(super) const REASONS: [&str; 7] = [
    "left", "broken", "silent", "slow", "refused", "stopped", "expired",
];
pub(super) const INGRESSES: [&str; 5] = ["http", "text", "udp", "web", "chat"];
pub(super) const OUTCOMES: [&str; 5] = ["ok", "offline", "fail", "unkept", "denied"];
pub(super) const LIMITS: [&str; 9] = [
    "connections",
    "push_connections",
    "peer_connections",
    "handshakes",
    "logins",
    "events",
    "polling",
    "memory",
    "pages_per_uid",
];
