//! What a peer can do wrong. Any of these ends the tunnel: after one of them
//! the two ends no longer agree on what the bytes mean.

use std::fmt;

/// A violation of the framing or the handshake by the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// The line before a frame is not a length (`protocol.md` 5).
    FrameSize,
    /// The length of a frame is zero, or above what is accepted.
    FrameLength,
    /// The headers of a frame are longer than accepted.
    FrameHeadersTooLong,
    /// A frame has no blank line after its headers.
    FrameWithoutBlankLine,
    /// A header has no colon, or its line ends in a bare line feed.
    FrameHeader,
    /// A stream id is not a number from 0 to 4294967295.
    StreamId,
    /// A frame names neither a stream nor a directive.
    FrameWithoutMeaning,
    /// A number in a header (SKB, Quota, Port) is none.
    Number,
    /// A compressed frame is corrupt, or inflates to another length than it
    /// says.
    Compression,
    /// The head of the handshake is longer than accepted.
    HandshakeTooLong,
    /// The head of the handshake is not HTTP.
    HandshakeShape,
    /// A kite line of the handshake does not have its five parts.
    HandshakeKite,
}

impl fmt::Display for WireError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::FrameSize => "a frame without a proper length",
            Self::FrameLength => "a frame of length zero or of an absurd length",
            Self::FrameHeadersTooLong => "a frame with endless headers",
            Self::FrameWithoutBlankLine => "a frame whose headers do not end",
            Self::FrameHeader => "a frame with a malformed header",
            Self::StreamId => "a frame with a malformed stream id",
            Self::FrameWithoutMeaning => "a frame without stream and directive",
            Self::Number => "a frame with a malformed number",
            Self::Compression => "a frame with corrupt compression",
            Self::HandshakeTooLong => "an endless handshake",
            Self::HandshakeShape => "a handshake that is not PageKite's",
            Self::HandshakeKite => "a handshake with a malformed kite",
        })
    }
}

impl std::error::Error for WireError {}
