//! Who a visitor is, as the relay tells it, and whether a kite's list of
//! addresses (`ip/...`, `protocol.md` 13.3) lets that visitor in.

use std::net::IpAddr;

use crate::config::AddressRange;

/// What the relay says about a visitor in the first frame of a stream
/// (`protocol.md` 6: `RIP`, `RPort`, `RTLS`, `Port`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visitor {
    /// The address as received, for instance `::ffff:192.0.2.1`; empty when
    /// the relay named none.
    pub address: String,
    /// The visitor's own TCP port.
    pub port: Option<u16>,
    /// Whether the relay took the TLS off.
    pub tls: bool,
    /// The relay's port that the visitor connected to.
    pub public_port: Option<u16>,
}

impl Visitor {
    /// The address as a number, an IPv4 address inside an IPv6 one taken out.
    /// `None` when it is missing or no address.
    pub fn ip(&self) -> Option<IpAddr> {
        // A zone (`fe80::1%eth0`) means something on the relay only.
        let text = match self.address.split_once('%') {
            Some((address, _zone)) => address,
            None => &self.address,
        };
        let address: IpAddr = text.trim().parse().ok()?;
        Some(address.to_canonical())
    }

    /// Whether a kite with this list lets the visitor in. An empty list lets
    /// in everybody; with a list, a visitor whose address cannot be read stays
    /// out, as does one of the other address family (`::/0` is IPv6 only).
    pub fn is_allowed(&self, allowed: &[AddressRange]) -> bool {
        if allowed.is_empty() {
            return true;
        }
        match self.ip() {
            Some(address) => allowed.iter().any(|range| range.contains(address)),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(address: &str) -> Visitor {
        Visitor { address: address.to_owned(), ..Visitor::default() }
    }

    fn range(network: &str, prefix_bits: u8) -> AddressRange {
        AddressRange { network: network.parse().expect("an address"), prefix_bits }
    }

    #[test]
    fn an_empty_list_lets_in_everybody() {
        assert!(visitor("192.0.2.1").is_allowed(&[]));
        assert!(visitor("").is_allowed(&[]) && visitor("who?").is_allowed(&[]));
    }

    #[test]
    fn addresses_are_compared_as_numbers() {
        for (network, bits, address, inside) in [
            ("192.0.2.1", 32, "192.0.2.1", true),
            ("192.0.2.1", 32, "::ffff:192.0.2.1", true),
            ("192.0.2.1", 32, "::FFFF:c000:0201", true),
            ("192.0.2.1", 32, "192.0.2.2", false),
            ("192.0.2.0", 24, "192.0.2.255", true),
            ("192.0.2.0", 24, "::ffff:192.0.2.255", true),
            ("192.0.2.77", 24, "192.0.2.1", true),
            ("192.0.2.0", 24, "192.0.3.0", false),
            ("192.0.2.0", 25, "192.0.2.128", false),
            ("0.0.0.0", 0, "203.0.113.9", true),
            ("0.0.0.0", 0, "2001:db8::1", false),
            ("2001:db8::", 32, "2001:db8:ffff::1", true),
            ("2001:db8::", 32, "2001:db9::1", false),
            ("2001:db8::1", 128, "2001:0db8:0:0::1", true),
            ("::", 0, "2001:db8::1", true),
            ("::", 0, "192.0.2.1", false),
            ("::ffff:192.0.2.0", 120, "192.0.2.9", true),
            ("::ffff:192.0.2.0", 120, "192.0.3.9", false),
            ("fe80::", 10, "fe80::1%eth0", true),
            ("192.0.2.1", 255, "192.0.2.1", true),
            ("192.0.2.1", 255, "192.0.2.0", false),
        ] {
            assert_eq!(
                visitor(address).is_allowed(&[range(network, bits)]),
                inside,
                "{address} in {network}/{bits}"
            );
        }
    }

    #[test]
    fn one_range_of_many_is_enough() {
        let allowed = [range("192.0.2.1", 32), range("2001:db8::", 32)];
        assert!(visitor("2001:db8::5").is_allowed(&allowed));
        assert!(!visitor("192.0.2.5").is_allowed(&allowed));
    }

    #[test]
    fn what_is_no_address_stays_out() {
        let everything = [range("0.0.0.0", 0), range("::", 0)];
        for address in ["", "unknown", "192.0.2", "192.0.2.1:80", "1.2.3.4.5", "%"] {
            assert!(!visitor(address).is_allowed(&everything), "{address:?}");
        }
    }
}
