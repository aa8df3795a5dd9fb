//! An agent whose every frame the test decides on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use kitelet::wire::{Answer, KiteRequest, Salt, TunnelRequest, Verdict};

use super::LONG;
use super::relay::{Relay, SECRET};

/// The agent's end of a tunnel.
pub struct Agent {
    pub socket: TcpStream,
    unread: Vec<u8>,
    pub session: String,
}

/// A frame, taken apart.
#[derive(Debug)]
pub struct Frame {
    pub headers: String,
    pub body: Vec<u8>,
}

impl Frame {
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    pub fn stream(&self) -> u32 {
        self.get("SID").expect("a stream").parse().expect("a number")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Agent {
    /// Connects and asks for kites with no answer to a challenge.
    pub fn ask(relay: &Relay, kites: &[&str], replace: Option<&str>) -> (Self, Answer) {
        let socket = TcpStream::connect(("127.0.0.1", relay.port())).expect("the relay listens");
        socket.set_read_timeout(Some(LONG)).expect("a timeout");
        socket.set_nodelay(true).expect("no delay");
        let mut agent = Self { socket, unread: Vec::new(), session: String::new() };
        let request = TunnelRequest {
            add_kites: true,
            version: Some("review".to_owned()),
            replace: replace.map(str::to_owned),
            kites: kites.iter().map(|kite| sign(kite, "")).collect(),
            ..TunnelRequest::default()
        };
        agent.send_raw(&request.encode());
        let end = loop {
            if let Some(end) = agent.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(agent.fill(), "an answer");
        };
        let head: Vec<u8> = agent.unread.drain(..end).collect();
        let answer = Answer::parse(&head).expect("an answer");
        agent.session = answer.session_id.clone().expect("a session");
        (agent, answer)
    }

    /// Lets kites fly.
    pub fn fly(relay: &Relay, kites: &[&str]) -> Self {
        let (mut agent, answer) = Self::ask(relay, kites, None);
        let verdicts = agent.sign(&answer);
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Flying), "{verdicts:?}");
        agent
    }

    /// Answers challenges, and returns what becomes of the kites.
    pub fn sign(&mut self, answer: &Answer) -> Vec<Verdict> {
        let kites = answer.results.iter().map(|result| {
            let Verdict::Challenge(challenge) = &result.verdict else { panic!("{result:?}") };
            let (kite, _) = result.key.rsplit_once(':').expect("a salt");
            sign(kite, challenge)
        });
        let request = TunnelRequest { kites: kites.collect(), ..TunnelRequest::default() };
        self.send_payload(&request.encode_payload());
        loop {
            let frame = self.next();
            if frame.headers.contains("X-PageKite-SessionID") {
                let answer = Answer::parse_lines(frame.headers.as_bytes()).expect("an answer");
                return answer.results.into_iter().map(|result| result.verdict).collect();
            }
        }
    }

    /// Asks for the same kites once more, without an answer to a challenge.
    pub fn ask_again(&mut self, answer: &Answer) {
        let kites = answer.results.iter().map(|result| {
            let (kite, _) = result.key.rsplit_once(':').expect("a salt");
            sign(kite, "")
        });
        let request = TunnelRequest { kites: kites.collect(), ..TunnelRequest::default() };
        self.send_payload(&request.encode_payload());
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("sent");
    }

    fn send_payload(&mut self, payload: &[u8]) {
        let line = format!("{:x}\r\n", payload.len());
        self.send_raw(&[line.as_bytes(), payload].concat());
    }

    pub fn data(&mut self, stream: u32, bytes: impl AsRef<[u8]>) {
        let payload = [format!("SID: {stream}\r\n\r\n").as_bytes(), bytes.as_ref()].concat();
        self.send_payload(&payload);
    }

    pub fn eof(&mut self, stream: u32, letters: &str) {
        self.send_payload(format!("SID: {stream}\r\nEOF: 1{letters}\r\n\r\n").as_bytes());
    }

    /// The next frame.
    pub fn next(&mut self) -> Frame {
        loop {
            if let Some(start) = self.unread.windows(2).position(|two| two == b"\r\n") {
                let line = std::str::from_utf8(&self.unread[..start]).expect("text");
                let length = usize::from_str_radix(line, 16).expect("hexadecimal");
                if self.unread.len() >= start + 2 + length {
                    let frame: Vec<u8> = self.unread.drain(..start + 2 + length).collect();
                    let payload = &frame[start + 2..];
                    let end = payload.windows(4).position(|four| four == b"\r\n\r\n");
                    let end = end.expect("a blank line");
                    let headers = String::from_utf8_lossy(&payload[..end + 2]).into_owned();
                    return Frame { headers, body: payload[end + 4..].to_vec() };
                }
            }
            assert!(self.fill(), "the relay has closed the tunnel");
        }
    }

    /// The next frame of a stream: data, or its end.
    pub fn next_of_stream(&mut self) -> Frame {
        loop {
            let frame = self.next();
            if frame.get("NOOP").is_none() {
                return frame;
            }
        }
    }

    /// Waits for a new stream; its first frame.
    pub fn next_stream(&mut self) -> Frame {
        loop {
            let frame = self.next_of_stream();
            if frame.get("Proto").is_some() {
                return frame;
            }
        }
    }

    /// Waits until the relay closes a stream or a half of it; the letters.
    pub fn end_of(&mut self, stream: u32) -> String {
        loop {
            let frame = self.next_of_stream();
            if frame.stream() == stream {
                if let Some(letters) = frame.get("EOF") {
                    return letters.to_owned();
                }
            }
        }
    }

    /// Waits until the relay closes the tunnel; false when it does not.
    pub fn is_closed_within(&mut self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).expect("a timeout");
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let length = self.socket.read(&mut buffer).expect("something of the relay");
        self.unread.extend_from_slice(&buffer[..length]);
        length > 0
    }
}

fn sign(kite: &str, challenge: &str) -> KiteRequest {
    let id = kite.parse().expect("a kite");
    KiteRequest::sign(&id, "salt", challenge, SECRET.as_bytes(), Salt::from_random([7; 4]))
}
