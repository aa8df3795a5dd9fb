//! One visitor's stream of requests: scan, judge, rewrite, pass on.

use std::mem;
use std::rc::Rc;

use super::{credentials, firewall, rewrite};
use crate::agent::access::Visitor;
use crate::agent::answer::Refusal;
use crate::config::KiteSettings;
use crate::http::body::{Body, Followed};
use crate::http::head::{Framing, Head, HeadError};
use crate::http::scan::{Scanned, Scanner, append};

/// What is to be done next with a visitor's stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Send these bytes to the service; never empty.
    Forward(&'a [u8]),
    /// Answer this to the visitor and close the stream, at both ends. It comes
    /// once. The visitor may have sent this request before earlier ones on the
    /// same connection were answered; what the service still says is lost.
    Refuse(Refusal),
}

/// Follows the requests of one stream of an HTTP kite.
///
/// Feed it with all that the visitor sends, in pieces of any size; the outcome
/// depends on the bytes only. It owns [`super::MAX_HEAD_BYTES`] while a head is
/// incomplete (twice that for the moment of rewriting), and nothing but itself
/// otherwise.
#[derive(Debug)]
pub struct RequestFilter {
    kite: Rc<KiteSettings>,
    visitor: Visitor,
    state: State,
    /// The begin of a head that is not complete, or a head to pass on.
    buffer: Vec<u8>,
    /// Whether [`Self::buffer`] was handed out and is to be freed.
    buffer_is_out: bool,
}

#[derive(Debug)]
enum State {
    /// Within or before a head.
    Head {
        scanner: Scanner,
        /// The request before this one may have switched the protocol.
        switched: bool,
    },
    Body {
        body: Body,
        switched: bool,
    },
    /// The next byte cannot be followed.
    Lost(Refusal),
    /// All that comes passes untouched.
    Blind,
    /// All that comes is thrown away.
    Refused,
}

/// What one step of the filter came to.
enum Step<'i> {
    Again,
    /// There is no input left.
    Idle,
    Input(&'i [u8]),
    /// What the buffer holds is to go out.
    Buffer,
    Refuse(Refusal),
}

impl RequestFilter {
    /// A filter for a stream that begins with a request.
    ///
    /// With `rawheaders` no head is changed in any way, `rewritehost` and the
    /// visitor's password included; the guards stay.
    pub fn new(kite: Rc<KiteSettings>, visitor: Visitor) -> Self {
        let mut filter =
            Self { kite, visitor, state: State::Blind, buffer: Vec::new(), buffer_is_out: false };
        if filter.is_guarded() || !filter.kite.flags.raw_headers {
            filter.state = State::next_head(false);
        }
        filter
    }

    /// The next thing to do with `input`, which is moved forward past the bytes
    /// that are dealt with. Call it until it returns `None`: then the input is
    /// used up, and a buffer that is no longer needed is freed.
    pub fn next<'p, 'i: 'p>(&'p mut self, input: &mut &'i [u8]) -> Option<Piece<'p>> {
        if self.buffer_is_out {
            self.buffer = Vec::new();
            self.buffer_is_out = false;
        }
        loop {
            match self.step(input) {
                Step::Again => {}
                Step::Idle => return None,
                Step::Input(bytes) => return Some(Piece::Forward(bytes)),
                Step::Refuse(refusal) => return Some(Piece::Refuse(refusal)),
                Step::Buffer => break,
            }
        }
        self.buffer_is_out = true;
        Some(Piece::Forward(&self.buffer))
    }

    /// The visitor will send no more: the bytes of an incomplete head that are
    /// still to be passed on. A guarded kite's service never sees them.
    pub fn end(&mut self) -> Option<&[u8]> {
        let is_head = matches!(self.state, State::Head { .. });
        let keeps = !self.buffer_is_out && is_head && !self.is_guarded();
        self.state = State::Refused;
        self.buffer_is_out = true;
        (keeps && !self.buffer.is_empty()).then_some(&self.buffer[..])
    }

