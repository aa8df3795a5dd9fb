//! How far a visitor's request and the answer to it have come, by the bytes that
//! pass: when the next request may follow, and which bytes are for whom.

use crate::http::body::{Body, Followed};
use crate::http::response::{Answered, ResponseFollower};

/// What is known of a request besides its head.
pub(super) struct Request {
    /// What follows the head; `None` is nothing.
    pub(super) body: Option<Body>,
    pub(super) answer: ResponseFollower,
    /// Another protocol may follow.
    pub(super) may_switch: bool,
}

/// What is followed of the bytes of a stream.
pub(super) enum Exchange {
    /// Nothing.
    Blind {
        /// Status of the answer that led to another protocol.
        status: Option<u16>,
    },
    /// A request and its answer.
    Http {
        /// What is left of the request's body; `None` when it is complete.
        body: Option<Body>,
        answer: Box<ResponseFollower>,
        progress: Progress,
        /// The request allows another protocol.
        may_switch: bool,
    },
}

/// How far the answer to a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Awaited,
    /// It is complete.
    Over {
        keeps_alive: bool,
    },
    /// Another protocol than HTTP follows.
    Switched,
    /// It ends with the stream.
    Endless,
    /// Nobody knows where it ends.
    Unclear,
}

impl Exchange {
    /// `None` follows nothing.
    pub(super) fn new(http: Option<Request>) -> Self {
        match http {
            None => Self::Blind { status: None },
            Some(Request { body, answer, may_switch }) => {
                let progress = Progress::Awaited;
                Self::Http { body, answer: Box::new(answer), progress, may_switch }
            }
        }
    }

    /// How far the answer has come; `None` where nothing is followed.
    pub(super) fn progress(&self) -> Option<Progress> {
        match self {
            Self::Http { progress, .. } => Some(*progress),
            Self::Blind { .. } => None,
        }
    }

    /// Status of the answer, where one was read.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Http { answer, .. } => answer.status(),
            Self::Blind { status } => *status,
        }
    }

    /// Whether the answer is complete.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.progress(), Some(Progress::Over { .. }))
    }

    /// Whether request and answer are complete and another request may follow.
    pub(super) fn may_go_on(&self) -> bool {
        let over = Progress::Over { keeps_alive: true };
        matches!(self, Self::Http { body: None, progress, .. } if *progress == over)
    }

    /// Whether more of the visitor is to go to the kite; `is_head_due` says
    /// whether some of the request's head has not gone yet.
    pub(super) fn wants_request(&self, is_head_due: bool) -> bool {
        match self {
            Self::Blind { .. } => true,
            Self::Http { progress: Progress::Over { keeps_alive: false }, .. } => false,
            Self::Http { body, .. } => body.is_some() || is_head_due,
        }
    }

    /// Whether the body of the request is not complete.
    pub(super) fn is_body_due(&self) -> bool {
        matches!(self, Self::Http { body: Some(_), .. })
    }

    /// How many of the visitor's next bytes, one at least, belong to the
    /// request; the others are of the next one.
    ///
    /// # Errors
    /// They are not what has to come in a body; in words to follow "because".
    pub(super) fn follow_request(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let Self::Http { body, .. } = self else { return Ok(bytes.len()) };
        let Some(followed) = body else { return Ok(0) };
        match followed.follow(bytes) {
            Followed::More => Ok(bytes.len()),
            Followed::End(at) => {
                *body = None;
                Ok(at)
            }
            Followed::Broken(_, why) => Err(why),
        }
    }

    /// What of the kite's next bytes the visitor is to get, and whether the
    /// answer has come to another point by them.
    pub(super) fn follow_answer<'b>(&mut self, bytes: &'b [u8]) -> (&'b [u8], bool) {
        let Self::Http { answer, progress, may_switch, .. } = self else { return (bytes, false) };
        let (usable, next) = match *progress {
            Progress::Awaited => match answer.follow(bytes) {
                Answered::More => (bytes, Progress::Awaited),
                Answered::End { bytes: at, keeps_alive } => {
                    // What comes behind an answer answers nothing.
                    let keeps_alive = keeps_alive && at == bytes.len();
                    (&bytes[..at], Progress::Over { keeps_alive })
                }
                Answered::Switched(_) if *may_switch => (bytes, Progress::Switched),
                Answered::UntilClose => (bytes, Progress::Endless),
                Answered::Switched(_) | Answered::Broken(_) => (bytes, Progress::Unclear),
            },
            Progress::Over { .. } => (&bytes[..0], Progress::Over { keeps_alive: false }),
            other => (bytes, other),
        };
        let is_news = next != *progress;
        *progress = next;
        (usable, is_news)
    }

    /// Follows nothing any more, once another protocol has begun.
    pub(super) fn stop_following(&mut self) {
        *self = Self::Blind { status: self.status() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Framing;

    fn exchange(body: Framing) -> Exchange {
        let answer = ResponseFollower::new(b"GET");
        Exchange::new(Some(Request { body: Body::new(body), answer, may_switch: true }))
    }

    const OVER: Option<Progress> = Some(Progress::Over { keeps_alive: true });

    #[test]
    fn the_next_request_may_follow_when_both_are_complete() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let mut exchange = exchange(Framing::Length(3));
        assert_eq!(exchange.follow_answer(answer), (&answer[..], true));
        assert!(exchange.progress() == OVER && exchange.is_answered());
        assert!(!exchange.may_go_on() && exchange.wants_request(false), "the body is due");
        assert_eq!(exchange.follow_request(b"ab"), Ok(2));
        assert_eq!(exchange.follow_request(b"cGET /"), Ok(1), "the rest is the next request");
        assert!(exchange.may_go_on() && !exchange.wants_request(false));
        assert_eq!(exchange.follow_request(b"GET /"), Ok(0));
        assert!(exchange.wants_request(true), "a service may answer before it has the head");
        assert_eq!(exchange.status(), Some(200));
    }

    #[test]
    fn what_nobody_asked_for_reaches_nobody_and_ends_the_stream() {
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        for glued in [true, false] {
            let mut exchange = exchange(Framing::None);
            let more = b"HTTP/1.1 200 OK\r\n\r\n";
            if glued {
                let both = [&answer[..], more].concat();
                assert_eq!(exchange.follow_answer(&both), (&answer[..], true));
            } else {
                exchange.follow_answer(answer);
                assert!(exchange.may_go_on());
                assert_eq!(exchange.follow_answer(more), (&b""[..], true));
                assert_eq!(exchange.follow_answer(more), (&b""[..], false));
            }
            assert!(!exchange.may_go_on() && exchange.is_answered());
        }
    }

    #[test]
    fn an_answer_that_closes_ends_the_request_early() {
        let mut exchange = exchange(Framing::Chunked);
        exchange.follow_answer(b"HTTP/1.1 413 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        assert!(!exchange.wants_request(true) && !exchange.may_go_on());
        assert_eq!(exchange.status(), Some(413));
    }

    #[test]
    fn another_protocol_begins_with_the_bytes_behind_its_head() {
        let bytes = b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02ok";
        let mut exchange = exchange(Framing::None);
        assert_eq!(exchange.follow_answer(bytes), (&bytes[..], true));
        assert_eq!(exchange.progress(), Some(Progress::Switched));
        exchange.stop_following();
        assert!(exchange.wants_request(false) && exchange.status() == Some(101));
        assert_eq!(exchange.follow_request(b"\x81"), Ok(1));
    }

    #[test]
    fn a_body_that_is_none_is_an_error() {
        assert!(exchange(Framing::Chunked).follow_request(b"x\r\n").is_err());
    }
}
