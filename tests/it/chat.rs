//! The chat websocket: whom a message reaches, and what its sender is told.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::chat::{ChatPage, ChatServer, Talker, acked, note_to_group};
use crate::harness::page::{EIO3_POLLING, EIO4_WEBSOCKET};
use crate::harness::{FREE, within};

async fn uid_page(server: &ChatServer, uid: &str) -> ChatPage {
    let mut page = ChatPage::connect(server.uid_socket(), "").await;
    page.says(uid).await;
    page.hears_nothing().await;
    page
}

#[tokio::test]
async fn a_message_reaches_every_page_of_its_addressees_verbatim_and_once() {
    let server = ChatServer::start_with(|config| config.uid_socket.listen = FREE).await;
    let mut raw = Vec::new();
    for uid in ["ann", "ann", "bob", "bob", "7"] {
        raw.push(server.chats_as(uid).await);
    }
    raw.push(uid_page(&server, "bob").await);
    let mut socketio = [
        Talker::login(&server, EIO4_WEBSOCKET, "bob").await,
        Talker::login(&server, EIO3_POLLING, "bob").await,
    ];
    let mut bystander = server.chats_as("cid").await;
    let mut other_app = uid_page(&server, "cid").await;

    let text = "  {\"uid\":[\"bob\",\"ann\",\"bob\",7,\"7\"],\t\"n\" : 1.50e1, \
                \"text\":\"<b>é\\u00e9</b> '名' & \\\"\", \"ref\":\"c1\",\"x\":[[{}]] } \r\n";
    raw[0].says(text).await;
    for page in &mut raw {
        page.hears(text).await;
    }
    let ack = json!({"type": "ack", "ref": "c1", "id": 1, "delivered": 8});
    assert_eq!(raw[0].next_json().await, ack);
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    let escaped = escaped.replace('>', "&gt;").replace('"', "&quot;");
    for page in &mut socketio {
        let arguments = page.next_arguments().await;
        assert_eq!(arguments[0], escaped.replace('\'', "&#039;"));
        let stamp = arguments[1].as_object().expect("it is an object");
        assert_eq!(stamp.keys().collect::<Vec<_>>(), ["from", "id", "ts"]);
        assert_eq!((&stamp["id"], &stamp["from"]), (&json!(1), &json!("ann")));
        assert!(stamp["ts"].as_u64() > Some(1_700_000_000_000));
        assert_eq!(arguments.len(), 2);
    }
    for page in raw.iter_mut().chain([&mut bystander, &mut other_app]) {
        page.hears_nothing().await;
    }
    for page in &mut socketio {
        page.hears_nothing().await;
    }
}

