//! Certificates that nobody vouches for, for relays whose agents know the key
//! itself: where no ACME client runs, and in the demonstration.

use rcgen::{CertifiedKey, PublicKeyData as _, generate_simple_self_signed};
use ring::digest;

/// A key and its certificate, both PEM.
pub struct SelfSigned {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
    /// SHA-256 of the public key (RFC 7469 section 2.4), as agents pin it.
    pub pin: [u8; 32],
}

impl SelfSigned {
    /// Makes a key (ECDSA P-256) and a certificate for `name`, which may be a
    /// wildcard. It never ends to be valid: who pins a key looks at no date.
    ///
    /// # Errors
    /// In words, when the name cannot stand in a certificate.
    pub fn new(name: &str) -> Result<Self, String> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([name.to_owned()]).map_err(|error| error.to_string())?;
        let pin = sha256(&signing_key.subject_public_key_info());
        Ok(Self { certificate: cert.pem(), key: signing_key.serialize_pem(), pin })
    }
}

// The key is nobody's business.
impl std::fmt::Debug for SelfSigned {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SelfSigned").field("pin", &self.pin).finish_non_exhaustive()
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_key() {
        let made = SelfSigned::new("relay.example.com").expect("a name");
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }
}
