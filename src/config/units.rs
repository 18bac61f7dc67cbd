//! How addresses, file modes, durations and `escape_html` are written in a configuration.

use bytesize::ByteSize;
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::EscapeHtml;

/// A size as a length in memory.
pub(super) fn as_usize(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

/// `"127.0.0.1:2121"`, or `""` for no listener.
pub(super) mod listen {
    use std::net::SocketAddr;

    use super::{Deserialize, Deserializer, Error, Serializer, Unexpected};

    pub(crate) fn serialize<S: Serializer>(
        address: &Option<SocketAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = address.map(|a| a.to_string()).unwrap_or_default();
        serializer.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        let expected = &"an address with a port, as \"127.0.0.1:2121\", or \"\" for off";
        let invalid = |_| D::Error::invalid_value(Unexpected::Str(&text), expected);
        text.parse().map(Some).map_err(invalid)
    }
}

/// `"660"`: a file's mode, in octal.
pub(super) mod mode {
    use super::{Deserialize, Deserializer, Error, Serializer, Unexpected};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    pub(crate) fn serialize<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{mode:o}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mode = u32::from_str_radix(&text, 8).ok();
        let expected = &"a file's mode in octal, as \"660\"";
        let invalid = || D::Error::invalid_value(Unexpected::Str(&text), expected);
        mode.filter(|mode| *mode <= 0o777).ok_or_else(invalid)
    }
}

/// `"25s"`, `"500ms"`, `"1m 30s"`.
pub(super) mod duration {
    use std::time::Duration;

    use super::{Deserialize, Deserializer, Error, Serializer, Unexpected};

    pub(crate) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = &"a duration with its unit, as \"25s\" or \"500ms\"";
        humantime::parse_duration(&text)
            .map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), expected))
    }
}

impl Serialize for EscapeHtml {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Modern => serializer.serialize_bool(true),
            Self::Compat => serializer.serialize_str("compat"),
            Self::Off => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for EscapeHtml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected true, false or \"compat\"")]
        enum Written {
            Bool(bool),
            Word(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bool(true) => Ok(Self::Modern),
            Written::Bool(false) => Ok(Self::Off),
            Written::Word(word) if word == "compat" => Ok(Self::Compat),
            Written::Word(word) => Err(D::Error::invalid_value(
                Unexpected::Str(&word),
                &"true, false or \"compat\"",
            )),
        }
    }
}
