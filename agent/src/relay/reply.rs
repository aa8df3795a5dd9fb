//! The relay's own short answers, as bytes: pages for visitors, lines for
//! agents and their probes (`protocol.md` 2.4, 3.2, 11 and 12).

use std::fmt::Write as _;

/// The answer to a CONNECT that is let through (`protocol.md` 2.2 and 11).
pub const CONNECTED: &[u8] = b"HTTP/1.0 200 Connection Established\r\n\r\n";
/// The answer to a CONNECT that leads nowhere, and to an agent whose request
/// is malformed (`protocol.md` 3.1 and 11).
pub const UNAVAILABLE: &[u8] = b"HTTP/1.0 503 Unavailable\r\n\r\n";
/// The answer to an agent who is not let in (`protocol.md` 3.2).
pub const FORBIDDEN: &[u8] = b"HTTP/1.0 403 Forbidden\r\n\r\n";

/// The longest path that [`pong`] repeats, in bytes.
const MAX_PONG_PATH_BYTES: usize = 1024;

/// Status of an answer that the relay gives itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// 200.
    Ok,
    /// 400.
    BadRequest,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 413.
    ContentTooLarge,
    /// 421.
    MisdirectedRequest,
    /// 429.
    TooManyRequests,
    /// 431.
    HeadTooLarge,
    /// 501.
    NotImplemented,
    /// 503.
    Unavailable,
}

impl Status {
    /// The code, for logs.
    pub fn code(self) -> u16 {
        self.words().0
    }

    /// Code and reason phrase (RFC 9110 section 15, RFC 6585). That of 503 is
    /// PageKite's: agents that ping look for it (`protocol.md` 2.4).
    pub fn words(self) -> (u16, &'static str) {
        match self {
            Self::Ok => (200, "OK"),
            Self::BadRequest => (400, "Bad Request"),
            Self::Forbidden => (403, "Forbidden"),
            Self::NotFound => (404, "Not Found"),
            Self::ContentTooLarge => (413, "Content Too Large"),
            Self::MisdirectedRequest => (421, "Misdirected Request"),
            Self::TooManyRequests => (429, "Too Many Requests"),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large"),
            Self::NotImplemented => (501, "Not Implemented"),
            Self::Unavailable => (503, "Unavailable"),
        }
    }
}

/// What tells one relay from another (`protocol.md` 2.4).
#[derive(Clone, Copy, Debug)]
pub struct RelayMark<'a> {
    /// 40 hexadecimal digits that stay the same while the relay runs.
    pub uuid: &'a str,
    /// Agents should go elsewhere if they can.
    pub overloaded: bool,
}

impl RelayMark<'_> {
    fn write(self, out: &mut String) {
        if self.overloaded {
            out.push_str("X-PageKite-Overloaded: Sorry\r\n");
        }
        line(out, "X-PageKite-UUID", self.uuid);
    }
}

/// An answer that the relay gives to a request of HTTP/1.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The status.
    pub status: Status,
    /// The body.
    pub body: &'a str,
    /// What the body is, for instance [`HTML`].
    pub content_type: &'a str,
    /// The request was HEAD: the body is left out, its length is told.
    pub is_head: bool,
    /// The connection is closed after this answer. Say so where the rest of
    /// the request is not read.
    pub closes: bool,
    /// Seconds after which another attempt is of use, for 429 and 503.
    pub retry_after_seconds: Option<u32>,
    /// Told to pinging agents whose request is too long to be seen as a ping;
    /// it goes with 503.
    pub mark: Option<RelayMark<'a>>,
}

/// `Content-Type` of pages.
pub const HTML: &str = "text/html; charset=utf-8";

impl<'a> Reply<'a> {
    /// A page, after which the connection is closed.
    pub fn page(status: Status, html: &'a str) -> Self {
        Self {
            status,
            body: html,
            content_type: HTML,
            is_head: false,
            closes: true,
            retry_after_seconds: None,
            mark: None,
        }
    }

    /// The whole answer; headers are in the order of PageKite's pages
    /// (`protocol.md` 12.1).
    pub fn to_bytes(&self) -> Vec<u8> {
        let (code, phrase) = self.status.words();
        let body = if self.is_head { "" } else { self.body };
        // The head takes some 300 bytes.
        let mut out = String::with_capacity(400 + body.len());
        // Infallible, here and below: a String takes every write.
        let _ = write!(out, "HTTP/1.1 {code} {phrase}\r\n");
        if let Some(mark) = self.mark {
            mark.write(&mut out);
        }
        line(&mut out, "Content-Type", self.content_type);
        out.push_str(NOT_STORED);
        if let Some(seconds) = self.retry_after_seconds {
            let _ = write!(out, "Retry-After: {seconds}\r\n");
        }
        let _ = write!(out, "Content-Length: {}\r\n", self.body.len());
        // `keep-alive` is for visitors of HTTP/1.0.
        line(&mut out, "Connection", if self.closes { "close" } else { "keep-alive" });
        out.push_str("\r\n");
        out.push_str(body);
        out.into_bytes()
    }
}

