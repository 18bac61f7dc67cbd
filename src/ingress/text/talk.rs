//! One connection of the text push port, as far as it has come: what is unread, what is unanswered,
//! and how long a stranger is waited for. Knows no grammar.

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::auth::api_keys::{Denied, Rights};
use crate::net::Socket;

/// How long somebody may take to show a key, where one is asked for.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module's text.
pub(super) struct Talk {
    pub(super) unread: BytesMut,
    pub(super) replies: Vec<u8>,
    pub(super) rights: Result<Rights, Denied>,
    /// Whether no line has come yet.
    pub(super) is_first: bool,
    /// Where the search for the next LF goes on: a long line is not searched again and again.
    searched: usize,
    /// Whether replies still reach the other side.
    is_heard: bool,
    /// When a stranger has to go; `None` is no stranger.
    until: Option<Instant>,
}

impl Talk {
    pub(super) fn new(rights: Result<Rights, Denied>) -> Self {
        let mut talk = Self {
            unread: BytesMut::new(),
            replies: Vec::new(),
            rights,
            is_first: true,
            searched: 0,
            is_heard: true,
            until: None,
        };
        talk.judge();
        talk
    }

    /// Whether it has shown no key where one is asked for.
    pub(super) fn is_stranger(&self) -> bool {
        self.rights.is_err()
    }

    /// Waits until a stranger has had its time; for ever for everybody else.
    pub(super) async fn patience_ends(&self) {
        match self.until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    /// How long the next line is, without its LF; `None` if it has not arrived whole.
    pub(super) fn line_end(&mut self) -> Option<usize> {
        let rest = &self.unread[self.searched..];
        let Some(at) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.unread.len();
            return None;
        };
        Some(self.searched + at)
    }

    /// A line has been handled and is no longer among what is unread.
    pub(super) fn has_heard_a_line(&mut self) {
        self.searched = 0;
        self.is_first = false;
        self.judge();
    }

    /// Writes the replies. A backend that has gone without reading them is heard to the end, and a
    /// stranger who does not read is not waited for.
    pub(super) async fn answer(&mut self, socket: &Socket) {
        if self.is_heard && !self.replies.is_empty() {
            self.is_heard = tokio::select! {
                biased;
                written = socket.write_all(&self.replies) => written.is_ok(),
                () = self.patience_ends() => false,
            };
        }
        self.replies.clear();
        if self.unread.is_empty() {
            // An idle connection keeps no buffer.
            self.unread = BytesMut::new();
        }
    }

    /// A wrong key takes away what a right one gave: then the time begins anew.
    fn judge(&mut self) {
        if self.rights.is_ok() {
            self.until = None;
        } else if self.until.is_none() {
            self.until = Some(Instant::now() + PATIENCE);
        }
    }
}
