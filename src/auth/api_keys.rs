//! Who may push: keys with scopes, shown or signed with. Knows no wire.

use std::fmt;
use std::path::Path;

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq as _;

pub use crate::auth::signature::Denied;
use crate::auth::signature::{Nonces, Signed};
use crate::config;

/// The shortest key, in bytes.
const SHORTEST: usize = 16;

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// To push.
    Push,
    /// To read figures, and who is online.
    Read,
    /// For everything, ending a user's connections among it.
    Admin,
}

/// The keys of a server.
pub struct Keys {
    keys: Box<[Key]>,
    requires_signature: bool,
    nonces: Nonces,
}

struct Key {
    rights: Rights,
    text: String,
    digest: [u8; 32],
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rights {
    push: bool,
    read: bool,
    admin: bool,
}

/// Why keys cannot be used. Tells nothing of the key itself.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeys {
    /// The file cannot be read.
    #[error("cannot read api.key_file = {path:?}")]
    File {
        /// Its path.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key has not the form that keys have.
    #[error("{place}: {problem}")]
    Key {
        /// Which.
        place: String,
        /// What is wrong, and what would be right.
        problem: &'static str,
    },
}

impl Keys {
    /// Takes the keys of `config`, and reads the file that it names.
    ///
    /// # Errors
    /// When the file cannot be read or a key has not the form `scopes:key`.
    pub fn open(config: &config::Api) -> Result<Self, InvalidKeys> {
        let mut keys = Vec::new();
        for (n, entry) in config.keys.iter().enumerate() {
            keys.push(Key::parse(entry.expose(), || {
                format!("api.keys, number {}", n + 1)
            })?);
        }
        let path = &config.key_file;
        if !path.as_os_str().is_empty() {
            keys.extend(read(path)?);
        }
        Ok(Self {
            keys: keys.into_boxed_slice(),
            requires_signature: config.require_signature,
            nonces: Nonces::default(),
        })
    }

    /// Whether anybody may do anything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether who shows this key may do what `scope` says.
    ///
    /// # Errors
    /// When not.
    pub fn shown(&self, key: Option<&str>, scope: Scope) -> Result<(), Denied> {
        self.rights(key)?.allow(scope)
    }

    /// What who shows this key may do.
    ///
    /// # Errors
    /// When a key is needed and this is none.
    pub fn rights(&self, key: Option<&str>) -> Result<Rights, Denied> {
        if self.is_open() {
            return Ok(Rights::ALL);
        }
        let key = key.filter(|key| !key.is_empty()).ok_or(Denied::Missing)?;
        Ok(self.find(key)?.rights)
    }

    /// The same where a key that is shown may have been overheard, since it came by HTTP.
    ///
    /// # Errors
    /// When not.
    pub fn bears(&self, key: Option<&str>, scope: Scope) -> Result<(), Denied> {
        if self.requires_signature && !self.is_open() {
            return Err(Denied::Unsigned);
        }
        self.shown(key, scope)
    }

    /// Whether who signed a request with this body may do what `scope` says. A request is taken once
    /// while this lives.
    ///
    /// # Errors
    /// When not.
    pub fn signed(&self, request: &Signed<'_>, body: &[u8], scope: Scope) -> Result<(), Denied> {
        // Again: the body may have taken its time, and a nonce is forgotten some day.
        request.is_of_now()?;
        let by = self.keys.iter().find(|key| request.is_by(&key.text, body));
        by.ok_or(Denied::Signature)?.rights.allow(scope)?;
        self.nonces.take(request)
    }

    /// Looks at every key, whichever it is, and at digests: how long it takes tells nothing of them.
    fn find(&self, shown: &str) -> Result<&Key, Denied> {
        let digest = sha256(shown);
        let mut found = None;
        for key in &self.keys {
            if bool::from(key.digest.ct_eq(&digest)) {
                found = Some(key);
            }
        }
        found.ok_or(Denied::Unknown)
    }
}

impl Key {
    fn parse(entry: &str, place: impl Fn() -> String) -> Result<Self, InvalidKeys> {
        let invalid = |problem| InvalidKeys::Key {
            place: place(),
            problem,
        };
        let (names, text) = entry.split_once(':').ok_or_else(|| {
            invalid(
                "has to be scopes:key, as push:a-long-random-text or push+read:a-long-random-text",
            )
        })?;
        let mut rights = Rights::default();
        for name in names.split('+') {
            match name.trim() {
                "push" => rights.push = true,
                "read" => rights.read = true,
                "admin" => rights.admin = true,
                _ => return Err(invalid("has a scope that is none of push, read and admin")),
            }
        }
        if text.len() < SHORTEST {
            return Err(invalid(
                "is shorter than 16 bytes after the colon; openssl rand -hex 32 makes one",
            ));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid(
                "has a character that is not printable ASCII, or a space",
            ));
        }
        Ok(Self {
            rights,
            digest: sha256(text),
            text: text.to_owned(),
        })
    }
}

impl Rights {
    /// Everything.
    pub const ALL: Self = Self {
        push: true,
        read: true,
        admin: true,
    };

    /// Whether `scope` is among them.
    ///
    /// # Errors
    /// When it is not.
    pub fn allow(self, scope: Scope) -> Result<(), Denied> {
        let Self { push, read, admin } = self;
        let allows = match scope {
            Scope::Push => push || admin,
            Scope::Read => read || admin,
            Scope::Admin => admin,
        };
        if allows { Ok(()) } else { Err(Denied::Scope) }
    }
}

