//! TLS to a server, and how much of its certificate is checked ([`Verify`]). No session is ever
//! resumed: that would skip the certificate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dial;
use super::options::Options;
use crate::outcome::{Failure, Phase, Reason};
use crate::span::Fault;

/// How much of a server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Nothing: any certificate will do.
    Nothing,
    /// Chain and dates: it leads to an authority that is trusted here. Its name may be any.
    Chain,
    /// Chain, dates, and the name (or address) that was asked for.
    Name,
}

impl Verify {
    /// The words of the option `verify`.
    pub const WORDS: [(&str, Verify); 3] =
        [("nothing", Verify::Nothing), ("chain", Verify::Chain), ("name", Verify::Name)];

    /// Takes the option `verify`; `default` holds where it is not given.
    pub fn take(options: &mut Options, default: Verify) -> Result<Verify, Fault> {
        let Some(given) = options.take("verify") else { return Ok(default) };
        let word = Verify::WORDS.iter().find(|(word, _)| word.as_bytes() == given.text);
        word.map(|(_, verify)| *verify).ok_or_else(|| {
            Fault::error(given.span, "verify must be nothing, chain or name")
                .help("chain: a trusted authority; name: that, and the name that is asked for")
        })
    }
}

/// How TLS is spoken with a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manner {
    /// Whom to ask for (SNI) and, with [`Verify::Name`], what the certificate must name; without
    /// it no name is sent, and the address is compared.
    pub name: Option<String>,
    /// How much of the certificate is checked.
    pub verify: Verify,
}

impl Manner {
    /// Takes the options `virtualhost` (a port in it is left out) and `verify`, [`Verify::Chain`] where
    /// it is not given.
    pub fn take(options: &mut Options) -> Result<Manner, Fault> {
        let host = options.take("virtualhost").and_then(|given| String::from_utf8(given.text).ok());
        let name = host.and_then(|host| host.split(':').next().map(str::to_owned));
        Ok(Manner {
            name: name.filter(|name| !name.is_empty()),
            verify: Verify::take(options, Verify::Chain)?,
        })
    }
}

/// The certificate authorities that are trusted; one configuration for all probes of a [`Verify`].
#[derive(Debug, Default)]
pub struct Trust {
    roots: OnceCell<Arc<RootCertStore>>,
    configs: [OnceCell<Arc<ClientConfig>>; 3],
}

impl Trust {
    /// Trusts the system's authorities, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    /// They are read at the first use.
    pub fn system() -> Trust {
        Trust::default()
    }

    /// Trusts these authorities only.
    pub fn only(roots: RootCertStore) -> Trust {
        Trust { roots: OnceCell::new_with(Some(Arc::new(roots))), ..Trust::default() }
    }

    /// Shakes hands with the server behind `stream`. The caller has entered [`Phase::Tls`].
    pub async fn connect(
        &self,
        stream: TcpStream,
        to: SocketAddr,
        manner: &Manner,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let connector = TlsConnector::from(self.config(manner.verify).await?);
        let name = server_name(manner.name.as_deref().unwrap_or_default(), to);
        connector.connect(name, stream).await.map_err(|error| refused(to, &error))
    }

    /// The configuration for clients that check so much.
    pub async fn config(&self, verify: Verify) -> Result<Arc<ClientConfig>, Failure> {
        self.configs[verify as usize].get_or_try_init(|| self.client(verify)).await.cloned()
    }

    async fn client(&self, verify: Verify) -> Result<Arc<ClientConfig>, Failure> {
        let roots = match verify {
            Verify::Nothing => Arc::new(RootCertStore::empty()),
            Verify::Chain | Verify::Name => self.roots.get_or_try_init(load).await?.clone(),
        };
        client(roots, verify).map_err(|error| Failure::new(Phase::Tls, Reason::Local, error))
    }
}

async fn load() -> Result<Arc<RootCertStore>, Failure> {
    let local = |detail: String| Failure::new(Phase::Tls, Reason::Local, detail);
    let found = spawn_blocking(rustls_native_certs::load_native_certs);
    let found = found.await.map_err(|error| local(format!("reading certificate authorities: {error}")))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let cause = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(local(format!(
            "this host has no certificate authorities{cause}: install ca-certificates"
        )));
    }
    Ok(Arc::new(roots))
}

fn client(roots: Arc<RootCertStore>, verify: Verify) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { roots, provider, verify }))
        .with_no_client_auth();
    // A resumed session would skip the certificate: an expired one would not be noticed.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Whom to ask for in the handshake (SNI): a name; an address is not sent.
fn server_name(host: &str, to: SocketAddr) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::from(to.ip()))
}

/// Checks as much of a certificate as [`Verify`] says, and unless that is nothing, that the server
/// has its key.
#[derive(Debug)]
struct Verifier {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    verify: Verify,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.verify == Verify::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        if self.verify == Verify::Name {
            verify_server_name(&certificate, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.verify == Verify::Nothing {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.verify == Verify::Nothing {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What an error of a TLS stream means.
pub fn refused(to: SocketAddr, error: &io::Error) -> Failure {
    let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Failure::new(Phase::Tls, Reason::Closed, format!("{to}: closed within the TLS handshake"))
            }
            _ => dial::fault(Phase::Tls, to, error),
        };
    };
    match cause {
        Error::InvalidCertificate(fault) => {
            Failure::new(Phase::Tls, Reason::Certificate, format!("{to}: the certificate {}", words(fault)))
        }
        _ => Failure::new(Phase::Tls, Reason::Protocol, format!("{to}: {cause}")),
    }
}

fn words(fault: &CertificateError) -> String {
    match fault {
        CertificateError::UnknownIssuer => "does not lead to an authority that is trusted here".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet".to_owned()
        }
        other => format!("is not accepted: {other}"),
    }
}
