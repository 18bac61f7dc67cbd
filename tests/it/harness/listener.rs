//! A page that comes back whenever its connection ends, and holds what it gets to the numbers that
//! were pushed: 0, 1, 2, and so on.

use serde_json::Value;

use crate::harness::line::Door;
use crate::harness::page::{Dialect, Page};
use crate::harness::recovery::message;
use crate::harness::within;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Listener {
    door: Door,
    dialect: Dialect,
    pub(crate) uid: String,
    /// Whether it says up to which it has everything. Then it gets each number once.
    says_since: bool,
    since: Option<u64>,
    /// `None` while its connection is cut.
    page: Option<Page>,
    /// The first number that it has not had.
    pub(crate) next: usize,
    /// What comes next over this connection; `None` before the first.
    expected: Option<usize>,
    /// How many numbers it got again.
    pub(crate) repeated: usize,
    /// How many times its connection was ended by the server.
    pub(crate) cuts: usize,
}

impl Listener {
    /// A page that has logged in.
    pub(crate) async fn comes(door: impl Into<Door>, dialect: Dialect, who: (&str, bool)) -> Self {
        let (uid, says_since) = who;
        let mut new = Self {
            door: door.into(),
            dialect,
            uid: uid.to_owned(),
            says_since,
            since: None,
            page: None,
            next: 0,
            expected: None,
            repeated: 0,
            cuts: 0,
        };
        assert!(new.comes_back().await, "{uid} is cut before it is there");
        new
    }

    /// Reads until it has had all before `end`; comes back as often as it is cut.
    pub(crate) async fn hears_until(&mut self, end: usize) {
        while self.next < end {
            self.hears().await;
        }
    }

    /// Reads one packet, or comes back.
    pub(crate) async fn hears(&mut self) {
        let Some(page) = &mut self.page else {
            self.comes_back().await;
            return;
        };
        match page.next_packet().await {
            Some(packet) if !is_goodbye(&packet) => self.takes(&packet),
            Some(_) | None => {
                self.page = None;
                self.cuts += 1;
            }
        }
    }

    /// Its connection breaks.
    pub(crate) fn breaks(&mut self) {
        if let Some(page) = self.page.take() {
            page.resets();
        }
    }

    /// False when it is cut before it is logged in.
    async fn comes_back(&mut self) -> bool {
        let mut page = within(
            "the connect",
            Page::connect(self.door.clone(), self.dialect),
        )
        .await;
        let login = format!(r#"427["login",{}]"#, self.claim());
        if !page.tries_to_send(&[&login]).await {
            return false;
        }
        self.expected = None;
        while let Some(packet) = page.next_packet().await {
            if let Some(answer) = packet.strip_prefix("437") {
                let [answer]: [Value; 1] = serde_json::from_str(answer).expect("one argument");
                assert_eq!(answer["ok"], true, "{answer}");
                assert_eq!(answer["recovered"], true, "{answer}");
                if self.says_since {
                    self.since = answer["since"].as_u64();
                }
                self.page = Some(page);
                return true;
            }
            assert!(message(&packet).is_none(), "{packet} before the answer");
        }
        false
    }

    fn claim(&self) -> String {
        match (self.says_since, self.since) {
            (true, Some(since)) => format!(r#"{{"uid":"{}","since":{since}}}"#, self.uid),
            (true, None) => format!(r#"{{"uid":"{}"}}"#, self.uid),
            (false, _) => format!(r#""{}""#, self.uid),
        }
    }

    /// Contents begin with their numbers.
    fn takes(&mut self, packet: &str) {
        let Some((content, id)) = message(packet) else {
            return;
        };
        let digits = content.split(' ').next().and_then(|word| word.parse().ok());
        let number: usize = digits.expect("a number");
        match self.expected {
            Some(expected) => assert_eq!(number, expected, "a gap or a repeat: {self:?}"),
            None => assert!(number <= self.next, "{number} leaves a gap: {self:?}"),
        }
        self.expected = Some(number + 1);
        if number == self.next {
            self.next += 1;
        } else {
            assert!(!self.says_since, "{number} again: {self:?}");
            self.repeated += 1;
        }
        assert_eq!(id.is_some(), self.says_since);
        assert!(id.is_none() || id > self.since, "{id:?} to {self:?}");
        self.since = id;
    }
}

fn is_goodbye(packet: &str) -> bool {
    matches!(packet, "1" | "41")
}
