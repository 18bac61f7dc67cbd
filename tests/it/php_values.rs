//! PHP's value rules, compared with PHP itself: thousands of pushes, the same in each run, are
//! made to a server and shown to `tests/php/values.php`.

use std::fmt::Write as _;

use tokio::process::Command;

use crate::harness::Server;
use crate::harness::http::Http;
use crate::harness::process::output_of;

/// Of what texts are made.
const PIECES: &[&[u8]] = &[
    b"<",
    b">",
    b"&",
    b"\"",
    b"'",
    b"&amp;",
    b"&#039;",
    b"a",
    b" ",
    b"\0",
    b"\n",
    b"\x7F",
    "é".as_bytes(),
    "你".as_bytes(),
    "😀".as_bytes(),
    b"\x80",
    b"\xBF",
    b"\xC0",
    b"\xC1",
    b"\xC2",
    b"\xDF",
    b"\xE0",
    b"\xE0\x80",
    b"\xE0\xA0",
    b"\xED",
    b"\xED\xA0",
    b"\xED\xA0\x80",
    b"\xEF\xBF",
    b"\xEF\xBF\xBE",
    b"\xF0",
    b"\xF0\x9F",
    b"\xF0\x9F\x98",
    b"\xF0\x80\x80\x80",
    b"\xF4\x8F",
    b"\xF4\x90\x80\x80",
    b"\xF5",
    b"\xF8\x88\x80\x80\x80",
    b"\xFE",
    b"\xFF",
];

/// Names of variables, as they stand in a form.
const NAMES: &[&[u8]] = &[
    b"to",
    b"to[]",
    b"to[]",
    b"to[0]",
    b"to[1]",
    b"to[00]",
    b"to[-1]",
    b"to[-3]",
    b"to[+1]",
    b"to[ ]",
    b"to[ 1]",
    b"to[a]",
    b"to[a]b",
    b"to[a][b]",
    b"to[a][b",
    b"to[9223372036854775807]",
    b"to[2]",
    b"to[][]",
    b"to[",
    b"to]",
    b"to[[]",
    b"to[a",
    b"to%5B%5D",
    b"to%00x",
    b"to[%00]",
    b"to[9223372036854775806]",
    b"to[%09]",
    b"to[  ]",
    b"to.x",
    b" to",
    b"+to",
    b"%09to",
    b"to ",
    b"content",
    b"content[",
    b"content[]",
    b"con+tent",
    b"type",
    b"Type",
    b"x",
    b"[to]",
    b"",
];

/// Values, as they stand in a form.
const VALUES: &[&[u8]] = &[
    b"alice", b"alice", b"%61lice", b"bob", b"0", b"", b"+", b"a+b", b"%zz", b"%4", b"%", b"a%00b",
    b"=", b"a=b", b"%26", b"\xFF", b"publish", b"a;b", b"%u0041", b"%C3%A9",
];

/// JSON values that have their own rules, and what is none.
const TEXTS: &[&str] = &[
    "true",
    "false",
    "null",
    "[]",
    "{}",
    "[1]",
    "{\"a\":1}",
    "\"\"",
    "\"0\"",
    "-0.0",
    "0.0",
    "0e5",
    "1E+2",
    "1e-7",
    "\"\\u4f60\\ud83d\\ude00\"",
    "\"\\ud83d\"",
    "\"\\u0000<\"",
    "\"\\/\"",
    "\"\\x\"",
    "01",
    "+1",
    ".5",
    "1.",
    "NaN",
    "TRUE",
    "'a'",
    "\"a\tb\"",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "1.7976931348623157e308",
    "4.9e-324",
    "2.2250738585072014e-308",
    "1e-400",
];

/// xorshift64*: any numbers will do, as long as they are the same in each run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next()).expect("64 bits") % n
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// One to `most` of them, one after the other.
    fn some(&mut self, most: usize, from: &[&[u8]]) -> Vec<u8> {
        let n = 1 + self.below(most);
        (0..n).flat_map(|_| self.pick(from)).copied().collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Form,
    Json,
}

