//! The rule of JSON Web Tokens: a key signs, the claims decide. A key that is not known may have been
//! published since, so the verdict waits for the issuer's keys.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::jwks::{Jwks, Outlook};
use super::keys::{Key, Trial, verify};
use super::token::{Claims, Token};
use super::{Admission, Admitted, Refused, Unusable};
use crate::config;

/// What JSON Web Tokens are judged by.
#[derive(Debug)]
pub(super) struct Jwt {
    configured: Vec<Key>,
    published: Option<Jwks>,
    claims: Claims,
}

/// A refusal, and whether newer keys could turn it.
struct Doubt {
    refused: Refused,
    is_open: bool,
}

impl Jwt {
    pub(super) fn new(config: &config::Auth) -> Result<Self, Unusable> {
        let published = match config.jwks_url.as_str() {
            "" => None,
            url => Some(Jwks::new(url, config.jwks_refresh)?),
        };
        Ok(Self {
            configured: Key::configured(config)?,
            published,
            claims: Claims::new(config),
        })
    }

    /// With published keys alone.
    #[cfg(test)]
    pub(super) fn of(config: &config::Auth, published: Jwks) -> Self {
        Self {
            configured: Vec::new(),
            published: Some(published),
            claims: Claims::new(config),
        }
    }

    pub(super) fn admit(this: &Arc<Self>, token: &[u8]) -> Admission {
        let read = match Token::read(token) {
            Ok(read) => read,
            Err(refused) => return Admission::Now(Err(refused)),
        };
        let Some(published) = &this.published else {
            return Admission::Now(this.judge(&read, &[]).map_err(|doubt| doubt.refused));
        };
        let known = published.known();
        let doubt = match this.judge(&read, &known.keys) {
            Err(doubt) if doubt.is_open => doubt,
            verdict => return Admission::Now(verdict.map_err(|doubt| doubt.refused)),
        };
        match published.outlook(&known) {
            Outlook::Settled => return Admission::Now(Err(doubt.refused)),
            Outlook::Down => return Admission::Now(Err(Refused::Unavailable)),
            Outlook::Wait => {}
        }
        let (this, token) = (Arc::clone(this), token.to_vec());
        Admission::Later(Box::pin(async move {
            let published = this.published.as_ref().ok_or(Refused::Unavailable)?;
            let newer = published.newer(&known).await;
            let newer = newer.ok_or(Refused::Unavailable)?;
            let verdict = this.judge(&Token::read(&token)?, &newer.keys);
            verdict.map_err(|doubt| match doubt.is_open && newer.is_stale {
                true => Refused::Unavailable,
                false => doubt.refused,
            })
        }))
    }

    pub(super) async fn run(&self, stop: CancellationToken) {
        match &self.published {
            Some(published) => published.run(stop).await,
            None => stop.cancelled().await,
        }
    }

    fn judge(&self, token: &Token<'_>, published: &[Key]) -> Result<Admitted, Doubt> {
        let (refused, is_open) = match verify(token, self.configured.iter().chain(published)) {
            Trial::Signed => {
                let verdict = self.claims.judge(token);
                return verdict.map_err(|refused| Doubt {
                    refused,
                    is_open: false,
                });
            }
            Trial::Failed { is_named, is_fit } if is_fit => (Refused::Signature, !is_named),
            Trial::Failed { is_named, .. } => (Refused::Algorithm, !is_named),
            Trial::NoKey => (Refused::UnknownKey, true),
        };
        // No shared secret is ever published.
        let is_open = is_open && !token.algorithm.is_shared();
        Err(Doubt { refused, is_open })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};
    use tempfile::NamedTempFile;

    use super::Jwt;
    use crate::auth::mint::{self, Signer};
    use crate::auth::token::MAX_TOKEN;
    use crate::auth::{Admitted, Refused, at, now};
    use crate::config;
    use crate::config::{JwtKey, Secret};

    const SECRET: &str = "a secret of at least thirty-two bytes, for HS256";
    const OTHER: &str = "another secret of more than thirty-two bytes....";

    fn config(keys: Vec<JwtKey>) -> config::Auth {
        config::Auth {
            jwt_keys: keys,
            ..config::Auth::default()
        }
    }

    fn shared(secret: &str, kid: &str) -> JwtKey {
        JwtKey {
            secret: Secret::from(secret),
            kid: kid.to_owned(),
            ..JwtKey::default()
        }
    }

