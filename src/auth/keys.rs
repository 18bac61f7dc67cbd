//! The keys that JSON Web Tokens are signed with. Each verifies by the algorithms of its own kind and
//! no other, whatever a token says: a public key is never taken for a shared secret.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pkcs1::RsaPublicKeyRef;
use ring::{hmac, rsa, signature};
use serde::Deserialize;
use serde_json::Value;
use spki::der::{Decode as _, pem};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::Unusable;
use super::token::{Algorithm, Token};
use crate::config;
use crate::config::JwtKey;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A key, and its name if it has one.
pub(super) struct Key {
    kid: Option<String>,
    kind: Kind,
}

enum Kind {
    Shared(Box<Shared>),
    Rsa(rsa::PublicKeyComponents<Vec<u8>>),
    /// An uncompressed point.
    P256([u8; 65]),
    Ed25519([u8; 32]),
}

/// A shared secret, prepared for each digest.
struct Shared {
    sha256: hmac::Key,
    sha384: hmac::Key,
    sha512: hmac::Key,
}

/// What trying keys on a token came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trial {
    /// One of them has signed it.
    Signed,
    /// The one that it names, or any of those that have no name, has not.
    Failed {
        /// It names one of them, so that no other can have.
        is_named: bool,
        /// One of them signs in the token's way.
        is_fit: bool,
    },
    /// None of them can have.
    NoKey,
}

/// Tries every key that may have signed `token`.
pub(super) fn verify<'k>(token: &Token<'_>, keys: impl Iterator<Item = &'k Key>) -> Trial {
    let (mut is_known, mut is_named, mut is_fit) = (false, false, false);
    for key in keys {
        match (&key.kid, &token.kid) {
            (Some(kid), Some(named)) if kid != named => continue,
            (Some(_), Some(_)) => is_named = true,
            (None, _) | (_, None) => {}
        }
        is_known = true;
        match key.kind.verify(token) {
            Some(true) => return Trial::Signed,
            Some(false) => is_fit = true,
            None => {}
        }
    }
    if is_known {
        Trial::Failed { is_named, is_fit }
    } else {
        Trial::NoKey
    }
}

impl Key {
    /// The keys that a configuration names.
    pub(super) fn configured(config: &config::Auth) -> Result<Vec<Self>, Unusable> {
        let keys = config.jwt_keys.iter().enumerate();
        keys.map(|(i, key)| Self::read(key, i)).collect()
    }

    fn read(key: &JwtKey, index: usize) -> Result<Self, Unusable> {
        let kind = if key.secret.is_empty() {
            let name = format!("auth.jwt_keys[{index}].file = {}", key.file.display());
            Kind::read(&key.file, name)?
        } else {
            Kind::Shared(Box::new(Shared::new(key.secret.expose().as_bytes())))
        };
        let kid = Some(key.kid.clone()).filter(|kid| !kid.is_empty());
        Ok(Self { kid, kind })
    }

    /// A key as issuers publish it (RFC 7517). `None` is one that signs no token of ours: of another
    /// kind, or for encryption. A shared secret is none either: what is published is no secret.
    pub(super) fn published(jwk: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk).ok()?;
        if jwk.purpose.is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let decode = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?).ok();
        let kind = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Kind::rsa(&decode(jwk.n)?, &decode(jwk.e)?)?,
            ("EC", Some("P-256")) => {
                let point = [vec![4], decode(jwk.x)?, decode(jwk.y)?].concat();
                Kind::P256(point.try_into().ok()?)
            }
            ("OKP", Some("Ed25519")) => Kind::Ed25519(decode(jwk.x)?.try_into().ok()?),
            _ => return None,
        };
        let is_ours = |alg: String| Algorithm::named(&alg).is_some_and(|alg| kind.signs_by(alg));
        if !jwk.alg.is_none_or(is_ours) {
            return None;
        }
        Some(Self { kid: jwk.kid, kind })
    }
}

