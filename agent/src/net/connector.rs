//! The way to a relay: look up, connect, and TLS as the configuration wants it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::ClientConnection;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, Connection as Session};

use super::addresses::Addresses;
use super::clear_connect::{ClearConnectError, clear_connect};
use super::connection::Connection;
use super::handshake::handshake;
use super::open_error::{OpenError, OpenFailure, OpenStep};
use super::route::reach;
use super::socket::SocketOptions;
use super::tls_setup::{TlsSetupError, client_config};
use super::upgrade::upgrade;
use super::wait;
use crate::config::{ProxySettings, RelayAddress, Security};

/// Longest time for a TCP connection to any of a relay's addresses.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for a proxy to connect to a relay. Tor takes half a minute to
/// find an onion service, and other proxies as long to give a dead host up.
pub const PROXY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time for the answer to the `CONNECT` in clear, to the request for a
/// WebSocket, or to the greeting of a proxy.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for the TLS handshake, which takes several round trips of a
/// mobile uplink and a slow processor's arithmetic.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(15);

/// Ports that a `Host` header leaves out (RFC 9110 section 4.2).
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// How TLS to a relay begins (`protocol.md` 2.2 and 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// At once, with SNI.
    Direct,
    /// After a `CONNECT` in clear that names the certificate, without SNI.
    ClearConnect,
}

/// How long each step may take, the constants above by default. A lookup has
/// its own limit, [`super::LOOKUP_DEADLINE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A TCP connection to any of the relay's addresses, or the proxy's.
    pub dial: Duration,
    /// The answer of a proxy that connects to the relay.
    pub proxy: Duration,
    /// The answer to the `CONNECT` in clear, to the request for a WebSocket, or
    /// to the greeting of a proxy.
    pub connect: Duration,
    /// The TLS handshake.
    pub tls: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            dial: DIAL_TIMEOUT,
            proxy: PROXY_TIMEOUT,
            connect: CONNECT_TIMEOUT,
            tls: TLS_TIMEOUT,
        }
    }
}

/// Opens connections to relays; made once from the configuration, because the
/// roots and the sessions for resumption are shared.
pub struct Connector {
    tls: Option<Tls>,
    proxy: ProxySettings,
    websocket: bool,
    timeouts: Timeouts,
    options: SocketOptions,
}

struct Tls {
    with_sni: Arc<ClientConfig>,
    without_sni: Arc<ClientConfig>,
    /// The first `fe_certname`.
    name: Option<String>,
}

impl Connector {
    /// Reads the roots and prepares TLS.
    ///
    /// # Errors
    /// Names the option or the file that has to be mended.
    pub fn new(security: &Security) -> Result<Self, TlsSetupError> {
        let tls = match security {
            Security::Plain => None,
            Security::Tls(settings) => {
                let with_sni = client_config(settings)?;
                let mut without_sni = with_sni.clone();
                without_sni.enable_sni = false;
                Some(Tls {
                    with_sni: Arc::new(with_sni),
                    without_sni: Arc::new(without_sni),
                    name: settings.names.first().map(|first| first.name.clone()),
                })
            }
        };
        let (timeouts, options) = (Timeouts::default(), SocketOptions::TUNNEL);
        Ok(Self { tls, proxy: ProxySettings::default(), websocket: false, timeouts, options })
    }

    /// The same with other timeouts.
    #[must_use]
    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// The same with other socket options than those of a tunnel.
    #[must_use]
    pub fn with_socket_options(self, options: SocketOptions) -> Self {
        Self { options, ..self }
    }

    /// The same through a proxy, or not.
    #[must_use]
    pub fn through(self, proxy: ProxySettings) -> Self {
        Self { proxy, ..self }
    }

    /// The same with everything inside a WebSocket, or not.
    #[must_use]
    pub fn inside_websocket(self, websocket: bool) -> Self {
        Self { websocket, ..self }
    }

