//! The parameters of a form push, and what they mean. Pure, but for the multipart reader.

use std::collections::HashSet;
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;

use crate::config::EscapeHtml;
use crate::ingress::Command;
use crate::php::PhpValue;
use crate::php::escape::escape;
use crate::php::query::Fields;
use crate::push::Target;
use crate::uid::Uid;

/// The most users that one push may name.
const MAX_ADDRESSEES: usize = 10_000;

const NAMES: [&str; 5] = ["type", "to", "content", "store", KEY];

/// Where PHP pages that can set no header show their key.
const KEY: &str = "key";

/// The parameters of one request, as PHP values.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    kind: Option<PhpValue>,
    to: Option<PhpValue>,
    content: Option<PhpValue>,
    /// Ours: whether the push waits on disk for those who are away.
    store: Option<PhpValue>,
    /// Ours: by what right.
    key: Option<PhpValue>,
}

/// Why a request is answered `fail`. Named in the debug log, never sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("`type` is not `publish`")]
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
        let content_type = String::from_utf8_lossy(content_type);
        if body.is_empty() {
            return None;
        }
        if let Some(boundary) = boundary(&content_type) {
            return Self::from_fields(multipart(body, boundary).await);
        }
        if has_word(&content_type, "json") {
            return Self::from_json(&body);
        }
        // A raw NUL ended the text for PHP's parser; everything that is not JSON is a form.
        let form = body.split(|b| *b == 0).next().unwrap_or_default();
        Self::from_fields(Fields::parse(NAMES, form))
    }

    fn from_fields(fields: Fields<5>) -> Option<Self> {
        if fields.is_empty() {
            return None;
        }
        let [kind, to, content, store, key] = fields.into_values();
        Some(Self {
            kind,
            to,
            content,
            store,
            key,
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
        let [kind, to, content, store, key] =
            NAMES.map(|name| map.remove(name).map(PhpValue::from));
        Some(Self {
            kind,
            to,
            content,
            store,
            key,
        })
    }

    /// The key that is shown among the parameters, or in the query beside them.
    pub(super) fn key(&self, query: &[u8]) -> Option<String> {
        let text = |value: &PhpValue| Some(String::from_utf8_lossy(&value.to_text()?).into_owned());
        let of_query = || {
            let [key] = Fields::parse([KEY], query).into_values();
            key.as_ref().and_then(text)
        };
        self.key.as_ref().and_then(text).or_else(of_query)
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
/// follows a broken part is lost, what came before it counts.
async fn multipart(body: Bytes, boundary: &str) -> Fields<5> {
    let mut fields = Fields::new(NAMES);
    let whole = stream::iter([Ok::<_, Infallible>(body)]);
    let mut parts = multer::Multipart::new(whole, boundary);
    while let Ok(Some(part)) = parts.next_field().await {
        if part.file_name().is_some() {
            continue;
        }
        let Some(name) = part.name().map(str::to_owned) else {
            continue;
        };
        let Ok(value) = part.bytes().await else { break };
        if !fields.set(name.as_bytes(), value.to_vec()) {
            break;
        }
    }
    fields
}
