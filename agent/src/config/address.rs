//! Hosts, ports and ranges of addresses as people write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::settings::AddressRange;
use crate::wire::MAX_DOMAIN_BYTES;

/// What is wrong with `HOST:PORT`, and how it is written.
pub(crate) const HOST_PORT: &str = "is no HOST:PORT; write it like relay.example.com:443 or \
     [2001:db8::1]:443, with a port from 1 to 65535";
/// The same for a range of addresses.
pub(super) const RANGE: &str = "is no address; write ip/192.0.2.1, ip/192.0.2.0/24 or \
     ip/2001:db8::/32";

/// Reads `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`; a missing port is
/// `default_port`, and wrong without one.
pub(crate) fn host_port(text: &str, default_port: Option<u16>) -> Option<(String, u16)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']')?;
            if !is_ipv6(host) {
                return None;
            }
            (host, rest)
        }
        None => match text.find(':') {
            Some(colon) => text.split_at(colon),
            None => (text, ""),
        },
    };
    let port = match rest.strip_prefix(':') {
        Some(digits) => port(digits)?,
        None if rest.is_empty() => default_port?,
        None => return None,
    };
    (is_ipv6(host) || is_host_name(host)).then(|| (host.to_owned(), port))
}

/// Reads a port from 1 to 65535.
pub(super) fn port(digits: &str) -> Option<u16> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain {
        return None;
    }
    digits.parse().ok().filter(|port| *port != 0)
}

/// Whether the text can be looked up: a DNS name or an IPv4 address.
pub(super) fn is_host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_DOMAIN_BYTES
        && !text.starts_with(['-', '.'])
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

/// Whether the text is an IPv6 address, with or without `%interface`.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "x"));
    address.parse::<Ipv6Addr>().is_ok() && is_host_name(zone)
}

/// Reads `192.0.2.1`, `192.0.2` (PageKite's way to write a /24),
/// `192.0.2.0/25`, `2001:db8::1` or `2001:db8::/32`. Bits of the host are
/// cleared; an IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`) becomes IPv4.
pub(super) fn address_range(text: &str) -> Option<AddressRange> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(prefix_bits_of(bits)?)),
        None => (text, None),
    };
    let (address, bits) = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => (IpAddr::V4(v4), bits.unwrap_or(32)),
        Ok(IpAddr::V6(v6)) => match (v6.to_ipv4_mapped(), bits.unwrap_or(128)) {
            (Some(v4), bits) if bits >= 96 => (IpAddr::V4(v4), bits - 96),
            (_, bits) => (IpAddr::V6(v6), bits),
        },
        Err(_) if bits.is_none() => {
            let first: Ipv4Addr = format!("{address}.0").parse().ok()?;
            (IpAddr::V4(first), 24)
        }
        Err(_) => return None,
    };
    let network = match address {
        IpAddr::V4(v4) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(u32::from(32 - bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(u32::from(128 - bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
        _ => return None,
    };
    Some(AddressRange { network, prefix_bits: bits })
}

/// Reads the number behind the `/` of a range.
fn prefix_bits_of(digits: &str) -> Option<u8> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts_and_ports() {
        for (text, host, port) in [
            ("relay.example.com", "relay.example.com", 443),
            ("relay.example.com:8080", "relay.example.com", 8080),
            ("192.0.2.1:1", "192.0.2.1", 1),
            ("[2001:db8::1]", "2001:db8::1", 443),
            ("[2001:db8::1]:65535", "2001:db8::1", 65535),
            ("[fe80::1%br-lan]:80", "fe80::1%br-lan", 80),
        ] {
            assert_eq!(host_port(text, Some(443)), Some((host.to_owned(), port)), "{text}");
        }
        for text in [
            "",
            ":",
            ":443",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a:b",
            "a b:1",
            "2001:db8::1",
            "[2001:db8::1",
            "[a]:1",
            "[::1]x",
            "[::1]:",
            "-a:1",
            "a/b:1",
            "[::1%]:1",
        ] {
            assert_eq!(host_port(text, Some(443)), None, "{text}");
        }
        assert_eq!(host_port("localhost", None), None);
    }

    #[test]
    fn reads_ranges() {
        for (text, network, prefix_bits) in [
            ("192.0.2.1", "192.0.2.1", 32),
            ("192.0.2", "192.0.2.0", 24),
            ("192.0.2.129/25", "192.0.2.128", 25),
            ("0.0.0.0/0", "0.0.0.0", 0),
            ("2001:db8::1", "2001:db8::1", 128),
            ("2001:db8:1::/32", "2001:db8::", 32),
            ("::/0", "::", 0),
            ("::ffff:192.0.2.1", "192.0.2.1", 32),
            ("::ffff:192.0.2.0/120", "192.0.2.0", 24),
        ] {
            let network = network.parse().expect("address");
            let expected = AddressRange { network, prefix_bits };
            assert_eq!(address_range(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "192",
            "192.0",
            "192.0.2.",
            "192.0.2/24",
            "192.0.2.1/33",
            "192.0.2.1/",
            "::/129",
            "2001:db8",
            "host",
            "192.0.2.1/-1",
            "192.0.2.1/24/3",
            "192.0.2.1/+8",
            "::1/999",
        ] {
            assert_eq!(address_range(text), None, "{text}");
        }
    }
}
