//! The server's side of TLS, for tunnels and for visitors whose TLS ends at the
//! relay.

use std::fmt;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use async_io::Async;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerConnection};
use rustls::{Connection as Session, Error, InconsistentKeys, ServerConfig};

use super::ciphers::{has_aes, ignores_client_order, server_provider};
use super::connection::Connection;
use super::handshake::{HandshakeError, handshake};
use super::tls_setup::TlsSetupError;

/// TLS 1.2 fatal alert 49, access_denied: "not here", not "broken"; what both
/// ends of a tunnel say to TLS that they do not serve (`protocol.md` 12.4).
pub const TLS_ACCESS_DENIED: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x31];

/// Protocols inside TLS that are spoken here (RFC 7301): a browser that prefers
/// HTTP/2 is told to take this one.
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// Accepts TLS 1.2 and 1.3 with one certificate, whatever name is asked for.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
}

impl Acceptor {
    /// Takes a certificate with its chain, and its private key, both as PEM;
    /// they may stand in one text.
    ///
    /// # Errors
    /// Says what is missing or does not fit.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsSetupError> {
        let config = server_config(chain, key, has_aes())?;
        Ok(Self { config: Arc::new(config) })
    }

    /// Runs the handshake on an accepted socket, from which `seen` was read
    /// already.
    ///
    /// # Errors
    /// Says what the other end did.
    pub async fn accept(
        &self,
        socket: Async<TcpStream>,
        seen: &[u8],
        deadline: Instant,
    ) -> Result<Connection, AcceptError> {
        let mut session = ServerConnection::new(Arc::clone(&self.config))
            .map(Session::Server)
            .map_err(|error| AcceptError::Handshake(HandshakeError::Protocol(error.to_string())))?;
        handshake(&socket, &mut session, seen, deadline)
            .await
            .ok_or(AcceptError::Timeout)?
            .map_err(AcceptError::Handshake)?;
        Ok(Connection::encrypted(socket, session))
    }
}

/// The server's end on a processor with or without instructions for AES.
pub(super) fn server_config(
    chain: &[u8],
    key: &[u8],
    has_aes: bool,
) -> Result<ServerConfig, TlsSetupError> {
    let bad = |problem: String| TlsSetupError::pem(Path::new(""), &problem);
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(format!("certificate: {error}")))?;
    if chain.is_empty() {
        return Err(bad("holds no certificate (-----BEGIN CERTIFICATE-----)".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        bad(match error {
            pem::Error::NoItemsFound => {
                "holds no private key (-----BEGIN PRIVATE KEY-----, without a password)".into()
            }
            error => format!("private key: {error}"),
        })
    })?;
    let mut config = ServerConfig::builder_with_provider(server_provider(has_aes))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsSetupError::Library(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| bad(unfit(&error)))?;
    // Tickets keep a session's state at the other end, not in our memory.
    config.ticketer = Ticketer::new().map_err(|error| TlsSetupError::Library(error.to_string()))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ignore_client_order = ignores_client_order(has_aes);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

/// Why the library does not take a chain and a key.
fn unfit(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "key and certificate are not a pair".into()
        }
        // Its own words speak of the other end's certificate.
        Error::InvalidCertificate(error) => format!("the certificate is damaged ({error})"),
        error => error.to_string(),
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// Why an accepted socket did not become a connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcceptError {
    /// The handshake failed.
    Handshake(HandshakeError),
    /// The handshake was not done by the deadline.
    Timeout,
}

impl fmt::Display for AcceptError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(error) => error.fmt(formatter),
            Self::Timeout => formatter.write_str("the TLS handshake was not done in time"),
        }
    }
}

impl std::error::Error for AcceptError {}
