//! Header lines, and what they say about a connection and its bodies: the same
//! in requests and in answers.

use super::head::HeadError;
use super::scan::is_token;

/// One header, with the bytes of its line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'a> {
    /// The line with its end.
    pub(crate) line: &'a [u8],
    pub(crate) name: &'a [u8],
    /// Without the white space around it.
    pub(crate) value: &'a [u8],
}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooManyHeaders,
            httparse::Error::HeaderName => Self::Malformed("the name of a header is malformed"),
            _ => Self::Malformed("a line of its head is malformed"),
        }
    }
}

/// The headers in lines that `httparse` has found well.
pub(crate) fn headers(lines: &[u8]) -> impl Iterator<Item = Header<'_>> {
    lines.split_inclusive(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some(Header { line, name: &line[..colon], value: line[colon + 1..].trim_ascii() })
    })
}

/// The headers that say where a body ends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BodyHeaders<'a> {
    /// `Content-Length`; several count as one when they are the same byte for
    /// byte.
    pub(crate) length: Option<&'a [u8]>,
    /// `Transfer-Encoding`.
    pub(crate) coding: Option<&'a [u8]>,
}

impl<'a> BodyHeaders<'a> {
    pub(crate) fn read(headers: impl Iterator<Item = Header<'a>>) -> Result<Self, &'static str> {
        let mut found = Self::default();
        for Header { name, value, .. } in headers {
            if name.eq_ignore_ascii_case(b"Content-Length") {
                if found.length.is_some_and(|other| other != value) {
                    return Err("it has two different Content-Length headers");
                }
                found.length = Some(value);
            } else if name.eq_ignore_ascii_case(b"Transfer-Encoding")
                && found.coding.replace(value).is_some()
            {
                return Err("it has two Transfer-Encoding headers");
            }
        }
        Ok(found)
    }
}

/// Digits and nothing else, no list either.
pub(crate) fn number(value: &[u8]) -> Result<u64, &'static str> {
    let text = match value {
        [b'0'..=b'9', ..] => std::str::from_utf8(value).unwrap_or_default(),
        _ => "",
    };
    text.parse().map_err(|_| "its Content-Length is not a number")
}

/// Whether the list of codings has `chunked` at its end and nowhere else. All
/// members have to be plain names: `chunked;q=1` is not.
pub(crate) fn ends_in_chunked(value: &[u8]) -> bool {
    let mut chunked = false;
    for coding in members(value) {
        let is_name = !coding.is_empty() && coding.iter().all(|byte| is_token(*byte));
        if chunked || !is_name || coding.eq_ignore_ascii_case(b"identity") {
            return false;
        }
        chunked = coding.eq_ignore_ascii_case(b"chunked");
    }
    chunked
}

/// The members of a list (RFC 9110 section 5.6.1), empty ones included.
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether the connection stays open after a message with these headers
/// (RFC 9112 section 9.3).
#[cfg(feature = "relay")]
pub(crate) fn keeps_alive<'a>(
    headers: impl Iterator<Item = Header<'a>>,
    is_http_1_0: bool,
) -> bool {
    let (mut close, mut keep) = (false, false);
    for Header { value, .. } in
        headers.filter(|header| header.name.eq_ignore_ascii_case(b"Connection"))
    {
        for option in members(value) {
            close |= option.eq_ignore_ascii_case(b"close");
            keep |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    !close && (keep || !is_http_1_0)
}

#[cfg(all(test, feature = "relay"))]
mod tests {
    use super::*;

    #[test]
    fn a_connection_stays_open_as_its_headers_say() {
        for (lines, new, old) in [
            ("", true, false),
            ("Connection: keep-alive\r\n", true, true),
            ("connection: Keep-Alive\r\n", true, true),
            ("Connection: close\r\n", false, false),
            ("Connection: upgrade , CLOSE\r\n", false, false),
            ("Connection: keep-alive, close\r\n", false, false),
            ("Connection: keep-alive\r\nConnection: close\r\n", false, false),
            ("Connection: ,closed, x-close,\r\n", true, false),
            ("Proxy-Connection: close\r\nX: Connection: close\r\n", true, false),
        ] {
            assert_eq!(keeps_alive(headers(lines.as_bytes()), false), new, "{lines}");
            assert_eq!(keeps_alive(headers(lines.as_bytes()), true), old, "{lines}");
        }
    }
}
