//! Reading zlib chunks (`protocol.md` 7): one zlib stream for all compressed
//! frames of a direction, flushed at the end of each frame.
//!
//! The window of the decoder is the buffer that the frames are read from, so a
//! frame of any length costs 43 KB in all and nothing is copied out first.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress_with_limit, inflate_flags};

use super::error::WireError;

/// Bytes of history that a zlib stream may refer to (RFC 1951).
const WINDOW_BYTES: usize = 32 * 1024;

/// The inflating end of one direction of a tunnel.
pub struct Inflater {
    state: Box<DecompressorOxide>,
    window: Box<[u8]>,
    /// Where the next byte is inflated to.
    position: usize,
}

impl Inflater {
    /// Starts a new zlib stream.
    pub fn new() -> Self {
        Self {
            state: Box::default(),
            window: vec![0; WINDOW_BYTES].into_boxed_slice(),
            position: 0,
        }
    }

    /// Forgets the stream so far; the next frame begins a new one.
    pub fn restart(&mut self) {
        self.state.init();
        self.position = 0;
    }

    /// Inflates a part of `input`, which is shortened by what was used, and
    /// returns what came out: at most `limit` bytes, and nothing when all of
    /// the input is used and nothing more comes out of it.
    ///
    /// # Errors
    /// [`WireError::Compression`] when this is not a zlib stream, when the
    /// stream ends, or when more than `limit` bytes come out of it.
    pub fn inflate(&mut self, input: &mut &[u8], limit: usize) -> Result<&[u8], WireError> {
        let start = self.position;
        let (status, used, made) = decompress_with_limit(
            &mut self.state,
            input,
            &mut self.window,
            start,
            // Without any room the decoder says "more to come" to everything;
            // one byte of room tells a stream that is too long from one that
            // is complete.
            limit.max(1),
            inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER | inflate_flags::TINFL_FLAG_HAS_MORE_INPUT,
        );
        let stuck = used == 0 && made == 0 && !input.is_empty();
        *input = &input[used..];
        match status {
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput if !stuck && made <= limit => {
            }
            _ => return Err(WireError::Compression),
        }
        self.position = (start + made) % WINDOW_BYTES;
        Ok(&self.window[start..start + made])
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Inflater")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::deflate::Deflater;

    fn deflated(text: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        Deflater::new().deflate(text, &mut output);
        output
    }

    /// All that comes out of `input`.
    fn inflate_all(inflater: &mut Inflater, input: &[u8], limit: usize) -> Option<Vec<u8>> {
        let mut input = input;
        let mut made = Vec::new();
        loop {
            let more = inflater.inflate(&mut input, limit - made.len()).ok()?;
            if more.is_empty() {
                assert!(input.is_empty(), "input is left over");
                return Some(made);
            }
            made.extend_from_slice(more);
        }
    }

    /// `protocol.md` 7: two frames of one stream, as the reference sent them.
    const VECTORS: [(&str, &str); 2] = [
        (
            "7801648ccb0ac2301045f781fc43d605f3282d8dd91514db5dd0f80561b062302519ffdf092ee56eee8b735b\
             4f4e8c9cf992313bb121ee9c2db9a213af278244a8486b2e5418abade6ecba7af2fd2435c950feadc378ec07\
             ce38bb9c83501ba494c5128257a69dfe90f70ae5303fe04de0f829494dd2daf69c63849dca4e758df6050000\
             ffff",
            "SID: 5\r\nProto: http\r\nHost: kite.test\r\nPort: 18080\r\nRIP: 127.0.0.1\r\n\
             RPort: 45924\r\n\r\nGET /hello HTTP/1.1\r\nHost: kite.test\r\n\
             User-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
        ),
        (
            "0a0639d09c4a0e344638303539832aee03000000ffff",
            "SID: 7\r\nProto: http\r\nHost: kite.test\r\nPort: 18080\r\nRIP: 127.0.0.1\r\n\
             RPort: 45934\r\n\r\nGET /echo HTTP/1.1\r\nHost: kite.test\r\n\
             User-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
        ),
    ];

    fn bytes(digits: &str) -> Vec<u8> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).expect("a digit");
        let pair = |pair: &[u8]| u8::try_from(digit(&pair[0]) << 4 | digit(&pair[1]));
        digits.as_bytes().chunks(2).map(|two| pair(two).expect("a byte")).collect()
    }

    #[test]
    fn published_vectors() {
        let mut inflater = Inflater::new();
        for (wire, text) in VECTORS {
            let made = inflate_all(&mut inflater, &bytes(wire), text.len()).expect("valid");
            assert_eq!(made.escape_ascii().to_string(), text.as_bytes().escape_ascii().to_string());
        }
        let mut inflater = Inflater::new();
        let made = inflate_all(&mut inflater, &bytes(VECTORS[1].0), 160);
        assert_ne!(made, Some(VECTORS[1].1.into()), "the second needs the first");
    }

    #[test]
    fn a_restart_begins_a_new_stream() {
        let mut inflater = Inflater::new();
        for _ in 0..3 {
            let made = inflate_all(&mut inflater, &deflated(b"hello"), 5).expect("valid");
            assert_eq!(made, b"hello");
            inflater.restart();
        }
    }

    #[test]
    fn the_window_reaches_over_its_end() {
        let mut deflater = Deflater::new();
        let mut inflater = Inflater::new();
        let text: Vec<u8> = (0..7001_u32).map(|number| ((number * 31) >> 7) as u8).collect();
        for _ in 0..20 {
            let mut wire = Vec::new();
            deflater.deflate(&text, &mut wire);
            assert_eq!(inflate_all(&mut inflater, &wire, text.len()).as_ref(), Some(&text));
        }
    }

    #[test]
    fn more_than_the_limit_is_refused_at_any_limit() {
        let text = b"It inflates to more than was said, be it by a single byte.";
        let wire = deflated(text);
        for limit in 0..text.len() {
            assert_eq!(inflate_all(&mut Inflater::new(), &wire, limit), None, "limit {limit}");
        }
        assert!(inflate_all(&mut Inflater::new(), &wire, text.len()).is_some());
    }

    #[test]
    fn a_bomb_gets_no_further_than_the_limit() {
        let wire = deflated(&vec![0; 10_000_000]);
        assert_eq!(inflate_all(&mut Inflater::new(), &wire, 100_000), None);
    }

    #[test]
    fn the_end_of_the_stream_is_refused() {
        let ended = miniz_oxide::deflate::compress_to_vec_zlib(b"hello", 6);
        assert_eq!(inflate_all(&mut Inflater::new(), &ended, 100), None);
    }

    #[test]
    fn what_is_no_zlib_stream_is_refused() {
        for garbage in [&b"\x00\x00\x00"[..], b"NOOP: 1\r\n", b"\x78\x9c\xff\xff\xff"] {
            assert_eq!(inflate_all(&mut Inflater::new(), garbage, 100), None);
        }
    }
}