/// What we look at of a published key.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Kind {
    fn read(file: &Path, name: String) -> Result<Self, Unusable> {
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(source) => return Err(Unusable::new(name, "cannot be read").because(source)),
        };
        let Ok((label, key)) = pem::decode_vec(text.trim_ascii()) else {
            return Err(Unusable::new(name, "is not a single key in PEM"));
        };
        let (kind, problem) = match label {
            "PUBLIC KEY" => (
                Self::spki(&key),
                "is not an RSA key of 2048 to 8192 bits, a P-256 key or an Ed25519 key",
            ),
            "RSA PUBLIC KEY" => (Self::pkcs1(&key), "is not an RSA key of 2048 to 8192 bits"),
            "CERTIFICATE" => (
                None,
                "is a certificate; its key is printed by: openssl x509 -pubkey -noout -in FILE",
            ),
            label if label.ends_with("PRIVATE KEY") => (
                None,
                "is a private key, which is for who makes tokens; the public key is printed by: \
                 openssl pkey -pubout -in FILE",
            ),
            _ => (None, "is not a public key"),
        };
        kind.ok_or_else(|| Unusable::new(name, problem))
    }

    fn spki(der: &[u8]) -> Option<Self> {
        let key = SubjectPublicKeyInfoRef::from_der(der).ok()?;
        let bytes = key.subject_public_key.as_bytes()?;
        match key.algorithm.oid {
            RSA => Self::pkcs1(bytes),
            EC if key.algorithm.parameters_oid() == Ok(P256) => {
                let point: [u8; 65] = bytes.try_into().ok()?;
                (point[0] == 4).then_some(Self::P256(point))
            }
            ED25519 => Some(Self::Ed25519(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    fn pkcs1(der: &[u8]) -> Option<Self> {
        let key = RsaPublicKeyRef::from_der(der).ok()?;
        Self::rsa(key.modulus.as_bytes(), key.public_exponent.as_bytes())
    }

    fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        // Some issuers write a zero before them, which ring does not take.
        let trim = |number: &[u8]| -> Vec<u8> {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            number[zeros..].to_vec()
        };
        let (n, e) = (trim(n), trim(e));
        let is_usable = (256..=1024).contains(&n.len()) && (1..=4).contains(&e.len());
        is_usable.then_some(Self::Rsa(rsa::PublicKeyComponents { n, e }))
    }

    fn signs_by(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Shared(_) => algorithm.is_shared(),
            Self::Rsa(_) => algorithm == Algorithm::Rs256,
            Self::P256(_) => algorithm == Algorithm::Es256,
            Self::Ed25519(_) => algorithm == Algorithm::EdDsa,
        }
    }

    /// Whether it has signed the token; `None` where it never signs in the token's way.
    fn verify(&self, token: &Token<'_>) -> Option<bool> {
        let (signed, sign) = (token.signed, token.signature.as_slice());
        let public = |algorithm: &'static dyn signature::VerificationAlgorithm, key: &[u8]| {
            signature::UnparsedPublicKey::new(algorithm, key).verify(signed, sign)
        };
        // The key's kind decides, never the token alone.
        let verdict = match (self, token.algorithm) {
            (Self::Shared(key), Algorithm::Hs256) => hmac::verify(&key.sha256, signed, sign),
            (Self::Shared(key), Algorithm::Hs384) => hmac::verify(&key.sha384, signed, sign),
            (Self::Shared(key), Algorithm::Hs512) => hmac::verify(&key.sha512, signed, sign),
            (Self::Rsa(key), Algorithm::Rs256) => {
                key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, signed, sign)
            }
            (Self::P256(key), Algorithm::Es256) => public(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Self::Ed25519(key), Algorithm::EdDsa) => public(&signature::ED25519, key),
            _ => return None,
        };
        Some(verdict.is_ok())
    }

    fn name(&self) -> Cow<'static, str> {
        match self {
            Self::Shared(_) => "shared".into(),
            Self::Rsa(key) => format!("RSA {}", key.n.len() * 8).into(),
            Self::P256(_) => "P-256".into(),
            Self::Ed25519(_) => "Ed25519".into(),
        }
    }
}

impl Shared {
    fn new(secret: &[u8]) -> Self {
        Self {
            sha256: hmac::Key::new(hmac::HMAC_SHA256, secret),
            sha384: hmac::Key::new(hmac::HMAC_SHA384, secret),
            sha512: hmac::Key::new(hmac::HMAC_SHA512, secret),
        }
    }
}

/// Its name and its kind.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("kind", &self.kind.name())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Key, Kind, Shared, Trial, verify};
    use crate::auth::mint::{self, Signer};
    use crate::auth::token::Token;

    const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

    fn is_signed(token: &str, key: &Key) -> bool {
        let token = Token::read(token.as_bytes()).unwrap();
        verify(&token, std::iter::once(key)) == Trial::Signed
    }

    #[test]
    fn the_examples_of_the_standards_verify() {
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let secret = Key {
            kid: None,
            kind: Kind::Shared(Box::new(Shared::new(&mint::decode(secret)))),
        };
        let public = |signer: Signer| Key::published(signer.jwk("k")).unwrap();
        // RFC 7515, appendices A.1 to A.3; RFC 8037, appendix A.4.
        let cases = [
            (
                format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
                secret,
            ),
            (
                format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"),
                public(Signer::Rs256),
            ),
            (
                format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"),
                public(Signer::Es256),
            ),
            (
                "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg".to_owned(),
                public(Signer::EdDsa),
            ),
        ];
        for (token, key) in &cases {
            assert!(is_signed(token, key), "{key:?}");
            let changed = token.replacen(".ey", ".eZ", 1).replacen(".RX", ".RY", 1);
            assert!(!is_signed(&changed, key), "{key:?}");
        }
    }

    #[test]
    fn what_is_published_for_something_else_is_no_key() {
        let with = |name: &str, value: &str| {
            let mut jwk = Signer::Rs256.jwk("k");
            jwk[name] = value.into();
            Key::published(jwk)
        };
        assert!(with("use", "sig").is_some());
        assert!(with("alg", "RS256").is_some());
        assert!(with("use", "enc").is_none());
        // A key may not be put to a use that its issuer does not have for it.
        assert!(with("alg", "RS512").is_none());
        assert!(with("alg", "HS256").is_none());
        assert!(with("n", "AQAB").is_none());
        assert!(with("e", "").is_none());
        let secret = Signer::Hs256("a secret that is none since all can read it");
        assert!(Key::published(secret.jwk("k")).is_none());
        for jwk in [
            json!({}),
            json!(7),
            json!({"kty": "EC", "crv": "P-521", "x": "AQ", "y": "AQ"}),
        ] {
            assert!(Key::published(jwk).is_none());
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let kind = Kind::Shared(Box::new(Shared::new(b"hidden")));
        let shown = format!("{:?}", Key { kid: None, kind });
        assert_eq!(shown, r#"Key { kid: None, kind: "shared" }"#);
    }
}
