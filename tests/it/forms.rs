//! Where the parameters of a push may stand, and how each place is read.

use crate::harness::Server;
use crate::harness::http::Http;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// Posts to a target that has a query too; gives the answer's word.
async fn post_to(server: &Server, target: &str, content_type: &str, body: &[u8]) -> String {
    let mut http = Http::open(server.http()).await;
    http.post(target, content_type, body).await;
    http.answer().await.text()
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_read_from_the_query_of_any_path() {
    let server = Server::start();
    let mut page = server.connect().await;
    for target in [
        "/?type=publish&content=hi",
        "/any/path.php?type=publish&content=hi",
        "//?type=publish&content=hi",
        "http://example.com/x?type=publish&content=hi",
        "/?content=hi&type=publish&nonsense=1&to=",
        "/?content=no&type=publish&content=hi",
        "/?%20type=publish&content=hi",
        "/?type=publish&content=h%69",
    ] {
        let answer = server
            .request(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "ok"),
            "{target}"
        );
        page.receives("hi").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_are_decoded_as_php_decodes_them() {
    let server = Server::start();
    let mut page = server.connect().await;
    for (content, expected) in [
        ("a+b%20c", "a b c"),
        ("100%", "100%"),
        ("%zz%4", "%zz%4"),
        ("%u4f60", "%u4f60"),
        ("a;b", "a;b"),
        ("a=b==c", "a=b==c"),
        ("%E4%BD%A0%E5%A5%BD", "你好"),
        ("你好", "你好"),
        ("a%00b", "a\0b"),
        ("a%ffb", "a\u{fffd}b"),
        ("%e4%bd", "\u{fffd}"),
        ("first&content=last", "last"),
        ("raw\0gone", "raw"),
    ] {
        let form = format!("type=publish&content={content}");
        assert_eq!(server.push_form(&form).await, "ok", "{content}");
        page.receives(expected).await;
    }
    assert_eq!(
        server
            .post(FORM, b"type=publish&content=\xff\xfe|")
            .await
            .text(),
        "ok"
    );
    page.receives("\u{fffd}\u{fffd}|").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_any_other_type_is_a_form() {
    let server = Server::start();
    let mut page = server.connect().await;
    for content_type in [
        FORM,
        "text/plain",
        "application/xml",
        "application/jsonp",
        "",
    ] {
        let answer = server.post(content_type, b"type=publish&content=hi").await;
        assert_eq!(answer.text(), "ok", "{content_type}");
        page.receives("hi").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_known_by_its_type_in_any_spelling() {
    let server = Server::start();
    let mut page = server.connect().await;
    for content_type in [
        JSON,
        "application/json; charset=utf-8",
        "text/json",
        "Application/JSON",
        "application/vnd.api+json",
    ] {
        let answer = server
            .post(content_type, br#"{"type":"publish","content":"hi"}"#)
            .await;
        assert_eq!(answer.text(), "ok", "{content_type}");
        page.receives("hi").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_in_json_is_cast_to_text_as_php_casts_it() {
    let server = Server::start();
    let mut page = server.connect().await;
    for (content, expected) in [
        ("5", "5"),
        ("1.50", "1.5"),
        ("1.0", "1"),
        ("1e100", "1.0E+100"),
        ("true", "1"),
        ("false", ""),
        ("null", ""),
        (r#""\u4f60\ud83d\ude00""#, "你😀"),
        (r#""first","content":"last""#, "last"),
    ] {
        let body = format!(r#"{{"type":"publish","content":{content}}}"#);
        assert_eq!(
            server.post(JSON, body.as_bytes()).await.text(),
            "ok",
            "{content}"
        );
        page.receives(expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_multipart_body_is_read_whatever_else_its_type_says() {
    let server = Server::start();
    let mut page = server.connect().await;
    let part = |name: &str, value: &str| {
        format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let fields = part("type", "publish") + &part("to", "") + &part("content", "hi & 你好");
    for content_type in [
        "multipart/form-data; boundary=b0",
        "multipart/form-data; boundary=\"b0\"",
        "multipart/form-data; charset=utf-8; boundary=b0",
        "multipart/form-data; boundary=b0; charset=utf-8",
    ] {
        let body = format!("{fields}--b0--\r\n");
        let answer = server.post(content_type, body.as_bytes()).await;
        assert_eq!(answer.text(), "ok", "{content_type}");
        page.receives("hi &amp; 你好").await;
    }
    let file = "--b0\r\nContent-Disposition: form-data; name=\"content\"; filename=\"f\"\r\n\r\n\
        a file\r\n";
    let body = format!("{}{file}--b0--\r\n", part("type", "publish"));
    let answer = server
        .post("multipart/form-data; boundary=b0", body.as_bytes())
        .await;
    assert_eq!(answer.text(), "ok");
    page.receives("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_holds_anything_replaces_the_query_as_a_whole() {
    let server = Server::start();
    let mut page = server.connect().await;
    let query = "/?type=publish&content=query&to=nobody";
    for (content_type, body, word, content) in [
        (FORM, "type=publish&content=body", "ok", Some("body")),
        (FORM, "type=publish", "ok", Some("")),
        (FORM, "content=body", "fail", None),
        (FORM, "x", "fail", None),
        (
            JSON,
            r#"{"type":"publish","content":"body"}"#,
            "ok",
            Some("body"),
        ),
        (JSON, r#"{"content":"body"}"#, "fail", None),
        (JSON, r#""publish""#, "fail", None),
        (JSON, "0", "fail", None),
        (JSON, "false", "fail", None),
        (JSON, r#"["publish"]"#, "fail", None),
        (
            "multipart/form-data; boundary=b",
            "--b\r\nContent-Disposition: form-data; \
            name=\"x\"\r\n\r\n1\r\n--b--\r\n",
            "fail",
            None,
        ),
    ] {
        let answer = post_to(&server, query, content_type, body.as_bytes()).await;
        assert_eq!(answer, word, "{body}");
        if let Some(content) = content {
            page.receives(content).await;
        }
    }
    server.nothing_else_comes_to([&mut page]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_php_would_see_as_empty_leaves_the_query() {
    let server = Server::start();
    let mut page = server.connect().await;
    for (content_type, body) in [
        (FORM, ""),
        (FORM, "&&"),
        (FORM, "\0type=x"),
        (JSON, ""),
        (JSON, "{}"),
        (JSON, "[]"),
        (JSON, "null"),
        (JSON, "{not json"),
        (JSON, "\u{feff}{\"type\":\"x\"}"),
        (JSON, r#"{"type":"\ud83d"}"#),
        ("multipart/form-data; boundary=b", "nothing of the kind"),
    ] {
        let query = "/?type=publish&content=query";
        let answer = post_to(&server, query, content_type, body.as_bytes()).await;
        assert_eq!(answer, "ok", "{content_type}: {body:?}");
        page.receives("query").await;
    }
}

/// The original kept parsed bodies by their bytes alone, and answered the second by the first.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_are_read_each_time_by_the_type_they_come_with() {
    let server = Server::start();
    let mut page = server.connect().await;
    let json = br#"{"type":"publish","content":"hi"}"#;
    let form = b"type=publish&content=hi";
    for _ in 0..3 {
        assert_eq!(server.post(FORM, json).await.text(), "fail");
        assert_eq!(server.post(JSON, json).await.text(), "ok");
        assert_eq!(server.post(JSON, form).await.text(), "fail");
        assert_eq!(server.post(FORM, form).await.text(), "ok");
        page.receives("hi").await;
        page.receives("hi").await;
    }
    server.nothing_else_comes_to([&mut page]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_beyond_the_thousandth_are_dropped() {
    let server = Server::start();
    let mut page = server.connect().await;
    let padding = |n: usize| (0..n).map(|i| format!("&v{i}=")).collect::<String>();
    let within = format!("type=publish{}&content=hi", padding(998));
    assert_eq!(server.push_form(&within).await, "ok");
    page.receives("hi").await;
    let beyond = format!("type=publish{}&content=hi", padding(999));
    assert_eq!(server.push_form(&beyond).await, "ok");
    page.receives("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_names_at_most_a_thousand_users_by_form_and_ten_thousand_by_json() {
    let server = Server::start();
    let mut page = server.login("9999").await;
    for (n, word) in [(10_000, "ok"), (10_001, "fail")] {
        let uids: Vec<String> = (0..n).map(|i| i.to_string()).collect();
        let to = uids.join(",");
        let body = format!(r#"{{"type":"publish","content":"hi","to":[{to}]}}"#);
        assert_eq!(server.post(JSON, body.as_bytes()).await.text(), word, "{n}");
    }
    page.receives("hi").await;
    let to: String = (0..1500).map(|i| format!("&to[]={i}")).collect();
    let form = format!("type=publish&content=hi{to}&to[]=9999");
    assert_eq!(server.push_form(&form).await, "offline");
    server.nothing_else_comes_to([&mut page]).await;
}
