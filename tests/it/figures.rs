//! The figures: moved by exactly what was done. How they are written is held to its rules wherever
//! they are read.

use std::time::Duration;

use campanile::config::{AuthMode, Config, Strategy};
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use crate::harness::chat::{ChatServer, note};
use crate::harness::figures::Figures;
use crate::harness::http::Http;
use crate::harness::raw::{CLOSE, Pusher, RawPage, frame, text};
use crate::harness::{FREE, Server};
use crate::stall::narrow_connection;
use crate::topics::School;

fn start_with(change: impl FnOnce(&mut Config)) -> Server {
    Server::start_with(|config| {
        config.admin.listen = FREE;
        config.uid_socket.listen = FREE;
        change(config);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_by_http_count_by_what_they_were_answered() {
    let server = start_with(|config| config.http.max_body = bytesize::ByteSize::kib(1));
    let mut page = RawPage::saying(server.uid_socket(), "alice").await;
    let mut figures = Figures::of(&server).await;
    assert_eq!(server.push("alice", "one").await, "ok");
    assert_eq!(server.push("", "two").await, "ok");
    assert_eq!(server.push("bob", "three").await, "offline");
    assert_eq!(server.push_form("type=nothing").await, "fail");
    let long = server.post("text/plain", &[b'x'; 2000]).await;
    assert_eq!(long.status, 413);
    // A probe is no push.
    let mut probe = Http::open(server.http()).await;
    probe.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(probe.answer_to_head().await.status, 200);
    let moved = [
        (r#"pushes{ingress="http",outcome="ok"}"#, 2),
        (r#"pushes{ingress="http",outcome="offline"}"#, 1),
        (r#"pushes{ingress="http",outcome="fail"}"#, 2),
        (r#"deliveries{gateway="websocket"}"#, 2),
    ];
    figures.moves(&server, &moved).await;
    page.receives("one").await;
    page.receives("two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_by_the_demo_page_count_as_its_own() {
    let server = start_with(|config| config.web.listen = FREE);
    let mut figures = Figures::of(&server).await;
    for (form, answer) in [
        ("type=publish&to=&content=x", "ok"),
        ("type=publish&to=bob&content=x", "offline"),
        ("type=x", "fail"),
    ] {
        let mut http = Http::open(server.web()).await;
        let form_type = "application/x-www-form-urlencoded";
        http.post("/push", form_type, form.as_bytes()).await;
        assert_eq!(http.answer().await.text(), answer);
    }
    let moved = [
        (r#"pushes{ingress="web",outcome="ok"}"#, 1),
        (r#"pushes{ingress="web",outcome="offline"}"#, 1),
        (r#"pushes{ingress="web",outcome="fail"}"#, 1),
    ];
    figures.moves(&server, &moved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_count_by_what_became_of_them_and_questions_do_not() {
    let server = start_with(|config| {
        config.text.listen = FREE;
        config.text.extensions = true;
        config.text.max_line = bytesize::ByteSize::kib(1);
    });
    let _alice = RawPage::saying(server.uid_socket(), "alice").await;
    let _again = RawPage::saying(server.uid_socket(), "alice").await;
    let mut figures = Figures::of(&server).await;
    let mut pusher = Pusher::open(server.text()).await;
    assert_eq!(pusher.pushes(r#"{"uid":"alice"}"#).await, "ok");
    assert_eq!(pusher.pushes(r#"{"uid":"bob"}"#).await, "fail");
    assert_eq!(pusher.pushes("junk").await, "fail");
    assert_eq!(pusher.pushes(r#"{"@":"online","uid":"alice"}"#).await, "ok");
    pusher.sends([b'x'; 2000]).await;
    pusher.is_cut().await;
    let moved = [
        (r#"pushes{ingress="text",outcome="ok"}"#, 1),
        (r#"pushes{ingress="text",outcome="offline"}"#, 1),
        (r#"pushes{ingress="text",outcome="fail"}"#, 2),
        (r#"deliveries{gateway="websocket"}"#, 2),
    ];
    figures.moves(&server, &moved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_count_by_what_became_of_them_though_nobody_is_told() {
    let school = School::with(|config| config.admin.listen = FREE).await;
    let mut figures = Figures::of(&school.server).await;
    // The page that shows what has been handled wants this school.
    school.sends(r#"{"school_id":"watch"}"#).await;
    school.sends(r#"{"school_id":"nobody"}"#).await;
    school.sends("junk").await;
    school.sends("{}").await;
    let moved = [
        (r#"pushes{ingress="udp",outcome="ok"}"#, 1),
        (r#"pushes{ingress="udp",outcome="offline"}"#, 1),
        (r#"pushes{ingress="udp",outcome="fail"}"#, 2),
        (r#"deliveries{gateway="websocket"}"#, 1),
    ];
    figures.moves(&school.server, &moved).await;
    let page = school.page(r#"{"school_id":"1"}"#).await;
    let opened = [(r#"sessions_opened{gateway="topic_socket"}"#, 1)];
    figures.moves(&school.server, &opened).await;
    page.leaves().await;
    let left = [(
        r#"sessions_closed{gateway="topic_socket",reason="left"}"#,
        1,
    )];
    figures.moves(&school.server, &left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_pages_count_by_what_became_of_them() {
    let server = ChatServer::start_with(|config| config.admin.listen = FREE).await;
    let mut figures = Figures::of(&server).await;
    let mut ann = server.chats_as("ann").await;
    let _bob = server.chats_as("bob").await;
    let opened = [(r#"sessions_opened{gateway="chat"}"#, 2)];
    figures.moves(&server, &opened).await;
    ann.tells("bob", "hi").await;
    ann.tells("cid", "are you there?").await;
    // What is asked is no message.
    ann.reads(r#""with":"bob""#).await;
    for refused in ["junk", "{}", r#"{"group":"not joined"}"#] {
        assert_eq!(ann.asks(refused).await["type"], "error");
    }
    let moved = [
        (r#"pushes{ingress="chat",outcome="ok"}"#, 1),
        (r#"pushes{ingress="chat",outcome="offline"}"#, 1),
        (r#"pushes{ingress="chat",outcome="fail"}"#, 3),
        (r#"deliveries{gateway="websocket"}"#, 1),
    ];
    figures.moves(&server, &moved).await;
    let url = server.store_url();
    let mut store = SqliteConnection::connect(&url).await.expect("it is there");
    let trigger = "CREATE TRIGGER full BEFORE INSERT ON addressees
        BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END";
    store.execute(trigger).await.expect("it takes triggers");
    assert_eq!(ann.asks(&note("bob", "lost")).await["type"], "error");
    let unkept = [(r#"pushes{ingress="chat",outcome="unkept"}"#, 1)];
    figures.moves(&server, &unkept).await;
    ann.leaves().await;
    let left = [(r#"sessions_closed{gateway="chat",reason="left"}"#, 1)];
    figures.moves(&server, &left).await;
}

#[tokio::test]
async fn a_message_that_is_only_to_be_kept_is_ok_though_nobody_gets_it() {
    let server = ChatServer::start_with(|config| {
        config.admin.listen = FREE;
        config.chat.strategy = Strategy::StoreOnly;
    })
    .await;
    let mut ann = server.chats_as("ann").await;
    let mut figures = Figures::of(&server).await;
    ann.tells("bob", "for later").await;
    let moved = [(r#"pushes{ingress="chat",outcome="ok"}"#, 1)];
    figures.moves(&server, &moved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_count_when_they_come_and_by_why_they_go() {
    let server = start_with(|config| {
        config.text.listen = FREE;
        config.text.extensions = true;
    });
    let uid_socket = server.uid_socket();
    let mut figures = Figures::of(&server).await;
    let mut pages = Vec::new();
    for n in 0..5 {
        pages.push(RawPage::saying(uid_socket, &format!("page {n}")).await);
    }
    let opened = r#"sessions_opened{gateway="uid_socket"}"#;
    figures.moves(&server, &[(opened, 5)]).await;
    let [mut leaving, cut, reset, mut faulty, mut kicked]: [RawPage; 5] =
        pages.try_into().expect("there are five");
    let now = Figures::of(&server).await;
    assert_eq!(now.value("campanile_users"), 5.0);
    assert_eq!(now.value("campanile_sessions"), 5.0);

    let closed = |why: &str| format!(r#"sessions_closed{{gateway="uid_socket",reason="{why}"}}"#);
    leaving.sends_frames([frame(CLOSE, b"")]).await;
    leaving.is_closed_with(1000).await;
    figures.moves(&server, &[(&closed("left"), 1)]).await;
    drop(cut);
    reset.resets();
    figures.moves(&server, &[(&closed("broken"), 2)]).await;
    faulty.sends_frames([text("x").unmasked()]).await;
    faulty.is_cut().await;
    figures.moves(&server, &[(&closed("refused"), 1)]).await;
    let mut pusher = Pusher::open(server.text()).await;
    let kick = r#"{"@":"kick","uid":"page 4"}"#;
    assert_eq!(pusher.pushes(kick).await, "ok");
    kicked.is_closed_with(1008).await;
    figures.moves(&server, &[(&closed("stopped"), 1)]).await;
    // No uid is as long.
    let mut stranger = RawPage::open(uid_socket).await;
    stranger.says(&"u".repeat(2000)).await;
    stranger.is_closed_with(1008).await;
    let moved = [(opened, 1), (&closed("refused"), 1)];
    figures.moves(&server, &moved).await;
    assert_eq!(figures.value("campanile_users"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_not_let_in_has_come_and_was_refused() {
    let server = ChatServer::start_with(|config| {
        config.admin.listen = FREE;
        config.auth.mode = AuthMode::Signed;
        config.auth.secret = "sixteen bytes !!".into();
    })
    .await;
    let mut figures = Figures::of(&server).await;
    let mut page = server.chat_page_with("token=wrong").await;
    page.is_closed_with(1008).await;
    let moved = [
        (r#"sessions_opened{gateway="chat"}"#, 1),
        (r#"sessions_closed{gateway="chat",reason="refused"}"#, 1),
        (r#"logins_refused{code="not_a_token"}"#, 1),
    ];
    figures.moves(&server, &moved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_silent_and_pages_that_are_slow_are_told_apart() {
    let server = start_with(|config| config.websocket.ping_interval = Duration::from_millis(300));
    let mut figures = Figures::of(&server).await;
    // It is not read any more, so no ping is answered either.
    let silent = RawPage::open(server.uid_socket()).await;
    let moved = [
        (r#"sessions_opened{gateway="uid_socket"}"#, 1),
        (
            r#"sessions_closed{gateway="uid_socket",reason="silent"}"#,
            1,
        ),
    ];
    figures.moves(&server, &moved).await;
    drop(silent);

    let server = start_with(|config| config.websocket.max_queue = 32);
    let tcp = narrow_connection(server.uid_socket()).await;
    let (mut slow, _) = RawPage::over(tcp, "").await;
    slow.says("slow").await;
    assert!(slow.is_heard().await);
    let mut figures = Figures::of(&server).await;
    let (long, mut pushed) = ("x".repeat(100_000), 0);
    while server.push("slow", &long).await == "ok" {
        pushed += 1;
    }
    // How much the kernel takes for it is the kernel's business.
    let deliveries = r#"deliveries{gateway="websocket"}"#;
    let delivered = figures.moved(&server, deliveries).await;
    assert!(delivered < pushed, "{delivered} of {pushed}");
    let moved = [
        (r#"pushes{ingress="http",outcome="ok"}"#, pushed),
        (r#"pushes{ingress="http",outcome="offline"}"#, 1),
        (r#"sessions_closed{gateway="uid_socket",reason="slow"}"#, 1),
        (r#"slow_pages_closed{gateway="websocket"}"#, 1),
        (deliveries, delivered),
    ];
    figures.moves(&server, &moved).await;
}
