//! By what right somebody pushes by HTTP: a key in a header or a parameter, or a signature.

use http::request::Parts;
use http::{HeaderMap, header};

use crate::auth::api_keys::{Denied, Keys, Scope};
use crate::auth::signature::Signed;

const TIMESTAMP: &str = "x-campanile-timestamp";
const NONCE: &str = "x-campanile-nonce";
const SIGNATURE: &str = "x-campanile-signature";

/// What a request's head shows.
#[derive(Clone, Copy)]
pub(super) enum Credentials<'a> {
    /// Nothing; the parameters may.
    None,
    /// A key.
    Bearer(&'a str),
    /// Timestamp, nonce and signature.
    Signature([&'a str; 3]),
}

impl<'a> Credentials<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let text = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap_or_default())
        };
        if let Some(signature) = text(SIGNATURE) {
            let part = |name| text(name).unwrap_or_default();
            return Self::Signature([part(TIMESTAMP), part(NONCE), signature]);
        }
        let authorization = text(header::AUTHORIZATION.as_str());
        let bearer = authorization.and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        bearer.map_or(Self::None, Self::Bearer)
    }

    /// What can be said before the body is read: a stranger's is not.
    pub(super) fn check_head(self, keys: &Keys) -> Result<(), Denied> {
        match self {
            Self::Bearer(key) => keys.bears(Some(key), Scope::Push),
            Self::None | Self::Signature(_) => Ok(()),
        }
    }

    /// The rest. `parameter` is the key among the parameters.
    pub(super) fn check(
        self,
        keys: &Keys,
        parts: &Parts,
        body: &[u8],
        parameter: Option<&str>,
    ) -> Result<(), Denied> {
        match self {
            _ if keys.is_open() => Ok(()),
            Self::Bearer(_) => Ok(()),
            Self::None => keys.bears(parameter, Scope::Push),
            Self::Signature(signature) => {
                let target = parts
                    .uri
                    .path_and_query()
                    .map_or("/", |target| target.as_str());
                let content_type = parts.headers.get(header::CONTENT_TYPE);
                let content_type = content_type.map_or(&b""[..], |value| value.as_bytes());
                let request = (parts.method.as_str(), target);
                let signed = Signed::new(signature, request, content_type)?;
                keys.signed(&signed, body, Scope::Push)
            }
        }
    }
}
