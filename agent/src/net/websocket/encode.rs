//! Writes frames (RFC 6455 section 5.2). Each is a whole message.

use super::mask;

/// The longest header of a frame, in bytes: two, a length of eight, a mask.
pub const MAX_HEADER_BYTES: usize = 14;

/// The first bit of a frame that ends its message.
pub(super) const FIN: u8 = 0x80;
/// The bit beside the length of a frame whose payload is masked.
pub(super) const MASKED: u8 = 0x80;

/// What a frame is (RFC 6455 section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// More of a message.
    Continuation = 0,
    /// A message of text, or its begin.
    Text = 1,
    /// A message of bytes, or its begin.
    Binary = 2,
    /// Nothing more will come.
    Close = 8,
    /// A sign of life is asked for.
    Ping = 9,
    /// A sign of life.
    Pong = 10,
}

impl Opcode {
    /// The opcode of a first byte, whatever its other bits.
    pub(super) fn of(byte: u8) -> Option<Self> {
        Some(match byte & 0x0f {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// Whether the frame may come between those of a message.
    pub(super) fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }
}

/// Appends one frame, whose payload is masked when there is a `mask`: that of
/// a client is, with four bytes that nobody can know beforehand. The payload
/// of a control frame is at most [`super::MAX_CONTROL_BYTES`] long.
pub fn append_frame(out: &mut Vec<u8>, opcode: Opcode, mask: Option<[u8; 4]>, payload: &[u8]) {
    out.reserve_exact(MAX_HEADER_BYTES + payload.len());
    out.push(FIN | opcode as u8);
    let masked = if mask.is_some() { MASKED } else { 0 };
    match payload.len() {
        length @ 0..=125 => out.push(masked | length as u8),
        length @ 126..=65535 => {
            out.push(masked | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if let Some(mask) = &mask {
        out.extend_from_slice(mask);
    }
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        mask::apply(mask, 0, &mut out[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: Opcode, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        append_frame(&mut out, opcode, mask, payload);
        out
    }

    /// RFC 6455 section 5.7.
    #[test]
    fn the_examples_of_the_rfc() {
        let mask = Some([0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(frame(Opcode::Text, None, b"Hello"), b"\x81\x05Hello");
        let masked = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        assert_eq!(frame(Opcode::Text, mask, b"Hello"), masked);
        assert_eq!(frame(Opcode::Ping, None, b"Hello"), b"\x89\x05Hello");
        let masked = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        assert_eq!(frame(Opcode::Pong, mask, b"Hello"), masked);
        assert!(frame(Opcode::Binary, None, &[0; 256]).starts_with(b"\x82\x7e\x01\x00\0"));
        let long = frame(Opcode::Binary, None, &[0; 65536]);
        assert!(long.starts_with(b"\x82\x7f\0\0\0\0\0\x01\0\0\0"));
    }

    #[test]
    fn lengths_are_written_in_the_fewest_bytes() {
        for (length, header) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
            assert_eq!(frame(Opcode::Binary, None, &vec![0; length]).len(), header + length);
            let masked = frame(Opcode::Binary, Some([1; 4]), &vec![0; length]);
            assert_eq!(masked.len(), header + 4 + length);
        }
    }
}
