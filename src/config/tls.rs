//! Section of TLS.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which certificate is shown, and where TLS is spoken.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the certificate and those that vouch for it; empty turns TLS off.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// The ports that speak TLS, and nothing else, once there is a certificate.
    pub listeners: Vec<TlsListener>,
}

/// A port that can speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsListener {
    /// That of Socket.IO.
    SocketIo,
    /// The push port.
    Http,
}

impl Tls {
    /// Whether there is a certificate.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.cert.as_os_str().is_empty()
    }

    /// Whether this port speaks TLS.
    #[must_use]
    pub fn is_spoken(&self, listener: TlsListener) -> bool {
        self.is_on() && self.listeners.contains(&listener)
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            cert: PathBuf::new(),
            key: PathBuf::new(),
            listeners: vec![TlsListener::SocketIo, TlsListener::Http],
        }
    }
}
