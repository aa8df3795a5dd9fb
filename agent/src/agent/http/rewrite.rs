//! Tells the service who the visitor is, in the headers that PageKite uses
//! (`protocol.md` 13.1), and takes the same headers from the visitor's mouth.

use std::net::Ipv6Addr;

use super::credentials;
use crate::agent::access::Visitor;
use crate::config::{KiteSettings, Origin, RewriteHost};
use crate::http::fields::Header;
use crate::http::head::Head;
use crate::http::identity;

/// The longest address that is passed on, in bytes; the longest that is one,
/// an IPv6 address with a zone, has about 60.
const MAX_ADDRESS_BYTES: usize = 64;

/// The head as the service sees it. Lines that are not ours stay as they are,
/// byte for byte and in their order.
///
/// An `Authorization` that holds one of the kite's own passwords is taken out:
/// it was for the agent, the service has users of its own (or none). Others
/// pass.
pub(super) fn rewrite(head: &Head<'_>, kite: &KiteSettings, visitor: &Visitor) -> Vec<u8> {
    let new_host = kite.flags.rewrite_host.as_ref().map(|rewrite| match rewrite {
        RewriteHost::Origin => origin_host(&kite.origin),
        RewriteHost::Name(name) => name.clone(),
    });
    // Room for what is put in, without a second allocation in most cases.
    let mut out = Vec::with_capacity(head.bytes().len() + 256);
    out.extend_from_slice(head.before_headers());
    {
        let mut add = |name: &str, value: &str| {
            for part in [name.as_bytes(), b": ", value.as_bytes(), head.line_end()] {
                out.extend_from_slice(part);
            }
        };
        add("X-Forwarded-For", shown_address(&visitor.address));
        add("X-Forwarded-Proto", if visitor.tls { "https" } else { "http" });
        if let Some(port) = visitor.public_port {
            add("X-PageKite-Port", &port.to_string());
        }
        if let Some(host) = &new_host {
            add("Host", host);
        }
    }
    for Header { line, name, value } in head.headers() {
        let is_ours = identity::is_in(name, &identity::AGENTS)
            || (new_host.is_some() && name.eq_ignore_ascii_case(b"Host"));
        if is_ours {
            out.extend_from_slice(identity::OLD);
        } else if name.eq_ignore_ascii_case(b"Authorization")
            && credentials::matches(value, &kite.flags.passwords)
        {
            continue;
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(head.last_line());
    out
}

/// The address as the relay wrote it; `unknown`, as proxies write it
/// (RFC 7239 section 6.2), for what would break the line.
fn shown_address(address: &str) -> &str {
    let fits = (1..=MAX_ADDRESS_BYTES).contains(&address.len())
        && address.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { address } else { "unknown" }
}

/// The service's name without a port, as PageKite puts it.
fn origin_host(origin: &Origin) -> String {
    match origin {
        Origin::Tcp { host, .. } if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]"),
        Origin::Tcp { host, .. } => host.clone(),
        Origin::Unix(_) => "localhost".to_owned(),
    }
}
