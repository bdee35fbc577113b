//! TLS towards PostgreSQL by rustls: whether a connection is encrypted, and whom it trusts. The crypto provider is named here and
//! not left to the process, so that no start can forget to choose one. Whether there is encryption is found out here and not by
//! the client library, so that what the library reads passes through [`Merged`] either way.

use std::{fmt, io, pin::Pin, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::{
    Config, Socket,
    config::{Host, SslMode, SslNegotiation},
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::either::Either;

use super::merged::Merged;

/// Asks a server whether it encrypts: the length of the message and a number that is no version of the protocol.
const ASK: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// It does.
const YES: u8 = b'S';

type Encrypted = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
type Handshake = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;

/// Whom a connection trusts.
#[derive(Debug)]
pub(super) enum Trust {
    /// Whoever answers: what is said cannot be overheard, but by whom it is answered nobody knows.
    Anyone,
    /// Whoever has a certificate signed by one of `ca`, or of the machine's own.
    Signed {
        /// PEM.
        ca: Option<Vec<u8>>,
        /// And for the name that was called.
        by_name: bool,
    },
}

/// Why no TLS could be prepared.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error("the file has no certificate that can be read")]
    NoCertificates,
    #[error("this machine has no certificates to trust: name a file of them in `tls.ca`")]
    NoRoots,
    #[error("the certificates cannot be used: {0}")]
    Unusable(String),
}

/// How connections are made.
#[derive(Clone)]
pub struct Tls {
    mode: SslMode,
    rustls: MakeRustlsConnect,
}

/// One that is being made.
pub struct Connecting {
    mode: SslMode,
    handshake: Handshake,
}

impl Tls {
    pub(super) fn new(mode: SslMode, trust: Trust) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = verifier(trust, &provider)?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|cause| TlsError::Unusable(cause.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self { mode, rustls: MakeRustlsConnect::new(config) })
    }

    #[cfg(test)]
    pub(super) fn mode(&self) -> SslMode {
        self.mode
    }

    /// Has the client library leave the question of encryption to this. Nobody encrypts what passes through a file of the machine.
    pub(super) fn set_up(config: &mut Config) {
        match config.get_hosts().iter().all(|host| matches!(host, Host::Tcp(_))) {
            true => config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct),
            false => config.ssl_mode(SslMode::Disable),
        };
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Merged<Either<Socket, Encrypted>>;
    type TlsConnect = Connecting;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Connecting> {
        let handshake = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.rustls, host);
        Ok(Connecting { mode: self.mode, handshake: handshake.map_err(io::Error::other)? })
    }
}

impl TlsConnect<Socket> for Connecting {
    type Stream = Merged<Either<Socket, Encrypted>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Stream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move { self.connected(socket).await.map(Merged::new) })
    }
}

impl Connecting {
    async fn connected(self, mut socket: Socket) -> io::Result<Either<Socket, Encrypted>> {
        if self.mode == SslMode::Disable {
            return Ok(Either::Left(socket));
        }
        socket.write_all(&ASK).await?;
        // One byte and not more: what a stranger puts behind it must not be taken for a part of what is encrypted.
        match (socket.read_u8().await?, self.mode) {
            (YES, _) => self.handshake.connect(socket).await.map(Either::Right),
            (_, SslMode::Prefer) => Ok(Either::Left(socket)),
            _ => Err(io::Error::other("the server does not support TLS")),
        }
    }
}

impl TlsStream for Merged<Either<Socket, Encrypted>> {
    fn channel_binding(&self) -> ChannelBinding {
        match self.stream() {
            Either::Left(_) => ChannelBinding::none(),
            Either::Right(encrypted) => encrypted.channel_binding(),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

fn verifier(trust: Trust, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let Trust::Signed { ca, by_name } = trust else { return Ok(Arc::new(Anyone(provider.clone()))) };
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            let found = found.map_err(|cause| TlsError::Unusable(cause.to_string()))?;
            if roots.add_parsable_certificates(found).0 == 0 {
                return Err(TlsError::NoCertificates);
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            if roots.add_parsable_certificates(found.certs).0 == 0 {
                return Err(TlsError::NoRoots);
            }
        }
    }
    let checked = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|cause| TlsError::Unusable(cause.to_string()))?;
    Ok(if by_name { checked } else { Arc::new(AnyName(checked)) })
}

/// Asks for no certificate's origin, only that its holder has its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Asks who signed, and not whose name it is. The inner one looks at the signatures before it looks at the name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(certificate, between, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
