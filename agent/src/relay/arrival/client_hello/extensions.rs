//! The two extensions of a ClientHello that the relay reads. All others, those
//! that only test the tolerance of a server included (RFC 8701), are passed
//! over.

use super::{Alpn, ClientHello, NameAsked, split_vector};

/// `server_name` (RFC 6066 section 3) and its one kind of name.
const SERVER_NAME: [u8; 2] = [0, 0];
const HOST_NAME: u8 = 0;
/// `application_layer_protocol_negotiation` (RFC 7301 section 3.1).
const ALPN: [u8; 2] = [0, 16];

/// Reads the list of extensions, which has to be all of `bytes`; `None` when
/// it is malformed.
pub(super) fn read(bytes: &[u8]) -> Option<ClientHello> {
    let (mut extensions, []) = split_vector::<2>(bytes)? else { return None };
    let (mut name, mut alpn) = (None, None);
    while !extensions.is_empty() {
        let (kind, rest) = extensions.split_first_chunk::<2>()?;
        let (content, rest) = split_vector::<2>(rest)?;
        let is_repeated = match *kind {
            SERVER_NAME => name.replace(server_name(content)?).is_some(),
            ALPN => alpn.replace(protocols(content)?).is_some(),
            _ => false,
        };
        if is_repeated {
            return None;
        }
        extensions = rest;
    }
    Some(ClientHello { name: name.unwrap_or_default(), alpn: alpn.unwrap_or_default() })
}

/// The first host name of the list. Names of other kinds have no other form
/// (the same section).
fn server_name(content: &[u8]) -> Option<NameAsked> {
    let (mut names, []) = split_vector::<2>(content)? else { return None };
    if names.is_empty() {
        return None;
    }
    let mut first = None;
    while !names.is_empty() {
        let (kind, rest) = names.split_first()?;
        let (name, rest) = split_vector::<2>(rest)?;
        if *kind == HOST_NAME && first.is_none() {
            first = Some(NameAsked::read(name));
        }
        names = rest;
    }
    Some(first.unwrap_or_default())
}

/// What the list of protocols has.
fn protocols(content: &[u8]) -> Option<Alpn> {
    let (mut protocols, []) = split_vector::<2>(content)? else { return None };
    if protocols.is_empty() {
        return None;
    }
    let mut alpn = Alpn { any: true, ..Alpn::default() };
    while !protocols.is_empty() {
        let (protocol, rest) = split_vector::<1>(protocols)?;
        match protocol {
            b"" => return None,
            b"h2" => alpn.h2 = true,
            b"http/1.1" | b"http/1.0" => alpn.http1 = true,
            b"acme-tls/1" => alpn.acme_tls = true,
            _ => {}
        }
        protocols = rest;
    }
    Some(alpn)
}
