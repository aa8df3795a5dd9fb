//! How the other end can break RFC 6455, in words for the log.

use std::fmt;

/// What the other end did; the connection cannot go on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Bits that only an extension may set, and none was agreed on.
    ReservedBits,
    /// An opcode that nobody has defined.
    UnknownOpcode,
    /// A client's frame without a mask.
    NotMasked,
    /// A server's frame with a mask.
    Masked,
    /// A ping, pong or close in several frames.
    FragmentedControl,
    /// A ping, pong or close of more than [`super::MAX_CONTROL_BYTES`].
    LongControl,
    /// A message of text: a tunnel is bytes.
    Text,
    /// A frame of more than [`super::MAX_PAYLOAD_BYTES`].
    LongFrame,
    /// A length that takes more bytes than it needs.
    PaddedLength,
    /// More of a message that never began.
    NoMessage,
    /// A message that began before the one before it ended.
    TwoMessages,
    /// A close without a proper status.
    CloseStatus,
}

impl Fault {
    /// The status with which the other end is told (RFC 6455 section 7.4.1).
    pub fn status(self) -> u16 {
        match self {
            Self::Text => 1003,
            Self::LongFrame => 1009,
            _ => 1002,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the other end broke the WebSocket protocol: ")?;
        formatter.write_str(match self {
            Self::ReservedBits => "a frame has reserved bits set",
            Self::UnknownOpcode => "a frame of an unknown kind",
            Self::NotMasked => "a client's frame is not masked",
            Self::Masked => "a server's frame is masked",
            Self::FragmentedControl => "a control frame is cut into several",
            Self::LongControl => "a control frame is longer than 125 bytes",
            Self::Text => "a message of text where a tunnel has bytes",
            Self::LongFrame => "a frame is longer than 16 MB",
            Self::PaddedLength => "a frame's length is written with more bytes than it needs",
            Self::NoMessage => "a frame goes on with a message that never began",
            Self::TwoMessages => "a message begins before the last one ended",
            Self::CloseStatus => "it closes with a status that does not exist",
        })
    }
}

impl std::error::Error for Fault {}
