//! A page: Socket.IO by hand, over websocket or polling, as clients 1.x/2.x (Engine.IO 3) and
//! 3.x/4.x (Engine.IO 4) speak it.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use socket2::SockRef;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::http::Http;
use crate::harness::line::{Door, Line};
use crate::harness::within;

/// What a page speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// Engine.IO's version.
    pub(crate) eio: u8,
    pub(crate) polling: bool,
}

pub(crate) const EIO3_WEBSOCKET: Dialect = dialect(3, false);
pub(crate) const EIO4_WEBSOCKET: Dialect = dialect(4, false);
pub(crate) const EIO3_POLLING: Dialect = dialect(3, true);
pub(crate) const EIO4_POLLING: Dialect = dialect(4, true);
pub(crate) const DIALECTS: [Dialect; 4] =
    [EIO3_WEBSOCKET, EIO4_WEBSOCKET, EIO3_POLLING, EIO4_POLLING];

const fn dialect(eio: u8, polling: bool) -> Dialect {
    Dialect { eio, polling }
}

/// Between the packets of a payload in Engine.IO 4.
const SEPARATOR: char = '\u{1e}';

/// One page.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) dialect: Dialect,
    /// The id of its session and socket.
    pub(crate) sid: String,
    wire: Wire,
    unread: VecDeque<String>,
    /// Heartbeats of the server that were answered.
    pings: usize,
}

#[derive(Debug)]
enum Wire {
    Websocket(Box<WebSocketStream<Line>>),
    Polling { http: Http, target: String },
}

impl Dialect {
    /// The target of a handshake, on the path that clients use.
    pub(crate) fn target(self) -> String {
        let transport = if self.polling { "polling" } else { "websocket" };
        format!("/socket.io/?EIO={}&transport={transport}", self.eio)
    }

    /// Several packets in one polled payload.
    pub(crate) fn payload(self, packets: &[&str]) -> String {
        if self.eio == 4 {
            return packets.join(&SEPARATOR.to_string());
        }
        let framed = packets.iter().map(|packet| {
            let length = packet.encode_utf16().count();
            format!("{length}:{packet}")
        });
        framed.collect()
    }

    fn packets(self, payload: &str) -> VecDeque<String> {
        if self.eio == 4 {
            return payload.split(SEPARATOR).map(str::to_owned).collect();
        }
        let mut packets = VecDeque::new();
        let mut rest = payload;
        while let Some((length, after)) = rest.split_once(':') {
            let length: usize = length.parse().expect("a packet starts with its length");
            // What the server sends is ASCII.
            packets.push_back(after[..length].to_owned());
            rest = &after[length..];
        }
        packets
    }
}

impl Page {
    /// Connects as far as the namespace.
    pub(crate) async fn connect(door: impl Into<Door>, dialect: Dialect) -> Self {
        let line = door.into().enter().await;
        let mut page = Self::open(line, dialect).await;
        page.joins().await;
        page
    }

    /// Opens the transport and no more.
    pub(crate) async fn open(line: impl Into<Line>, dialect: Dialect) -> Self {
        let line = line.into();
        let wire = if dialect.polling {
            let base = dialect.target();
            // The text form, which old clients ask for where they cannot read bytes.
            let target = if dialect.eio == 3 {
                format!("{base}&b64=1")
            } else {
                base
            };
            let http = Http::over(line);
            Wire::Polling { http, target }
        } else {
            let url = format!("ws://localhost{}", dialect.target());
            let (websocket, _) = client_async(url, line).await.expect("a websocket opens");
            Wire::Websocket(Box::new(websocket))
        };
        Self {
            dialect,
            sid: String::new(),
            wire,
            unread: VecDeque::new(),
            pings: 0,
        }
    }

    /// Reads the handshake and joins the namespace.
    pub(crate) async fn joins(&mut self) {
        self.reads_handshake().await;
        if self.dialect.eio == 4 {
            self.sends("40").await;
        }
        // What is for everyone may overtake this answer; clients keep it until then.
        let mut early = VecDeque::new();
        loop {
            let packet = self.next_packet().await.expect("the page is let in");
            if packet.starts_with("40") {
                break;
            }
            assert!(packet.starts_with("42"), "got {packet}");
            early.push_back(packet);
        }
        early.append(&mut self.unread);
        self.unread = early;
    }