/// Makes each push, and asks PHP what should have become of it.
async fn compare(kind: Kind, bodies: &[Vec<u8>]) {
    let (name, content_type) = match kind {
        Kind::Form => ("form", "application/x-www-form-urlencoded"),
        Kind::Json => ("json", "application/json"),
    };
    let lines: String = bodies
        .iter()
        .map(|b| format!("{name} {}\n", hex(b)))
        .collect();
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("pushes");
    std::fs::write(&file, lines).expect("there is room");
    let mut php = Command::new("php");
    php.args(["-n", "-d", "precision=14", "-d", "display_errors=stderr"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/php/values.php"))
        .arg(&file);
    let output = output_of(php).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let expected = String::from_utf8(output.stdout).expect("it prints text");
    let expected: Vec<_> = expected.lines().filter_map(|l| l.split_once(' ')).collect();
    assert_eq!(expected.len(), bodies.len(), "an answer for each push");

    let server = Server::start();
    let mut alice = server.login("alice").await;
    let mut http = Http::open(server.http()).await;
    let mut differing = Vec::new();
    for (body, (word, content)) in bodies.iter().zip(expected) {
        http.post("/", content_type, body).await;
        let answer = http.answer().await.text();
        let got = match answer.as_str() {
            "ok" => hex(alice.next_message().await.as_bytes()),
            _ => String::new(),
        };
        if (answer.as_str(), got.as_str()) != (word, content) {
            let body = String::from_utf8_lossy(body);
            differing.push(format!(
                "{body:?}: {answer} {got:?}, by PHP {word} {content:?}"
            ));
        }
    }
    assert!(
        differing.is_empty(),
        "{} of {} differ:\n{}",
        differing.len(),
        bodies.len(),
        differing[..differing.len().min(60)].join("\n")
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("there is room");
        digits
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_texts_are_escaped_as_by_htmlspecialchars() {
    let mut dice = Dice(0x5EED);
    let push = |_| {
        let text = dice.some(8, PIECES);
        let encoded: String = text.iter().map(|byte| format!("%{byte:02X}")).collect();
        format!("type=publish&content={encoded}").into_bytes()
    };
    compare(Kind::Form, &(0..1000).map(push).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_forms_are_read_as_by_parse_str() {
    let keys: Vec<&[u8]> = NAMES
        .iter()
        .copied()
        .filter(|name| name.starts_with(b"to["))
        .collect();
    let mut dice = Dice(0xF0);
    let push = |n| {
        let mut form = b"type=publish&content=hi".to_vec();
        // Every second is about keys alone: which of them are the same shows in who is named.
        let of_keys = n % 2 == 0;
        for _ in 0..=dice.below(5) {
            if of_keys {
                let value: &[u8] = dice.pick::<[u8]>(&[b"alice", b"bob"]);
                form.extend([&b"&"[..], dice.pick(&keys), b"=", value].concat());
                continue;
            }
            form.extend(dice.pick::<[u8]>(&[b"&", b"&", b"&", b"&&", b"&;", b"&=&", b";"]));
            form.extend(dice.pick(NAMES));
            if dice.below(10) > 0 {
                form.push(b'=');
                form.extend(dice.pick(VALUES));
            }
        }
        form
    };
    compare(Kind::Form, &(0..2000).map(push).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_json_values_are_cast_as_by_json_decode() {
    // Of `-0`, which is a whole number for PHP, JSON that was read has no trace here.
    let mut dice = Dice(0x15);
    let push = |_| {
        let value = match dice.below(6) {
            0 => dice.pick(TEXTS).to_owned(),
            1 => format!(
                "{:e}",
                f64::from_bits(dice.next() << 8 | dice.next() & 0xFF)
            ),
            2 => format!("{}.{}", dice.next() % 100_000, dice.next()),
            // Next to the place where the fourteenth digit is rounded.
            3 => format!(
                "{}5e{}",
                dice.next() % 100_000_000_000_000,
                dice.below(40) as i64 - 30
            ),
            4 => format!("-{}.{:03}5", dice.next() % 10_000_000_000, dice.below(1000)),
            _ => (dice.next() >> dice.below(56)).to_string() + &"0".repeat(dice.below(8)),
        };
        // Beyond a float's range PHP has an infinity; here that is no JSON.
        let value = if value.contains(['N', 'i']) && value != "NaN" {
            "1".to_owned()
        } else {
            value
        };
        let to = match dice.below(8) {
            0 => format!(",\"to\":{value}"),
            1 => format!(",\"to\":[\"alice\",{value}]"),
            _ => String::new(),
        };
        format!("{{\"type\":\"publish\",\"content\":{value}{to}}}").into_bytes()
    };
    compare(Kind::Json, &(0..2000).map(push).collect::<Vec<_>>()).await;
}
