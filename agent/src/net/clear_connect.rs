//! The clear-text `CONNECT` with which a PageKite relay is told the name of
//! the certificate it shall show, in place of SNI (`protocol.md` 2.2, mode 2).

use std::io;
use std::net::TcpStream;

use async_io::Async;

use super::http_connect::{ConnectError, ask};

/// Why TLS cannot begin.
#[derive(Debug)]
pub(super) enum ClearConnectError {
    /// The relay answered with another status than 200.
    Refused(u16, String),
    /// The answer was not HTTP or had no end.
    NotHttp,
    /// The connection ended before the answer did.
    Closed,
    Io(io::Error),
}

impl From<ConnectError> for ClearConnectError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::NotHttp | ConnectError::TooLong => Self::NotHttp,
            ConnectError::Closed => Self::Closed,
            ConnectError::Io(error) => Self::Io(error),
        }
    }
}

/// Asks for the certificate of `name` and reads the head of the answer. Not a
/// byte behind the head is taken from the socket.
pub(super) async fn clear_connect(
    socket: &Async<TcpStream>,
    name: &str,
) -> Result<(), ClearConnectError> {
    let request = format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}\r\n\r\n");
    match ask(socket, request.as_bytes()).await?.status() {
        Some((200, _)) => Ok(()),
        Some((other, reason)) => Err(ClearConnectError::Refused(other, reason)),
        None => Err(ClearConnectError::NotHttp),
    }
}
