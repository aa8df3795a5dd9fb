//! Moving bytes between two connections, each direction for itself: the end of
//! one is passed on and leaves the other open, as `ssh` and `scp` need it.

use std::io;

use smol::future;

use super::BUFFER_BYTES;
use crate::net::Connection;

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
        to.write_all(&buffer[..length]).await.map_err(|_| Broken::Target)?;
        // Whoever has much to say lets the others have their turn.
        future::yield_now().await;
        length = from.read_some(&mut buffer[..]).await.map_err(Broken::Source)?;
        if length == 0 {
            return to.finish().await.map_err(|_| Broken::Target);
        }
    }
}
