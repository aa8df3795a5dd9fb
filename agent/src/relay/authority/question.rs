//! Which authority is asked about a kite, and the DNS name of the question
//! (`protocol.md` 14).

use crate::config::Authority;
use crate::wire::{KiteId, KiteRequest};

/// Longest label of a DNS name (RFC 1035 section 2.3.4), in bytes.
const MAX_LABEL_BYTES: usize = 63;
/// Longest DNS name as text without the final dot, in bytes: 255 on the wire
/// (RFC 1035 section 2.3.4).
const MAX_NAME_BYTES: usize = 253;
/// Stands for the `*` of a wildcard.
const ANY: &str = "_any_";

/// The authority for `domain` (lower case, possibly `*.parent`): the one whose
/// own domain is the longest that `domain` is or lies below; of several alike,
/// the first. A wildcard belongs to whoever its parent belongs to.
pub fn choose<'a>(authorities: &'a [Authority], domain: &str) -> Option<&'a Authority> {
    let name = domain.strip_prefix("*.").unwrap_or(domain);
    let mut best: Option<&Authority> = None;
    for authority in authorities {
        let length = authority.kite_domain.len();
        let is_longer = best.is_none_or(|best| length > best.kite_domain.len());
        if is_longer && is_at_or_below(name, &authority.kite_domain) {
            best = Some(authority);
        }
    }
    best
}

/// The name that a DNS authority is asked for, without the final dot:
/// `BSALT.FSALT.SIGNATURE.PROTO[-PORT].DOMAIN.SUFFIX`.
///
/// `None` when it is no DNS name. An agent writes salt and signature as it
/// likes, and with a dot in them it could move the labels behind; so each has
/// to be one label of letters, digits, `-` and `_`.
///
/// Letters stay as they are: mixing their case against forged answers (0x20)
/// would change what the service at the other end has to verify.
pub fn question_name(request: &KiteRequest, suffix: &str) -> Option<String> {
    let KiteRequest { id, salt, challenge, signature } = request;
    if ![salt, challenge, signature].into_iter().all(|part| is_label(part)) {
        return None;
    }
    let protocol = match id.port() {
        Some(port) => format!("{}-{port}", id.protocol()),
        None => id.protocol().to_owned(),
    };
    let domain = match id.domain().strip_prefix('*') {
        Some(parent) => format!("{ANY}{parent}"),
        None => id.domain().to_owned(),
    };
    let suffix = suffix.trim_matches('.');
    let name = format!("{salt}.{challenge}.{signature}.{protocol}.{domain}.{suffix}");
    let fits = name.len() <= MAX_NAME_BYTES && name.split('.').all(is_label);
    fits.then_some(name)
}

/// Whether anybody can be asked about this kite: its domain is labels with
/// single dots between them, and no program takes it for an option.
pub(super) fn is_askable(id: &KiteId) -> bool {
    let name = id.domain().strip_prefix("*.").unwrap_or(id.domain());
    name.split('.').all(|label| is_label(label) && !label.starts_with('-'))
}

fn is_at_or_below(name: &str, parent: &str) -> bool {
    if parent.is_empty() || name.eq_ignore_ascii_case(parent) {
        return true;
    }
    // Bytes, for the cut could lie inside a letter.
    let (name, parent) = (name.as_bytes(), parent.as_bytes());
    name.len() > parent.len() && {
        let (front, end) = name.split_at(name.len() - parent.len());
        end.eq_ignore_ascii_case(parent) && front.ends_with(b".")
    }
}

