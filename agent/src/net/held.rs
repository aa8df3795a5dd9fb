//! What a certificate of our own says, for its owner to read: a relay's start
//! and `kitelet relay --check`.

use std::time::Duration;

use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;

use super::certificate::{CertificateFault, Day, Hex, fault, key_sha256};
use super::ciphers::{has_aes, server_provider};

/// A certificate that ends within this time is told of.
const SOON: Duration = Duration::from_secs(7 * 86_400);
/// Stands for any name below a wildcard.
const ANY_LABEL: &str = "any-name";

/// A certificate of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCertificate {
    /// SHA-256 of its public key as `NAME/PIN` has it: `sha256:HEX`.
    pub pin: String,
    /// What visitors will complain about; each can stand behind its file.
    pub warnings: Vec<String>,
}

impl HeldCertificate {
    /// Looks at the first certificate of a PEM text, which is held for `name`,
    /// maybe a wildcard; `None` when there is none.
    pub fn look_at(pem: &[u8], name: &str, now: Duration) -> Option<Self> {
        let certificate = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
        let parsed = ParsedCertificate::try_from(&certificate).ok()?;
        let warnings = [wrong_name(&parsed, name), wrong_time(&parsed, now)];
        Some(Self {
            pin: format!("sha256:{}", Hex(&key_sha256(&parsed))),
            warnings: warnings.into_iter().flatten().collect(),
        })
    }
}

fn wrong_name(parsed: &ParsedCertificate<'_>, name: &str) -> Option<String> {
    let asked = match name.strip_prefix("*.") {
        Some(parent) => format!("{ANY_LABEL}.{parent}"),
        None => name.to_owned(),
    };
    let asked = ServerName::try_from(asked).ok()?;
    match verify_server_name(parsed, &asked).map_err(fault) {
        Ok(()) => None,
        Err(CertificateFault::WrongName(names)) if !names.is_empty() => {
            Some(format!("the certificate is for {}, not for {name}", names.join(", ")))
        }
        Err(_) => Some(format!("the certificate is not for {name}")),
    }
}

/// The dates; the library looks at them before it looks for an issuer.
fn wrong_time(parsed: &ParsedCertificate<'_>, now: Duration) -> Option<String> {
    let at = |time: Duration| {
        let time = UnixTime::since_unix_epoch(time);
        let algorithms = server_provider(has_aes()).signature_verification_algorithms.all;
        let roots = RootCertStore::empty();
        verify_server_cert_signed_by_trust_anchor(parsed, &roots, &[], time, algorithms)
            .map_err(fault)
    };
    match (at(now), at(now.saturating_add(SOON))) {
        (Err(CertificateFault::Expired { until, .. }), _) => {
            Some(format!("the certificate ended on {}", Day(until)))
        }
        (Err(CertificateFault::NotYetValid { from, .. }), _) => {
            Some(format!("the certificate begins on {} only", Day(from)))
        }
        (_, Err(CertificateFault::Expired { until, .. })) => {
            Some(format!("the certificate ends on {}", Day(until)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::SelfSigned;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    /// 2026-01-01.
    const NOW: Duration = Duration::from_secs(1_767_225_600);

    fn warnings(pem: &str, name: &str) -> String {
        HeldCertificate::look_at(pem.as_bytes(), name, NOW).expect("held").warnings.join("; ")
    }

    #[test]
    fn the_pin_is_that_of_the_key() {
        for name in ["relay.example.com", "*.example.com"] {
            let made = SelfSigned::new(name).expect("a name");
            let both = format!("{}{}", made.key, made.certificate);
            let held = HeldCertificate::look_at(both.as_bytes(), name, NOW).expect("held");
            assert_eq!(held.pin, format!("sha256:{}", Hex(&made.pin)), "the key may stand first");
            assert_eq!(held.warnings, [""; 0]);
        }
        let damaged = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        assert_eq!(HeldCertificate::look_at(damaged, "a.b", NOW), None);
    }

    #[test]
    fn a_certificate_for_other_names_is_told_of() {
        let wild = SelfSigned::new("*.example.com").expect("a name").certificate;
        assert_eq!(warnings(&wild, "relay.example.com"), "");
        let text = warnings(&wild, "example.com");
        assert_eq!(text, "the certificate is for *.example.com, not for example.com");
        let plain = SelfSigned::new("relay.example.com").expect("a name").certificate;
        assert!(warnings(&plain, "*.example.com").ends_with("not for *.example.com"));
    }

    #[test]
    fn a_certificate_that_ends_is_told_of_a_week_before() {
        let key = KeyPair::generate().expect("key");
        for (from, until, text) in [
            ((2025, 1, 1), (2026, 1, 20), ""),
            ((2025, 1, 1), (2026, 1, 5), "the certificate ends on 2026-01-05"),
            ((2025, 1, 1), (2025, 12, 30), "the certificate ended on 2025-12-30"),
            ((2026, 2, 1), (2026, 12, 30), "the certificate begins on 2026-02-01 only"),
        ] {
            let mut parameters = CertificateParams::new(["a.b".to_owned()]).expect("name");
            parameters.not_before = date_time_ymd(from.0, from.1, from.2);
            parameters.not_after = date_time_ymd(until.0, until.1, until.2);
            let made = parameters.self_signed(&key).expect("certificate");
            assert_eq!(warnings(&made.pem(), "a.b"), text);
        }
    }
}
