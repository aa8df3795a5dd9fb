//! Through a SOCKS 5 proxy (RFC 1928), with user name and password where it
//! wants them (RFC 1929). Names of relays go to the proxy as they are: Tor's
//! lead nowhere else, and a locked-down network may have no name server.
//!
//! A [`Handshake`] says how many bytes it wants, and no more than these are read,
//! so what comes behind the proxy's answer stays in the socket.

use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use async_io::Async;

use super::proxy_error::ProxyFailure;
use super::wait::{self, uninterrupted};
use super::whole::write_whole;
use crate::config::ProxyCredentials;

const VERSION: u8 = 5;
/// Version of the exchange of user name and password (RFC 1929 section 2).
const PASSWORD_VERSION: u8 = 1;
const NO_AUTHENTICATION: u8 = 0;
const WITH_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const DOMAIN: u8 = 3;
const IPV6: u8 = 4;

/// Longest answer of a proxy: an address that is a name of 255 bytes.
const MAX_ANSWER_BYTES: usize = 3 + 255 + 2;

/// Why a SOCKS proxy does not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocksFault {
    /// It wants to know who we are, and was told nothing.
    NoPassword,
    /// It wants something else than a user name and a password.
    NoMethod,
    /// It does not take the user name and password.
    WrongPassword,
    /// It answered with this code (RFC 1928 section 6, and Tor's own).
    Refused(u8),
    /// It did not answer to the greeting.
    Silent,
    /// It answered in HTTP.
    Http,
    /// It answered in something else than SOCKS 5.
    NotSocks,
}

impl fmt::Display for SocksFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoPassword => {
                "no acceptable authentication method: it wants a user name and a password; write \
                 proxy = socks5:USER:PASSWORD@HOST:PORT"
            }
            Self::NoMethod => {
                "no acceptable authentication method: it wants something else than a user name \
                 and a password; ask who runs it to allow these"
            }
            Self::WrongPassword => "it does not accept the user name and password; are both right?",
            Self::Refused(1) => {
                "general failure; it cannot reach the relay. Tor says so while it has no \
                 connection to its network, and for a wrong onion name: see its log"
            }
            Self::Refused(2) => {
                "its rules do not let anybody through to that relay or port; ask who runs it, or \
                 try port 443 of the relay"
            }
            Self::Refused(3) => "it has no route to the network of the relay",
            Self::Refused(4) => {
                "it cannot reach the host of the relay, or cannot look its name up; is it spelled \
                 right?"
            }
            Self::Refused(5) => "the relay refused its connection; is the port right?",
            Self::Refused(6) => {
                "the relay did not answer it in time (TTL expired). Tor says so while it has no \
                 connection to its network: see its log"
            }
            Self::Refused(7) => "it does not take CONNECT; is it for something else?",
            Self::Refused(8) => {
                "it does not take this type of address; name the relay by another one: a DNS \
                 name, IPv4 or IPv6"
            }
            // Tor's, with ExtendedErrors (torrc, tor(1)).
            Self::Refused(0xf0) => "Tor finds no such onion service; is it up?",
            Self::Refused(0xf1) => "Tor cannot use what the onion service says of itself",
            Self::Refused(0xf2) => "Tor was not introduced to the onion service; is it up?",
            Self::Refused(0xf3) => "Tor did not meet the onion service; is it up?",
            Self::Refused(0xf4) => "the onion service wants a key from Tor (ClientOnionAuthDir)",
            Self::Refused(0xf5) => "the onion service does not take the key from Tor",
            Self::Refused(0xf6) => "the onion name is wrong; is it spelled right?",
            Self::Refused(0xf7) => "the onion service did not answer Tor in time",
            Self::Refused(code) => {
                return write!(formatter, "it refused with the unknown SOCKS code {code}");
            }
            Self::Silent => {
                "no answer to a SOCKS greeting in time; for an HTTP proxy write proxy = http:HOST:PORT"
            }
            Self::Http => "it answered in HTTP; for an HTTP proxy write proxy = http:HOST:PORT",
            Self::NotSocks => "its answer is not SOCKS 5; is the port right?",
        })
    }
}

/// Asks the proxy at the other end of `socket` for a connection to `host`.
/// It may take `greeting` until it knows who we are, for which it has nobody to
/// wait for, and `answer` for the rest. Not a byte behind its answer is taken
/// from the socket.
pub(super) async fn connect(
    socket: &Async<TcpStream>,
    host: &str,
    port: u16,
    credentials: Option<&ProxyCredentials>,
    (greeting, answer): (Duration, Duration),
) -> Result<(), ProxyFailure> {
    let mut handshake = Handshake::new(host, port, credentials).map_err(ProxyFailure::Unaskable)?;
    let deadline = Instant::now() + greeting;
    wait::before(deadline, carry(socket, &mut handshake, |handshake| handshake.is_known()))
        .await
        .unwrap_or(Err(ProxyFailure::Socks(SocksFault::Silent)))?;
    let deadline = Instant::now() + answer;
    wait::before(deadline, carry(socket, &mut handshake, |handshake| handshake.wanted() == 0))
        .await
        .unwrap_or(Err(ProxyFailure::Timeout))
}

/// Reads and writes until `handshake` has come as far as wanted.
async fn carry(
    socket: &Async<TcpStream>,
    handshake: &mut Handshake<'_>,
    is_done: impl Fn(&Handshake<'_>) -> bool,
) -> Result<(), ProxyFailure> {
    let mut buffer = [0; MAX_ANSWER_BYTES];
    loop {
        write_whole(socket, &handshake.take_outgoing()).await.map_err(failure)?;
        if is_done(handshake) {
            return Ok(());
        }
        let wanted = handshake.wanted().min(buffer.len());
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
        match uninterrupted(|| socket.get_ref().read(buffer)) {
            Ok(0) => return Err(ProxyFailure::Closed),
            Ok(read) => {
                let bytes = buffer.get(..read).unwrap_or_default();
                handshake.receive(bytes).map_err(ProxyFailure::Socks)?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.readable().await.map_err(failure)?;
            }
            Err(error) => return Err(failure(error)),
        }
    }
}

fn failure(error: io::Error) -> ProxyFailure {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ProxyFailure::Closed,
        _ => ProxyFailure::Io(error),
    }
}

