//! HTTP/1.1 byte by byte: what is sent is what the test wrote, malformed or not.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::line::{Door, Line};
use crate::harness::within;

/// One connection.
#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) line: Line,
    unread: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Status line and headers, as they came.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Http {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::by(&address.into()).await
    }

    pub(crate) async fn by(door: &Door) -> Self {
        Self::over(within("a connection", door.enter()).await)
    }

    pub(crate) fn over(line: impl Into<Line>) -> Self {
        Self {
            line: line.into(),
            unread: Vec::new(),
        }
    }

    /// Sends bytes; that the server may have closed the connection shows in the answer.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = async {
            self.line.write_all(bytes.as_ref()).await.ok();
            self.line.flush().await.ok();
        };
        within("room to send", sent).await;
    }

    pub(crate) async fn post(&mut self, target: &str, content_type: &str, body: &[u8]) {
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.send([head.as_bytes(), body].concat()).await;
    }

    pub(crate) async fn get(&mut self, target: &str) {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .await;
    }

    /// Ends the sending side; answers can still be read.
    pub(crate) async fn finish_sending(&mut self) {
        self.line.shutdown().await.expect("the connection is open");
    }

    /// The next answer, with its body.
    pub(crate) async fn answer(&mut self) -> Answer {
        let answer = within("an answer", self.try_answer(true)).await;
        answer.expect("the connection ended without an answer")
    }

    /// The next answer to a `HEAD`, which has no body whatever its head says.
    pub(crate) async fn answer_to_head(&mut self) -> Answer {
        let answer = within("an answer", self.try_answer(false)).await;
        answer.expect("the connection ended without an answer")
    }

    /// The next answer, or `None` when the connection ended before one was complete.
    pub(crate) async fn answer_or_end(&mut self) -> Option<Answer> {
        within("an answer or the end", self.try_answer(true)).await
    }

    /// The next answer, without a deadline: a poll may hang for as long as its page has time.
    pub(crate) async fn poll(&mut self) -> Option<Answer> {
        self.try_answer(true).await
    }

    /// Waits for the other side to end the connection, and shows that nothing came before that.
    pub(crate) async fn ends(&mut self) {
        let more = within("the end of the connection", self.read_more()).await;
        let unread = String::from_utf8_lossy(&self.unread);
        assert!(!more && unread.is_empty(), "got {unread:?}");
    }

    /// Waits for the other side to end the connection, whatever it says before.
    pub(crate) async fn is_cut_off(&mut self) -> bool {
        let end = async { while self.read_more().await {} };
        tokio::time::timeout(crate::harness::DEADLINE, end)
            .await
            .is_ok()
    }

    async fn try_answer(&mut self, with_body: bool) -> Option<Answer> {
        let head = self.until(b"\r\n\r\n").await?;
        let head = String::from_utf8(head).expect("a head is text");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let mut answer = Answer {
            status: status.expect("an answer has a status"),
            head,
            body: Vec::new(),
        };
        if with_body && answer.status >= 200 && !matches!(answer.status, 204 | 304) {
            answer.body = self.body(&answer).await?;
        }
        Some(answer)
    }

    async fn body(&mut self, answer: &Answer) -> Option<Vec<u8>> {
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().expect("a length is a number");
            return self.exactly(length).await;
        }
        if answer.header("transfer-encoding").is_none() {
            while self.read_more().await {}
            return Some(std::mem::take(&mut self.unread));
        }
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.until(b"\r\n").await?).ok()?;
            let length = usize::from_str_radix(line.trim(), 16).ok()?;
            body.extend(self.exactly(length).await?);
            self.exactly(2).await?;
            if length == 0 {
                return Some(body);
            }
        }
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self.unread.windows(end.len()).position(|w| w == end);
            match found {
                Some(at) => return self.exactly(at + end.len()).await,
                None if self.read_more().await => {}
                None => return None,
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.unread.len() < length {
            if !self.read_more().await {
                return None;
            }
        }
        let rest = self.unread.split_off(length);
        Some(std::mem::replace(&mut self.unread, rest))
    }

    async fn read_more(&mut self) -> bool {
        let read = self.line.read_buf(&mut self.unread).await;
        read.is_ok_and(|n| n > 0)
    }
}

impl Answer {
    /// The value of a header; `name` in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut fields = lines.filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(field, _)| field.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the body is text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}
