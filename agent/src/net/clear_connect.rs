//! The clear-text `CONNECT` with which a PageKite relay is told the name of
//! the certificate it shall show, in place of SNI (`protocol.md` 2.2, mode 2).

use std::io::{self, Read, Write};
use std::net::TcpStream;

use async_io::Async;

use super::socket::printable;
use super::wait::uninterrupted;

/// Longest head of an answer, in bytes. A relay's own has 39.
pub(super) const MAX_HEAD_BYTES: usize = 4096;

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

impl From<io::Error> for ClearConnectError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
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
    let mut rest = request.as_bytes();
    while !rest.is_empty() {
        let mut stream = socket.get_ref();
        match uninterrupted(|| stream.write(rest)) {
            Ok(sent) => rest = &rest[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) => return Err(error.into()),
        }
    }
    let mut head = Vec::new();
    let mut chunk = [0; 256];
    while !is_whole(&head) {
        let seen = match uninterrupted(|| socket.get_ref().peek(&mut chunk)) {
            Ok(0) => return Err(ClearConnectError::Closed),
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.readable().await?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let wanted = take_head(&mut head, &chunk[..seen])?;
        // These bytes are there already; a short read is peeked at again.
        let read = uninterrupted(|| {
            let mut stream = socket.get_ref();
            stream.read(&mut chunk[..wanted])
        })?;
        head.truncate(head.len() - (wanted - read));
    }
    match status(&head) {
        Some((200, _)) => Ok(()),
        Some((other, reason)) => Err(ClearConnectError::Refused(other, reason)),
        None => Err(ClearConnectError::NotHttp),
    }
}

/// Appends what of `chunk` belongs to the head, and says how many bytes.
fn take_head(head: &mut Vec<u8>, chunk: &[u8]) -> Result<usize, ClearConnectError> {
    let mut taken = 0;
    while taken < chunk.len() && !is_whole(head) {
        head.push(chunk[taken]);
        taken += 1;
    }
    let expected = b"HTTP/1.";
    let compared = expected.len().min(head.len());
    if head[..compared] != expected[..compared] || (!is_whole(head) && head.len() > MAX_HEAD_BYTES)
    {
        return Err(ClearConnectError::NotHttp);
    }
    Ok(taken)
}

/// Whether the empty line has come, with or without carriage returns.
fn is_whole(head: &[u8]) -> bool {
    head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n")
}

/// Status code and reason of `HTTP/1.0 200 Connection Established`.
fn status(head: &[u8]) -> Option<(u16, String)> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let rest = line.strip_prefix(b"HTTP/1.0 ").or_else(|| line.strip_prefix(b"HTTP/1.1 "))?;
    let (code, reason) = rest.split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) || !(reason.is_empty() || reason[0] == b' ') {
        return None;
    }
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    let reason = String::from_utf8_lossy(reason);
    Some((code, printable(reason.trim(), 60)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_where_it_ends_however_it_arrives() {
        for whole in [
            &b"HTTP/1.0 200 Connection Established\r\n\r\n"[..],
            b"HTTP/1.1 200\nX: y\n\n",
            b"HTTP/1.0 200 OK\n\r\n",
        ] {
            let sent = [whole, b"\x16\x03\x03"].concat();
            for size in 1..=sent.len() {
                let mut head = Vec::new();
                let mut rest = &sent[..];
                while !is_whole(&head) {
                    let chunk = &rest[..size.min(rest.len())];
                    let taken = take_head(&mut head, chunk).expect("a good head");
                    rest = &rest[taken..];
                }
                assert_eq!(head, whole, "in pieces of {size}");
                assert_eq!(rest, b"\x16\x03\x03");
            }
        }
    }

    #[test]
    fn status_lines_are_taken_strictly() {
        let read = |line: &[u8]| status(line).map(|(code, _)| code);
        assert_eq!(read(b"HTTP/1.0 200 Connection Established\r\n"), Some(200));
        assert_eq!(read(b"HTTP/1.1 503 Unavailable\n"), Some(503));
        assert_eq!(read(b"HTTP/1.1 200\r\n"), Some(200));
        for bad in [
            &b"HTTP/1.2 200 OK\r\n"[..],
            b"HTTP/1.1 2000\r\n",
            b"HTTP/1.1 20\r\n",
            b"HTTP/1.1 +20 x\r\n",
            b"\r\n",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_not_http_is_refused_at_its_first_byte() {
        let mut head = Vec::new();
        assert!(take_head(&mut head, b"\x15\x03\x03").is_err());
        let mut head = Vec::new();
        assert!(take_head(&mut head, b"HTTP/1.1 200 OK\r\n").is_ok());
        assert!(take_head(&mut head, &[b'a'; MAX_HEAD_BYTES]).is_err());
    }
}
