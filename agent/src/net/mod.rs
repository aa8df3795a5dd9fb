//! Sockets, TLS and DNS: everything that waits for, or fails because of, the
//! network. Nothing outside this room names `rustls`, and nothing inside it
//! knows a frame of PageKite's.
//!
//! Every socket is non-blocking and lives in the reactor of the one thread.
//! Names are looked up on threads of their own ([`resolve`]), and all waiting
//! has a deadline by the monotonic clock.

mod acceptor;
mod addresses;
mod certificate;
mod certificate_clock;
mod ciphers;
mod clear_connect;
mod connection;
mod connector;
mod dial;
mod handshake;
#[cfg(feature = "relay")]
mod held;
mod http_connect;
mod http_proxy;
mod no_keys;
mod open_error;
mod opening;
mod ping;
mod proxy_error;
mod resolve;
mod route;
#[cfg(feature = "relay")]
mod self_signed;
#[cfg(unix)]
mod service;
mod socket;
mod socks5;
mod tls_setup;
mod upgrade;
mod wait;
pub mod websocket;
mod whole;

pub use acceptor::{AcceptError, Acceptor, TLS_ACCESS_DENIED};
pub use addresses::{Addresses, PATIENCE_WITH_MEMORY};
pub use certificate::{CertificateFault, CertificateProblem};
pub use certificate_clock::{BUILT, CERTIFICATE_CLOCK, CertificateClock, clock_is_set};
pub use connection::{Connection, OUTGOING_LIMIT};
pub use connector::{
    CONNECT_TIMEOUT, Connector, DIAL_TIMEOUT, Opening, PROXY_TIMEOUT, TLS_TIMEOUT, Timeouts,
};
#[cfg(unix)]
pub use dial::connect_unix;
pub use dial::{ATTEMPT_DELAY, ATTEMPT_PATIENCE, DialError, FailedAttempt, MAX_ATTEMPTS, connect};
pub use handshake::HandshakeError;
#[cfg(feature = "relay")]
pub use held::HeldCertificate;
pub use http_proxy::HttpProxyFault;
pub use open_error::{OpenError, OpenFailure, OpenStep};
pub use opening::OpeningChoice;
pub use ping::{PING_TIMEOUT, Ping, ping};
pub use proxy_error::{ProxyError, ProxyFailure};
pub use resolve::{
    LOOKUP_DEADLINE, LOOKUP_THREADS, MAX_ADDRESSES, MAX_LOOKUPS, ResolveError, ResolveFailure,
    resolve, resolve_until,
};
#[cfg(feature = "relay")]
pub use self_signed::SelfSigned;
#[cfg(unix)]
pub use service::{ServiceSocket, dial_service};
#[cfg(feature = "connect")]
pub(crate) use socket::in_words;
pub use socket::{Socket, SocketOptions};
pub use socks5::SocksFault;
pub use tls_setup::{MAX_PEM_BYTES, SESSIONS_KEPT, TlsSetupError, read_pem};
pub(crate) use wait::before;