    pub(crate) async fn reads_handshake(&mut self) {
        let open = self.next_packet().await.expect("the handshake is answered");
        let open = open.strip_prefix('0').expect("the first packet is open");
        let open: serde_json::Value = serde_json::from_str(open).expect("open is JSON");
        let sid = open["sid"].as_str().expect("open tells the session's id");
        self.sid = sid.to_owned();
        if let Wire::Polling { target, .. } = &mut self.wire {
            target.push_str("&sid=");
            target.push_str(sid);
        }
    }

    /// Logs in and waits until the server has taken it. A count does not tell: pages that are not
    /// logged in get counts too.
    pub(crate) async fn logs_in(&mut self, uid: &str) {
        self.logs_in_with(&serde_json::to_string(uid).expect("a text is JSON"))
            .await;
        assert!(self.is_heard().await, "logging in ended the connection");
    }

    /// Logs in with any JSON, and does not wait.
    pub(crate) async fn logs_in_with(&mut self, uid: &str) {
        self.sends(&format!(r#"42["login",{uid}]"#)).await;
    }

    /// Sends one packet.
    pub(crate) async fn sends(&mut self, packet: &str) {
        self.sends_together(&[packet]).await;
    }

    /// Sends packets at once: in one payload, or one frame after the other.
    pub(crate) async fn sends_together(&mut self, packets: &[&str]) {
        assert!(
            self.tries_to_send(packets).await,
            "{packets:?} could not be sent"
        );
    }

    /// Sends packets that may cost the page its connection; false when they did.
    pub(crate) async fn tries_to_send(&mut self, packets: &[&str]) -> bool {
        match &mut self.wire {
            Wire::Websocket(websocket) => {
                for packet in packets {
                    let frame = Message::text(*packet);
                    let sent = within("room to send", websocket.feed(frame)).await;
                    if sent.is_err() {
                        return false;
                    }
                }
                let flushed = within("room to send", websocket.flush()).await;
                flushed.is_ok()
            }
            Wire::Polling { .. } => {
                let payload = self.dialect.payload(packets);
                self.posts(payload.as_bytes()).await == Some(200)
            }
        }
    }

    /// Posts a payload as it stands; gives the answer's status.
    pub(crate) async fn posts(&mut self, payload: &[u8]) -> Option<u16> {
        let Wire::Polling { http, target } = &mut self.wire else {
            panic!("only a page that polls can post");
        };
        http.post(target, "text/plain;charset=UTF-8", payload).await;
        http.answer_or_end().await.map(|answer| answer.status)
    }

    /// Polls, and does not read the answer.
    pub(crate) async fn polls_without_reading(&mut self) {
        let Wire::Polling { http, target } = &mut self.wire else {
            panic!("a websocket does not poll");
        };
        http.get(target).await;
    }

    /// Goes on over another TCP connection, as browsers do as they like.
    pub(crate) async fn takes_another_connection(&mut self) {
        let Wire::Polling { http, .. } = &mut self.wire else {
            panic!("a websocket has one connection");
        };
        let address = http.line.peer_addr().expect("it was connected");
        *http = Http::open(address).await;
    }

    /// Sends a frame that is not text.
    pub(crate) async fn sends_frame(&mut self, frame: Message) -> bool {
        let Wire::Websocket(websocket) = &mut self.wire else {
            panic!("only a websocket has frames");
        };
        within("room to send", websocket.send(frame)).await.is_ok()
    }

    /// The next packet that is not the server's heartbeat, which is answered; `None` at the end.
    pub(crate) async fn next_packet(&mut self) -> Option<String> {
        loop {
            let Some(packet) = self.unread.pop_front() else {
                within("the next packet", self.reads()).await?;
                continue;
            };
            if packet == "2" && self.dialect.eio == 4 {
                self.pings += 1;
                self.tries_to_send(&["3"]).await;
            } else if packet != "6" {
                return Some(packet);
            }
        }
    }

    /// Answers the heartbeat with which a server of Engine.IO 4 begins, if that has not come yet: on a
    /// busy machine it comes late, and confirms what was read before it.
    pub(crate) async fn was_asked_for_life(&mut self) {
        while self.dialect.eio == 4 && self.pings == 0 {
            let Some(at) = self.unread.iter().position(|packet| packet == "2") else {
                let read = within("the first heartbeat", self.reads()).await;
                read.expect("the page is still connected");
                continue;
            };
            self.unread.remove(at);
            self.pings += 1;
            self.sends("3").await;
        }
    }

    async fn reads(&mut self) -> Option<()> {
        match &mut self.wire {
            Wire::Websocket(websocket) => match websocket.next().await?.ok()? {
                Message::Text(text) => self.unread.push_back(text.as_str().to_owned()),
                Message::Close(_) => return None,
                _ => {}
            },
            Wire::Polling { http, target } => {
                http.get(target).await;
                let answer = http.poll().await?;
                if answer.status != 200 {
                    return None;
                }
                self.unread.extend(self.dialect.packets(&answer.text()));
            }
        }
        Some(())
    }

    /// The argument of the next event, and its name.
    pub(crate) async fn next_event(&mut self) -> Option<(String, String)> {
        loop {
            let packet = self.next_packet().await?;
            if let Some(event) = packet.strip_prefix("42") {
                return Some(serde_json::from_str(event).expect("an event has one text"));
            }
            if matches!(packet.as_str(), "1" | "41") {
                return None;
            }
        }
    }

    async fn next_of(&mut self, name: &str) -> String {
        loop {
            let event = self.next_event().await;
            let (event, text) = event.expect("the page is still connected");
            if event == name {
                return text;
            }
        }
    }

    /// The next message, whatever counts come before it.
    pub(crate) async fn next_message(&mut self) -> String {
        self.next_of("new_msg").await
    }

    pub(crate) async fn receives(&mut self, content: &str) {
        assert_eq!(self.next_message().await, content);
    }

    /// The next count, whatever messages come before it.
    pub(crate) async fn next_count(&mut self) -> String {
        self.next_of("update_online_count").await
    }

    /// Waits until a count says so.
    pub(crate) async fn waits_for_count(&mut self, users: usize, pages: usize) {
        let expected = count(users, pages);
        let mut seen = Vec::new();
        let counted = async {
            loop {
                let text = self.next_count().await;
                if text == expected {
                    return;
                }
                seen.push(text);
            }
        };
        let counted = tokio::time::timeout(super::DEADLINE, counted).await;
        assert!(
            counted.is_ok(),
            "{users}/{pages} was not announced, but {seen:?}"
        );
    }

    /// Waits until the server has handled what this page sent before; false when it has ended
    /// the connection instead. A namespace that does not exist is always answered.
    pub(crate) async fn is_heard(&mut self) -> bool {
        if !self.tries_to_send(&["40/nowhere,"]).await {
            return false;
        }
        loop {
            match self.next_packet().await {
                Some(packet) if packet.starts_with("44/nowhere") => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    /// Waits until the server has ended the connection.
    pub(crate) async fn is_disconnected(&mut self) {
        while self.next_event().await.is_some() {}
    }

    /// Leaves without a word, by a reset instead of the usual goodbye of TCP.
    pub(crate) fn resets(self) {
        SockRef::from(self.line())
            .set_linger(Some(Duration::ZERO))
            .expect("a socket can be told not to linger");
    }

    /// Leaves as a closed tab does.
    pub(crate) async fn leaves(mut self) {
        self.says_goodbye().await;
    }

    /// The same, by a page that reads on until it is answered.
    pub(crate) async fn says_goodbye(&mut self) {
        match &mut self.wire {
            Wire::Websocket(websocket) => drop(websocket.as_mut().close(None).await),
            Wire::Polling { .. } => drop(self.tries_to_send(&["1"]).await),
        }
    }

    fn line(&self) -> &Line {
        match &self.wire {
            Wire::Websocket(websocket) => websocket.get_ref(),
            Wire::Polling { http, .. } => &http.line,
        }
    }
}

/// The text of a count, as web-msg-sender has it.
pub(crate) fn count(users: usize, pages: usize) -> String {
    format!("当前<b>{users}</b>人在线，共打开<b>{pages}</b>个页面")
}
