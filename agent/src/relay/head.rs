//! Reads the head of a request from a connection, within a bound of bytes and
//! of time, so that a visitor who sends a byte a minute costs little and not for
//! long.

use std::io;
use std::time::{Duration, Instant};

use crate::http::MAX_HEAD_BYTES;
use crate::http::scan::{Scanned, Scanner};
use crate::net::{Connection, before};
use crate::wire::{MAX_REQUEST_BYTES, TunnelRequest};

/// Time for the whole head, once its first byte has come. Slow mobile links
/// send a kilobyte in a few seconds.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(20);
/// Bytes that are read at once.
const READ_BYTES: usize = 4096;

/// What came in place of a head.
#[derive(Debug)]
pub(crate) enum NoHead {
    /// Nothing, until the connection ended or time was up.
    Nothing,
    /// A part of it, when time was up.
    Late,
    /// Bytes that are no HTTP/1 request.
    NoRequest,
    /// More than [`MAX_HEAD_BYTES`], or [`MAX_REQUEST_BYTES`] of a handshake; this
    /// is how it begins.
    TooLong(Vec<u8>),
    /// The connection ended in the middle, or broke.
    Gone,
}

impl NoHead {
    /// What is known of the head, to tell browsers from programs.
    pub(super) fn beginning(&self) -> &[u8] {
        match self {
            Self::TooLong(head) => head,
            _ => &[],
        }
    }
}

/// Reads a head; what follows it stays unread. `patience` is how long the first
/// byte may take.
pub(crate) async fn read_head(
    connection: &Connection,
    patience: Duration,
) -> Result<Vec<u8>, NoHead> {
    let mut head = Vec::new();
    let mut scanner = Scanner::default();
    let mut deadline = Instant::now() + patience;
    loop {
        let was_empty = head.is_empty();
        match take(connection, &mut scanner, &mut head) {
            Ok(Some(())) => return Ok(head),
            Ok(None) => {
                if was_empty && !head.is_empty() {
                    deadline = Instant::now() + HEAD_TIME;
                }
            }
            Err(Refusal::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Some(Err(_)) = before(deadline, connection.readable()).await {
                    return Err(NoHead::Gone);
                }
            }
            Err(Refusal::Io(_)) if head.is_empty() => return Err(NoHead::Nothing),
            Err(Refusal::Io(_)) => return Err(NoHead::Gone),
            Err(Refusal::NoHead(why)) => return Err(why),
        }
        if Instant::now() >= deadline {
            // Also somebody who sends without end but slowly, and is never idle.
            return Err(if head.is_empty() { NoHead::Nothing } else { NoHead::Late });
        }
    }
}

enum Refusal {
    Io(io::Error),
    NoHead(NoHead),
}

/// Reads once; `Some` when the head is complete.
fn take(
    connection: &Connection,
    scanner: &mut Scanner,
    head: &mut Vec<u8>,
) -> Result<Option<()>, Refusal> {
    let mut buffer = [0; READ_BYTES];
    let length = connection.try_read(&mut buffer).map_err(Refusal::Io)?;
    if length == 0 {
        return Err(Refusal::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    if head.len() + length > MAX_HEAD_BYTES && TunnelRequest::is_tunnel(head) {
        // Some hundred kites are longer than any request of HTTP.
        scanner.allow(MAX_REQUEST_BYTES);
    }
    match scanner.feed(&buffer[..length]) {
        Scanned::More => {
            head.extend_from_slice(&buffer[..length]);
            debug_assert!(head.len() <= MAX_REQUEST_BYTES);
            Ok(None)
        }
        Scanned::End(end) => {
            head.extend_from_slice(&buffer[..end]);
            connection.put_back(&buffer[end..length]);
            Ok(Some(()))
        }
        Scanned::NoRequest => Err(Refusal::NoHead(NoHead::NoRequest)),
        Scanned::TooLong => Err(Refusal::NoHead(NoHead::TooLong(std::mem::take(head)))),
    }
}