    /// What the buffer takes up on the heap, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    fn step<'i>(&mut self, input: &mut &'i [u8]) -> Step<'i> {
        match &mut self.state {
            State::Lost(refusal) => {
                let refusal = *refusal;
                self.lose(refusal)
            }
            State::Refused => {
                *input = &[];
                Step::Idle
            }
            _ if input.is_empty() => Step::Idle,
            State::Blind => Step::Input(mem::take(input)),
            State::Body { body, switched } => {
                let (count, next) = match body.follow(input) {
                    Followed::More => (input.len(), None),
                    Followed::End(count) => (count, Some(State::next_head(*switched))),
                    Followed::Broken(count, problem) => {
                        let lost = State::Lost(Refusal::Malformed { problem });
                        (count, Some(lost))
                    }
                };
                if let Some(next) = next {
                    self.state = next;
                }
                match take(input, count) {
                    [] => Step::Again,
                    bytes => Step::Input(bytes),
                }
            }
            State::Head { scanner, switched } => match scanner.feed(input) {
                Scanned::More => {
                    append(&mut self.buffer, mem::take(input));
                    Step::Idle
                }
                Scanned::End(count) => self.finish_head(take(input, count)),
                Scanned::TooLong => self.lose(Refusal::HeadTooLarge),
                // Not even the begin of a method: the service switched.
                Scanned::NoRequest if *switched && scanner.seen() < 2 => self.go_blind(),
                Scanned::NoRequest => {
                    self.lose(Refusal::Malformed { problem: "it is no HTTP/1.1 request" })
                }
            },
        }
    }

    /// Deals with a head whose last bytes are `end`; the ones before are in the
    /// buffer.
    fn finish_head<'i>(&mut self, end: &'i [u8]) -> Step<'i> {
        let mut buffer = mem::take(&mut self.buffer);
        let is_split = !buffer.is_empty();
        if is_split {
            append(&mut buffer, end);
        }
        let bytes = if is_split { &buffer[..] } else { end };
        let verdict = Head::parse(bytes).map(|head| {
            let framing = head.framing();
            let refusal = self.judge(&head, framing);
            let rewritten = (refusal.is_none() && !self.kite.flags.raw_headers)
                .then(|| rewrite::rewrite(&head, &self.kite, &self.visitor));
            (head.may_switch_protocol(), framing, refusal, rewritten)
        });
        let rewritten = match verdict {
            Ok((_, _, Some(refusal), _)) => {
                self.state = State::Refused;
                return Step::Refuse(refusal);
            }
            Ok((switched, framing, None, rewritten)) => {
                self.state = match framing.map(Body::new) {
                    Ok(Some(body)) => State::Body { body, switched },
                    Ok(None) => State::next_head(switched),
                    Err(_) => State::Blind,
                };
                rewritten
            }
            Err(error) => {
                let refusal = error.into();
                if self.is_guarded() {
                    return self.lose(refusal);
                }
                self.state = State::Blind;
                None
            }
        };
        match rewritten {
            Some(rewritten) => self.buffer = rewritten,
            None if is_split => self.buffer = buffer,
            None => return Step::Input(end),
        }
        Step::Buffer
    }

    /// Why a request may not pass.
    fn judge(&self, head: &Head<'_>, framing: Result<Framing, &'static str>) -> Option<Refusal> {
        if !self.is_guarded() {
            return None;
        }
        if let Err(problem) = framing {
            return Some(Refusal::Malformed { problem });
        }
        let passwords = &self.kite.flags.passwords;
        let mut authorizations =
            head.headers().filter(|header| header.name.eq_ignore_ascii_case(b"Authorization"));
        if !passwords.is_empty()
            && !authorizations.any(|header| credentials::matches(header.value, passwords))
        {
            return Some(Refusal::Unauthorized);
        }
        if self.kite.url_firewall() {
            let rule = firewall::broken_rule(head.method(), head.target())?;
            return Some(Refusal::Firewall { rule });
        }
        None
    }

    /// From here on the requests cannot be followed.
    fn lose<'i>(&mut self, refusal: Refusal) -> Step<'i> {
        if self.is_guarded() {
            self.buffer = Vec::new();
            self.state = State::Refused;
            Step::Refuse(refusal)
        } else {
            self.go_blind()
        }
    }

    fn go_blind<'i>(&mut self) -> Step<'i> {
        self.state = State::Blind;
        if self.buffer.is_empty() { Step::Again } else { Step::Buffer }
    }

    /// Whether what cannot be read must not pass.
    fn is_guarded(&self) -> bool {
        self.kite.url_firewall() || !self.kite.flags.passwords.is_empty()
    }
}

impl State {
    fn next_head(switched: bool) -> Self {
        Self::Head { scanner: Scanner::default(), switched }
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Malformed(problem) => Self::Malformed { problem },
            HeadError::TooManyHeaders => Self::HeadTooLarge,
        }
    }
}

/// Splits the first `count` bytes off `input`.
fn take<'i>(input: &mut &'i [u8], count: usize) -> &'i [u8] {
    let (taken, rest) = input.split_at(count);
    *input = rest;
    taken
}
