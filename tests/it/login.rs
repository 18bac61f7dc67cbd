//! How a page says who it is: every form of uid that a page of the original could send.

use crate::harness::page::{
    DIALECTS, EIO3_POLLING, EIO3_WEBSOCKET, EIO4_POLLING, EIO4_WEBSOCKET, Page, count,
};
use crate::harness::{Server, encode};

/// Logs in with JSON, and shows that pushes to `uid` reach exactly this page.
async fn is_known_as(server: &Server, json: &str, uid: &str) -> Page {
    let mut page = server.connect().await;
    page.logs_in_with(json).await;
    page.next_count().await;
    let escaped = ['&', '<', '>', '"', '\''];
    let content = format!("for {json}").replace(escaped, "~");
    assert_eq!(server.push(uid, &content).await, "ok", "login with {json}");
    page.receives(&content).await;
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_known_by_phps_string_cast_of_what_it_sent() {
    let server = Server::start();
    for (json, uid) in [
        (r#""alice""#, "alice"),
        ("123", "123"),
        ("-5", "-5"),
        ("0.5", "0.5"),
        ("1.5", "1.5"),
        ("3.0", "3"),
        ("1e3", "1000"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9.2233720368548E+18"),
        ("12345678901234567000", "1.2345678901235E+19"),
        ("true", "1"),
        (r#"["a","b"]"#, "Array"),
        ("[]", "Array"),
        (r#""  padded  ""#, "  padded  "),
        (r#""用户""#, "用户"),
        (r#""\u7528\u6237\ud83d\ude00""#, "用户😀"),
        (r#""tab\tnewline\nbell\u0007""#, "tab\tnewline\nbell\u{7}"),
        (r#""a\u0000b""#, "a\0b"),
        (r#""__proto__""#, "__proto__"),
        (r#""\u202eright-to-left""#, "\u{202e}right-to-left"),
        (r#""<b>&\"'""#, "<b>&\"'"),
        (r#""uid:alice""#, "uid:alice"),
        (r#""a,b""#, "a,b"),
    ] {
        let page = is_known_as(&server, json, uid).await;
        page.leaves().await;
        server.waits_until_offline(uid).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_and_a_number_are_the_same_user() {
    let server = Server::start();
    let mut by_number = is_known_as(&server, "42", "42").await;
    let mut by_text = is_known_as(&server, r#""42""#, "42").await;
    by_number.receives("for ~42~").await;
    assert_eq!(server.push("42", "both").await, "ok");
    by_number.receives("both").await;
    by_text.receives("both").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uids_are_compared_exactly() {
    let server = Server::start();
    let mut alice = server.login("alice").await;
    for other in ["Alice", "alice ", " alice", "alic", "alice\0", "uid:alice"] {
        assert_eq!(server.push(other, "no").await, "offline", "{other:?}");
    }
    server.nothing_else_comes_to([&mut alice]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_without_a_name_is_counted_as_a_guest() {
    for empty in [r#""""#, "null", "false"] {
        let server = Server::start_with(|config| {
            config.presence.interval = std::time::Duration::from_millis(20);
        });
        let mut guest = server.connect().await;
        guest.logs_in_with(empty).await;
        guest.waits_for_count(1, 1).await;
        let mut second = server.connect().await;
        second.logs_in_with(empty).await;
        guest.waits_for_count(1, 2).await;
        assert_eq!(server.push("false", "no").await, "offline");
        assert_eq!(server.push("null", "no").await, "offline");
        server
            .nothing_else_comes_to([&mut guest, &mut second])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_cannot_be_meant_is_refused_and_disconnects_nobody() {
    let server = Server::start();
    let mut bystander = server.login("bystander").await;
    let long = format!(r#"42["login","{}"]"#, "x".repeat(10 * 1024));
    let packets = [
        r#"42["login",{"uid":{"uid":"alice"}}]"#,
        r#"42["login",{"uid":["alice"]}]"#,
        r#"42["login",{}]"#,
        long.as_str(),
        r#"42["login"]"#,
        r#"420["login"]"#,
    ];
    for dialect in DIALECTS {
        let mut page = server.connect_by(dialect).await;
        for packet in packets {
            page.sends(packet).await;
            assert!(
                page.is_heard().await,
                "{dialect:?} was cut off after {packet:.40}"
            );
        }
        // None of them was a login: this one is the first.
        page.logs_in("alice").await;
        assert_eq!(server.push("alice", "hi").await, "ok");
        page.receives("hi").await;
        page.leaves().await;
        server.waits_until_offline("alice").await;
    }
    server.nothing_else_comes_to([&mut bystander]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_uid_is_1024_bytes() {
    let server = Server::start();
    let longest = "x".repeat(1024);
    let mut page = server.login(&longest).await;
    assert_eq!(server.push(&longest, "hi").await, "ok");
    page.receives("hi").await;
    let longer = "x".repeat(1025);
    assert_eq!(server.push(&longer, "no").await, "offline");
    server.nothing_else_comes_to([&mut page]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_login_of_a_page_counts() {
    let server = Server::start();
    for dialect in DIALECTS {
        let mut page = server.login_by(dialect, "first").await;
        page.logs_in_with(r#""second""#).await;
        page.logs_in_with(r#""first""#).await;
        assert!(page.is_heard().await);
        assert_eq!(server.push("second", "no").await, "offline");
        assert_eq!(server.push("first", "yes").await, "ok");
        page.receives("yes").await;
        page.leaves().await;
        server.waits_until_offline("first").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn further_arguments_of_a_login_are_ignored() {
    let server = Server::start();
    for packet in [
        r#"42["login","alice","bob",{"x":[1]}]"#,
        r#"427["login","alice"]"#,
    ] {
        let mut page = server.connect().await;
        page.sends(packet).await;
        page.next_count().await;
        assert_eq!(server.push("bob", "no").await, "offline");
        assert_eq!(server.push("alice", "yes").await, "ok");
        page.receives("yes").await;
        page.leaves().await;
        server.waits_until_offline("alice").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_1x_client_that_polls_encodes_twice_and_is_understood() {
    let server = Server::start();
    let mut page = server.connect_by(EIO3_POLLING).await;
    let packet = r#"42["login","用户😀"]"#;
    let once = packet.as_bytes();
    let twice: String = once.iter().copied().map(char::from).collect();
    let payload = format!("{}:{twice}", once.len());
    assert_eq!(page.posts(payload.as_bytes()).await, Some(200));
    page.next_count().await;
    assert_eq!(server.push("用户😀", "你好").await, "ok");
    page.receives("你好").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_ascii_logs_in_by_every_dialect() {
    let server = Server::start();
    for dialect in DIALECTS {
        let mut page = server.login_by(dialect, "用户😀é").await;
        assert_eq!(server.push("用户😀é", "你好").await, "ok", "{dialect:?}");
        page.receives("你好").await;
        page.leaves().await;
        server.waits_until_offline("用户😀é").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_among_other_packets_in_one_payload_is_heard() {
    let server = Server::start();
    for dialect in [EIO3_POLLING, EIO4_POLLING, EIO3_WEBSOCKET, EIO4_WEBSOCKET] {
        let mut page = server.connect_by(dialect).await;
        let packets = [
            r#"42["a"]"#,
            r#"42["login","alice"]"#,
            r#"42["b",{"c":"你"}]"#,
        ];
        page.sends_together(&packets).await;
        assert_eq!(page.next_count().await, count(0, 0));
        assert_eq!(server.push("alice", "hi").await, "ok", "{dialect:?}");
        page.receives("hi").await;
        page.leaves().await;
        server.waits_until_offline("alice").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_in_with_the_id_of_a_socket_is_no_way_to_listen_to_it() {
    let server = Server::start();
    let mut alice = server.login("alice").await;
    let mut spy = server.login(&alice.sid).await;
    assert_eq!(server.push("alice", "secret").await, "ok");
    alice.receives("secret").await;
    server.nothing_else_comes_to([&mut spy, &mut alice]).await;
    // The id is a uid like any other now.
    assert_eq!(
        server
            .push_form(&format!("type=publish&to={}", encode(&alice.sid)))
            .await,
        "ok"
    );
    spy.receives("").await;
}
