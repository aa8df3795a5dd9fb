//! What a whole request head says. `httparse` checks every byte of it; what
//! the two ends need is then read line by line.

use super::fields::{self, BodyHeaders, Header};

/// The most headers that a request may have to be read; of an answer as well.
pub const MAX_HEADERS: usize = 100;

/// A request head from its first empty line to its last.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    bytes: &'a [u8],
    /// Where the request line begins and where the headers do.
    request_line: (usize, usize),
}

/// Where the body of a request ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// Why a head cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// It breaks the grammar; in words, to follow "because".
    Malformed(&'static str),
    /// It has more than [`MAX_HEADERS`].
    TooManyHeaders,
}

impl<'a> Head<'a> {
    /// Checks a head that ends with an empty line.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, HeadError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let complete = match request.parse(bytes) {
            Ok(httparse::Status::Complete(end)) => end == bytes.len(),
            Ok(httparse::Status::Partial) => false,
            Err(error) => return Err(error.into()),
        };
        if !complete {
            return Err(HeadError::Malformed("its head ends in an unusual way"));
        }
        Ok(Self::checked(bytes))
    }

    /// The same for bytes that [`Self::parse`] has found well; of others it
    /// makes something, but no head.
    pub(crate) fn checked(bytes: &'a [u8]) -> Self {
        let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let start = bytes.iter().position(|byte| !is_line_end(byte));
        let start = start.unwrap_or(bytes.len());
        let end = bytes[start..].iter().position(|byte| *byte == b'\n');
        let end = end.map_or(bytes.len(), |length| start + length + 1);
        Self { bytes, request_line: (start, end) }
    }

    /// The request line with its end.
    #[cfg(feature = "relay")]
    pub(crate) fn request_line(&self) -> &'a [u8] {
        &self.bytes[self.request_line.0..self.request_line.1]
    }

    /// The head without the empty lines before it.
    #[cfg(feature = "relay")]
    pub(crate) fn without_empty_lines(&self) -> &'a [u8] {
        &self.bytes[self.request_line.0..]
    }

    /// The whole head.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Everything up to the first header: the request line with its end, and
    /// empty lines before it.
    pub(crate) fn before_headers(&self) -> &'a [u8] {
        &self.bytes[..self.request_line.1]
    }

    /// The end of the request line, CRLF or LF.
    pub(crate) fn line_end(&self) -> &'static [u8] {
        match self.before_headers() {
            [.., b'\r', b'\n'] => b"\r\n",
            _ => b"\n",
        }
    }

    pub(crate) fn method(&self) -> &'a [u8] {
        self.request_line_part(0)
    }

    pub(crate) fn target(&self) -> &'a [u8] {
        self.request_line_part(1)
    }

    /// Whether this is HTTP/1.0, and not HTTP/1.1.
    pub(crate) fn is_http_1_0(&self) -> bool {
        self.before_headers().trim_ascii_end().ends_with(b"HTTP/1.0")
    }

    /// The headers in their order.
    pub(crate) fn headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        fields::headers(&self.bytes[self.request_line.1..])
    }

    /// The empty line at the end.
    pub(crate) fn last_line(&self) -> &'a [u8] {
        match self.bytes {
            [.., b'\r', b'\n'] => b"\r\n",
            _ => b"\n",
        }
    }

    /// Whether the bytes after this request may be of another protocol
    /// (RFC 9110 sections 7.8 and 9.3.6).
    pub(crate) fn may_switch_protocol(&self) -> bool {
        self.method() == b"CONNECT"
            || self.headers().any(|header| header.name.eq_ignore_ascii_case(b"Upgrade"))
    }

    /// Where the body ends. Stricter than RFC 9112 asks: whatever two readers
    /// are known to read differently is an error, in words to follow
    /// "because".
    pub(crate) fn framing(&self) -> Result<Framing, &'static str> {
        let BodyHeaders { length, coding } = BodyHeaders::read(self.headers())?;
        if self.has_mixed_line_ends() {
            return Err("only some of its lines end in CR LF");
        }
        let framing = match (length, coding) {
            (None, None) => return Ok(Framing::None),
            (Some(_), Some(_)) => {
                return Err("it has both Content-Length and Transfer-Encoding");
            }
            (Some(value), None) => Framing::Length(fields::number(value)?),
            (None, Some(value)) => {
                if !fields::ends_in_chunked(value) {
                    return Err("its Transfer-Encoding does not end in chunked");
                }
                if self.is_http_1_0() {
                    return Err("it has a Transfer-Encoding, which HTTP/1.0 does not know");
                }
                Framing::Chunked
            }
        };
        if self.method() == b"CONNECT" && framing != Framing::Length(0) {
            return Err("a CONNECT request has no body");
        }
        Ok(framing)
    }

    fn request_line_part(&self, index: usize) -> &'a [u8] {
        let (start, end) = self.request_line;
        self.bytes[start..end].split(|byte| *byte == b' ').nth(index).unwrap_or_default()
    }

    fn has_mixed_line_ends(&self) -> bool {
        let is_crlf = |line: &[u8]| line.ends_with(b"\r\n");
        let mut lines = self.bytes.split_inclusive(|byte| *byte == b'\n');
        let first = lines.next().is_some_and(is_crlf);
        lines.any(|line| is_crlf(line) != first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(headers: &str) -> Result<Framing, &'static str> {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n");
        Head::parse(head.as_bytes()).expect("a head").framing()
    }

    #[test]
    fn the_parts_of_a_head() {
        let bytes = b"\r\nGET /a?b HTTP/1.1\nHost:  a \nX:\n\n";
        let head = Head::parse(bytes).expect("a head");
        assert_eq!(head.before_headers(), b"\r\nGET /a?b HTTP/1.1\n");
        assert_eq!((head.method(), head.target()), (&b"GET"[..], &b"/a?b"[..]));
        assert_eq!((head.line_end(), head.last_line()), (&b"\n"[..], &b"\n"[..]));
        let headers: Vec<_> = head.headers().map(|h| (h.name, h.value)).collect();
        assert_eq!(headers, [(&b"Host"[..], &b"a"[..]), (b"X", b"")]);
    }

    #[test]
    fn bodies_that_can_be_followed() {
        for (headers, expected) in [
            ("X: y", Framing::None),
            ("Content-Length: 0", Framing::Length(0)),
            ("content-length:5", Framing::Length(5)),
            ("Content-Length: 5\r\nContent-Length: 5", Framing::Length(5)),
            ("Content-Length: 18446744073709551615", Framing::Length(u64::MAX)),
            ("Transfer-Encoding: chunked", Framing::Chunked),
            ("Transfer-Encoding: gzip ,\tChunked", Framing::Chunked),
        ] {
            assert_eq!(framing(headers), Ok(expected), "{headers}");
        }
    }

    #[test]
    fn bodies_that_two_readers_end_at_different_places() {
        for headers in [
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5\r\nContent-Length: 05",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: -5",
            "Content-Length: 0x5",
            "Content-Length: 5 5",
            "Content-Length:",
            "Content-Length: 18446744073709551616",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: identity, chunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: chunked, gzip",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked;a=b",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding: ,chunked",
            "Transfer-Encoding:",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Content-Length: 5\nX: y",
        ] {
            assert!(framing(headers).is_err(), "{headers}");
        }
        let old = Head::parse(b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert!(old.expect("a head").framing().is_err());
        let connect = Head::parse(b"CONNECT a:1 HTTP/1.1\r\nContent-Length: 1\r\n\r\n");
        assert!(connect.expect("a head").framing().is_err());
    }

    #[test]
    fn heads_that_break_the_grammar() {
        for headers in [
            "X: y\r\n z",
            " X: y",
            "X : y",
            "X\t: y",
            "no colon",
            ": y",
            "X: a\rb",
            "X: a\0b",
            "X: a\x0bb",
            "X\x0b: b",
            "X: a\r",
            "\r",
        ] {
            let head = format!("GET / HTTP/1.1\r\n{headers}\r\n\r\n");
            let error = Head::parse(head.as_bytes()).expect_err(headers);
            assert!(matches!(error, HeadError::Malformed(_)), "{headers:?}");
        }
    }

    #[test]
    fn headers_are_counted() {
        let head = |count| {
            let headers = "A: b\r\n".repeat(count);
            format!("GET / HTTP/1.1\r\n{headers}\r\n").into_bytes()
        };
        assert!(Head::parse(&head(MAX_HEADERS)).is_ok());
        let error = Head::parse(&head(MAX_HEADERS + 1)).expect_err("too many");
        assert_eq!(error, HeadError::TooManyHeaders);
    }
}
