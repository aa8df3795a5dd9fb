//! How an agent proves that it knows a kite's secret, and how a relay makes
//! challenges without remembering them (`protocol.md` 4).
//!
//! A signature is eight characters of salt and the hexadecimal SHA-1 of
//! `secret payload [time] salt`, cut to the wanted length. SHA-1 is what the
//! protocol has; what protects it here is the secret in front and the salt.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use subtle::ConstantTimeEq;

/// Characters of the signature of a kite or a challenge.
pub const SIGNATURE_LENGTH: usize = 36;
/// Characters of the signature of a DynDNS update.
pub const DYNDNS_SIGNATURE_LENGTH: usize = 48;
/// Characters of salt at the front of each signature.
pub const SALT_LENGTH: usize = 8;
/// Seconds that one time stamp stands for; it is accepted in the window it was
/// made in and in the next one.
pub const WINDOW_SECONDS: u64 = 600;

/// Eight lower-case hexadecimal digits, made from random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt([u8; SALT_LENGTH]);

impl Salt {
    /// Writes four random bytes as a salt.
    pub fn from_random(random: [u8; SALT_LENGTH / 2]) -> Self {
        let mut salt = [0; SALT_LENGTH];
        write_hex(&random, &mut salt);
        Self(salt)
    }
}

/// Signs `payload`, without a time stamp. `length` is at most 48.
pub fn sign(secret: &[u8], payload: &[u8], salt: Salt, length: usize) -> String {
    into_text(&compute(secret, payload, salt.0, None), length)
}

/// Signs `payload` so that the signature ends to be valid 10 to 20 minutes
/// after `unix_seconds`.
pub fn sign_at(
    secret: &[u8],
    payload: &[u8],
    salt: Salt,
    unix_seconds: u64,
    length: usize,
) -> String {
    let mut marked = salt.0;
    marked[0] = b't';
    let window = unix_seconds / WINDOW_SECONDS;
    into_text(&compute(secret, payload, marked, Some(window)), length)
}

/// Whether `signature` fits, in constant time for a given length. One that
/// begins with `t` has to be of this or the previous ten minutes.
pub fn verify(secret: &[u8], payload: &[u8], signature: &[u8], unix_seconds: u64) -> bool {
    let Some(salt) = signature.first_chunk::<SALT_LENGTH>() else {
        return false;
    };
    if !(SIGNATURE_LENGTH..=DYNDNS_SIGNATURE_LENGTH).contains(&signature.len()) {
        return false;
    }
    let fits = |window| {
        let wanted = compute(secret, payload, *salt, window);
        bool::from(wanted[..signature.len()].ct_eq(signature))
    };
    if salt[0] == b't' {
        let window = unix_seconds / WINDOW_SECONDS;
        fits(Some(window)) | fits(Some(window.saturating_sub(1)))
    } else {
        fits(None)
    }
}

/// Writes `bytes` as lower-case hexadecimal digits; `digits` is twice as long.
pub(crate) fn write_hex(bytes: &[u8], digits: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn compute(
    secret: &[u8],
    payload: &[u8],
    salt: [u8; SALT_LENGTH],
    window: Option<u64>,
) -> [u8; DYNDNS_SIGNATURE_LENGTH] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(secret);
    context.update(payload);
    if let Some(window) = window {
        context.update(format!("{window:x}").as_bytes());
    }
    context.update(&salt);
    let digest = context.finish();
    let mut signature = [0; DYNDNS_SIGNATURE_LENGTH];
    signature[..SALT_LENGTH].copy_from_slice(&salt);
    write_hex(digest.as_ref(), &mut signature[SALT_LENGTH..]);
    signature
}

