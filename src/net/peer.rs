//! Who is on the other side of a connection, or of the proxies in front of it.
//!
//! What a request says of its origin is a claim: it counts only from a proxy that the configuration
//! trusts, and only as far as trusted proxies vouch for it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, Request, header};
use hyper::body::Incoming;
use tower::Service;

use crate::config;

/// Who is really on the other side. Each request that a listener serves has it in its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its address. Loopback for a Unix socket of which nobody tells more.
    pub(crate) address: IpAddr,
    /// Whether it is a proxy whose word on others counts.
    trusted: bool,
}

/// Which peers are proxies, and how they tell whom they speak for.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    trusted: Vec<config::Trusted>,
    header: config::ForwardedBy,
    /// Whether they begin each connection with a PROXY protocol header.
    pub(super) protocol: bool,
}

impl Peer {
    /// Whether it is a proxy whose word on others counts.
    pub(super) fn is_trusted(self) -> bool {
        self.trusted
    }

    /// The same without its word on others.
    pub(super) fn alone(self) -> Self {
        Self {
            trusted: false,
            ..self
        }
    }
}

impl Proxies {
    /// As configured. The default trusts nobody.
    pub(crate) fn new(config: &config::Proxy) -> Self {
        Self {
            trusted: config.trusted.clone(),
            header: config.header,
            protocol: config.protocol,
        }
    }

    /// The peer at this address.
    pub(super) fn peer(&self, address: IpAddr) -> Peer {
        // Of a socket for both families, "::ffff:10.0.0.1" is 10.0.0.1.
        let address = address.to_canonical();
        let trusted = self.trusted.iter().any(|trusted| match trusted {
            config::Trusted::Network(network) => network.contains(&address),
            config::Trusted::Unix => false,
        });
        Peer { address, trusted }
    }

    /// The peer of a Unix socket.
    pub(super) fn local_peer(&self) -> Peer {
        Peer {
            address: Ipv4Addr::LOCALHOST.into(),
            trusted: self.trusted.contains(&config::Trusted::Unix),
        }
    }

    /// Whom a request is from that came over a connection of `direct`: the first, from its end of
    /// the chain, that is not a trusted proxy. What cannot be read ends the walk.
    ///
    /// Only the configured header counts. Proxies append to theirs and let the other pass as the
    /// client sent it.
    fn origin(&self, direct: Peer, headers: &HeaderMap) -> Peer {
        let (name, address): (_, Reads) = match self.header {
            config::ForwardedBy::XForwardedFor => (X_FORWARDED_FOR, node),
            config::ForwardedBy::Forwarded => (header::FORWARDED, forwarded_for),
        };
        let mut origin = direct;
        // The nearest proxy has written last.
        let lines = headers.get_all(name).iter().rev();
        let mut hops = lines.flat_map(|line| FromTheEnd(Some(line.as_bytes())));
        while origin.trusted {
            let Some(address) = hops.next().and_then(address) else {
                break;
            };
            origin = self.peer(address);
        }
        origin
    }
}

/// What an element of the header names.
type Reads = fn(&[u8]) -> Option<IpAddr>;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The elements of a list, the last first. Commas within quotes do not count; whether one is quoted
/// is counted from the end as well, so that a client's open quote cannot swallow what a proxy has
/// appended.
struct FromTheEnd<'a>(Option<&'a [u8]>);

impl<'a> Iterator for FromTheEnd<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0.take()?;
        let mut is_quoted = false;
        let comma = rest.iter().rposition(|byte| {
            is_quoted ^= *byte == b'"';
            *byte == b',' && !is_quoted
        });
        let Some(comma) = comma else {
            return Some(rest.trim_ascii());
        };
        self.0 = Some(&rest[..comma]);
        Some(rest[comma + 1..].trim_ascii())
    }
}

