//! The greeting of SSL 2, which clients from before 2010 also send for TLS
//! (RFC 5246 appendix E.2). It names no host, so all it gets is the alert.

use super::Look;

/// The first byte of one that is shorter than 256 bytes, as all are.
const SHORT: u8 = 0x80;
/// Its third byte: the message is a CLIENT-HELLO.
const CLIENT_HELLO: u8 = 1;

/// Whether the bytes are such a greeting; known with the third.
pub(super) fn look(seen: &[u8]) -> Look<()> {
    match *seen {
        [] | [SHORT] | [SHORT, _] => Look::More,
        [SHORT, _, CLIENT_HELLO, ..] => Look::Found(()),
        _ => Look::NotThis,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_known_with_its_third_byte() {
        let greeting = b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10";
        for end in 0..=greeting.len() {
            let expected = if end < 3 { Look::More } else { Look::Found(()) };
            assert_eq!(look(&greeting[..end]), expected);
        }
        assert_eq!(look(b"\x80\x01\x00"), Look::NotThis);
        assert_eq!(look(b"\x81"), Look::NotThis);
    }
}
