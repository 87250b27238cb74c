//! TLS: which certificate a client is shown, by the name it asks for.
//!
//! A snapshot carries the certificates it was made with. Renewed ones come with the next snapshot, for the next
//! handshakes; connections that are open go on as they are.

use std::path::Path;
use std::sync::Arc;

use rpm_model::balance::{CertificateSpec, TlsSpec};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::io::Io;
use crate::io::stream::Stream;

/// What HTTP/2 is called in a handshake.
const HTTP2: &[u8] = b"h2";

/// Certificates, ready.
pub struct Tls {
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads certificates and keys. `http2` says whether clients are offered it.
    ///
    /// # Errors
    /// With a sentence for each mistake.
    pub fn read(wanted: &TlsSpec, http2: bool) -> Result<Self, Vec<String>> {
        // ring rather than aws-lc-rs: it needs nothing but a C compiler to build, no cmake.
        let provider = Arc::new(ring::default_provider());
        let mut certificates = Certificates { named: Vec::new() };
        let mut mistakes = Vec::new();
        for spec in &wanted.certificates {
            match certificate(spec, &provider) {
                Ok(named) => certificates.named.push(named),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if wanted.certificates.is_empty() {
            mistakes.push("tls has no certificate".into());
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = versions.map_err(|error| vec![format!("TLS cannot be set up: {error}")])?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(certificates));
        let known: &[&[u8]] = if http2 { &[HTTP2, b"http/1.1"] } else { &[b"http/1.1"] };
        config.alpn_protocols = known.iter().map(|name| name.to_vec()).collect();
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Shakes hands with a client; returns also whether it speaks HTTP/2.
    ///
    /// # Errors
    /// Those of the connection, and of clients that speak no TLS.
    pub async fn accept(&self, stream: Box<dyn Stream>) -> std::io::Result<(Io, bool)> {
        let stream: TlsStream<Box<dyn Stream>> = self.acceptor.accept(stream).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
        Ok((Io::through(stream), http2))
    }
}

/// Certificates by name; the first is for everyone else.
#[derive(Debug)]
struct Certificates {
    named: Vec<Named>,
}

#[derive(Debug)]
struct Named {
    /// Lower case; `*.example.com` is for one label in place of the star.
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name()).map(|named| named.key.clone())
    }
}

impl Certificates {
    fn find(&self, name: Option<&str>) -> Option<&Named> {
        let first = self.named.first();
        let Some(name) = name.map(str::to_ascii_lowercase) else { return first };
        let has = |wanted: &str| self.named.iter().find(|named| named.names.iter().any(|own| own == wanted));
        let wild = || name.split_once('.').and_then(|(_, rest)| has(&format!("*.{rest}")));
        has(&name).or_else(wild).or(first)
    }
}

fn certificate(spec: &CertificateSpec, provider: &CryptoProvider) -> Result<Named, String> {
    let unreadable = |path: &Path, what: &str, error: &dyn std::fmt::Display| {
        format!("the {what} {} cannot be read: {error}", path.display())
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&spec.cert)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable(&spec.cert, "certificate", &error))?;
    let Some(first) = chain.first() else {
        return Err(format!("the certificate {} has no certificate in it", spec.cert.display()));
    };
    let names = match spec.names.as_slice() {
        [] => {
            let parsed = webpki::EndEntityCert::try_from(first);
            let parsed = parsed.map_err(|error| unreadable(&spec.cert, "certificate", &error))?;
            parsed.valid_dns_names().map(str::to_ascii_lowercase).collect()
        }
        names => names.iter().map(|name| name.to_ascii_lowercase()).collect(),
    };
    let key = PrivateKeyDer::from_pem_file(&spec.key).map_err(|error| unreadable(&spec.key, "key", &error))?;
    let key = CertifiedKey::from_der(chain, key, provider)
        .map_err(|error| format!("{} and {} do not go together: {error}", spec.cert.display(), spec.key.display()))?;
    Ok(Named { names, key: Arc::new(key) })
}
