//! `host[:port]` as visitors write it, in `Host`, in targets and in CONNECT.
//! What is no plain DNS name or address literal is not read at all: a relay
//! and a service that read a name in two ways serve the wrong kite.

use std::net::{IpAddr, Ipv6Addr};

use crate::wire::MAX_DOMAIN_BYTES;

/// Digits of the address in an `0x...--` prefix: IPv4 and IPv6.
const PREFIX_DIGITS: [usize; 2] = [8, 32];

/// A name that a visitor asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// In lower case, without a dot at its end and without the prefix that
    /// encodes an address; IPv6 addresses are in brackets.
    pub(super) name: String,
    pub(super) port: Option<u16>,
}

impl Host {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let end = match text.strip_prefix('[') {
            Some(rest) => rest.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (name, port) = text.split_at(end);
        let port = match port.strip_prefix(':') {
            Some(digits) => Some(parse_port(digits)?),
            None if port.is_empty() => None,
            None => return None,
        };
        let name = match name.strip_prefix('[') {
            Some(_) => bracketed(name)?,
            None => normal_name(name)?,
        };
        Some(Self { name, port })
    }
}

/// The name that TLS was asked for in the form of [`Host::name`], if it is a
/// DNS name.
pub(super) fn tls_name(name: &str) -> Option<String> {
    let is_address = name.parse::<IpAddr>().is_ok();
    if is_address { None } else { normal_name(name) }
}

/// A port from 1 to 65535 in up to five digits.
fn parse_port(digits: &str) -> Option<u16> {
    let are_digits = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if are_digits { digits.parse().ok().filter(|port| *port != 0) } else { None }
}

fn bracketed(name: &str) -> Option<String> {
    let address: Ipv6Addr = name.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?;
    Some(format!("[{address}]"))
}

/// A DNS name or an IPv4 address (`protocol.md` 11).
fn normal_name(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if !is_name(name) {
        return None;
    }
    let mut name = name.to_ascii_lowercase();
    if let Some(rest) = without_prefix(&name).filter(|rest| is_name(rest)) {
        name = rest.to_owned();
    }
    Some(name)
}

fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.len() <= MAX_DOMAIN_BYTES && name.split('.').all(is_label)
}

/// What follows `0x`, the digits of an address and `--`: names of sandboxes
/// encode an address for one visitor, and are the same kite.
fn without_prefix(name: &str) -> Option<&str> {
    let (digits, rest) = name.strip_prefix("0x")?.split_once("--")?;
    let is_address = PREFIX_DIGITS.contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_address.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(String, Option<u16>)> {
        Host::parse(text.as_bytes()).map(|host| (host.name, host.port))
    }

    #[test]
    fn names_are_brought_into_one_form() {
        let long = ["a"; 127].join(".");
        assert_eq!(long.len(), MAX_DOMAIN_BYTES);
        for (text, name, port) in [
            ("kite.test", "kite.test", None),
            ("Kite.TEST:80", "kite.test", Some(80)),
            ("kite.test.", "kite.test", None),
            ("kite.test.:65535", "kite.test", Some(65535)),
            ("a_b-c.test:00080", "a_b-c.test", Some(80)),
            ("localhost", "localhost", None),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[::1]", "[::1]", None),
            ("[0:0:0::1]:443", "[::1]", Some(443)),
            ("[::FFFF:192.0.2.1]", "[::ffff:192.0.2.1]", None),
            ("0x7f000001--kite.test", "kite.test", None),
            ("0X7F000001--Kite.test:8080", "kite.test", Some(8080)),
            ("0x20010db8000000000000000000000001--kite.test", "kite.test", None),
            ("0x7f00000--kite.test", "0x7f00000--kite.test", None),
            ("0x7f000001-kite.test", "0x7f000001-kite.test", None),
            ("0x7f00000g--kite.test", "0x7f00000g--kite.test", None),
            ("0x7f000001--", "0x7f000001--", None),
            ("0x7f000001--.test", "0x7f000001--.test", None),
            ("0x7f000001--0x7f000001--a", "0x7f000001--a", None),
            (&long, &long, None),
            (&format!("{long}."), &long, None),
        ] {
            assert_eq!(parse(text), Some((name.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn what_two_readers_read_differently_is_no_name() {
        for text in [
            "",
            " ",
            ".",
            "..",
            ":80",
            ".:80",
            "a..b",
            ".a",
            "a.:b",
            "a..",
            "a:",
            "a:0",
            "a:65536",
            "a:000080",
            "a:+80",
            "a:-1",
            "a: 80",
            "a:80 ",
            "a:80:80",
            "a b",
            "a\tb",
            "a,b",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a@b",
            "user@a",
            "user:pw@a:80",
            "a%2eb",
            "a%00",
            "http://a",
            "*",
            "*.a",
            "a;b",
            "a'b",
            "\"a\"",
            "é.test",
            "a\u{7f}",
            "a\0",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[a]",
            "[::1]a",
            "[::1]:",
            "[::1]:x",
            "[fe80::1%eth0]",
            "[v1.a]",
            "[127.0.0.1]",
            "[::1].",
            "[[::1]]",
            "a[::1]",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(Host::parse(b"\xff.test"), None);
        assert_eq!(parse(&"a".repeat(MAX_DOMAIN_BYTES + 1)), None);
    }

    #[test]
    fn addresses_are_no_names_of_tls() {
        for text in ["127.0.0.1", "::1", "[::1]", "", "a b"] {
            assert_eq!(tls_name(text), None);
        }
        assert_eq!(tls_name("0x7f000001--Kite.Test.").as_deref(), Some("kite.test"));
    }
}