fn into_text(signature: &[u8], length: usize) -> String {
    signature.iter().take(length).copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn salt(text: &str) -> Salt {
        Salt(text.as_bytes().try_into().expect("eight characters"))
    }

    const ANSWER: &[u8] = b"http:foo.example.com:0123456789abcdef0123456789abcdef0123:\
        teadbeefc14e5eb32989db7250f940bb6a13";

    /// `protocol.md` 4, vectors without a time stamp: secret, payload, result.
    const PLAIN: [(&str, &[u8], &str); 8] = [
        (
            "wigglybop",
            b"http-99:testkite.com:123456789012345678901234567890123456:",
            "0000000166483a7e7d92338f838f6e166509",
        ),
        (
            "s3cret",
            b"http:foo.example.com:0123456789abcdef0123456789abcdef0123:",
            "abcdef0167143f7b5138955a03d522e0fc28",
        ),
        ("s3cret", ANSWER, "11223344aea48cc4a6bbbf06bbc1be85fb96"),
        (
            "s3cret",
            b"foo.example.com:192.0.2.1,192.0.2.2",
            "556677881fd2453a9aeab6bc9c02be867eff18bcafe6a723",
        ),
        ("a", b"", "00000000f4616235b79c1c8f4d444d594c38"),
        (
            "s3cret",
            b"http:kite.test:3f4dc5f6ee640b5dd85fc4308d088484056c:t18210a5b7ff934bf98d547517e1ebec6b79",
            "af54628ee266d156e252bc815bb55581202a",
        ),
        (
            "s3cret",
            b"http:kite.test:80598d387b1568ccec5025f5bd1181999894:t36e9f324d51a5864e51cf3f553f810843f1",
            "7b5354f9f7ef148c5804ffa0a3752ed2ac3f",
        ),
        (
            "s3cret",
            b"kite.test:127.0.0.1",
            "6d8cd217a0dd08e915042c6aa238ed26e892410eb5ca0ea6",
        ),
    ];

    #[test]
    fn published_vectors_without_time() {
        for (secret, payload, wanted) in PLAIN {
            let signature = sign(secret.as_bytes(), payload, salt(&wanted[..8]), wanted.len());
            assert_eq!(signature, wanted);
            assert!(verify(secret.as_bytes(), payload, wanted.as_bytes(), 0));
        }
    }

    #[test]
    fn published_vectors_with_time() {
        let time = 1_700_000_000;
        let challenge = sign_at(
            b"sErVeRsEcReT",
            b"http:foo.example.com:0123456789abcdef0123456789abcdef0123",
            salt("deadbeef"),
            time,
            SIGNATURE_LENGTH,
        );
        assert_eq!(challenge, "teadbeefc14e5eb32989db7250f940bb6a13");
        let answer = sign_at(b"s3cret", ANSWER, salt("aabbccdd"), time, SIGNATURE_LENGTH);
        assert_eq!(answer, "tabbccdd6b9ec2b335f7e7383216c3b0dcfe");
    }

    #[test]
    fn a_time_stamp_is_valid_in_its_window_and_the_next() {
        let start = 1_700_000_400;
        let signature = sign_at(b"K", b"P", salt("deadbeef"), start, SIGNATURE_LENGTH);
        assert_eq!(signature, "teadbeef259cfa64aa956b32f9d22c8e02f5");
        for (offset, valid) in [(0, true), (599, true), (1199, true), (1200, false)] {
            assert_eq!(verify(b"K", b"P", signature.as_bytes(), start + offset), valid);
        }
    }

    #[test]
    fn refuses_what_is_not_the_signature() {
        let (secret, payload, right) = PLAIN[0];
        let secret = secret.as_bytes();
        let wrong_end = format!("{}0", &right[..35]);
        let longer = format!("{right}0000000000000");
        for wrong in ["", "0000000", &right[..8], &right[..35], &wrong_end, &longer] {
            assert!(!verify(secret, payload, wrong.as_bytes(), 0), "{wrong}");
        }
        assert!(!verify(b"other", payload, right.as_bytes(), 0));
    }

    #[test]
    fn salts_are_padded() {
        assert_eq!(Salt::from_random([0, 1, 0x0a, 0xff]), salt("00010aff"));
    }
}
