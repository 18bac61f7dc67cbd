//! What the pages say and hear: owns the handshake, the login and the meaning
//! of each text frame. The connection pool knows nothing of Engine.IO; another
//! dialect is another variant of [`Dialect`].

use crate::cli::bench::frame;
use crate::cli::bench::tally::write_decimal;

/// How far a page has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// No connection (never opened, or gone).
    Absent,
    /// TCP connect under way.
    Connecting,
    /// HTTP upgrade sent, answer awaited.
    Upgrading,
    /// Upgraded, first frame awaited.
    Opening,
    /// Namespace connect awaited.
    Joining,
    /// Login sent, no frame of the server has confirmed it.
    LoginSent,
    /// Login confirmed.
    Ready,
}

/// What a text frame asks of the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A pushed message: its text and whatever of the frame follows it.
    Message(&'a [u8]),
    /// Send this text frame and stay in the stage.
    Reply(&'static [u8]),
    /// Move on to [`Stage::Joining`], sending a text frame unless it is empty.
    /// With the interval in milliseconds at which the page has to ping, if it has to.
    Join(&'static [u8], Option<u32>),
    /// Send the login.
    Login,
    /// The login is confirmed.
    Confirmed,
    /// The server ended the session.
    Leave(&'static str),
    /// Any other frame.
    Other,
}

/// How pages of one kind talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Socket.IO over an Engine.IO WebSocket.
    SocketIo {
        /// Engine.IO protocol revision, 3 or 4.
        eio: u8,
    },
    /// A plain WebSocket whose first text frame is the page's uid. No frame of
    /// the server confirms that, so the page pings after it: the server takes
    /// frames in their order, its pong says that the uid is taken.
    Uid,
}

/// Text frame with which a page pings (Engine.IO 3).
pub(crate) const PAGE_PING: &[u8] = b"2";

const PUSH: &[u8] = b"42[\"new_msg\",\"";
const ONLINE_COUNT: &[u8] = b"42[\"update_online_count\"";

impl Dialect {
    /// The HTTP upgrade request for a server reached as `host`.
    pub(crate) fn upgrade_request(self, host: &str) -> String {
        let path = match self {
            Self::SocketIo { eio } => format!("/socket.io/?EIO={eio}&transport=websocket"),
            Self::Uid => "/".to_owned(),
        };
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: Y2FtcGFuaWxlLWJlbmNoLQ==\r\n\r\n"
        )
    }

    /// Whether a page logs in as soon as it is upgraded.
    pub(crate) fn speaks_first(self) -> bool {
        self == Self::Uid
    }

    /// Writes the frames that log client number `client` in into `out`.
    pub(crate) fn login(self, out: &mut Vec<u8>, client: u32) {
        let mut text = Vec::with_capacity(40);
        match self {
            Self::SocketIo { .. } => {
                text.extend_from_slice(b"42[\"login\",\"");
                write_uid(&mut text, client);
                text.extend_from_slice(b"\"]");
                frame::write(out, frame::TEXT, &text);
            }
            Self::Uid => {
                write_uid(&mut text, client);
                frame::write(out, frame::TEXT, &text);
                frame::write(out, frame::PING, b"");
            }
        }
    }

    /// Whether a pong confirms the login of a page in `stage`.
    pub(crate) fn pong_confirms(self, stage: Stage) -> bool {
        self == Self::Uid && stage == Stage::LoginSent
    }

    /// What the text frame `payload` means to a page in `stage`.
    pub(crate) fn step(self, stage: Stage, payload: &[u8]) -> Step<'_> {
        let Self::SocketIo { eio } = self else {
            return Step::Message(payload);
        };
        if let Some(text) = payload.strip_prefix(PUSH) {
            return Step::Message(text);
        }
        match payload {
            b"2" => Step::Reply(b"3"),
            [b'0', open @ ..] if stage == Stage::Opening => match eio {
                3 => Step::Join(b"", Some(ping_interval(open))),
                _ => Step::Join(b"40", None),
            },
            [b'4', b'0', ..] if stage == Stage::Joining => Step::Login,
            [b'4', b'4', ..] => Step::Leave("the server refused the namespace"),
            [b'4', b'1', ..] | [b'1'] => Step::Leave("the server ended the session"),
            _ if stage == Stage::LoginSent && payload.starts_with(ONLINE_COUNT) => Step::Confirmed,
            _ => Step::Other,
        }
    }
}

/// Appends the uid of client number `client` to `out`.
pub(crate) fn write_uid(out: &mut Vec<u8>, client: u32) {
    out.extend_from_slice(b"bench-");
    write_decimal(out, u64::from(client));
}

/// Milliseconds named by `"pingInterval"` in the open packet, 25,000 without it.
fn ping_interval(open: &[u8]) -> u32 {
    const NAME: &[u8] = b"\"pingInterval\":";
    open.windows(NAME.len())
        .position(|window| window == NAME)
        .map(|at| &open[at + NAME.len()..])
        .and_then(|rest| {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
        })
        .unwrap_or(25_000)
}

#[cfg(test)]
mod tests {
    use super::{Dialect, Stage, Step};

    #[test]
    fn engine_io_4_joins_and_logs_in() {
        let dialect = Dialect::SocketIo { eio: 4 };
        let open = dialect.step(Stage::Opening, b"0{\"sid\":\"a\",\"pingInterval\":25000}");
        assert_eq!(open, Step::Join(b"40", None));
        assert_eq!(dialect.step(Stage::Joining, b"2"), Step::Reply(b"3"));
        assert_eq!(
            dialect.step(Stage::Joining, b"40{\"sid\":\"a\"}"),
            Step::Login
        );
        let count = b"42[\"update_online_count\",\"1\"]";
        assert_eq!(dialect.step(Stage::LoginSent, count), Step::Confirmed);
        assert_eq!(dialect.step(Stage::Ready, count), Step::Other);
    }

    #[test]
    fn engine_io_3_waits_for_the_server_and_pings() {
        let dialect = Dialect::SocketIo { eio: 3 };
        let open = dialect.step(Stage::Opening, b"0{\"pingInterval\":800,\"sid\":\"a\"}");
        assert_eq!(open, Step::Join(b"", Some(800)));
        assert_eq!(dialect.step(Stage::Joining, b"40"), Step::Login);
        let push = b"42[\"new_msg\",\"c1.2.x\"]";
        assert_eq!(
            dialect.step(Stage::Ready, push),
            Step::Message(b"c1.2.x\"]")
        );
    }

    #[test]
    fn a_uid_page_logs_in_unasked_and_a_pong_confirms_it() {
        let dialect = Dialect::Uid;
        assert!(
            dialect
                .upgrade_request("a:1")
                .starts_with("GET / HTTP/1.1\r\nHost: a:1\r\n")
        );
        assert!(dialect.speaks_first());
        let mut out = Vec::new();
        dialect.login(&mut out, 42);
        assert_eq!(out, b"\x81\x88\0\0\0\0bench-42\x89\x80\0\0\0\0");
        assert!(dialect.pong_confirms(Stage::LoginSent) && !dialect.pong_confirms(Stage::Ready));
        let line = b"{\"uid\":\"bench-42\",\"m\":\"c1.2.x\"}";
        assert_eq!(dialect.step(Stage::Ready, line), Step::Message(line));
    }
}
