//! Tunnels inside a WebSocket (RFC 6455), for networks that let nothing but
//! HTTPS through. Inside is the ordinary conversation of agent and relay as a
//! stream of bytes, cut into binary messages at will: where a message ends
//! means nothing.
//!
//! PageKite's own variant is broken at both ends (`protocol.md` 3.7), so the
//! path and the subprotocol are ours, and nobody can take one for the other.
//!
//! Pure but for [`layer`], which does what a connection tells it to.
//!
//! `tungstenite` 0.30 without its default features, which is frames without a
//! handshake, makes a program 40 KB larger (release profile, x86_64, stripped)
//! and brings a second `getrandom`. Our frames and layer are 4 KB of code; with
//! handshake, option and all words for the log the agent grows by 21 KB. So
//! these are lines of our own.

mod client;
mod decode;
mod encode;
mod fault;
pub(super) mod layer;
mod mask;
#[cfg(unix)]
mod server;

pub use client::{ClientHandshake, MAX_ANSWER_BYTES, UpgradeError};
pub use decode::{Decoder, MAX_PAYLOAD_BYTES, Piece};
pub use encode::{MAX_HEADER_BYTES, Opcode, append_frame};
pub use fault::Fault;
pub use layer::{End, MAX_FRAME_BYTES};
#[cfg(unix)]
pub use server::{Refusal, accept_upgrade};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// Where a relay takes tunnels. No visitor of a kite can reach a page of that
/// name through the relay.
pub const PATH: &str = "/.kitelet/tunnel";
/// What is spoken inside (RFC 6455 section 1.9).
pub const SUBPROTOCOL: &str = "tunnel.kitelet";
/// The one version there is (RFC 6455 section 4.1).
const VERSION: &str = "13";
/// Longest payload of a control frame (RFC 6455 section 5.5), in bytes.
pub const MAX_CONTROL_BYTES: usize = 125;

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 section 4.2.2).
fn accept_for(key: &str) -> String {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(context.finish())
}

/// Whether a comma-separated list has this word.
fn has_token(list: &[u8], word: &str) -> bool {
    let mut tokens = list.split(|byte| *byte == b',');
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_of_the_rfc() {
        // RFC 6455 section 1.3.
        assert_eq!(accept_for("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn words_of_a_list() {
        assert!(has_token(b"keep-alive, Upgrade", "upgrade"));
        assert!(!has_token(b"keep-alive, Upgrades", "upgrade"));
        assert!(!has_token(b"", "upgrade"));
    }
}
