//! What a TLS ClientHello asks for. Our own reader, since the TLS of kites of
//! the protocol `https` ends at their service (`protocol.md` 11): whatever
//! versions and extensions the two ends have, the relay reads the name and
//! leaves the rest to them.
//!
//! It is strict about what frames the name: lengths have to fit each other
//! exactly, and what is read here may be there once only, so that no service
//! reads another name than the relay did.

mod extensions;
mod records;
#[cfg(test)]
mod tests;

use super::{Look, NameAsked};

pub use records::MAX_HELLO_BYTES;

/// What a ClientHello asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The server's name (RFC 6066 section 3); the first, where it has several.
    pub name: NameAsked,
    /// The protocols that may follow (RFC 7301).
    pub alpn: Alpn,
}

/// Protocols that a ClientHello offers by ALPN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alpn {
    /// It offers some, these or others; without the extension none is offered,
    /// and HTTP/1 is what browsers of that age speak.
    pub any: bool,
    /// `h2`.
    pub h2: bool,
    /// `http/1.1` or `http/1.0`.
    pub http1: bool,
    /// `acme-tls/1`: an authority that checks a name before it certifies it
    /// (RFC 8737).
    pub acme_tls: bool,
}

/// Reads the ClientHello that a connection begins with, once it is there in
/// whole. Other protocols are told at the second byte.
pub(super) fn look(seen: &[u8]) -> Look<ClientHello> {
    match records::client_hello(seen) {
        Look::More => Look::More,
        Look::NotThis => Look::NotThis,
        Look::Broken(because) => Look::Broken(because),
        Look::Found(body) => match ClientHello::read(&body) {
            Some(hello) => Look::Found(hello),
            None => Look::Broken("its ClientHello is malformed"),
        },
    }
}

impl ClientHello {
    /// Reads the body of the message (RFC 5246 section 7.4.1.2, RFC 8446
    /// section 4.1.2); `None` when it is malformed.
    fn read(body: &[u8]) -> Option<Self> {
        // The minor version is the client's newest, which may be newer than
        // anything known here.
        let (&[3, _], body) = body.split_first_chunk()? else { return None };
        let (_random, body) = body.split_at_checked(32)?;
        let (session, body) = split_vector::<1>(body)?;
        let (suites, body) = split_vector::<2>(body)?;
        let (compression, body) = split_vector::<1>(body)?;
        if session.len() > 32
            || suites.is_empty()
            || suites.len() % 2 != 0
            || compression.is_empty()
        {
            return None;
        }
        // Clients of TLS 1.0 may have no extensions at all.
        if body.is_empty() { Some(Self::default()) } else { extensions::read(body) }
    }
}

/// The bytes behind a length of `N` bytes, and what follows them.
fn split_vector<const N: usize>(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, bytes) = bytes.split_first_chunk::<N>()?;
    bytes.split_at_checked(number(length))
}

/// A big-endian number of up to 3 bytes.
fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}
