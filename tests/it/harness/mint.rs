//! JSON Web Tokens as an application makes them, signed with a secret that it shares with the server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use campanile::config::{AuthMode, Config, JwtKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

/// What the server knows.
pub(crate) const SECRET: &str = "a secret of thirty-two bytes....";

/// Only who has a token may log in.
pub(crate) fn asks_for_tokens(config: &mut Config) {
    config.auth.mode = AuthMode::Jwt;
    config.auth.jwt_leeway = Duration::ZERO;
    config.auth.jwt_keys = vec![JwtKey {
        secret: SECRET.into(),
        ..JwtKey::default()
    }];
}

/// A token with these claims.
pub(crate) fn jwt(claims: &Value) -> String {
    jwt_by(SECRET, claims)
}

/// The same, signed with another secret.
pub(crate) fn jwt_by(secret: &str, claims: &Value) -> String {
    signed(&json!({"alg": "HS256", "typ": "JWT"}), claims, |text| {
        hmac(secret, text)
    })
}

/// A token with any header and signature.
pub(crate) fn signed(
    header: &Value,
    claims: &Value,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> String {
    let text = format!(
        "{}.{}",
        base64(header.to_string()),
        base64(claims.to_string())
    );
    let signature = sign(text.as_bytes());
    format!("{text}.{}", base64(signature))
}

/// A token of `uid` that outlives the test.
pub(crate) fn token(uid: &str) -> String {
    jwt(&json!({"sub": uid, "exp": now() + 600}))
}

/// A token of `uid` that is good for so many seconds, give or take one.
pub(crate) fn brief(uid: &str, seconds: u64) -> String {
    jwt(&json!({"sub": uid, "exp": now() + seconds}))
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("it is after 1970").as_secs()
}

pub(crate) fn hmac(secret: &str, text: &[u8]) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
    let mut mac = mac.expect("an HMAC takes a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
