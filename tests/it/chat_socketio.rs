//! The chat of Socket.IO pages: events that are answered by their acknowledgement.

use serde_json::{Value, json};

use crate::harness::Server;
use crate::harness::chat::{ChatServer, Talker, texts};
use crate::harness::page::{DIALECTS, EIO3_POLLING, EIO4_POLLING, EIO4_WEBSOCKET};
use crate::harness::records::{newest, open};

async fn start() -> ChatServer {
    ChatServer::start_with(|config| config.chat.socketio = true).await
}

async fn is_refused(page: &mut Talker, event: &str, payload: Value, error: &str) {
    let answer = page.asks(event, payload.clone()).await;
    let expected = json!({"type": "error", "error": error});
    assert_eq!(answer, expected, "{event} {payload}");
}

#[tokio::test]
async fn a_message_reaches_the_pages_of_its_addressees_and_is_acknowledged() {
    let server = start().await;
    let (mut pages, mut raw) = (Vec::new(), server.chats_as("bob").await);
    for dialect in DIALECTS {
        pages.push(Talker::login(&server, dialect, "bob").await);
    }
    let mut bystander = Talker::login(&server, EIO4_WEBSOCKET, "cid").await;
    let content = "<script>alert('é名😀') && \"x\"</script>";
    let escaped = "&lt;script&gt;alert(&#039;é名😀&#039;) &amp;&amp; &quot;x&quot;&lt;/script&gt;";
    for (dialect, id) in DIALECTS.into_iter().zip(1..) {
        let mut ann = Talker::login(&server, dialect, "ann").await;
        let message = json!({"to": ["bob", "bob", "dan"], "content": content, "ref": "r1",
            "type": "login", "uid": "cid", "from": "eve", "more": [1.5, {"x": null}]});
        let answer = ann.asks("new_msg", message.clone()).await;
        let ack = json!({"type": "ack", "ref": "r1", "id": id, "delivered": 5});
        assert_eq!(answer, ack, "{dialect:?}");
        for page in &mut pages {
            let arguments = page.next_arguments().await;
            assert_eq!(arguments[0], escaped, "{page:?}");
            assert_eq!(
                (&arguments[1]["id"], &arguments[1]["from"]),
                (&json!(id), &json!("ann"))
            );
            assert!(arguments[1]["ts"].as_u64() > Some(1_700_000_000_000));
            assert_eq!(arguments.len(), 2);
        }
        // Other chat pages get the object.
        assert_eq!(raw.next_json().await, message);
        ann.hears_nothing().await;
        ann.leaves().await;
    }
    raw.hears_nothing().await;
    for page in pages.iter_mut().chain([&mut bystander]) {
        page.hears_nothing().await;
    }
}

#[tokio::test]
async fn an_event_that_asks_for_no_answer_is_carried_out_too() {
    let server = start().await;
    for dialect in DIALECTS {
        let mut ann = Talker::login(&server, dialect, "ann").await;
        ann.emits("join", &json!({"group": "g"})).await;
        ann.emits("new_msg", &json!({"group": "g", "content": "to the group"}))
            .await;
        assert_eq!(ann.next_arguments().await[0], "to the group");
        ann.emits("new_msg", &json!({"to": 7})).await;
        ann.emits("new_msg", &json!({"to": "ann", "content": "to herself"}))
            .await;
        assert_eq!(ann.next_arguments().await[0], "to herself");
        ann.hears_nothing().await;
        ann.leaves().await;
        server.waits_until_offline("ann").await;
    }
}

#[tokio::test]
async fn who_has_not_logged_in_is_told_so() {
    let server = start().await;
    let store = open(&server.store_url()).await;
    for dialect in DIALECTS {
        let mut nobody = Talker::new(server.connect_by(dialect).await);
        let mut guest = Talker::login(&server, dialect, "").await;
        for page in [&mut nobody, &mut guest] {
            let message = json!({"to": "ann", "content": "hi", "uid": "ann"});
            is_refused(page, "new_msg", message, "log in first").await;
            is_refused(page, "join", json!({"group": "g"}), "log in first").await;
            is_refused(page, "leave", json!({"group": "g"}), "log in first").await;
            is_refused(page, "history", json!({"with": "ann"}), "log in first").await;
            is_refused(page, "new_msg", Value::Null, "log in first").await;
        }
    }
    assert_eq!(newest(&*store).await, 0);
}

#[tokio::test]
async fn where_it_is_off_who_sends_is_told_so_and_nothing_is_kept() {
    let off = "chat over Socket.IO is off: the server needs [chat] socketio = true";
    let without = Server::start();
    let raw_only = ChatServer::start().await;
    let mut ann = raw_only.chats_as("ann").await;
    for dialect in DIALECTS {
        for server in [&without, &*raw_only] {
            let mut bob = Talker::login(server, dialect, "bob").await;
            let message = json!({"to": "ann", "content": "hi"});
            is_refused(&mut bob, "new_msg", message.clone(), off).await;
            bob.emits("new_msg", &message).await;
            bob.emits("join", &json!({"group": "g"})).await;
            bob.hears_nothing().await;
        }
    }
    ann.hears_nothing().await;
    // What chat pages write is heard all the same.
    let mut cid = Talker::login(&raw_only, EIO3_POLLING, "cid").await;
    assert_eq!(ann.tells("cid", "hi").await, 1);
    assert_eq!(cid.next_arguments().await[1]["id"], 1);
}

