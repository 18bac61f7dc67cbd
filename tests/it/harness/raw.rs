//! A raw websocket page and a backend that pushes lines, both byte by byte: what is sent is what
//! the test wrote, against the protocol or not.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::within;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// What every page says when it shakes hands.
pub(crate) const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame to be sent, as it should be until it is told otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    opcode: u8,
    finished: bool,
    reserved: u8,
    masked: bool,
    declared: Option<u64>,
    payload: Vec<u8>,
}

pub(crate) fn frame(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame {
        opcode,
        finished: true,
        reserved: 0,
        masked: true,
        declared: None,
        payload: payload.as_ref().to_vec(),
    }
}

pub(crate) fn text(payload: impl AsRef<[u8]>) -> Frame {
    frame(TEXT, payload)
}

impl Frame {
    /// More fragments are to follow.
    pub(crate) fn unfinished(mut self) -> Self {
        self.finished = false;
        self
    }

    /// With reserved bits, as they stand in the first byte.
    pub(crate) fn reserved(mut self, bits: u8) -> Self {
        self.reserved = bits;
        self
    }

    pub(crate) fn unmasked(mut self) -> Self {
        self.masked = false;
        self
    }

    /// With a head that announces another length than the payload has.
    pub(crate) fn declaring(mut self, length: u64) -> Self {
        self.declared = Some(length);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = self.declared.unwrap_or(self.payload.len() as u64);
        let mask = u8::from(self.masked) << 7;
        let mut bytes = vec![u8::from(self.finished) << 7 | self.reserved | self.opcode];
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ ..126), _) => bytes.push(mask | short),
            (_, Ok(middle)) => {
                bytes.push(mask | 126);
                bytes.extend(middle.to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend(length.to_be_bytes());
            }
        }
        if self.masked {
            bytes.extend(MASK);
            let masked = self.payload.iter().zip(MASK.iter().cycle());
            bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }
}

/// A frame that has arrived. Of the first byte all but the opcode has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

/// One page.
#[derive(Debug)]
pub(crate) struct RawPage {
    pub(crate) tcp: TcpStream,
    bytes: Vec<u8>,
    /// What came before something that was waited for.
    early: VecDeque<Arrived>,
    pings: u64,
}

impl RawPage {
    /// A page that has shaken hands and said nothing yet.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let (page, head) = Self::open_with(address, "").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        page
    }

    /// A page that has sent its first message and was heard.
    pub(crate) async fn saying(address: SocketAddr, first: &str) -> Self {
        let mut page = Self::open(address).await;
        page.says(first).await;
        assert!(page.is_heard().await, "{first} ended the connection");
        page
    }

    /// Shakes hands with more lines, each ended by CRLF; gives the answer's head, empty if none.
    pub(crate) async fn open_with(address: SocketAddr, lines: &str) -> (Self, String) {
        let tcp = within("a TCP connection", TcpStream::connect(address)).await;
        Self::over(tcp.expect("the port is open"), lines).await
    }

    pub(crate) async fn over(tcp: TcpStream, lines: &str) -> (Self, String) {
        tcp.set_nodelay(true).ok();
        let mut page = Self {
            tcp,
            bytes: Vec::new(),
            early: VecDeque::new(),
            pings: 0,
        };
        let head = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\n{KEY}{lines}\r\n"
        );
        page.sends(head).await;
        let head = within("the handshake's answer", page.head()).await;
        (page, head)
    }

    async fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                let rest = self.bytes.split_off(at + 4);
                let head = std::mem::replace(&mut self.bytes, rest);
                return String::from_utf8(head).expect("a head is text");
            }
            if !self.read_more().await {
                return String::new();
            }
        }
    }

    /// Sends bytes; that the server may have ended the connection shows in what arrives.
    pub(crate) async fn sends(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.tcp.write_all(bytes.as_ref());
        within("room to send", sent).await.ok();
    }

    /// Sends frames at once.
    pub(crate) async fn sends_frames<const N: usize>(&mut self, frames: [Frame; N]) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        self.sends(bytes).await;
    }

    /// Sends a text message.
    pub(crate) async fn says(&mut self, message: &str) {
        self.sends_frames([text(message)]).await;
    }

    /// The next frame, except the server's heartbeat; `None` at the end.
    pub(crate) async fn next_frame(&mut self) -> Option<Arrived> {
        match self.early.pop_front() {
            Some(arrived) => Some(arrived),
            None => within("the next frame", self.reads()).await,
        }
    }

    async fn reads(&mut self) -> Option<Arrived> {
        loop {
            if let Some((arrived, length)) = take_apart(&self.bytes) {
                self.bytes.drain(..length);
                if arrived.opcode != PING {
                    return Some(arrived);
                }
                self.sends_frames([frame(PONG, arrived.payload)]).await;
            } else if !self.read_more().await {
                return None;
            }
        }
    }

    async fn read_more(&mut self) -> bool {
        let read = self.tcp.read_buf(&mut self.bytes).await;
        read.is_ok_and(|n| n > 0)
    }

    /// The next message; the server sends nothing but text.
    pub(crate) async fn next_message(&mut self) -> String {
        let arrived = self.next_frame().await;
        let Arrived { opcode, payload } = arrived.expect("the page is still connected");
        assert_eq!(opcode, TEXT, "{:?}", String::from_utf8_lossy(&payload));
        String::from_utf8(payload).expect("a text frame is UTF-8")
    }

    pub(crate) async fn receives(&mut self, message: &str) {
        assert_eq!(self.next_message().await, message);
    }

    /// Waits until the server has handled what this page sent before, and has written what was
    /// for it; false when it has ended the connection instead. A ping is always answered.
    pub(crate) async fn is_heard(&mut self) -> bool {
        self.pings += 1;
        let payload = format!("ping {}", self.pings).into_bytes();
        self.sends_frames([frame(PING, &payload)]).await;
        loop {
            match within("a pong", self.reads()).await {
                Some(arrived) if arrived.opcode == PONG && arrived.payload == payload => {
                    return true;
                }
                Some(arrived) => self.early.push_back(arrived),
                None => return false,
            }
        }
    }

    /// Shows that nothing has come, or is on its way.
    pub(crate) async fn has_nothing(&mut self) {
        assert!(self.is_heard().await, "the page was cut off");
        assert_eq!(self.early, [], "nothing was expected");
    }

    /// Waits for a close frame and the end of the connection; gives the frame's reason.
    pub(crate) async fn is_closed_with(&mut self, code: u16) -> String {
        let close = self.next_frame().await.expect("a close frame comes first");
        assert_eq!(close.opcode, CLOSE, "got {close:?}");
        assert_eq!(close.payload[..2], code.to_be_bytes());
        assert_eq!(self.next_frame().await, None);
        String::from_utf8(close.payload[2..].to_vec()).expect("a reason is UTF-8")
    }

    /// Waits for the end of the connection, and shows that nothing came before it.
    pub(crate) async fn is_cut(&mut self) {
        assert_eq!(self.next_frame().await, None);
    }

    /// Leaves as a closed tab does.
    pub(crate) async fn leaves(mut self) {
        self.sends_frames([frame(CLOSE, 1001_u16.to_be_bytes())])
            .await;
    }

    /// Leaves by a reset instead of the usual goodbye of TCP.
    pub(crate) fn resets(self) {
        SockRef::from(&self.tcp)
            .set_linger(Some(Duration::ZERO))
            .expect("a socket can be told not to linger");
    }
}

