//! Where the answer to a request ends, so that the connection of a visitor can
//! carry the next request, maybe to another kite. The bytes themselves pass by.
//!
//! The end must not be seen earlier than a browser sees it, and what follows an
//! answer unasked must not be taken for the next one (RFC 9112 section 9.2).
//! Whatever two readers are known to read differently is not followed.

use super::body::{Body, Followed};
use super::fields::{self, BodyHeaders};
use super::head::{Framing, HeadError, MAX_HEADERS};
use super::scan::{Scanned, Scanner, append};

/// The most interim answers (1xx) to one request; services send one or two.
pub const MAX_INTERIM_HEADS: u32 = 32;

/// Follows the answer to one request: interim heads, the final head, the body.
///
/// Feed it with all that the service sends, in pieces of any size; the outcome
/// depends on the bytes only. It owns up to [`super::MAX_HEAD_BYTES`] while a
/// head is incomplete, and nothing but itself otherwise.
#[derive(Debug)]
pub struct ResponseFollower {
    /// The request was HEAD, whose answer has no body.
    is_head: bool,
    interim_heads: u32,
    status: Option<u16>,
    state: State,
}

#[derive(Debug)]
enum State {
    Head {
        scanner: Scanner,
        /// The begin of a head that is not complete.
        buffer: Vec<u8>,
    },
    Body {
        body: Body,
        keeps_alive: bool,
    },
    Ended {
        keeps_alive: bool,
    },
    UntilClose,
    Switched,
    Broken(&'static str),
}

/// What [`ResponseFollower::follow`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// All of the input belongs to the answer, which goes on.
    More,
    /// The answer is complete.
    End {
        /// How much of the input belongs to it. If there is more, feed the rest
        /// as well: it is [`Answered::Broken`].
        bytes: usize,
        /// Whether the service lets the connection stay open. The visitor has
        /// been told so: where it is false, close the visitor's connection.
        keeps_alive: bool,
    },
    /// 101: after so many bytes of the input both directions are of another
    /// protocol, until the connection ends.
    Switched(usize),
    /// All of the input and all that comes belongs to the answer.
    UntilClose,
    /// From somewhere in this input on, the answer cannot be followed; why, to
    /// follow "because". All that comes is to be passed on, and the visitor's
    /// connection to be closed at its end, or when the next request comes.
    Broken(&'static str),
}

impl ResponseFollower {
    /// For the answer to a request of this method, which is not CONNECT.
    pub fn new(method: &[u8]) -> Self {
        Self {
            is_head: method == b"HEAD",
            interim_heads: 0,
            status: None,
            state: State::next_head(),
        }
    }

    /// Looks at the next bytes. What came out last, except for
    /// [`Answered::More`], comes out for all later input too; only what comes
    /// after the end of an answer is [`Answered::Broken`].
    pub fn follow(&mut self, input: &[u8]) -> Answered {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            let (bytes, next) = match &mut self.state {
                State::Ended { keeps_alive } if rest.is_empty() || used > 0 => {
                    return Answered::End { bytes: used, keeps_alive: *keeps_alive };
                }
                State::Ended { .. } => (0, State::Broken("bytes follow that nobody asked for")),
                State::UntilClose => return Answered::UntilClose,
                State::Switched => return Answered::Switched(used),
                State::Broken(problem) => return Answered::Broken(problem),
                _ if rest.is_empty() => return Answered::More,
                State::Body { body, keeps_alive } => match body.follow(rest) {
                    Followed::More => return Answered::More,
                    Followed::End(bytes) => (bytes, State::Ended { keeps_alive: *keeps_alive }),
                    Followed::Broken(bytes, problem) => (bytes, State::Broken(problem)),
                },
                State::Head { scanner, buffer } => match scanner.feed(rest) {
                    Scanned::More => {
                        append(buffer, rest);
                        return Answered::More;
                    }
                    Scanned::End(bytes) if buffer.is_empty() => {
                        (bytes, self.after_head(&input[used..used + bytes]))
                    }
                    Scanned::End(bytes) => {
                        let mut head = std::mem::take(buffer);
                        append(&mut head, &rest[..bytes]);
                        (bytes, self.after_head(&head))
                    }
                    Scanned::TooLong => (0, State::Broken("its head is too long")),
                    Scanned::NoRequest => (0, State::Broken("it is no HTTP/1 answer")),
                },
            };
            used += bytes;
            self.state = next;
        }
    }

