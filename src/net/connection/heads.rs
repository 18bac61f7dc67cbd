//! Where the heads of requests end, on a connection that may become a websocket.
//!
//! HTTP's reader takes all that is there, and what it took before the connection became a websocket
//! would reach the websocket without having been seen by the [`Tap`](super::Tap). So it is handed a head at
//! a time, and then nothing until whoever answers the request has seen whether it asks for a websocket.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

use crate::net::connection::Connection;

/// What the reader and the one who answers know of each other.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// A head has been handed over, and nothing is until it is said what follows it.
    is_held: AtomicBool,
    /// A body comes next, which is none of our business.
    in_body: AtomicBool,
    reader: AtomicWaker,
}

/// What was read beyond the end of a head, and where it is looked for next.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    bytes: Vec<u8>,
    at: usize,
    /// The line that is being read.
    line: Line,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Of blank lines before a head.
    #[default]
    Before,
    /// One that says something.
    Head,
    /// One that has not said anything yet, after others that have.
    Blank,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// A websocket.
    Websocket,
    /// An answer to its head.
    Answer,
    /// An answer to what follows its head, too.
    AnswerToBody,
}

impl Connection {
    /// Before anything is read: it may become a websocket. Whoever answers its requests says what each
    /// asks for, before it reads what follows; and when it is answered.
    pub(crate) fn may_become_websocket(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.heads.get_or_init(Heads::default);
        }
    }

    /// False when it asks for a websocket and there may be none, since more than that has been read:
    /// requests were sent before others were answered.
    pub(crate) fn is_asked(&self, asks: Asks) -> bool {
        let shared = self.0.upgrade();
        let heads = shared.as_ref().and_then(|shared| shared.heads.get());
        heads.is_some_and(|heads| heads.is_asked(asks))
    }

    /// What was asked for last has been answered.
    pub(crate) fn answered(&self, asks: Asks) {
        let shared = self.0.upgrade();
        if let Some(heads) = shared.as_ref().and_then(|shared| shared.heads.get()) {
            heads.answered(asks);
        }
    }
}

impl Heads {
    fn is_asked(&self, asks: Asks) -> bool {
        match asks {
            Asks::Websocket => return self.is_held.load(Ordering::SeqCst),
            Asks::Answer => {}
            Asks::AnswerToBody => self.in_body.store(true, Ordering::SeqCst),
        }
        self.let_go();
        true
    }

    fn answered(&self, asks: Asks) {
        match asks {
            Asks::Websocket => self.let_go(),
            // The next head may have been handed over already.
            Asks::Answer => {}
            Asks::AnswerToBody => self.in_body.store(false, Ordering::SeqCst),
        }
    }

    fn let_go(&self) {
        self.is_held.store(false, Ordering::SeqCst);
        self.reader.wake();
    }

    /// Whether the reader has to wait.
    pub(super) fn holds(&self, cx: &Context<'_>) -> bool {
        // In this order, since it may be let go in between.
        self.reader.register(cx.waker());
        self.is_held.load(Ordering::SeqCst)
    }
}

impl Ahead {
    /// Copies what was read ahead; `None` when there is nothing.
    pub(super) fn copy(&self, free: &mut [u8]) -> Option<usize> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let n = rest.len().min(free.len());
        free[..n].copy_from_slice(&rest[..n]);
        Some(n)
    }

    /// How many of the bytes that were copied, or have just been read, are handed over; the others are
    /// kept. All of them once the connection is a websocket: then there are no `heads`.
    pub(super) fn hand(&mut self, heads: Option<&Heads>, bytes: &[u8]) -> usize {
        let n = heads.map_or(bytes.len(), |heads| self.end(heads, bytes));
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(&bytes[n..]);
            return n;
        }
        self.at += n;
        if self.at == self.bytes.len() {
            (self.bytes, self.at) = (Vec::new(), 0);
        }
        n
    }

    /// Where the first head ends, or all of it.
    fn end(&mut self, heads: &Heads, bytes: &[u8]) -> usize {
        if heads.in_body.load(Ordering::SeqCst) {
            self.line = Line::Before;
            return bytes.len();
        }
        for (at, byte) in bytes.iter().enumerate() {
            // As HTTP's reader has it, a line may end without a carriage return.
            self.line = match (self.line, byte) {
                (Line::Blank, b'\n') => {
                    self.line = Line::Before;
                    heads.is_held.store(true, Ordering::SeqCst);
                    return at + 1;
                }
                (Line::Head, b'\n') => Line::Blank,
                (line @ (Line::Blank | Line::Before), b'\r') => line,
                (Line::Before, b'\n') => Line::Before,
                (Line::Head | Line::Blank | Line::Before, _) => Line::Head,
            };
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Ahead, Asks, Heads};

    /// What is handed over at a time of what is read in these pieces, while everything is let go.
    fn handed(heads: &Heads, pieces: &[&str]) -> Vec<String> {
        let (mut ahead, mut handed) = (Ahead::default(), Vec::new());
        for piece in pieces {
            let n = ahead.hand(Some(heads), piece.as_bytes());
            handed.push(piece[..n].to_owned());
            let mut free = [0; 100];
            while let Some(n) = ahead.copy(&mut free) {
                let n = ahead.hand(Some(heads), &free[..n]);
                handed.push(String::from_utf8_lossy(&free[..n]).into_owned());
            }
        }
        handed
    }

    #[test]
    fn a_head_is_handed_over_at_a_time_however_it_ends() {
        for end in ["\r\n\r\n", "\n\n", "\n\r\n", "\r\n\n"] {
            let (head, heads) = (format!("GET\r\nX: y{end}"), Heads::default());
            let (first, all) = (format!("\r\n\n{head}"), format!("\r\n\n{head}{head}frame"));
            assert_eq!(handed(&heads, &[&all]), [&first, &head, "frame"]);
            let pieces: Vec<&str> = all.split_inclusive(['\r', '\n', 'T']).collect();
            assert_eq!(handed(&heads, &pieces).concat(), all);
        }
    }

    #[test]
    fn after_a_head_the_reader_waits_until_it_is_known_what_follows() {
        let is_held = |heads: &Heads| heads.is_held.load(super::Ordering::SeqCst);
        let head = "GET / HTTP/1.1\r\n\r\n";
        let heads = Heads::default();
        handed(&heads, &[&head[..15], &head[15..]]);
        assert!(is_held(&heads) && heads.is_asked(Asks::Websocket) && is_held(&heads));
        heads.answered(Asks::Websocket);
        assert!(!is_held(&heads));
        handed(&heads, &[head]);
        assert!(heads.is_asked(Asks::Answer) && !is_held(&heads));
        // One that comes before the other is answered waits for its own turn.
        handed(&heads, &[head]);
        heads.answered(Asks::Answer);
        assert!(is_held(&heads) && heads.is_asked(Asks::AnswerToBody));
        let body = ["a\n\nb\n\n", head];
        assert_eq!(handed(&heads, &body), body);
        heads.answered(Asks::AnswerToBody);
        assert!(!heads.is_asked(Asks::Websocket), "more has been read");
    }
}