#[tokio::test]
async fn an_error_says_what_is_wrong_and_what_would_be_right() {
    let server = start().await;
    let store = open(&server.store_url()).await;
    for dialect in DIALECTS {
        let mut ann = Talker::login(&server, dialect, "ann").await;
        for (payload, error) in wrong_messages() {
            is_refused(&mut ann, "new_msg", payload, error).await;
        }
        for (event, payload, error) in [
            ("join", json!(5), NOT_OBJECT),
            ("join", json!({}), "group is missing"),
            ("join", json!({"group": ""}), "group is empty"),
            (
                "leave",
                json!({"group": {}}),
                "group has to be a text or a whole number",
            ),
            ("history", json!("bob"), NOT_OBJECT),
            ("history", json!({}), "with or group is missing"),
            ("history", json!({"group": "g"}), NOT_JOINED),
        ] {
            is_refused(&mut ann, event, payload, error).await;
        }
        let answer = ann.asks("join", json!({"ref": 5})).await;
        assert_eq!(answer["ref"], 5);
        ann.hears_nothing().await;
    }
    assert_eq!(newest(&*store).await, 0);
}

const NOT_OBJECT: &str = r#"expected an object, as {"to":"bob","content":"hi"}"#;
const NOT_JOINED: &str = r#"group "g": join it first"#;

