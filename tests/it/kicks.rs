//! Users whom the application sends away while a page of theirs is still getting what it had missed.

use std::time::Duration;

use socket2::SockRef;

use crate::harness::page::{DIALECTS, Page};
use crate::harness::raw::{CLOSE, Pusher, RawPage};
use crate::harness::{FREE, Server, eventually, within};
use crate::stall::narrow_connection;

/// More than a queue holds, and than the kernel takes.
const MISSED: usize = 200;

async fn start() -> (Server, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("store.db");
    let server = Server::open_with(|config| {
        config.uid_socket.listen = FREE;
        config.web.listen = FREE;
        config.text.listen = FREE;
        config.text.extensions = true;
        config.recovery.window = Duration::from_secs(120);
        config.socketio.max_queue = 32;
        config.websocket.max_queue = 32;
        config.store.url = format!("sqlite:{}", file.display()).as_str().into();
    })
    .await;
    (server, folder)
}

/// A user who was there and has missed much; `store` is how it is kept.
async fn has_missed(server: &Server, uid: &str, store: &str) {
    let page = server.login(uid).await;
    page.leaves().await;
    eventually("the page to be gone", async || server.pages().await == 0).await;
    for n in 0..MISSED {
        let content = format!("{n} {}", "x".repeat(20_000));
        let form = format!("type=publish&to={uid}&content={content}{store}");
        assert_eq!(server.push_form(&form).await, "offline");
    }
}

async fn is_kicked(server: &Server, uid: &str) {
    eventually("the login", async || server.pages().await == 1).await;
    let mut pusher = Pusher::open(server.text()).await;
    let kick = format!(r#"{{"@":"kick","uid":"{uid}"}}"#);
    assert_eq!(pusher.pushes(kick).await, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_socket_io_that_still_catches_up_is_kicked_like_any_other() {
    let (server, _folder) = start().await;
    for (n, dialect) in DIALECTS.into_iter().enumerate() {
        for store in ["", "&store=1"] {
            let uid = format!("u{n}{}", store.len());
            has_missed(&server, &uid, store).await;
            let tcp = narrow_connection(server.socketio()).await;
            let socket = SockRef::from(&tcp).try_clone().expect("a handle");
            let mut page = Page::open(tcp, dialect).await;
            page.joins().await;
            page.logs_in_with(&format!("{uid:?}")).await;
            is_kicked(&server, &uid).await;
            // Now it reads as fast as it can.
            socket.set_recv_buffer_size(1 << 20).expect("room");
            let mut got = 0;
            let end = async {
                while let Some(packet) = page.next_packet().await
                    && packet != "41"
                {
                    got += usize::from(packet.starts_with(r#"42["new_msg""#));
                }
            };
            within(&format!("the goodbye to {dialect:?}{store}"), end).await;
            assert!(got < MISSED, "{dialect:?}{store} got it all");
            eventually("the page to be gone", async || server.pages().await == 0).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_uid_websocket_that_still_catches_up_is_kicked_like_any_other() {
    let (server, _folder) = start().await;
    for store in ["", "&store=1"] {
        let uid = format!("u{}", store.len());
        has_missed(&server, &uid, store).await;
        let tcp = narrow_connection(server.uid_socket()).await;
        let (mut page, _) = RawPage::over(tcp, "").await;
        page.says(&uid).await;
        is_kicked(&server, &uid).await;
        let (mut got, mut last) = (0, None);
        while let Some(frame) = page.next_frame().await {
            got += 1;
            last = Some(frame);
        }
        assert!(got < MISSED, "{store} got it all");
        let last = last.expect("it got something");
        assert_eq!(last.opcode, CLOSE, "{store}");
        assert_eq!(last.payload[..2], 1008_u16.to_be_bytes());
        eventually("the page to be gone", async || server.pages().await == 0).await;
    }
}
