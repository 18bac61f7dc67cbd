//! Who got what: owns the mark carried inside each message (`c<seq>.<micros>.`)
//! and the books of deliveries, duplicates, losses and latencies.

use std::sync::Arc;

use hdrhistogram::Histogram;

/// Longest latency kept apart, in microseconds; longer ones count as this long.
const LONGEST_MICROS: u64 = 600_000_000;

/// An empty histogram of microseconds, three significant figures.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("constant bounds are valid")
}

/// Appends a message of `size` bytes (more if the mark alone is longer) to
/// `out`: number `seq`, sent `micros` after the start of the run.
pub(crate) fn write_content(out: &mut Vec<u8>, seq: u64, micros: u64, size: usize) {
    let start = out.len();
    out.push(b'c');
    write_decimal(out, seq);
    out.push(b'.');
    write_decimal(out, micros);
    out.push(b'.');
    let end = out.len().max(start + size);
    out.resize(end, b'x');
}

/// Appends `value` in decimal digits to `out`. The formatting machinery would
/// cost more than all else of a push that is one line among many.
pub(crate) fn write_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The sequence number and send time of a message, if it is one of ours: a
/// mark with its padding, or a text line, which is an object around them.
fn read_content(text: &[u8]) -> Option<(u64, u64)> {
    let mark = match text.first()? {
        b'{' => &text[mark_within(text)?..],
        _ => text,
    };
    let (seq, rest) = number(mark.strip_prefix(b"c")?)?;
    let (micros, _) = number(rest)?;
    Some((seq, micros))
}

/// Where the mark of a text line begins: no `c` before it has a digit after it,
/// whatever way the quotes are escaped.
fn mark_within(line: &[u8]) -> Option<usize> {
    line.windows(2)
        .position(|two| two[0] == b'c' && two[1].is_ascii_digit())
}

/// Decimal digits up to a full stop, and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value: u64 = 0;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            b'.' if at > 0 => return Some((value, &text[at + 1..])),
            _ => return None,
        }
    }
    None
}

/// The books of one round.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Number of the round's first publish.
    base: u64,
    /// One entry per publish: how many pages got it.
    received: Vec<u32>,
    /// Target client of each publish; none when everyone is meant.
    targets: Option<Arc<[u32]>>,
    /// Bits of what was seen: per client and publish when everyone is meant,
    /// else per publish.
    seen: Vec<u64>,
    /// Words of `seen` per client.
    words: usize,
    /// Deliveries, each page and message counted once.
    pub(crate) delivered: u64,
    /// Messages that came again to a page that had them.
    pub(crate) duplicated: u64,
    /// Messages of another run or round, or meant for another page.
    pub(crate) stray: u64,
    /// Publish call to arrival, microseconds.
    pub(crate) latency: Histogram<u64>,
    /// Time of the last delivery, microseconds of the run.
    pub(crate) last_arrival: u64,
}

impl Tally {
    /// Books for `publishes` messages numbered from `base` on, to `clients`
    /// pages or, with `targets`, each to one of them.
    pub(crate) fn new(
        base: u64,
        publishes: u32,
        clients: u32,
        targets: Option<Arc<[u32]>>,
    ) -> Self {
        let words = (publishes as usize).div_ceil(64);
        let rows = if targets.is_some() {
            1
        } else {
            clients as usize
        };
        Self {
            base,
            received: vec![0; publishes as usize],
            targets,
            seen: vec![0; words * rows],
            words,
            delivered: 0,
            duplicated: 0,
            stray: 0,
            latency: histogram(),
            last_arrival: 0,
        }
    }

    /// Books the message `text` arriving at `client` at `now` (microseconds).
    pub(crate) fn arrive(&mut self, client: u32, text: &[u8], now: u64) {
        let known = read_content(text).and_then(|(seq, micros)| {
            let index = usize::try_from(seq.checked_sub(self.base)?).ok()?;
            (index < self.received.len()).then_some((index, micros))
        });
        let Some((index, micros)) = known else {
            self.stray += 1;
            return;
        };
        let row = match &self.targets {
            None => client as usize,
            Some(targets) if targets[index] == client => 0,
            Some(_) => {
                self.stray += 1;
                return;
            }
        };
        let word = &mut self.seen[row * self.words + index / 64];
        let bit = 1 << (index % 64);
        if *word & bit != 0 {
            self.duplicated += 1;
            return;
        }
        *word |= bit;
        self.received[index] += 1;
        self.delivered += 1;
        self.last_arrival = now;
        self.latency
            .saturating_record(now.saturating_sub(micros).max(1));
    }

    /// Deliveries missing of the publishes for which `counts` holds, when each
    /// was due at `pages` pages.
    pub(crate) fn lost(&self, pages: u32, counts: impl Fn(usize) -> bool) -> u64 {
        let missing = |&got: &u32| u64::from(pages.saturating_sub(got));
        self.received
            .iter()
            .enumerate()
            .filter(|&(index, _)| counts(index))
            .map(|(_, got)| missing(got))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Tally, read_content, write_content};

    fn content(seq: u64, micros: u64) -> Vec<u8> {
        let mut out = Vec::new();
        write_content(&mut out, seq, micros, 40);
        out
    }

    #[test]
    fn content_has_its_size_and_reads_back() {
        let text = content(17, 123_456);
        assert_eq!(text.len(), 40);
        assert_eq!(read_content(&text), Some((17, 123_456)));
        for foreign in [
            &b""[..],
            b"c1",
            b"c.1.",
            b"hello",
            b"c1.2",
            b"c1x.2.",
            b" c1.2.",
        ] {
            assert_eq!(read_content(foreign), None);
        }
    }

    #[test]
    fn a_mark_is_found_in_its_line() {
        for line in [
            &b"{\"uid\":\"bench-70\",\"m\":\"c17.123456.xx\"}"[..],
            b"{\\\"uid\\\":\\\"bench-70\\\",\\\"m\\\":\\\"c17.123456.\\\"}",
            b"{&quot;uid&quot;:&quot;bench-70&quot;,&quot;m&quot;:&quot;c17.123456.",
        ] {
            assert_eq!(read_content(line), Some((17, 123_456)));
        }
        for foreign in [&b"{"[..], b"{\"uid\":\"bench-70\"}", b"{\"m\":\"c1\"}"] {
            assert_eq!(read_content(foreign), None);
        }
    }

    #[test]
    fn everyone_gets_each_message_once() {
        let mut tally = Tally::new(100, 70, 3, None);
        for client in 0..3 {
            tally.arrive(client, &content(169, 10), 2_010);
        }
        tally.arrive(2, &content(169, 10), 2_020);
        tally.arrive(2, &content(170, 10), 2_020);
        tally.arrive(2, &content(99, 10), 2_020);
        tally.arrive(1, &content(100, 10), 2_020);
        assert_eq!((tally.delivered, tally.duplicated, tally.stray), (4, 1, 2));
        assert_eq!(tally.lost(3, |index| index == 69), 0);
        assert_eq!(tally.lost(3, |index| index == 0), 2);
        assert_eq!(tally.latency.max(), 2_010);
    }

    #[test]
    fn a_message_for_one_page_is_stray_elsewhere() {
        let mut tally = Tally::new(0, 2, 3, Some([2, 0].into()));
        tally.arrive(2, &content(0, 1), 5);
        tally.arrive(2, &content(1, 1), 5);
        assert_eq!((tally.delivered, tally.stray), (1, 1));
        assert_eq!(tally.lost(1, |_| true), 1);
    }
}
