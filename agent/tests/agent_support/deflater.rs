//! A zlib stream as relays write it.

use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, compress_to_output, create_comp_flags_from_zip_params,
};

/// The compressor of one direction of a tunnel.
pub struct Deflater {
    state: Box<CompressorOxide>,
}

impl Deflater {
    pub fn new() -> Self {
        let flags = create_comp_flags_from_zip_params(6, 15, 0);
        Self { state: Box::new(CompressorOxide::new(flags)) }
    }

    /// The next payload of the stream, flushed.
    pub fn deflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut compressed = Vec::new();
        compress_to_output(&mut self.state, payload, TDEFLFlush::Sync, |made| {
            compressed.extend_from_slice(made);
            true
        });
        compressed
    }
}