    fn in_file(pem: &str) -> (NamedTempFile, JwtKey) {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(pem.as_bytes()).unwrap();
        let key = JwtKey {
            file: file.path().to_owned(),
            ..JwtKey::default()
        };
        (file, key)
    }

    fn jwt(config: &config::Auth) -> Arc<Jwt> {
        Arc::new(Jwt::new(config).unwrap())
    }

    fn admit(jwt: &Arc<Jwt>, token: &str) -> Result<Admitted, Refused> {
        Jwt::admit(jwt, token.as_bytes()).now()
    }

    /// The code of what comes of claims, signed well.
    fn code(config: &config::Auth, claims: &Value) -> &'static str {
        let token = Signer::Hs256(SECRET).token(None, claims);
        admit(&jwt(config), &token).map_or_else(|refused| refused.code(), |_| "admitted")
    }

    fn alice() -> Value {
        json!({"sub": "alice", "exp": now() + 60})
    }

    #[test]
    fn each_kind_of_key_verifies_what_it_signs() {
        let files = [
            (Signer::Rs256, mint::RSA_PEM),
            (Signer::Rs256, mint::RSA_PKCS1_PEM),
            (Signer::Es256, mint::EC_PEM),
            (Signer::EdDsa, mint::ED_PEM),
        ];
        for (signer, pem) in files {
            let (_file, key) = in_file(pem);
            let admitted = admit(&jwt(&config(vec![key])), &signer.token(None, &alice()));
            assert_eq!(admitted.unwrap().uid.as_str(), "alice");
        }
        let secret = jwt(&config(vec![shared(SECRET, "")]));
        for signer in [
            Signer::Hs256(SECRET),
            Signer::Hs384(SECRET),
            Signer::Hs512(SECRET),
        ] {
            assert!(admit(&secret, &signer.token(None, &alice())).is_ok());
        }
    }

    #[test]
    fn a_public_key_is_never_taken_for_a_shared_secret() {
        for pem in [
            mint::RSA_PEM,
            mint::RSA_PKCS1_PEM,
            mint::EC_PEM,
            mint::ED_PEM,
        ] {
            let (_file, key) = in_file(pem);
            let jwt = jwt(&config(vec![key]));
            for secret in [pem, pem.trim_end()] {
                let forged = Signer::Hs256(secret).token(None, &alice());
                assert_eq!(admit(&jwt, &forged), Err(Refused::Algorithm));
            }
        }
        // Where both kinds are configured, too.
        let (_file, key) = in_file(mint::RSA_PEM);
        let both = jwt(&config(vec![key, shared(SECRET, "")]));
        let forged = Signer::Hs256(mint::RSA_PEM).token(None, &alice());
        assert_eq!(admit(&both, &forged), Err(Refused::Signature));
    }

    #[test]
    fn a_token_without_a_signature_is_refused_however_it_says_so() {
        let jwt = jwt(&config(vec![shared(SECRET, "")]));
        let payload = mint::encode(alice().to_string());
        for name in ["none", "None", "NONE", "", "HS1", "hs256", "PS256"] {
            let header = mint::encode(json!({"alg": name}).to_string());
            let token = format!("{header}.{payload}.");
            assert_eq!(admit(&jwt, &token), Err(Refused::Algorithm), "{name}");
        }
        let header = mint::encode(json!({"alg": "HS256"}).to_string());
        let token = format!("{header}.{payload}.");
        assert_eq!(admit(&jwt, &token), Err(Refused::Signature));
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        let jwt = jwt(&config(vec![shared(SECRET, "")]));
        let signer = Signer::Hs256(SECRET);
        let good = signer.token(None, &alice());
        let twice = format!(
            "{{\"sub\":\"alice\",\"sub\":\"bob\",\"exp\":{}}}",
            now() + 60
        );
        let cases = [
            String::new(),
            "alice".to_owned(),
            "a.b".to_owned(),
            format!("{good}.more"),
            format!("{good}="),
            good.replacen('.', " .", 1),
            signer.sign(
                &json!({"alg": "HS256", "crit": ["exp"]}),
                &alice().to_string(),
            ),
            signer.sign(&json!({"alg": "HS256", "kid": 7}), &alice().to_string()),
            signer.sign(&json!({"kid": "no alg"}), &alice().to_string()),
            signer.sign(&json!({"alg": "HS256"}), "alice"),
            signer.sign(&json!({"alg": "HS256"}), &twice),
            signer.token(None, &json!({"sub": "x".repeat(MAX_TOKEN)})),
        ];
        for token in cases {
            let refused = admit(&jwt, &token).unwrap_err();
            assert_eq!(refused.code(), "not_a_token", "{token}");
        }
    }

    #[test]
    fn a_kid_picks_its_key_and_without_one_all_are_tried() {
        let jwt = jwt(&config(vec![shared(SECRET, "new"), shared(OTHER, "old")]));
        let (new, old) = (Signer::Hs256(SECRET), Signer::Hs256(OTHER));
        for (signer, kid) in [(&new, Some("new")), (&old, Some("old")), (&old, None)] {
            assert!(admit(&jwt, &signer.token(kid, &alice())).is_ok());
        }
        let verdict = |signer: &Signer, kid| admit(&jwt, &signer.token(kid, &alice()));
        assert_eq!(verdict(&new, Some("old")), Err(Refused::Signature));
        assert_eq!(verdict(&new, Some("third")), Err(Refused::UnknownKey));
        assert_eq!(
            verdict(&Signer::Rs256, Some("new")),
            Err(Refused::Algorithm)
        );
    }

    #[test]
    fn a_key_without_a_name_is_good_for_any() {
        let jwt = jwt(&config(vec![shared(SECRET, "")]));
        let token = Signer::Hs256(SECRET).token(Some("whatever"), &alice());
        assert!(admit(&jwt, &token).is_ok());
    }

    #[test]
    fn a_token_holds_from_its_beginning_to_its_end() {
        let config = config(vec![shared(SECRET, "")]);
        let now = now();
        let cases = [
            (json!({"sub": "a", "exp": now - 29}), "admitted"),
            (json!({"sub": "a", "exp": now - 31}), "token_expired"),
            (json!({"sub": "a", "exp": 0}), "token_expired"),
            (json!({"sub": "a", "exp": now as f64 + 0.5}), "admitted"),
            (json!({"sub": "a", "exp": 1e300}), "admitted"),
            (json!({"sub": "a", "exp": -1}), "invalid_field"),
            (
                json!({"sub": "a", "exp": (now + 60).to_string()}),
                "invalid_field",
            ),
            (json!({"sub": "a", "exp": null}), "invalid_field"),
            (json!({"sub": "a"}), "invalid_field"),
            (
                json!({"sub": "a", "exp": now + 60, "nbf": now + 29}),
                "admitted",
            ),
            (
                json!({"sub": "a", "exp": now + 60, "nbf": now + 35}),
                "token_not_yet_valid",
            ),
            (
                json!({"sub": "a", "exp": now + 60, "nbf": "0"}),
                "invalid_field",
            ),
        ];
        for (claims, verdict) in cases {
            assert_eq!(code(&config, &claims), verdict, "{claims}");
        }
        let token = Signer::Hs256(SECRET).token(None, &json!({"sub": "a", "exp": now + 60}));
        let admitted = admit(&jwt(&config), &token).unwrap();
        assert_eq!(admitted.expires, at(now + 60 + 30));
    }

    #[test]
    fn a_token_may_be_without_an_end_where_that_is_configured() {
        let mut config = config(vec![shared(SECRET, "")]);
        config.jwt_require_exp = false;
        config.jwt_leeway = Duration::ZERO;
        assert_eq!(code(&config, &json!({"sub": "a"})), "admitted");
        assert_eq!(
            code(&config, &json!({"sub": "a", "exp": "soon"})),
            "invalid_field"
        );
        assert_eq!(
            code(&config, &json!({"sub": "a", "exp": now()})),
            "token_expired"
        );
    }

    #[test]
    fn audience_and_issuer_are_asked_for_where_they_are_configured() {
        let mut config = config(vec![shared(SECRET, "")]);
        let with = |name: &str, value: Value| {
            let mut claims = alice();
            claims[name] = value;
            claims
        };
        assert_eq!(code(&config, &with("aud", json!("any"))), "admitted");
        config.jwt_audience = vec!["push".to_owned(), "chat".to_owned()];
        for good in [json!("push"), json!(["shop", "chat"])] {
            assert_eq!(code(&config, &with("aud", good)), "admitted");
        }
        for bad in [
            json!("shop"),
            json!(["shop"]),
            json!([]),
            json!(7),
            json!([["push"]]),
            json!(null),
        ] {
            assert_eq!(code(&config, &with("aud", bad)), "wrong_audience");
        }
        config.jwt_audience.clear();
        config.jwt_issuer = vec!["https://login".to_owned()];
        assert_eq!(
            code(&config, &with("iss", json!("https://login"))),
            "admitted"
        );
        for bad in [json!("https://log"), json!(["https://login"]), json!(null)] {
            assert_eq!(code(&config, &with("iss", bad)), "wrong_issuer");
        }
    }

    #[test]
    fn the_subject_is_the_uid() {
        let config = config(vec![shared(SECRET, "")]);
        let uid = |sub: Value| {
            let token = json!({"sub": sub, "exp": now() + 60});
            let token = Signer::Hs256(SECRET).token(None, &token);
            let admitted = admit(&jwt(&config), &token);
            admitted
                .map(|admitted| admitted.uid.to_string())
                .map_err(|refused| refused.code())
        };
        assert_eq!(uid(json!("用户")).as_deref(), Ok("用户"));
        assert_eq!(uid(json!(7)).as_deref(), Ok("7"));
        assert_eq!(uid(json!(-7)).as_deref(), Ok("-7"));
        for bad in [
            json!(7.5),
            json!(true),
            json!(null),
            json!(["alice"]),
            json!({}),
        ] {
            assert_eq!(uid(bad), Err("invalid_field"));
        }
        assert_eq!(uid(json!("")), Err("invalid_uid"));
        assert_eq!(uid(json!("x".repeat(1025))), Err("invalid_uid"));
    }

    #[test]
    fn the_claim_groups_names_groups() {
        let config = config(vec![shared(SECRET, "")]);
        let groups = |groups: Value| {
            let token = json!({"sub": "a", "exp": now() + 60, "groups": groups});
            let token = Signer::Hs256(SECRET).token(None, &token);
            let admitted = admit(&jwt(&config), &token).map_err(|refused| refused.code())?;
            Ok(admitted
                .groups
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>())
        };
        let two = Ok(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(groups(json!(["b", "a", 7, null, "b"])), two);
        assert_eq!(groups(json!(null)), Ok(vec![]));
        assert_eq!(groups(json!("a")), Err("invalid_field"));
        assert_eq!(groups(json!(["a", ""])), Err("invalid_group"));
        assert_eq!(groups(json!(["x".repeat(257)])), Err("invalid_group"));
    }

    #[test]
    fn a_file_that_holds_no_public_key_is_told_with_its_place() {
        let cut = mint::RSA_PEM.replacen("MIIBI", "MIIBJ", 1);
        let label = |label| mint::ED_PEM.replace("PUBLIC KEY", label);
        let cases = [
            ("", "is not a single key in PEM"),
            (
                mint::ED_PEM.trim_start_matches('-'),
                "is not a single key in PEM",
            ),
            (&cut, "is not an RSA key"),
            (&label("PRIVATE KEY"), "is a private key"),
            (&label("CERTIFICATE"), "is a certificate"),
            (&label("X509 CRL"), "is not a public key"),
        ];
        for (pem, problem) in cases {
            let (file, key) = in_file(pem);
            let error = Jwt::new(&config(vec![shared(SECRET, ""), key]))
                .unwrap_err()
                .to_string();
            let name = format!("auth.jwt_keys[1].file = {}: ", file.path().display());
            assert!(
                error.starts_with(&name) && error.contains(problem),
                "{error}"
            );
        }
        let nowhere = JwtKey {
            file: "/nowhere/key.pem".into(),
            ..JwtKey::default()
        };
        let error = Jwt::new(&config(vec![nowhere])).unwrap_err();
        assert!(error.to_string().ends_with("cannot be read"), "{error}");
    }

    /// The budget of a login is 100 µs.
    #[test]
    #[ignore = "a measurement, for a release build"]
    #[expect(clippy::print_stderr, reason = "it is for who looks at it")]
    fn what_a_verification_costs() {
        let (_rsa, rsa) = in_file(mint::RSA_PEM);
        let (_ec, ec) = in_file(mint::EC_PEM);
        let (_ed, ed) = in_file(mint::ED_PEM);
        let jwt = jwt(&config(vec![shared(SECRET, ""), rsa, ec, ed]));
        for signer in [
            Signer::Hs256(SECRET),
            Signer::Rs256,
            Signer::Es256,
            Signer::EdDsa,
        ] {
            let token = signer.token(None, &alice());
            let times = 5_000;
            let begin = Instant::now();
            for _ in 0..times {
                assert!(admit(&jwt, &token).is_ok());
            }
            eprintln!("{}: {:?} each", signer.name(), begin.elapsed() / times);
        }
    }
}
