//! A town to be attacked: a server, honest pages of several kinds on it, and what has to be so after
//! each attack. It knows of no particular attack.

use std::net::SocketAddr;
use std::time::Duration;

use campanile::app::Addresses;
use campanile::config::Config;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;

use crate::harness::figures::Figures;
use crate::harness::http::Http;
use crate::harness::page::{EIO3_POLLING, EIO4_WEBSOCKET, Page};
use crate::harness::process::{Process, campanile};
use crate::harness::raw::RawPage;
use crate::harness::{FREE, Server, eventually};

/// Who is honest.
const HONEST: [&str; 3] = ["honest 1", "honest 2", "honest 3"];

/// How late a message may come.
const LATE: Duration = Duration::from_secs(1);

/// A server with honest pages on it.
#[derive(Debug)]
pub(crate) struct Town {
    pub(crate) server: Server,
    websocket: Page,
    polling: Page,
    raw: RawPage,
    said: usize,
}

impl Town {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// In this process. Other addresses of this machine than 127.0.0.1 are strangers.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let server = Server::start_with(|config| {
            config.web.listen = FREE;
            config.admin.listen = FREE;
            config.uid_socket.listen = FREE;
            config.text.listen = FREE;
            config.limits.exempt = vec!["127.0.0.1/32".parse().expect("a network")];
            change(config);
        });
        Self::around(server, str::to_owned).await
    }

    /// In a process of its own, whose memory and log can be looked at.
    pub(crate) async fn apart(settings: &[&str]) -> (Process, Self) {
        Self::apart_by(campanile, settings).await
    }

    /// The same, by a command that `make` gives for the arguments.
    pub(crate) async fn apart_by(
        make: impl FnOnce(&[&str]) -> Command,
        settings: &[&str],
    ) -> (Process, Self) {
        let (process, server) = server_apart(make, settings).await;
        (process, Self::around(server, str::to_owned).await)
    }

    /// Settles around a server; `credential` is what a user logs in with.
    pub(crate) async fn around(server: Server, credential: impl Fn(&str) -> String) -> Self {
        let [first, second, third] = HONEST.map(credential);
        Self {
            websocket: server.login_by(EIO4_WEBSOCKET, &first).await,
            polling: server.login_by(EIO3_POLLING, &second).await,
            raw: RawPage::saying(server.uid_socket(), &third).await,
            server,
            said: 0,
        }
    }

    /// Each honest page gets a message of its own and then two for everyone, in order, nothing
    /// besides, and each within a second.
    pub(crate) async fn is_unharmed(&mut self, after: &str) {
        self.said += 1;
        let [own, first, second] = ["own", "1st", "2nd"].map(|n| format!("{n} {}", self.said));
        let Self {
            server,
            websocket,
            polling,
            raw,
            ..
        } = self;
        in_time(after, async {
            assert_eq!(server.push(HONEST[0], &own).await, "ok", "after {after}");
            websocket.receives(&own).await;
        })
        .await;
        in_time(after, async {
            assert_eq!(server.push(HONEST[1], &own).await, "ok", "after {after}");
            polling.receives(&own).await;
        })
        .await;
        in_time(after, async {
            assert_eq!(server.push(HONEST[2], &own).await, "ok", "after {after}");
            raw.receives(&own).await;
        })
        .await;
        in_time(after, async {
            server.push_to_everyone(&first).await;
            server.push_to_everyone(&second).await;
            for message in [&first, &second] {
                websocket.receives(message).await;
                polling.receives(message).await;
                raw.receives(message).await;
            }
        })
        .await;
    }

    /// The honest page that polls goes on over another connection: one that is not used for long is
    /// closed, and a browser takes another, too.
    pub(crate) async fn takes_another_connection(&mut self) {
        self.polling.takes_another_connection().await;
    }

    /// The first that was last said to everyone.
    pub(crate) fn last_first(&self) -> String {
        format!("1st {}", self.said)
    }

    /// The honest page of a raw websocket gets this so many times.
    pub(crate) async fn raw_receives(&mut self, message: &str, times: usize) {
        for _ in 0..times {
            self.raw.receives(message).await;
        }
    }

    /// Waits until nobody is online but the honest.
    pub(crate) async fn is_alone(&mut self) {
        let honest = (HONEST.len() as u64, HONEST.len() as u64);
        let server = &self.server;
        eventually("all but the honest to be gone", async || {
            online(server).await == honest
        })
        .await;
    }

    /// How many were refused by this limit.
    pub(crate) async fn refused_by(&self, limit: &str) -> usize {
        let name = format!("campanile_refused_by_limit_total{{limit=\"{limit}\"}}");
        Figures::of(&self.server).await.value(&name) as usize
    }

    /// A new Socket.IO session by polling, from an address of this machine; gives the answer's status
    /// and its code, if it has one.
    pub(crate) async fn opens_from(&self, last: u8, headers: &str) -> (u16, Value) {
        let tcp = stranger(last, self.server.socketio()).await;
        let mut http = Http::over(tcp);
        http.send(format!(
            "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n{headers}\r\n"
        ))
        .await;
        let answer = http.answer().await;
        let code = match answer.status {
            200 => Value::Null,
            _ => answer.json()["code"].clone(),
        };
        (answer.status, code)
    }
}

