//! Chat pages by hand, and servers whose chat keeps its records in a file of its own.

mod talker;

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use campanile::app::App;
use campanile::config::{Config, Secret};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::{FREE, Server, within};
pub(crate) use talker::Talker;

/// A server with the chat on, and Socket.IO and the push port beside it. It can be restarted.
#[derive(Debug)]
pub(crate) struct ChatServer {
    server: Server,
    config: Config,
    folder: TempDir,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

/// One page of a raw websocket: the chat's, or another's.
#[derive(Debug)]
pub(crate) struct ChatPage {
    websocket: WebSocketStream<TcpStream>,
}

impl ChatServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut config = Config::default();
        config.socketio.listen = FREE;
        config.http.listen = FREE;
        config.chat.listen = FREE;
        config.web.listen = None;
        config.admin.listen = None;
        config.presence.interval = Duration::from_secs(3600);
        config.store.url = Secret::from(url_in(&folder).as_str());
        // Tests of the chat say more in a second than people do.
        config.limits.events_per_second = 0;
        change(&mut config);
        Self::open(config, folder).await
    }

    async fn open(config: Config, folder: TempDir) -> Self {
        config
            .validate()
            .expect("the test's configuration is sound");
        let app = App::bind(config.clone()).await;
        let app = app.expect("a free port, and the store, can be opened");
        let addrs = app.addrs();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            app.run(stopped).await.expect("it ends in order");
        });
        Self {
            server: Server::at(addrs),
            config,
            folder,
            stop,
            running,
        }
    }

    /// Stops the server in order, and starts another on the same store.
    pub(crate) async fn restart(self) -> Self {
        self.stop.send(()).expect("it runs");
        let ended = within("the end of the server", self.running).await;
        ended.expect("it ends in order");
        Self::open(self.config, self.folder).await
    }

    /// The url of its store.
    pub(crate) fn store_url(&self) -> String {
        url_in(&self.folder)
    }

    /// A chat page that has connected and not logged in.
    pub(crate) async fn chat_page(&self) -> ChatPage {
        self.chat_page_with("").await
    }

    /// A chat page whose URL has this query.
    pub(crate) async fn chat_page_with(&self, query: &str) -> ChatPage {
        ChatPage::connect(self.chat(), query).await
    }

    /// A chat page that has logged in as `uid`.
    pub(crate) async fn chats_as(&self, uid: &str) -> ChatPage {
        let mut page = self.chat_page().await;
        page.logs_in(uid).await;
        page
    }
}

fn url_in(folder: &TempDir) -> String {
    format!("sqlite:{}", folder.path().join("chat.db").display())
}

impl Deref for ChatServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl ChatPage {
    pub(crate) async fn connect(address: SocketAddr, query: &str) -> Self {
        let tcp = within("a TCP connection", TcpStream::connect(address)).await;
        let tcp = tcp.expect("the port is open");
        tcp.set_nodelay(true).ok();
        let url = format!("ws://localhost/chat?{query}");
        let opened = within("the handshake", client_async(url, tcp)).await;
        let (websocket, _) = opened.expect("a websocket opens");
        Self { websocket }
    }

    /// Logs in, and gives the newest record that need not be asked for again; 0 for none.
    pub(crate) async fn logs_in(&mut self, uid: &str) -> u64 {
        let login = serde_json::json!({"type": "login", "uid": uid});
        self.logs_in_by(&login.to_string(), uid).await
    }

    pub(crate) async fn logs_in_since(&mut self, uid: &str, since: u64) -> u64 {
        let login = serde_json::json!({"type": "login", "uid": uid, "since": since});
        self.logs_in_by(&login.to_string(), uid).await
    }

    /// Logs in by any message.
    pub(crate) async fn logs_in_by(&mut self, login: &str, uid: &str) -> u64 {
        let answer = self.asks(login).await;
        assert_eq!(answer["type"], "login", "{answer}");
        assert_eq!(answer["uid"], uid);
        // Who is to get what came while away is told no number before that has come.
        answer["last"].as_u64().unwrap_or(0)
    }

    pub(crate) async fn joins(&mut self, group: &str) -> u64 {
        let join = serde_json::json!({"type": "join", "group": group});
        let answer = self.asks(&join.to_string()).await;
        assert_eq!(answer["type"], "joined", "{answer}");
        assert_eq!(answer["group"], group);
        answer["last"].as_u64().expect("last is a number")
    }

    /// Sends one message.
    pub(crate) async fn says(&mut self, text: &str) {
        assert!(self.tries_to_say([text]).await, "the page was cut off");
    }

    /// Sends messages at once; false when the connection did not last for them.
    pub(crate) async fn tries_to_say(
        &mut self,
        texts: impl IntoIterator<Item = impl Into<String>>,
    ) -> bool {
        for text in texts {
            let frame = Message::text(text.into());
            if within("room", self.websocket.feed(frame)).await.is_err() {
                return false;
            }
        }
        within("room", self.websocket.flush()).await.is_ok()
    }

