//! The socket of a service on this machine or its network, TCP or Unix, so
//! that the agent has one way to deal with both.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use async_io::Async;

use super::dial::{DialError, connect, connect_unix};
use super::socket::{Socket, SocketOptions};
use super::wait::uninterrupted;
use crate::config::Origin;

/// Connects to a service.
///
/// # Errors
/// Names the service and says in words what is wrong.
pub async fn dial_service(origin: &Origin, deadline: Instant) -> Result<ServiceSocket, DialError> {
    match origin {
        Origin::Tcp { host, port } => {
            connect(host, *port, SocketOptions::SERVICE, deadline).await.map(ServiceSocket::Tcp)
        }
        Origin::Unix(path) => connect_unix(path, deadline).await.map(ServiceSocket::Unix),
    }
}

/// A connected service. Everything works on `&self`, so that a task that
/// reads and a task that writes can share it in an `Rc`.
#[derive(Debug)]
pub enum ServiceSocket {
    /// A TCP connection.
    Tcp(Async<TcpStream>),
    /// A Unix stream connection.
    Unix(Async<UnixStream>),
}

impl Socket for ServiceSocket {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| match self {
            Self::Tcp(socket) => socket.get_ref().read(buffer),
            Self::Unix(socket) => socket.get_ref().read(buffer),
        })
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        uninterrupted(|| match self {
            Self::Tcp(socket) => socket.get_ref().write(bytes),
            Self::Unix(socket) => socket.get_ref().write(bytes),
        })
    }

    fn try_flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn has_unsent(&self) -> bool {
        false
    }

    fn shutdown(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.get_ref().shutdown(Shutdown::Write),
            Self::Unix(socket) => socket.get_ref().shutdown(Shutdown::Write),
        }
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.readable().await,
            Self::Unix(socket) => socket.readable().await,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.writable().await,
            Self::Unix(socket) => socket.writable().await,
        }
    }
}
