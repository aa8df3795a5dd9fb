//! Names that visitors ask for, checked before anything else sees them: what
//! comes out can stand in a log line, in a header of a frame, and as the key of
//! a look-up.

use std::net::IpAddr;

/// Longest DNS name, in bytes (RFC 1035 section 2.3.4).
const MAX_NAME_BYTES: usize = 253;
/// Longest part of one between two dots, in bytes (the same section).
const MAX_LABEL_BYTES: usize = 63;

/// Which name a visitor's TLS asks for (SNI). Only [`Self::Dns`] can be the
/// name of a kite; the others are as good as no name, and told apart for the
/// log alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NameAsked {
    /// None at all, as agents in the mode `fe_nocertcheck` do
    /// (`protocol.md` 2.2).
    #[default]
    None,
    /// An address: against RFC 6066 section 3, but libpagekite sends the relay
    /// as it is configured (`protocol.md` 2.3).
    Address(IpAddr),
    /// Nothing that DNS can hold.
    Malformed,
    /// A DNS name: lower-case letters, digits, `-` and `_` in labels of 1 to
    /// 63 bytes, 253 bytes together, without a dot at the end.
    Dns(String),
}

impl NameAsked {
    /// The name, if DNS can hold it.
    pub fn dns(&self) -> Option<&str> {
        match self {
            Self::Dns(name) => Some(name),
            Self::None | Self::Address(_) | Self::Malformed => None,
        }
    }

    /// Reads what was asked for; a dot at the end is the root of DNS and
    /// changes nothing.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
        let text = match std::str::from_utf8(bytes) {
            Ok(text) if text.len() <= MAX_NAME_BYTES => text,
            _ => return Self::Malformed,
        };
        if let Ok(address) = text.parse() {
            return Self::Address(address);
        }
        let is_label = |label: &str| {
            (1..=MAX_LABEL_BYTES).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if text.split('.').all(is_label) {
            Self::Dns(text.to_ascii_lowercase())
        } else {
            Self::Malformed
        }
    }
}

/// The host that a visitor of another protocol wants: a DNS name, or an
/// address, which no kite has for a name but the kite `unknown` serves
/// (`protocol.md` 11). `None` when it is neither.
pub(super) fn host(bytes: &[u8]) -> Option<String> {
    match NameAsked::read(bytes) {
        NameAsked::Dns(name) => Some(name),
        NameAsked::Address(address) => Some(address.to_string()),
        NameAsked::None | NameAsked::Malformed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lowered_and_lose_the_dot_at_the_end() {
        for (asked, name) in [
            (&b"kite.test"[..], "kite.test"),
            (b"KITE.Test", "kite.test"),
            (b"kite.test.", "kite.test"),
            (b"xn--mnchen-3ya.test", "xn--mnchen-3ya.test"),
            (b"_acme-challenge.a_b.test", "_acme-challenge.a_b.test"),
            (b"localhost", "localhost"),
            (b"1.2.3", "1.2.3"),
        ] {
            assert_eq!(NameAsked::read(asked), NameAsked::Dns(name.to_owned()));
            assert_eq!(host(asked).as_deref(), Some(name));
        }
    }

    #[test]
    fn addresses_are_no_names_but_hosts() {
        for (asked, address) in [
            (&b"127.0.0.1"[..], "127.0.0.1"),
            (b"127.0.0.1.", "127.0.0.1"),
            (b"::1", "::1"),
            (b"2001:DB8::1", "2001:db8::1"),
        ] {
            let name = NameAsked::read(asked);
            assert_eq!(name, NameAsked::Address(address.parse().expect("an address")));
            assert_eq!((name.dns(), host(asked).as_deref()), (None, Some(address)));
        }
    }

    #[test]
    fn what_dns_cannot_hold_is_malformed() {
        for asked in [
            &b""[..],
            b".",
            b"..",
            b".kite.test",
            b"kite..test",
            b"kite.test..",
            b"*.kite.test",
            b"kite.test:443",
            b"[::1]",
            b"fe80::1%eth0",
            b"kite test",
            b"kite.test\0",
            b"kite.test\r\nX: y",
            b"kite/test",
            "k\u{131}te.test".as_bytes(),
            b"kite\xff.test",
        ] {
            assert_eq!(NameAsked::read(asked), NameAsked::Malformed, "{asked:?}");
            assert_eq!(host(asked), None);
        }
    }

    #[test]
    fn names_may_be_as_long_as_dns_allows() {
        let label = "a".repeat(MAX_LABEL_BYTES);
        let longest = [label.as_str(), &label, &label, &label[..61]].join(".");
        assert_eq!(longest.len(), MAX_NAME_BYTES);
        assert_eq!(NameAsked::read(longest.as_bytes()), NameAsked::Dns(longest.clone()));
        let with_dot = format!("{longest}.");
        assert_eq!(NameAsked::read(with_dot.as_bytes()), NameAsked::Dns(longest.clone()));
        let with_more = format!("{longest}a");
        assert_eq!(NameAsked::read(with_more.as_bytes()), NameAsked::Malformed);
        assert_eq!(NameAsked::read(format!("{label}a").as_bytes()), NameAsked::Malformed);
        assert_eq!(NameAsked::read(&b"a.".repeat(10_000)), NameAsked::Malformed);
    }
}
