//! Keeps the signing with private keys out of a program that is no server.
//!
//! An agent verifies certificates and shows none of its own, so nothing ever
//! loads a key; but the provider of the cryptography names its loader, and with
//! it RSA, ECDSA and Ed25519 signing come into the binary: about 45 KB on MIPS.

use std::sync::Arc;

use rustls::crypto::KeyProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;

/// Loads no key.
#[derive(Debug)]
pub(super) struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("this build has no use for private keys".to_owned()))
    }
}
