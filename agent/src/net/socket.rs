//! What every connected socket does, the options that sockets get, and what
//! the kernel's errors mean in words.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;

/// Repetitions that the kernel gets time for.
const ROUND_TRIPS: u32 = 8;

/// A connected stream of bytes, be it TCP, TLS or a Unix socket. Everything
/// works on `&self`, so that a task that reads and a task that writes can share
/// it in an `Rc`; nothing waits but [`Socket::readable`] and
/// [`Socket::writable`].
pub trait Socket {
    /// Reads what is there into `buffer`, which is not empty; 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there yet, else the connection is lost.
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Takes as much of `bytes` as goes now.
    ///
    /// # Errors
    /// `WouldBlock` when nothing does, else the connection is lost.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Sends what was taken and is not sent yet.
    ///
    /// # Errors
    /// `WouldBlock` while bytes are left, else the connection is lost.
    fn try_flush(&self) -> io::Result<()>;

    /// Whether [`Self::try_flush`] has something to send.
    fn has_unsent(&self) -> bool;

    /// Tells the other end that no more bytes will come; reading goes on.
    ///
    /// # Errors
    /// As [`Self::try_flush`], which finishes it.
    fn shutdown(&self) -> io::Result<()>;

    /// Waits until [`Self::try_read`] has something to say.
    ///
    /// # Errors
    /// When the reactor cannot watch the socket.
    fn readable(&self) -> impl Future<Output = io::Result<()>>;

    /// Waits until [`Self::try_write`] has something to say.
    ///
    /// # Errors
    /// When the reactor cannot watch the socket.
    fn writable(&self) -> impl Future<Output = io::Result<()>>;
}

/// What is set on a TCP socket beside `TCP_NODELAY`, which every one gets:
/// frames and keystrokes are small and must not wait for an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// `SO_KEEPALIVE` with the kernel's own times.
    pub keepalive: bool,
    /// `TCP_USER_TIMEOUT` (tcp(7)) in milliseconds: how long the other end's
    /// kernel may leave bytes unacknowledged. 0 is the kernel's own patience,
    /// about a quarter of an hour.
    pub user_timeout: u32,
    /// `TCP_THIN_LINEAR_TIMEOUTS` (Linux's tcp-thin.txt): a lost heartbeat is
    /// repeated after even pauses instead of ever longer ones.
    pub thin: bool,
}

/// Time after which a path that swallows everything is given up, where the
/// round trip is short: with a sign of life each eight seconds while streams are
/// open, a dead path is noticed within 25, also where the other direction is
/// well and brings signs of life.
const TUNNEL_USER_TIMEOUT_MILLISECONDS: u32 = 16_000;
/// The longest such time, for round trips of seconds.
const MAX_TUNNEL_USER_TIMEOUT_MILLISECONDS: u32 = 60_000;
/// A visitor who takes nothing for this long has vanished.
const VISITOR_USER_TIMEOUT_MILLISECONDS: u32 = 120_000;

impl SocketOptions {
    /// For a connection to a relay. Its liveness is the protocol's business
    /// (`protocol.md` 10), but for relays that must not be asked for an
    /// answer: there only the kernel notices a dead path.
    pub const TUNNEL: Self =
        Self { keepalive: true, user_timeout: TUNNEL_USER_TIMEOUT_MILLISECONDS, thin: true };

    /// For a visitor's connection to a relay: like one to a service, it may
    /// have to outlast a train's tunnel, and `ssh` has a heartbeat of its own.
    pub const VISIT: Self = Self::SERVICE;

    /// For a connection to a service: an idle `ssh` may stay for days, a
    /// service whose machine is gone must be noticed some time.
    pub const SERVICE: Self = Self { keepalive: true, user_timeout: 0, thin: false };

    /// For a visitor's connection to a relay: one who vanished in the middle of
    /// an answer must not keep a stream for a quarter of an hour.
    pub const VISITOR: Self =
        Self { keepalive: true, user_timeout: VISITOR_USER_TIMEOUT_MILLISECONDS, thin: false };

    /// The same for a path that took `connecting` for a connection: a mobile
    /// link of seconds needs more time for the kernel's repetitions.
    #[must_use]
    pub fn patient(mut self, connecting: Duration) -> Self {
        if self.thin {
            let extra = connecting.saturating_mul(ROUND_TRIPS).as_millis();
            let timeout = u128::from(self.user_timeout).saturating_add(extra);
            let timeout = timeout.min(MAX_TUNNEL_USER_TIMEOUT_MILLISECONDS.into());
            self.user_timeout = u32::try_from(timeout).unwrap_or(self.user_timeout);
        }
        self
    }

    /// Sets the options.
    ///
    /// # Errors
    /// Whatever the kernel answers; it does not on a connected TCP socket.
    pub fn apply(self, socket: &TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        sockopt::set_socket_keepalive(socket, self.keepalive)?;
        // Other systems have no such option, and only visitors run there.
        #[cfg(target_os = "linux")]
        {
            if self.user_timeout > 0 {
                sockopt::set_tcp_user_timeout(socket, self.user_timeout)?;
            }
            if self.thin {
                // It helps where it is known.
                let _ = sockopt::set_tcp_thin_linear_timeouts(socket, true);
            }
        }
        Ok(())
    }
}

/// Writes an I/O error as a short phrase: "refused the connection".
pub(super) struct InWords<'a>(pub(super) &'a io::Error);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use io::ErrorKind as Kind;
        let words = match self.0.kind() {
            Kind::ConnectionRefused => "connection refused, nothing listens there",
            Kind::ConnectionReset => "connection reset by the other end",
            Kind::ConnectionAborted => "connection aborted",
            Kind::BrokenPipe => "connection closed by the other end",
            Kind::TimedOut => "no answer in time",
            Kind::NetworkUnreachable => "no route to that network",
            Kind::HostUnreachable => "that machine cannot be reached",
            Kind::AddrNotAvailable => "this machine has no address for that",
            Kind::PermissionDenied => "not permitted on this machine",
            _ => return formatter.write_str(without_number(&self.0.to_string())),
        };
        formatter.write_str(words)
    }
}

/// The same for other rooms.
#[cfg(feature = "connect")]
pub(crate) fn in_words(error: &io::Error) -> String {
    InWords(error).to_string()
}

/// The standard library's text without its ` (os error 111)`.
fn without_number(text: &str) -> &str {
    text.rfind(" (os error ").map_or(text, |end| &text[..end])
}

/// `text` as it may stand in a log line: what a peer sent could hold line
/// ends, escape sequences or a megabyte.
pub(super) fn printable(text: &str, max_characters: usize) -> String {
    text.chars()
        .take(max_characters)
        .map(|letter| match letter {
            ' '..='~' => letter,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_words_without_numbers() {
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(InWords(&refused).to_string(), "connection refused, nothing listens there");
        let too_many = io::Error::from_raw_os_error(24);
        assert!(!InWords(&too_many).to_string().contains("os error"));
    }

    #[test]
    fn foreign_text_cannot_break_a_log_line() {
        assert_eq!(printable("a\r\n\u{1b}[31mb\u{e9}c", 9), "a???[31mb");
    }
}
