//! Whether a relay's certificate is the right one, and if not, what its owner
//! can do about it: most private relays have a self-signed certificate, and
//! most routers start with a wrong clock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::certificate_clock::CertificateClock;
use super::socket::printable;
use crate::config::Pin;

/// Names of a certificate that an error quotes.
const MAX_QUOTED_NAMES: usize = 8;

/// A certificate that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateProblem {
    /// What is wrong with it.
    pub fault: CertificateFault,
    /// The name that it was to show, the first one if there are several.
    pub name: String,
    /// SHA-256 of its public key, as `fe_certname = NAME/sha256:HEX` has it;
    /// `None` when it is no certificate at all.
    pub key_sha256: Option<[u8; 32]>,
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateFault {
    /// Its time is over; Unix seconds.
    Expired {
        /// Last second of its life.
        until: u64,
        /// What this machine's clock says.
        clock: u64,
    },
    /// Its time has not begun; Unix seconds.
    NotYetValid {
        /// First second of its life.
        from: u64,
        /// What this machine's clock says.
        clock: u64,
    },
    /// Its dates do not fit, and this machine's clock cannot be right: it is
    /// earlier than the build of this program. Unix seconds.
    ClockNotSet {
        /// What this machine's clock says.
        clock: u64,
        /// The date that does not fit.
        date: u64,
        /// Whether that is the first second of its life, else the last one.
        begins: bool,
    },
    /// None of the trusted roots stands behind it; self-signed ones too.
    UnknownIssuer,
    /// It is for other names, which are these.
    WrongName(Vec<String>),
    /// Names with pins are accepted only, and no pin fits.
    WrongPin,
    /// Anything else, in the words of the TLS library.
    Other(String),
}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.fault {
            CertificateFault::Expired { until, clock } => write!(
                formatter,
                "the certificate ended on {}, and this machine's clock says {}: \
                 the relay needs a new one, or this machine the right time",
                Day(*until),
                Day(*clock)
            ),
            CertificateFault::NotYetValid { from, clock } => write!(
                formatter,
                "the certificate begins on {}, and this machine's clock says {}: \
                 set the clock (NTP)",
                Day(*from),
                Day(*clock)
            ),
            CertificateFault::ClockNotSet { clock, date, begins } => write!(
                formatter,
                "the clock of this machine is not set (it says {}), and the certificate {} on {}: \
                 set the clock (NTP)",
                Day(*clock),
                if *begins { "begins" } else { "ended" },
                Day(*date)
            ),
            CertificateFault::UnknownIssuer => write!(
                formatter,
                "the certificate is self-signed or from an unknown issuer: \
                 set ca_certs to the file of its issuer{}",
                self.way_out("; or,")
            ),
            CertificateFault::WrongName(names) if names.is_empty() => write!(
                formatter,
                "the certificate has no name (SAN), {name} was expected{}",
                self.way_out(":")
            ),
            CertificateFault::WrongName(names) => write!(
                formatter,
                "the certificate is for {}, not for {name}: set fe_certname to the relay's name \
                 in its certificate",
                names.join(", ")
            ),
            CertificateFault::WrongPin => {
                write!(formatter, "the certificate is not the pinned one{}", self.way_out(":"))
            }
            CertificateFault::Other(text) => write!(
                formatter,
                "the certificate cannot be accepted ({text}){}",
                self.way_out(":")
            ),
        }
    }
}

impl CertificateProblem {
    /// The pin of the key, to be compared with what the relay's owner is told.
    fn way_out(&self, before: &str) -> String {
        let Some(key) = &self.key_sha256 else { return String::new() };
        format!(
            "{before} if this is the pin of the relay's key (kitelet relay --check prints it), \
             set fe_certname = {}/sha256:{}",
            self.name,
            Hex(key)
        )
    }
}

impl std::error::Error for CertificateProblem {}

/// Checks certificates by the user's names, pins and roots.
#[derive(Debug)]
pub(super) struct RelayVerifier {
    /// Accepted names; empty: the name that the connection was opened for.
    names: Vec<(ServerName<'static>, Option<Pin>)>,
    roots: RootCertStore,
    /// The certificates of the user's own file, whole: one that stands there
    /// itself is trusted even if it is marked as an issuer, as self-signed
    /// ones usually are.
    trusted: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
    clock: &'static CertificateClock,
}

impl RelayVerifier {
    pub(super) fn new(
        names: Vec<(ServerName<'static>, Option<Pin>)>,
        roots: RootCertStore,
        trusted: Vec<CertificateDer<'static>>,
        algorithms: WebPkiSupportedAlgorithms,
        clock: &'static CertificateClock,
    ) -> Self {
        Self { names, roots, trusted, algorithms, clock }
    }

    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        asked_for: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), CertificateFault> {
        let parsed = ParsedCertificate::try_from(certificate).map_err(fault)?;
        let mut pins = self.names.iter().filter_map(|(_, pin)| pin.as_ref());
        if pins.any(|pin| fits(pin, certificate, &parsed)) {
            return Ok(());
        }
        let mut names: Vec<&ServerName<'_>> =
            self.names.iter().filter(|(_, pin)| pin.is_none()).map(|(name, _)| name).collect();
        match (self.names.is_empty(), names.is_empty()) {
            (true, _) => names.push(asked_for),
            (false, true) => return Err(CertificateFault::WrongPin),
            (false, false) => {}
        }
        let chain = verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        );
        match chain.map_err(fault) {
            // The dates were looked at before (RFC 5280 section 6.1.3 has
            // them among the basic checks, and so has webpki).
            Err(CertificateFault::UnknownIssuer) if self.trusted.contains(certificate) => {}
            result => result?,
        }
        let mut wrong = CertificateFault::WrongName(Vec::new());
        for name in names {
            match verify_server_name(&parsed, name) {
                Ok(()) => return Ok(()),
                Err(error) => wrong = fault(error),
            }
        }
        Err(wrong)
    }
}