/// The first frame of what has arrived, and how many bytes it took.
fn take_apart(bytes: &[u8]) -> Option<(Arrived, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (length, head) = match second {
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        126 => (u64::from(u16::from_be_bytes([bytes[2], *bytes.get(3)?])), 4),
        short => (u64::from(short), 2),
    };
    assert_eq!(first & 0xf0, 0x80, "the server sends whole, plain frames");
    assert!(second < 128, "the server does not mask");
    let end = head + usize::try_from(length).expect("a frame fits into memory");
    let payload = bytes.get(head..end)?.to_vec();
    let opcode = first & 0x0f;
    Some((Arrived { opcode, payload }, end))
}

/// A backend's connection to the text port.
#[derive(Debug)]
pub(crate) struct Pusher {
    pub(crate) tcp: TcpStream,
    bytes: Vec<u8>,
}

impl Pusher {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let tcp = within("a TCP connection", TcpStream::connect(address)).await;
        let tcp = tcp.expect("the port is open");
        tcp.set_nodelay(true).ok();
        let bytes = Vec::new();
        Self { tcp, bytes }
    }

    /// Sends bytes; that the server may have ended the connection shows in the replies.
    pub(crate) async fn sends(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.tcp.write_all(bytes.as_ref());
        within("room to send", sent).await.ok();
    }

    /// Sends a line; gives its reply.
    pub(crate) async fn pushes(&mut self, line: impl AsRef<[u8]>) -> String {
        self.sends([line.as_ref(), b"\n"].concat()).await;
        self.replies(1).await.remove(0)
    }

    /// The next `n` replies.
    pub(crate) async fn replies(&mut self, n: usize) -> Vec<String> {
        let replies = within("replies", async {
            while self.bytes.iter().filter(|byte| **byte == b'\n').count() < n {
                assert!(self.read_more().await, "the connection ended");
            }
        });
        replies.await;
        let ends = self.bytes.iter().enumerate().filter(|end| *end.1 == b'\n');
        let end = ends.map(|(at, _)| at + 1).nth(n - 1).expect("it was found");
        let replies: Vec<u8> = self.bytes.drain(..end).collect();
        let replies = String::from_utf8(replies).expect("replies are text");
        replies.lines().map(str::to_owned).collect()
    }

    /// Waits for the server to end the connection, and shows that nothing came before that.
    pub(crate) async fn is_cut(&mut self) {
        let more = within("the end of the connection", self.read_more()).await;
        assert!(!more && self.bytes.is_empty(), "got {:?}", self.bytes);
    }

    /// Ends the sending side; replies can still be read.
    pub(crate) async fn finishes(&mut self) {
        self.tcp.shutdown().await.expect("the connection is open");
    }

    async fn read_more(&mut self) -> bool {
        let read = self.tcp.read_buf(&mut self.bytes).await;
        read.is_ok_and(|n| n > 0)
    }
}
