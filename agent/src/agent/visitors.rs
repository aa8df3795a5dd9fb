//! Who comes and what for: finds the service of a visitor, or the answer to
//! one who cannot be served.

use std::rc::Rc;

use super::access::Visitor;
use super::answer::{Refusal, refuse};
use super::health::ServiceHealth;
use super::routing::candidates;
use crate::config::KiteSettings;
use crate::html::error_url;
use crate::wire::Open;

/// Longest text that is kept of a visitor's address, protocol and host, in
/// bytes: the longest DNS name has 253, and no other is longer. A relay could
/// send 256 KB of each, for every stream.
const MAX_TEXT_BYTES: usize = 253;

/// The kites of this agent and what all visitors share.
pub(super) struct Visitors {
    kites: Vec<Rc<KiteSettings>>,
    error_urls: Vec<(String, String)>,
    health: ServiceHealth,
}

/// What a visitor wants, kept for as long as the stream lives.
pub(super) struct Request {
    /// Protocol of the kite that the relay matched.
    pub(super) protocol: String,
    /// Name that the visitor asked for.
    pub(super) host: String,
    /// Who it is.
    pub(super) visitor: Visitor,
}

impl Visitors {
    pub(super) fn new(
        kites: impl IntoIterator<Item = KiteSettings>,
        error_urls: Vec<(String, String)>,
        health: ServiceHealth,
    ) -> Self {
        Self { kites: kites.into_iter().map(Rc::new).collect(), error_urls, health }
    }

    /// What is known about the services.
    pub(super) fn health(&self) -> &ServiceHealth {
        &self.health
    }

    /// The kites whose services are to be tried, in this order.
    pub(super) fn candidates(&self, request: &Request) -> Vec<Rc<KiteSettings>> {
        let Request { protocol, host, visitor } = request;
        candidates(&self.kites, protocol, visitor.public_port, host)
    }

    /// The answer to a visitor who is not served, in the stream's protocol.
    pub(super) fn refuse(&self, request: &Request, refusal: Refusal) -> Vec<u8> {
        let url = error_url(&self.error_urls, &request.host);
        refuse(&request.protocol, refusal, &request.host, url)
    }
}

impl Request {
    pub(super) fn new(open: &Open<'_>) -> Self {
        Self {
            protocol: beginning(open.protocol),
            host: beginning(open.host),
            visitor: Visitor {
                address: beginning(open.visitor_address),
                port: open.visitor_port,
                tls: open.visitor_tls,
                public_port: open.port,
            },
        }
    }
}

fn beginning(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

impl std::fmt::Display for Request {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.visitor.ip() {
            Some(address) => write!(formatter, "visitor {address} of ")?,
            None if self.visitor.address.is_empty() => formatter.write_str("somebody at ")?,
            None => write!(formatter, "visitor {:?} of ", self.visitor.address)?,
        }
        let (protocol, host) = (&self.protocol, &self.host);
        // What the relay sends must not look like more of the line.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_*".contains(&byte);
        if protocol.bytes().chain(host.bytes()).all(is_name) {
            write!(formatter, "{protocol}:{host}")
        } else {
            write!(formatter, "{protocol:?}:{host:?}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_relay_sends_cannot_look_like_more_of_a_log_line() {
        let open = |visitor_address, host| {
            let request = Request::new(&Open {
                protocol: "raw",
                host,
                port: None,
                visitor_address,
                visitor_port: None,
                visitor_tls: false,
            });
            request.to_string()
        };
        assert_eq!(open("::ffff:10.0.0.1", "a.test"), "visitor 10.0.0.1 of raw:a.test");
        assert_eq!(open("", "a.test"), "somebody at raw:a.test");
        assert_eq!(
            open("10.0.0.1 of raw:b.test to c", "a b"),
            "visitor \"10.0.0.1 of raw:b.test to c\" of \"raw\":\"a b\""
        );
    }
}
