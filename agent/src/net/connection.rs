//! One connection to (or from) a relay, plain or TLS, and inside a WebSocket
//! where a network wants that, as a stream of bytes
//! that a reading task and a writing task share on one thread.
//!
//! Nothing here waits but [`Connection::readable`] and
//! [`Connection::writable`]; a task tries, and waits when it is told
//! `WouldBlock`. A writer that goes to rest has seen [`Connection::try_flush`]
//! succeed before: what TLS holds back is sent by nobody else.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use async_io::Async;
use rustix::net::sockopt;
use rustls::Connection as Session;

use super::handshake;
use super::socket::Socket;
use super::wait::uninterrupted;
use super::websocket::End;
use super::websocket::layer::{Below, Layer};

/// TLS bytes that may wait for the socket, in bytes of plaintext: two whole
/// records, so that one is enciphered while the other is on its way.
pub const OUTGOING_LIMIT: usize = 32 * 1024;

/// A byte stream to or from a relay.
pub struct Connection {
    socket: Async<TcpStream>,
    tls: Option<Box<RefCell<Session>>>,
    websocket: Option<Box<RefCell<Layer>>>,
    /// Bytes that were read and given back; they come first.
    unread: RefCell<Vec<u8>>,
    /// How far [`Connection::shutdown`] has come.
    closing: Cell<Closing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    Open,
    /// The `close_notify` is queued, the socket still open for it.
    Notified,
    Closed,
}

impl Connection {
    /// A connection in clear.
    pub fn plain(socket: Async<TcpStream>) -> Self {
        let unread = RefCell::default();
        Self { socket, tls: None, websocket: None, unread, closing: Cell::new(Closing::Open) }
    }

    /// Gives bytes back that were read: the next ones to be read are these.
    pub fn put_back(&self, bytes: &[u8]) {
        self.unread.borrow_mut().splice(..0, bytes.iter().copied());
    }

    /// Whether bytes wait that were given back.
    pub fn has_unread(&self) -> bool {
        !self.unread.borrow().is_empty()
    }

    /// The socket of a connection in clear, and the bytes that were given back;
    /// `None` for any other.
    pub fn into_socket(self) -> Option<(Async<TcpStream>, Vec<u8>)> {
        let is_clear = self.tls.is_none() && self.websocket.is_none();
        is_clear.then(|| (self.socket, self.unread.into_inner()))
    }

    /// A connection whose TLS handshake is done.
    pub(super) fn encrypted(socket: Async<TcpStream>, mut session: Session) -> Self {
        session.set_buffer_limit(Some(OUTGOING_LIMIT));
        Self { tls: Some(Box::new(RefCell::new(session))), ..Self::plain(socket) }
    }

    /// The same with the stream of bytes inside a WebSocket, whose handshake
    /// is done; `rest` is what came behind the head of the other end's, as well
    /// as what was given back. A WebSocket has no half-closed state: after the end of reading nothing
    /// can be written.
    #[must_use]
    pub fn into_websocket(self, end: End, mut rest: Vec<u8>) -> Self {
        rest.append(&mut self.unread.borrow_mut());
        Self { websocket: Some(Box::new(RefCell::new(Layer::new(end, rest)))), ..self }
    }

