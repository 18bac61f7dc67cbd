//! Which web origins may connect.

use http::HeaderValue;

/// An allow-list, as `socketio.origins`.
#[derive(Debug)]
pub(in crate::gateway) enum Origins {
    /// Any, and requests without one: the original's default.
    Any,
    /// These.
    Listed(Vec<Allowed>),
}

/// One entry.
#[derive(Debug)]
pub(in crate::gateway) enum Allowed {
    /// `scheme://host[:port]`, exactly.
    Exact(String),
    /// `scheme://host:*`: this much, followed by nothing or a port.
    AnyPort(String),
}

impl Origins {
    pub(in crate::gateway) fn new(entries: &[String]) -> Self {
        if entries.iter().any(|entry| entry == "*") {
            return Self::Any;
        }
        let allowed = entries.iter().map(|entry| {
            let entry = entry.trim_end_matches('/').to_ascii_lowercase();
            match entry.strip_suffix(":*") {
                Some(host) => Allowed::AnyPort(host.to_owned()),
                None => Allowed::Exact(entry),
            }
        });
        Self::Listed(allowed.collect())
    }

    /// Whether a request with this `Origin` may connect. One without is not a browser's
    /// cross-site request, and is allowed; `null`, which anybody can send, is not.
    pub(in crate::gateway) fn allow(&self, origin: Option<&HeaderValue>) -> bool {
        let (Self::Listed(entries), Some(origin)) = (self, origin) else {
            return true;
        };
        let origin = origin.as_bytes().to_ascii_lowercase();
        entries.iter().any(|entry| entry.matches(&origin))
    }
}

impl Allowed {
    fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Exact(entry) => origin == entry.as_bytes(),
            Self::AnyPort(host) => match origin.strip_prefix(host.as_bytes()) {
                Some([]) => true,
                Some([b':', port @ ..]) => port.iter().all(u8::is_ascii_digit),
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Origins;
    use http::HeaderValue;

    #[test]
    fn only_listed_origins_pass() {
        let origins = Origins::new(&[
            "https://www.example.com".to_owned(),
            "http://localhost:*".to_owned(),
        ]);
        let allow = |origin: &'static str| origins.allow(Some(&HeaderValue::from_static(origin)));
        assert!(allow("https://www.example.com"));
        assert!(allow("HTTPS://WWW.example.com"));
        assert!(allow("http://localhost"));
        assert!(allow("http://localhost:8080"));
        assert!(!allow("https://www.example.com:8443"));
        assert!(!allow("https://www.example.com.evil.org"));
        assert!(!allow("http://localhost:80.evil.org"));
        assert!(!allow("http://www.example.com"));
        assert!(!allow("null"));
        assert!(origins.allow(None));
    }
}
