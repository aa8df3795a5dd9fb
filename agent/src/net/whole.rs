//! Reading, writing and closing a [`Connection`], or the bare socket before it,
//! where a task has nothing else to do meanwhile.

use std::io::{self, Write};
use std::net::TcpStream;

use async_io::Async;

use super::connection::Connection;
use super::wait::uninterrupted;

/// Writes all of `bytes` to a socket that is no [`Connection`] yet.
///
/// # Errors
/// The connection is lost.
pub(super) async fn write_whole(socket: &Async<TcpStream>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut stream = socket.get_ref();
        match uninterrupted(|| stream.write(bytes)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Connection {
    /// Reads what comes next, as soon as something does; 0 is the end.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn read_some(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable().await?,
                result => return result,
            }
        }
    }

    /// Writes all of `bytes`, and waits until the kernel has them.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(taken) => bytes = &bytes[taken..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
        self.settle(Self::try_flush).await
    }

    /// Tells the other end that nothing more will come.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn finish(&self) -> io::Result<()> {
        self.settle(Self::shutdown).await
    }

    async fn settle(&self, step: impl Fn(&Self) -> io::Result<()>) -> io::Result<()> {
        loop {
            match step(self) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                result => return result,
            }
        }
    }
}
