//! Chat pages that misbehave. After each of them every honest page still gets its next message
//! within a second, and the store holds what was accepted and nothing else.

use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use campanile::store::MessageStore;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::harness::chat::{ChatPage, ChatServer, Talker, note};
use crate::harness::page::EIO4_WEBSOCKET;
use crate::harness::records::{newest, open};

const MAX_MESSAGE: usize = 64 * 1024;

/// A server with honest pages on it, and a look into its store.
struct Town {
    server: ChatServer,
    store: Arc<dyn MessageStore>,
    sender: ChatPage,
    chat: ChatPage,
    socketio: Talker,
    /// How many messages the server should have taken.
    accepted: u64,
}

impl Town {
    async fn new() -> Self {
        let server = ChatServer::start_with(|config| {
            config.chat.max_message = ByteSize::b(MAX_MESSAGE as u64);
            config.chat.socketio = true;
        })
        .await;
        let store = open(&server.store_url()).await;
        Self {
            sender: server.chats_as("honest sender").await,
            chat: server.chats_as("honest").await,
            socketio: Talker::login(&server, EIO4_WEBSOCKET, "honest").await,
            store,
            server,
            accepted: 0,
        }
    }

    /// A page that has logged in, and will misbehave.
    async fn stranger(&self) -> ChatPage {
        self.server.chats_as("stranger").await
    }

