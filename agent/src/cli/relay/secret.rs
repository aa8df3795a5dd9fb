//! A new secret for a kite: nothing that a person has to make up.

/// Characters of a secret.
const LENGTH: usize = 24;
/// Letters and digits that are not mistaken for each other when somebody types
/// them: no i, l, o, 0, 1. 31 of them, so 24 make 118 bits.
const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// Rounds of drawing. One nearly always does; a broken source must not hang.
const MAX_ROUNDS: usize = 64;

/// Makes a secret from what `fill` draws; `None` when that fails.
pub(super) fn new_secret(fill: impl Fn(&mut [u8]) -> Option<()>) -> Option<String> {
    // The largest multiple of the alphabet in a byte; above it, some letters
    // would come more often.
    let even = u8::MAX - u8::MAX % 31;
    let mut secret = String::with_capacity(LENGTH);
    for _ in 0..MAX_ROUNDS {
        let mut bytes = [0u8; 2 * LENGTH];
        fill(&mut bytes)?;
        for byte in bytes.into_iter().filter(|byte| *byte < even) {
            secret.push(char::from(ALPHABET[usize::from(byte % 31)]));
            if secret.len() == LENGTH {
                return Some(secret);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_secret_has_24_letters_that_nobody_mistakes() {
        use ring::rand::SecureRandom as _;
        let random = ring::rand::SystemRandom::new();
        let mut seen = BTreeSet::new();
        let mut secrets = BTreeSet::new();
        for _ in 0..200 {
            let secret = new_secret(|bytes| random.fill(bytes).ok()).expect("secret");
            assert_eq!(secret.len(), LENGTH);
            seen.extend(secret.bytes());
            secrets.insert(secret);
        }
        assert_eq!(secrets.len(), 200);
        assert_eq!(seen, ALPHABET.iter().copied().collect());
    }

    #[test]
    fn a_source_that_fails_or_stands_still_makes_none() {
        assert_eq!(new_secret(|_| None), None);
        let stuck = |bytes: &mut [u8]| {
            bytes.fill(255);
            Some(())
        };
        assert_eq!(new_secret(stuck), None);
    }
}
