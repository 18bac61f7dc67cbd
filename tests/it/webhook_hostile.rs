//! Strangers where the application is asked about logins: what they make it read and answer.

use serde_json::json;

use crate::harness::backend::{Backend, Reply};
use crate::harness::recovery::logs_in_with;
use crate::webhook_login::{alice, asking};

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
