//! Where the body of a request or an answer ends, so that the next head is
//! found; the bytes themselves are the affair of those who talk.

use super::head::Framing;

/// The longest line before a chunk (size and extensions), in bytes.
pub(crate) const MAX_CHUNK_LINE_BYTES: u32 = 1024;
/// All trailers of a body together, in bytes.
pub(crate) const MAX_TRAILER_BYTES: u32 = 8 * 1024;
/// Hexadecimal digits of a chunk's size, leading zeros included.
const MAX_SIZE_DIGITS: u32 = 16;

/// Follows one body.
#[derive(Debug)]
pub struct Body(Place);

#[derive(Clone, Copy, Debug)]
enum Place {
    /// So many bytes are left.
    Length(u64),
    Size {
        size: u64,
        digits: u32,
    },
    Extension {
        size: u64,
        seen: u32,
    },
    SizeCr {
        size: u64,
    },
    Chunk(u64),
    ChunkEnd,
    ChunkEndCr,
    /// At the begin of a line after the last chunk.
    TrailerStart {
        seen: u32,
    },
    Trailer {
        seen: u32,
    },
    TrailerCr {
        seen: u32,
    },
    LastCr,
}

/// What [`Body::follow`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// All of the input belongs to the body, which goes on.
    More,
    /// The body ends after so many bytes of the input.
    End(usize),
    /// After so many bytes comes one that cannot come in a chunked body; what
    /// is wrong follows "because".
    Broken(usize, &'static str),
}

impl Body {
    /// `None` when there is nothing to follow.
    pub fn new(framing: Framing) -> Option<Self> {
        match framing {
            Framing::None | Framing::Length(0) => None,
            Framing::Length(left) => Some(Self(Place::Length(left))),
            Framing::Chunked => Some(Self(Place::Size { size: 0, digits: 0 })),
        }
    }

    /// Looks at the next bytes, of which there is one at least. Once something
    /// else than [`Followed::More`] came out, the body is done.
    pub fn follow(&mut self, input: &[u8]) -> Followed {
        let mut index = 0;
        while let Some(&byte) = input.get(index) {
            match &mut self.0 {
                Place::Length(left) => {
                    let step = at_most(input.len() - index, *left);
                    *left -= step as u64;
                    index += step;
                    if *left == 0 {
                        return Followed::End(index);
                    }
                }
                Place::Chunk(left) => {
                    let step = at_most(input.len() - index, *left);
                    *left -= step as u64;
                    index += step;
                    if *left == 0 {
                        self.0 = Place::ChunkEnd;
                    }
                }
                place => match place.after(byte) {
                    Ok(Some(after)) => {
                        *place = after;
                        index += 1;
                    }
                    Ok(None) => return Followed::End(index + 1),
                    Err(problem) => return Followed::Broken(index, problem),
                },
            }
        }
        Followed::More
    }
}

fn at_most(available: usize, left: u64) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

impl Place {
    /// The place after a byte of chunked framing; `None` is the end. As strict
    /// as RFC 9112 section 7.1 lets it be: every line ends in CR LF, since
    /// readers disagree on anything else.
    fn after(self, byte: u8) -> Result<Option<Self>, &'static str> {
        const SIZE: &str = "the size of a chunk is malformed";
        const END: &str = "a chunk is longer than its size";
        const TRAILER: &str = "its trailers are malformed or too long";
        let place = match (self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(SIZE);
                }
                Self::Size { size: size << 4 | u64::from(hex_value(byte)), digits: digits + 1 }
            }
            (Self::Size { size, digits: 1.. } | Self::Extension { size, .. }, b'\r') => {
                Self::SizeCr { size }
            }
            (Self::Size { size, digits: 1.. }, b';' | b' ' | b'\t') => {
                Self::Extension { size, seen: 0 }
            }
            (Self::Extension { size, seen }, _) if is_text(byte) && seen < MAX_CHUNK_LINE_BYTES => {
                Self::Extension { size, seen: seen + 1 }
            }
            (Self::SizeCr { size: 0 }, b'\n') => Self::TrailerStart { seen: 0 },
            (Self::SizeCr { size }, b'\n') => Self::Chunk(size),
            (Self::Size { .. } | Self::Extension { .. } | Self::SizeCr { .. }, _) => {
                return Err(SIZE);
            }
            (Self::ChunkEnd, b'\r') => Self::ChunkEndCr,
            (Self::ChunkEndCr, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::ChunkEnd | Self::ChunkEndCr, _) => return Err(END),
            (Self::TrailerStart { .. }, b'\r') => Self::LastCr,
            (Self::LastCr, b'\n') => return Ok(None),
            (Self::Trailer { seen }, b'\r') => Self::TrailerCr { seen },
            (Self::TrailerCr { seen }, b'\n') => Self::TrailerStart { seen },
            (Self::TrailerStart { seen } | Self::Trailer { seen }, _)
                if is_text(byte) && seen < MAX_TRAILER_BYTES =>
            {
                Self::Trailer { seen: seen + 1 }
            }
            _ => return Err(TRAILER),
        };
        Ok(Some(place))
    }
}

fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// The value of a hexadecimal digit.
fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        letter => (letter | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds in pieces of `size`; the answer counts from the first byte.
    fn follow(framing: Framing, input: &[u8], size: usize) -> Followed {
        let mut body = Body::new(framing).expect("a body");
        for (index, piece) in input.chunks(size).enumerate() {
            match body.follow(piece) {
                Followed::More => {}
                Followed::End(at) => return Followed::End(index * size + at),
                Followed::Broken(at, problem) => {
                    return Followed::Broken(index * size + at, problem);
                }
            }
        }
        Followed::More
    }

    #[test]
    fn a_length_is_counted_down() {
        for size in 1..6 {
            let found = follow(Framing::Length(3), b"abcdef", size);
            assert_eq!(found, Followed::End(3));
            assert_eq!(follow(Framing::Length(7), b"abcdef", size), Followed::More);
        }
        assert!(Body::new(Framing::None).is_none());
        assert!(Body::new(Framing::Length(0)).is_none());
    }

    #[test]
    fn chunks_are_followed_to_the_end() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "0003\r\nabc\r\n00\r\n\r\n",
            "A\r\n0\r\n\r\nGET /\r\n0\r\n\r\n",
            "3;a=b;c=\"d;e\"\r\nabc\r\n0;x\r\n\r\n",
            "3 \t;a\r\nabc\r\n0\r\n\r\n",
            "0\r\nX-Sum: 1\r\nY: é\r\n\r\n",
        ] {
            let input = format!("{body}GET / HTTP/1.1");
            for size in 1..=input.len() {
                let found = follow(Framing::Chunked, input.as_bytes(), size);
                assert_eq!(found, Followed::End(body.len()), "{body:?} by {size}");
            }
        }
    }

    #[test]
    fn garbage_is_found_at_its_first_byte() {
        for (body, at) in [
            ("x\r\n", 0),
            ("\r\n", 0),
            (";a\r\n", 0),
            ("-1\r\n", 0),
            ("0x3\r\nabc\r\n", 1),
            ("3\nabc\n0\n\n", 1),
            ("3\rabc", 2),
            ("3;a\nabc", 3),
            ("3;a\rb", 4),
            ("3;a\0", 3),
            ("3\r\nabcd\r\n", 6),
            ("3\r\nabc\n0\r\n\r\n", 6),
            ("3\r\nabc\rX", 7),
            ("10000000000000000\r\n", 16),
            ("0\r\n\n", 3),
            ("0\r\nX: y\n\r\n", 7),
            ("0\r\n\rX", 4),
        ] {
            for size in 1..=body.len() {
                let found = follow(Framing::Chunked, body.as_bytes(), size);
                assert!(
                    matches!(found, Followed::Broken(index, _) if index == at),
                    "{body:?} by {size}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn lines_are_bounded() {
        let long = "a".repeat(MAX_TRAILER_BYTES as usize + 1);
        for body in [
            format!("3;{long}\r\nabc"),
            format!("0\r\nX: {long}\r\n\r\n"),
            format!("0\r\n{}\r\n", "X: y\r\n".repeat(long.len() / 4 + 1)),
        ] {
            let found = follow(Framing::Chunked, body.as_bytes(), 1000);
            assert!(matches!(found, Followed::Broken(..)));
        }
    }
}
