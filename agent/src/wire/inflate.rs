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
    /// returns what came out: at most `limit` bytes, and nothing when there is
    /// nothing more to come out of this input.
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
            limit,
            inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER | inflate_flags::TINFL_FLAG_HAS_MORE_INPUT,
        );
        let stuck = used == 0 && made == 0 && !input.is_empty();
        *input = &input[used..];
        match status {
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput if !stuck => {}
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
