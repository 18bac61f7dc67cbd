//! The parameters of a form push, and what they mean. Pure, but for the multipart reader.

use std::collections::HashSet;
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;

use crate::config::EscapeHtml;
use crate::ingress::Command;
use crate::php::escape::escape;
use crate::php::query::Fields;
use crate::php::{PhpValue, json};
use crate::push::Target;
use crate::uid::Uid;

/// The most users that one push may name.
const MAX_ADDRESSEES: usize = 10_000;

const NAMES: [&str; 4] = ["type", "to", "content", "store"];

/// Where PHP pages that can set no header show their key.
const KEY: &str = "key";

/// How a body is written.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    /// With this boundary between its parts.
    Multipart(String),
    Json,
    Urlencoded,
}

/// The parameters of one request, as PHP values.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    kind: Option<PhpValue>,
    to: Option<PhpValue>,
    content: Option<PhpValue>,
    /// Ours: whether the push waits on disk for those who are away.
    store: Option<PhpValue>,
}

/// Why a request is answered `fail`. Told by a header: the body is the original's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("`type` is not `publish`, or the body is not what its content type says")]
    NotPublish,
    #[error("`content` is a list or an object; it has to be a text (encode it as JSON yourself)")]
    ContentNotText,
    #[error("`to` holds an element that is empty, a list or an object; each has to be a uid")]
    BadAddressee,
    #[error("`to` names {0} users; the most is {MAX_ADDRESSEES}")]
    TooManyAddressees(usize),
}

impl Parameters {
    /// PHP's `$_POST ?: $_GET`, as web-msg-sender took it: the body if it holds anything at all,
    /// else the query; never both.
    pub(super) async fn read(query: &[u8], content_type: &[u8], body: Bytes) -> Self {
        match Self::from_body(content_type, body).await {
            Some(posted) => posted,
            None => Self::from_fields(Fields::parse(NAMES, query)).unwrap_or_default(),
        }
    }

    /// The parameters in a body, by its content type; `None` when PHP would see an empty array.
    async fn from_body(content_type: &[u8], body: Bytes) -> Option<Self> {
        if body.is_empty() {
            return None;
        }
        match Form::of(content_type) {
            Form::Multipart(boundary) => {
                Self::from_fields(multipart(NAMES, body, &boundary, |_| true).await)
            }
            Form::Json => Self::from_json(&body),
            Form::Urlencoded => Self::from_fields(Fields::parse(NAMES, until_nul(&body))),
        }
    }

    fn from_fields(fields: Fields<4>) -> Option<Self> {
        if fields.is_empty() {
            return None;
        }
        let [kind, to, content, store] = fields.into_values();
        Some(Self {
            kind,
            to,
            content,
            store,
        })
    }

    /// `(array) json_decode($body, true)`: invalid JSON, `null`, `{}` and `[]` are empty; a list
    /// or a scalar is an array without our names in it.
    fn from_json(body: &[u8]) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(body).ok()?;
        let mut map = match value {
            serde_json::Value::Null => return None,
            serde_json::Value::Array(items) if items.is_empty() => return None,
            serde_json::Value::Object(map) if map.is_empty() => return None,
            serde_json::Value::Object(map) => map,
            _ => return Some(Self::default()),
        };
        let [kind, to, content, store] = NAMES.map(|name| map.remove(name).map(PhpValue::from));
        Some(Self {
            kind,
            to,
            content,
            store,
        })
    }

    /// What the parameters ask for.
    pub(super) fn into_command(self, escape_html: EscapeHtml) -> Result<Command, Fault> {
        if !self.kind.is_some_and(|kind| kind.loosely_equals("publish")) {
            return Err(Fault::NotPublish);
        }
        let content = self.content.unwrap_or(PhpValue::Null);
        let content = content.to_text().ok_or(Fault::ContentNotText)?;
        let content = escape(&content, escape_html);
        let target = target(self.to.unwrap_or(PhpValue::Null))?;
        Ok(Command {
            target,
            content,
            is_stored: self.store.is_some_and(|store| store.is_truthy()),
        })
    }
}

