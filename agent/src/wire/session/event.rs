//! What comes out of a tunnel, and the first frame of a stream.

use crate::wire::answer::{Answer, Quota};
use crate::wire::headers::{Eof, Headers, number};
use crate::wire::request::TunnelRequest;

/// What came out of the tunnel. Text and bytes are valid until the next call.
#[derive(Debug, PartialEq)]
pub enum Event<'a> {
    /// A part of the input that needs nothing to be done.
    Progress,
    /// The relay opens a stream. Its first data comes in further events.
    Open {
        /// The new stream.
        stream: u32,
        /// Who wants what.
        open: Open<'a>,
    },
    /// The relay opens a stream above the limit. It is to be refused by a data
    /// frame with the protocol's error, if any, and [`Session::refuse`](super::Session::refuse).
    TooManyStreams {
        /// The stream that is not taken.
        stream: u32,
        /// Who wants what.
        open: Open<'a>,
    },
    /// Bytes of a stream. What the socket has taken of them, now or later, is
    /// reported by [`Session::delivered`](super::Session::delivered).
    Data {
        /// The stream.
        stream: u32,
        /// Never empty.
        bytes: &'a [u8],
    },
    /// The other end closed a stream or a half of it.
    Eof {
        /// The stream.
        stream: u32,
        /// `read`: no more data will come; `write`: none is taken.
        eof: Eof,
    },
    /// The other end has passed data on: there may be room to send more.
    Room {
        /// The stream.
        stream: u32,
    },
    /// The relay tells what is left of the quota.
    Quota(Quota),
    /// The relay answers a request for kites.
    Answer(Box<Answer>),
    /// The agent asks for kites.
    Request(Box<TunnelRequest>),
}

/// Who wants what, as the relay says it in the first frame of a stream
/// (`protocol.md` 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    /// Protocol of the kite that matched.
    pub protocol: &'a str,
    /// Name that the visitor asked for, in lower case.
    pub host: &'a str,
    /// Port that the visitor came in by.
    pub port: Option<u16>,
    /// The visitor's address as the relay writes it, possibly empty.
    pub visitor_address: &'a str,
    /// The visitor's port.
    pub visitor_port: Option<u16>,
    /// Whether the relay took TLS off the visitor's connection.
    pub visitor_tls: bool,
}

impl<'a> Open<'a> {
    /// What the first frame of a stream asks for; `None` when it lacks the
    /// protocol or the host, and so belongs to a stream that is gone.
    pub(super) fn read(headers: &Headers<'a>) -> Option<Self> {
        let (protocol, host) = (headers.protocol?, headers.host?);
        // Relays pass on what visitors send, byte by byte. What is no text is
        // no kite's name, but no reason to end a tunnel.
        let text = |value: &'a [u8]| std::str::from_utf8(value).unwrap_or("?");
        Some(Self {
            protocol: text(protocol),
            host: text(host),
            port: headers.port.and_then(number),
            visitor_address: text(headers.visitor_address.unwrap_or_default()),
            visitor_port: headers.visitor_port.and_then(number),
            visitor_tls: headers.visitor_tls,
        })
    }

    /// Bytes of headers in the first frame, at most.
    pub fn header_bytes(&self) -> usize {
        self.encode(u32::MAX).len()
    }

    /// The headers of the first frame, in the reference's order, and the blank
    /// line.
    pub(super) fn encode(&self, stream: u32) -> Vec<u8> {
        use std::fmt::Write as _;
        let mut headers =
            format!("SID: {stream}\r\nProto: {}\r\nHost: {}\r\n", self.protocol, self.host);
        if let Some(port) = self.port {
            let _ = write!(headers, "Port: {port}\r\n");
        }
        let _ = write!(headers, "RIP: {}\r\n", self.visitor_address);
        if let Some(port) = self.visitor_port {
            let _ = write!(headers, "RPort: {port}\r\n");
        }
        if self.visitor_tls {
            headers.push_str("RTLS: 1\r\n");
        }
        headers.push_str("\r\n");
        headers.into_bytes()
    }
}