/// The address in `for=` of an element of `Forwarded`, RFC 7239. Exactly one has to be there.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(|byte| *byte == b';') {
        let (name, value) = split_once(pair, b'=')?;
        if name.trim_ascii().eq_ignore_ascii_case(b"for") {
            let value = value.trim_ascii();
            let unquoted = value.strip_prefix(b"\"");
            let address = match unquoted {
                Some(value) => node(value.strip_suffix(b"\"")?)?,
                None => node(value)?,
            };
            if found.replace(address).is_some() {
                return None;
            }
        }
    }
    found
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`,
/// `[2001:db8::1]`, `[2001:db8::1]:80`. `unknown` and the like are none.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    let bracketed = text.strip_prefix('[')?.strip_suffix(']')?;
    bracketed.parse().ok().map(IpAddr::V6)
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == at)?;
    Some((&text[..at], &text[at + 1..]))
}

/// A connection's service, which is told of each request whom it is from.
#[derive(Debug, Clone)]
pub(super) struct Introduced<S> {
    pub(super) service: S,
    /// Who is on the other side of the connection.
    pub(super) peer: Peer,
    pub(super) proxies: Arc<Proxies>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Introduced<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> S::Future {
        let origin = self.proxies.origin(self.peer, request.headers());
        request.extensions_mut().insert(origin);
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::Proxies;
    use crate::config::{ForwardedBy, Proxy};

    fn proxies(trusted: &[&str], header: ForwardedBy) -> Proxies {
        let trusted = trusted.iter().map(|text| text.parse().unwrap()).collect();
        Proxies::new(&Proxy {
            trusted,
            header,
            protocol: false,
        })
    }

    /// Whom a request is from that `direct` brings with these header lines.
    fn origin(proxies: &Proxies, direct: &str, lines: &[(&'static str, &[u8])]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let direct = match direct {
            "unix" => proxies.local_peer(),
            direct => proxies.peer(direct.parse().unwrap()),
        };
        proxies.origin(direct, &headers).address.to_string()
    }

    const XFF: &str = "x-forwarded-for";

    #[test]
    fn a_header_of_a_peer_that_is_not_trusted_is_ignored() {
        for header in [ForwardedBy::XForwardedFor, ForwardedBy::Forwarded] {
            let proxies = proxies(&["10.0.0.0/8", "unix"], header);
            let forged: [(&str, &[u8]); 2] = [(XFF, b"6.6.6.6"), ("forwarded", b"for=6.6.6.6")];
            assert_eq!(origin(&proxies, "192.0.2.1", &forged), "192.0.2.1");
            // Of a trusted one, the header that it does not write is the client's.
            let both = &forged[..];
            assert_eq!(origin(&proxies, "10.0.0.1", both), "6.6.6.6");
            let other = match header {
                ForwardedBy::XForwardedFor => &both[1..],
                ForwardedBy::Forwarded => &both[..1],
            };
            assert_eq!(origin(&proxies, "10.0.0.1", other), "10.0.0.1");
        }
        let nobody = Proxies::default();
        assert_eq!(origin(&nobody, "unix", &[(XFF, b"6.6.6.6")]), "127.0.0.1");
        // A network on loopback does not make a Unix socket trusted.
        let loopback = proxies(&["127.0.0.1"], ForwardedBy::XForwardedFor);
        assert_eq!(origin(&loopback, "unix", &[(XFF, b"6.6.6.6")]), "127.0.0.1");
        assert_eq!(
            origin(&loopback, "127.0.0.1", &[(XFF, b"6.6.6.6")]),
            "6.6.6.6"
        );
    }

    #[test]
    fn the_walk_goes_from_the_end_over_trusted_hops_to_the_first_other() {
        let proxies = proxies(
            &["10.0.0.0/8", "fd00::/8", "unix"],
            ForwardedBy::XForwardedFor,
        );
        let from = |lines: &[&'static str]| {
            let lines: Vec<_> = lines.iter().map(|line| (XFF, line.as_bytes())).collect();
            let by_unix = origin(&proxies, "unix", &lines);
            if by_unix != "127.0.0.1" {
                assert_eq!(by_unix, origin(&proxies, "::ffff:10.0.0.1", &lines));
            }
            by_unix
        };
        assert_eq!(from(&[]), "127.0.0.1");
        assert_eq!(from(&["198.51.100.7"]), "198.51.100.7");
        assert_eq!(from(&["6.6.6.6, 198.51.100.7"]), "198.51.100.7");
        assert_eq!(from(&["6.6.6.6", "198.51.100.7"]), "198.51.100.7");
        assert_eq!(from(&["198.51.100.7,10.1.1.1 , fd00::1"]), "198.51.100.7");
        assert_eq!(from(&["198.51.100.7", "10.1.1.1"]), "198.51.100.7");
        assert_eq!(from(&["10.9.9.9, 10.1.1.1"]), "10.9.9.9");
        assert_eq!(from(&["2001:db8::1"]), "2001:db8::1");
        assert_eq!(from(&["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(from(&["192.0.2.1:4711"]), "192.0.2.1");
        // What cannot be read ends it.
        for bad in [
            "unknown",
            "",
            ",",
            "6.6.6.6 7.7.7.7",
            "1.2.3",
            "\"",
            "6.6.6.6:99999",
        ] {
            let line: &'static str = Box::leak(format!("{bad}, 10.1.1.1").into_boxed_str());
            assert_eq!(from(&[line]), "10.1.1.1", "{bad:?}");
        }
        let latin = origin(&proxies, "10.0.0.1", &[(XFF, b"\xE9, 10.1.1.1")]);
        assert_eq!(latin, "10.1.1.1");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_has_it() {
        let proxies = proxies(&["10.0.0.0/8"], ForwardedBy::Forwarded);
        let from = |line: &str| origin(&proxies, "10.0.0.1", &[("forwarded", line.as_bytes())]);
        assert_eq!(
            from("for=192.0.2.60;proto=http;by=203.0.113.43"),
            "192.0.2.60"
        );
        assert_eq!(
            from("For=\"[2001:db8:cafe::17]:4711\""),
            "2001:db8:cafe::17"
        );
        assert_eq!(from("proto=https ; FOR = \"192.0.2.1:80\""), "192.0.2.1");
        assert_eq!(
            from("for=6.6.6.6, for=192.0.2.1, for=10.2.2.2"),
            "192.0.2.1"
        );
        assert_eq!(from("for=192.0.2.1, by=\"a,b\";for=10.2.2.2"), "192.0.2.1");
        // An open quote of the client hides nothing that a proxy has said.
        assert_eq!(from("for=\"6.6.6.6, for=192.0.2.1"), "192.0.2.1");
        for bad in [
            "for=unknown",
            "for=_hidden",
            "192.0.2.1",
            "for=",
            "by=x",
            "for=\"1.2.3.4",
        ] {
            assert_eq!(from(&format!("{bad}, for=10.2.2.2")), "10.2.2.2", "{bad}");
        }
        assert_eq!(from("for=1.2.3.4;for=5.6.7.8"), "10.0.0.1");
    }
}
