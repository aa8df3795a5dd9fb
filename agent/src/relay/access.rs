//! Whom the relay lets in by address: `client_acl` for visitors, `tunnel_acl`
//! for agents (`protocol.md` 11).

use std::net::IpAddr;

use crate::config::AccessRule;

/// Whether `rules` let `address` in. The first rule that fits holds; no rule
/// at all lets in everybody, and rules of which none fits keep out.
pub fn is_let_in(rules: &[AccessRule], address: IpAddr) -> bool {
    let fits = |rule: &&AccessRule| rule.range.is_none_or(|range| range.contains(address));
    match rules.iter().find(fits) {
        Some(rule) => rule.allow,
        None => rules.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AddressRange;

    fn rule(allow: bool, network: &str, prefix_bits: u8) -> AccessRule {
        let network = network.parse().expect("an address");
        AccessRule { allow, range: Some(AddressRange { network, prefix_bits }) }
    }

    fn lets_in(rules: &[AccessRule], address: &str) -> bool {
        is_let_in(rules, address.parse().expect("an address"))
    }

    #[test]
    fn the_first_rule_that_fits_holds() {
        let rules = [rule(false, "192.0.2.7", 32), rule(true, "192.0.2.0", 24)];
        assert!(!lets_in(&rules, "192.0.2.7") && lets_in(&rules, "192.0.2.8"));
        let swapped = [rules[1], rules[0]];
        assert!(lets_in(&swapped, "192.0.2.7"));
    }

    #[test]
    fn no_rule_lets_in_everybody_and_rules_that_do_not_fit_keep_out() {
        assert!(lets_in(&[], "192.0.2.7") && lets_in(&[], "2001:db8::1"));
        let rules = [rule(false, "192.0.2.7", 32)];
        assert!(!lets_in(&rules, "198.51.100.1") && !lets_in(&rules, "2001:db8::1"));
        let rules = [rules[0], AccessRule { allow: true, range: None }];
        assert!(lets_in(&rules, "198.51.100.1") && lets_in(&rules, "2001:db8::1"));
        assert!(!lets_in(&rules, "192.0.2.7"));
    }

    #[test]
    fn an_ipv4_address_on_an_ipv6_socket_is_ipv4() {
        let rules = [rule(false, "192.0.2.0", 24), AccessRule { allow: true, range: None }];
        assert!(!lets_in(&rules, "::ffff:192.0.2.1"));
        assert!(lets_in(&rules, "::ffff:192.0.3.1"));
    }
}