    /// Sends a frame that is not text.
    pub(crate) async fn sends_frame(&mut self, frame: Message) -> bool {
        within("room", self.websocket.send(frame)).await.is_ok()
    }

    /// Sends a request, and gives what comes next.
    pub(crate) async fn asks(&mut self, request: &str) -> Value {
        self.says(request).await;
        self.next_json().await
    }

    /// Is refused with these words.
    pub(crate) async fn is_refused(&mut self, request: &str, error: &str) {
        let answer = self.asks(request).await;
        assert_eq!(answer["type"], "error", "{request:.80}: {answer}");
        assert_eq!(answer["error"], error, "{request:.80}");
    }

    /// Sends [`note`], and gives its number once it is kept.
    pub(crate) async fn tells(&mut self, to: &str, text: &str) -> u64 {
        self.tells_by(&note(to, text)).await
    }

    /// Sends [`note_to_group`], and gives its number once it is kept.
    pub(crate) async fn tells_group(&mut self, group: &str, text: &str) -> u64 {
        self.tells_by(&note_to_group(group, text)).await
    }

    async fn tells_by(&mut self, note: &str) -> u64 {
        let mut answer = self.asks(note).await;
        // The page may be an addressee itself.
        if answer["type"].is_null() {
            answer = self.next_json().await;
        }
        acked(&answer)
    }

    /// The whole history with `with`, or what else `of` names, as it is answered.
    pub(crate) async fn reads(&mut self, of: &str) -> Value {
        let answer = self.asks(&format!(r#"{{"type":"history",{of}}}"#)).await;
        assert_eq!(answer["type"], "history", "{answer}");
        answer
    }

    async fn next_frame(&mut self) -> Option<Message> {
        loop {
            match within("the next message", self.websocket.next())
                .await?
                .ok()?
            {
                Message::Ping(_) => {}
                frame => return Some(frame),
            }
        }
    }

    /// The next message; `None` at the end.
    pub(crate) async fn next_text(&mut self) -> Option<String> {
        match self.next_frame().await? {
            Message::Text(text) => Some(text.as_str().to_owned()),
            Message::Close(_) => None,
            frame => panic!("got {frame:?}"),
        }
    }

    pub(crate) async fn next_json(&mut self) -> Value {
        let text = self.next_text().await.expect("the page is still connected");
        serde_json::from_str(&text).expect("it is JSON")
    }

    /// The next message is this one, byte for byte.
    pub(crate) async fn hears(&mut self, text: &str) {
        assert_eq!(self.next_text().await.as_deref(), Some(text));
    }

    /// The server has handled what this page sent before, and nothing is on its way to it.
    pub(crate) async fn hears_nothing(&mut self) {
        let fence = Message::Ping(b"fence"[..].into());
        assert!(self.sends_frame(fence).await, "the page was cut off");
        let next = self.next_frame().await;
        let is_fence = matches!(&next, Some(Message::Pong(payload)) if &payload[..] == b"fence");
        assert!(is_fence, "got {next:?}");
    }

    /// Waits for the goodbye, whatever comes before it.
    pub(crate) async fn is_closed_with(&mut self, code: u16) -> String {
        loop {
            match self.next_frame().await {
                Some(Message::Close(Some(close))) => {
                    assert_eq!(u16::from(close.code), code, "{}", close.reason);
                    return close.reason.as_str().to_owned();
                }
                Some(Message::Close(None)) | None => panic!("it ended without a goodbye"),
                Some(_) => {}
            }
        }
    }

    /// Says goodbye, and gives the messages that came before the server's answer.
    pub(crate) async fn leaves(mut self) -> Vec<String> {
        within("room", self.websocket.close(None)).await.ok();
        let mut last = Vec::new();
        while let Some(text) = self.next_text().await {
            last.push(text);
        }
        last
    }

    /// Waits for the end, with or without a goodbye.
    pub(crate) async fn ends(&mut self) {
        while self.next_text().await.is_some() {}
    }
}

/// A message to a user or, as JSON, a list of them, that asks for an acknowledgement.
pub(crate) fn note(to: &str, text: &str) -> String {
    let to = match to.starts_with('[') {
        true => to.to_owned(),
        false => Value::from(to).to_string(),
    };
    format!(r#"{{"uid":{to},"text":"{text}","ref":"r"}}"#)
}

/// The same to a group.
pub(crate) fn note_to_group(group: &str, text: &str) -> String {
    let group = Value::from(group);
    format!(r#"{{"group":{group},"text":"{text}","ref":"r"}}"#)
}

/// The number in an acknowledgement.
pub(crate) fn acked(answer: &Value) -> u64 {
    assert_eq!(answer["type"], "ack", "{answer}");
    answer["id"].as_u64().expect("the id is a number")
}

/// The texts of a history's messages, the newest first.
pub(crate) fn texts(history: &Value) -> Vec<&str> {
    let items = history["items"].as_array().expect("items is a list");
    let texts = items.iter().map(|item| item["message"]["text"].as_str());
    texts.map(|text| text.expect("it has a text")).collect()
}
