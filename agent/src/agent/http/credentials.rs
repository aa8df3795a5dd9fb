//! HTTP Basic (RFC 7617): whether a request knows one of a kite's passwords
//! (`password/USER`, `protocol.md` 13.3).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use subtle::{Choice, ConstantTimeEq};

use crate::wire::Secret;

/// Senders that leave out the `=` at the end are understood.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether an `Authorization` value names one of `passwords`. The time it takes
/// tells nothing of a password but its length.
pub(super) fn matches(authorization: &[u8], passwords: &[(String, Secret)]) -> bool {
    let Some(given) = decode(authorization) else {
        return false;
    };
    let mut found = Choice::from(0);
    for (user, password) in passwords {
        let mut expected = Vec::with_capacity(user.len() + 1 + password.bytes().len());
        expected.extend_from_slice(user.as_bytes());
        expected.push(b':');
        expected.extend_from_slice(password.bytes());
        found |= expected.as_slice().ct_eq(&given);
    }
    found.into()
}

/// `USER:PASSWORD` out of `Basic BASE64`.
fn decode(authorization: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = authorization.split_at_checked(5)?;
    if !scheme.eq_ignore_ascii_case(b"Basic") || !matches!(rest, [b' ' | b'\t', ..]) {
        return None;
    }
    BASE64.decode(rest.trim_ascii()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passwords() -> Vec<(String, Secret)> {
        vec![
            ("ann".to_owned(), Secret::new("one")),
            ("bob".to_owned(), Secret::new("t:w o\u{e9}")),
            ("nobody".to_owned(), Secret::new("")),
        ]
    }

    fn basic(pair: &str) -> Vec<u8> {
        format!("Basic {}", BASE64.encode(pair)).into_bytes()
    }

    #[test]
    fn the_right_pairs_are_let_in() {
        for pair in ["ann:one", "bob:t:w o\u{e9}", "nobody:"] {
            assert!(matches(&basic(pair), &passwords()), "{pair}");
        }
        for spelling in ["basic YW5uOm9uZQ==", "BASIC   YW5uOm9uZQ== ", "Basic YW5uOm9uZQ"] {
            assert!(matches(spelling.as_bytes(), &passwords()), "{spelling}");
        }
    }

    #[test]
    fn everything_else_stays_out() {
        for pair in
            ["ann:two", "ann:one ", "ann:", "ann", ":one", "bob:one", "ANN:one", "ann:on", ""]
        {
            assert!(!matches(&basic(pair), &passwords()), "{pair}");
        }
        for value in [
            "",
            "Basic",
            "Basic ",
            "Bearer YW5uOm9uZQ==",
            "BasicYW5uOm9uZQ==",
            "Basic ann:one",
            "Basic YW5uOm9uZQ=",
            "Digest x",
            "Basi\u{e9}",
        ] {
            let let_in = matches(value.as_bytes(), &passwords());
            // One "=" too few is still the right pair.
            assert_eq!(let_in, value == "Basic YW5uOm9uZQ=", "{value}");
        }
        assert!(!matches(&basic("ann:one"), &[]));
    }
}
