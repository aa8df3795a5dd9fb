//! Who is let in by address: `client_acl` and `tunnel_acl` (features H). The
//! patterns are networks; of PageKite's regular expressions, those are read
//! that can mean one network only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::address::address_range;
use super::super::problem::quoted;
use super::super::relay_settings::AccessRule;
use super::super::settings::AddressRange;

/// Most rules of each list: they are tried in order for every connection.
pub const MAX_ACCESS_RULES: usize = 1024;

/// Adds the rules of `POLICY:PATTERN` (`localhost` is two).
///
/// # Errors
/// What is wrong and the mend.
pub(super) fn add_rule(value: &str, rules: &mut Vec<AccessRule>) -> Result<(), String> {
    let (policy, pattern) = value.split_once(':').ok_or(
        "is written allow:NETWORK or deny:NETWORK, such as allow:192.0.2.0/24 or deny:any",
    )?;
    let allow = match policy.to_ascii_lowercase().as_str() {
        "allow" => true,
        "deny" => false,
        _ => {
            return Err(format!(
                "{} is neither allow nor deny; write one of them before the colon",
                quoted(policy)
            ));
        }
    };
    for range in ranges(pattern)? {
        if rules.len() >= MAX_ACCESS_RULES {
            return Err(format!("more than {MAX_ACCESS_RULES} rules; remove some"));
        }
        rules.push(AccessRule { allow, range });
    }
    Ok(())
}

/// What a pattern means; `None` in the list is everybody.
fn ranges(pattern: &str) -> Result<Vec<Option<AddressRange>>, String> {
    let whole = pattern.strip_prefix('^').unwrap_or(pattern);
    let whole = whole.strip_suffix('$').unwrap_or(whole);
    match whole.to_ascii_lowercase().as_str() {
        "any" | ".*" => return Ok(vec![None]),
        "localhost" => {
            let four =
                AddressRange { network: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix_bits: 8 };
            let six = AddressRange { network: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix_bits: 128 };
            return Ok(vec![Some(four), Some(six)]);
        }
        _ => {}
    }
    let found = address_range(whole).or_else(|| expression(whole));
    found.map(|range| vec![Some(range)]).ok_or_else(|| {
        let mend = suggestion(whole).map_or_else(
            || "192.0.2.1, 192.0.2.0/24, 2001:db8::/32, localhost or any".to_owned(),
            |range| range.to_string(),
        );
        format!(
            "{} is a pattern that Kitelet does not read; write a network, such as {mend}",
            quoted(pattern)
        )
    })
}

/// Reads `192\.0\.2\.1`, `192\.168\..*` and `2001:db8:.*`.
fn expression(text: &str) -> Option<AddressRange> {
    if text.contains(':') {
        let rest = text.strip_suffix(":.*")?;
        let groups = rest.split(':').count();
        // With less than a group left, nothing may follow.
        let bits = u8::try_from(groups * 16).ok().filter(|bits| *bits < 128)?;
        return address_range(&format!("{rest}::/{bits}"));
    }
    match text.strip_suffix(r"\..*") {
        Some(rest) => prefix(&rest.replace(r"\.", ".")),
        None if text.contains('\\') => address_range(&text.replace(r"\.", ".")).filter(is_single),
        None => None,
    }
}

/// What is most likely meant by `10.*` or `192.168.*`, which as regular
/// expressions let in others as well.
fn suggestion(text: &str) -> Option<AddressRange> {
    let text = text.replace('\\', "");
    let rest = text.trim_end_matches(['*', '.', '+']);
    prefix(rest).filter(|_| rest.len() < text.len())
}

/// One to three numbers of an IPv4 address.
fn prefix(text: &str) -> Option<AddressRange> {
    let numbers = text.split('.').count();
    let bits = u8::try_from(numbers * 8).ok().filter(|bits| *bits < 32)?;
    let rest = ".0".repeat(4 - numbers);
    address_range(&format!("{text}{rest}/{bits}"))
}

fn is_single(range: &AddressRange) -> bool {
    range.prefix_bits == 32
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes, settings, warnings};
    use super::*;

    fn read(pattern: &str) -> Result<String, String> {
        let mut rules = Vec::new();
        add_rule(&format!("allow:{pattern}"), &mut rules)?;
        let words: Vec<String> = rules
            .iter()
            .map(|rule| rule.range.map_or("any".to_owned(), |range| range.to_string()))
            .collect();
        Ok(words.join(" "))
    }

    #[test]
    fn patterns_that_mean_one_network_are_read() {
        for (pattern, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.77/24", "192.0.2.0/24"),
            ("192.0.2", "192.0.2.0/24"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1"),
            (r"192\.0\.2\.1", "192.0.2.1"),
            (r"^192\.168\..*$", "192.168.0.0/16"),
            (r"10\..*", "10.0.0.0/8"),
            (r"192.168\..*", "192.168.0.0/16"),
            ("2001:db8:.*", "2001:db8::/32"),
            ("fd00:.*", "fd00::/16"),
            (".*", "any"),
            ("ANY", "any"),
            ("localhost", "127.0.0.0/8 ::1"),
        ] {
            assert_eq!(read(pattern).as_deref(), Ok(expected), "{pattern}");
        }
    }

    #[test]
    fn other_patterns_are_told_with_a_network() {
        for (pattern, mend) in [
            ("10.*", "such as 10.0.0.0/8"),
            ("192.168.*", "such as 192.168.0.0/16"),
            (r"192\.168\.*", "such as 192.168.0.0/16"),
            (r"(10|172)\..*", "such as 192.0.2.1, "),
            (r"256\..*", "such as 192.0.2.1, "),
            (r"1\.2\.3\.4\..*", "such as 192.0.2.1, "),
            ("1:2:3:4:5:6:7:8:.*", "such as 192.0.2.1, "),
            ("::.*", "such as 192.0.2.1, "),
            ("", "such as 192.0.2.1, "),
            ("é", "such as 192.0.2.1, "),
        ] {
            let told = read(pattern).expect_err(pattern);
            assert!(told.contains(mend), "{pattern}: {told}");
        }
        assert!(mistakes("client_acl = 192.0.2.1").contains("is written allow:NETWORK"));
        assert!(mistakes("client_acl = permit:any").contains("neither allow nor deny"));
    }

    #[test]
    fn the_rules_keep_their_order_and_a_list_that_lets_in_nobody_is_told() {
        let read = settings("client_acl = deny:192.0.2.0/24\nclient_acl = allow:any");
        assert_eq!(read.visitor_rules.len(), 2);
        assert!(!read.visitor_rules[0].allow && read.visitor_rules[1].allow);
        assert!(read.tunnel_rules.is_empty());
        let told = warnings("tunnel_acl = deny:192.0.2.0/24");
        assert!(told.contains("tunnel_acl: lets in nobody"), "{told}");
        assert!(told.contains("tunnel_acl = allow:any"), "{told}");
    }
}
