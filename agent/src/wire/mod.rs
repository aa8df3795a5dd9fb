//! The PageKite protocol as pure state machines: no sockets, no clock and no
//! randomness of its own. Bytes, time and random bytes come in as arguments;
//! frames to send, events and the next deadline come out.
//!
//! The way of an agent: a [`Registration`] writes the request; a
//! [`HeadReader`] puts the response's head together; [`Answer::parse`] reads
//! it; [`Registration::apply`] says what to do next; a [`Session`] carries the
//! tunnel from the first byte behind the head.
//!
//! Sections named `protocol.md` are those of the project's description of the
//! PageKite protocol.

mod answer;
mod burst;
mod decode;
mod deflate;
mod encode;
mod error;
mod flow;
mod head;
mod headers;
mod heartbeat;
mod inflate;
mod kite;
mod registration;
mod request;
mod secret;
mod session;
mod signature;

pub use answer::{Answer, KiteResult, Quota, Verdict};
pub use decode::{Decoder, MAX_FRAME_BYTES, MAX_INFLATED_BYTES, Piece};
pub use encode::{HEADER_ROOM, MAX_BODY_BYTES, SMALL_BODY_BYTES};
pub use error::WireError;
pub use flow::{
    FIRST_REPORT_BYTES, FIRST_WINDOW_BYTES, LARGEST_WINDOW_BYTES, REPORT_BYTES, WINDOW_POOL_BYTES,
};
pub use head::HeadReader;
pub use headers::{Eof, Headers, lines};
pub use heartbeat::{
    BUSY_ANSWER_TIME, BUSY_SILENCE, Beat, Heartbeat, IDLE_ANSWER_TIME, ROUND_TRIPS,
};
pub use inflate::Inflater;
pub use kite::{KiteId, KiteIdError, MAX_DOMAIN_BYTES, MAX_PROTOCOL_BYTES};
pub use registration::{KiteState, Random, Registration, Step};
pub use request::{KiteRequest, TunnelRequest, VERSION};
pub use secret::Secret;
pub use session::{Event, HALF_CLOSED_LIMIT, Open, Role, Session, SessionSettings, SignOfLife};
#[cfg(feature = "relay")]
pub(crate) use signature::write_hex;
pub use signature::{
    DYNDNS_SIGNATURE_LENGTH, SALT_LENGTH, SIGNATURE_LENGTH, Salt, WINDOW_SECONDS, sign, sign_at,
    verify,
};

/// Longest head of a handshake, and longest headers of one frame, that an
/// agent accepts: an answer about a thousand kites is 150 KB long.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Longest head of a handshake, and longest headers of one frame, that a relay
/// accepts from an agent that nothing is known of: some 400 kites.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
