//! The headers of a frame and what they mean (`protocol.md` 6).

use super::error::WireError;

/// Which way a stream is closed: the sender says what *its* socket can no
/// longer do (`protocol.md` 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eof {
    /// `R`: the sender's socket is at its end; no more data will come.
    pub read: bool,
    /// `W`: the sender's socket takes no more; stop sending.
    pub write: bool,
}

impl Eof {
    /// Everything is over.
    pub const BOTH: Self = Self { read: true, write: true };

    /// Letters in any order and case; none of them is all of them.
    fn parse(value: &[u8]) -> Self {
        let has = |letter: u8| value.iter().any(|byte| byte.eq_ignore_ascii_case(&letter));
        match (has(b'R'), has(b'W')) {
            (false, false) => Self::BOTH,
            (read, write) => Self { read, write },
        }
    }
}

/// The headers of one frame; text borrows from the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    /// `SID`: the stream.
    pub stream: Option<u32>,
    /// `EOF`.
    pub eof: Option<Eof>,
    /// `NOOP`: this frame carries no data of a stream.
    pub noop: bool,
    /// `PING`, to be echoed.
    pub ping: Option<&'a [u8]>,
    /// `PONG`.
    pub pong: Option<&'a [u8]>,
    /// `SKB`: kilobytes of this stream that the sender has passed on.
    pub delivered_kilobytes: Option<u64>,
    /// `SPD`, the flow control of old, which nobody sends now: send less.
    pub slow_down: bool,
    /// `ZRST`: start a new zlib stream.
    pub restart_compression: bool,
    /// `Quota` in kilobytes.
    pub quota_kilobytes: Option<i64>,
    /// `QDays`.
    pub quota_days: Option<i64>,
    /// `QConns`.
    pub quota_connections: Option<i64>,
    /// `Proto` of a new stream.
    pub protocol: Option<&'a [u8]>,
    /// `Host` of a new stream.
    pub host: Option<&'a [u8]>,
    /// `Port` of a new stream.
    pub port: Option<&'a [u8]>,
    /// `RIP`, the visitor's address.
    pub visitor_address: Option<&'a [u8]>,
    /// `RPort`, the visitor's port.
    pub visitor_port: Option<&'a [u8]>,
    /// `RTLS`: the relay took TLS off the visitor's connection.
    pub visitor_tls: bool,
    /// Whether there are `X-PageKite` lines, to be read by [`lines`].
    pub has_kite_lines: bool,
}

impl<'a> Headers<'a> {
    /// Reads the headers of a frame as [`super::decode::Piece::Headers`] has
    /// them. Unknown ones are passed over.
    ///
    /// # Errors
    /// A line that is no header, or a number that is none.
    pub fn parse(block: &'a [u8]) -> Result<Self, WireError> {
        let mut headers = Self::default();
        for line in lines(block) {
            let (name, value) = line?;
            headers.take(name, value)?;
        }
        Ok(headers)
    }

    fn take(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), WireError> {
        let mut lower = [0; 16];
        let Some(lower) = lower.get_mut(..name.len()) else {
            self.has_kite_lines |= is_kite_line(name);
            return Ok(());
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        match &*lower {
            b"sid" => self.stream = Some(number(value).ok_or(WireError::StreamId)?),
            b"eof" => self.eof = Some(Eof::parse(value)),
            b"noop" => self.noop = true,
            b"ping" => self.ping = Some(value),
            b"pong" => self.pong = Some(value),
            b"spd" => self.slow_down = true,
            b"skb" => {
                self.delivered_kilobytes = Some(number(value).ok_or(WireError::Number)?);
            }
            b"zrst" => self.restart_compression = true,
            b"quota" => self.quota_kilobytes = number(value),
            b"qdays" => self.quota_days = number(value),
            b"qconns" => self.quota_connections = number(value),
            b"proto" => self.protocol = Some(value),
            b"host" => self.host = Some(value),
            b"port" => self.port = Some(value),
            b"rip" => self.visitor_address = Some(value),
            b"rport" => self.visitor_port = Some(value),
            b"rtls" => self.visitor_tls = true,
            _ => self.has_kite_lines |= is_kite_line(name),
        }
        Ok(())
    }

    /// Whether the frame says anything at all.
    pub fn has_meaning(&self) -> bool {
        self.stream.is_some()
            || self.noop
            || self.ping.is_some()
            || self.pong.is_some()
            || self.restart_compression
    }
}

/// The `name: value` lines of a block, each of which ends in CRLF.
pub fn lines(block: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), WireError>> {
    block.split_inclusive(|&byte| byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\r\n").ok_or(WireError::FrameHeader)?;
        let colon = line.iter().position(|&byte| byte == b':').ok_or(WireError::FrameHeader)?;
        if colon == 0 {
            return Err(WireError::FrameHeader);
        }
        Ok((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// A decimal number, if that is all there is.
pub(crate) fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// What follows `X-PageKite` or its old alias in the name of a header.
pub(crate) fn kite_line(name: &[u8]) -> Option<&[u8]> {
    [&b"X-PageKite"[..], b"X-Beanstalk"].into_iter().find_map(|prefix| {
        let (start, rest) = name.split_at_checked(prefix.len())?;
        start.eq_ignore_ascii_case(prefix).then_some(rest)
    })
}

fn is_kite_line(name: &[u8]) -> bool {
    kite_line(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_headers_of_a_new_stream() {
        let block = b"SID: 5\r\nProto: http\r\nHost: kite.test\r\nPort: 18080\r\n\
            RIP: 127.0.0.1\r\nRPort: 45924\r\nRTLS: 1\r\nFuture: thing\r\n";
        let headers = Headers::parse(block).expect("valid");
        assert_eq!(headers.stream, Some(5));
        assert_eq!(headers.host, Some(&b"kite.test"[..]));
        assert_eq!(headers.port, Some(&b"18080"[..]));
        assert!(headers.visitor_tls && !headers.noop && !headers.has_kite_lines);
    }

    #[test]
    fn letters_of_eof_come_in_any_order_and_case() {
        let eof = |text: &str| {
            let block = format!("eof: {text}\r\n");
            Headers::parse(block.as_bytes()).expect("valid").eof
        };
        assert_eq!(eof("1R"), Some(Eof { read: true, write: false }));
        assert_eq!(eof("1w"), Some(Eof { read: false, write: true }));
        for both in ["1WR", "1RW", "1rw", "1"] {
            assert_eq!(eof(both), Some(Eof::BOTH));
        }
    }

    #[test]
    fn names_are_matched_in_any_case_and_without_space() {
        let headers = Headers::parse(b"noop:1\r\nPing:9\r\nx-pagekite-ok: a\r\n").expect("valid");
        assert!(headers.noop && headers.has_kite_lines);
        assert_eq!(headers.ping, Some(&b"9"[..]));
        let headers = Headers::parse(b"X-Beanstalk-A-Long-Name: a\r\n").expect("valid");
        assert!(headers.has_kite_lines);
    }

    #[test]
    fn refuses_malformed_lines_and_numbers() {
        for (block, error) in [
            (&b"SID 5\r\n"[..], WireError::FrameHeader),
            (b"SID: 5\n", WireError::FrameHeader),
            (b": 5\r\n", WireError::FrameHeader),
            (b"SID: -5\r\n", WireError::StreamId),
            (b"SID: x\r\n", WireError::StreamId),
            (b"SID: 777777777777777\r\n", WireError::StreamId),
            (b"SID: 1\r\nSKB: many\r\n", WireError::Number),
        ] {
            assert_eq!(Headers::parse(block), Err(error), "{}", block.escape_ascii());
        }
    }
}
