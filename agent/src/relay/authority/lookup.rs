//! Asks name servers for the answer of a DNS authority.
//!
//! Each try has a socket and an id of its own: the system picks the port and
//! we pick the id, both at random (RFC 5452), and the socket hears the asked
//! address only. Nothing is remembered, neither leave nor refusal: an honest
//! agent signs anew each time, so that no question comes twice, and one that
//! sends the same again and again is for the limit of refused handshakes.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use async_io::Async;
use ring::rand::{SecureRandom, SystemRandom};
use smol::io::{AsyncReadExt, AsyncWriteExt};

use super::failure::Failure;
use super::message::{self, MAX_MESSAGE_BYTES, Reply, read_reply};
use super::{Patience, Ruling};
use crate::net::before;

/// How often each name server is asked; a packet may be lost.
const ROUNDS: usize = 2;
/// Packets that answer another question before a try is given up: somebody
/// is guessing, and the next try has another port and id.
const MAX_STRAYS: usize = 8;

/// Asks `servers` in turn until one has an answer.
pub(super) async fn lookup(
    servers: &[SocketAddr],
    name: &str,
    patience: &Patience,
) -> Result<Ruling, Failure> {
    let mut failure = Failure::NoAddress;
    let end = Instant::now() + patience.lookup;
    for _ in 0..ROUNDS {
        for &server in servers {
            match ask(server, name, patience.name_server, end).await {
                Ok(Reply::Ruling(ruling)) => return Ok(ruling),
                // All servers say the same of a name.
                Ok(Reply::Useless(failure)) => return Err(failure),
                Ok(Reply::Unable(code)) => failure = Failure::Server(server, code),
                Ok(Reply::Stray | Reply::Truncated) => failure = Failure::Garbage(server),
                Err(error) => failure = error,
            }
            if Instant::now() >= end {
                return Err(failure);
            }
        }
    }
    Err(failure)
}

/// Asks one server once, and a second time by TCP if the answer is too long
/// for UDP.
async fn ask(
    server: SocketAddr,
    name: &str,
    limit: Duration,
    end: Instant,
) -> Result<Reply, Failure> {
    let deadline = || end.min(Instant::now() + limit);
    let silence = || Err(Failure::Silence(server));
    let reply = before(deadline(), ask_by_udp(server, name)).await.unwrap_or_else(silence)?;
    if reply != Reply::Truncated {
        return Ok(reply);
    }
    before(deadline(), ask_by_tcp(server, name)).await.unwrap_or_else(silence)
}

async fn ask_by_udp(server: SocketAddr, name: &str) -> Result<Reply, Failure> {
    let (id, question) = question(name)?;
    let unreachable = |error: io::Error| Failure::Unreachable(server, error.to_string());
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = Async::<UdpSocket>::bind(any).map_err(unreachable)?;
    socket.get_ref().connect(server).map_err(unreachable)?;
    socket.send(&question).await.map_err(unreachable)?;
    // One byte more, so that what was cut off is seen to be too long.
    let mut buffer = vec![0; MAX_MESSAGE_BYTES + 1];
    for _ in 0..MAX_STRAYS {
        let length = socket.recv(&mut buffer).await.map_err(unreachable)?;
        match read_reply(&buffer[..length], id, name) {
            Reply::Stray => {}
            reply => return Ok(reply),
        }
    }
    Ok(Reply::Stray)
}

async fn ask_by_tcp(server: SocketAddr, name: &str) -> Result<Reply, Failure> {
    let (id, question) = question(name)?;
    let unreachable = |error: io::Error| Failure::Unreachable(server, error.to_string());
    let mut socket = Async::<TcpStream>::connect(server).await.map_err(unreachable)?;
    // Each message is behind its length (RFC 1035 section 4.2.2).
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    let message = [&length.to_be_bytes(), question.as_slice()].concat();
    socket.write_all(&message).await.map_err(unreachable)?;
    let mut length = [0; 2];
    socket.read_exact(&mut length).await.map_err(unreachable)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_MESSAGE_BYTES {
        return Ok(Reply::Useless(Failure::TooLarge));
    }
    let mut buffer = vec![0; length];
    socket.read_exact(&mut buffer).await.map_err(unreachable)?;
    Ok(read_reply(&buffer, id, name))
}

fn question(name: &str) -> Result<(u16, Vec<u8>), Failure> {
    let mut id = [0; 2];
    SystemRandom::new().fill(&mut id).map_err(|_| Failure::Random)?;
    let id = u16::from_be_bytes(id);
    // The caller has checked that it is a name.
    let question = message::question(id, name).ok_or(Failure::NoName)?;
    Ok((id, question))
}