/// A server in a process of its own, with what a town needs.
pub(crate) async fn server_apart(
    make: impl FnOnce(&[&str]) -> Command,
    settings: &[&str],
) -> (Process, Server) {
    let any = "127.0.0.1:0";
    let mut all = vec![
        "web.listen=127.0.0.1:0",
        "admin.listen=127.0.0.1:0",
        "uid_socket.listen=127.0.0.1:0",
        "text.listen=127.0.0.1:0",
        "presence.interval=1h",
        "recovery.window=0s",
        r#"limits.exempt=["127.0.0.1/32"]"#,
    ];
    all.extend(settings);
    let mut process = Process::start_by(make, (any, any), &all).await;
    let addresses = Addresses {
        socketio: Some(process.socketio),
        http: Some(process.http),
        web: Some(process.listens("web").await),
        admin: Some(process.listens("admin").await),
        uid_socket: Some(process.listens("uid_socket").await),
        text: Some(process.listens("text").await),
        topic_socket: None,
        udp: None,
        chat: None,
        socketio_unix: None,
        http_unix: None,
    };
    (process, Server::at(addresses))
}

/// Waits until the process has at most so much more memory than it had.
pub(crate) async fn memory_is_back(process: &Process, before: u64, more: u64) {
    let most = before + more;
    let deadline = tokio::time::Instant::now() + super::DEADLINE;
    let mut again = tokio::time::interval(Duration::from_millis(50));
    let mut now = process.resident();
    while now > most && tokio::time::Instant::now() < deadline {
        again.tick().await;
        now = process.resident();
    }
    assert!(now <= most, "{before} bytes before, {now} after");
}

/// Ends the process in order, and shows that it has said little, and nothing that a person must act on.
pub(crate) async fn has_said_little(mut process: Process, most: usize) {
    let lines = process.lines_till_the_end().await;
    assert!(lines.len() <= most, "{} lines: {lines:#?}", lines.len());
    let error = |line: &&String| line.contains(r#""level":"ERROR""#) || !line.starts_with('{');
    assert_eq!(lines.iter().find(error), None);
}

/// How many users and pages are online.
pub(crate) async fn online(server: &Server) -> (u64, u64) {
    let mut http = Http::open(server.web()).await;
    http.get("/online.json").await;
    let online = http.answer().await.json();
    let number = |name: &str| online[name].as_u64().expect("a number");
    (number("users"), number("pages"))
}

/// A connection from 127.0.0.`last`.
pub(crate) async fn stranger(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("there is a socket");
    let from = SocketAddr::from(([127, 0, 0, last], 0));
    socket.bind(from).expect("it is an address of this machine");
    socket.connect(to).await.expect("the port is open")
}

/// What an event of this name, the next one, carries.
pub(crate) async fn next_of(page: &mut Page, name: &str) -> Value {
    let start = format!("42[\"{name}\",");
    loop {
        let packet = page.next_packet().await;
        let packet = packet.unwrap_or_else(|| panic!("it was cut before {name}"));
        if packet.starts_with(&start) {
            let event: Value = serde_json::from_str(&packet[2..]).expect("an event is JSON");
            return event[1].clone();
        }
    }
}

async fn in_time(after: &str, delivery: impl Future<Output = ()>) {
    let delivered = tokio::time::timeout(LATE, delivery).await;
    assert!(
        delivered.is_ok(),
        "an honest page waited too long after {after}"
    );
}
