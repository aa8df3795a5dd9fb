//! Visitors who send what they like.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use super::{LONG, Relay};

/// How a connection ended for who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In order.
    Closed,
    /// By a reset.
    Reset,
    /// It did not.
    Open,
}

/// A connection to the relay from `address`, one of 127.0.0.0/8.
pub fn connect_from(relay: &Relay, address: Ipv4Addr) -> TcpStream {
    let from = SocketAddrV4::new(address, 0);
    let SocketAddr::V4(to) = relay.address() else { panic!("an IPv4 address") };
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &from).expect("an address of loopback");
    connect(&socket, &to).expect("the relay listens");
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(LONG)).expect("a timeout");
    socket.set_write_timeout(Some(LONG)).expect("a timeout");
    socket
}

/// Sends all of `bytes`, as far as the relay takes them.
pub fn send(socket: &mut TcpStream, bytes: &[u8]) {
    let _ = socket.write_all(bytes);
}

/// Reads to the end, but no more than `limit` bytes.
pub fn read_all(socket: &mut TcpStream, limit: usize) -> (Vec<u8>, Ended) {
    let mut all = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while all.len() < limit {
        match socket.read(&mut buffer) {
            Ok(0) => return (all, Ended::Closed),
            Ok(length) => all.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return (all, Ended::Open);
            }
            Err(_) => return (all, Ended::Reset),
        }
    }
    (all, Ended::Open)
}

/// Sends `bytes` from an address of its own, and returns all that comes back
/// until the relay closes.
pub fn ask(relay: &Relay, address: Ipv4Addr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = connect_from(relay, address);
    send(&mut socket, bytes);
    let (answer, ended) = read_all(&mut socket, 4 * 1024 * 1024);
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    assert!(ended != Ended::Open, "the relay left a connection open after {shown:?}");
    answer
}

/// The status of an answer.
pub fn status(answer: &[u8]) -> Option<u16> {
    let line = first_line(answer);
    line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

/// The statuses of all answers in what came.
pub fn statuses(answers: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answers);
    let mut found = Vec::new();
    for part in text.split("HTTP/1.").skip(1) {
        found.extend(part.get(2..5).and_then(|code| code.parse::<u16>().ok()));
    }
    found
}

/// The first line of an answer.
pub fn first_line(answer: &[u8]) -> String {
    let end = answer.iter().position(|&byte| byte == b'\r').unwrap_or(answer.len());
    String::from_utf8_lossy(&answer[..end]).into_owned()
}

/// Lets a connection end with a reset.
pub fn reset(socket: &TcpStream) {
    set_socket_linger(socket, Some(Duration::ZERO)).expect("linger");
}
