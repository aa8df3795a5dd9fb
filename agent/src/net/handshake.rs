//! The TLS handshake of either end, over a socket that does not block.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::time::Instant;

use async_io::Async;
use rustls::CertificateError;

use super::certificate::CertificateProblem;
use super::socket::{InWords, printable};
use super::wait;

/// TLS record content types in use (RFC 8446 section 5.1, RFC 6520).
const CONTENT_TYPES: std::ops::RangeInclusive<u8> = 20..=24;

/// Why a TLS handshake did not come to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The other end closed or reset the connection.
    Closed,
    /// The other end sent this alert.
    Alert(String),
    /// The first bytes were no TLS; whether they looked like HTTP.
    NotTls {
        /// They began as an HTTP response does.
        http: bool,
    },
    /// The other end's certificate was not accepted.
    Certificate(Box<CertificateProblem>),
    /// The two ends cannot agree, or the other end broke the protocol.
    Protocol(String),
    /// The connection failed.
    Io(io::Error),
}

impl HandshakeError {
    fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }

    fn from_tls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) => Self::Alert(spaced(&format!("{alert:?}"))),
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                match other.0.downcast_ref::<CertificateProblem>() {
                    Some(problem) => Self::Certificate(Box::new(problem.clone())),
                    None => Self::Protocol(printable(&error.to_string(), 160)),
                }
            }
            _ => Self::Protocol(printable(&error.to_string(), 160)),
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => formatter.write_str("the connection was closed during the handshake"),
            Self::Alert(alert) => write!(formatter, "TLS was refused ({alert})"),
            Self::NotTls { http: true } => formatter.write_str("the answer was HTTP without TLS"),
            Self::NotTls { http: false } => formatter.write_str("the answer was not TLS"),
            Self::Certificate(problem) => problem.fmt(formatter),
            Self::Protocol(text) => write!(formatter, "TLS failed: {text}"),
            Self::Io(error) => write!(formatter, "TLS failed: {}", InWords(error)),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// `AccessDenied` as "access denied".
fn spaced(camel_case: &str) -> String {
    let mut words = String::with_capacity(camel_case.len() + 4);
    for letter in camel_case.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

/// Runs the handshake to its end; `None` when the deadline came first. All
/// that this end has to say is sent by then. `seen` was read from the socket
/// already.
pub(super) async fn handshake(
    socket: &Async<TcpStream>,
    session: &mut rustls::Connection,
    seen: &[u8],
    deadline: Instant,
) -> Option<Result<(), HandshakeError>> {
    wait::before(deadline, exchange(socket, session, seen)).await
}

async fn exchange(
    socket: &Async<TcpStream>,
    session: &mut rustls::Connection,
    mut seen: &[u8],
) -> Result<(), HandshakeError> {
    let mut anything_read = !seen.is_empty();
    while !seen.is_empty() {
        // From memory it takes at least a byte, or fails for good.
        session.read_tls(&mut seen).map_err(HandshakeError::from_io)?;
        if let Err(error) = session.process_new_packets() {
            let _ = send(socket, session);
            return Err(HandshakeError::from_tls(&error));
        }
    }
    loop {
        while session.wants_write() {
            match send(socket, session) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.writable().await.map_err(HandshakeError::Io)?;
                }
                Err(error) => return Err(HandshakeError::from_io(error)),
            }
        }
        if !session.is_handshaking() {
            return Ok(());
        }
        match receive(socket, session, &mut anything_read) {
            Ok(()) => {}
            Err(HandshakeError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.readable().await.map_err(HandshakeError::Io)?;
            }
            Err(error) => {
                // An alert may be ready, and the other end's log gains by it.
                let _ = send(socket, session);
                return Err(error);
            }
        }
    }
}

/// Writes what TLS has ready; `WouldBlock` while bytes are left.
pub(super) fn send(socket: &Async<TcpStream>, session: &mut rustls::Connection) -> io::Result<()> {
    while session.wants_write() {
        let sent = wait::uninterrupted(|| session.write_tls(&mut socket.get_ref()))?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

fn receive(
    socket: &Async<TcpStream>,
    session: &mut rustls::Connection,
    anything_read: &mut bool,
) -> Result<(), HandshakeError> {
    if !*anything_read {
        let mut first = [0; 5];
        let peeked = wait::uninterrupted(|| socket.get_ref().peek(&mut first))
            .map_err(HandshakeError::from_io)?;
        if peeked > 0 && !CONTENT_TYPES.contains(&first[0]) {
            let http = b"HTTP/".starts_with(&first[..peeked]);
            return Err(HandshakeError::NotTls { http });
        }
        *anything_read = true;
    }
    let read = wait::uninterrupted(|| session.read_tls(&mut socket.get_ref()))
        .map_err(HandshakeError::from_io)?;
    if read == 0 {
        return Err(HandshakeError::Closed);
    }
    match session.process_new_packets() {
        Ok(_) => Ok(()),
        Err(error) => Err(HandshakeError::from_tls(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_words() {
        assert_eq!(spaced("AccessDenied"), "access denied");
    }
}
