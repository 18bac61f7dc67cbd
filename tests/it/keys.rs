//! Keys of those who push and read: shown in each place, on each port. Signed requests are in
//! `signed_pushes`.

use std::net::SocketAddr;

use campanile::config::Config;

use crate::harness::figures::Figures;
use crate::harness::http::{Answer, Http};
use crate::harness::raw::{Pusher, RawPage};
use crate::harness::{FREE, Server};

pub(crate) const PUSH: &str = "a-key-that-may-push-and-no-more";
pub(crate) const READ: &str = "a-key-that-may-read-and-no-more";
pub(crate) const BOTH: &str = "a-key-for-both-of-them........";
pub(crate) const ADMIN: &str = "a-key-that-may-do-everything..";
const FORM: &str = "application/x-www-form-urlencoded";

/// A key for each scope.
pub(crate) fn keys(config: &mut Config) {
    let entries = [
        format!("push:{PUSH}"),
        format!("read:{READ}"),
        format!("push+read:{BOTH}"),
        format!("admin:{ADMIN}"),
    ];
    config.api.keys = entries.iter().map(|entry| entry.as_str().into()).collect();
}

fn locked() -> Server {
    locked_with(|_| {})
}

fn locked_with(change: impl FnOnce(&mut Config)) -> Server {
    Server::start_with(|config| {
        keys(config);
        config.admin.listen = FREE;
        change(config);
    })
}

