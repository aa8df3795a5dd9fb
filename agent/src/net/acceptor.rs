//! The server's side of TLS, for whoever accepts tunnels.

use std::fmt;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use async_io::Async;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConnection, ServerSessionMemoryCache};
use rustls::{Connection as Session, ServerConfig};

use super::connection::Connection;
use super::handshake::{HandshakeError, handshake};
use super::socket::SocketOptions;
use super::tls_setup::{TlsSetupError, provider};

/// Sessions that are kept for resumption.
const SESSIONS_KEPT: usize = 32;

/// Accepts TLS with one certificate, whatever name is asked for.
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
        let bad = |problem: String| TlsSetupError::pem(Path::new(""), &problem);
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| bad(format!("certificate: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| bad(format!("private key: {error}")))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsSetupError::Library(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| bad(error.to_string()))?;
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_KEPT);
        Ok(Self { config: Arc::new(config) })
    }

    /// Runs the handshake on an accepted socket.
    ///
    /// # Errors
    /// Says what the other end did.
    pub async fn accept(
        &self,
        socket: Async<TcpStream>,
        deadline: Instant,
    ) -> Result<Connection, AcceptError> {
        SocketOptions::TUNNEL
            .apply(socket.get_ref())
            .map_err(|error| AcceptError::Handshake(HandshakeError::Io(error)))?;
        let mut session = ServerConnection::new(Arc::clone(&self.config))
            .map(Session::Server)
            .map_err(|error| AcceptError::Handshake(HandshakeError::Protocol(error.to_string())))?;
        handshake(&socket, &mut session, deadline)
            .await
            .ok_or(AcceptError::Timeout)?
            .map_err(AcceptError::Handshake)?;
        Ok(Connection::encrypted(socket, session))
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