impl ServerCertVerifier for RelayVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.check(end_entity, intermediates, server_name, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(fault) => {
                let fault = by_clock(fault, self.clock);
                let name = self.names.first().map_or(server_name, |(name, _)| name);
                let problem = CertificateProblem {
                    fault,
                    name: name.to_str().into_owned(),
                    key_sha256: ParsedCertificate::try_from(end_entity)
                        .ok()
                        .map(|parsed| key_sha256(&parsed)),
                };
                Err(CertificateError::Other(OtherError(Arc::new(problem))).into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn fits(pin: &Pin, certificate: &CertificateDer<'_>, parsed: &ParsedCertificate<'_>) -> bool {
    match pin {
        Pin::CertificateSha1(expected) => sha1(certificate) == *expected,
        Pin::KeySha256(expected) => key_sha256(parsed) == *expected,
    }
}

fn sha1(certificate: &CertificateDer<'_>) -> [u8; 20] {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate);
    let mut bytes = [0; 20];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// Dates that do not fit are the clock's fault while it is not set.
fn by_clock(fault: CertificateFault, clock: &CertificateClock) -> CertificateFault {
    let (date, begins) = match fault {
        CertificateFault::Expired { until, .. } if !clock.is_set() => (until, false),
        CertificateFault::NotYetValid { from, .. } if !clock.is_set() => (from, true),
        fault => return fault,
    };
    CertificateFault::ClockNotSet { clock: clock.system_seconds(), date, begins }
}

/// SHA-256 of a certificate's public key (RFC 7469 section 2.4).
pub(super) fn key_sha256(parsed: &ParsedCertificate<'_>) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, &parsed.subject_public_key_info());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// What the TLS library's error means for the certificate.
pub(super) fn fault(error: Error) -> CertificateFault {
    let Error::InvalidCertificate(error) = error else {
        return CertificateFault::Other(printable(&error.to_string(), 120));
    };
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            CertificateFault::Expired { until: not_after.as_secs(), clock: time.as_secs() }
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            CertificateFault::NotYetValid { from: not_before.as_secs(), clock: time.as_secs() }
        }
        CertificateError::UnknownIssuer => CertificateFault::UnknownIssuer,
        // A self-signed certificate that is marked as an issuer, as
        // `openssl req -x509` makes them. webpki's type is out of reach here.
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            CertificateFault::UnknownIssuer
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names = presented.iter().take(MAX_QUOTED_NAMES);
            CertificateFault::WrongName(names.map(|name| bare_name(name)).collect())
        }
        other => CertificateFault::Other(printable(&other.to_string(), 120)),
    }
}

/// `DnsName("a.example")`, as webpki hands out names, without its wrapping.
fn bare_name(presented: &str) -> String {
    let inner =
        presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(presented);
    printable(inner.trim_matches('"'), 253)
}

/// Bytes as lower-case hexadecimal digits.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Unix seconds as the day in UTC, `2026-11-22`.
pub(super) struct Day(pub(super) u64);

impl fmt::Display for Day {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAYS_IN_400_YEARS: u64 = 146_097;
        let day_length = Duration::from_secs(86_400).as_secs();
        // Days since 1600-01-01, with which a period of 400 years begins.
        let mut day = self.0 / day_length + 135_140;
        let mut year = 1600 + day / DAYS_IN_400_YEARS * 400;
        day %= DAYS_IN_400_YEARS;
        let leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        while day >= 365 + u64::from(leap(year)) {
            day -= 365 + u64::from(leap(year));
            year += 1;
        }
        let february = 28 + u64::from(leap(year));
        let mut month = 1;
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
            if day < length {
                break;
            }
            day -= length;
            month += 1;
        }
        write!(formatter, "{year}-{month:02}-{:02}", day + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_689_599, "2024-12-31"),
            (2_061_889_478, "2035-05-04"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(Day(seconds).to_string(), day);
        }
        // The end of time costs no time.
        assert!(Day(u64::MAX).to_string().len() > 10);
    }

    #[test]
    fn a_clock_that_is_not_set_is_to_blame_for_dates_and_nothing_else() {
        let unset = CertificateClock::new(1_800_000_000, || 86_400);
        let set = CertificateClock::new(1_800_000_000, || 1_900_000_000);
        let begins = CertificateFault::NotYetValid { from: 1_850_000_000, clock: 1_800_000_000 };
        let ended = CertificateFault::Expired { until: 1_750_000_000, clock: 1_800_000_000 };
        assert_eq!(by_clock(begins.clone(), &set), begins);
        assert_eq!(by_clock(CertificateFault::WrongPin, &unset), CertificateFault::WrongPin);
        for (fault, part) in [(begins, "begins on 2028-08-16"), (ended, "ended on 2025-06-15")] {
            let fault = by_clock(fault, &unset);
            let problem = CertificateProblem { fault, name: "a.b".into(), key_sha256: None };
            let text = problem.to_string();
            assert!(text.contains("is not set (it says 1970-01-02)"), "{text}");
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn names_are_shown_bare_and_cannot_forge_log_lines() {
        assert_eq!(bare_name("DnsName(\"a.example\")"), "a.example");
        assert_eq!(bare_name("IpAddress(192.0.2.1)"), "192.0.2.1");
        assert_eq!(bare_name("DnsName(\"a\r\nb\")"), "a??b");
    }
}
