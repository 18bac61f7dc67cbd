//! Signed tokens, on the uid websocket: only who has one may log in.

use std::time::{SystemTime, UNIX_EPOCH};

use campanile::config::AuthMode;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::harness::raw::RawPage;
use crate::harness::{FREE, Server};

const SECRET: &str = "a secret of the backend";

pub(crate) fn in_an_hour() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("it is after 1970").as_secs() + 3600
}

pub(crate) fn token(uid: &str, expiry: u64, secret: &str) -> String {
    let signed = format!("{uid}.{expiry}");
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
    let mut mac = mac.expect("an HMAC takes a key of any length");
    mac.update(signed.as_bytes());
    let signature = mac.finalize().into_bytes();
    let digits: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{signed}.{digits}")
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tokens_are_asked_for_only_a_right_one_is_a_login() {
    let server = Server::start_with(|config| {
        config.uid_socket.listen = FREE;
        config.auth.mode = AuthMode::Signed;
        config.auth.secret = SECRET.into();
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("it is after 1970").as_secs();
    let right = token("dotted.name", now + 60, SECRET);
    let longest = "u".repeat(1024);
    let mut page = RawPage::saying(server.uid_socket(), &right).await;
    let endless = token(&longest, u64::MAX, SECRET);
    let mut long = RawPage::saying(server.uid_socket(), &endless).await;
    for (claim, reason) in [
        ("alice".to_owned(), "not a token"),
        (format!("alice.{}", now + 60), "not a token"),
        (token("alice", now + 60, "another secret"), "signature"),
        (right.replacen("dotted", "potted", 1), "signature"),
        (
            right.replacen(&(now + 60).to_string(), &(now + 61).to_string(), 1),
            "signature",
        ),
        (token("alice", now - 1, SECRET), "expired"),
        (token("", now + 60, SECRET), "empty"),
        (token(&"u".repeat(1025), now + 60, SECRET), "1024"),
        ("x".repeat(2000), "2000"),
    ] {
        let mut page = RawPage::open(server.uid_socket()).await;
        page.says(&claim).await;
        let said = page.is_closed_with(1008).await;
        assert!(said.contains(reason), "{claim:.80}: {said}");
        assert_eq!(server.push("alice", "hi").await, "offline", "{claim:.80}");
    }
    for (uid, page) in [("dotted.name", &mut page), (&longest, &mut long)] {
        assert_eq!(server.push(uid, "hi").await, "ok");
        page.receives("hi").await;
        page.has_nothing().await;
    }
    assert_eq!(server.push(&right, "hi").await, "offline");
}
