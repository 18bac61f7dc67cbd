//! Mends the request line of a connection's first request.
//!
//! PHP's `file_get_contents` sends its URL as it was given, spaces, quotes, brackets and all, and
//! PHP's servers take it. An HTTP library rightly does not. Only the first request is looked at:
//! such a client opens a connection for each.

/// Collects a connection's first line, mends it, and hands it on.
#[derive(Debug, Default)]
pub(super) struct FirstLine {
    collected: Vec<u8>,
    /// How much of `collected` has been handed on; `None` until the line is complete.
    handed: Option<usize>,
}

/// What to do with what has just arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It needs no mending: let it through, and all that follows.
    Pass,
    /// It has been taken: read more.
    More,
    /// The line is complete: hand it on.
    Ready,
}

/// Longer lines are passed on unmended, to be refused.
const LONGEST: usize = 64 * 1024;

impl FirstLine {
    /// Takes what has arrived; an empty slice is the end of the stream.
    pub(super) fn take(&mut self, arrived: &[u8]) -> Step {
        let line = arrived.split(|b| *b == b'\n').next().unwrap_or_default();
        let complete = line.len() < arrived.len();
        if self.collected.is_empty() && complete && mended(line).is_none() {
            return Step::Pass;
        }
        self.collected.extend_from_slice(arrived);
        if !complete && !arrived.is_empty() && self.collected.len() < LONGEST {
            return Step::More;
        }
        let line = self.collected.split(|b| *b == b'\n').next();
        let line = line.unwrap_or_default();
        if let Some(mended) = mended(line) {
            let end = line.len();
            self.collected.splice(..end, mended);
        }
        self.handed = Some(0);
        Step::Ready
    }

    /// The bytes to hand on, at most `most`; `None` while the line is incomplete. Empty when all
    /// has been handed on.
    pub(super) fn next(&mut self, most: usize) -> Option<&[u8]> {
        let handed = self.handed?;
        let end = (handed + most).min(self.collected.len());
        self.handed = Some(end);
        Some(&self.collected[handed..end])
    }

    /// Whether there is nothing left to hand on.
    pub(super) fn is_done(&self) -> bool {
        self.handed == Some(self.collected.len())
    }
}

/// The line with a target that an HTTP parser takes; `None` if it is one already, or hopeless.
fn mended(line: &[u8]) -> Option<Vec<u8>> {
    let start = line.iter().position(|b| *b == b' ')? + 1;
    let end = line.windows(6).rposition(|w| w == b" HTTP/")?;
    let whole = line.get(start..end)?;
    // A raw space ended the URL for the original too.
    let target = whole.split(|b| *b == b' ').next().unwrap_or_default();
    if target.len() == whole.len() && !target.iter().any(|b| needs_encoding(*b)) {
        return None;
    }
    let mut mended = line[..start].to_vec();
    for byte in target {
        match byte {
            // As the original reads them.
            0..=0x1F | 0x7F => mended.push(b'_'),
            byte if needs_encoding(*byte) => {
                mended.extend(format!("%{byte:02X}").bytes());
            }
            byte => mended.push(*byte),
        }
    }
    mended.extend_from_slice(&line[end..]);
    Some(mended)
}

fn needs_encoding(byte: u8) -> bool {
    matches!(
        byte,
        0..=0x20 | 0x7F..=0xFF | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
    )
}

#[cfg(test)]
mod tests {
    use super::{FirstLine, Step};

    fn through(pieces: &[&[u8]]) -> Vec<u8> {
        let mut first = FirstLine::default();
        let mut out = Vec::new();
        for (i, piece) in pieces.iter().enumerate() {
            match first.take(piece) {
                Step::More => {}
                Step::Pass => {
                    out.extend(pieces[i..].concat());
                    return out;
                }
                Step::Ready => {
                    while !first.is_done() {
                        out.extend_from_slice(first.next(7).unwrap());
                    }
                    out.extend(pieces[i + 1..].concat());
                    return out;
                }
            }
        }
        panic!("the line never ended");
    }

    #[test]
    fn a_url_as_php_sends_it_is_encoded() {
        let sent = "GET /?content=<b>\"hi\" you</b> HTTP/1.1\r\nHost: x\r\n\r\n";
        let read = "GET /?content=%3Cb%3E%22hi%22 HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(through(&[sent.as_bytes()]), read.as_bytes());
        for split in 1..sent.len() {
            let (a, b) = sent.as_bytes().split_at(split);
            assert_eq!(through(&[a, b]), read.as_bytes(), "split at {split}");
        }
        assert_eq!(
            through(&[b"GET /?a=caf\xE9 HTTP/1.1\r\n\r\n"]),
            b"GET /?a=caf%E9 HTTP/1.1\r\n\r\n"
        );
    }

    #[test]
    fn other_lines_pass_as_they_are() {
        for line in [
            &b"GET /?a=b%20c HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            b"HELLO WORLD\r\n\r\n",
            b"GET /?a=<b>\r\n\r\n",
            b"\r\n",
        ] {
            assert_eq!(through(&[line]), line);
        }
        assert_eq!(through(&[b"GET", b""]), b"GET");
    }
}
