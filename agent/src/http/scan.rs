//! Where a head ends, seen byte by byte: nothing is read twice, however small
//! the pieces are in which a head drips in. The request line is checked on the
//! way, so that bytes which are no request are known for that at once.

/// The longest head that is held to be read, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Follows one head; the default is that of a request.
#[derive(Debug, Default)]
pub struct Scanner {
    place: Place,
    /// Bytes seen so far, empty lines before the request line included.
    seen: usize,
    /// How much longer than [`MAX_HEAD_BYTES`] the head may be.
    extra: usize,
}

#[derive(Clone, Copy, Debug, Default)]
enum Place {
    /// Before the request line, where empty lines are skipped (RFC 9112 2.2).
    #[default]
    Start,
    StartCr,
    Method,
    /// After the space that ends the method.
    TargetStart,
    Target,
    /// So many bytes into [`VERSION`].
    Version(usize),
    /// So many bytes into [`VERSION`], with which an answer begins.
    Answer(usize),
    /// After the last digit of the version.
    RequestLineEnd,
    RequestLineCr,
    /// At the begin of a line.
    LineStart,
    /// After a CR that begins a line.
    EmptyLineCr,
    Line,
}

/// What all request lines have before the last digit, and how answers begin.
const VERSION: &[u8] = b"HTTP/1.";

/// What [`Scanner::feed`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// All of the input belongs to the head, which goes on.
    More,
    /// The head ends after so many bytes of the input.
    End(usize),
    /// This is no HTTP/1 request; or answer, if one was to come.
    NoRequest,
    /// The head is longer than [`MAX_HEAD_BYTES`], or what was allowed instead.
    TooLong,
}

impl Scanner {
    /// Follows the head of an answer, which begins with its status line. Of
    /// that line no more than the beginning is checked.
    #[cfg(feature = "relay")]
    pub fn for_answer() -> Self {
        Self { place: Place::Answer(0), ..Self::default() }
    }

    /// Allows a longer head than that of HTTP: this one is something else.
    #[cfg(feature = "relay")]
    pub fn allow(&mut self, longest: usize) {
        self.extra = longest.saturating_sub(MAX_HEAD_BYTES);
    }

    /// Looks at the next bytes of a head. Once something else than
    /// [`Scanned::More`] came out, the scanner is done.
    pub fn feed(&mut self, input: &[u8]) -> Scanned {
        let longest = MAX_HEAD_BYTES + self.extra;
        let mut index = 0;
        while let Some(&byte) = input.get(index) {
            if self.seen >= longest {
                return Scanned::TooLong;
            }
            if let Place::Line = self.place {
                // Most of a head is inside of lines.
                let room = longest - self.seen;
                let rest = &input[index..];
                let rest = &rest[..rest.len().min(room)];
                let line_end = rest.iter().position(|byte| *byte == b'\n');
                let step = line_end.map_or(rest.len(), |end| end + 1);
                if line_end.is_some() {
                    self.place = Place::LineStart;
                }
                index += step;
                self.seen += step;
                continue;
            }
            let Some(place) = self.place.after(byte) else {
                return Scanned::NoRequest;
            };
            index += 1;
            self.seen += 1;
            match place {
                After::Place(place) => self.place = place,
                After::End => return Scanned::End(index),
            }
        }
        Scanned::More
    }

    /// How many bytes of the head were well; the next one was not if
    /// [`Scanned::NoRequest`] came out.
    pub fn seen(&self) -> usize {
        self.seen
    }
}

enum After {
    Place(Place),
    End,
}

