//! Which addresses a range has: one rule for the visitors of a kite and for
//! those of a relay.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::settings::AddressRange;

impl AddressRange {
    /// Whether `address` is in the range. An IPv4 address inside an IPv6 one
    /// (`::ffff:192.0.2.1`) counts as IPv4, on both sides; otherwise the two
    /// families have nothing in common: `::/0` is IPv6 only. A prefix longer
    /// than the address counts as the whole address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.canonical(), address.to_canonical()) {
            ((IpAddr::V4(network), bits), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(Ipv4Addr::BITS.saturating_sub(bits)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            ((IpAddr::V6(network), bits), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(Ipv6Addr::BITS.saturating_sub(bits)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }

    /// `::ffff:192.0.2.0/120` is `192.0.2.0/24`.
    fn canonical(&self) -> (IpAddr, u32) {
        const MAPPED_BITS: u32 = 96;
        let bits = u32::from(self.prefix_bits);
        match (self.network, self.network.to_canonical()) {
            (IpAddr::V6(_), network @ IpAddr::V4(_)) if bits >= MAPPED_BITS => {
                (network, bits - MAPPED_BITS)
            }
            (network, _) => (network, bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_ipv4_on_both_sides() {
        for (network, prefix_bits, address, inside) in [
            ("192.0.2.0", 24, "::ffff:192.0.2.9", true),
            ("::ffff:192.0.2.0", 120, "192.0.2.9", true),
            ("::ffff:192.0.2.0", 120, "::ffff:192.0.3.9", false),
            ("::", 0, "::ffff:192.0.2.9", false),
            ("::", 0, "2001:db8::1", true),
            ("0.0.0.0", 0, "2001:db8::1", false),
            ("2001:db8::", 64, "2001:db8:0:1::1", false),
        ] {
            let range = AddressRange { network: network.parse().expect("address"), prefix_bits };
            let address = address.parse().expect("address");
            assert_eq!(range.contains(address), inside, "{address} in {range}");
        }
    }
}