    /// The status code of the final head, 200 to 999 or 101, once it is there.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// What the buffer takes up on the heap, in bytes.
    pub fn held_bytes(&self) -> usize {
        match &self.state {
            State::Head { buffer, .. } => buffer.capacity(),
            _ => 0,
        }
    }

    fn after_head(&mut self, head: &[u8]) -> State {
        let head = match AnswerHead::parse(head) {
            Ok(head) => head,
            Err(HeadError::Malformed(problem)) => return State::Broken(problem),
            Err(HeadError::TooManyHeaders) => return State::Broken("it has too many headers"),
        };
        if head.status / 100 == 1 && head.status != 101 {
            self.interim_heads += 1;
            return match self.interim_heads {
                ..=MAX_INTERIM_HEADS => State::next_head(),
                _ => State::Broken("it has too many interim heads"),
            };
        }
        self.status = Some(head.status);
        if head.status == 101 {
            return State::Switched;
        }
        if self.is_head || matches!(head.status, 204 | 304) {
            return State::Ended { keeps_alive: head.keeps_alive };
        }
        head.after()
    }
}

impl State {
    fn next_head() -> Self {
        Self::Head { scanner: Scanner::for_answer(), buffer: Vec::new() }
    }
}

/// What the head of an answer says.
struct AnswerHead<'a> {
    /// 100 to 999.
    status: u16,
    is_http_1_0: bool,
    keeps_alive: bool,
    /// The lines after the status line.
    lines: &'a [u8],
}

impl<'a> AnswerHead<'a> {
    /// Checks a head that ends with an empty line.
    fn parse(bytes: &'a [u8]) -> Result<Self, HeadError> {
        const STATUS_LINE: HeadError = HeadError::Malformed("its status line is malformed");
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        // The default is the strict one: no folded lines, no blank before ":".
        let parser = httparse::ParserConfig::default();
        match parser.parse_response(&mut response, bytes)? {
            httparse::Status::Complete(end) if end == bytes.len() => {}
            _ => return Err(HeadError::Malformed("its head ends in an unusual way")),
        }
        let (Some(status @ 100..=999), Some(version)) = (response.code, response.version) else {
            return Err(STATUS_LINE);
        };
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(STATUS_LINE)?;
        let lines = &bytes[end + 1..];
        let is_http_1_0 = version == 0;
        let keeps_alive = fields::keeps_alive(fields::headers(lines), is_http_1_0);
        Ok(Self { status, is_http_1_0, keeps_alive, lines })
    }

    /// What comes after a head that may have a body (RFC 9112 section 6.3).
    fn after(&self) -> State {
        let BodyHeaders { length, coding } = match BodyHeaders::read(fields::headers(self.lines)) {
            Ok(found) => found,
            Err(problem) => return State::Broken(problem),
        };
        let mut keeps_alive = self.keeps_alive;
        let framing = match (length, coding) {
            (None, None) => return State::UntilClose,
            (_, Some(_)) if self.is_http_1_0 => {
                return State::Broken("it has a Transfer-Encoding, which HTTP/1.0 does not know");
            }
            (_, Some(coding)) if !fields::ends_in_chunked(coding) => return State::UntilClose,
            (length, Some(_)) => {
                // The chunks count, and the connection is not to be trusted.
                keeps_alive &= length.is_none();
                Framing::Chunked
            }
            (Some(length), None) => match fields::number(length) {
                Ok(length) => Framing::Length(length),
                Err(problem) => return State::Broken(problem),
            },
        };
        // Browsers read no body after a 205, whatever its head says.
        keeps_alive &= self.status != 205 || framing == Framing::Length(0);
        match Body::new(framing) {
            Some(body) => State::Body { body, keeps_alive },
            None => State::Ended { keeps_alive },
        }
    }
}

#[cfg(test)]
mod tests;
