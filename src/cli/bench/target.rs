//! Where to connect: owns reading of the server addresses, the choice of source
//! addresses and the check against the open-files limit.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, Result, bail, ensure};

use crate::cli::bench::procfs;

/// Connections from one source address to one port; the usual local port
/// range has room for a little more.
const PER_SOURCE: u64 = 25_000;

/// First port used at a chosen source address.
const FIRST_PORT: u16 = 10_000;

/// Files open besides the connections of pages and publisher.
const OTHER_FILES: u64 = 32;

/// One server address.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Address to connect to.
    pub(crate) addr: SocketAddr,
    /// Value of the `Host` header.
    pub(crate) host: String,
}

impl Target {
    /// Reads `url` (`http://host[:port]`), the value of `flag`.
    ///
    /// # Errors
    /// When it is not a plain HTTP URL without a path, or does not resolve.
    pub(crate) fn parse(flag: &str, url: &str) -> Result<Self> {
        if url.starts_with("https://") || url.starts_with("wss://") {
            bail!("{flag} {url}: TLS is not supported, give the plain http:// address behind it");
        }
        let host = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("ws://"))
            .with_context(|| format!("{flag} {url}: expected http://HOST:PORT"))?;
        let host = host.strip_suffix('/').unwrap_or(host);
        ensure!(
            !host.is_empty() && !host.contains(['/', '?', '#', '@']),
            "{flag} {url}: expected http://HOST:PORT and nothing after it"
        );
        match has_port(host) {
            true => Self::resolve(flag, url, host, host),
            false => Self::resolve(flag, url, host, &format!("{host}:80")),
        }
    }

    /// Reads `address` (`host:port`, or a URL of nothing more), the value of `flag`.
    ///
    /// # Errors
    /// When it is anything else, or does not resolve.
    pub(crate) fn parse_text(flag: &str, address: &str) -> Result<Self> {
        let host = address
            .strip_prefix("tcp://")
            .or_else(|| address.strip_prefix("http://"))
            .unwrap_or(address);
        let host = host.strip_suffix('/').unwrap_or(host);
        ensure!(
            has_port(host) && !host.contains(['/', '?', '#', '@']),
            "{flag} {address}: expected HOST:PORT"
        );
        Self::resolve(flag, address, host, host)
    }

    /// The target that `flag` names by `value`: `host`, found as `name`.
    fn resolve(flag: &str, value: &str, host: &str, name: &str) -> Result<Self> {
        let found: Vec<SocketAddr> = name
            .to_socket_addrs()
            .with_context(|| format!("{flag} {value}: cannot resolve {name}"))?
            .collect();
        let addr = found
            .iter()
            .find(|addr| addr.is_ipv4())
            .or(found.first())
            .copied()
            .with_context(|| format!("{flag} {value}: {name} has no address"))?;
        Ok(Self {
            addr,
            host: host.to_owned(),
        })
    }

    /// Whether `connections` in all need more than one source address and
    /// the target is on the IPv4 loopback, where there are more.
    pub(crate) fn spreads(&self, connections: u64) -> bool {
        connections > PER_SOURCE && matches!(self.addr.ip(), IpAddr::V4(ip) if ip.is_loopback())
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The loopback source address and port of connection attempt number `nth`
/// when they are spread.
pub(crate) fn source(nth: u64) -> SocketAddr {
    let block = u32::try_from(nth / PER_SOURCE).unwrap_or(0) % 0x00FF_0000;
    let port = u16::try_from(nth % PER_SOURCE).unwrap_or(0) + FIRST_PORT;
    let first = u32::from(Ipv4Addr::new(127, 0, 0, 2));
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(first + block)), port)
}

/// Checks that `clients` pages and `publishing` connections fit the limit on
/// open files.
///
/// # Errors
/// When they do not, with the limit named.
pub(crate) fn check_open_files(clients: u32, publishing: u32) -> Result<()> {
    let needed = u64::from(clients) + u64::from(publishing) + OTHER_FILES;
    if let Some(limit) = procfs::open_files_limit()? {
        ensure!(
            needed <= limit,
            "--clients {clients}: needs {needed} open files, the limit (RLIMIT_NOFILE, \
             ulimit -n) is {limit}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Target, source};

    #[test]
    fn plain_urls_are_read_and_others_refused() {
        let target = Target::parse("--http", "http://127.0.0.1:2121/").expect("a plain URL");
        assert_eq!(target.addr.to_string(), "127.0.0.1:2121");
        assert_eq!(target.host, "127.0.0.1:2121");
        let target = Target::parse("--http", "http://[::1]").expect("a plain URL");
        assert_eq!(target.addr.to_string(), "[::1]:80");
        for (url, word) in [
            ("https://127.0.0.1", "TLS"),
            ("127.0.0.1:1", "expected"),
            ("http://127.0.0.1:1/x", "nothing after"),
            ("http://", "expected"),
        ] {
            let error = Target::parse("--http", url).expect_err("not a plain URL");
            let text = error.to_string();
            assert!(text.contains(word) && text.starts_with("--http"), "{text}");
        }
    }

    #[test]
    fn the_text_port_is_named_with_or_without_a_scheme() {
        for address in [
            "127.0.0.1:5678",
            "tcp://127.0.0.1:5678",
            "http://127.0.0.1:5678/",
        ] {
            let target = Target::parse_text("--text", address).expect("an address");
            assert_eq!(target.addr.to_string(), "127.0.0.1:5678");
        }
        for address in ["127.0.0.1", "https://127.0.0.1:1", "127.0.0.1:1/x", ":"] {
            let error = Target::parse_text("--text", address).expect_err("no address");
            assert!(error.to_string().starts_with("--text"), "{error}");
        }
    }

    #[test]
    fn sources_change_every_block() {
        assert_eq!(source(24_999).to_string(), "127.0.0.2:34999");
        assert_eq!(source(25_000).to_string(), "127.0.0.3:10000");
    }
}
