//! A Socket.IO page that chats: events that are answered by their acknowledgement.

use std::collections::VecDeque;

use serde_json::Value;

use crate::harness::Server;
use crate::harness::page::{Dialect, Page};

/// A Socket.IO page that chats.
#[derive(Debug)]
pub(crate) struct Talker {
    pub(crate) page: Page,
    asked: usize,
    /// Arguments of events that came while an answer was due.
    unheard: VecDeque<Vec<Value>>,
}

impl Talker {
    pub(crate) fn new(page: Page) -> Self {
        Self {
            page,
            asked: 0,
            unheard: VecDeque::new(),
        }
    }

    pub(crate) async fn login(server: &Server, dialect: Dialect, uid: &str) -> Self {
        Self::new(server.login_by(dialect, uid).await)
    }

    /// Sends an event that asks for no answer.
    pub(crate) async fn emits(&mut self, event: &str, payload: &Value) {
        let packet = format!(r#"42["{event}",{payload}]"#);
        self.page.sends(&packet).await;
    }

    /// Sends events at once, and gives their answers in the order of the events.
    pub(crate) async fn asks_together(&mut self, events: &[(&str, Value)]) -> Vec<Value> {
        let first = self.asked;
        self.asked += events.len();
        let packets = events.iter().zip(first..);
        let packets = packets.map(|((name, payload), id)| match payload {
            Value::Null => format!(r#"42{id}["{name}"]"#),
            payload => format!(r#"42{id}["{name}",{payload}]"#),
        });
        let packets: Vec<String> = packets.collect();
        let packets: Vec<&str> = packets.iter().map(String::as_str).collect();
        self.page.sends_together(&packets).await;
        let mut answers = vec![Value::Null; events.len()];
        while answers.iter().any(Value::is_null) {
            let packet = self.page.next_packet().await.expect("it is connected");
            if let Some((id, mut arguments)) = ack_in(&packet) {
                assert_eq!(arguments.len(), 1, "{packet}");
                answers[id - first] = arguments.remove(0);
            } else {
                self.unheard.extend(message_in(&packet));
            }
        }
        answers
    }

    /// Sends an event, and gives its answer.
    pub(crate) async fn asks(&mut self, event: &str, payload: Value) -> Value {
        let mut answers = self.asks_together(&[(event, payload)]).await;
        answers.remove(0)
    }

    /// The arguments of the next `new_msg`.
    pub(crate) async fn next_arguments(&mut self) -> Vec<Value> {
        loop {
            if let Some(arguments) = self.unheard.pop_front() {
                return arguments;
            }
            let packet = self.page.next_packet().await.expect("it is connected");
            self.unheard.extend(message_in(&packet));
        }
    }

    /// The server has handled what this page sent before, and no message is on its way to it.
    pub(crate) async fn hears_nothing(&mut self) {
        self.page.sends("40/nowhere,").await;
        loop {
            let packet = self.page.next_packet().await.expect("it is connected");
            if packet.starts_with("44/nowhere") {
                break;
            }
            self.unheard.extend(message_in(&packet));
        }
        assert!(self.unheard.is_empty(), "got {:?}", self.unheard);
    }

    pub(crate) async fn leaves(self) {
        self.page.leaves().await;
    }
}

fn message_in(packet: &str) -> Option<Vec<Value>> {
    let arguments = packet.strip_prefix(r#"42["new_msg","#)?;
    Some(serde_json::from_str(&format!("[{arguments}")).expect("it is JSON"))
}

fn ack_in(packet: &str) -> Option<(usize, Vec<Value>)> {
    let rest = packet.strip_prefix("43")?;
    let (id, arguments) = rest.split_at(rest.find('[')?);
    let arguments = serde_json::from_str(arguments).expect("it is JSON");
    Some((id.parse().ok()?, arguments))
}