fn wrong_messages() -> [(Value, &'static str); 14] {
    let no_content = "content is missing, or not a text";
    let nobody = "the message has no addressee: expected uid or group";
    let both = "the message has both uid and group: expected one of them";
    let many = "uid is a list of 1001, the most is 1000";
    let reference = "ref has to be a text or a number of at most 128 bytes";
    let with = |to: Value| json!({"to": to, "content": "hi"});
    [
        (Value::Null, NOT_OBJECT),
        (json!("hi"), NOT_OBJECT),
        (json!([with(json!("ann"))]), NOT_OBJECT),
        (json!({"to": "ann"}), no_content),
        (json!({"to": "ann", "content": 5}), no_content),
        (json!({"to": "ann", "content": null}), no_content),
        (json!({"content": "hi"}), nobody),
        (json!({"uid": "ann", "content": "hi"}), nobody),
        (with(json!([])), "uid is an empty list"),
        (with(json!("")), "uid is empty"),
        (with(json!(vec!["x"; 1001])), many),
        (json!({"to": "ann", "group": "g", "content": "hi"}), both),
        (json!({"group": "g", "content": "hi"}), NOT_JOINED),
        (json!({"to": "ann", "content": "hi", "ref": {}}), reference),
    ]
}

#[tokio::test]
async fn a_group_is_joined_heard_and_left() {
    let server = start().await;
    for (dialect, n) in DIALECTS.into_iter().zip(0..) {
        let group = format!("g{n}");
        let mut raw = server.chats_as("raw").await;
        raw.joins(&group).await;
        let mut ann = Talker::login(&server, dialect, "ann").await;
        let mut bob = Talker::login(&server, EIO4_POLLING, "bob").await;
        for page in [&mut ann, &mut bob] {
            let answer = page.asks("join", json!({"group": group, "ref": 1})).await;
            assert_eq!(
                (&answer["type"], &answer["group"]),
                (&json!("joined"), &json!(group))
            );
            assert!(answer["last"].is_u64());
        }
        let message = json!({"group": group, "content": "<b>"});
        let answer = ann.asks("new_msg", message.clone()).await;
        assert_eq!(answer["delivered"], 3);
        assert!(answer.get("ref").is_none());
        for page in [&mut ann, &mut bob] {
            assert_eq!(page.next_arguments().await[0], "&lt;b&gt;");
        }
        assert_eq!(raw.next_json().await, message);

        let answer = bob.asks("leave", json!({"group": group})).await;
        assert_eq!(answer, json!({"type": "left", "group": group}));
        raw.tells_group(&group, "from raw").await;
        assert_eq!(ann.next_arguments().await[1]["from"], "raw");
        bob.hears_nothing().await;
        // Who goes leaves its groups.
        ann.leaves().await;
        server.waits_until_offline("ann").await;
        let answer = raw.asks(&format!(r#"{{"group":"{group}","ref":1}}"#)).await;
        assert!(answer["ref"].is_u64());
        assert_eq!(raw.next_json().await["delivered"], 1);
    }
}

#[tokio::test]
async fn what_was_said_can_be_read() {
    let server = start().await;
    let mut raw = server.chats_as("bob").await;
    for text in ["1", "2", "3"] {
        raw.tells("ann", text).await;
    }
    raw.tells("cid", "not hers").await;
    for dialect in DIALECTS {
        let mut ann = Talker::login(&server, dialect, "ann").await;
        let history = ann
            .asks("history", json!({"with": "bob", "limit": 2, "ref": "h"}))
            .await;
        assert_eq!(
            (&history["type"], &history["ref"]),
            (&json!("history"), &json!("h"))
        );
        assert_eq!(texts(&history), ["3", "2"]);
        assert_eq!(
            (&history["more"], &history["with"]),
            (&json!(true), &json!("bob"))
        );
        let history = ann
            .asks("history", json!({"with": "bob", "before": 2}))
            .await;
        assert_eq!(texts(&history), ["1"]);
        assert_eq!(history["items"][0]["from"], "bob");
        let history = ann.asks("history", json!({"with": "cid"})).await;
        assert_eq!(history["items"], json!([]));
    }
}

#[tokio::test]
async fn what_is_not_ascii_is_read_by_every_client() {
    let server = start().await;
    let mut bob = server.chats_as("bob").await;
    bob.tells("ann", "é名😀").await;
    for dialect in DIALECTS {
        let mut ann = Talker::login(&server, dialect, "ann").await;
        let history = ann
            .asks("history", json!({"with": "bob", "ref": "é名"}))
            .await;
        assert_eq!(texts(&history), ["é名😀"], "{dialect:?}");
        assert_eq!(history["ref"], "é名", "{dialect:?}");
        let joined = ann.asks("join", json!({"group": "é名"})).await;
        assert_eq!(joined["group"], "é名", "{dialect:?}");
    }
}

#[tokio::test]
async fn messages_and_acks_keep_the_order_in_which_they_were_sent() {
    let server = start().await;
    let mut raw = server.chats_as("bob").await;
    let mut last = 0;
    for dialect in DIALECTS {
        let mut ann = Talker::login(&server, dialect, "ann").await;
        let events = (0..200).map(|n| {
            let message = json!({"to": ["bob"], "content": n.to_string(), "ref": n});
            ("new_msg", message)
        });
        let events: Vec<_> = events.collect();
        for (answer, (_, message)) in ann.asks_together(&events).await.iter().zip(&events) {
            assert_eq!(answer["ref"], message["ref"]);
            assert!(answer["id"].as_u64() > Some(last), "{answer}");
            last = answer["id"].as_u64().expect("it has an id");
            assert_eq!(raw.next_json().await, *message);
        }
    }
}

#[tokio::test]
async fn what_is_too_much_at_once_is_refused_and_what_is_acknowledged_is_delivered() {
    let server = start().await;
    let mut raw = server.chats_as("bob").await;
    let mut ann = Talker::login(&server, EIO4_WEBSOCKET, "ann").await;
    let events = (0..900).map(|n| ("new_msg", json!({"to": "bob", "content": "hi", "ref": n})));
    let events: Vec<_> = events.collect();
    for (answer, (_, message)) in ann.asks_together(&events).await.iter().zip(&events) {
        assert_eq!(answer["ref"], message["ref"]);
        if answer["type"] == "ack" {
            assert_eq!(raw.next_json().await, *message);
        } else {
            assert_eq!(answer["error"], "the server is busy, try again");
        }
    }
    raw.hears_nothing().await;
}

/// As on the chat websocket: a history that follows a message on the wire has it.
#[tokio::test]
async fn what_a_page_has_just_sent_is_in_its_history() {
    let server = start().await;
    for dialect in DIALECTS {
        let mut ann = Talker::login(&server, dialect, "ann").await;
        for n in 0..20 {
            let message = json!({"to": "bob", "content": "hi", "text": n.to_string()});
            let read = json!({"with": "bob", "limit": 1});
            let events = [("new_msg", message), ("history", read)];
            let answers = ann.asks_together(&events).await;
            assert_eq!(texts(&answers[1]), [n.to_string()], "{dialect:?}");
        }
    }
}

#[tokio::test]
async fn the_longest_message_is_the_same_as_on_the_chat_websocket() {
    let server = ChatServer::start_with(|config| {
        config.chat.socketio = true;
        config.chat.max_message = bytesize::ByteSize::kib(4);
    })
    .await;
    let mut ann = Talker::login(&server, EIO4_WEBSOCKET, "ann").await;
    let message = |length| json!({"to": "ann", "content": "x".repeat(length)});
    let answer = ann.asks("new_msg", message(4000)).await;
    assert_eq!(answer["type"], "ack");
    let answer = ann.asks("new_msg", message(5000)).await;
    assert_eq!(answer["type"], "error", "{answer}");
}

#[tokio::test]
async fn stamps_are_the_servers_own() {
    let server = ChatServer::start_with(|config| {
        config.chat.socketio = true;
        config.chat.stamp = true;
    })
    .await;
    let mut ann = Talker::login(&server, EIO4_WEBSOCKET, "ann").await;
    let mut bob = server.chats_as("bob").await;
    let forged = json!({"to": "bob", "content": "hi", "_from": "cid"});
    let error = r#""_from" is stamped by the server and cannot be in a message"#;
    is_refused(&mut ann, "new_msg", forged, error).await;
    ann.asks("new_msg", json!({"to": "bob", "content": "hi"}))
        .await;
    let message = bob.next_json().await;
    assert_eq!(
        (&message["_id"], &message["_from"]),
        (&json!(1), &json!("ann"))
    );
}
