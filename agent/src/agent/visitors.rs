//! Who comes and what for: finds the service of a visitor, or the answer to
//! one who cannot be served.

use std::rc::Rc;
use std::time::Duration;

use log::{info, warn};

use super::access::Visitor;
use super::answer::{Refusal, error_url, refuse};
use super::routing::candidates;
use crate::config::KiteSettings;
use crate::wire::Open;

/// Longest text that is kept of a visitor's address, protocol and host, in
/// bytes: the longest DNS name has 253, and no other is longer. A relay could
/// send 256 KB of each, for every stream.
const MAX_TEXT_BYTES: usize = 253;

/// The kites of this agent and what all visitors share.
pub(super) struct Visitors {
    kites: Vec<Rc<KiteSettings>>,
    error_urls: Vec<(String, String)>,
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
    ) -> Self {
        Self { kites: kites.into_iter().map(Rc::new).collect(), error_urls }
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

    /// The answer to a visitor above the limit of streams.
    pub(super) fn refuse_overload(&self, open: &Open<'_>) -> Vec<u8> {
        let request = Request::new(open);
        warn!("{request}: too many visitors at once, not served (setting max_streams)");
        self.refuse(&request, Refusal::Unavailable)
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

    /// The one log line of a visitor: who, service, how long, bytes.
    pub(super) fn log_end(
        &self,
        service: Option<&str>,
        lived: Duration,
        received: u64,
        sent: u64,
        end: &str,
    ) {
        let service = service.unwrap_or("no service");
        let seconds = lived.as_secs_f64();
        info!("{self} to {service}: {seconds:.1} s, {received} bytes in, {sent} bytes out{end}");
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
        // What the relay sends must not be able to forge a log line.
        let address = match self.visitor.address.as_str() {
            "" => "somebody",
            address => address,
        };
        let (protocol, host) = (&self.protocol, &self.host);
        write!(
            formatter,
            "visitor {} of {}",
            address.escape_debug(),
            format_args!("{}:{}", protocol.escape_debug(), host.escape_debug())
        )
    }
}
