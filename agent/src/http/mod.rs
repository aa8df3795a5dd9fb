//! HTTP/1 as both ends read it: where a head ends, what it says, where its
//! body ends. Pure, strict, and bounded; `httparse` checks every byte of a
//! head. What two readers are known to read differently is an error here.

pub(crate) mod body;
pub(crate) mod fields;
pub(crate) mod head;
pub(crate) mod identity;
#[cfg(feature = "relay")]
pub mod response;
pub(crate) mod scan;

pub use body::{Body, Followed};
pub use head::{Framing, MAX_HEADERS};
pub use scan::{MAX_HEAD_BYTES, Scanned, Scanner};
