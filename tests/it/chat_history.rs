//! What was said can be read again: one's own conversations, and the groups that one is in.

use serde_json::{Value, json};

use crate::harness::chat::{ChatPage, ChatServer, texts};

fn items(history: &Value) -> &Vec<Value> {
    history["items"].as_array().expect("items is a list")
}

/// Walks through a whole history, `limit` records at a time; gives their numbers.
async fn walk(page: &mut ChatPage, of: &str, limit: usize) -> Vec<u64> {
    let (mut ids, mut before) = (Vec::new(), String::new());
    loop {
        let read = format!(r#"{of},"limit":{limit}{before}"#);
        let history = page.reads(&read).await;
        let found = items(&history);
        let found = found
            .iter()
            .map(|item| item["id"].as_u64().expect("a number"));
        ids.extend(found);
        if history["more"] == json!(false) {
            return ids;
        }
        assert_eq!(items(&history).len(), limit);
        let last = ids.last().expect("there was at least one");
        before = format!(r#","before":{last}"#);
    }
}

#[tokio::test]
async fn both_sides_read_their_conversation_newest_first() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    let mut cid = server.chats_as("cid").await;
    assert_eq!(ann.tells("bob", "one").await, 1);
    cid.tells("bob", "not theirs").await;
    let mut bob = server.chats_as("bob").await;
    bob.tells("cid", "nor this").await;
    bob.says(r#" {"uid":"ann",  "text":"two","n":1.0} "#).await;
    ann.hears(r#" {"uid":"ann",  "text":"two","n":1.0} "#).await;
    ann.tells(r#"["bob","cid"]"#, "three").await;
    bob.next_json().await;

    let mut answers = Vec::new();
    for (page, with) in [(&mut ann, "bob"), (&mut bob, "ann")] {
        let read = format!(r#""with":"{with}","ref":"h""#);
        let history = page.reads(&read).await;
        assert_eq!(
            (&history["ref"], &history["with"]),
            (&json!("h"), &json!(with))
        );
        assert_eq!(history["more"], false);
        assert_eq!(texts(&history), ["three", "two", "one"]);
        answers.push(history["items"].clone());
    }
    assert_eq!(answers[0], answers[1]);
    let two = &answers[0][1];
    assert_eq!((&two["id"], &two["from"]), (&json!(4), &json!("bob")));
    assert!(two["ts"].as_u64() > Some(1_700_000_000_000));
    let message = json!({"uid": "ann", "text": "two", "n": 1.0});
    assert_eq!(two["message"], message);
    // As it was sent, byte for byte.
    bob.says(r#"{"type":"history","with":"ann"}"#).await;
    let text = bob.next_text().await.expect("it is there");
    assert!(
        text.contains(r#"{"uid":"ann",  "text":"two","n":1.0}"#),
        "{text}"
    );
}

#[tokio::test]
async fn a_walk_through_a_history_meets_each_record_once() {
    let server = ChatServer::start_with(|config| config.chat.max_history = 20).await;
    let mut ann = server.chats_as("ann").await;
    let mut bob = server.chats_as("bob").await;
    ann.joins("g").await;
    let (mut theirs, mut of_group, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..25 {
        theirs.push(ann.tells("bob", &n.to_string()).await);
        ann.tells("cid", "noise").await;
        bob.next_json().await;
        theirs.push(bob.tells("ann", &n.to_string()).await);
        ann.next_json().await;
        of_group.push(ann.tells_group("g", &n.to_string()).await);
        own.push(ann.tells("ann", &n.to_string()).await);
    }
    for (of, mut ids) in [
        (r#""with":"bob""#, theirs),
        (r#""group":"g""#, of_group),
        (r#""with":"ann""#, own),
    ] {
        ids.reverse();
        for limit in [1, 3, 5, 7, 20] {
            assert_eq!(walk(&mut ann, of, limit).await, ids, "{of} by {limit}");
        }
        // From the middle, and from beyond both ends.
        let middle = format!(r#"{of},"before":{},"limit":2"#, ids[3]);
        let history = ann.reads(&middle).await;
        let found: Vec<_> = items(&history).iter().map(|item| &item["id"]).collect();
        assert_eq!(found, [&json!(ids[4]), &json!(ids[5])]);
        for (before, count) in [(0, 0), (1, 0), (u64::MAX, 20)] {
            let history = ann.reads(&format!(r#"{of},"before":{before}"#)).await;
            assert_eq!(items(&history).len(), count, "{of} before {before}");
        }
    }
}

#[tokio::test]
async fn an_answer_holds_no_more_than_it_may() {
    let server = ChatServer::start_with(|config| config.chat.max_history = 60).await;
    let mut ann = server.chats_as("ann").await;
    for _ in 0..61 {
        ann.tells("bob", "hi").await;
    }
    for (limit, count) in [
        ("", 50),
        (r#","limit":null"#, 50),
        (r#","limit":0"#, 0),
        (r#","limit":1"#, 1),
        (r#","limit":60"#, 60),
        (r#","limit":61"#, 60),
        (r#","limit":4294967295"#, 60),
    ] {
        let history = ann.reads(&format!(r#""with":"bob"{limit}"#)).await;
        assert_eq!(items(&history).len(), count, "{limit}");
        assert_eq!(history["more"], true, "{limit}");
    }
}

#[tokio::test]
async fn nobody_reads_what_others_said_to_each_other() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    ann.tells("bob", "secret").await;
    ann.joins("g").await;
    ann.tells_group("g", "secret").await;
    let mut eve = server.chats_as("eve").await;
    let theirs = [
        r#""with":"bob""#,
        r#""with":"ann""#,
        r#""with":"ann","from":"bob","uid":"bob""#,
        r#""with":"eve""#,
        r#""with":"g""#,
    ];
    for of in theirs {
        assert_eq!(eve.reads(of).await["items"], json!([]), "{of}");
    }
    for (of, error) in [
        (
            r#""with":["ann","bob"]"#,
            "with has to be a text or a whole number",
        ),
        (r#""group":"g""#, r#"group "g": join it first"#),
        (
            r#""group":"g","with":"eve""#,
            "the message has both uid and group: expected one of them",
        ),
    ] {
        let request = format!(r#"{{"type":"history",{of}}}"#);
        let answer = eve.asks(&request).await;
        assert_eq!(answer["type"], "error", "{of}: {answer}");
        if !of.contains("eve") {
            assert_eq!(answer["error"], error);
        }
    }
    // A user's name is no group's, and the other way round.
    eve.joins("ann").await;
    let of_group = eve.reads(r#""group":"ann""#).await;
    assert_eq!(of_group["items"], json!([]));
    assert_eq!(of_group["group"], "ann");
}

#[tokio::test]
async fn a_group_is_read_by_those_who_are_in_it() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    let mut bob = server.chats_as("bob").await;
    ann.joins("g").await;
    ann.tells_group("g", "before bob").await;
    bob.joins("g").await;
    bob.tells_group("g", "from bob").await;
    let history = bob.reads(r#""group":"g""#).await;
    assert_eq!(texts(&history), ["from bob", "before bob"]);
    assert_eq!(history["items"][0]["from"], "bob");
    let left = bob.asks(r#"{"type":"leave","group":"g"}"#).await;
    assert_eq!(left["type"], "left");
    let read = r#"{"type":"history","group":"g"}"#;
    bob.is_refused(read, r#"group "g": join it first"#).await;
}

#[tokio::test]
async fn what_one_told_oneself_is_a_conversation_of_its_own() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    ann.tells("ann", "a note").await;
    ann.tells("bob", "no note").await;
    ann.tells(r#"["bob","ann"]"#, "to both").await;
    let history = ann.reads(r#""with":"ann""#).await;
    assert_eq!(texts(&history), ["to both", "a note"]);
}

/// A history that follows a message on the wire has it.
#[tokio::test]
async fn what_a_page_has_just_sent_is_in_its_history() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    for n in 0..50 {
        let text = format!(r#"{{"uid":"bob","text":"{n}"}}"#);
        let read = r#"{"type":"history","with":"bob","limit":1}"#.to_owned();
        assert!(ann.tries_to_say([text, read]).await);
        assert_eq!(texts(&ann.next_json().await), [n.to_string()]);
    }
}

#[tokio::test]
async fn records_survive_a_restart() {
    let server = ChatServer::start().await;
    let mut ann = server.chats_as("ann").await;
    ann.joins("g").await;
    let newest = {
        ann.tells("bob", "one").await;
        ann.tells_group("g", "two").await
    };
    let server = server.restart().await;
    assert_eq!(ann.is_closed_with(1001).await, "server is stopping");
    let mut ann = server.chat_page().await;
    assert_eq!(ann.logs_in("ann").await, newest);
    assert_eq!(texts(&ann.reads(r#""with":"bob""#).await), ["one"]);
    ann.joins("g").await;
    assert_eq!(texts(&ann.reads(r#""group":"g""#).await), ["two"]);
    assert_eq!(ann.tells("bob", "three").await, newest + 1);
}
