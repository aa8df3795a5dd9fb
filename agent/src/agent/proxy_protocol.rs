//! The PROXY protocol header that tells a service who the visitor is, ahead of
//! the visitor's first byte (`proxyproto`, `protocol.md` 13.3; haproxy's
//! `proxy-protocol.txt` sections 2.1 and 2.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::access::Visitor;
use crate::config::ProxyProtocol;

/// The longest header, in bytes: a line of version 1 (section 2.1).
pub const MAX_PROXY_HEADER_BYTES: usize = 107;

/// Appends the header for `visitor` to `out`, [`MAX_PROXY_HEADER_BYTES`] at
/// most.
///
/// The agent knows the visitor's address and port and the relay's port, but
/// not the relay's address: that is given as `0.0.0.0` or `::`, as PageKite
/// does, and ports that the relay did not tell are 0. A visitor whose address
/// is unknown becomes `PROXY UNKNOWN` or, in version 2, a `LOCAL` connection.
pub fn write_header(version: ProxyProtocol, visitor: &Visitor, out: &mut Vec<u8>) {
    match version {
        ProxyProtocol::V1 => write_line(visitor, out),
        ProxyProtocol::V2 => write_binary(visitor, out),
    }
}

fn write_line(visitor: &Visitor, out: &mut Vec<u8>) {
    let (family, address, relay) = match visitor.ip() {
        Some(address @ IpAddr::V4(_)) => ("TCP4", address, "0.0.0.0"),
        Some(address @ IpAddr::V6(_)) => ("TCP6", address, "::"),
        None => {
            out.extend_from_slice(b"PROXY UNKNOWN\r\n");
            return;
        }
    };
    let (from, to) = ports(visitor);
    let line = format!("PROXY {family} {address} {relay} {from} {to}\r\n");
    out.extend_from_slice(line.as_bytes());
}

fn write_binary(visitor: &Visitor, out: &mut Vec<u8>) {
    const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    const UNSPECIFIED: u8 = 0x00;
    const TCP_OVER_IPV4: u8 = 0x11;
    const TCP_OVER_IPV6: u8 = 0x21;

    out.extend_from_slice(SIGNATURE);
    match visitor.ip() {
        Some(IpAddr::V4(address)) => {
            out.extend_from_slice(&[PROXY, TCP_OVER_IPV4, 0, 12]);
            out.extend_from_slice(&address.octets());
            out.extend_from_slice(&Ipv4Addr::UNSPECIFIED.octets());
        }
        Some(IpAddr::V6(address)) => {
            out.extend_from_slice(&[PROXY, TCP_OVER_IPV6, 0, 36]);
            out.extend_from_slice(&address.octets());
            out.extend_from_slice(&Ipv6Addr::UNSPECIFIED.octets());
        }
        None => {
            out.extend_from_slice(&[LOCAL, UNSPECIFIED, 0, 0]);
            return;
        }
    }
    let (from, to) = ports(visitor);
    out.extend_from_slice(&from.to_be_bytes());
    out.extend_from_slice(&to.to_be_bytes());
}

/// The visitor's port and the relay's.
fn ports(visitor: &Visitor) -> (u16, u16) {
    (visitor.port.unwrap_or(0), visitor.public_port.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: ProxyProtocol, address: &str) -> Vec<u8> {
        let visitor = Visitor {
            address: address.to_owned(),
            port: Some(0xabcd),
            tls: false,
            public_port: Some(443),
        };
        let mut out = b"before ".to_vec();
        write_header(version, &visitor, &mut out);
        out.split_off(b"before ".len())
    }

    #[test]
    fn version_1_is_one_line() {
        for (address, line) in [
            ("192.0.2.1", "PROXY TCP4 192.0.2.1 0.0.0.0 43981 443\r\n"),
            ("::ffff:192.0.2.1", "PROXY TCP4 192.0.2.1 0.0.0.0 43981 443\r\n"),
            ("2001:DB8:0::1", "PROXY TCP6 2001:db8::1 :: 43981 443\r\n"),
            ("fe80::1%eth0", "PROXY TCP6 fe80::1 :: 43981 443\r\n"),
            ("", "PROXY UNKNOWN\r\n"),
            ("not an address\r\n", "PROXY UNKNOWN\r\n"),
        ] {
            let bytes = header(ProxyProtocol::V1, address);
            assert_eq!(String::from_utf8_lossy(&bytes), line);
            assert!(bytes.len() <= MAX_PROXY_HEADER_BYTES);
        }
    }

    #[test]
    fn version_2_is_binary() {
        let mut four = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        four.extend([192, 0, 2, 1, 0, 0, 0, 0, 0xab, 0xcd, 1, 187]);
        assert_eq!(header(ProxyProtocol::V2, "192.0.2.1"), four);
        assert_eq!(header(ProxyProtocol::V2, "::ffff:192.0.2.1"), four);

        let mut six = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
        six.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        six.extend([0; 16]);
        six.extend([0xab, 0xcd, 1, 187]);
        assert_eq!(header(ProxyProtocol::V2, "2001:db8::1"), six);
    }

    #[test]
    fn version_2_without_an_address_is_a_local_connection() {
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
        assert_eq!(header(ProxyProtocol::V2, "unknown"), local);
    }

    #[test]
    fn unknown_ports_are_zero() {
        let visitor = Visitor { address: "192.0.2.1".to_owned(), ..Visitor::default() };
        let mut out = Vec::new();
        write_header(ProxyProtocol::V1, &visitor, &mut out);
        assert_eq!(out, b"PROXY TCP4 192.0.2.1 0.0.0.0 0 0\r\n");
    }
}
