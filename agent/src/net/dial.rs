//! One connection to a host that has several addresses, some of which may be
//! dead: an uplink that announces IPv6 and does not carry it must not cost the
//! visitor ten seconds. Hence attempts overlap and the first that connects
//! wins (RFC 8305, "Happy Eyeballs").

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use std::vec::IntoIter;

use async_io::{Async, Timer};

use super::resolve::{LOOKUP_DEADLINE, ResolveError, resolve_until};
use super::socket::{InWords, SocketOptions, printable};
use super::wait;

/// Time that an attempt has for itself before the next one joins it
/// (RFC 8305 section 5).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Attempts at the same time.
pub const MAX_ATTEMPTS: usize = 3;
/// Time after which an attempt gives up its place if another address waits
/// for one; three SYNs have gone unanswered by then.
pub const ATTEMPT_PATIENCE: Duration = Duration::from_millis(3500);

/// Pause before another try at a Unix socket whose backlog is full: the
/// kernel refuses at once and tells nobody when there is room.
#[cfg(unix)]
const BACKLOG_PAUSE: Duration = Duration::from_millis(50);

/// Looks `host` up and connects to `port` there, with `options` set.
///
/// # Errors
/// Names the host, the addresses that were tried and what became of each.
pub async fn connect(
    host: &str,
    port: u16,
    options: SocketOptions,
    deadline: Instant,
) -> Result<Async<TcpStream>, DialError> {
    let lookup_deadline = deadline.min(Instant::now() + LOOKUP_DEADLINE);
    let addresses = resolve_until(host, port, lookup_deadline).await.map_err(DialError::Resolve)?;
    connect_any(host, addresses, options, deadline).await
}

/// Connects to a Unix stream socket.
///
/// # Errors
/// Names the path and what is wrong with it.
#[cfg(unix)]
pub async fn connect_unix(path: &Path, deadline: Instant) -> Result<Async<UnixStream>, DialError> {
    let attempts = async {
        loop {
            match Async::<UnixStream>::connect(path).await {
                // A full backlog: the socket was left unconnected.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    Timer::after(BACKLOG_PAUSE).await;
                }
                result => return result,
            }
        }
    };
    wait::before(deadline, attempts)
        .await
        .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| DialError::Unix { path: path.to_owned(), error })
}

/// Connects to the first of `addresses` that answers; `host` is for the error.
pub(super) async fn connect_any(
    host: &str,
    addresses: Vec<SocketAddr>,
    options: SocketOptions,
    deadline: Instant,
) -> Result<Async<TcpStream>, DialError> {
    let port = addresses.first().map_or(0, SocketAddr::port);
    let mut race = Race {
        waiting: alternate(addresses).into_iter(),
        running: Vec::with_capacity(MAX_ATTEMPTS),
        failed: Vec::new(),
        start_next: true,
        pace: Timer::after(ATTEMPT_DELAY),
    };
    let began = Instant::now();
    let winner = wait::before(deadline, poll_fn(|context| race.poll(context))).await;
    if let Some(Some((address, socket))) = winner {
        let options = options.patient(began.elapsed());
        return match options.apply(socket.get_ref()) {
            Ok(()) => Ok(socket),
            Err(error) => Err(race.lost(host, port, FailedAttempt { address, error })),
        };
    }
    race.abandon_all();
    Err(DialError::Tcp { host: host.to_owned(), port, failed: race.failed })
}

/// Why there is no connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum DialError {
    /// The host has no address.
    Resolve(ResolveError),
    /// No address could be connected to.
    Tcp {
        /// The host as it was asked for.
        host: String,
        /// The port as it was asked for.
        port: u16,
        /// What was tried, in the order in which it failed.
        failed: Vec<FailedAttempt>,
    },
    /// A Unix socket could not be connected to.
    Unix {
        /// Its path.
        path: PathBuf,
        /// What the kernel answered.
        error: io::Error,
    },
}

/// One address that could not be connected to.
#[derive(Debug)]
pub struct FailedAttempt {
    /// The address.
    pub address: SocketAddr,
    /// What the kernel answered; `TimedOut` when it was given up.
    pub error: io::Error,
}

