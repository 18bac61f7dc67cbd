//! Answers to a publish: owns their reading, from raw HTTP/1.1 bytes and from
//! the reply lines of the text port.

use std::io;

/// What a publish was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `ok`
    Ok,
    /// `offline`
    Offline,
    /// `fail`
    Fail,
    /// Any other answer, or none.
    Other,
}

/// What an answer's head says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    status: u16,
    /// Where the body begins.
    body: usize,
    /// Bytes of the body.
    length: usize,
    /// Whether the server closes the connection.
    pub(crate) close: bool,
}

impl Head {
    /// Reads the head once it is whole.
    ///
    /// # Errors
    /// When it has no status or no content-length.
    pub(crate) fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.get(9..12)?.parse().ok());
        let (mut length, mut close) = (None, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("connection") {
                close = value.trim().eq_ignore_ascii_case("close");
            }
        }
        match (status, length) {
            (Some(status), Some(length)) => Ok(Some(Self {
                status,
                body: end + 4,
                length,
                close,
            })),
            _ => Err(io::Error::other(
                "an answer without a status or a content-length",
            )),
        }
    }

    /// The answer within `bytes`, which begin with this head, once it is whole.
    pub(crate) fn answer(&self, bytes: &[u8]) -> Option<Answer> {
        let body = bytes.get(self.body..self.body.checked_add(self.length)?)?;
        Some(classify(self.status, body))
    }
}

impl Answer {
    /// What a reply line of the text port says, without its line end.
    pub(crate) fn of_line(line: &[u8]) -> Self {
        match line.strip_suffix(b"\r").unwrap_or(line) {
            b"ok" => Self::Ok,
            b"fail" => Self::Fail,
            _ => Self::Other,
        }
    }
}

fn classify(status: u16, body: &[u8]) -> Answer {
    match (status, body.trim_ascii()) {
        (200, b"ok") => Answer::Ok,
        (200, b"offline") => Answer::Offline,
        (200, b"fail") => Answer::Fail,
        _ => Answer::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Head, classify};

    #[test]
    fn heads_are_read_when_whole() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: close\r\n\r\nok";
        let parse = |bytes| Head::parse(bytes).expect("a good head");
        assert_eq!(parse(&answer[..30]), None);
        let head = parse(answer).expect("it is whole");
        assert_eq!((head.status, head.length, head.close), (200, 2, true));
        assert_eq!(classify(head.status, &answer[head.body..]), Answer::Ok);
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert_eq!(classify(200, b"offline"), Answer::Offline);
        assert_eq!(classify(500, b"ok"), Answer::Other);
    }
}
