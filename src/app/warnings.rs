//! What is said at the start of a configuration that works and lets in more than may be meant. Names
//! settings, and never shows what may be a secret.

use std::net::{IpAddr, SocketAddr};

use http::Uri;

use super::Addresses;
use crate::config::{AuthMode, Config};

pub(super) fn log(open: &Addresses, config: &Config) {
    warn_of_strangers(open, config);
    warn_of_settings_without_effect(config);
    warn_of_other_sites(open, config);
    warn_of_the_way_to_the_issuer(config);
}

fn warn_of_strangers(open: &Addresses, config: &Config) {
    let is_foreign = |address: SocketAddr| !address.ip().is_loopback();
    let pages = [open.socketio, open.uid_socket, open.chat];
    if config.auth.mode == AuthMode::Open && pages.into_iter().flatten().any(is_foreign) {
        tracing::warn!(
            "auth.mode is open: whoever reaches the pages' ports may log in as any uid and read that \
             user's messages; set it to signed, jwt or webhook before strangers can"
        );
    }
    let listeners = [
        ("http", open.http, "push"),
        ("text", open.text, "push"),
        ("udp", open.udp, "push"),
        ("admin", open.admin, "read figures"),
    ];
    for (listener, address, what) in listeners {
        let asks = config.api.has_keys() || listener == "udp" && !config.udp.secret.is_empty();
        if !asks && address.is_some_and(|address| !address.ip().is_loopback()) {
            tracing::warn!(
                "{listener}.listen is not a loopback address: whoever reaches it can {what}"
            );
        }
    }
}

/// Who has made keys and forgotten the mode has a server that asks nobody.
fn warn_of_settings_without_effect(config: &Config) {
    let auth = &config.auth;
    let settings = [
        ("auth.secret", auth.secret.is_empty()),
        ("auth.jwt_keys", auth.jwt_keys.is_empty()),
        ("auth.jwks_url", auth.jwks_url.is_empty()),
        ("auth.webhook_url", auth.webhook_url.is_empty()),
    ];
    let set = settings.iter().find(|(_, is_empty)| !is_empty);
    if let (AuthMode::Open, Some((key, _))) = (auth.mode, set) {
        tracing::warn!(
            "{key} is of no effect, since auth.mode is open: any page may be any user; set auth.mode to \
             signed, jwt or webhook"
        );
    }
}

/// A browser sends a user's cookie along whatever site the page is of that connects.
fn warn_of_other_sites(open: &Addresses, config: &Config) {
    let is_cookie = |name: &String| name.eq_ignore_ascii_case("cookie");
    if config.auth.mode != AuthMode::Webhook || !config.auth.webhook_headers.iter().any(is_cookie) {
        return;
    }
    let gateways = [
        (
            "socketio.origins",
            &config.socketio.origins,
            open.socketio.is_some() || open.socketio_unix.is_some(),
        ),
        (
            "websocket.origins",
            &config.websocket.origins,
            open.uid_socket.is_some() || open.chat.is_some(),
        ),
    ];
    for (key, origins, is_open) in gateways {
        if is_open && origins.iter().any(|origin| origin == "*") {
            tracing::warn!(
                "{key} has \"*\" and auth.webhook_headers has cookie: any website may log in as the \
                 user who visits it; list your own sites in {key}"
            );
        }
    }
}

fn warn_of_the_way_to_the_issuer(config: &Config) {
    if config.auth.mode == AuthMode::Jwt && is_in_the_clear(&config.auth.jwks_url) {
        tracing::warn!(
            "auth.jwks_url is http and leads to another machine: whoever is on the way can supply keys \
             of their own and log in as any uid; make it https"
        );
    }
}

/// Whether what comes from `url` passes a network without TLS.
fn is_in_the_clear(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else {
        return false;
    };
    let host = url.host().unwrap_or_default().to_ascii_lowercase();
    let address: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
    let is_here = match address {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    };
    url.scheme_str() == Some("http") && !is_here
}

#[cfg(test)]
mod tests {
    use super::is_in_the_clear;

    #[test]
    fn only_http_to_another_machine_passes_in_the_clear() {
        for url in [
            "http://login.example.com/keys",
            "http://10.0.0.1:8000/",
            "HTTP://[2001:db8::1]/",
        ] {
            assert!(is_in_the_clear(url), "{url}");
        }
        let safe = [
            "",
            "https://login.example.com/keys",
            "http://127.0.0.1:8000/",
            "http://127.1.2.3/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://LocalHost:1/",
            "http://issuer.localhost/",
        ];
        for url in safe {
            assert!(!is_in_the_clear(url), "{url}");
        }
    }
}