fn is_label(text: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::config::AuthorityMeans;
    use crate::wire::TunnelRequest;

    fn authority(kite_domain: &str, suffix: &str) -> Authority {
        Authority {
            kite_domain: kite_domain.to_owned(),
            means: AuthorityMeans::Dns(suffix.to_owned()),
        }
    }

    fn request(domain: &str) -> KiteRequest {
        KiteRequest {
            id: KiteId::new("raw", Some(22), domain).expect("valid"),
            salt: "aa".to_owned(),
            challenge: "tbb".to_owned(),
            signature: "cc".to_owned(),
        }
    }

    #[test]
    fn the_longest_domain_that_covers_a_kite_is_chosen() {
        let authorities = [
            authority("example.com", "one"),
            authority("a.example.com", "two"),
            authority("example.com", "later"),
        ];
        let chosen = |domain| choose(&authorities, domain).map(|found| found.means.clone());
        let means = |suffix: &str| Some(AuthorityMeans::Dns(suffix.to_owned()));
        assert_eq!(chosen("example.com"), means("one"));
        assert_eq!(chosen("b.example.com"), means("one"));
        assert_eq!(chosen("*.example.com"), means("one"));
        assert_eq!(chosen("a.example.com"), means("two"));
        assert_eq!(chosen("*.a.example.com"), means("two"));
        assert_eq!(chosen("b.a.example.com"), means("two"));
        for stranger in ["com", "*.com", "badexample.com", "example.com.evil.net", "xample.com"] {
            assert_eq!(chosen(stranger), None, "{stranger}");
        }
        let for_all = [authority("", "all"), authority("example.com", "one")];
        assert_eq!(choose(&for_all, "other.net"), Some(&for_all[0]));
        assert_eq!(choose(&for_all, "x.example.com"), Some(&for_all[1]));
    }

    /// What the reference asked when it was sent the recorded requests.
    const ASKED: [(&str, &str); 4] = [
        (
            "02",
            "7f3d29dd810a01f888410b08b5fc9cd0b3d1.tbac4e2bbfbe53cab873bc163d62fb8e6a0e.\
             fc67e2ff27b973d94133224a6d04e0a8dcb9.http.plain.x.test.auth.test",
        ),
        (
            "04",
            "3688110e6c0041adbe3ddc8dc3823cae8fb4.t8144577d5ace2f5153832d294e16dc3575a.\
             9416057fb427742ab2a1898b834174e9f718.http.cname.x.test.auth.test",
        ),
        (
            "12",
            "f7c084c5e0f750d7ab7be82348dfd19d5015.t6ddcb27d692dbcdc620779f1d88cc770433.\
             080043492e2490952b015de70aeff2a80ac3.http.zero.x.test.auth.test",
        ),
        (
            "18",
            "ba2c4d9bba59057a5771b92894b984a3626e.t0cbb9b0781a4b19f33c086fc69ad553852f.\
             acda58590f0e82ec64ee5631c934e5feae4c.http._any_.plain.test.auth.test",
        ),
    ];

    #[test]
    fn asks_what_the_reference_asks() {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/24-fe-dns-auth-quota");
        for (number, asked) in ASKED {
            let bytes = fs::read(folder.join(format!("{number}.be2fe.bin"))).expect("recorded");
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("head") + 4;
            let recorded = TunnelRequest::parse(&bytes[..end]).expect("request");
            for suffix in ["auth.test", ".auth.test."] {
                assert_eq!(question_name(&recorded.kites[0], suffix).as_deref(), Some(asked));
            }
        }
        let with_port = question_name(&request("kite.test"), "auth.test");
        assert_eq!(with_port.as_deref(), Some("aa.tbb.cc.raw-22.kite.test.auth.test"));
    }

    #[test]
    fn an_agent_cannot_move_the_labels() {
        for wrong in ["", "a.b", ".", "a b", "a\\.b", "a\0", "\u{e9}", "*", &"a".repeat(64)] {
            for part in 0..3 {
                let mut request = request("kite.test");
                let field = match part {
                    0 => &mut request.salt,
                    1 => &mut request.challenge,
                    _ => &mut request.signature,
                };
                *field = wrong.to_owned();
                assert_eq!(question_name(&request, "auth.test"), None, "{part} {wrong:?}");
            }
        }
    }

    #[test]
    fn what_is_no_dns_name_is_not_asked_for() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(253 - 17 - 2 - 3 * 64));
        let name = question_name(&request(&longest), "x").expect("just fits");
        assert_eq!(name.len(), 253);
        for domain in [&format!("{longest}a"), &format!("{label}a.test"), "a..b", ".a", "a."] {
            assert_eq!(question_name(&request(domain), "x"), None, "{domain}");
        }
        for suffix in ["", "a..b", "a b"] {
            assert_eq!(question_name(&request("kite.test"), suffix), None, "{suffix}");
        }
    }

    #[test]
    fn a_name_that_could_be_an_option_is_askable_of_nobody() {
        for (domain, askable) in [
            ("kite.test", true),
            ("*.kite.test", true),
            ("under_score.test", true),
            ("-rf", false),
            ("*.-x", false),
            ("a..b", false),
            ("kite.test.", false),
        ] {
            assert_eq!(is_askable(&request(domain).id), askable, "{domain}");
        }
    }
}
