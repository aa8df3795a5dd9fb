//! What the address and the alias mean that a DNS authority answers with
//! (`protocol.md` 14).

use std::net::Ipv4Addr;

use super::failure::Failure;
use super::{OVER_QUOTA, Ruling, UNAUTHORIZED, reason_word};
use crate::wire::Quota;

/// The address that stands for "as much as you like".
const NO_LIMIT: Ipv4Addr = Ipv4Addr::new(255, 255, 254, 255);

/// Reads an authority's address and the name that the question is an alias
/// of: `REASON[-ADDRESSES-SECONDS].G.DAYS.CONNECTIONS.rest`, numbers in
/// hexadecimal digits.
///
/// # Errors
/// [`Failure::Alias`] when the kite may fly, but what it may use cannot be
/// read: guessing would give it too much.
pub(super) fn rule(address: Ipv4Addr, alias: Option<&str>) -> Result<Ruling, Failure> {
    let reason = |fallback| {
        let first = alias.and_then(|alias| alias.split(['.', '-']).next());
        Ruling::Refused(reason_word(first.unwrap_or_default(), fallback))
    };
    let kilobytes = match address.octets() {
        // .0 is "unknown user", which the reference lets in by mistake.
        [255, 255, 255, _] => return Ok(reason(UNAUTHORIZED)),
        [0, 0, 0, 0] => return Ok(Ruling::refused(OVER_QUOTA)),
        _ if address == NO_LIMIT => None,
        _ => Some(i64::from(address.to_bits())),
    };
    let mut quota = match alias {
        Some(alias) => bounds(alias).ok_or(Failure::Alias)?,
        None => Quota::default(),
    };
    quota.kilobytes = kilobytes;
    Ok(Ruling::Granted { quota, secret: None })
}

/// What an alias says about a kite that may fly, other than kilobytes.
fn bounds(alias: &str) -> Option<Quota> {
    let mut labels = alias.split('.');
    let (first, _ignored) = (labels.next()?, labels.next()?);
    let (days, connections) = (hexadecimal(labels.next()?)?, hexadecimal(labels.next()?)?);
    let mut words = first.split('-');
    let _reason = words.next()?;
    let visitors = match (words.next(), words.next(), words.next()) {
        (None, _, _) => None,
        (Some(addresses), Some(seconds), None) => {
            let (addresses, seconds) = (hexadecimal(addresses)?, hexadecimal(seconds)?);
            // Nobody, or in no time, is how a limit is left out.
            (addresses > 0 && seconds > 0).then_some((addresses, seconds))
        }
        _ => return None,
    };
    Some(Quota {
        kilobytes: None,
        days: Some(i64::from(days)),
        connections: Some(i64::from(connections)),
        visitors,
    })
}

fn hexadecimal(digits: &str) -> Option<u32> {
    // The standard library would take a sign as well.
    let fits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if fits { u32::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::wire::{Answer, Verdict};

    fn granted(quota: Quota) -> Result<Ruling, Failure> {
        Ok(Ruling::Granted { quota, secret: None })
    }

    fn refused(reason: &str) -> Result<Ruling, Failure> {
        Ok(Ruling::Refused(reason.to_owned()))
    }

    /// What the reference made of an answer, as it told the agent.
    fn recorded(number: &str) -> (Verdict, Quota) {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/24-fe-dns-auth-quota");
        let bytes = fs::read(folder.join(format!("{number}.fe2be.bin"))).expect("recorded");
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("head") + 4;
        let answer = Answer::parse(&bytes[..end]).expect("answer");
        (answer.results[0].verdict.clone(), answer.quota)
    }

    #[test]
    fn reads_what_the_reference_reads() {
        for (number, address, alias) in [
            ("02", [0, 0, 4, 0], None),
            ("04", [0, 0, 200, 0], Some("ok-5-e10.2a.1e.3.tail.auth.test")),
            ("08", [255, 255, 255, 1], None),
            ("10", [255, 255, 255, 1], Some("nodays.0.0.0.tail.auth.test")),
            ("12", [0, 0, 0, 0], None),
        ] {
            let (verdict, quota) = recorded(number);
            match rule(address.into(), alias) {
                Ok(Ruling::Granted { quota: ours, secret: None }) => {
                    assert_eq!((Verdict::Flying, quota), (verdict, ours), "{number}");
                }
                Ok(Ruling::Refused(reason)) => {
                    assert_eq!(Verdict::Refused(reason), verdict, "{number}");
                }
                other => panic!("{number}: {other:?}"),
            }
        }
        let wanted = Quota {
            kilobytes: Some(51200),
            days: Some(30),
            connections: Some(3),
            visitors: Some((5, 3600)),
        };
        assert_eq!(rule([0, 0, 200, 0].into(), Some("ok-5-e10.2a.1e.3.x")), granted(wanted));
    }

    #[test]
    fn an_unknown_user_stays_out_unlike_at_the_reference() {
        assert_eq!(recorded("06").0, Verdict::Flying, "let in by the reference");
        assert_eq!(rule([255, 255, 255, 0].into(), None), refused("unauthorized"));
    }

    #[test]
    fn the_borders_between_quota_no_limit_and_refusal() {
        let kilobytes = |kilobytes| granted(Quota { kilobytes, ..Quota::default() });
        assert_eq!(rule([0, 0, 0, 1].into(), None), kilobytes(Some(1)));
        assert_eq!(rule([255, 255, 254, 254].into(), None), kilobytes(Some(4_294_967_038)));
        assert_eq!(rule([255, 255, 254, 255].into(), None), kilobytes(None));
        for last in [0, 1, 2, 255] {
            assert_eq!(rule([255, 255, 255, last].into(), None), refused("unauthorized"));
        }
        assert_eq!(rule([127, 0, 0, 1].into(), None), kilobytes(Some(0x7f00_0001)));
    }

    #[test]
    fn a_refusal_takes_its_reason_from_any_alias() {
        let refusal = |alias| rule([255, 255, 255, 1].into(), Some(alias));
        assert_eq!(refusal("noconns-1-2.x"), refused("noconns"));
        assert_eq!(refusal("bad"), refused("bad"));
        assert_eq!(refusal("a b;c\nd.1.1.1"), refused("a_b_c_d"));
        for empty in ["", ".", "-1-2.a"] {
            assert_eq!(refusal(empty), refused("unauthorized"), "{empty}");
        }
        assert_eq!(rule(Ipv4Addr::UNSPECIFIED, Some("nodays.1.1.1.x")), refused("quota"));
    }

    #[test]
    fn a_grant_with_an_alias_that_cannot_be_read_is_none() {
        for alias in [
            "",
            "ok",
            "ok.1",
            "ok.1.1",
            "ok.1..1.x",
            "ok.1.g.1.x",
            "ok.1.1.-1.x",
            "ok.1.+1.1.x",
            "ok.1.100000000.1.x",
            "ok-1.1.1.1.x",
            "ok-1-.1.1.1.x",
            "ok-1-2-3.1.1.1.x",
            "allow.example.com",
        ] {
            assert_eq!(rule([0, 0, 4, 0].into(), Some(alias)), Err(Failure::Alias), "{alias}");
        }
        for no_rate in ["ok-0-0.0.2.3.x", "ok-0-e10.0.2.3.x", "ok-5-0.0.2.3", "ok.zz.2.3"] {
            let wanted = Quota {
                kilobytes: Some(1024),
                days: Some(2),
                connections: Some(3),
                visitors: None,
            };
            assert_eq!(rule([0, 0, 4, 0].into(), Some(no_rate)), granted(wanted), "{no_rate}");
        }
    }
}
