//! Moving bytes between two connections, each direction for itself: the end of
//! one is passed on and leaves the other open, as `ssh` and `scp` need it.

use std::io;

use smol::future;

use super::BUFFER_BYTES;
use crate::net::Connection;

/// Reads what comes next; 0 is the end.
pub(super) async fn read(connection: &Connection, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match connection.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.readable().await?;
            }
            result => return result,
        }
    }
}

/// Writes all of `bytes`, and waits until the kernel has them.
pub(super) async fn write(connection: &Connection, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match connection.try_write(bytes) {
            Ok(taken) => bytes = &bytes[taken..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.writable().await?;
            }
            Err(error) => return Err(error),
        }
    }
    settle(connection, Connection::try_flush).await
}

/// Tells the other end that nothing more will come.
pub(super) async fn finish(connection: &Connection) -> io::Result<()> {
    settle(connection, Connection::shutdown).await
}

async fn settle(
    connection: &Connection,
    step: impl Fn(&Connection) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        match step(connection) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.writable().await?;
            }
            result => return result,
        }
    }
}

/// Carries both directions to their ends; `first` holds `length` bytes from
/// the far end.
///
/// # Errors
/// The far end is lost. That the near one is, is its own affair.
pub(super) async fn both(
    near: &Connection,
    far: &Connection,
    first: Box<[u8; BUFFER_BYTES]>,
    length: usize,
) -> io::Result<()> {
    let up = async {
        match one_way(near, far, Box::new([0; BUFFER_BYTES]), 0).await {
            Err(Broken::Source(_)) => Err(None),
            // What the far end said last is still to be read, and reading
            // finds out why it takes no more.
            Ok(()) | Err(Broken::Target) => Ok(()),
        }
    };
    let down = async {
        one_way(far, near, first, length).await.map_err(|broken| match broken {
            Broken::Source(error) => Some(error),
            Broken::Target => None,
        })
    };
    match future::try_zip(up, down).await {
        Err(Some(error)) => Err(error),
        Ok(_) | Err(None) => Ok(()),
    }
}

/// Which side of a direction broke.
enum Broken {
    Source(io::Error),
    Target,
}

async fn one_way(
    from: &Connection,
    to: &Connection,
    mut buffer: Box<[u8; BUFFER_BYTES]>,
    mut length: usize,
) -> Result<(), Broken> {
    loop {
        write(to, &buffer[..length]).await.map_err(|_| Broken::Target)?;
        // Whoever has much to say lets the others have their turn.
        future::yield_now().await;
        length = read(from, &mut buffer[..]).await.map_err(Broken::Source)?;
        if length == 0 {
            return finish(to).await.map_err(|_| Broken::Target);
        }
    }
}
