//! The client's side of the handshake (RFC 6455 section 4.1): what an agent
//! asks a relay, and whether the answer came from one.

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{PATH, SUBPROTOCOL, VERSION, accept_for, has_token};
use crate::net::socket::{InWords, printable};

/// Longest head of an answer, in bytes. A relay's own has 150; proxies add
/// lines of theirs.
pub const MAX_ANSWER_BYTES: usize = 8 * 1024;
/// The most headers of an answer.
const MAX_HEADERS: usize = 64;

/// A request for a WebSocket, and the answer that is waited for.
#[derive(Debug)]
pub struct ClientHandshake {
    request: String,
    accept: String,
}

/// Why there is no WebSocket.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The answer has another status than 101.
    Refused {
        /// HTTP status code.
        status: u16,
        /// The words beside it.
        reason: String,
    },
    /// The answer agrees, but not to what was asked; in words, to follow "its
    /// answer".
    Wrong(&'static str),
    /// The answer is not HTTP, or its head is longer than
    /// [`MAX_ANSWER_BYTES`].
    NotHttp,
    /// The connection ended before the answer did.
    Closed,
    /// The connection failed.
    Io(io::Error),
}

impl ClientHandshake {
    /// Asks `host`, as a `Host` header has it; `random` are bytes that no
    /// proxy can have seen before.
    pub fn new(host: &str, random: [u8; 16]) -> Self {
        let key = STANDARD.encode(random);
        let request = format!(
            "GET {PATH} HTTP/1.1\r\n\
             Host: {host}\r\n\
             Upgrade: websocket\r\n\
             Connection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Version: {VERSION}\r\n\
             Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\
             \r\n"
        );
        Self { request, accept: accept_for(&key) }
    }

    /// The request, which has no body.
    pub fn request(&self) -> &[u8] {
        self.request.as_bytes()
    }

    /// Checks the head of the answer, its empty line included.
    ///
    /// # Errors
    /// There is no WebSocket; says why.
    pub fn verify(&self, head: &[u8]) -> Result<(), UpgradeError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        let status = match answer.parse(head) {
            Ok(httparse::Status::Complete(_)) => answer.code,
            _ => None,
        };
        let status = status.ok_or(UpgradeError::NotHttp)?;
        if status != 101 {
            let reason = printable(answer.reason.unwrap_or_default().trim(), 60);
            return Err(UpgradeError::Refused { status, reason });
        }
        let mut upgrade = false;
        let mut connection = false;
        let (mut accepts, mut protocols) = (Vec::new(), Vec::new());
        for httparse::Header { name, value } in answer.headers.iter() {
            match *name {
                _ if name.eq_ignore_ascii_case("Upgrade") => {
                    upgrade |= has_token(value, "websocket");
                }
                _ if name.eq_ignore_ascii_case("Connection") => {
                    connection |= has_token(value, "upgrade");
                }
                _ if name.eq_ignore_ascii_case("Sec-WebSocket-Accept") => accepts.push(*value),
                _ if name.eq_ignore_ascii_case("Sec-WebSocket-Protocol") => protocols.push(*value),
                _ if name.eq_ignore_ascii_case("Sec-WebSocket-Extensions") => {
                    return Err(UpgradeError::Wrong("has an extension that nobody asked for"));
                }
                _ => {}
            }
        }
        if !upgrade || !connection {
            return Err(UpgradeError::Wrong("does not say that this is a WebSocket now"));
        }
        if accepts != [self.accept.as_bytes()] {
            return Err(UpgradeError::Wrong("belongs to another request"));
        }
        if protocols != [SUBPROTOCOL.as_bytes()] {
            return Err(UpgradeError::Wrong("does not name the protocol of Kitelet's relays"));
        }
        Ok(())
    }
}

/// What to do without WebSocket, and when.
const WAY_OUT: &str = "; remove wschunks if this network lets ordinary tunnels through";

