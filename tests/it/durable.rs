//! What a chat page has an acknowledgement for is there, whatever happens to the server or to its
//! database.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use campanile::record::{Addressee, RecordId};
use campanile::store::MessageStore;
use campanile::uid::Uid;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Sender, channel};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::harness::postgres::Postgres;
use crate::harness::process::Process;
use crate::harness::records::{END, open};
use crate::harness::{FREE, Server, eventually, within};

const ANY: &str = "127.0.0.1:0";

/// How often the server is killed.
const KILLS: usize = 20;

/// Pages that send at once.
const SENDERS: usize = 6;

/// Messages that a page sends without waiting.
const IN_FLIGHT: usize = 50;

type Websocket = WebSocketStream<TcpStream>;

async fn page(address: SocketAddr, uid: &str) -> Websocket {
    let tcp = TcpStream::connect(address).await.expect("the port is open");
    let (mut page, _) = client_async("ws://localhost/", tcp)
        .await
        .expect("a websocket opens");
    says(&mut page, &format!(r#"{{"type":"login","uid":"{uid}"}}"#)).await;
    let login = next(&mut page).await.expect("the login is answered");
    assert_eq!(login["type"], "login", "{login}");
    page
}

async fn says(page: &mut Websocket, text: &str) {
    page.send(Message::text(text)).await.expect("it is open");
}

/// The next text, as JSON; `None` when the connection has ended.
async fn next(page: &mut Websocket) -> Option<Value> {
    loop {
        match within("a text, or the end", page.next()).await?.ok()? {
            Message::Text(text) => {
                return Some(serde_json::from_str(&text).expect("it is JSON"));
            }
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

fn body(sender: &str, number: usize) -> String {
    format!(r#"{{"uid":"archive","ref":{number},"from":"{sender}"}}"#)
}

/// Sends until the connection ends; tells each acknowledgement: the record, and its message.
async fn sends(address: SocketAddr, sender: String, told: Sender<(u64, String)>) {
    let mut page = page(address, &sender).await;
    for number in 0.. {
        let text = Message::text(body(&sender, number));
        if page.send(text).await.is_err() {
            break;
        }
        if number < IN_FLIGHT {
            continue;
        }
        let Some(answer) = next(&mut page).await else {
            break;
        };
        assert_eq!(answer["type"], "ack", "{answer}");
        let (record, number) = (answer["id"].as_u64(), answer["ref"].as_u64());
        let number = number.expect("the ref comes back") as usize;
        let record = record.expect("a record has a number");
        told.send((record, body(&sender, number))).await.ok();
    }
    // Those that had left the server before it ended.
    while let Some(answer) = next(&mut page).await {
        let number = answer["ref"].as_u64().expect("it is an answer") as usize;
        let record = answer["id"].as_u64().expect("a record has a number");
        told.send((record, body(&sender, number))).await.ok();
    }
}

/// Kills a loaded server again and again, and compares what was acknowledged with what is kept.
async fn what_is_acknowledged_is_kept(url: &str) {
    let (store, chat) = (format!("store.url={url}"), "chat.listen=127.0.0.1:0");
    let mut acknowledged = BTreeMap::new();
    for kill in 0..KILLS {
        let mut server = Process::start(ANY, ANY, &[&store, chat]).await;
        let address = server.listens("chat").await;
        let (told, mut acks) = channel(1000);
        let senders: Vec<_> = (0..SENDERS)
            .map(|n| tokio::spawn(sends(address, format!("{kill}.{n}"), told.clone())))
            .collect();
        drop(told);
        // At another moment each time: within the first commits, or deep in the load.
        let moment = 1 + kill * kill * 7;
        for _ in 0..moment {
            let (record, body) = within("an acknowledgement", acks.recv())
                .await
                .expect("one more");
            assert_eq!(
                acknowledged.insert(record, body),
                None,
                "{record} is used twice"
            );
        }
        server.is_killed().await;
        while let Some((record, body)) = acks.recv().await {
            assert_eq!(
                acknowledged.insert(record, body),
                None,
                "{record} is used twice"
            );
        }
        for sender in senders {
            sender.await.expect("a sender ends with its connection");
        }
    }
    let kept = everything(&*open(url).await).await;
    for (record, body) in &acknowledged {
        assert_eq!(kept.get(record), Some(body), "record {record}");
    }
    assert!(acknowledged.len() > 10_000, "{}", acknowledged.len());
}

/// All that is kept for the one whom everybody writes to.
async fn everything(store: &dyn MessageStore) -> BTreeMap<u64, String> {
    let archive = Addressee::User(Uid::parse("archive").expect("it is a uid"));
    let (mut kept, mut since) = (BTreeMap::new(), RecordId(0));
    loop {
        let records = store.after(&archive, since, END, 1000).await;
        let records = records.expect("the store answers");
        let Some(last) = records.last() else {
            return kept;
        };
        since = last.id;
        kept.extend(records.into_iter().map(|record| (record.id.0, record.body)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_instant_loses_no_acknowledged_message_in_sqlite() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let file = folder.path().join("chat.db");
    what_is_acknowledged_is_kept(&format!("sqlite:{}", file.display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_instant_loses_no_acknowledged_message_in_postgres() {
    let postgres = Postgres::start().await;
    what_is_acknowledged_is_kept(&postgres.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_chat_says_so_and_live_pushes_go_on_until_it_is_back() {
    let mut postgres = Postgres::start().await;
    let server = Server::open_with(|config| {
        config.chat.listen = FREE;
        config.store.url = postgres.url().as_str().into();
        config.store.timeout = std::time::Duration::from_secs(2);
    })
    .await;
    let mut alice = page(server.chat(), "alice").await;
    let mut bob = page(server.chat(), "bob").await;
    let mut carol = server.login("carol").await;
    says(&mut alice, r#"{"uid":"bob","n":1,"ref":1}"#).await;
    assert_eq!(next(&mut bob).await.expect("it arrives")["n"], 1);
    assert_eq!(next(&mut alice).await.expect("an answer")["type"], "ack");

    postgres.stop();
    says(&mut alice, r#"{"uid":"bob","n":2,"ref":2}"#).await;
    let answer = next(&mut alice).await.expect("an answer");
    assert_eq!(
        (&answer["type"], &answer["ref"]),
        (&"error".into(), &2.into())
    );
    let error = answer["error"].as_str().expect("it says why");
    assert!(error.contains("store is unavailable"), "{error}");
    says(&mut alice, r#"{"type":"history","with":"bob","ref":3}"#).await;
    let answer = next(&mut alice).await.expect("an answer");
    assert_eq!(
        (&answer["type"], &answer["ref"]),
        (&"error".into(), &3.into())
    );
    assert_eq!(server.push("carol", "live").await, "ok");
    carol.receives("live").await;
    assert_eq!(server.push("bob", "[\"live\"]").await, "ok");
    // Message 2 was not kept, so it is not delivered; what comes next is the push.
    assert_eq!(next_text(&mut bob).await, "[&quot;live&quot;]");

    postgres.restart().await;
    let alice = Arc::new(tokio::sync::Mutex::new(alice));
    eventually("the chat to keep messages again", || {
        let alice = Arc::clone(&alice);
        async move {
            let mut alice = alice.lock().await;
            says(&mut alice, r#"{"uid":"bob","n":4,"ref":4}"#).await;
            next(&mut alice).await.expect("an answer")["type"] == "ack"
        }
    })
    .await;
    assert_eq!(next(&mut bob).await.expect("it arrives")["n"], 4);
}

async fn next_text(page: &mut Websocket) -> String {
    loop {
        let message = within("a text", page.next()).await.expect("it is open");
        if let Message::Text(text) = message.expect("it is sound") {
            return text.to_string();
        }
    }
}
