//! A `CONNECT` in clear and the head of its answer (RFC 9110 section 9.3.6),
//! as relays and HTTP proxies are asked with. Not a byte behind the head is
//! taken from the socket: what follows belongs to whoever is behind.

use std::io::{self, Read};
use std::net::TcpStream;

use async_io::Async;

use super::socket::printable;
use super::wait::uninterrupted;
use super::whole::write_whole;

/// Longest head of an answer, in bytes. A relay's own has 39; proxies that ask
/// for a password add some hundred, and cookies may make it thousands.
pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Most that is looked at in one go.
const CHUNK_BYTES: usize = 512;
/// Characters of a reason that are kept.
const MAX_REASON_CHARACTERS: usize = 60;
/// How all answers begin; anything else is known for none at its first byte.
const HTTP: &[u8] = b"HTTP/1.";

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The answer is not HTTP.
    NotHttp,
    /// Its head has more than [`MAX_HEAD_BYTES`].
    TooLong,
    /// The connection ended before the head did.
    Closed,
    /// The connection failed.
    Io(io::Error),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// Sends `request` and reads the head of the answer.
pub(super) async fn ask(
    socket: &Async<TcpStream>,
    request: &[u8],
) -> Result<AnswerHead, ConnectError> {
    write_whole(socket, request).await?;
    let mut head = AnswerHead::default();
    let mut chunk = [0; CHUNK_BYTES];
    while !head.is_whole() {
        let seen = match uninterrupted(|| socket.get_ref().peek(&mut chunk)) {
            Ok(0) => return Err(ConnectError::Closed),
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.readable().await?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let wanted = head.take(&chunk[..seen])?;
        // These bytes are there already.
        let mut socket = socket.get_ref();
        socket.read_exact(&mut chunk[..wanted])?;
    }
    Ok(head)
}

/// The head of an answer, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct AnswerHead {
    bytes: Vec<u8>,
}

impl AnswerHead {
    /// Takes what of `chunk` belongs to the head, and says how many bytes.
    ///
    /// # Errors
    /// It is no head, or has no end.
    pub(super) fn take(&mut self, chunk: &[u8]) -> Result<usize, ConnectError> {
        let mut taken = 0;
        for byte in chunk {
            if self.is_whole() {
                break;
            }
            self.bytes.push(*byte);
            taken += 1;
        }
        let compared = HTTP.len().min(self.bytes.len());
        if self.bytes[..compared] != HTTP[..compared] {
            return Err(ConnectError::NotHttp);
        }
        if self.bytes.len() > MAX_HEAD_BYTES {
            return Err(ConnectError::TooLong);
        }
        Ok(taken)
    }

    /// Whether the empty line has come, with or without carriage returns.
    pub(super) fn is_whole(&self) -> bool {
        self.bytes.ends_with(b"\n\r\n") || self.bytes.ends_with(b"\n\n")
    }

    /// Status code and reason of `HTTP/1.0 200 Connection Established`.
    pub(super) fn status(&self) -> Option<(u16, String)> {
        let line = self.lines().next()?;
        let rest = line.strip_prefix(b"HTTP/1.0 ").or_else(|| line.strip_prefix(b"HTTP/1.1 "))?;
        let (code, reason) = rest.split_at_checked(3)?;
        if !code.iter().all(u8::is_ascii_digit) || !(reason.is_empty() || reason[0] == b' ') {
            return None;
        }
        let code = std::str::from_utf8(code).ok()?.parse().ok()?;
        let reason = String::from_utf8_lossy(reason);
        Some((code, printable(reason.trim(), MAX_REASON_CHARACTERS)))
    }

    /// The values of all headers `name`.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.lines().skip(1).filter_map(move |line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (found, value) = line.split_at(colon);
            let same = found.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
            same.then(|| value.strip_prefix(b":").unwrap_or_default().trim_ascii())
        })
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.bytes.split(|byte| *byte == b'\n');
        lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    }
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
                let mut head = AnswerHead::default();
                let mut rest = &sent[..];
                while !head.is_whole() {
                    let chunk = &rest[..size.min(rest.len())];
                    let taken = head.take(chunk).expect("a good head");
                    rest = &rest[taken..];
                }
                assert_eq!(head.bytes, whole, "in pieces of {size}");
                assert_eq!(rest, b"\x16\x03\x03");
            }
        }
    }

    #[test]
    fn status_lines_are_taken_strictly() {
        let read = |line: &[u8]| {
            let head = AnswerHead { bytes: line.to_vec() };
            head.status().map(|(code, _)| code)
        };
        assert_eq!(read(b"HTTP/1.0 200 Connection Established\r\n"), Some(200));
        assert_eq!(read(b"HTTP/1.1 503 Unavailable\n"), Some(503));
        assert_eq!(read(b"HTTP/1.1 200\r\n"), Some(200));
        for bad in [
            &b"HTTP/1.2 200 OK\r\n"[..],
            b"HTTP/1.1 2000\r\n",
            b"HTTP/1.1 20\r\n",
            b"HTTP/1.1 +20 x\r\n",
            b"\r\n",
            b"",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_not_http_is_refused_at_its_first_byte() {
        let mut head = AnswerHead::default();
        assert!(matches!(head.take(b"\x15\x03\x03"), Err(ConnectError::NotHttp)));
    }

    #[test]
    fn a_head_without_end_is_given_up() {
        let mut head = AnswerHead::default();
        head.take(b"HTTP/1.1 200 OK\r\n").expect("a good beginning");
        let line = [b'a'; 1000];
        let given_up = (0..=MAX_HEAD_BYTES / line.len()).find_map(|_| head.take(&line).err());
        assert!(matches!(given_up, Some(ConnectError::TooLong)));
        assert!(head.bytes.len() <= MAX_HEAD_BYTES + line.len());
    }

    #[test]
    fn headers_are_found_whatever_their_case() {
        let text = b"HTTP/1.1 407 X\r\nproxy-authenticate: NTLM\r\nX: y\r\nnone\r\n\
                     Proxy-Authenticate:Basic realm=\"a\"\r\n\r\n";
        let head = AnswerHead { bytes: text.to_vec() };
        let values: Vec<_> = head.values("Proxy-Authenticate").collect();
        assert_eq!(values, [&b"NTLM"[..], b"Basic realm=\"a\""]);
    }
}
