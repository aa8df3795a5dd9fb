//! The relay's end of one connection.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use kitelet::wire::TunnelRequest;
use rustix::net::sockopt::set_socket_linger;

use super::LONG;

/// Names of headers that every relay survives (`protocol.md` 6 and 18).
const READABLE: [&str; 6] = ["SID", "EOF", "NOOP", "SKB", "PING", "PONG"];

/// A connection from the agent, and what came of the streams on it.
pub struct Tunnel {
    socket: TcpStream,
    /// Bytes of the agent that are not taken apart yet.
    unread: Vec<u8>,
    pub visits: BTreeMap<u32, Visit>,
    /// Lengths of all frames so far, on the wire.
    pub frame_lengths: Vec<usize>,
    /// Texts of the PONGs so far.
    pub pongs: Vec<String>,
    /// Whether what comes is confirmed by SKB.
    pub confirms: bool,
    /// Whether data after the end of a stream is a mistake; it is none when
    /// numbers are given twice.
    pub knows_ends: bool,
    /// The stream that is never confirmed.
    pub unconfirmed: Option<u32>,
}

/// What the agent sent on one stream.
#[derive(Debug, Default)]
pub struct Visit {
    pub data: Vec<u8>,
    /// The kilobytes of the last SKB.
    pub delivered: Option<u64>,
    pub eof_read: bool,
    pub eof_write: bool,
}

/// A frame, taken apart.
#[derive(Debug)]
pub struct Frame {
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The headers of a first frame, and a common body.
pub struct Open<'a> {
    pub protocol: &'a str,
    pub host: &'a str,
    /// Further lines, each with its CRLF.
    pub more: &'a str,
}

impl Open<'_> {
    pub const HTTP: Self = Self {
        protocol: "http",
        host: "kite.test",
        more: "Port: 80\r\nRIP: 127.0.0.9\r\nRPort: 45924\r\n",
    };
    pub const RAW: Self = Self { protocol: "raw", ..Self::HTTP };
}

impl Visit {
    pub fn is_over(&self) -> bool {
        self.eof_read && self.eof_write
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }
}

impl Frame {
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn stream(&self) -> Option<u32> {
        self.get("SID").map(|stream| stream.parse().expect("a number"))
    }

    fn parse(payload: &[u8]) -> Self {
        let end = payload.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.expect("a blank line after the headers");
        let text = std::str::from_utf8(&payload[..end]).expect("text");
        let headers = text.split("\r\n").map(|line| {
            let (name, value) = line.split_once(": ").expect("a header");
            let is_known = READABLE.contains(&name) || name.starts_with("X-PageKite");
            assert!(is_known, "no relay expects {name} from an agent");
            (name.to_owned(), value.to_owned())
        });
        Self { headers: headers.collect(), body: payload[end + 4..].to_vec() }
    }
}

impl Tunnel {
    pub(super) fn new(socket: TcpStream) -> Self {
        socket.set_nonblocking(false).expect("blocking");
        socket.set_nodelay(true).expect("no delay");
        socket.set_write_timeout(Some(LONG)).expect("a timeout");
        Self {
            socket,
            unread: Vec::new(),
            visits: BTreeMap::new(),
            frame_lengths: Vec::new(),
            pongs: Vec::new(),
            confirms: true,
            knows_ends: true,
            unconfirmed: None,
        }
    }

    /// Sends bytes as they are. That the agent is gone already is no matter.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// Sends a frame.
    pub fn frame(&mut self, headers: &str, body: &[u8]) {
        self.send(&frame(headers, body));
    }

    /// Opens a stream with the first bytes of the visitor.
    pub fn open(&mut self, stream: u32, open: &Open<'_>, body: &[u8]) {
        self.send(&open_frame(stream, open, body));
    }

    /// Sends bytes of the visitor, in frames of a size that relays use.
    pub fn data(&mut self, stream: u32, bytes: &[u8]) {
        for part in bytes.chunks(1024) {
            self.frame(&format!("SID: {stream}\r\n"), part);
        }
    }

    /// Closes a stream or a half of it.
    pub fn eof(&mut self, stream: u32, letters: &str) {
        self.frame(&format!("SID: {stream}\r\nEOF: 1{letters}\r\n"), b"Bye!");
    }

    /// Asks the agent for a sign of life and waits for it: by then it has seen
    /// all that was sent before.
    pub fn ping(&mut self, text: &str) {
        self.frame(&format!("NOOP: 1\r\nPING: {text}\r\n"), b"!");
        self.until("a PONG", |tunnel| tunnel.pongs.iter().any(|pong| pong == text));
    }

    /// Reads frames until the agent has nothing to send on this stream any
    /// more, and returns all that it sent there.
    pub fn read_to_end(&mut self, stream: u32) -> Vec<u8> {
        self.until("the end of a stream", |tunnel| tunnel.visit(stream).eof_read);
        self.visits.remove(&stream).unwrap_or_default().data
    }

