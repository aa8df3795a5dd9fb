//! Writes short answers of the relay's own to a connection, and closes it so
//! that the other end gets to read them.

use std::io;
use std::time::{Duration, Instant};

use smol::future;

use crate::net::{Connection, before};

/// Time for the other end to take an answer of ours.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// Time that a closed connection is still read, and how much of it: a kernel
/// that gets bytes for a closed socket resets the connection, and the other end
/// may lose the answer by that. Browsers read an answer when all of their upload
/// has gone: a photo by a slow link takes so long.
const LINGER_TIME: Duration = Duration::from_secs(30);
const LINGER_BYTES: usize = 64 * 1024 * 1024;
/// Time without a byte after which the other end has sent all that it will.
const LINGER_PAUSE: Duration = Duration::from_secs(2);
/// Bytes that are thrown away at once.
const READ_BYTES: usize = 4096;

/// Writes all of `bytes`.
///
/// # Errors
/// The connection broke, or the other end took too long.
pub(crate) async fn write(connection: &Connection, bytes: &[u8]) -> io::Result<()> {
    within(WRITE_TIME, connection.write_all(bytes)).await
}

/// Closes a connection: says that nothing more will come, and reads for a
/// while what the other end still sends.
pub(super) async fn close(connection: &Connection) {
    let end = Instant::now() + LINGER_TIME;
    if within(LINGER_PAUSE, connection.finish()).await.is_err() {
        return;
    }
    let mut left = LINGER_BYTES;
    while left > 0 && Instant::now() < end {
        match throw_away(connection) {
            Ok(0) => return,
            Ok(length) => {
                left = left.saturating_sub(length);
                // Others have their turn, however fast this one sends.
                future::yield_now().await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if within(LINGER_PAUSE, connection.readable()).await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// Writes an answer and closes the connection.
pub(super) async fn answer(connection: &Connection, bytes: &[u8]) {
    if write(connection, bytes).await.is_ok() {
        close(connection).await;
    }
}

/// Reads into a buffer that a waiting task does not hold.
fn throw_away(connection: &Connection) -> io::Result<usize> {
    connection.try_read(&mut [0; READ_BYTES])
}

async fn within(limit: Duration, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    before(Instant::now() + limit, work).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}
