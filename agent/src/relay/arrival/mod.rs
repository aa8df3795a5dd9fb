//! What a connection is and which name it wants, out of the first bytes that
//! it sends (`protocol.md` 11): the same port takes browsers, TLS of any
//! version, tunnels and some other protocols.
//!
//! [`look`] is asked again with all the bytes whenever some more have come,
//! until it answers something else than [`Arrival::More`]. That answer stands:
//! further bytes do not change it. Nothing is taken from the bytes; whoever
//! serves the connection reads them again from the first.

mod client_hello;
mod irc;
mod minecraft;
mod name;
mod old_tls;
#[cfg(test)]
mod tests;
mod xmpp;

use std::ops::Range;

use crate::http::scan::is_token;

pub use client_hello::{Alpn, ClientHello, MAX_HELLO_BYTES};
pub use irc::MAX_IRC_BYTES;
pub use name::NameAsked;
pub use xmpp::MAX_XMPP_BYTES;

/// With so many bytes [`look`] has an answer for certain: a ClientHello of the
/// longest kind, with room for the headers of 819 records.
pub const MAX_ARRIVAL_BYTES: usize = MAX_HELLO_BYTES + 4096;

/// What a connection turned out to be. Hosts are DNS names in lower case, or
/// addresses, which only the kite `unknown` can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Not known yet; never the answer to [`MAX_ARRIVAL_BYTES`] or more.
    More,
    /// TLS, with its whole ClientHello.
    Tls(ClientHello),
    /// A greeting of SSL 2, which nobody serves; the alert is the answer
    /// (`protocol.md` 12.4).
    OldTls,
    /// TLS whose ClientHello cannot be read, in words to follow "because";
    /// the alert is the answer.
    BrokenTls(&'static str),
    /// A request of HTTP, as far as it can be told by now; a tunnel or a
    /// probe begins so as well.
    Http,
    /// A client of an XMPP server.
    Xmpp {
        /// The domain that the stream is for.
        host: String,
    },
    /// A client of a Minecraft server.
    Minecraft {
        /// The server that the player typed.
        host: String,
        /// The port that the player connected to.
        port: u16,
    },
    /// A client of an IRC server, which says the server behind an `@`.
    Irc {
        /// The server.
        host: String,
        /// Where the `@` and the server are in the bytes: all the others are
        /// forwarded, these are not.
        cut: Range<usize>,
    },
    /// Nothing that is served here, in words to follow "because"; the
    /// connection is closed.
    Unknown(&'static str),
}

/// Protocols that the relay looks for besides TLS and HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// `irc`.
    pub irc: bool,
    /// `minecraft`.
    pub minecraft: bool,
    /// `xmpp`.
    pub xmpp: bool,
}

impl Served {
    /// All of them that are among `protocols`, which are in lower case.
    pub fn among(protocols: &[String]) -> Self {
        let has = |name| protocols.iter().any(|protocol| protocol == name);
        Self { irc: has("irc"), minecraft: has("minecraft"), xmpp: has("xmpp") }
    }
}

/// What one protocol says to the bytes. Whatever is not [`Self::More`] stays
/// as it is when more bytes come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look<T> {
    /// It cannot say yet.
    More,
    /// They are of this protocol.
    Found(T),
    /// They are of another.
    NotThis,
    /// They are of this protocol and no other, but cannot be served; in words
    /// to follow "because".
    Broken(&'static str),
}

impl<T> Look<T> {
    /// What `look` says to no more than `max` bytes, with which it has to come
    /// to an end.
    fn bounded(
        seen: &[u8],
        max: usize,
        look: impl Fn(&[u8]) -> Self,
        too_long: &'static str,
    ) -> Self {
        match look(&seen[..seen.len().min(max)]) {
            Self::More if seen.len() >= max => Self::Broken(too_long),
            found => found,
        }
    }
}

/// Says what a connection is that has sent `seen` so far.
///
/// One protocol is asked after the other, and the first that does not say no
/// has the word. The order matters only for how early an answer comes: no
/// bytes are of two protocols.
pub fn look(seen: &[u8], served: Served) -> Arrival {
    match client_hello::look(seen) {
        Look::NotThis => {}
        Look::More => return Arrival::More,
        Look::Found(hello) => return Arrival::Tls(hello),
        Look::Broken(because) => return Arrival::BrokenTls(because),
    }
    match old_tls::look(seen) {
        Look::NotThis => {}
        Look::Found(()) => return Arrival::OldTls,
        Look::More => return Arrival::More,
        Look::Broken(because) => return Arrival::Unknown(because),
    }
    if served.minecraft {
        match minecraft::look(seen) {
            Look::NotThis => {}
            Look::More => return Arrival::More,
            Look::Found((host, port)) => return Arrival::Minecraft { host, port },
            Look::Broken(because) => return Arrival::Unknown(because),
        }
    }
    if served.xmpp {
        match xmpp::look(seen) {
            Look::NotThis => {}
            Look::More => return Arrival::More,
            Look::Found(host) => return Arrival::Xmpp { host },
            Look::Broken(because) => return Arrival::Unknown(because),
        }
    }
    if served.irc {
        match irc::look(seen) {
            Look::NotThis => {}
            Look::More => return Arrival::More,
            Look::Found((host, cut)) => return Arrival::Irc { host, cut },
            Look::Broken(because) => return Arrival::Unknown(because),
        }
    }
    // A method, or the empty lines that may come before it (RFC 9112 2.2).
    match seen.first() {
        None => Arrival::More,
        Some(&byte) if is_token(byte) || b"\r\n".contains(&byte) => Arrival::Http,
        Some(_) => Arrival::Unknown("its first bytes are of no protocol that is served here"),
    }
}