#[tokio::test]
async fn who_writes_gets_an_answer_only_where_it_asks_for_one() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    let mut bob = server.chats_as("bob").await;
    ann.says(r#"{"uid":"bob"}"#).await;
    bob.hears(r#"{"uid":"bob"}"#).await;
    ann.says(r#"{"uid":"bob","ref":null}"#).await;
    bob.hears(r#"{"uid":"bob","ref":null}"#).await;
    ann.hears_nothing().await;
    let longest = format!(r#""{}""#, "x".repeat(126));
    let refs = [
        r#""""#,
        r#""c 1\u0000""#,
        "0",
        "-7",
        "1.50",
        "1e999",
        &longest,
    ];
    for (reference, id) in refs.into_iter().zip(3..) {
        ann.says(&format!(r#"{{"uid":"nobody","ref":{reference}}}"#))
            .await;
        ann.hears(&format!(
            r#"{{"type":"ack","ref":{reference},"id":{id},"delivered":0}}"#
        ))
        .await;
    }
    let error = "ref has to be a text or a number of at most 128 bytes";
    let long = format!(r#""{}""#, "x".repeat(127));
    for reference in ["{}", "[1]", "true", "false", &long] {
        let request = format!(r#"{{"uid":"bob","ref":{reference}}}"#);
        ann.is_refused(&request, error).await;
        let request = format!(r#"{{"type":"join","group":"g","ref":{reference}}}"#);
        ann.is_refused(&request, error).await;
    }
    bob.hears_nothing().await;
    assert_eq!(ann.tells("bob", "next").await, 10);
}

#[tokio::test]
async fn an_error_says_what_is_wrong_and_what_would_be_right() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    let no_name = |field| format!("{field} has to be a text or a whole number");
    let (no_uid, no_group) = (no_name("uid"), no_name("group"));
    let (long, list) = ("x".repeat(1025), vec!["x"; 1001]);
    for (members, error) in [
        (
            json!({"text": "hi"}),
            "the message has no addressee: expected uid or group",
        ),
        (
            json!({"uid": null}),
            "the message has no addressee: expected uid or group",
        ),
        (
            json!({"uid": "a", "group": "g"}),
            "the message has both uid and group: expected one of them",
        ),
        (json!({"uid": ""}), "uid is empty"),
        (json!({"uid": ["a", ""]}), "uid is empty"),
        (json!({"uid": []}), "uid is an empty list"),
        (json!({"uid": {"a": 1}}), &no_uid),
        (json!({"uid": [["a"]]}), &no_uid),
        (json!({"uid": ["a", null]}), &no_uid),
        (json!({"uid": false}), &no_uid),
        (json!({"uid": 1.5}), &no_uid),
        (
            json!({"uid": long}),
            "uid is 1025 bytes long, the most is 1024",
        ),
        (
            json!({"uid": list}),
            "uid is a list of 1001, the most is 1000",
        ),
        (json!({"group": ""}), "group is empty"),
        (
            json!({"group": &long[..257]}),
            "group is 257 bytes long, the most is 256",
        ),
        (json!({"group": ["g"]}), &no_group),
        (json!({"group": "g"}), r#"group "g": join it first"#),
        (json!({"type": "join"}), "group is missing"),
        (json!({"type": "join", "group": ""}), "group is empty"),
        (json!({"type": "leave", "group": {}}), &no_group),
        (json!({"type": "watch"}), "uid is missing"),
        (
            json!({"type": "unwatch", "uid": []}),
            "uid is an empty list",
        ),
        (json!({"type": "history"}), "with or group is missing"),
        (json!({"type": "history", "with": ""}), "uid is empty"),
    ] {
        let mut request = members;
        request["ref"] = json!(5);
        let answer = ann.asks(&request.to_string()).await;
        let expected = json!({"type": "error", "ref": 5, "error": error});
        assert_eq!(answer, expected);
    }
    assert_eq!(ann.tells("ann", "the first record").await, 1);
}

/// Only `uid`, `group`, `type` and `ref` of a message are ours.
#[tokio::test]
async fn the_other_members_of_a_message_are_the_applications_own() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    let mut bob = server.chats_as("bob").await;
    for member in [
        r#""type":"text""#,
        r#""type":{"a":1}"#,
        r#""with":[1],"token":{}"#,
        r#""_from":"cid","_id":0,"_ts":null"#,
        r#""n":1e999,"s":"\udfff""#,
    ] {
        let text = format!(r#"{{"uid":"bob",{member}}}"#);
        ann.says(&text).await;
        ann.hears_nothing().await;
        bob.hears(&text).await;
    }
}

#[tokio::test]
async fn a_message_may_have_members_that_mean_something_in_other_requests() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    let mut bob = server.chats_as("bob").await;
    for member in [
        r#""since":"yesterday""#,
        r#""before":-1"#,
        r#""limit":{"speed":30}"#,
    ] {
        let text = format!(r#"{{"uid":"bob",{member}}}"#);
        ann.says(&text).await;
        ann.hears_nothing().await;
        bob.hears(&text).await;
    }
}

#[tokio::test]
async fn an_error_names_the_member_whose_value_is_wrong() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    for member in ["before", "limit"] {
        let request = format!(r#"{{"type":"history","with":"bob","{member}":"x"}}"#);
        let answer = ann.asks(&request).await;
        let error = answer["error"].as_str().expect("it is refused");
        assert!(error.contains(member), "{error}");
    }
}

#[tokio::test]
async fn a_group_hears_what_its_members_say() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    let mut bob = server.chats_as("bob").await;
    let mut cid = server.chats_as("cid").await;
    let not_joined = r#"group "0": join it first"#;
    ann.is_refused(&note_to_group("0", "early"), not_joined)
        .await;
    let answer = ann.asks(r#"{"type":"join","group":0,"ref":"j"}"#).await;
    let joined = json!({"type": "joined", "ref": "j", "group": "0", "last": 0});
    assert_eq!(answer, joined);
    bob.joins("0").await;
    bob.joins("0").await;
    bob.joins("other").await;
    cid.is_refused(&note_to_group("0", "not in"), not_joined)
        .await;

    let text = note_to_group("0", "hi");
    ann.says(&text).await;
    ann.hears(&text).await;
    assert_eq!(ann.next_json().await["delivered"], 2);
    bob.hears(&text).await;
    bob.says(r#"{"group":"other"}"#).await;
    bob.hears(r#"{"group":"other"}"#).await;

    let answer = bob.asks(r#"{"type":"leave","group":"0","ref":7}"#).await;
    assert_eq!(answer, json!({"type": "left", "ref": 7, "group": "0"}));
    bob.is_refused(&note_to_group("0", "late"), not_joined)
        .await;
    ann.says(&text).await;
    ann.hears(&text).await;
    assert_eq!(ann.next_json().await["delivered"], 1);
    for page in [&mut bob, &mut cid] {
        page.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_page_leaves_its_groups_when_it_disconnects() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    ann.joins("g").await;
    let mut bob = server.chats_as("bob").await;
    bob.joins("g").await;
    drop(bob);
    within("bob to be out of the group", async {
        let (text, mut delivered) = (note_to_group("g", "who is there?"), Value::Null);
        while delivered != 1 {
            ann.says(&text).await;
            ann.hears(&text).await;
            delivered = ann.next_json().await["delivered"].take();
        }
    })
    .await;
    let mut bob = server.chats_as("bob").await;
    let not_joined = r#"group "g": join it first"#;
    bob.is_refused(&note_to_group("g", "hi"), not_joined).await;
}

#[tokio::test]
async fn a_binary_frame_is_a_message_like_any_other() {
    let server = ChatServer::start().await;
    let mut ann = server.chat_page().await;
    let login = Message::binary(&br#"{"type":"login","uid":"ann"}"#[..]);
    assert!(ann.sends_frame(login).await);
    assert_eq!(ann.next_json().await["type"], "login");
    let text = r#"{"uid":"ann","text":"é"}"#;
    assert!(ann.sends_frame(Message::binary(text.as_bytes())).await);
    ann.hears(text).await;
}

#[tokio::test]
async fn messages_and_acks_keep_the_order_in_which_they_were_sent() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    let mut bob = server.chats_as("bob").await;
    let numbers: Vec<String> = (0..500).map(|n: u32| n.to_string()).collect();
    let note_of = |n: &String| format!(r#"{{"uid":"bob","n":{n},"ref":{n}}}"#);
    assert!(ann.tries_to_say(numbers.iter().map(note_of)).await);
    let mut last = 0;
    for n in &numbers {
        bob.hears(&note_of(n)).await;
        let answer = ann.next_json().await;
        assert_eq!(answer["ref"].to_string(), *n);
        assert_eq!(answer["delivered"], 1);
        assert!(acked(&answer) > last);
        last = acked(&answer);
    }
}

#[tokio::test]
async fn a_message_cannot_name_its_sender() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    let mut bob = server.chats_as("bob").await;
    let forged = r#"{"uid":"bob","from":"cid","_from":"cid","sender":"cid","ref":1}"#;
    ann.says(forged).await;
    assert_eq!(ann.next_json().await["type"], "ack");
    bob.hears(forged).await;
    let history = bob.reads(r#""with":"ann""#).await;
    assert_eq!(history["items"][0]["from"], "ann");
    let history = bob.reads(r#""with":"cid""#).await;
    assert_eq!(history["items"], json!([]));
}

#[tokio::test]
async fn a_stamp_says_what_the_server_knows() {
    let server = ChatServer::start_with(|config| config.chat.stamp = true).await;
    let mut ann = server.chats_as("an\"n").await;
    let mut bob = server.chats_as("bob").await;
    ann.says(r#"{ "uid":"bob", "text":"hi" } "#).await;
    let text = bob.next_text().await.expect("it is there");
    let start = r#"{ "uid":"bob", "text":"hi" ,"_id":1,"_from":"an\"n","_ts":"#;
    assert!(text.starts_with(start), "{text}");
    let stamped: Value = serde_json::from_str(&text).expect("it is JSON");
    assert!(stamped["_ts"].as_u64() > Some(1_700_000_000_000));
    for name in ["_id", "_from", "_ts"] {
        let request = format!(r#"{{"uid":"bob","{name}":1}}"#);
        let error = format!(r#""{name}" is stamped by the server and cannot be in a message"#);
        ann.is_refused(&request, &error).await;
        let nested = format!(r#"{{"uid":"bob","x":{{"{name}":1}}}}"#);
        ann.says(&nested).await;
        assert_eq!(bob.next_json().await["x"], json!({name: 1}));
    }
    // What is read later says the same.
    let history = bob.reads(r#""with":"an\"n","before":2"#).await;
    let item = &history["items"][0];
    let known = json!([stamped["_id"], stamped["_from"], stamped["_ts"]]);
    assert_eq!(json!([item["id"], item["from"], item["ts"]]), known);
    let mut again = server.chat_page().await;
    again.logs_in_since("bob", 0).await;
    again.hears(&text).await;
    assert_eq!(ann.tells("nobody", "next").await, 5);
}
