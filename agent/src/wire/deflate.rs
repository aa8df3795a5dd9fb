//! Writing zlib chunks (`protocol.md` 7): one compressor for all streams of a
//! tunnel, since it takes 319 KB.

use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, compress_to_output, create_comp_flags_from_zip_params,
};

/// Payloads up to this length are not worth it (`protocol.md` 7).
pub(super) const SHORTEST_COMPRESSED_BYTES: usize = 64;
/// Compression level; higher ones cost the small processors more than the
/// link gains.
const LEVEL: i32 = 1;
/// Window bits in the zlib header, positive for a header.
const WINDOW_BITS: i32 = 15;

/// The deflating end of one direction of a tunnel.
pub(super) struct Deflater {
    state: Box<CompressorOxide>,
}

impl Deflater {
    /// Starts a zlib stream.
    pub(super) fn new() -> Self {
        let flags = create_comp_flags_from_zip_params(LEVEL, WINDOW_BITS, 0);
        Self { state: Box::new(CompressorOxide::new(flags)) }
    }

    /// Appends `payload`, compressed and flushed, to `output`.
    pub(super) fn deflate(&mut self, payload: &[u8], output: &mut Vec<u8>) {
        compress_to_output(&mut self.state, payload, TDEFLFlush::Sync, |made| {
            output.extend_from_slice(made);
            true
        });
    }
}

impl Default for Deflater {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Deflater {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Deflater")
    }
}
