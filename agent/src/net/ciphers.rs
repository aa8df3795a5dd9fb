//! Which cipher suites come first: those that are cheap on this processor.
//! AES-GCM is the fastest where `ring` finds instructions for it, and several
//! times as slow as ChaCha20-Poly1305 where it does not
//! (`cross/bench-ciphers` measures both).

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{CipherSuite, SupportedCipherSuite};

use super::no_keys::NoKeys;

/// Whether `ring` does AES-GCM by instructions of this processor: AES for the
/// cipher and a carry-less multiplication for GCM, as in its `aes_gcm.rs`.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub(super) fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

/// Not every ARMv8 has them: the Raspberry Pi 3 and 4 do without.
#[cfg(target_arch = "aarch64")]
pub(super) fn has_aes() -> bool {
    use std::arch::is_aarch64_feature_detected;
    is_aarch64_feature_detected!("aes") && is_aarch64_feature_detected!("pmull")
}

/// Nowhere else does `ring` use such instructions, even where the kernel tells
/// of them: 32-bit programs on an ARMv8 get ciphers for NEON.
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn has_aes() -> bool {
    false
}

/// All suites of the provider, the ones that this end prefers first: the
/// library's order with AES instructions, else by their price.
pub(super) fn cipher_suites(has_aes: bool) -> Vec<SupportedCipherSuite> {
    let mut suites = ring::ALL_CIPHER_SUITES.to_vec();
    if !has_aes {
        suites.sort_by_key(|suite| price(suite.suite()));
    }
    suites
}

/// A rank in software: the AES of 256 bits has 14 rounds, that of 128 has 10.
fn price(suite: CipherSuite) -> u8 {
    match suite {
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => 0,
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 1,
        _ => 2,
    }
}

/// `ring` with its suites in that order, for a client: it shows no certificate,
/// so nothing that signs comes into a program without servers ([`NoKeys`]).
pub(super) fn client_provider(has_aes: bool) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: cipher_suites(has_aes),
        key_provider: &NoKeys,
        ..ring::default_provider()
    })
}

/// The same for a server.
pub(super) fn server_provider(has_aes: bool) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { cipher_suites: cipher_suites(has_aes), ..ring::default_provider() })
}

/// Whether a server's own order goes before the client's
/// (`ServerConfig::ignore_client_order`). With AES instructions both ciphers
/// are cheap here, so the client knows best: a small device that asks for
/// ChaCha20 gets it. Without them a desktop's browser, which asks for AES and
/// is fast with either, must not set the price.
pub(super) fn ignores_client_order(has_aes: bool) -> bool {
    !has_aes
}

#[cfg(test)]
mod tests;
