//! Section of who may push.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Contradiction, Secret};

/// Who may push, and read what is not for everybody.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Keys, each as `scopes:key`; no key at all lets anybody push who reaches a push port.
    pub keys: Vec<Secret>,
    /// A file with more of them, one a line; empty for none.
    pub key_file: PathBuf,
    /// Whether an HTTP push has to be signed with a key, rather than to show it.
    pub require_signature: bool,
    /// Whether a push port may be open to other machines while there is no key.
    pub allow_open: bool,
}

impl Api {
    /// Whether there is a key.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty() || !self.key_file.as_os_str().is_empty()
    }
}

impl Config {
    /// A push port that strangers reach needs a key, or somebody's word that it does not.
    pub(super) fn check_api(&self) -> Result<(), Contradiction> {
        if self.api.require_signature && !self.api.has_keys() {
            return Err(Contradiction {
                key: "api.require_signature".to_owned(),
                problem: "needs a key to sign with: set api.keys or api.key_file".to_owned(),
            });
        }
        if self.api.allow_open || self.api.has_keys() {
            return Ok(());
        }
        let is_foreign =
            |address: &Option<SocketAddr>| address.is_some_and(|a| !a.ip().is_loopback());
        let ports = [
            ("http", self.http.listen, ""),
            ("text", self.text.listen, ""),
            ("udp", self.udp.listen, "udp.secret, or "),
        ];
        for (section, address, other) in ports {
            let has_own = section == "udp" && !self.udp.secret.is_empty();
            if is_foreign(&address) && !has_own {
                return Err(Contradiction {
                    key: format!("{section}.listen"),
                    problem: format!(
                        "is not a loopback address, and whoever reaches it can push to everybody: set \
                         {other}api.keys, as [\"push:a-long-random-text\"], or, where only your own \
                         machines reach it, api.allow_open = true"
                    ),
                });
            }
        }
        Ok(())
    }
}