    /// Opens a connection to `relay`. Without TLS, `opening` has no meaning,
    /// and inside a WebSocket it is always [`Opening::Direct`]: the networks
    /// that need one know nothing else.
    ///
    /// # Errors
    /// Says what happened and what can be mended; see
    /// [`OpenError::suggests_clear_connect`] as well.
    pub async fn open(
        &self,
        relay: &RelayAddress,
        opening: Opening,
    ) -> Result<Connection, OpenError> {
        self.open_at(relay, &Addresses::default(), opening).await
    }

    /// As [`Self::open`], with what is known about the relay's addresses.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_at(
        &self,
        relay: &RelayAddress,
        addresses: &Addresses,
        opening: Opening,
    ) -> Result<Connection, OpenError> {
        self.try_open(relay, addresses, opening).await.map_err(|failure| OpenError {
            relay: relay.clone(),
            has_names: self.tls.as_ref().is_some_and(|tls| tls.name.is_some()),
            failure,
        })
    }

    async fn try_open(
        &self,
        relay: &RelayAddress,
        known: &Addresses,
        opening: Opening,
    ) -> Result<Connection, OpenFailure> {
        known.reached.set(None);
        let socket = reach(relay, known, &self.proxy, self.options, self.timeouts).await?;
        let Some(tls) = &self.tls else {
            let connection = Connection::plain(socket);
            return self.finish(connection, &relay.host, relay.port, HTTP_PORT).await;
        };
        let name = tls.name.as_ref().unwrap_or(&relay.host);
        let expected = ServerName::try_from(name.clone()).map_err(|_| OpenFailure::Name)?;
        let config = match opening {
            _ if self.websocket => &tls.with_sni,
            Opening::Direct => &tls.with_sni,
            Opening::ClearConnect => {
                let deadline = Instant::now() + self.timeouts.connect;
                let authority = bracketed(name);
                wait::before(deadline, clear_connect(&socket, &authority))
                    .await
                    .ok_or(OpenFailure::Timeout(OpenStep::Connect))?
                    .map_err(|error| connect_failure(error, &authority))?;
                &tls.without_sni
            }
        };
        let mut session = ClientConnection::new(Arc::clone(config), expected)
            .map(Session::Client)
            .map_err(|error| OpenFailure::Tls(error.to_string()))?;
        let deadline = Instant::now() + self.timeouts.tls;
        handshake(&socket, &mut session, &[], deadline)
            .await
            .ok_or(OpenFailure::Timeout(OpenStep::Tls))??;
        let connection = Connection::encrypted(socket, session);
        self.finish(connection, name, relay.port, HTTPS_PORT).await
    }

    /// Opens the WebSocket, where one is wanted, at the server `name`.
    async fn finish(
        &self,
        connection: Connection,
        name: &str,
        port: u16,
        usual_port: u16,
    ) -> Result<Connection, OpenFailure> {
        if !self.websocket {
            return Ok(connection);
        }
        let mut host = bracketed(name);
        if port != usual_port {
            host = format!("{host}:{port}");
        }
        let deadline = Instant::now() + self.timeouts.connect;
        wait::before(deadline, upgrade(connection, &host))
            .await
            .ok_or(OpenFailure::Timeout(OpenStep::WebSocket))?
            .map_err(OpenFailure::WebSocket)
    }
}

/// A name or address as it stands before a port.
fn bracketed(name: &str) -> String {
    if name.contains(':') { format!("[{name}]") } else { name.to_owned() }
}

fn connect_failure(error: ClearConnectError, name: &str) -> OpenFailure {
    match error {
        ClearConnectError::Refused(status, reason) => {
            OpenFailure::ConnectRefused { name: name.to_owned(), status, reason }
        }
        ClearConnectError::NotHttp => OpenFailure::ConnectGarbled,
        ClearConnectError::Closed => OpenFailure::ConnectClosed,
        ClearConnectError::Io(error) => OpenFailure::Io(error),
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connector")
            .field("tls", &self.tls.is_some())
            .field("proxy", &self.proxy.to_string())
            .field("websocket", &self.websocket)
            .field("timeouts", &self.timeouts)
            .field("options", &self.options)
            .finish()
    }
}
