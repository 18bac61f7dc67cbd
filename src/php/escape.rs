//! `htmlspecialchars`, with PHP's own rule for invalid UTF-8.

use crate::config::EscapeHtml;

/// How PHP's `htmlspecialchars` is called by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// PHP 8.1 and newer: both quotes, invalid UTF-8 becomes U+FFFD.
    Modern,
    /// PHP before 8.1: `'` stays, and a text with any invalid UTF-8 becomes empty.
    Compat,
}

/// Text as pages get it by this setting.
pub(crate) fn escape(bytes: &[u8], setting: EscapeHtml) -> String {
    match setting {
        EscapeHtml::Modern => htmlspecialchars(bytes, Flavour::Modern),
        EscapeHtml::Compat => htmlspecialchars(bytes, Flavour::Compat),
        EscapeHtml::Off => to_valid_utf8(bytes).into_owned(),
    }
}

/// `htmlspecialchars($bytes)`. Text that is escaped already is escaped again, as PHP does.
pub(crate) fn htmlspecialchars(bytes: &[u8], flavour: Flavour) -> String {
    if flavour == Flavour::Compat && std::str::from_utf8(bytes).is_err() {
        return String::new();
    }
    let text = to_valid_utf8(bytes);
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' if flavour == Flavour::Modern => escaped.push_str("&#039;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The bytes as text, with U+FFFD where they are not UTF-8, cut as PHP cuts them: `ED A0 80` is
/// one U+FFFD there, three in the rule of the web and of Rust.
pub(crate) fn to_valid_utf8(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => replace_invalid(bytes).into(),
    }
}

fn replace_invalid(mut bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    while !bytes.is_empty() {
        let valid = match std::str::from_utf8(bytes) {
            Ok(rest) => {
                text.push_str(rest);
                return text;
            }
            Err(e) => e.valid_up_to(),
        };
        text.push_str(std::str::from_utf8(&bytes[..valid]).unwrap_or_default());
        text.push('\u{FFFD}');
        bytes = &bytes[valid + bad_length(&bytes[valid..])..];
    }
    text
}

/// How many bytes PHP replaces by one U+FFFD, given bytes that start with an invalid sequence.
fn bad_length(bytes: &[u8]) -> usize {
    let is_lead = |i: usize| {
        bytes
            .get(i)
            .is_some_and(|b| matches!(b, 0..=0x7F | 0xC2..=0xF4))
    };
    let is_trail = |i: usize| bytes.get(i).is_some_and(|b| matches!(b, 0x80..=0xBF));
    // A byte that could start a character of its own is never swallowed.
    let stop_before_lead = |length: usize| {
        (1..length)
            .find(|&i| bytes.len() <= i || is_lead(i))
            .unwrap_or(length)
    };
    match bytes[0] {
        0xC2..=0xDF if bytes.len() < 2 || is_lead(1) => 1,
        0xC2..=0xDF => 2,
        0xE0..=0xEF if is_trail(1) && is_trail(2) => 3,
        0xE0..=0xEF => stop_before_lead(3),
        0xF0..=0xF4 if is_trail(1) && is_trail(2) && is_trail(3) => 4,
        0xF0..=0xF4 => stop_before_lead(4),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{Flavour, htmlspecialchars};

    #[test]
    fn the_five_characters_are_escaped_as_todays_php_does() {
        assert_eq!(
            htmlspecialchars(b"<a href=\"x\" title='y'>&amp;</a>", Flavour::Modern),
            "&lt;a href=&quot;x&quot; title=&#039;y&#039;&gt;&amp;amp;&lt;/a&gt;"
        );
    }

    #[test]
    fn php_before_8_1_keeps_the_apostrophe_and_drops_invalid_text() {
        assert_eq!(
            htmlspecialchars(b"it's <b>", Flavour::Compat),
            "it's &lt;b&gt;"
        );
        assert_eq!(htmlspecialchars(b"a\xFFb", Flavour::Compat), "");
    }

    #[test]
    fn invalid_utf8_is_cut_as_php_cuts_it() {
        for (bytes, text) in [
            (&b"a\xFFb"[..], "a\u{FFFD}b"),
            (b"\xED\xA0\x80", "\u{FFFD}"),
            (b"\xC3", "\u{FFFD}"),
            (b"\xC3A", "\u{FFFD}A"),
            (b"\xC3\xC3\xA9", "\u{FFFD}\u{e9}"),
            (b"\xE4\xB8", "\u{FFFD}"),
            (b"\xE4\xB8A", "\u{FFFD}A"),
            (b"\xE4A", "\u{FFFD}A"),
            (b"\xF0\x9F\x98", "\u{FFFD}"),
            (b"\xF4\x90\x80\x80", "\u{FFFD}"),
            (b"\xC0\x80", "\u{FFFD}\u{FFFD}"),
            (b"\xF5A", "\u{FFFD}A"),
        ] {
            assert_eq!(htmlspecialchars(bytes, Flavour::Modern), text, "{bytes:x?}");
        }
    }
}