impl fmt::Display for UpgradeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = match self {
            Self::Closed => {
                formatter.write_str("the connection was closed after the WebSocket request")?;
                "; it is no Kitelet relay, or a proxy on the way lets no WebSocket through"
            }
            Self::Io(error) => {
                return write!(formatter, "connection lost: {}", InWords(error));
            }
            Self::NotHttp => {
                formatter.write_str("the answer to the WebSocket request was not HTTP")?;
                "; is the port right?"
            }
            Self::Wrong(problem) => {
                write!(formatter, "its answer to the WebSocket request {problem}")?;
                "; a proxy on the way changes it, or it is no Kitelet relay"
            }
            Self::Refused { status, reason } => {
                let space = if reason.is_empty() { "" } else { " " };
                write!(formatter, "no WebSocket was opened (HTTP {status}{space}{reason})")?;
                match status {
                    407 => "; a proxy on the way asks for a password",
                    426 => "; it wants another version of WebSocket, so it is no Kitelet relay",
                    502..=504 => {
                        "; it is no Kitelet relay, or it is down behind the proxy that answered"
                    }
                    _ => "; it is no Kitelet relay, or a proxy on the way answered in its place",
                }
            }
        };
        formatter.write_str(cause)?;
        formatter.write_str(WAY_OUT)
    }
}

impl std::error::Error for UpgradeError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake() -> ClientHandshake {
        // The key of RFC 6455 section 1.3.
        ClientHandshake::new("relay.test", *b"the sample nonce")
    }

    fn answer(lines: &str) -> Result<(), UpgradeError> {
        handshake().verify(format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n").as_bytes())
    }

    const UPGRADE: &str = "Upgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n";
    const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    const PROTOCOL: &str = "sec-websocket-protocol: tunnel.kitelet\r\n";

    #[test]
    fn the_request_has_what_the_rfc_asks_for_and_no_more() {
        let handshake = handshake();
        let request = std::str::from_utf8(handshake.request()).expect("text");
        assert_eq!(
            request,
            "GET /.kitelet/tunnel HTTP/1.1\r\nHost: relay.test\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: tunnel.kitelet\r\n\r\n"
        );
    }

    #[test]
    fn a_whole_answer_is_taken() {
        answer(&format!("{UPGRADE}Server: proxy\r\n{ACCEPT}{PROTOCOL}")).expect("taken");
    }

    #[test]
    fn an_answer_in_which_anything_is_missing_or_wrong_is_not() {
        for lines in [
            format!("Upgrade: websocket\r\n{ACCEPT}{PROTOCOL}"),
            format!("Connection: Upgrade\r\n{ACCEPT}{PROTOCOL}"),
            format!("Connection: Upgrade\r\nUpgrade: h2c\r\n{ACCEPT}{PROTOCOL}"),
            format!("{UPGRADE}{PROTOCOL}"),
            format!("{UPGRADE}{ACCEPT}{ACCEPT}{PROTOCOL}"),
            format!("{UPGRADE}{}{PROTOCOL}", ACCEPT.to_ascii_lowercase()),
            format!("{UPGRADE}{ACCEPT}"),
            format!("{UPGRADE}{ACCEPT}Sec-WebSocket-Protocol: v1.pagekite.org\r\n"),
            format!("{UPGRADE}{ACCEPT}{PROTOCOL}Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        ] {
            let error = answer(&lines).expect_err(&lines);
            assert!(matches!(error, UpgradeError::Wrong(_)), "{error}");
            assert!(error.to_string().contains("wschunks"), "{error}");
        }
    }

    #[test]
    fn refusals_say_who_may_have_refused() {
        for (head, words) in [
            ("HTTP/1.1 404 Not Found\r\n\r\n", "(HTTP 404 Not Found); it is no Kitelet relay"),
            ("HTTP/1.0 503\r\n\r\n", "(HTTP 503); it is no Kitelet relay, or it is down"),
            ("HTTP/1.1 407 Auth\r\n\r\n", "asks for a password"),
            ("HTTP/1.1 426 Upgrade\r\n\r\n", "another version"),
            ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", "(HTTP 200 OK); it is no"),
            ("SSH-2.0-OpenSSH\r\n\r\n", "was not HTTP"),
            ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "was not HTTP"),
            ("", "was not HTTP"),
        ] {
            let text = handshake().verify(head.as_bytes()).expect_err(head).to_string();
            assert!(text.contains(words), "{head:?}: {text}");
        }
    }
}
