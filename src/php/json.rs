//! The members of a JSON object, read one by one without building the object: the hot path of
//! ingresses that look at one or two members of a message and pass the whole on.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde::de::{Error as _, Visitor};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::php::PhpValue;

/// A member's value, as far as it is of interest.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Member<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    /// A list or an object; what is in it was checked and dropped.
    Nested,
}

impl Member<'_> {
    /// PHP's string cast; `None` for what is nested.
    pub(crate) fn to_text(&self) -> Option<Cow<'_, str>> {
        let number = match self {
            Self::Text(text) => return Some(Cow::Borrowed(text)),
            Self::Null => PhpValue::Null,
            Self::Bool(value) => PhpValue::Bool(*value),
            Self::Int(value) => PhpValue::Int(*value),
            Self::Float(value) => PhpValue::Float(*value),
            Self::Nested => return None,
        };
        let text = number.to_text()?.into_owned();
        Some(Cow::Owned(String::from_utf8(text).ok()?))
    }

    /// A name: a text as it is, or a whole number of 64 bits in decimal. PHP takes `7.0` for the
    /// array key 7; what it makes of other values (1.9 is 1, `true` is 1) is not kept.
    pub(crate) fn to_name(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Int(number) => Some(Cow::Owned(number.to_string())),
            Self::Float(number) if number.fract() == 0.0 && number.abs() < TWO_TO_63 => {
                Some(Cow::Owned((*number as i64).to_string()))
            }
            Self::Null | Self::Bool(_) | Self::Float(_) | Self::Nested => None,
        }
    }
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// Visits, in order, each member of the object `text` whose name is `wanted`. Members of other
/// names are checked as JSON and skipped. A name may come twice.
///
/// # Errors
/// When `text` is not one JSON object.
pub(crate) fn members<'a>(
    text: &'a str,
    wanted: impl Fn(&str) -> bool,
    visit: impl FnMut(Cow<'a, str>, Member<'a>),
) -> Result<(), serde_json::Error> {
    check_surrogates(text)?;
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(Object { wanted, visit })?;
    json.end()
}

/// The last member of that name of an object, as text; `None` where `json` is no object, or it has
/// none. Nothing else of it is built, so that somebody may ask who trusts no byte of it.
pub(crate) fn text_of(json: &[u8], name: &str) -> Option<String> {
    let mut found = None;
    let visit = |_: Cow<'_, str>, value: Member<'_>| {
        found = value.to_text().map(Cow::into_owned);
    };
    let wanted = |other: &str| other == name;
    let mut json = serde_json::Deserializer::from_slice(json);
    json.deserialize_map(Object { wanted, visit }).ok()?;
    json.end().ok()?;
    found
}

/// serde_json skips a member without looking at its escapes; `json_decode` refuses half a pair of
/// surrogates wherever it stands. Texts with such escapes are rare, and read twice.
fn check_surrogates(text: &str) -> Result<(), serde_json::Error> {
    if ["\\ud", "\\uD"].iter().any(|escape| text.contains(escape)) {
        serde_json::from_str::<Value>(text)?;
    }
    Ok(())
}

/// The object `text` without its members of that name. The values of the others stay byte for
/// byte; their names are written anew, without escapes that JSON does not need, and white space
/// between members goes.
///
/// # Errors
/// When `text` is not one JSON object.
pub(crate) fn without_member(text: &str, name: &str) -> Result<String, serde_json::Error> {
    let mut kept = String::with_capacity(text.len());
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(Others {
        name,
        kept: &mut kept,
    })?;
    json.end()?;
    Ok(kept)
}

/// Writes an object again, less one member.
struct Others<'k> {
    name: &'k str,
    kept: &'k mut String,
}

impl<'a> Visitor<'a> for Others<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        self.kept.push('{');
        while let Some(name) = map.next_key_seed(Name)? {
            let value: &RawValue = map.next_value()?;
            if name == self.name {
                continue;
            }
            if self.kept.len() > 1 {
                self.kept.push(',');
            }
            self.kept.push_str(&Value::from(&*name).to_string());
            self.kept.push(':');
            self.kept.push_str(value.get());
        }
        self.kept.push('}');
        Ok(())
    }
}

struct Object<W, V> {
    wanted: W,
    visit: V,
}

