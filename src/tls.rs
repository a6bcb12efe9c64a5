//! The certificate that the server shows, which can be exchanged while it runs: connections that
//! are open keep theirs, new ones see the new one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_cert::der::Decode;

use crate::config::Config;

/// Why the certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {message}")]
pub struct TlsError {
    /// The key of the configuration at fault.
    pub key: &'static str,
    pub message: String,
}

/// A certificate with its key, checked against each other.
pub struct Pair {
    certified: Arc<CertifiedKey>,
    /// When it ends, in seconds since 1970.
    pub not_after_seconds: u64,
}

/// What a listener shows.
#[derive(Clone)]
pub struct Certificate {
    certificate_file: PathBuf,
    key_file: PathBuf,
    shown: Arc<Shown>,
}

struct Shown(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&shown))
    }
}

const CERTIFICATE: &str = "server.tls_certificate_file";
const KEY: &str = "server.tls_key_file";

impl Certificate {
    /// The certificate that the configuration names; none when it names none.
    pub fn open(config: &Config) -> Result<Option<Self>, TlsError> {
        let (certificate_file, key_file) = (
            config.server.tls_certificate_file.clone(),
            config.server.tls_key_file.clone(),
        );
        let missing = |key| TlsError {
            key,
            message: format!("is needed beside the other of {CERTIFICATE} and {KEY}"),
        };
        match (
            certificate_file.as_os_str().is_empty(),
            key_file.as_os_str().is_empty(),
        ) {
            (true, true) => return Ok(None),
            (true, false) => return Err(missing(CERTIFICATE)),
            (false, true) => return Err(missing(KEY)),
            (false, false) => {}
        }
        let pair = read(&certificate_file, &key_file)?;
        tell_expiry(&pair);
        Ok(Some(Self {
            certificate_file,
            key_file,
            shown: Arc::new(Shown(RwLock::new(pair.certified))),
        }))
    }

    /// The files, read again.
    pub fn read(&self) -> Result<Pair, TlsError> {
        read(&self.certificate_file, &self.key_file)
    }

    /// Shows this pair from the next connection on.
    pub fn show(&self, pair: Pair) {
        tell_expiry(&pair);
        let mut shown = self.shown.0.write().unwrap_or_else(PoisonError::into_inner);
        *shown = pair.certified;
    }

    /// What a listener is set up with.
    pub fn server_config(&self) -> Result<ServerConfig, rustls::Error> {
        let resolver: Arc<dyn ResolvesServerCert> = self.shown.clone();
        let builder = ServerConfig::builder_with_provider(provider());
        Ok(builder
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver))
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn tell_expiry(pair: &Pair) {
    metrics::gauge!("tls_certificate_expiry_timestamp_seconds").set(pair.not_after_seconds as f64);
}

/// Reads a certificate chain and its key, both PEM. Nothing of the key is in any error.
fn read(certificate_file: &Path, key_file: &Path) -> Result<Pair, TlsError> {
    let wrong = |key: &'static str, path: &Path, what: String| TlsError {
        key,
        message: format!("{}: {what}", path.display()),
    };
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_file_iter(certificate_file).and_then(Iterator::collect);
    let chain = chain.map_err(|error| wrong(CERTIFICATE, certificate_file, error.to_string()))?;
    let Some(first) = chain.first() else {
        let what = "it holds no certificate in PEM".to_owned();
        return Err(wrong(CERTIFICATE, certificate_file, what));
    };
    let parsed = x509_cert::Certificate::from_der(first)
        .map_err(|error| wrong(CERTIFICATE, certificate_file, error.to_string()))?;
    let not_after = parsed.tbs_certificate().validity().not_after;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| wrong(KEY, key_file, error.to_string()))?;
    let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        let what = match matches!(error, rustls::Error::InconsistentKeys(_)) {
            true => format!("it is not the key of {}", certificate_file.display()),
            false => error.to_string(),
        };
        wrong(KEY, key_file, what)
    })?;
    Ok(Pair {
        certified: Arc::new(certified),
        not_after_seconds: not_after.to_unix_duration().as_secs(),
    })
}
