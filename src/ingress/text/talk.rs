//! One connection of the text push port, as far as it has come: what is unread and what is
//! unanswered. Knows no grammar.

use bytes::BytesMut;

use crate::auth::api_keys::{Denied, Rights};
use crate::net::Socket;

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
}

impl Talk {
    pub(super) fn new(rights: Result<Rights, Denied>) -> Self {
        Self {
            unread: BytesMut::new(),
            replies: Vec::new(),
            rights,
            is_first: true,
            searched: 0,
            is_heard: true,
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
    }

    /// Writes the replies. A backend that has gone without reading them is heard to the end.
    pub(super) async fn answer(&mut self, socket: &Socket) {
        if self.is_heard && !self.replies.is_empty() {
            self.is_heard = socket.write_all(&self.replies).await.is_ok();
        }
        self.replies.clear();
        if self.unread.is_empty() {
            // An idle connection keeps no buffer.
            self.unread = BytesMut::new();
        }
    }
}
