//! Whom a push reaches, what it says, and how it is answered.

use campanile::config::EscapeHtml;

use crate::harness::Server;
use crate::harness::page::{DIALECTS, Page};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_an_online_user_is_answered_ok_and_arrives() {
    let server = Server::start();
    for dialect in DIALECTS {
        let mut alice = server.login_by(dialect, "alice").await;
        assert_eq!(server.push("alice", "hi").await, "ok");
        alice.receives("hi").await;
        alice.leaves().await;
        server.waits_until_offline("alice").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_to_an_offline_user_is_answered_offline() {
    let server = Server::start();
    let mut bob = server.login("bob").await;
    assert_eq!(server.push("alice", "hi").await, "offline");
    server.nothing_else_comes_to([&mut bob]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_reaches_every_page_of_its_user_and_nobody_else() {
    let server = Server::start();
    let mut first = server.login("alice").await;
    let mut second = server.login("alice").await;
    let mut bob = server.login("bob").await;
    let mut nobody = server.connect().await;
    assert_eq!(server.push("alice", "for alice").await, "ok");
    first.receives("for alice").await;
    second.receives("for alice").await;
    let pages = [&mut first, &mut second, &mut bob, &mut nobody];
    server.nothing_else_comes_to(pages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_for_everyone_reaches_pages_that_have_not_logged_in() {
    let server = Server::start();
    let mut pages: Vec<Page> = Vec::new();
    for dialect in DIALECTS {
        pages.push(server.connect_by(dialect).await);
        pages.push(server.login_by(dialect, "somebody").await);
    }
    for form in ["", "&to=", "&to=0", "&to"] {
        let form = format!("type=publish&content=all{form}");
        assert_eq!(server.push_form(&form).await, "ok");
        for page in &mut pages {
            page.receives("all").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_falsy_addressee_in_json_means_everyone() {
    let server = Server::start();
    let mut page = server.connect().await;
    for to in [r#""""#, r#""0""#, "0", "0.0", "null", "false", "[]", "{}"] {
        let body = format!(r#"{{"type":"publish","content":"all","to":{to}}}"#);
        let answer = server.post("application/json", body.as_bytes()).await;
        assert_eq!(answer.text(), "ok", "{to}");
        page.receives("all").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_push_can_name_several_users() {
    let server = Server::start();
    let mut alice = server.login("alice").await;
    let mut bob = server.login("bob").await;
    let mut carol = server.login("carol").await;
    let multipart = "--x\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\npublish\r\n\
        --x\r\nContent-Disposition: form-data; name=\"to[]\"\r\n\r\nalice\r\n\
        --x\r\nContent-Disposition: form-data; name=\"to[]\"\r\n\r\nbob\r\n\
        --x\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\nhi\r\n--x--\r\n";
    let form = "application/x-www-form-urlencoded";
    for (content_type, body) in [
        (form, "type=publish&content=hi&to[]=alice&to[]=bob"),
        (form, "type=publish&content=hi&to%5B%5D=alice&to%5B%5D=bob"),
        (form, "type=publish&content=hi&to[0]=alice&to[1]=bob"),
        (form, "type=publish&content=hi&to[a]=alice&to[b]=bob"),
        (
            form,
            "type=publish&content=hi&to[]=alice&to[]=bob&to[]=alice&to[]=dave",
        ),
        (
            "application/json",
            r#"{"type":"publish","content":"hi","to":["alice","bob"]}"#,
        ),
        (
            "application/json",
            r#"{"type":"publish","content":"hi","to":["alice","bob","bob"]}"#,
        ),
        ("multipart/form-data; boundary=x", multipart),
    ] {
        assert_eq!(
            server.post(content_type, body.as_bytes()).await.text(),
            "ok",
            "{body}"
        );
        alice.receives("hi").await;
        bob.receives("hi").await;
    }
    server
        .nothing_else_comes_to([&mut alice, &mut bob, &mut carol])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_users_are_offline_only_when_all_of_them_are() {
    let server = Server::start();
    let mut alice = server.login("alice").await;
    for (form, answer) in [
        ("to[]=bob&to[]=carol", "offline"),
        ("to[]=bob&to[]=alice", "ok"),
        ("to[]=alice&to[]=bob", "ok"),
    ] {
        let form = format!("type=publish&content=hi&{form}");
        assert_eq!(server.push_form(&form).await, answer, "{form}");
    }
    alice.receives("hi").await;
    alice.receives("hi").await;
    server.nothing_else_comes_to([&mut alice]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_in_json_name_the_user_of_that_text() {
    let server = Server::start();
    let mut page = server.login("123").await;
    for to in ["123", r#""123""#, "[123]", "123.0"] {
        let body = format!(r#"{{"type":"publish","content":"hi","to":{to}}}"#);
        let answer = server.post("application/json", body.as_bytes()).await;
        assert_eq!(answer.text(), "ok", "{to}");
        page.receives("hi").await;
    }
}

/// The original took such content for a callback: it was not sent, and its addressee stayed set
/// for the next push, which then reached the wrong user.
#[tokio::test(flavor = "multi_thread")]
async fn content_that_names_a_php_function_is_content_and_does_not_leak_into_the_next_push() {
    let server = Server::start();
    let mut alice = server.login("alice").await;
    let mut bob = server.login("bob").await;
    for name in [
        "Date",
        "copy",
        "count",
        "end",
        "\\time",
        "_",
        "DateTime::format",
    ] {
        assert_eq!(server.push("alice", name).await, "ok");
        assert_eq!(server.push("bob", "secret").await, "ok");
        alice.receives(name).await;
        bob.receives("secret").await;
        server.nothing_else_comes_to([&mut alice, &mut bob]).await;
    }
}

/// The original's worker died of each of these, and everybody was disconnected.
#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_no_text_fails_and_disconnects_nobody() {
    let server = Server::start();
    let mut alice = server.login("alice").await;
    for form in [
        "content[]=x",
        "content[a][b]=x",
        "content=x&content[]=y",
        "content=x&to[][]=y",
    ] {
        let form = format!("type=publish&{form}");
        assert_eq!(server.push_form(&form).await, "fail", "{form}");
        assert_eq!(server.get(&form).await.text(), "fail", "{form}");
    }
    for json in [
        r#""content":{"a":1}"#,
        r#""content":["a"]"#,
        r#""content":[]"#,
        r#""content":"x","to":[[]]"#,
        r#""content":"x","to":{"a":{"b":"c"}}"#,
        r#""content":"x","to":[""]"#,
    ] {
        let body = format!(r#"{{"type":"publish",{json}}}"#);
        let answer = server.post("application/json", body.as_bytes()).await;
        assert_eq!(answer.text(), "fail", "{json}");
    }
    server.nothing_else_comes_to([&mut alice]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_but_publish_fails() {
    let server = Server::start();
    let mut page = server.connect().await;
    for query in [
        "",
        "content=x",
        "type=",
        "type=Publish",
        "type=publish%20",
        "type[]=publish",
        "type=publish&type=x",
        "Type=publish",
        "type%20=publish",
        "amp;type=publish",
    ] {
        let answer = server.get(query).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "fail"),
            "{query}"
        );
    }
    server.nothing_else_comes_to([&mut page]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_without_content_is_an_empty_message() {
    let server = Server::start();
    let mut page = server.connect().await;
    for query in [
        "type=publish",
        "type=publish&content=",
        "type=publish&content",
    ] {
        assert_eq!(server.get(query).await.text(), "ok");
        page.receives("").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_escaped_as_configured() {
    let modern = "&amp;&lt;b&gt;&quot;&#039; &amp;amp;";
    for (escape, escaped, mended) in [
        (EscapeHtml::Modern, modern, "a\u{fffd}b\u{fffd}"),
        (EscapeHtml::Compat, "&amp;&lt;b&gt;&quot;' &amp;amp;", ""),
        (EscapeHtml::Off, "&<b>\"' &amp;", "a\u{fffd}b\u{fffd}"),
    ] {
        let server = Server::start_with(|config| config.http.escape_html = escape);
        let mut page = server.connect().await;
        server.push_to_everyone("&<b>\"' &amp;").await;
        page.receives(escaped).await;
        // A surrogate and a byte that no UTF-8 has.
        let form = "type=publish&content=a%ED%A0%80b%ff";
        assert_eq!(server.push_form(form).await, "ok");
        page.receives(mended).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_ascii_on_the_wire() {
    let server = Server::start();
    for dialect in DIALECTS {
        let mut page = server.connect_by(dialect).await;
        server
            .push_to_everyone("你好😀é/\u{2028}\n\u{0}\u{7f}")
            .await;
        let packet = page.next_packet().await.expect("a message");
        assert!(packet.is_ascii(), "{packet}");
        assert!(
            packet.contains(r"\u4f60\u597d\ud83d\ude00\u00e9"),
            "{packet}"
        );
        assert!(packet.starts_with(r#"42["new_msg",""#), "{packet}");
        server
            .push_to_everyone("你好😀é/\u{2028}\n\u{0}\u{7f}")
            .await;
        page.receives("你好😀é/\u{2028}\n\u{0}\u{7f}").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_can_be_addressed_by_its_id_unless_that_is_off() {
    for on in [true, false] {
        let server = Server::start_with(|config| config.socketio.push_to_sid = on);
        for dialect in DIALECTS {
            let mut page = server.connect_by(dialect).await;
            let mut other = server.connect_by(dialect).await;
            // As in the original: delivered, and answered `offline` all the same.
            assert_eq!(server.push(&page.sid, "to the socket").await, "offline");
            if on {
                page.receives("to the socket").await;
            }
            server.nothing_else_comes_to([&mut page, &mut other]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_addressee_that_nobody_can_be_is_offline_and_reaches_nobody() {
    let server = Server::start();
    let mut page = server.connect().await;
    let long = format!("to={}", "x".repeat(2000));
    for to in [
        "to=%ff%fe",
        long.as_str(),
        "to[]=%ff",
        "to=00",
        "to=0.0",
        "to=false",
        "to=%20",
    ] {
        let form = format!("type=publish&content=no&{to}");
        assert_eq!(server.push_form(&form).await, "offline", "{to:.20}");
    }
    server.nothing_else_comes_to([&mut page]).await;
}