    /// Reads frames until something is so.
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + LONG;
        while !done(self) {
            assert!(Instant::now() < end, "waited in vain: {what}");
            self.next_frame().unwrap_or_else(|| panic!("the agent is gone; wanted: {what}"));
        }
    }

    /// What came on a stream so far.
    pub fn visit(&self, stream: u32) -> &Visit {
        const NOTHING: &Visit =
            &Visit { data: Vec::new(), delivered: None, eof_read: false, eof_write: false };
        self.visits.get(&stream).unwrap_or(NOTHING)
    }

    /// The next frame, noted already; `None` at the end of the connection.
    pub fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((payload, length)) = split_frame(&self.unread) {
                let frame = Frame::parse(&self.unread[payload]);
                self.unread.drain(..length);
                self.frame_lengths.push(length);
                self.note(&frame);
                return Some(frame);
            }
            if !self.fill(LONG) {
                return None;
            }
        }
    }

    /// Reads and notes what comes within a time.
    pub fn listen(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            while split_frame(&self.unread).is_some() {
                self.next_frame();
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.fill(left) {
                return;
            }
        }
    }

    /// Reads a request for kites, up to its blank line.
    pub fn read_request(&mut self) -> TunnelRequest {
        loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                return TunnelRequest::parse(&head).expect("a request");
            }
            assert!(self.fill(LONG), "the agent is gone");
        }
    }

    /// The next frame as a request for kites.
    pub fn next_kite_request(&mut self) -> TunnelRequest {
        loop {
            let frame = self.next_frame().expect("a frame");
            if frame.headers.iter().any(|(name, _)| name == "X-PageKite") {
                assert_eq!(frame.get("NOOP"), Some("1"));
                let lines =
                    frame.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
                let lines: String = lines.collect();
                return TunnelRequest::parse_lines(lines.as_bytes()).expect("a request");
            }
        }
    }

    /// Waits until the agent closes the connection.
    pub fn wait_for_end(&mut self) {
        while self.fill(LONG) {
            self.unread.clear();
        }
    }

    /// Bytes that were read and not taken apart, for tests that do it.
    pub fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// Waits for more bytes; false at the end, and when none come in time.
    pub fn fill(&mut self, patience: Duration) -> bool {
        let mut buffer = [0; 16 * 1024];
        self.socket.set_read_timeout(Some(patience)).expect("a timeout");
        match self.socket.read(&mut buffer) {
            Ok(length) => {
                self.unread.extend_from_slice(&buffer[..length]);
                length > 0
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(_) => false,
        }
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        set_socket_linger(&self.socket, Some(Duration::ZERO)).expect("linger");
    }

    /// Sends nothing more.
    pub fn finish(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    fn note(&mut self, frame: &Frame) {
        if let Some(text) = frame.get("PONG") {
            self.pongs.push(text.to_owned());
        }
        let Some(stream) = frame.stream() else { return };
        let visit = self.visits.entry(stream).or_default();
        if let Some(kilobytes) = frame.get("SKB") {
            visit.delivered = Some(kilobytes.parse().expect("a number"));
        } else if let Some(letters) = frame.get("EOF") {
            assert!(["1R", "1W", "1WR"].contains(&letters), "the reference's spelling: {letters}");
            visit.eof_read |= letters.contains('R');
            visit.eof_write |= letters.contains('W');
        } else if frame.get("NOOP").is_none() {
            assert!(!visit.eof_read || !self.knows_ends, "data after the end of stream {stream}");
            visit.data.extend_from_slice(&frame.body);
            let kilobytes = visit.data.len() / 1024;
            if self.confirms && self.unconfirmed != Some(stream) {
                self.frame(&format!("NOOP: 1\r\nSID: {stream}\r\nSKB: {kilobytes}\r\n"), b"");
            }
        }
    }
}

/// A frame as a relay writes it.
pub fn frame(headers: &str, body: &[u8]) -> Vec<u8> {
    let length = headers.len() + 2 + body.len();
    [format!("{length:x}\r\n{headers}\r\n").as_bytes(), body].concat()
}

/// The first frame of a stream.
pub fn open_frame(stream: u32, open: &Open<'_>, body: &[u8]) -> Vec<u8> {
    let Open { protocol, host, more } = open;
    frame(&format!("SID: {stream}\r\nProto: {protocol}\r\nHost: {host}\r\n{more}"), body)
}

/// Where the payload of the first frame is, and how long the frame is.
fn split_frame(bytes: &[u8]) -> Option<(std::ops::Range<usize>, usize)> {
    let start = bytes.windows(2).position(|two| two == b"\r\n")? + 2;
    let line = std::str::from_utf8(&bytes[..start - 2]).expect("text");
    let length = usize::from_str_radix(line, 16).expect("a length in hexadecimal");
    assert!(line == format!("{length:x}") && length > 0, "as the reference writes it: {line}");
    let end = start + length;
    (bytes.len() >= end).then_some((start..end, end))
}
