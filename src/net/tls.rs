//! The certificate that TLS connections are shown: read from its files, and again when they change.
//!
//! A connection keeps what it was opened with; a certificate that is no good changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether the files have changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("cannot read the certificates of tls.cert = {0}")]
    Cert(PathBuf, #[source] pem::Error),
    #[error("there is no certificate in tls.cert = {0}")]
    Empty(PathBuf),
    #[error("cannot read the key of tls.key = {0}")]
    Key(PathBuf, #[source] pem::Error),
    #[error("tls.cert = {0} and tls.key = {1} do not go together")]
    Unusable(PathBuf, PathBuf, #[source] rustls::Error),
}

/// See the module's text.
pub(crate) struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<TlsAcceptor>,
}

/// What tells one version of the files from another.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// Names the key and the path.
    pub(crate) fn load(cert: &Path, key: &Path) -> Result<Self, CertificateError> {
        let current = RwLock::new(acceptor(cert, key)?);
        let (cert, key) = (cert.to_owned(), key.to_owned());
        Ok(Self { cert, key, current })
    }

    /// What a new connection is accepted with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        // Nothing that can panic runs under this lock.
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again, at each `SIGHUP` and when they have changed, until `stop`.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut hangups = signal(SignalKind::hangup()).ok();
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        let mut loaded = self.stamp();
        let mut last = loaded;
        loop {
            let hangup = async {
                match &mut hangups {
                    Some(hangups) => hangups.recv().await,
                    None => std::future::pending().await,
                }
            };
            let is_asked = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = hangup => true,
                _ = ticks.tick() => false,
            };
            let stamp = self.stamp();
            // Of two files one is written first: they are read when both have come to rest.
            let has_changed = stamp != loaded && stamp == last;
            last = stamp;
            if is_asked || has_changed {
                loaded = stamp;
                self.reload();
            }
        }
    }

    fn reload(&self) {
        let cert = self.cert.display();
        match acceptor(&self.cert, &self.key) {
            Ok(new) => {
                let current = self.current.write();
                *current.unwrap_or_else(PoisonError::into_inner) = new;
                tracing::info!(%cert, "certificate loaded");
            }
            Err(e) => {
                let error = anyhow::Error::from(e);
                let error = format!("{error:#}");
                tracing::error!(error, "certificate not loaded, the one before stays");
            }
        }
    }

    fn stamp(&self) -> Stamp {
        [&self.cert, &self.key].map(|path| {
            let file = fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len()))
        })
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("cert", &self.cert)
            .finish_non_exhaustive()
    }
}

fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, CertificateError> {
    let unread = |e| CertificateError::Cert(cert.to_owned(), e);
    let chain = CertificateDer::pem_file_iter(cert).map_err(unread)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(unread)?;
    if chain.is_empty() {
        return Err(CertificateError::Empty(cert.to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key);
    let secret = secret.map_err(|e| CertificateError::Key(key.to_owned(), e))?;
    let config = server_config(chain, secret);
    let config =
        config.map_err(|e| CertificateError::Unusable(cert.to_owned(), key.to_owned(), e))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Pages that come back all at once then need not shake hands in full, and nothing is kept here.
    config.ticketer = ring::Ticketer::new()?;
    Ok(config)
}
