//! What PHP means by a value: casts, truth, query strings and `htmlspecialchars`.
//!
//! The deployments that this server replaces hand user ids and messages through PHP's rules. The
//! rules here were observed on PHP 8.2. Knows neither HTTP nor the hub.

pub(crate) mod escape;
mod float;
pub(crate) mod json;
pub(crate) mod query;

use std::borrow::Cow;

use serde_json::Value;

/// A value as PHP sees it after `parse_str` or `json_decode(…, true)`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PhpValue {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// PHP strings are bytes; only the ones that come out of JSON are sure to be UTF-8.
    Text(Vec<u8>),
    /// A list, or a form's map, with its elements in order.
    Array(Vec<Self>),
    /// A JSON object. PHP makes a map of it; nothing here takes one, so its members are dropped.
    Object {
        /// Whether it has no members.
        is_empty: bool,
    },
}

impl PhpValue {
    /// The string cast `(string) $value`; `None` for an array, which PHP casts to the word `Array`
    /// with a warning and its library functions refuse.
    pub(crate) fn to_text(&self) -> Option<Cow<'_, [u8]>> {
        Some(match self {
            Self::Null | Self::Bool(false) => Cow::Borrowed(&[]),
            Self::Bool(true) => Cow::Borrowed(b"1"),
            Self::Int(n) => Cow::Owned(n.to_string().into_bytes()),
            Self::Float(n) => Cow::Owned(float::to_php_string(*n).into_bytes()),
            Self::Text(bytes) => Cow::Borrowed(bytes),
            Self::Array(_) | Self::Object { .. } => return None,
        })
    }

    /// The boolean cast: `""`, `"0"`, `0`, `0.0`, `null`, `false` and `[]` are false.
    pub(crate) fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(b) => *b,
            Self::Int(n) => *n != 0,
            Self::Float(n) => *n != 0.0,
            Self::Text(bytes) => !matches!(bytes.as_slice(), b"" | b"0"),
            Self::Array(items) => !items.is_empty(),
            Self::Object { is_empty } => !is_empty,
        }
    }

    /// The loose comparison `$value == $word` of PHP 8, for a `word` that is not numeric.
    pub(crate) fn loosely_equals(&self, word: &str) -> bool {
        match self {
            Self::Bool(b) => *b,
            Self::Text(bytes) => bytes == word.as_bytes(),
            Self::Null | Self::Int(_) | Self::Float(_) => false,
            Self::Array(_) | Self::Object { .. } => false,
        }
    }
}

/// `json_decode` gives an integer where it fits 64 bits, a float where it does not.
impl From<Value> for PhpValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(b),
            Value::Number(n) => match n.as_i64() {
                Some(int) => Self::Int(int),
                None => Self::Float(n.as_f64().unwrap_or(f64::INFINITY)),
            },
            Value::String(text) => Self::Text(text.into_bytes()),
            Value::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Value::Object(map) => Self::Object {
                is_empty: map.is_empty(),
            },
        }
    }
}
