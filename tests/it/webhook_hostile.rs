//! Strangers where the application is asked about logins: what they make it answer, and how many of its
//! places they take.

use std::time::Duration;

use campanile::config::Config;
use serde_json::{Value, json};

use crate::harness::backend::{Backend, Reply};
use crate::harness::eventually;
use crate::harness::page::{DIALECTS, Page};
use crate::harness::raw::RawPage;
use crate::harness::recovery::logs_in_with;
use crate::webhook_login::{alice, asking};

/// Long enough that nobody is let go for it.
const NEVER: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_whom_the_application_refuses_in_any_words_locks_nobody_out() {
    let backend = Backend::start(alice()).await;
    let server = asking(&backend, |_| {});
    let answers = [
        (400, json!({"error": "what is that"}), "refused"),
        (404, json!("no such page"), "refused"),
        (422, json!({"errors": {"token": ["is missing"]}}), "refused"),
        (429, json!({"message": "too many attempts"}), "unavailable"),
        (302, json!("to the login"), "unavailable"),
        (200, json!({"uid": null}), "refused"),
        (200, json!({}), "refused"),
        (200, json!({"uid": {"id": 7}}), "unavailable"),
        (200, json!("a warning"), "unavailable"),
        (404, json!("x".repeat(100_000)), "refused"),
    ];
    for (status, answer, code) in answers {
        backend.answers(Reply::Json(status, answer));
        let mut stranger = server.connect().await;
        for _ in 0..8 {
            let told = logs_in_with(&mut stranger, json!("x")).await;
            assert_eq!(told["code"], code, "{status}: {told}");
        }
        backend.answers(alice());
        let mut honest = server.connect().await;
        let told = logs_in_with(&mut honest, json!("x")).await;
        assert_eq!(told["ok"], true, "after {status}: {told}");
        honest.leaves().await;
    }
}

/// The answer to the event that was sent with this number.
async fn answer_to(page: &mut Page, number: u8) -> Value {
    loop {
        let packet = page.next_packet().await.expect("it is answered");
        if let Some(answer) = packet.strip_prefix(&format!("43{number}")) {
            let [answer] = serde_json::from_str::<[Value; 1]>(answer).expect("one argument");
            return answer;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_logins_of_one_page_one_is_asked_about_and_one_waits_for_it() {
    for dialect in DIALECTS {
        let backend = Backend::start(Reply::Held(json!({"uid": "alice"}))).await;
        let server = asking(&backend, |config| config.auth.webhook_timeout = NEVER);
        let mut page = server.connect_by(dialect).await;
        page.sends(r#"420["login","first"]"#).await;
        page.sends(r#"421["login","second"]"#).await;
        for number in 2..5 {
            page.sends(&format!(r#"42{number}["login","more"]"#)).await;
            let told = answer_to(&mut page, number).await;
            assert_eq!(told["code"], "login_pending", "{told}");
        }
        backend.is_asked(1).await;
        backend.answers(alice());
        assert_eq!(backend.count(), 1);
        backend.lets_go().await;
        let told = answer_to(&mut page, 0).await;
        assert_eq!((&told["ok"], &told["uid"]), (&json!(true), &json!("alice")));
        let told = answer_to(&mut page, 1).await;
        assert_eq!(
            (&told["ok"], &told["renewed"]),
            (&json!(true), &json!(true))
        );
        // The next has its turn at once.
        assert_eq!(logs_in_with(&mut page, json!("third")).await["ok"], true);
        assert_eq!(backend.count(), 3);
        assert_eq!(backend.last().body["login"], "third");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_leaves_is_asked_about_no_longer_and_frees_its_place() {
    let backend = Backend::start(Reply::Held(json!({"uid": "alice"}))).await;
    let server = asking(&backend, |config| {
        config.auth.webhook_timeout = NEVER;
        config.auth.webhook_concurrency = 1;
        config.auth.webhook_queue = 1;
    });
    for dialect in DIALECTS {
        let asked = backend.count();
        let mut first = server.connect_by(dialect).await;
        for login in [r#"42["login","x"]"#, r#"42["login","y"]"#] {
            first.sends(login).await;
        }
        backend.is_asked(asked + 1).await;
        let mut second = server.connect_by(dialect).await;
        second.sends(r#"42["login","x"]"#).await;
        assert!(second.is_heard().await);
        first.leaves().await;
        // Its place is the second one's now, and nobody asks for what the first still wanted.
        backend.is_asked(asked + 2).await;
        second.leaves().await;
        backend.answers(alice());
        eventually("a place to be free", async || {
            let mut page = server.connect().await;
            let told = logs_in_with(&mut page, json!("z")).await;
            page.leaves().await;
            told["ok"] == true
        })
        .await;
        assert_eq!(backend.last().body["login"], "z");
        backend.answers(Reply::Held(json!({"uid": "alice"})));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_gets_a_quarter_of_the_places() {
    let backend = Backend::start(Reply::Held(json!({"uid": "alice"}))).await;
    let server = asking(&backend, |config: &mut Config| {
        config.auth.webhook_timeout = NEVER;
        config.auth.webhook_concurrency = 8;
        config.auth.webhook_queue = 0;
        config.proxy.trusted = vec!["127.0.0.1".parse().expect("an address")];
    });
    let says = async |peer: &str| {
        let header = match peer {
            "" => String::new(),
            peer => format!("X-Forwarded-For: {peer}\r\n"),
        };
        let mut page = RawPage::open_with(server.uid_socket(), &header).await.0;
        page.says("x").await;
        page
    };
    let mut greedy = vec![says("192.0.2.1").await, says("192.0.2.1").await];
    backend.is_asked(2).await;
    let mut refused = says("192.0.2.1").await;
    let why = refused.is_closed_with(1008).await;
    assert_eq!(why, "too many logins from this address; try again later");
    // Others find theirs, and one that no limit of a peer applies to finds any.
    let others = [says("192.0.2.2").await, says("192.0.2.2").await];
    backend.is_asked(4).await;
    let exempt = [says("").await, says("").await, says("").await];
    backend.is_asked(7).await;
    // What was answered counts no longer.
    backend.answers(alice());
    backend.lets_go().await;
    for page in &mut greedy {
        assert!(page.is_heard().await);
    }
    let mut page = says("192.0.2.1").await;
    assert!(page.is_heard().await);
    assert_eq!(backend.count(), 8);
    drop((others, exempt));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_is_not_asked_about_a_login_that_is_too_long() {
    let backend = Backend::start(Reply::AsAsked).await;
    let server = asking(&backend, |_| {});
    let mut page = server.connect().await;
    let padding = "x".repeat(16 * 1024);
    for login in [
        json!({"token": "t", "padding": padding}),
        json!(format!("{padding}x")),
        json!([padding]),
    ] {
        let told = logs_in_with(&mut page, login).await;
        assert_eq!(told["code"], "too_long", "{told}");
        let error = told["error"].as_str().unwrap_or_default();
        assert!(error.contains("the most is 16384"), "{told}");
    }
    assert_eq!(backend.count(), 0);
    let told = logs_in_with(&mut page, json!("alice")).await;
    assert_eq!(told["uid"], "alice", "{told}");
}
