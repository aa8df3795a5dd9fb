//! What the agent does to the bytes of a visitor who speaks HTTP/1, on their
//! way to the service (`protocol.md` 13): adds the headers that say who the
//! visitor is, keeps the URL firewall, asks for passwords.
//!
//! [`RequestFilter`] follows the requests of one stream:
//!
//! ```text
//! bytes ─> scan: where does the head end?  ─> head: what does it say?
//!            firewall, credentials: may it pass?  ─> rewrite ─> service
//!            body: where does the next head begin?  ─────────> service
//! ```
//!
//! Bodies pass through as slices of the input; a head is held in one buffer
//! of [`MAX_HEAD_BYTES`] at most, which is freed once the head is out.
//!
//! # Guards
//! A kite is guarded when the URL firewall or a password stands before it.
//! What the agent cannot follow (a malformed head, a body whose end is
//! ambiguous, HTTP/2) it cannot judge either: a guarded kite refuses it. Any
//! other kite lets it and all that comes after it through untouched.
//!
//! The agent reads requests only, so a service that reads them in another way
//! than RFC 9112 (ends a body elsewhere, goes on after a line of garbage) can
//! be reached behind the firewall's back: the firewall is a sieve against
//! scanners, and a password is the guard to choose for what matters.

mod credentials;
mod filter;
mod firewall;
mod rewrite;

#[cfg(test)]
mod filter_tests;

pub use crate::http::{MAX_HEAD_BYTES, MAX_HEADERS};
pub use filter::{Piece, RequestFilter};