    /// Whether the bytes on the wire are enciphered.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Address of the other end.
    ///
    /// # Errors
    /// When the connection is lost.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().peer_addr()
    }

    /// Address of this end.
    ///
    /// # Errors
    /// Whatever the kernel answers.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// Reads plaintext into `buffer`, which is not empty. 0 is the end; a TLS
    /// connection that ends without `close_notify` ends as well, because
    /// PageKite's programs close without one, and frames have their lengths.
    ///
    /// # Errors
    /// `WouldBlock` when more has to come from the network first; anything
    /// else is the end of the connection.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.has_unread() {
            let mut unread = self.unread.borrow_mut();
            let length = unread.len().min(buffer.len());
            buffer[..length].copy_from_slice(&unread[..length]);
            unread.drain(..length);
            if unread.is_empty() {
                // It happens at the begin of a connection only.
                *unread = Vec::new();
            }
            return Ok(length);
        }
        if let Some(websocket) = &self.websocket {
            return websocket.borrow_mut().try_read(self, buffer);
        }
        self.read_below(buffer)
    }

    fn read_below(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else {
            return uninterrupted(|| self.socket.get_ref().read(buffer));
        };
        let mut session = tls.borrow_mut();
        let mut filled = 0;
        // As many records as there are and fit: each goes its way at once.
        while filled < buffer.len() {
            match session.reader().read(&mut buffer[filled..]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Ok(0) => break,
                Ok(length) => {
                    filled += length;
                    continue;
                }
                Err(error) => return Err(error),
            }
            // What has arrived goes first; an error is found again.
            match uninterrupted(|| session.read_tls(&mut self.socket.get_ref())) {
                Err(_) if filled > 0 => break,
                result => result?,
            };
            let writer_waits = session.wants_write();
            let outcome = session.process_new_packets();
            if !writer_waits {
                // An alert may be due. What has arrived can be read all the
                // same, and a failure to send shows when somebody writes.
                let _ = handshake::send(&self.socket, &mut session);
            }
            match outcome {
                Err(_) if filled > 0 => break,
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                Ok(_) => {}
            }
        }
        Ok(filled)
    }

    /// Takes some or all of `plain`, no more than [`OUTGOING_LIMIT`] and one
    /// frame of a WebSocket beyond what the socket takes, and sends as far as
    /// the socket takes it.
    ///
    /// # Errors
    /// `WouldBlock` when nothing can be taken now; `BrokenPipe` after
    /// [`Self::shutdown`]; anything else is the end of the connection.
    pub fn try_write(&self, plain: &[u8]) -> io::Result<usize> {
        if let Some(websocket) = &self.websocket {
            return websocket.borrow_mut().try_write(self, plain);
        }
        self.write_below(plain)
    }

    fn write_below(&self, plain: &[u8]) -> io::Result<usize> {
        if self.closing.get() != Closing::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let Some(tls) = &self.tls else {
            return uninterrupted(|| self.socket.get_ref().write(plain));
        };
        let mut session = tls.borrow_mut();
        let mut taken = 0;
        loop {
            taken += session.writer().write(&plain[taken..])?;
            match handshake::send(&self.socket, &mut session) {
                Ok(()) if taken < plain.len() => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(error) if taken == 0 && !plain.is_empty() => return Err(error),
                _ => return Ok(taken),
            }
        }
    }

    /// Sends what TLS and WebSocket still hold, and finishes a
    /// [`Self::shutdown`].
    ///
    /// # Errors
    /// `WouldBlock` while bytes are left: wait for [`Self::writable`] and try
    /// again; anything else is the end of the connection.
    pub fn try_flush(&self) -> io::Result<()> {
        if let Some(websocket) = &self.websocket {
            let mut websocket = websocket.borrow_mut();
            websocket.flush(self)?;
            if websocket.is_shut_down() {
                self.shutdown_below();
            }
        }
        if let Some(tls) = &self.tls {
            handshake::send(&self.socket, &mut tls.borrow_mut())?;
        }
        if self.closing.get() == Closing::Notified {
            self.closing.set(Closing::Closed);
            self.socket.get_ref().shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// Whether TLS or WebSocket holds bytes that [`Self::try_flush`] has yet to
    /// send.
    pub fn has_unsent(&self) -> bool {
        self.websocket.as_ref().is_some_and(|websocket| websocket.borrow().has_unsent())
            || self.tls.as_ref().is_some_and(|tls| tls.borrow().wants_write())
    }

    /// Tells the other end that nothing more will come: `close_notify`, then
    /// the end of the TCP stream. Reading goes on.
    ///
    /// # Errors
    /// As [`Self::try_flush`], which finishes what could not be sent at once.
    pub fn shutdown(&self) -> io::Result<()> {
        match &self.websocket {
            Some(websocket) => websocket.borrow_mut().shut_down(),
            None => self.shutdown_below(),
        }
        self.try_flush()
    }

    fn shutdown_below(&self) {
        if self.closing.get() == Closing::Open {
            self.closing.set(Closing::Notified);
            if let Some(tls) = &self.tls {
                tls.borrow_mut().send_close_notify();
            }
        }
    }

    /// Lets the end of this connection be a reset, so that the other end does
    /// not take what it got for all there is.
    pub fn reset(&self) {
        // It fails when the connection is gone already, which is as good.
        let _ = sockopt::set_socket_linger(self.socket.get_ref(), Some(Duration::ZERO));
    }

    /// Waits until [`Self::try_read`] has something to say.
    ///
    /// # Errors
    /// When the reactor cannot watch the socket.
    pub async fn readable(&self) -> io::Result<()> {
        let decoded = self.websocket.as_deref().is_some_and(|layer| layer.borrow().has_news());
        if self.has_unread() || decoded {
            return Ok(());
        }
        match &self.tls {
            Some(tls) if has_news(&mut tls.borrow_mut()) => Ok(()),
            _ => self.socket.readable().await,
        }
    }

    /// Waits until the socket takes bytes, after [`Self::try_write`] or
    /// [`Self::try_flush`] said `WouldBlock`.
    ///
    /// # Errors
    /// When the reactor cannot watch the socket.
    pub async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }
}

impl Socket for Connection {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::try_read(self, buffer)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }

    fn try_flush(&self) -> io::Result<()> {
        Self::try_flush(self)
    }

    fn has_unsent(&self) -> bool {
        Self::has_unsent(self)
    }

    fn shutdown(&self) -> io::Result<()> {
        Self::shutdown(self)
    }

    async fn readable(&self) -> io::Result<()> {
        Self::readable(self).await
    }

    async fn writable(&self) -> io::Result<()> {
        Self::writable(self).await
    }
}

/// TLS or TCP, as a WebSocket sees it.
impl Below for Connection {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_below(buffer)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write_below(bytes)
    }
}

/// Whether plaintext or the end has arrived and was not read yet: the socket
/// will not tell about it again.
fn has_news(session: &mut Session) -> bool {
    match session.reader().fill_buf() {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("socket", self.socket.get_ref())
            .field("encrypted", &self.is_encrypted())
            .field("websocket", &self.websocket)
            .field("closing", &self.closing.get())
            .finish()
    }
}
