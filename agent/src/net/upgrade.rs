//! Turns a connection to a relay into a WebSocket: sends the request, reads
//! the head of the answer.

use std::io;

use ring::rand::{SecureRandom, SystemRandom};

use super::connection::Connection;
use super::websocket::{ClientHandshake, End, MAX_ANSWER_BYTES, UpgradeError};

/// How all answers begin; anything else is known for none at its first byte.
const HTTP: &[u8] = b"HTTP/1.";

/// Asks `host`, as a `Host` header has it, for a WebSocket with a tunnel in it.
pub(super) async fn upgrade(
    connection: Connection,
    host: &str,
) -> Result<Connection, UpgradeError> {
    let mut nonce = [0; 16];
    fill_random(&mut nonce);
    let handshake = ClientHandshake::new(host, nonce);
    connection.write_all(handshake.request()).await?;
    let mut answer = Vec::new();
    let mut seen = 0;
    let end = loop {
        if let Some(end) = head_end(&answer, seen) {
            break end;
        }
        seen = answer.len();
        let length = answer.len().min(HTTP.len());
        if answer[..length] != HTTP[..length] || answer.len() >= MAX_ANSWER_BYTES {
            return Err(UpgradeError::NotHttp);
        }
        let mut chunk = [0; 1024];
        match connection.read_some(&mut chunk).await? {
            0 => return Err(UpgradeError::Closed),
            length => answer.extend_from_slice(&chunk[..length]),
        }
    };
    let rest = answer.split_off(end);
    handshake.verify(&answer)?;
    Ok(connection.into_websocket(End::Client { random: fill_random }, rest))
}

/// Where the head ends: behind its empty line, with or without carriage
/// returns. In the first `seen` bytes it does not.
fn head_end(answer: &[u8], seen: usize) -> Option<usize> {
    let ends = |at: &usize| answer[..*at].ends_with(b"\n\r\n") || answer[..*at].ends_with(b"\n\n");
    (seen + 1..=answer.len()).find(ends)
}

fn fill_random(bytes: &mut [u8]) {
    // getrandom(2) fails on kernels before 3.17 only, where `ring` reads
    // /dev/urandom; without either, masks and nonces would repeat, which TLS
    // makes harmless.
    let _ = SystemRandom::new().fill(bytes);
}

impl From<io::Error> for UpgradeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_behind_its_first_empty_line() {
        for (answer, end) in [
            (&b"HTTP/1.1 101 S\r\nA: b\r\n\r\nrest\r\n\r\n"[..], Some(24)),
            (b"HTTP/1.1 101 S\nA: b\n\nrest", Some(21)),
            (b"HTTP/1.1 101 S\r\n\r", None),
            (b"", None),
        ] {
            for seen in 0..end.unwrap_or(answer.len()) {
                assert_eq!(head_end(answer, seen), end);
            }
        }
    }
}
