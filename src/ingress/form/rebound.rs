//! DNS rebinding: a web page lets its own name point to this machine, so that its browser takes a
//! request to a port here for one to the page's own site.
//!
//! Such a request is told by what it cannot do without. A browser sends it; by plain HTTP, to which no
//! browser adds `sec-fetch-site`; straight to the port, so that the port stands in `Host`; and to a
//! name that somebody could register. A reverse proxy's requests have another port or none, backends
//! send none of a browser's headers, and names of one's own network nobody else can have.

use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;
use http::{HeaderMap, header};

/// Below which no name can be registered: RFC 6761, 6762, 8375, what ICANN has set aside, and what
/// routers use.
const PRIVATE: [&str; 8] = [
    ".localhost",
    ".local",
    ".internal",
    ".test",
    ".example",
    ".invalid",
    ".home.arpa",
    ".lan",
];

/// Whether a page made a browser send this to the port at `door`, which is for this machine only, by
/// a name that the page's site may have pointed here.
pub(super) fn is_rebound(headers: &HeaderMap, door: SocketAddr) -> bool {
    door.ip().is_loopback() && is_of_browser(headers) && {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let host: Option<Authority> = host.and_then(|host| host.parse().ok());
        host.is_some_and(|host| {
            host.port_u16().unwrap_or(80) == door.port() && is_public(host.host())
        })
    }
}

/// Browsers say in each request what language they want, and no page can keep them from it. Those
/// that say where a request is from have been judged by that.
fn is_of_browser(headers: &HeaderMap) -> bool {
    !headers.contains_key("sec-fetch-site")
        && headers.keys().any(|name| {
            [header::ACCEPT_LANGUAGE, header::ORIGIN, header::REFERER].contains(name)
                || name.as_str().starts_with("sec-")
        })
}

/// Whether it is a name that somebody else could have: no address, and one of the public DNS.
fn is_public(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.contains('.')
        && bare.parse::<IpAddr>().is_err()
        && !PRIVATE.iter().any(|private| host.ends_with(private))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::HeaderMap;

    use super::is_rebound;

    fn rebound(door: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("a header's value"));
        }
        let door: SocketAddr = door.parse().expect("an address");
        is_rebound(&map, door)
    }

    const DOOR: &str = "127.0.0.1:2121";
    const LANGUAGE: (&str, &str) = ("accept-language", "en");

    #[test]
    fn a_browser_that_comes_by_a_public_name_has_been_rebound() {
        let by = |host| rebound(DOOR, &[("host", host), LANGUAGE]);
        for host in [
            "evil.com:2121",
            "EVIL.COM.:2121",
            "127.0.0.1.nip.io:2121",
            "a.ip6.arpa:2121",
        ] {
            assert!(by(host), "{host}");
        }
        for own in [
            "127.0.0.1:2121",
            "[::1]:2121",
            "192.168.1.7:2121",
            "localhost:2121",
            "push.localhost:2121",
            "box:2121",
            "shop.test:2121",
            "box.LOCAL.:2121",
            "box.home.arpa:2121",
            // Of a proxy in front.
            "push.example.com",
            "evil.com",
            "evil.com:8080",
            "",
            "a b",
        ] {
            assert!(!by(own), "{own}");
        }
        for door in ["[::1]:2121", "127.0.0.2:2121"] {
            assert!(
                rebound(door, &[("host", "evil.com:2121"), LANGUAGE]),
                "{door}"
            );
        }
        assert!(rebound("127.0.0.1:80", &[("host", "evil.com"), LANGUAGE]));
        for public in ["0.0.0.0:2121", "192.0.2.1:2121"] {
            assert!(!rebound(public, &[("host", "evil.com:2121"), LANGUAGE]));
        }
    }

    #[test]
    fn what_is_no_browser_may_come_by_any_name() {
        let host = ("host", "dev.shop.com:2121");
        for lines in [
            &[][..],
            &[("user-agent", "Mozilla/5.0"), ("accept", "*/*")],
            &[LANGUAGE, ("sec-fetch-site", "same-origin")],
        ] {
            assert!(!rebound(DOOR, &[&[host], lines].concat()), "{lines:?}");
        }
        for line in [
            ("origin", "http://dev.shop.com:2121"),
            ("referer", "http://dev.shop.com:2121/"),
            ("sec-gpc", "1"),
        ] {
            assert!(rebound(DOOR, &[host, line]), "{line:?}");
        }
    }
}
