//! Certificates made here, and servers that show them.

use std::sync::Arc;

use lvsentry::probe::Tools;
use lvsentry::probe::tls::Trust;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// An authority that signs.
pub type Issuer = CertifiedIssuer<'static, KeyPair>;

/// An authority.
pub fn authority() -> Issuer {
    named("A test's authority")
}

/// An authority of that name.
pub fn named(name: &str) -> Issuer {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Tools that trust this authority only.
pub fn trusting(authority: &Issuer) -> Tools {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    Tools::trusting(Trust::only(roots))
}

/// Notes the name that each client asks for.
#[derive(Debug)]
pub struct Names {
    /// The certificate to show.
    pub key: std::sync::Mutex<Arc<CertifiedKey>>,
    /// The names that were asked for.
    pub seen: std::sync::Mutex<Vec<Option<String>>>,
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.seen.lock().unwrap().push(hello.server_name().map(str::to_owned));
        Some(self.key.lock().unwrap().clone())
    }
}

/// A TLS acceptor with a certificate for `name`, signed by the authority or by itself.
pub fn acceptor(
    issuer: Option<&Issuer>,
    change: impl FnOnce(&mut CertificateParams),
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> (TlsAcceptor, Arc<Names>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["another.example.org".to_owned()]).unwrap();
    change(&mut params);
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let signer = provider.key_provider.load_private_key(der).unwrap();
    let key = Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signer));
    let names = Arc::new(Names { key: key.into(), seen: Default::default() });
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(names.clone());
    (TlsAcceptor::from(Arc::new(config)), names)
}