/// The key that is shown in a query.
pub(super) fn key_in_query(query: &[u8]) -> Option<String> {
    key(Fields::parse([KEY], query))
}

/// The key that is shown in a body. Nothing else in it is built: whoever sent it may be a stranger.
pub(super) async fn key_in_body(content_type: &[u8], body: Bytes) -> Option<String> {
    match Form::of(content_type) {
        Form::Multipart(boundary) => {
            // As loose as the reader of names is, and no looser.
            let is_key = |name: &str| name.trim_start_matches(' ').starts_with(KEY);
            key(multipart([KEY], body, &boundary, is_key).await)
        }
        Form::Json => json::text_of(&body, KEY),
        Form::Urlencoded => key(Fields::parse([KEY], until_nul(&body))),
    }
}

fn key(fields: Fields<1>) -> Option<String> {
    let [key] = fields.into_values();
    let key = key?;
    let text = key.to_text()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

impl Form {
    /// Everything that is neither JSON nor in parts is a form.
    fn of(content_type: &[u8]) -> Self {
        let content_type = String::from_utf8_lossy(content_type);
        if let Some(boundary) = boundary(&content_type) {
            return Self::Multipart(boundary.to_owned());
        }
        if has_word(&content_type, "json") {
            Self::Json
        } else {
            Self::Urlencoded
        }
    }
}

/// A raw NUL ended the text of a form for PHP's parser.
fn until_nul(form: &[u8]) -> &[u8] {
    form.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Empty for PHP, `"0"` among it, means everyone; an array names several users.
fn target(to: PhpValue) -> Result<Target, Fault> {
    if !to.is_truthy() {
        return Ok(Target::Everyone);
    }
    let named = match to {
        PhpValue::Array(items) => items,
        one => vec![one],
    };
    if named.len() > MAX_ADDRESSEES {
        return Err(Fault::TooManyAddressees(named.len()));
    }
    let mut seen = HashSet::new();
    let mut uids = Vec::new();
    for value in &named {
        let text = value.to_text().filter(|text| !text.is_empty());
        let text = text.ok_or(Fault::BadAddressee)?;
        // A text that cannot be a uid is somebody who cannot be online: `offline`, not `fail`.
        let uid = Uid::parse_bytes(&text).ok();
        uids.extend(uid.filter(|uid| seen.insert(uid.clone())));
    }
    Ok(Target::Users(uids.into_boxed_slice()))
}

/// The boundary, wherever it stands among the parameters and whatever the type is.
fn boundary(content_type: &str) -> Option<&str> {
    let at = content_type.to_ascii_lowercase().find("boundary=")?;
    let value = &content_type[at + "boundary=".len()..];
    let boundary = match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split([';', ' ', '\t']).next(),
    };
    boundary.filter(|boundary| !boundary.is_empty())
}

/// Whether `word` stands in `text` as a whole word, in any case: PHP's `/\bjson\b/i`.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .any(|part| part.eq_ignore_ascii_case(word))
}

/// What PHP's curl sends for an array. A part with a file name is a file, not a field; what
/// follows a broken part is lost, what came before it counts. Of parts that are not `wanted` the
/// values are passed over.
async fn multipart<const N: usize>(
    names: [&'static str; N],
    body: Bytes,
    boundary: &str,
    wanted: impl Fn(&str) -> bool,
) -> Fields<N> {
    let mut fields = Fields::new(names);
    let whole = stream::iter([Ok::<_, Infallible>(body)]);
    let mut parts = multer::Multipart::new(whole, boundary);
    while let Ok(Some(part)) = parts.next_field().await {
        if part.file_name().is_some() {
            continue;
        }
        let Some(name) = part.name().map(str::to_owned) else {
            continue;
        };
        let value = if wanted(&name) {
            let Ok(value) = part.bytes().await else { break };
            value.to_vec()
        } else {
            Vec::new()
        };
        if !fields.set(name.as_bytes(), value) {
            break;
        }
    }
    fields
}
