//! How far away a relay is: one small request on a connection of its own, as
//! PageKite's agents measure it (`protocol.md` 2.4). The answer also says
//! which relay it is and whether it wants more agents.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use async_io::Async;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::wait;

/// Longest time for a ping; a relay that needs more is no relay to choose.
pub const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// Relays look for the host within the first 64 bytes.
const REQUEST: &[u8] = b"HEAD /ping HTTP/1.1\r\nHost: ping.pagekite\r\n\r\n";
/// What every answer begins with.
const STATUS: &[u8] = b"HTTP/1.1 503 Unavailable";
/// Bytes of an answer that are looked at.
const MAX_ANSWER_BYTES: usize = 1024;
/// Longest id of a relay that is kept; PageKite's have 40 bytes.
const MAX_UUID_BYTES: usize = 64;

/// What a ping said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// From the begin of the connection to the first byte of the answer: two
    /// round trips and what the relay takes.
    pub time: Duration,
    /// Which relay it is, until it is started anew; it may have several
    /// addresses.
    pub uuid: Option<String>,
    /// It wants new agents to go elsewhere.
    pub is_overloaded: bool,
}

/// Pings the relay at `address`; `None` when no relay answers within
/// [`PING_TIMEOUT`].
pub async fn ping(address: SocketAddr) -> Option<Ping> {
    let began = Instant::now();
    let answer = wait::before(began + PING_TIMEOUT, exchange(address)).await?;
    let (answered, answer) = answer.ok()?;
    parse(&answer, answered.saturating_duration_since(began))
}

/// Returns when the first byte came, and the bytes.
async fn exchange(address: SocketAddr) -> io::Result<(Instant, Vec<u8>)> {
    let mut socket = Async::<TcpStream>::connect(address).await?;
    socket.write_all(REQUEST).await?;
    let mut answer = vec![0; MAX_ANSWER_BYTES];
    let mut length = 0;
    let mut answered = None;
    while !answer.get(..length).unwrap_or_default().windows(4).any(|four| four == b"\r\n\r\n") {
        // The reference closes without reading the request, so that the end may
        // be a reset.
        match socket.read(answer.get_mut(length..).unwrap_or_default()).await {
            Ok(0) => break,
            Ok(more) => {
                answered.get_or_insert_with(Instant::now);
                length += more;
            }
            Err(error) if length == 0 => return Err(error),
            Err(_) => break,
        }
    }
    answer.truncate(length);
    Ok((answered.ok_or(io::ErrorKind::UnexpectedEof)?, answer))
}

fn parse(answer: &[u8], time: Duration) -> Option<Ping> {
    let head = answer.strip_prefix(STATUS)?;
    let mut ping = Ping { time, uuid: None, is_overloaded: false };
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        let line = line.trim_ascii();
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"X-PageKite-Overloaded") {
            ping.is_overloaded = true;
        } else if name.eq_ignore_ascii_case(b"X-PageKite-UUID") && value.len() <= MAX_UUID_BYTES {
            ping.uuid = std::str::from_utf8(value).ok().map(str::to_owned);
        }
    }
    Some(ping)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_millis(20);

    #[test]
    fn the_request_is_the_references() {
        assert_eq!(REQUEST.len(), 44);
    }

    #[test]
    fn an_answer_says_who_and_how_busy() {
        let answer = b"HTTP/1.1 503 Unavailable\r\nX-PageKite-Overloaded: Sorry\r\n\
            X-PageKite-UUID: 0123abcd\r\nContent-Type: text/html\r\n\r\nX-PageKite-UUID: no\r\n";
        let ping = parse(answer, TIME).expect("a relay's");
        assert!(ping.is_overloaded && ping.time == TIME);
        assert_eq!(ping.uuid.as_deref(), Some("0123abcd"));
    }

    #[test]
    fn a_cut_answer_is_one_and_a_web_servers_is_none() {
        assert!(parse(b"HTTP/1.1 503 Unavailable", TIME).is_some());
        assert!(parse(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", TIME).is_none());
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n", TIME).is_none());
        let long = [&b"HTTP/1.1 503 Unavailable\r\nX-PageKite-UUID: "[..], &[b'a'; 900]].concat();
        assert_eq!(parse(&long, TIME).and_then(|ping| ping.uuid), None);
    }

    #[test]
    fn nobody_and_somebody_mute_are_no_relays() {
        let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = mute.local_addr().expect("an address");
        drop(mute);
        assert_eq!(smol::block_on(ping(address)), None);
    }
}
