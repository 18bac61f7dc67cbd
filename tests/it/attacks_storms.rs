//! Many at once: storms of pages that come and go, and crowds of one user.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;

use crate::harness::attack::{Town, has_said_little, online};
use crate::harness::page::{DIALECTS, EIO3_WEBSOCKET, EIO4_WEBSOCKET, Page};
use crate::harness::raw::RawPage;
use crate::harness::recovery::logs_in_with;
use crate::harness::{Server, eventually};
use crate::stall::narrow_connection;

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_read_a_byte_now_and_then_are_cut_and_delay_nobody() {
    const SLOW: usize = 20;
    let mut town = Town::start_with(|config| {
        config.socketio.max_queue = 64;
        config.websocket.max_queue = 64;
    })
    .await;
    let mut reading = JoinSet::new();
    for n in 0..SLOW {
        let tcp = narrow_connection(town.server.socketio()).await;
        let mut page = Page::open(tcp, DIALECTS[n % 2]).await;
        page.joins().await;
        page.logs_in("slow").await;
        let tcp = narrow_connection(town.server.uid_socket()).await;
        let (mut raw, _) = RawPage::over(tcp, "").await;
        raw.says("slow").await;
        assert!(raw.is_heard().await);
        reading.spawn(async move {
            let mut seconds = tokio::time::interval(Duration::from_secs(1));
            let mut byte = [0];
            loop {
                seconds.tick().await;
                if !matches!(raw.tcp.read(&mut byte).await, Ok(1)) {
                    // The other reads nothing at all.
                    drop(page);
                    return;
                }
            }
        });
    }
    let long = "x".repeat(20_000);
    let mut pushes = 0;
    while town.server.push("slow", &long).await == "ok" {
        pushes += 1;
        assert!(pushes < 10_000, "slow pages are kept without end");
        if pushes % 50 == 0 {
            town.is_unharmed("pushes to slow pages").await;
        }
    }
    town.is_alone().await;
    town.is_unharmed("slow pages").await;
}

/// Comes, logs in, and breaks off at once.
async fn touches(server: &Server, n: usize) {
    let uid = format!("stormy {}", n % 300);
    match n % 3 {
        0 => {
            let mut raw = RawPage::open(server.uid_socket()).await;
            raw.says(&uid).await;
            raw.resets();
        }
        kind => {
            let dialect = [EIO3_WEBSOCKET, EIO4_WEBSOCKET][kind - 1];
            let mut page = server.connect_by(dialect).await;
            page.tries_to_send(&[&format!(r#"42["login","{uid}"]"#)])
                .await;
            page.resets();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storms_of_pages_that_log_in_and_break_off_leave_nothing_behind() {
    const PAGES: usize = 1000;
    let (process, mut town) = Town::apart(&[]).await;
    let mut levels = Vec::new();
    for storm in 0..3 {
        let server = Arc::new(Server::at(town.server.addresses()));
        let pages = (0..PAGES).map(|n| {
            let server = Arc::clone(&server);
            tokio::spawn(async move { touches(&server, n).await })
        });
        for page in pages.collect::<Vec<_>>() {
            page.await.expect("it is let in");
        }
        town.is_unharmed(&format!("storm {storm}")).await;
        town.is_alone().await;
        levels.push(process.resident());
    }
    assert!(levels[2] < levels[0] + 16 * MIB, "memory grows: {levels:?}");
    has_said_little(process, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_pages_of_one_uid_as_many_are_it_as_may_be() {
    const PAGES: usize = 1000;
    const MOST: usize = 100;
    let mut town = Town::start_with(|config| config.limits.pages_per_uid = MOST).await;
    let server = Arc::new(Server::at(town.server.addresses()));
    let coming = (0..PAGES).map(|n| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let mut page = server.connect_by(DIALECTS[n % 2]).await;
            let answer = logs_in_with(&mut page, json!("crowd")).await;
            (page, answer)
        })
    });
    let mut pages: Vec<(Page, bool)> = Vec::new();
    for page in coming.collect::<Vec<_>>() {
        let (page, answer) = page.await.expect("its login is answered");
        let is_in = answer["ok"] == true;
        if !is_in {
            assert_eq!(answer["code"], "pages_per_uid", "{answer}");
        }
        pages.push((page, is_in));
    }
    assert_eq!(pages.iter().filter(|(_, is_in)| *is_in).count(), MOST);
    assert_eq!(town.refused_by("pages_per_uid").await, PAGES - MOST);
    assert_eq!(online(&town.server).await, (4, 3 + MOST as u64));
    assert_eq!(town.server.push("crowd", "for the crowd").await, "ok");
    town.is_unharmed("a crowd").await;
    for (page, is_in) in &mut pages {
        if *is_in {
            page.receives("for the crowd").await;
        }
        page.receives(&town.last_first()).await;
    }
    drop(pages);
    town.is_alone().await;
    // There is room again.
    eventually("a page of the crowd to be let in", async || {
        let mut page = server.connect().await;
        logs_in_with(&mut page, json!("crowd")).await["ok"] == true
    })
    .await;
}
