//! Who pushes, and to whom: keys and signatures that are replayed or forged, keys that must stay out of
//! the log, a browser's cross-site form, odd uids.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::harness::attack::{Town, server_apart};
use crate::harness::http::{Answer, Http};
use crate::harness::page::DIALECTS;
use crate::harness::process::campanile;
use crate::harness::raw::{Pusher, RawPage};
use crate::harness::{encode, within};
use crate::tokens::{in_an_hour, token};

const KEY: &str = "0123456789abcdef-the-key-of-a-backend";
const FORM: &str = "application/x-www-form-urlencoded";

fn signed(timestamp: u64, nonce: &str, target: &str, body: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes());
    let mut mac = mac.expect("an HMAC takes a key of any length");
    mac.update(format!("{timestamp}\n{nonce}\nPOST\n{target}\n{FORM}\n{body}").as_bytes());
    let bytes = mac.finalize().into_bytes();
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "X-Campanile-Timestamp: {timestamp}\r\nX-Campanile-Nonce: {nonce}\r\n\
         X-Campanile-Signature: {digits}\r\n"
    )
}

async fn posts(town: &Town, target: &str, lines: &str, body: &str) -> Answer {
    let mut http = Http::open(town.server.http()).await;
    http.send(format!(
        "POST {target} HTTP/1.1\r\nHost: push.example.com\r\n{lines}\
         Content-Type: {FORM}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    http.answer().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_push_is_taken_once_and_only_as_it_was_signed() {
    let town = Town::start_with(|config| {
        config.api.keys = vec![format!("push:{KEY}").as_str().into()];
        config.api.require_signature = true;
    })
    .await;
    let mut page = town.server.login("victim").await;
    let now = in_an_hour() - 3600;
    let body = "type=publish&to=victim&content=once";
    let good = signed(now, "nonce-0001", "/", body);
    assert_eq!(posts(&town, "/", &good, body).await.text(), "ok");
    page.receives("once").await;
    let other_body = body.replace("once", "more");
    let late = signed(now - 400, "nonce-0002", "/", body);
    let early = signed(now + 400, "nonce-0003", "/", body);
    let used = signed(now, "nonce-0001", "/", &other_body);
    let moved = signed(now, "nonce-0004", "/x", body);
    let changed = signed(now, "nonce-0005", "/", body);
    let mut last = signed(now, "nonce-0006", "/", body);
    let digit = if last.ends_with("0\r\n") { '1' } else { '0' };
    last.replace_range(last.len() - 3..last.len() - 2, &digit.to_string());
    let bearer = format!("Authorization: Bearer {KEY}\r\n");
    let shown = format!("{body}&key={KEY}");
    for (lines, body) in [
        (good.as_str(), body),
        (used.as_str(), &other_body),
        (late.as_str(), body),
        (early.as_str(), body),
        (moved.as_str(), body),
        (changed.as_str(), &other_body),
        (last.as_str(), body),
        (bearer.as_str(), body),
        ("", shown.as_str()),
        ("", body),
    ] {
        let answer = posts(&town, "/", lines, body).await;
        assert_eq!(answer.status, 401, "{lines}{body}: {}", answer.head);
    }
    let after = "type=publish&content=after";
    let good = signed(now, "nonce-0007", "/", after);
    assert_eq!(posts(&town, "/", &good, after).await.text(), "ok");
    page.receives("after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_differs_in_its_last_byte_is_none_on_any_port() {
    let town = Town::start_with(|config| {
        config.api.keys = vec![format!("push:{KEY}").as_str().into()];
        config.text.extensions = true;
    })
    .await;
    let page = &mut town.server.login("victim").await;
    let form = "type=publish&to=victim&content=hi";
    for (key, is_good) in [
        (&KEY[..KEY.len() - 1], false),
        (&KEY.replace("backend", "backene"), false),
        (&format!("{KEY}d"), false),
        (&KEY.to_uppercase(), false),
        ("", false),
        (KEY, true),
    ] {
        let bearer = format!("Authorization: Bearer {key}\r\n");
        let shown = format!("{form}&key={key}");
        for (lines, body) in [(bearer.as_str(), form), ("", shown.as_str())] {
            let status = posts(&town, "/", lines, body).await.status;
            assert_eq!(status, if is_good { 200 } else { 401 }, "{lines}{body}");
        }
        let mut pusher = Pusher::open(town.server.text()).await;
        let word = if is_good { "ok" } else { "fail" };
        let shows = format!(r#"{{"@":"key","key":"{key}"}}"#);
        assert_eq!(pusher.pushes(shows).await, word, "{key}");
        for line in [r#"{"uid":"victim"}"#, r#"{"@":"all","content":"hi"}"#] {
            assert_eq!(pusher.pushes(line).await, word, "{key}: {line}");
        }
    }
    // Only what came with the key has arrived.
    for content in ["hi", "hi", r#"{"uid":"victim"}"#] {
        page.receives(content).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_key_nor_a_token_reaches_the_log_at_any_level() {
    let keys = format!(r#"api.keys=["push:{KEY}"]"#);
    let settings = [
        "log.level=trace",
        &keys,
        "auth.mode=signed",
        "auth.secret=a secret of the backend",
    ];
    let (mut process, server) = server_apart(campanile, &settings).await;
    let claim = token("alice", in_an_hour(), "a secret of the backend");
    let wrong = "wrong-0123456789-wrong";
    let work = async {
        for key in [KEY, wrong] {
            let body = format!("type=publish&to=alice&content=secret-content&key={key}");
            server.get(&body).await;
            server.push_form(&body).await;
            let json = format!(r#"{{"type":"publish","to":"alice","content":"x","key":"{key}"}}"#);
            server.post("application/json", json.as_bytes()).await;
            let head = format!(
                "GET /?type=publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
            );
            server.request(head).await;
            server
                .request(format!("GET /?key={key} HTTP/1.1\r\nno colon\r\n\r\n"))
                .await;
            let mut pusher = Pusher::open(server.text()).await;
            pusher
                .pushes(format!(r#"{{"@":"key","key":"{key}"}}"#))
                .await;
            pusher
                .pushes(r#"{"uid":"alice","x":"secret-content"}"#)
                .await;
            pusher.pushes(key).await;
        }
        for claim in [claim.as_str(), &claim[..claim.len() - 1]] {
            for dialect in DIALECTS {
                let mut page = server.connect_by(dialect).await;
                page.logs_in_with(&format!("\"{claim}\"")).await;
                page.is_heard().await;
            }
            let target = format!("/socket.io/?EIO=4&transport=polling&token={claim}");
            let mut http = Http::open(server.socketio()).await;
            http.get(&target).await;
            http.answer().await;
            let mut raw = RawPage::open(server.uid_socket()).await;
            raw.says(claim).await;
            raw.is_heard().await;
        }
    };
    let ((), mut lines) = within("the work", process.logs_during(work)).await;
    lines.extend(process.lines_till_the_end().await);
    let signature = claim.rsplit_once('.').expect("it has dots").1;
    for secret in [KEY, wrong, &signature[..40], "secret-content"] {
        let told = lines.iter().find(|line| line.contains(secret));
        assert_eq!(told, None, "{secret}");
    }
    let debug = lines.iter().filter(|line| line.contains("\"DEBUG\""));
    assert!(debug.count() >= 10, "all is logged: {lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_cannot_make_a_browser_push() {
    let mut town = Town::start().await;
    let body = "type=publish&to=&content=forged";
    for lines in [
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: cross-site\r\nOrigin: http://push.example.com\r\n",
        "Origin: https://evil.example.org\r\n",
        "Origin: null\r\n",
        "Origin: http://push.example.com.evil.org\r\n",
    ] {
        assert_eq!(posts(&town, "/", lines, body).await.status, 403, "{lines}");
        let head = format!("GET /?{body} HTTP/1.1\r\nHost: push.example.com\r\n{lines}\r\n");
        assert_eq!(town.server.request(head).await.status, 403, "{lines}");
    }
    // Had one been taken, it would come before this.
    town.is_unharmed("forms of another site").await;
    let open = Town::start_with(|config| config.http.allow_cross_site = true).await;
    let mut page = open.server.login("alice").await;
    let lines = "Sec-Fetch-Site: cross-site\r\n";
    assert_eq!(posts(&open, "/", lines, body).await.text(), "ok");
    page.receives("forged").await;
}

/// Uids that look like something else.
const ODD: [&str; 21] = [
    "uid:alice",
    "uid:honest 1",
    "/",
    "*",
    "__proto__",
    "constructor",
    "toString",
    "\u{202e}ecila",
    "alice\u{200f}",
    "al\u{0}ice",
    "alice\n",
    "\u{1}\u{2}\u{1b}[31m",
    "ALICE",
    "alicé",
    "'; DROP TABLE users; --",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "%61lice",
    "alice,honest 1",
    "[\"alice\"]",
    "\u{1F600}",
];

#[tokio::test(flavor = "multi_thread")]
async fn odd_uids_are_themselves_and_nobody_else() {
    let mut town = Town::start().await;
    let mut alice = town.server.login("alice").await;
    let sid = alice.sid.clone();
    let odd = ODD.into_iter().chain([sid.as_str()]);
    for (n, uid) in odd.enumerate() {
        let mut page = town.server.login_by(DIALECTS[n % 4], uid).await;
        let content = format!("for {n}");
        let word = town.server.push(uid, &content).await;
        assert_eq!(word, "ok", "{uid:?}");
        page.receives(&content).await;
        if uid == sid {
            // In the original `to` may name a socket.
            alice.receives(&content).await;
        }
        town.is_unharmed(&format!("{uid:?}")).await;
        alice.receives(&town.last_first()).await;
        alice.next_message().await;
        let form = format!("type=publish&content=twice&to=alice&to={}", encode(uid));
        assert_eq!(town.server.push_form(&form).await, "ok", "the last counts");
        page.receives(&town.last_first()).await;
        page.next_message().await;
        page.receives("twice").await;
        if uid == sid {
            alice.receives("twice").await;
        }
        page.leaves().await;
    }
    let long = "u".repeat(10 * 1024);
    assert_eq!(town.server.push(&long, "x").await, "offline");
    for form in ["to[]=", "to[]=&to[]=", "to[a][b]=alice", "to[]=%00"] {
        let form = format!("type=publish&content=x&{form}");
        let word = town.server.push_form(&form).await;
        assert_ne!(word, "", "{form}");
    }
    town.server.push("alice", "the last").await;
    loop {
        let message = alice.next_message().await;
        assert_ne!(message, "twice");
        if message == "the last" {
            break;
        }
    }
}
