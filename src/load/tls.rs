//! Connections that are sealed: which certificates are trusted, and for whom.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::provider;

/// How connections to one server are sealed.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// For the server of this name, whose certificate has to come from one in the PEM file, or else
    /// from one of the public authorities.
    ///
    /// # Errors
    /// The file cannot be read or holds no certificate, or the name is none.
    pub fn new(name: &str, trusted: Option<&Path>) -> std::io::Result<Self> {
        let invalid = |why: String| Error::new(ErrorKind::InvalidInput, why);
        let mut roots = RootCertStore::empty();
        match trusted {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(file) => {
                let found = CertificateDer::pem_file_iter(file)
                    .map_err(|error| invalid(format!("{}: {error}", file.display())))?;
                for certificate in found.flatten() {
                    roots
                        .add(certificate)
                        .map_err(|error| invalid(format!("{}: {error}", file.display())))?;
                }
                if roots.is_empty() {
                    let why = format!("{}: it holds no certificate", file.display());
                    return Err(invalid(why));
                }
            }
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned());
        Ok(Self {
            config: Arc::new(config),
            name: name.map_err(|error| invalid(error.to_string()))?,
        })
    }

    /// Seals a connection.
    pub(super) async fn seal(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.name.clone(), stream).await
    }
}