fn read(path: &Path) -> Result<Vec<Key>, InvalidKeys> {
    let text = std::fs::read_to_string(path).map_err(|source| InvalidKeys::File {
        path: path.to_owned(),
        source,
    })?;
    let lines = text.lines().map(str::trim).enumerate();
    let entries = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let place = |n: usize| move || format!("{}, line {}", path.display(), n + 1);
    let keys: Result<Vec<_>, _> = entries
        .map(|(n, line)| Key::parse(line, place(n)))
        .collect();
    match keys {
        Ok(keys) if keys.is_empty() => Err(InvalidKeys::Key {
            place: format!("api.key_file = {}", path.display()),
            problem: "holds no key; put one scopes:key on a line",
        }),
        keys => keys,
    }
}

fn sha256(text: &str) -> [u8; 32] {
    let digest = digest(&SHA256, text.as_bytes());
    digest.as_ref().try_into().expect("of 32 bytes")
}

/// Tells only how many there are.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha2::Sha256;

    use super::{Denied, Keys, Scope, Signed};
    use crate::auth::now;
    use crate::config;

    fn keys(entries: &[&str]) -> Keys {
        let keys = entries.iter().copied().map(Into::into).collect();
        Keys::open(&config::Api {
            keys,
            ..config::Api::default()
        })
        .expect("sound keys")
    }

    #[test]
    fn a_key_is_good_for_its_scopes_and_for_no_others() {
        let keys = keys(&[
            "push:0123456789abcdef",
            "read+push:fedcba9876543210",
            "admin:aaaaaaaaaaaaaaaa",
        ]);
        let shown = |key, scope| keys.shown(Some(key), scope);
        assert_eq!(shown("0123456789abcdef", Scope::Push), Ok(()));
        assert_eq!(shown("0123456789abcdef", Scope::Read), Err(Denied::Scope));
        assert_eq!(shown("fedcba9876543210", Scope::Read), Ok(()));
        assert_eq!(shown("fedcba9876543210", Scope::Admin), Err(Denied::Scope));
        assert_eq!(shown("aaaaaaaaaaaaaaaa", Scope::Push), Ok(()));
        assert_eq!(shown("0123456789abcdee", Scope::Push), Err(Denied::Unknown));
        assert_eq!(shown("0123456789abcde", Scope::Push), Err(Denied::Unknown));
        assert_eq!(keys.shown(None, Scope::Push), Err(Denied::Missing));
        assert_eq!(shown("", Scope::Push), Err(Denied::Missing));
    }

    #[test]
    fn without_keys_anybody_may() {
        assert_eq!(keys(&[]).shown(None, Scope::Admin), Ok(()));
    }

    #[test]
    fn a_key_that_cannot_be_one_is_named_by_its_place_and_not_told() {
        for entry in [
            "0123456789abcdef",
            "push:short",
            "write:0123456789abcdef",
            "push:0123456789 abcdef",
        ] {
            let api = config::Api {
                keys: vec!["push:0123456789abcdef".into(), entry.into()],
                ..config::Api::default()
            };
            let error = Keys::open(&api).expect_err("refused").to_string();
            assert!(error.contains("number 2"), "{error}");
            assert!(!error.contains("0123456789"), "{error}");
        }
    }

    const KEY: &str = "0123456789abcdef";

    fn sign(timestamp: u64, nonce: &str, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).expect("any length");
        mac.update(format!("{timestamp}\n{nonce}\nPOST\n/?a=1\ntext/plain\n{body}").as_bytes());
        let bytes = mac.finalize().into_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_signed_request_is_taken_once_and_only_as_it_was_signed() {
        let keys = Keys::open(&config::Api {
            keys: vec![format!("push:{KEY}").as_str().into()],
            ..config::Api::default()
        })
        .expect("sound keys");
        let ask_as =
            |content_type: &str, timestamp: u64, nonce: &str, signature: &str, body: &str| {
                let timestamp = timestamp.to_string();
                let parts = [timestamp.as_str(), nonce, signature];
                let signed = Signed::new(parts, ("POST", "/?a=1"), content_type.as_bytes())?;
                keys.signed(&signed, body.as_bytes(), Scope::Push)
            };
        let ask = |timestamp, nonce: &str, signature: &str, body: &str| {
            ask_as("text/plain", timestamp, nonce, signature, body)
        };
        let now = now();
        let good = sign(now, "nonce-001", "body");
        assert_eq!(
            ask(now, "nonce-001", &good, "other"),
            Err(Denied::Signature)
        );
        assert_eq!(ask(now, "nonce-002", &good, "body"), Err(Denied::Signature));
        assert_eq!(
            ask(now - 1, "nonce-001", &good, "body"),
            Err(Denied::Signature)
        );
        for content_type in ["", "application/json", "text/plain\nbody"] {
            assert_eq!(
                ask_as(content_type, now, "nonce-001", &good, "body"),
                Err(Denied::Signature)
            );
        }
        assert_eq!(ask(now, "nonce-001", &good, "body"), Ok(()));
        assert_eq!(ask(now, "nonce-001", &good, "body"), Err(Denied::Replayed));
        for off in [now - 302, now + 302] {
            let signature = sign(off, "nonce-003", "body");
            assert_eq!(
                ask(off, "nonce-003", &signature, "body"),
                Err(Denied::Clock)
            );
        }
        // The edge of the window, and the same again.
        let edge = now + 298;
        let signature = sign(edge, "nonce-004", "body");
        assert_eq!(ask(edge, "nonce-004", &signature, "body"), Ok(()));
        assert_eq!(
            ask(edge, "nonce-004", &signature, "body"),
            Err(Denied::Replayed)
        );
        assert_eq!(ask(now, "short", &good, "body"), Err(Denied::Malformed));
        assert_eq!(ask(now, "nonce-005", "xyz", "body"), Err(Denied::Malformed));
    }
}