impl fmt::Display for DialError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => error.fmt(formatter),
            Self::Tcp { host, port, failed } => {
                let host = printable(host, 253);
                write!(formatter, "cannot connect to {host} port {port}")?;
                for (index, attempt) in failed.iter().enumerate() {
                    formatter.write_str(if index == 0 { ": " } else { "; " })?;
                    let address = attempt.address.ip().to_string();
                    if address != host {
                        write!(formatter, "{address} ")?;
                    }
                    InWords(&attempt.error).fmt(formatter)?;
                }
                if failed.is_empty() {
                    formatter.write_str(": no time was left for it")?;
                }
                Ok(())
            }
            Self::Unix { path, error } => {
                let path = printable(&path.to_string_lossy(), 253);
                let words: &dyn fmt::Display = match error.kind() {
                    io::ErrorKind::NotFound => &"no such socket, is the service running?",
                    io::ErrorKind::PermissionDenied => &"this program may not open it",
                    io::ErrorKind::ConnectionRefused => &"nothing listens on it",
                    _ => &InWords(error),
                };
                write!(formatter, "cannot connect to unix:{path}: {words}")
            }
        }
    }
}

impl std::error::Error for DialError {}

/// Alternates the address families, beginning with the first address's
/// (RFC 8305 section 4); within a family the order stays.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let total = addresses.len();
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    let mut mixed = Vec::with_capacity(total);
    while mixed.len() < total {
        mixed.extend(preferred.next());
        mixed.extend(others.next());
    }
    mixed
}

/// The attempts that run against each other.
struct Race {
    waiting: IntoIter<SocketAddr>,
    running: Vec<Attempt>,
    failed: Vec<FailedAttempt>,
    /// Whether the next attempt is due as soon as there is a place for it.
    start_next: bool,
    pace: Timer,
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Async<TcpStream>>>>>;

struct Attempt {
    address: SocketAddr,
    since: Instant,
    connecting: Connecting,
}

impl Race {
    /// Ready with the winner, or with `None` once every address has failed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<(SocketAddr, Async<TcpStream>)>> {
        loop {
            if let Some(winner) = self.poll_running(context) {
                return Poll::Ready(Some(winner));
            }
            let anyone_waits = !self.waiting.as_slice().is_empty();
            if self.running.is_empty() && !anyone_waits {
                return Poll::Ready(None);
            }
            if anyone_waits && Pin::new(&mut self.pace).poll(context).is_ready() {
                self.pace.set_after(ATTEMPT_DELAY);
                self.start_next = true;
                self.make_room();
                continue;
            }
            if !self.start_next && !self.running.is_empty() || !self.start() {
                return Poll::Pending;
            }
        }
    }

    fn poll_running(
        &mut self,
        context: &mut Context<'_>,
    ) -> Option<(SocketAddr, Async<TcpStream>)> {
        let mut index = 0;
        while let Some(attempt) = self.running.get_mut(index) {
            match attempt.connecting.as_mut().poll(context) {
                Poll::Pending => index += 1,
                Poll::Ready(Ok(socket)) => return Some((attempt.address, socket)),
                Poll::Ready(Err(error)) => {
                    let address = self.running.remove(index).address;
                    self.failed.push(FailedAttempt { address, error });
                    self.start_next = true;
                }
            }
        }
        None
    }

    /// Starts the next attempt if there is one and a place for it.
    fn start(&mut self) -> bool {
        if self.running.len() >= MAX_ATTEMPTS {
            return false;
        }
        let Some(address) = self.waiting.next() else {
            return false;
        };
        self.running.push(Attempt {
            address,
            since: Instant::now(),
            connecting: Box::pin(Async::<TcpStream>::connect(address)),
        });
        self.start_next = false;
        self.pace.set_after(ATTEMPT_DELAY);
        true
    }

    /// Gives up the oldest attempt if all places are taken and it had its time.
    fn make_room(&mut self) {
        let oldest = self.running.first().map(|attempt| attempt.since.elapsed());
        if self.running.len() == MAX_ATTEMPTS && oldest >= Some(ATTEMPT_PATIENCE) {
            self.abandon(0);
        }
    }

    fn abandon_all(&mut self) {
        while !self.running.is_empty() {
            self.abandon(0);
        }
    }

    fn abandon(&mut self, index: usize) {
        let address = self.running.remove(index).address;
        self.failed.push(FailedAttempt { address, error: io::ErrorKind::TimedOut.into() });
    }

    fn lost(&mut self, host: &str, port: u16, attempt: FailedAttempt) -> DialError {
        self.failed.push(attempt);
        DialError::Tcp { host: host.to_owned(), port, failed: std::mem::take(&mut self.failed) }
    }
}

#[cfg(test)]
mod tests;
