//! JSON in ASCII only.
//!
//! Engine.IO 1.x clients decode UTF-8 once more inside a polling payload, 2.x clients do not, and
//! both say `EIO=3`, so text that is not ASCII breaks the one or the other. PHP's encoder wrote
//! `\uXXXX`, which every client reads alike; so do we.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::value::RawValue;

/// JSON, encoded once and shared by all who get it.
#[derive(Debug, Clone)]
pub(super) struct AsciiJson(Arc<RawValue>);

impl AsciiJson {
    /// Encodes a text.
    pub(super) fn new(text: &str) -> Self {
        Self::of(text)
    }

    /// Encodes plain data.
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        let mut json = Vec::with_capacity(128);
        value
            .serialize(&mut Serializer::with_formatter(&mut json, AsciiFormatter))
            .expect("plain data is written to memory");
        let json = String::from_utf8(json).expect("JSON in ASCII is UTF-8");
        let raw = RawValue::from_string(json).expect("what was encoded is JSON");
        Self(raw.into())
    }

    /// Takes a JSON text. Outside of its strings all is ASCII, so that what is not can be escaped
    /// wherever it stands.
    pub(super) fn of_json(json: &str) -> Self {
        let mut ascii = Vec::with_capacity(json.len());
        AsciiFormatter
            .write_string_fragment(&mut ascii, json)
            .expect("memory can be written");
        let ascii = String::from_utf8(ascii).expect("ASCII is UTF-8");
        let raw = RawValue::from_string(ascii).expect("it was JSON before");
        Self(raw.into())
    }

    /// What to hand to `emit`: it is written as it is.
    pub(super) fn raw(&self) -> &RawValue {
        &self.0
    }
}

struct AsciiFormatter;

impl Formatter for AsciiFormatter {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut ascii = fragment;
        while let Some(at) = ascii.find(|c: char| !c.is_ascii()) {
            writer.write_all(&ascii.as_bytes()[..at])?;
            let rest = &ascii[at..];
            let end = rest.find(|c: char| c.is_ascii()).unwrap_or(rest.len());
            for unit in rest[..end].encode_utf16() {
                write!(writer, "\\u{unit:04x}")?;
            }
            ascii = &rest[end..];
        }
        writer.write_all(ascii.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::AsciiJson;

    #[test]
    fn text_is_written_in_ascii_and_reads_back() {
        let text = "a\"b\\\u{7f}\n\0 你好 😀 é";
        let json = AsciiJson::new(text);
        assert!(json.raw().get().is_ascii());
        assert!(
            json.raw()
                .get()
                .contains(r"\u4f60\u597d \ud83d\ude00 \u00e9")
        );
        let back: String = serde_json::from_str(json.raw().get()).unwrap();
        assert_eq!(back, text);
    }
}
