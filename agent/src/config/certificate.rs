//! What a relay's certificate has to show: a name, and beyond it one
//! certificate or key that is known beforehand (features E).

use super::address::is_host_name;
use super::problem::quoted;
use super::settings::{CertificateName, Pin};

const NAME: &str = "is no certificate name; write NAME, NAME/SHA1HEX or NAME/sha256:BASE64";

/// Reads the value of `fe_certname`: `NAME`, `NAME/SHA1HEX` or
/// `NAME/sha256:PIN`.
///
/// # Errors
/// What is wrong and the mend.
pub(crate) fn certificate_name(text: &str) -> Result<CertificateName, String> {
    let (name, pin) = match text.split_once('/') {
        Some((name, pin)) => (name, Some(read_pin(pin)?)),
        None => (text, None),
    };
    if !is_host_name(name) {
        return Err(format!("{} {NAME}", quoted(name)));
    }
    Ok(CertificateName { name: name.to_ascii_lowercase(), pin })
}

/// Reads a fingerprint as `openssl x509 -fingerprint` prints it (hexadecimal,
/// with or without colons) or, for a key, in Base64.
fn read_pin(text: &str) -> Result<Pin, String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD;

    if let Some(key) = text.strip_prefix("sha256:") {
        let from_base64 = || STANDARD_NO_PAD.decode(key.trim_end_matches('=')).ok();
        return hexadecimal(key)
            .or_else(from_base64)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Pin::KeySha256)
            .ok_or_else(|| {
                "the pin is no SHA-256 of a key; write NAME/sha256: and 44 characters of Base64 or \
                 64 hexadecimal digits"
                    .to_owned()
            });
    }
    hexadecimal(text).and_then(|bytes| bytes.try_into().ok()).map(Pin::CertificateSha1).ok_or_else(
        || {
            "the pin is no SHA-1 of a certificate; write NAME/ and 40 hexadecimal digits, or \
             NAME/sha256: and the SHA-256 of the key"
                .to_owned()
        },
    )
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|character| *character != ':')
        .map(|character| character.to_digit(16))
        .collect::<Option<_>>()?;
    let pair = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).ok();
    (digits.len() % 2 == 0).then(|| digits.chunks_exact(2).map(pair).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names() {
        for (text, name, pinned) in [
            ("Relay.Example.com", "relay.example.com", false),
            ("192.0.2.1", "192.0.2.1", false),
            ("r.b/00112233445566778899aabbccddeeff00112233", "r.b", true),
        ] {
            let read = certificate_name(text).expect(text);
            assert_eq!((read.name.as_str(), read.pin.is_some()), (name, pinned));
        }
        for text in ["", "a b", "/00", "r.b/", "*.b"] {
            assert!(certificate_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_pins() {
        let sha1 = "00112233445566778899AABBCCDDEEFF00112233";
        let with_colons = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33";
        assert_eq!(read_pin(sha1), read_pin(with_colons));
        assert!(matches!(read_pin(sha1), Ok(Pin::CertificateSha1(pin)) if pin[1] == 0x11));
        let base64 = "sha256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let hex = "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        assert_eq!(read_pin(base64), read_pin(hex));
        assert!(matches!(read_pin(hex), Ok(Pin::KeySha256(pin)) if pin[31] == 31));
        for text in ["", "abc", "sha256:", "sha256:AAEC", &sha1[1..], "md5:00", "é"] {
            assert!(read_pin(text).is_err(), "{text}");
        }
    }
}
