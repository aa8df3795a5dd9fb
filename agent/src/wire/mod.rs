//! The PageKite protocol as pure state machines: no sockets, no clock and no
//! randomness of its own.

mod kite;
mod secret;

pub use kite::{KiteId, KiteIdError, MAX_DOMAIN_BYTES, MAX_PROTOCOL_BYTES};
pub use secret::Secret;