/// Pushes `content` to alice with these header lines, each ended by CRLF.
async fn pushes(server: &Server, lines: &str, content: &str) -> Answer {
    let request =
        format!("GET /?type=publish&to=alice&content={content} HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    server.request(request).await
}

async fn bears(server: &Server, key: &str, content: &str) -> Answer {
    pushes(server, &format!("Authorization: Bearer {key}\r\n"), content).await
}

fn is_denied(answer: &Answer, status: u16, why: &str) {
    assert_eq!((answer.status, answer.text().as_str()), (status, "fail"));
    let reason = answer.header("x-campanile-reason").expect("it says why");
    assert!(reason.contains(why), "{reason}");
    let asked = answer.header("www-authenticate");
    assert_eq!(asked, (status == 401).then_some("Bearer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_by_header_form_or_query() {
    let server = locked();
    let mut page = server.login("alice").await;
    for key in [PUSH, BOTH, ADMIN] {
        let by_form = format!("type=publish&to=alice&content=form&key={key}");
        let json = format!(r#"{{"type":"publish","to":"alice","content":"json","key":"{key}"}}"#);
        let by_query = format!("type=publish&to=alice&content=query&key={key}");
        for (answer, content) in [
            (bears(&server, key, "header").await, "header"),
            (
                pushes(&server, &format!("authorization: bEARER  {key}\r\n"), "odd").await,
                "odd",
            ),
            (server.post(FORM, by_form.as_bytes()).await, "form"),
            (
                server.post("application/json", json.as_bytes()).await,
                "json",
            ),
            (server.get(&by_query).await, "query"),
        ] {
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, "ok"),
                "{content}"
            );
            assert_eq!(answer.header("x-campanile-reason"), None);
            page.receives(content).await;
        }
        // Beside a body that knows nothing of it.
        let mut http = Http::open(server.http()).await;
        let body = b"type=publish&to=alice&content=beside";
        http.post(&format!("/?key={key}"), FORM, body).await;
        assert_eq!(http.answer().await.text(), "ok");
        page.receives("beside").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_key_or_a_wrong_one_does_not_push() {
    let server = locked();
    let mut page = server.login("alice").await;
    let figures = Figures::of(&server).await;
    let mut last = PUSH.to_owned();
    last.replace_range(PUSH.len() - 1.., "f");
    let long = format!("{PUSH}x");
    let twice = format!("{PUSH} {PUSH}");
    let wrong = ["x", &PUSH[..PUSH.len() - 1], &last, &long, &twice, "push:"];
    for key in wrong {
        is_denied(&bears(&server, key, "no").await, 401, "not known");
        let query = format!(
            "type=publish&to=alice&content=no&key={}",
            crate::harness::encode(key)
        );
        is_denied(&server.get(&query).await, 401, "not known");
    }
    is_denied(&pushes(&server, "", "no").await, 401, "no key");
    is_denied(&bears(&server, "", "no").await, 401, "no key");
    for lines in [
        "Authorization: Basic YTpi\r\n".to_owned(),
        format!("Authorization: {PUSH}\r\n"),
        format!("X-Key: {PUSH}\r\n"),
    ] {
        is_denied(&pushes(&server, &lines, "no").await, 401, "no key");
    }
    is_denied(
        &server.get("type=publish&to=alice&content=no&key=").await,
        401,
        "no key",
    );
    // A header counts before a parameter.
    let both = format!(
        "GET /?type=publish&to=alice&content=no&key={PUSH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer nothing-of-ours\r\n\r\n"
    );
    is_denied(&server.request(both).await, 401, "not known");
    is_denied(&bears(&server, READ, "no").await, 403, "not for this");
    let denied = wrong.len() as u32 * 2 + 8;
    let counter = r#"pushes{ingress="http",outcome="denied"}"#;
    assert_eq!(figures.moved(&server, counter).await, denied);
    assert_eq!(bears(&server, PUSH, "yes").await.text(), "ok");
    page.receives("yes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_file_count_as_those_of_the_configuration() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let file = folder.path().join("keys");
    let text = format!("# of the shop\n\npush:{PUSH}\n  read:{READ}  \n");
    std::fs::write(&file, text).expect("it can be written");
    let server = Server::start_with(|config| {
        config.api.keys = vec![format!("push:{BOTH}").as_str().into()];
        config.api.key_file = file;
    });
    for key in [PUSH, BOTH] {
        assert_eq!(bears(&server, key, "hi").await.text(), "offline");
    }
    is_denied(&bears(&server, READ, "hi").await, 403, "not for this");
    is_denied(&bears(&server, ADMIN, "hi").await, 401, "not known");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_answered_before_its_body_is_read() {
    let server = locked();
    let mut http = Http::open(server.http()).await;
    http.send("POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer nothing-of-ours\r\nContent-Length: 100000\r\n\r\n")
        .await;
    is_denied(&http.answer().await, 401, "not known");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_text_port_the_key_is_the_first_line_and_says_what_the_others_may() {
    let server = locked_with(|config| {
        config.text.listen = FREE;
        config.text.extensions = true;
    });
    let mut page = server.login("alice").await;
    let (push, online) = (
        r#"{"uid":"alice","n":1}"#,
        r#"{"@":"online","uid":"alice"}"#,
    );
    let kick = r#"{"@":"kick","uid":"alice"}"#;
    let all = r#"{"@":"all"}"#;
    let show = |key: &str| format!(r#"{{"@":"key","key":"{key}"}}"#);
    let may = async |key: Option<&str>, lines: [&str; 4]| {
        let mut backend = Pusher::open(server.text()).await;
        let mut replies = Vec::new();
        if let Some(key) = key {
            replies.push(backend.pushes(show(key)).await);
        }
        for line in lines {
            replies.push(backend.pushes(line).await);
        }
        replies
    };
    let lines = [push, all, online, kick];
    assert_eq!(may(None, lines).await, ["fail"; 4]);
    assert_eq!(
        may(Some("nothing-of-ours-at-all"), lines).await,
        ["fail"; 5]
    );
    server_hears_nothing(&mut page).await;
    assert_eq!(
        may(Some(PUSH), lines).await,
        ["ok", "ok", "ok", "fail", "fail"]
    );
    page.receives(push).await;
    page.receives(all).await;
    assert_eq!(
        may(Some(READ), lines).await,
        ["ok", "fail", "fail", "ok", "fail"]
    );
    assert_eq!(
        may(Some(BOTH), lines).await,
        ["ok", "ok", "ok", "ok", "fail"]
    );
    page.receives(push).await;
    page.receives(all).await;
    // A wrong key takes away what a right one gave.
    let mut backend = Pusher::open(server.text()).await;
    assert_eq!(backend.pushes(show(ADMIN)).await, "ok");
    assert_eq!(backend.pushes(push).await, "ok");
    page.receives(push).await;
    assert_eq!(backend.pushes(show("wrong")).await, "fail");
    assert_eq!(backend.pushes(push).await, "fail");
    assert_eq!(may(Some(ADMIN), lines).await, ["ok"; 5]);
    page.receives(push).await;
    page.receives(all).await;
    page.is_disconnected().await;
}

async fn server_hears_nothing(page: &mut crate::harness::page::Page) {
    page.sends("40/nowhere,").await;
    let packet = page.next_packet().await.expect("the page is connected");
    assert!(packet.starts_with("44/nowhere"), "{packet}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_shows_a_key_or_the_secret_and_pages_see_neither() {
    let server = locked_with(|config| {
        config.topic_socket.listen = FREE;
        config.udp.listen = FREE;
        config.udp.secret = "the secret of packets".into();
    });
    let mut page = RawPage::saying(server.topic_socket(), r#"{"school_id":"2"}"#).await;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let backend = tokio::net::UdpSocket::bind(any).await.expect("a port");
    backend.connect(server.udp()).await.expect("an address");
    let shown = ["", PUSH, READ, "wrong", "the secret of packets", ADMIN];
    for (n, secret) in shown.into_iter().enumerate() {
        let packet = format!(r#"{{"school_id":"2","n":{n},"secret":"{secret}"}}"#);
        backend.send(packet.as_bytes()).await.expect("it is sent");
    }
    let none = r#"{"school_id":"2"}"#;
    backend.send(none.as_bytes()).await.expect("it is sent");
    let last = format!(r#"{{"secret":"{BOTH}","school_id":"2","last":1}}"#);
    backend.send(last.as_bytes()).await.expect("it is sent");
    for packet in [
        r#"{"school_id":"2","n":1}"#,
        r#"{"school_id":"2","n":4}"#,
        r#"{"school_id":"2","n":5}"#,
        r#"{"school_id":"2","last":1}"#,
    ] {
        page.receives(packet).await;
    }
    let denied = r#"campanile_pushes_total{ingress="udp",outcome="denied"}"#;
    assert_eq!(Figures::of(&server).await.value(denied), 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_that_strangers_reach_need_a_key_that_may_read() {
    let everywhere = Some(SocketAddr::from(([0, 0, 0, 0], 0)));
    let ask = async |server: &Server, target: &str, key: Option<&str>| {
        let port = server.admin().port();
        let mut http = Http::open(SocketAddr::from(([127, 0, 0, 1], port))).await;
        let line = key.map(|key| format!("Authorization: Bearer {key}\r\n"));
        let line = line.unwrap_or_default();
        http.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{line}\r\n"))
            .await;
        http.answer().await
    };
    let server = locked_with(|config| config.admin.listen = everywhere);
    for key in [None, Some("nothing-of-ours"), Some(PUSH), Some("")] {
        let answer = ask(&server, "/metrics", key).await;
        let (status, asked) = if key == Some(PUSH) {
            (403, None)
        } else {
            (401, Some("Bearer"))
        };
        assert_eq!(answer.status, status, "{key:?}");
        assert_eq!(answer.header("www-authenticate"), asked, "{key:?}");
        assert!(!answer.text().contains("campanile_users"));
    }
    for key in [READ, BOTH, ADMIN] {
        let answer = ask(&server, "/metrics", Some(key)).await;
        assert_eq!(answer.status, 200, "{key}");
        Figures::read(&answer.text());
    }
    for target in ["/healthz", "/readyz"] {
        assert_eq!(ask(&server, target, None).await.status, 200, "{target}");
    }
    // On the machine itself nobody is asked, and without keys nobody can be.
    let server = locked();
    assert_eq!(ask(&server, "/metrics", None).await.status, 200);
    let server = Server::start_with(|config| config.admin.listen = everywhere);
    assert_eq!(ask(&server, "/metrics", None).await.status, 200);
}