/// Nothing that the relay says holds for later.
const NOT_STORED: &str = "Pragma: no-cache\r\nExpires: 0\r\nCache-Control: no-store\r\n";

/// The answer to a ping (`protocol.md` 2.4), after which the connection is
/// closed. Agents compare its first line, and some read the first 120 bytes
/// only. `is_head` leaves the body out.
pub fn ping(mark: RelayMark<'_>, is_head: bool) -> Vec<u8> {
    let mut out = String::with_capacity(400);
    out.push_str("HTTP/1.1 503 Unavailable\r\n");
    mark.write(&mut out);
    line(&mut out, "Content-Type", HTML);
    out.push_str(NOT_STORED);
    line(&mut out, "Connection", "close");
    out.push_str("\r\n");
    if !is_head {
        out.push_str(
            "<html><body><h1>Sorry! (fe)</h1><p>This relay is there, \
             and ping.pagekite is no kite.</p></body></html>\n",
        );
    }
    out.into_bytes()
}

/// The answer to `PING <path> HTTP/1.x` (`protocol.md` 2.4), after which the
/// connection is closed. The path is repeated up to its first byte that is not
/// printable.
pub fn pong(path: &[u8]) -> Vec<u8> {
    let printable = path.iter().take_while(|byte| byte.is_ascii_graphic());
    let mut out = b"PONG ".to_vec();
    out.extend(printable.take(MAX_PONG_PATH_BYTES));
    out.extend_from_slice(b"\r\n\r\n");
    out
}

fn line(out: &mut String, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response::{Answered, ResponseFollower};

    const EVERY: [Status; 10] = [
        Status::Ok,
        Status::BadRequest,
        Status::Forbidden,
        Status::NotFound,
        Status::ContentTooLarge,
        Status::MisdirectedRequest,
        Status::TooManyRequests,
        Status::HeadTooLarge,
        Status::NotImplemented,
        Status::Unavailable,
    ];
    const UUID: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn visitors_can_follow_every_answer() {
        for status in EVERY {
            for (method, is_head) in [("GET", false), ("HEAD", true)] {
                for closes in [false, true] {
                    let page = Reply::page(status, "<p>é</p>");
                    let bytes = Reply { is_head, closes, ..page }.to_bytes();
                    let mut follower = ResponseFollower::new(method.as_bytes());
                    let end = Answered::End { bytes: bytes.len(), keeps_alive: !closes };
                    assert_eq!(follower.follow(&bytes), end);
                    assert_eq!(follower.status(), Some(status.code()));
                }
            }
        }
    }

    #[test]
    fn headers_come_in_the_order_of_pagekite() {
        let reply = Reply {
            mark: Some(RelayMark { uuid: UUID, overloaded: true }),
            retry_after_seconds: Some(30),
            ..Reply::page(Status::Unavailable, "<p>é</p>")
        };
        assert_eq!(
            text(reply.to_bytes()),
            format!(
                "HTTP/1.1 503 Unavailable\r\nX-PageKite-Overloaded: Sorry\r\n\
                 X-PageKite-UUID: {UUID}\r\nContent-Type: text/html; charset=utf-8\r\n\
                 Pragma: no-cache\r\nExpires: 0\r\nCache-Control: no-store\r\n\
                 Retry-After: 30\r\nContent-Length: 9\r\nConnection: close\r\n\r\n<p>é</p>"
            )
        );
        let reply = Reply { closes: false, ..Reply::page(Status::BadRequest, "") };
        assert_eq!(
            text(reply.to_bytes()),
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html; charset=utf-8\r\n\
             Pragma: no-cache\r\nExpires: 0\r\nCache-Control: no-store\r\n\
             Content-Length: 0\r\nConnection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn a_ping_is_answered_as_agents_expect() {
        for (overloaded, sorry) in [(false, ""), (true, "X-PageKite-Overloaded: Sorry\r\n")] {
            let head = format!(
                "HTTP/1.1 503 Unavailable\r\n{sorry}X-PageKite-UUID: {UUID}\r\n\
                 Content-Type: text/html; charset=utf-8\r\nPragma: no-cache\r\nExpires: 0\r\n\
                 Cache-Control: no-store\r\nConnection: close\r\n\r\n"
            );
            let mark = RelayMark { uuid: UUID, overloaded };
            assert_eq!(text(ping(mark, true)), head);
            let answer = text(ping(mark, false));
            let body = answer.strip_prefix(&head).expect("the same head");
            assert!(body.contains("Sorry! (fe)") && body.contains("ping.pagekite"));
            // All that libpagekite reads.
            assert!(answer[..120].contains(UUID));
        }
    }

    #[test]
    fn a_pong_repeats_the_path_and_nothing_else() {
        assert_eq!(pong(b"/a?b"), b"PONG /a?b\r\n\r\n");
        assert_eq!(pong(b"/a\r\nX: y"), b"PONG /a\r\n\r\n");
        assert_eq!(pong(b"/\xff"), b"PONG /\r\n\r\n");
        assert_eq!(pong(&[b'a'; 9999]).len(), MAX_PONG_PATH_BYTES + 9);
    }
}
