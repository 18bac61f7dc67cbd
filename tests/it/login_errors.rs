//! What a page of Socket.IO is told of a login that is refused, and how often: nothing at all where anybody
//! may be anyone, as the original told nothing.

use serde_json::json;

use crate::harness::figures::Figures;
use crate::harness::mint::token;
use crate::harness::page::{DIALECTS, EIO4_WEBSOCKET};
use crate::harness::{Server, eventually, within};
use crate::jwt_login::{connect_as, guarded_with, next_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_refused_again_and_again_has_to_go() {
    let server = guarded_with(|config| config.limits.refused_logins = 3);
    for dialect in DIALECTS {
        let mut page = server.connect_by(dialect).await;
        for n in 1..=3 {
            assert!(page.tries_to_send(&[r#"42["login","junk"]"#]).await, "{n}");
            let told = next_of(&mut page, "login_error").await;
            assert_eq!(told["code"], "not_a_token", "{dialect:?}");
        }
        assert_eq!(
            page.next_packet().await.as_deref(),
            Some("41"),
            "{dialect:?}"
        );
        // What it says now counts no more.
        page.tries_to_send(&[&format!(r#"42["login",{:?}]"#, token("alice"))])
            .await;
        let end = async { while page.next_packet().await.is_some() {} };
        within("the end of the connection", end).await;
        assert_eq!(server.push("alice", "hi").await, "offline", "{dialect:?}");
    }
    let refused = r#"campanile_sessions_closed_total{gateway="socketio",reason="refused"}"#;
    eventually("them to be counted", async || {
        Figures::of(&server).await.value(refused) == 4.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_anybody_may_be_anyone_nobody_is_told_of_errors() {
    let server = Server::start();
    let long = format!("{:?}", "x".repeat(1025));
    for dialect in DIALECTS {
        let mut page = server.connect_by(dialect).await;
        for ignored in [r#"{"name":"alice"}"#, r#"{"uid":{}}"#, &long] {
            page.logs_in_with(ignored).await;
            page.sends("40/nowhere,").await;
            let packet = page.next_packet().await;
            let packet = packet.expect("the page is connected");
            assert!(packet.starts_with("44/nowhere"), "{dialect:?}: {packet}");
        }
        page.sends(r#"42["login"]"#).await;
        page.logs_in("alice").await;
        page.logs_in_with(r#""bob""#).await;
        page.logs_in_with(&long).await;
        page.sends("40/nowhere,").await;
        let packet = page.next_packet().await.expect("the page is connected");
        assert!(packet.starts_with("44/nowhere"), "{dialect:?}: {packet}");
        assert_eq!(server.push("bob", "hi").await, "offline");
        page.leaves().await;
        server.waits_until_offline("alice").await;
    }
    // What else applications put there is none of ours.
    for auth in [
        json!({"token": "for another"}),
        json!({"key": "x"}),
        json!({}),
    ] {
        let mut page = connect_as(&server, EIO4_WEBSOCKET, &auth).await;
        let packet = page.next_packet().await.expect("it is let in");
        assert!(packet.starts_with("40{"), "{packet}");
        page.sends("40/nowhere,").await;
        let packet = page.next_packet().await.expect("the page is connected");
        assert!(packet.starts_with("44/nowhere"), "{auth}: {packet}");
        page.logs_in("alice").await;
        page.leaves().await;
        server.waits_until_offline("alice").await;
    }
}