    /// The honest pages get a message, and nothing besides, within a second; and the store has
    /// that message more.
    async fn is_unharmed(&mut self, after: &str) {
        let delivery = async {
            let id = self.sender.tells("honest", after).await;
            self.chat.hears(&note("honest", after)).await;
            let arguments = self.socketio.next_arguments().await;
            assert_eq!(arguments[1]["id"], id);
            id
        };
        let delivered = tokio::time::timeout(Duration::from_secs(1), delivery).await;
        let id = delivered.unwrap_or_else(|_| panic!("it took too long after {after}"));
        self.accepted += 1;
        assert_eq!(id, self.accepted, "something was kept: {after}");
        assert_eq!(newest(&*self.store).await, id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_answered_with_an_error_and_the_page_goes_on() {
    let mut town = Town::new().await;
    let mut page = town.stranger().await;
    let deep = [
        "[".repeat(60_000),
        r#"{"uid":"#.repeat(9_000),
        format!(r#"{{"uid":"honest","x":{}"#, "[".repeat(60_000)),
        format!(r#"{{"uid":{}1{}}}"#, "[".repeat(30_000), "]".repeat(30_000)),
        format!(
            r#"{{"group":{}1{}}}"#,
            "[".repeat(30_000),
            "]".repeat(30_000)
        ),
        format!(
            r#"{{"type":"login","uid":{}1{}}}"#,
            "[".repeat(30_000),
            "]".repeat(30_000)
        ),
    ];
    let texts = [
        "",
        " ",
        "null",
        "true",
        "5",
        "-0",
        "1e999",
        r#""text""#,
        "[]",
        r#"[{"uid":"honest"}]"#,
        r#"["honest","hi"]"#,
        "{}",
        "{",
        r#"{"uid""#,
        r#"{"uid":"honest""#,
        "{}{}",
        r#"{"uid":"honest"}{"uid":"honest"}"#,
        r#"{"uid":"honest"} x"#,
        r#"{"uid":"honest",}"#,
        r#"{"uid":"honest","uid":"honest"}"#,
        r#"{'uid':'honest'}"#,
        r#"{uid:"honest"}"#,
        r#"{"uid":"honest","n":01}"#,
        r#"{"uid":"honest","n":NaN}"#,
        "{\"uid\":\"honest\",\"s\":\"\n\"}",
        "{\"uid\":\"honest\"}\0",
        "\u{feff}{\"uid\":\"honest\"}",
        r#"{"uid":"\ud800"}"#,
        r#"{"uid":"honest","group":"honest"}"#,
        r#"{"__proto__":{"uid":"honest"}}"#,
        "2probe",
        "42[\"new_msg\",{\"to\":\"honest\"}]",
    ];
    for text in texts.into_iter().chain(deep.iter().map(String::as_str)) {
        let answer = page.asks(text).await;
        assert_eq!(answer["type"], "error", "{text:.40}");
        page.hears_nothing().await;
    }
    town.is_unharmed("texts that are no requests").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_nesting_in_a_message_is_passed_on() {
    let mut town = Town::new().await;
    let mut page = town.stranger().await;
    let nested = format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000));
    let text = format!(r#"{{"uid":"honest","x":{nested}}}"#);
    page.says(&text).await;
    town.chat.hears(&text).await;
    assert_eq!(town.socketio.next_arguments().await.len(), 2);
    town.accepted += 1;
    page.says(r#"{"type":"history","with":"honest"}"#).await;
    let history = page.next_text().await.expect("it is connected");
    assert!(history.contains(&text));
    town.is_unharmed("deep nesting").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_is_answered_with_an_error_and_the_page_goes_on() {
    let mut town = Town::new().await;
    let mut page = town.stranger().await;
    let mut state = 1_u32;
    for length in (0..200).chain([1_000, 60_000]) {
        let noise = (0..length).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let noise = noise.collect::<Vec<u8>>();
        assert!(page.sends_frame(Message::binary(noise)).await);
        assert_eq!(page.next_json().await["type"], "error");
    }
    let not_utf8: [&[u8]; 3] = [
        b"\xff\xfe",
        b"{\"uid\":\"honest\",\"s\":\"\xc3\"}",
        b"{\"uid\":\"honest\",\"s\":\"\xed\xa0\x80\"}",
    ];
    for bytes in not_utf8 {
        for data in [Data::Text, Data::Binary] {
            let frame = Frame::message(bytes, OpCode::Data(data), true);
            assert!(page.sends_frame(Message::Frame(frame)).await);
            let answer = page.next_json().await;
            assert_eq!(answer["error"], "the message is not valid UTF-8");
        }
    }
    page.hears_nothing().await;
    town.is_unharmed("noise").await;
}

fn of_length(length: usize) -> String {
    let start = r#"{"uid":"nobody","ref":1,"x":""#;
    format!("{start}{}\"}}", "x".repeat(length - start.len() - 2))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_limit_is_answered_with_both_lengths() {
    let mut town = Town::new().await;
    let mut page = town.stranger().await;
    assert_eq!(page.asks(&of_length(MAX_MESSAGE)).await["type"], "ack");
    town.accepted += 1;
    for length in [MAX_MESSAGE + 1, 2 * MAX_MESSAGE, 4 * MAX_MESSAGE] {
        let error = format!("the message is {length} bytes long, the most is {MAX_MESSAGE}");
        page.is_refused(&of_length(length), &error).await;
        town.is_unharmed("a message above the limit").await;
    }
    // In fragments it is passed over as it comes, however long it gets.
    let piece = vec![b'x'; MAX_MESSAGE];
    for n in 0..100 {
        let kind = if n == 0 { Data::Text } else { Data::Continue };
        let frame = Frame::message(piece.clone(), OpCode::Data(kind), n == 99);
        assert!(page.sends_frame(Message::Frame(frame)).await);
    }
    let length = 100 * MAX_MESSAGE;
    let error = format!("the message is {length} bytes long, the most is {MAX_MESSAGE}");
    assert_eq!(page.next_json().await["error"], error);
    assert_eq!(page.asks(&of_length(100)).await["type"], "ack");
    town.accepted += 1;
    town.is_unharmed("endless fragments").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_far_above_the_limit_costs_its_page_the_connection() {
    let mut town = Town::new().await;
    for length in [4 * MAX_MESSAGE + 15, 5 * MAX_MESSAGE, 100 * MAX_MESSAGE] {
        let mut page = town.stranger().await;
        page.tries_to_say([of_length(length)]).await;
        page.ends().await;
        town.is_unharmed("a message far above the limit").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_addressees_are_bounded() {
    let mut town = Town::new().await;
    let mut page = town.stranger().await;
    let name = |n: usize| format!("u{n}");
    let many: Vec<_> = (0..10_000).map(|n| (n % 10).to_string()).collect();
    let different: Vec<_> = (0..1001).map(name).collect();
    for (uids, error) in [
        (json!([]), "uid is an empty list"),
        (json!([[]]), "uid has to be a text or a whole number"),
        (
            json!([["honest"]]),
            "uid has to be a text or a whole number",
        ),
        (
            json!({"0": "honest"}),
            "uid has to be a text or a whole number",
        ),
        (
            json!(["honest", {}]),
            "uid has to be a text or a whole number",
        ),
        (json!(many), "uid is a list of 10000, the most is 1000"),
        (json!(different), "uid is a list of 1001, the most is 1000"),
    ] {
        for kind in ["message", "watch"] {
            let request = json!({"type": kind, "uid": uids});
            page.is_refused(&request.to_string(), error).await;
        }
    }
    town.is_unharmed("lists that are too long").await;
    let most = json!({"uid": different[..1000], "ref": 1});
    let answer = page.asks(&most.to_string()).await;
    assert_eq!(
        (&answer["type"], &answer["delivered"]),
        (&json!("ack"), &json!(0))
    );
    town.accepted += 1;
    town.is_unharmed("a list of a thousand").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_and_groups_of_a_page_are_bounded() {
    let mut town = Town::new().await;
    let mut page = town.stranger().await;
    let (mut taken, mut refused) = (0, Vec::new());
    for part in 0..20 {
        let requests = (0..500).map(|n| {
            let name = format!("{part}.{n}");
            let join = json!({"type": "join", "group": name}).to_string();
            [join, json!({"type": "watch", "uid": name}).to_string()]
        });
        let requests: Vec<_> = requests.flatten().collect();
        assert!(page.tries_to_say(&requests).await);
        for _ in requests {
            let answer = page.next_json().await;
            match answer["error"].as_str() {
                None => taken += 1,
                Some(error) => refused.push(error.to_owned()),
            }
        }
    }
    assert_eq!(taken, 2000);
    let words = [
        "1000 groups are joined already, which is the most",
        "watching 1000 users already",
    ];
    for error in words {
        let count = refused.iter().filter(|refused| *refused == error).count();
        assert_eq!(count, 9000, "{error}");
    }
    town.is_unharmed("ten thousand groups and watches").await;
    // One for one it goes on.
    page.is_refused(r#"{"type":"join","group":"one more"}"#, words[0])
        .await;
    page.asks(r#"{"type":"leave","group":"0.0"}"#).await;
    page.joins("one more").await;
    page.joins("0.1").await;
    page.says(r#"{"type":"unwatch","uid":"0.0"}"#).await;
    let answer = page.asks(r#"{"type":"watch","uid":"honest"}"#).await;
    assert_eq!(answer["online"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_sends_and_does_not_read_is_cut_and_nobody_else() {
    let mut town = Town::new().await;
    let mut neighbour = town.stranger().await;
    let mut greedy = town.server.chats_as("greedy").await;
    let text = format!(r#"{{"uid":"greedy","ref":1,"x":"{}"}}"#, "x".repeat(200));
    let mut lasts = true;
    for _ in 0..100 {
        lasts = lasts && greedy.tries_to_say(vec![text.as_str(); 1000]).await;
    }
    let mut heard = 0;
    while greedy.next_text().await.is_some() {
        heard += 1;
    }
    assert!(heard < 100_000, "all that was sent waited for it");
    town.server.waits_until_offline("greedy").await;
    for page in [&mut neighbour, &mut town.chat] {
        page.hears_nothing().await;
    }
    // Whatever it had sent before was accepted.
    town.accepted = neighbour.tells("nobody", "a record").await;
    town.is_unharmed("a page that does not read").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_leave_amid_what_they_asked_for_harm_nobody() {
    let mut town = Town::new().await;
    let mut ann = town.server.chats_as("ann").await;
    for _ in 0..10 {
        let text = of_length(30_000).replace("nobody", "stranger");
        assert_eq!(ann.asks(&text).await["type"], "ack");
        town.accepted += 1;
    }
    for n in 0..100 {
        let mut page = town.server.chat_page().await;
        let requests = [
            r#"{"type":"login","uid":"stranger","since":0}"#,
            r#"{"type":"history","with":"ann"}"#,
            r#"{"type":"watch","uid":["honest","stranger"]}"#,
            r#"{"type":"join","group":"g","since":0}"#,
            r#"{"type":"history","group":"g"}"#,
        ];
        let count = 1 + n % requests.len();
        page.tries_to_say(requests.into_iter().take(count)).await;
        drop(page);
    }
    town.server.waits_until_offline("stranger").await;
    town.is_unharmed("pages that leave too soon").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_or_kept_that_is_not_ones_own() {
    let mut town = Town::new().await;
    town.is_unharmed("a secret").await;
    town.sender.joins("secret").await;
    let mut page = town.stranger().await;
    for request in [
        json!({"type": "history", "group": "secret"}),
        json!({"group": "secret", "text": "let me in"}),
        json!({"group": "secret", "type": "join ", "text": "let me in"}),
    ] {
        page.is_refused(&request.to_string(), r#"group "secret": join it first"#)
            .await;
    }
    for with in ["honest", "honest sender", "stranger"] {
        let history = page.reads(&format!(r#""with":"{with}""#)).await;
        assert_eq!(history["items"], Value::Array(Vec::new()), "{with}");
    }
    town.sender.hears_nothing().await;
    town.is_unharmed("attempts to read what is not theirs")
        .await;
}
