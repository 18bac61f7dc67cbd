//! Pushes with `store=1` where there is no store, no room on its disk, or nobody who answers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::http::Answer;
use crate::harness::keeping::{comes, keep, keep_and_see, keeping, readyz, waiting};
use crate::harness::page::{EIO4_WEBSOCKET, Page};
use crate::harness::postgres::Postgres;
use crate::harness::{FREE, Server, eventually};

const REASON: &str = "x-campanile-reason";

fn is_refused(answer: &Answer, reason: &str) {
    assert_eq!((answer.status, answer.text().as_str()), (503, "fail"));
    let why = answer.header(REASON).expect("it says why");
    assert!(why.contains(reason), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_a_push_that_is_to_be_stored_is_refused_and_says_why() {
    let server = Server::start_with(|config| config.admin.listen = FREE);
    let mut page = server.login("alice").await;
    for to in ["alice", "bob", ""] {
        is_refused(&keep_and_see(&server, to, "stored").await, "store.url");
    }
    let live = server
        .get("type=publish&to=alice&content=live&store=0")
        .await;
    assert_eq!((live.status, live.text().as_str()), (200, "ok"));
    assert_eq!(live.header(REASON), None);
    page.receives("live").await;
    assert_eq!(readyz(&server).await, (200, "ready\n".to_owned()));
}

/// A file system of one mebibyte. It goes when this is dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where the test may not mount one.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "none"]);
        let mounted = mount.arg(folder.path()).status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves no byte.
    fn fill(&self) {
        let full = std::fs::write(self.path().join("filler"), vec![0; 2 << 20]);
        full.expect_err("it has a mebibyte");
    }

    fn free(&self) {
        std::fs::remove_file(self.path().join("filler")).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server under test may still have its file open.
        Command::new("umount")
            .arg("-l")
            .arg(self.path())
            .status()
            .ok();
    }
}

/// Pushes until one is refused; gives those that were not.
async fn keeps_until_refused(server: &Server, named: &str) -> Vec<String> {
    let mut kept = Vec::new();
    for n in 0.. {
        let content = format!("{named} {n} {}", "x".repeat(5000));
        let answer = keep_and_see(server, "alice", &content).await;
        if answer.status == 503 {
            is_refused(&answer, "the store failed");
            return kept;
        }
        assert_eq!(answer.text(), "offline");
        kept.push(content);
        assert!(n < 1000, "it is never refused");
    }
    kept
}

/// Nothing can be kept now, and everything else goes on.
async fn is_down(server: &Server, bob: &mut Page) {
    assert_eq!(server.push("bob", "live").await, "ok");
    bob.receives("live").await;
    let (status, text) = readyz(server).await;
    assert_eq!(status, 503);
    assert!(text.starts_with("store down: "), "{text}");
}

async fn is_well(server: &Server) {
    eventually("the store to be well", async || {
        readyz(server).await == (200, "ready\n".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_what_is_to_be_stored_and_nothing_else_until_it_has_room() {
    let Some(disk) = SmallDisk::mount() else {
        assert!(!is_root(), "root may mount");
        return;
    };
    let url = format!("sqlite:{}", disk.path().join("kept.db").display());
    let (server, _folder) = keeping(|config| config.store.url = url.as_str().into()).await;
    let mut bob = comes(&server, EIO4_WEBSOCKET, "bob").await;
    assert!(bob.is_heard().await);
    let mut kept = Vec::new();
    for round in 0..3 {
        let content = format!("before {round}");
        assert_eq!(keep(&server, "alice", &content).await, "offline");
        kept.push(content);
        disk.fill();
        kept.extend(keeps_until_refused(&server, &round.to_string()).await);
        is_down(&server, &mut bob).await;
        disk.free();
        // Nobody pushes meanwhile.
        is_well(&server).await;
    }
    assert_eq!(keep(&server, "alice", "after").await, "offline");
    kept.push("after".to_owned());
    assert_eq!(waiting(&server).await, kept.len() as u64);
    let mut alice = comes(&server, EIO4_WEBSOCKET, "alice").await;
    for content in &kept {
        alice.receives(content).await;
    }
    server.nothing_else_comes_to([&mut alice, &mut bob]).await;
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout == b"0\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_stored_pushes_are_refused_and_live_ones_go_on() {
    let mut postgres = Postgres::start().await;
    let (server, _folder) = keeping(|config| {
        config.store.url = postgres.url().as_str().into();
        config.store.timeout = Duration::from_secs(2);
    })
    .await;
    let mut bob = comes(&server, EIO4_WEBSOCKET, "bob").await;
    assert!(bob.is_heard().await);
    for round in 0..2 {
        assert_eq!(
            keep(&server, "alice", &format!("kept {round}")).await,
            "offline"
        );
        postgres.stop();
        for to in ["alice", "bob", ""] {
            let answer = keep_and_see(&server, to, "refused").await;
            is_refused(&answer, "the store failed");
        }
        is_down(&server, &mut bob).await;
        postgres.restart().await;
        is_well(&server).await;
    }
    assert_eq!(keep(&server, "alice", "kept 2").await, "offline");
    let mut alice = comes(&server, EIO4_WEBSOCKET, "alice").await;
    for content in ["kept 0", "kept 1", "kept 2"] {
        alice.receives(content).await;
    }
    server.nothing_else_comes_to([&mut alice, &mut bob]).await;
}