impl Place {
    /// `None` when `byte` cannot come here in a request.
    fn after(self, byte: u8) -> Option<After> {
        Some(After::Place(match (self, byte) {
            (Self::Start, b'\r') => Self::StartCr,
            (Self::Start | Self::StartCr, b'\n') => Self::Start,
            (Self::Start | Self::Method, _) if is_token(byte) => Self::Method,
            (Self::Method, b' ') => Self::TargetStart,
            (Self::TargetStart | Self::Target, b'!'..=b'~' | 0x80..) => Self::Target,
            (Self::Target, b' ') => Self::Version(0),
            (Self::Answer(at), _) if VERSION.get(at) == Some(&byte) => match at + 1 {
                at if at == VERSION.len() => Self::Line,
                at => Self::Answer(at),
            },
            (Self::Version(at), _) if VERSION.get(at) == Some(&byte) => Self::Version(at + 1),
            (Self::Version(at), b'0' | b'1') if at == VERSION.len() => Self::RequestLineEnd,
            (Self::RequestLineEnd, b'\r') => Self::RequestLineCr,
            (Self::RequestLineEnd | Self::RequestLineCr, b'\n') => Self::LineStart,
            (Self::LineStart, b'\r') => Self::EmptyLineCr,
            (Self::LineStart | Self::EmptyLineCr, b'\n') => return Some(After::End),
            (Self::LineStart | Self::Line, _) => Self::Line,
            _ => return None,
        }))
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Grows a head's buffer by doubling, but never past the longest head.
pub(crate) fn append(buffer: &mut Vec<u8>, bytes: &[u8]) {
    let needed = buffer.len() + bytes.len();
    if needed > buffer.capacity() {
        let room = needed.max(MAX_HEAD_BYTES.min(buffer.capacity() * 2));
        buffer.reserve_exact(room - buffer.len());
    }
    buffer.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds in pieces of `size`; the answer counts from the first byte.
    fn scan(input: &[u8], size: usize) -> Scanned {
        let mut scanner = Scanner::default();
        for (index, piece) in input.chunks(size).enumerate() {
            match scanner.feed(piece) {
                Scanned::More => {}
                Scanned::End(at) => return Scanned::End(index * size + at),
                other => return other,
            }
        }
        Scanned::More
    }

    #[test]
    fn finds_the_end_however_the_head_is_cut() {
        for (input, end) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody"[..], Some(27)),
            (b"GET / HTTP/1.0\nHost: a\n\nbody", Some(24)),
            (b"GET / HTTP/1.1\r\n\r\n", Some(18)),
            (b"\r\n\n\r\nGET / HTTP/1.1\r\n\r\nx", Some(23)),
            (b"GET / HTTP/1.1\r\nA: b\r\n\n", Some(23)),
            (b"GET / HTTP/1.1\r\nA: b\r\n\r", None),
            (b"GET / HTTP/1.1\r\nA: b\r\r\n", None),
            (b"", None),
        ] {
            for size in 1..=input.len().max(1) {
                let expected = end.map_or(Scanned::More, Scanned::End);
                assert_eq!(scan(input, size), expected, "{input:?} by {size}");
            }
        }
    }

    #[test]
    fn what_is_no_request_is_known_at_the_first_wrong_byte() {
        for (input, well) in [
            (&b"\x81\x85abcdef"[..], 0),
            (b"A\x85abcdef", 1),
            (b"\n\x85abcdef", 1),
            (b"\r\x85abcdef", 1),
            (b" GET / HTTP/1.1\r\n", 0),
            (b"GET\r\n", 3),
            (b"GET  / HTTP/1.1\r\n", 4),
            (b"GET /\r\n", 5),
            (b"GET / x HTTP/1.1\r\n", 6),
            (b"GET /\x7f HTTP/1.1\r\n", 5),
            (b"GET / http/1.1\r\n", 6),
            (b"GET / HTTP/1.10\r\n", 14),
            (b"GET / HTTP/1.1 \r\n", 14),
            (b"GET / HTTP/1.1\rX", 15),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 11),
            (b"SSH-2.0-x\r\n", 9),
            (b"GET / HTTP/1.1\r\n\rX", 17),
        ] {
            for size in 1..=input.len() {
                let mut scanner = Scanner::default();
                let found = input
                    .chunks(size)
                    .map(|piece| scanner.feed(piece))
                    .find(|found| *found != Scanned::More);
                assert_eq!(found, Some(Scanned::NoRequest), "{input:?}");
                assert_eq!(scanner.seen(), well, "{input:?} by {size}");
            }
        }
    }

    #[test]
    fn a_head_may_be_as_long_as_the_limit() {
        let mut head = b"GET / HTTP/1.1\r\nCookie: ".to_vec();
        head.resize(MAX_HEAD_BYTES - 4, b'a');
        head.extend_from_slice(b"\r\n\r\n");
        for size in [1, 7, 1400, MAX_HEAD_BYTES] {
            assert_eq!(scan(&head, size), Scanned::End(MAX_HEAD_BYTES));
        }
        head.insert(30, b'a');
        for size in [1, 7, 1400, head.len()] {
            assert_eq!(scan(&head, size), Scanned::TooLong);
        }
        #[cfg(feature = "relay")]
        for (longest, found) in
            [(MAX_HEAD_BYTES + 1, Scanned::End(head.len())), (1, Scanned::TooLong)]
        {
            let mut scanner = Scanner::default();
            scanner.allow(longest);
            assert_eq!(scanner.feed(&head), found);
        }
    }
}
