//! By what right somebody pushes by HTTP: a key in a header or a parameter, or a signature.

use bytes::Bytes;
use http::header;
use http::request::Parts;

use crate::auth::api_keys::{Denied, Keys, Scope};
use crate::auth::signature::Signed;
use crate::ingress::form::fields::{key_in_body, key_in_query};

const TIMESTAMP: &str = "x-campanile-timestamp";
const NONCE: &str = "x-campanile-nonce";
const SIGNATURE: &str = "x-campanile-signature";

/// What a request's body has to prove.
#[derive(Debug)]
pub(super) enum Unproven<'a> {
    /// Nothing: the head has shown all that is asked for.
    Nothing,
    /// That it shows a key, since the head has shown none.
    Key,
    /// That it is what was signed.
    Signature(Signed<'a>),
}

impl<'a> Unproven<'a> {
    /// What the head leaves open. A stranger who can be told by it is denied here, and of its body
    /// nothing is read.
    pub(super) fn after_head(parts: &'a Parts, keys: &Keys) -> Result<Self, Denied> {
        if keys.is_open() {
            return Ok(Self::Nothing);
        }
        if let Some(signature) = signature(parts) {
            let target = parts.uri.path_and_query();
            let target = target.map_or("/", |target| target.as_str());
            let request = (parts.method.as_str(), target);
            let signed = Signed::new(signature, request, content_type(parts))?;
            return Ok(Self::Signature(signed));
        }
        if let Some(key) = bearer(parts) {
            keys.bears(Some(key), Scope::Push)?;
            return Ok(Self::Nothing);
        }
        let query = parts.uri.query().unwrap_or_default();
        let key = key_in_query(query.as_bytes()).filter(|key| !key.is_empty());
        match keys.bears(key.as_deref(), Scope::Push) {
            Ok(()) => Ok(Self::Nothing),
            Err(Denied::Missing) => Ok(Self::Key),
            Err(denied) => Err(denied),
        }
    }

    /// Whether this body proves it. Its parameters have not been read yet.
    pub(super) async fn check(
        self,
        keys: &Keys,
        content_type: &[u8],
        body: &Bytes,
    ) -> Result<(), Denied> {
        match self {
            Self::Nothing => Ok(()),
            Self::Key => {
                let key = key_in_body(content_type, body.clone()).await;
                keys.bears(key.as_deref(), Scope::Push)
            }
            Self::Signature(signed) => keys.signed(&signed, body, Scope::Push),
        }
    }
}

/// The content type as it stands in the request, empty if there is none.
pub(super) fn content_type(parts: &Parts) -> &[u8] {
    let value = parts.headers.get(header::CONTENT_TYPE);
    value.map_or(&[], |value| value.as_bytes())
}

/// Timestamp, nonce and signature.
fn signature(parts: &Parts) -> Option<[&str; 3]> {
    let signature = text(parts, SIGNATURE)?;
    let part = |name| text(parts, name).unwrap_or_default();
    Some([part(TIMESTAMP), part(NONCE), signature])
}

fn bearer(parts: &Parts) -> Option<&str> {
    let authorization = text(parts, header::AUTHORIZATION.as_str())?;
    let (scheme, key) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn text<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    let value = parts.headers.get(name)?;
    Some(value.to_str().unwrap_or_default())
}
