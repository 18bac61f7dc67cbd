//! What holds of a first line, whatever is sent. Built only for fuzzing; see `crate::fuzzing`.

use crate::net::first_line::{FirstLine, Step};

/// However it arrives, the line is mended alike and once, and what follows stays as it is.
pub(crate) fn first_line(cuttings: &[Vec<&[u8]>; 3]) {
    let [whole, ..] = cuttings;
    let sent = whole.concat();
    let passed = through(whole);
    for pieces in cuttings {
        assert_eq!(through(pieces), passed, "{pieces:?}");
    }
    let line = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n');
    let rest = |bytes: &[u8]| line(bytes).map(|at| bytes[at..].to_vec());
    assert_eq!(rest(&sent), rest(&passed));
    assert_eq!(through(&[&passed]), passed, "what is mended is sound");
    if let Some(target) = target(&passed) {
        let is_sound = |byte: &u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte);
        assert!(target.iter().all(is_sound), "{target:?}");
    }
}

/// What stands between the first space of the first line and its version.
fn target(bytes: &[u8]) -> Option<&[u8]> {
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    let start = line.iter().position(|byte| *byte == b' ')? + 1;
    let end = line.windows(6).rposition(|bytes| bytes == b" HTTP/")?;
    line.get(start..end)
}

/// What comes out at the other end.
fn through(pieces: &[&[u8]]) -> Vec<u8> {
    let mut first = FirstLine::default();
    let mut out = Vec::new();
    let arrivals = pieces.iter().filter(|piece| !piece.is_empty());
    let end: &[u8] = b"";
    let mut arrivals = arrivals.chain([&end]);
    for arrived in arrivals.by_ref() {
        match first.take(arrived) {
            Step::More => continue,
            Step::Pass => out.extend_from_slice(arrived),
            Step::Ready => {
                while !first.is_done() {
                    out.extend_from_slice(first.next(7).expect("the line is complete"));
                }
            }
        }
        break;
    }
    out.extend(arrivals.copied().flatten());
    out
}
