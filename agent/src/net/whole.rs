//! Reading, writing and closing a [`Connection`] where a task has nothing else
//! to do meanwhile.

use std::io;

use super::connection::Connection;

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