impl<'a, W: Fn(&str) -> bool, V: FnMut(Cow<'a, str>, Member<'a>)> Visitor<'a> for Object<W, V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            if (self.wanted)(&name) {
                (self.visit)(name, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// A text, borrowed where nothing in it is escaped.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        match Member::deserialize(json)? {
            Member::Text(name) => Ok(name),
            _ => Err(D::Error::custom("a member without a name")),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Member<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(AnyMember)
    }
}

struct AnyMember;

impl<'de> Visitor<'de> for AnyMember {
    type Value = Member<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Member::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Member::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Member::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        // As `json_decode`: a float where 64 bits do not suffice.
        Ok(i64::try_from(value).map_or(Member::Float(value as f64), Member::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Member::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Member::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Member::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::Nested)
    }
}

#[cfg(test)]
mod tests {
    use super::{Member, members, text_of, without_member};

    fn names(text: &str) -> Option<Vec<Option<String>>> {
        let mut names = Vec::new();
        let visit = |_, member: Member<'_>| {
            names.push(member.to_name().map(std::borrow::Cow::into_owned));
        };
        members(text, |name| name == "uid", visit).ok()?;
        Some(names)
    }

    #[test]
    fn texts_and_whole_numbers_are_names() {
        for (json, name) in [
            (r#""a""#, "a"),
            (r#""""#, ""),
            (r#""\u0061\u0000""#, "a\0"),
            ("7", "7"),
            ("-0", "0"),
            ("7.0", "7"),
            ("1e2", "100"),
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
        ] {
            let text = format!(r#"{{"x":[{{}}],"uid":{json},"y":1e999}}"#);
            assert_eq!(names(&text), Some(vec![Some(name.to_owned())]), "{text}");
        }
    }

    #[test]
    fn other_values_are_none() {
        for json in [
            "null",
            "true",
            "1.9",
            "1e300",
            "12345678901234567890",
            "[1]",
            "{}",
        ] {
            let text = format!(r#"{{"uid":{json}}}"#);
            assert_eq!(names(&text), Some(vec![None]), "{text}");
        }
    }

    #[test]
    fn one_member_is_read_as_text_whatever_stands_beside_it() {
        for (json, text) in [
            (r#"{"key":"a"}"#, Some("a")),
            (r#"{"x":[{"key":"b"}],"\u006bey":"a\u0062"}"#, Some("ab")),
            (r#"{"key":"a","key":"b"}"#, Some("b")),
            (r#"{"key":"a","key":[]}"#, None),
            (r#"{"key":1234567890123456}"#, Some("1234567890123456")),
            (r#"{"x":"a"}"#, None),
            (r#"["key","a"]"#, None),
            (r#"{"key":"a""#, None),
            (r#"{"key":"a"} x"#, None),
            ("", None),
        ] {
            assert_eq!(text_of(json.as_bytes(), "key").as_deref(), text, "{json}");
        }
        let (open, shut) = ("[".repeat(100_000), "]".repeat(100_000));
        let deep = format!(r#"{{"key":"a","x":{open}{shut}}}"#);
        assert_eq!(text_of(deep.as_bytes(), "key").as_deref(), Some("a"));
    }

    #[test]
    fn a_member_is_taken_out_and_the_others_stay_as_they_were() {
        let text =
            "{ \"a\" : 1.0e1, \"secret\":\"x\",\"b\":[ {\"secret\":1} ] ,\"\\u0073ecret\":2}";
        let kept = "{\"a\":1.0e1,\"b\":[ {\"secret\":1} ]}";
        assert_eq!(without_member(text, "secret").unwrap(), kept);
        assert_eq!(without_member("{}", "secret").unwrap(), "{}");
        assert!(without_member("[]", "secret").is_err());
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for text in [
            "",
            " ",
            "5",
            "[]",
            "null",
            "\"x\"",
            "{",
            "{}{}",
            "{} x",
            "{\"a\":01}",
        ] {
            assert_eq!(names(text), None, "{text}");
        }
        for half in [r#"{"a":"\ud83d"}"#, r#"{"a":["\uDE00\ud83d"],"uid":1}"#] {
            assert_eq!(names(half), None, "{half}");
        }
        assert_eq!(names(r#"{"a":"\ud83d\ude00"}"#), Some(vec![]));
        assert_eq!(names(" {} \r\n"), Some(vec![]));
        let deep = format!(
            r#"{{"x":{}1{},"uid":1}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(names(&deep).is_some());
    }
}
