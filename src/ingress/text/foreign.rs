//! What browsers can be made to send to this port: HTTP requests and TLS. A web page chooses what
//! comes after their first bytes, so none of it may be taken for a line. Knows no wire.

/// How a handshake of TLS begins. Its session tickets are chosen by whoever the browser has spoken to
/// under the same name before.
const TLS: [u8; 2] = [22, 3];

/// Longer than the version of any request.
const VERSION: usize = 16;

/// Whether a line, without its LF, begins an HTTP request: a websocket's and HTTP/2's among them. No
/// JSON ends so.
pub(super) fn is_request(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let end = &line[line.len().saturating_sub(VERSION)..];
    let space = end.iter().rposition(|byte| *byte == b' ');
    let version = space.and_then(|at| end[at + 1..].strip_prefix(b"HTTP/"));
    // A line of JSON may have the same within a text, which then ends otherwise.
    version.is_some_and(|version| {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.';
        version.iter().all(is_part)
    })
}

/// Whether what a connection begins with is TLS.
pub(super) fn is_tls(start: &[u8]) -> bool {
    start.starts_with(&TLS)
}

#[cfg(test)]
mod tests {
    use super::{is_request, is_tls};

    #[test]
    fn requests_are_told_from_lines() {
        let long = format!("GET /{} HTTP/1.1\r", "x".repeat(100_000));
        for request in [
            "POST / HTTP/1.1",
            "GET /?a=b HTTP/1.0\r",
            "PRI * HTTP/2.0\r\r",
            "CONNECT 127.0.0.1:5678 HTTP/1.1 \t\r",
            "x HTTP/",
            &long,
        ] {
            assert!(is_request(request.as_bytes()), "{request}");
        }
        for line in [
            "",
            "\r",
            "HTTP/1.1",
            r#"{"uid":"alice","x":"GET / HTTP/1.1"}"#,
            r#"{"x": HTTP/1.1}"#,
            "GET / HTTP/1.1 }",
            "Host: 127.0.0.1:5678\r",
            "POST / http",
        ] {
            assert!(!is_request(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn tls_is_told_by_its_first_two_bytes() {
        assert!(is_tls(b"\x16\x03\x01\x02\x00"));
        assert!(!is_tls(b"\x16"));
        assert!(!is_tls(b"{\"uid\":\"\x16\x03\"}"));
    }
}