/// The client's side of SOCKS 5: bytes in, bytes out.
struct Handshake<'a> {
    credentials: Option<&'a ProxyCredentials>,
    /// What asks for the relay, once the proxy knows who we are.
    request: Vec<u8>,
    outgoing: Vec<u8>,
    step: Step,
    /// What has come of the answer that `step` waits for.
    incoming: Vec<u8>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The proxy's choice of how to know us.
    Method,
    /// What it thinks of the password.
    Password,
    /// Version and code of its answer. Some end behind these when they refuse.
    Code,
    /// A byte of nothing, the type of an address and its first byte.
    Address,
    /// The rest of that address, and a port; neither is of use.
    Rest(usize),
    /// Nothing: the relay is at the other end.
    Done,
}

impl<'a> Handshake<'a> {
    /// Begins it; says why there is no way to ask for such a host.
    fn new(
        host: &str,
        port: u16,
        credentials: Option<&'a ProxyCredentials>,
    ) -> Result<Self, &'static str> {
        let mut request = vec![VERSION, CONNECT, 0];
        match host.parse() {
            Ok(IpAddr::V4(address)) => {
                request.push(IPV4);
                request.extend(address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                request.push(IPV6);
                request.extend(address.octets());
            }
            Err(_) => {
                let length = u8::try_from(host.len());
                let length = length.map_err(|_| "the name of the relay has more than 255 bytes")?;
                request.extend([DOMAIN, length]);
                request.extend(host.as_bytes());
            }
        }
        request.extend(port.to_be_bytes());
        let outgoing = match credentials {
            None => vec![VERSION, 1, NO_AUTHENTICATION],
            Some(_) => vec![VERSION, 2, NO_AUTHENTICATION, WITH_PASSWORD],
        };
        Ok(Self { credentials, request, outgoing, step: Step::Method, incoming: Vec::new() })
    }

    /// What is to be sent now, perhaps nothing.
    fn take_outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    /// Bytes that may be read now; none when the handshake is done.
    fn wanted(&self) -> usize {
        let length = match self.step {
            Step::Method | Step::Password | Step::Code => 2,
            Step::Address => 3,
            Step::Rest(length) => length,
            Step::Done => 0,
        };
        length.saturating_sub(self.incoming.len())
    }

    /// Whether the proxy knows who we are, and was asked for the relay.
    fn is_known(&self) -> bool {
        !matches!(self.step, Step::Method | Step::Password)
    }

    /// Takes bytes, at most as many as are wanted, and says how many.
    fn receive(&mut self, bytes: &[u8]) -> Result<usize, SocksFault> {
        let taken = bytes.get(..self.wanted()).unwrap_or(bytes);
        self.incoming.extend(taken);
        if matches!(self.step, Step::Method | Step::Code) {
            match self.incoming.first() {
                None | Some(&VERSION) => {}
                Some(b'H') => return Err(SocksFault::Http),
                Some(_) => return Err(SocksFault::NotSocks),
            }
        }
        if self.wanted() == 0 && self.step != Step::Done {
            let answer = std::mem::take(&mut self.incoming);
            self.step = self.next(&answer)?;
        }
        Ok(taken.len())
    }

    fn next(&mut self, answer: &[u8]) -> Result<Step, SocksFault> {
        match (self.step, answer) {
            (Step::Method, [_, method]) => self.method(*method),
            // Some answer with the version of SOCKS; the verdict is what counts.
            (Step::Password, [_, 0]) => Ok(self.ask()),
            (Step::Password, _) => Err(SocksFault::WrongPassword),
            (Step::Code, [_, 0]) => Ok(Step::Address),
            (Step::Code, [_, code]) => Err(SocksFault::Refused(*code)),
            (Step::Address, [_, IPV4, _]) => Ok(Step::Rest(3 + 2)),
            (Step::Address, [_, IPV6, _]) => Ok(Step::Rest(15 + 2)),
            (Step::Address, [_, DOMAIN, length]) => Ok(Step::Rest(usize::from(*length) + 2)),
            (Step::Rest(_), _) => Ok(Step::Done),
            _ => Err(SocksFault::NotSocks),
        }
    }

    fn method(&mut self, method: u8) -> Result<Step, SocksFault> {
        match (method, self.credentials) {
            (NO_AUTHENTICATION, _) => Ok(self.ask()),
            (WITH_PASSWORD, Some(ProxyCredentials { user, password })) => {
                self.outgoing.push(PASSWORD_VERSION);
                for part in [user.bytes(), password.bytes()] {
                    // The configuration takes none that are longer.
                    let length = u8::try_from(part.len()).unwrap_or(u8::MAX);
                    let part = part.get(..usize::from(length)).unwrap_or(part);
                    self.outgoing.push(length);
                    self.outgoing.extend(part);
                }
                Ok(Step::Password)
            }
            (NO_METHOD, Some(_)) => Err(SocksFault::NoMethod),
            (NO_METHOD, None) => Err(SocksFault::NoPassword),
            _ => Err(SocksFault::NotSocks),
        }
    }

    /// Sends the request.
    fn ask(&mut self) -> Step {
        self.outgoing = std::mem::take(&mut self.request);
        Step::Code
    }
}

#[cfg(test)]
mod tests;
