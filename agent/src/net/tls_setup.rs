//! How TLS is set up, from the configuration and its files: TLS 1.2 and 1.3 by
//! `rustls` with the provider `ring`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::certificate::RelayVerifier;
use super::certificate_clock::{CERTIFICATE_CLOCK, Provider};
use super::ciphers::{client_provider, has_aes};
use super::socket::{InWords, printable};
use crate::config::TlsSettings;

/// Sessions that are kept for resumption, of all relays together. The
/// library's own 256 take 14 KB.
pub const SESSIONS_KEPT: usize = 4;
/// Longest file of certificates or keys, in bytes; a whole distribution's
/// bundle has 220 KB.
pub const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// The client's configuration for `settings`, with SNI.
pub(super) fn client_config(settings: &TlsSettings) -> Result<ClientConfig, TlsSetupError> {
    let mut names = Vec::with_capacity(settings.names.len());
    for accepted in &settings.names {
        let name = ServerName::try_from(accepted.name.clone())
            .map_err(|_| TlsSetupError::Name(printable(&accepted.name, 253)))?;
        names.push((name, accepted.pin));
    }
    let (roots, trusted) = match &settings.roots {
        Some(path) => roots_from(path)?,
        None => {
            let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
            (RootCertStore { roots }, Vec::new())
        }
    };
    let provider = client_provider(has_aes());
    let algorithms = provider.signature_verification_algorithms;
    let mut config =
        ClientConfig::builder_with_details(provider, Arc::new(Provider(&CERTIFICATE_CLOCK)))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsSetupError::Library(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(RelayVerifier::new(
                names,
                roots,
                trusted,
                algorithms,
                &CERTIFICATE_CLOCK,
            )))
            .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(SESSIONS_KEPT);
    Ok(config)
}

fn roots_from(path: &Path) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsSetupError> {
    let text = read_pem(path)?;
    let mut trusted = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate
            .map_err(|error| TlsSetupError::pem(path, &format!("is no PEM ({error})")))?;
        trusted.push(certificate);
    }
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(trusted.iter().cloned());
    if usable == 0 {
        return Err(TlsSetupError::pem(
            path,
            "holds no usable certificate (PEM is expected, -----BEGIN CERTIFICATE-----)",
        ));
    }
    Ok((roots, trusted))
}

/// Reads a PEM file of bounded size.
///
/// # Errors
/// Names the file.
pub fn read_pem(path: &Path) -> Result<Vec<u8>, TlsSetupError> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_PEM_BYTES + 1).read_to_end(&mut text))
        .map_err(|error| TlsSetupError::File { path: path.to_owned(), error })?;
    if text.len() as u64 > MAX_PEM_BYTES {
        return Err(TlsSetupError::pem(path, "is longer than 1 MB"));
    }
    Ok(text)
}

/// Why TLS cannot be set up at all: something in the configuration.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// A name in `fe_certname` is none.
    Name(String),
    /// A file cannot be read.
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        error: io::Error,
    },
    /// A file does not hold what it should.
    Pem {
        /// The file; empty when the text came from elsewhere.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The TLS library refuses.
    Library(String),
}

impl TlsSetupError {
    /// The same with the file that the text came from.
    #[must_use]
    pub fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Pem { problem, .. } => Self::Pem { path: path.to_owned(), problem },
            other => other,
        }
    }

    pub(super) fn pem(path: &Path, problem: &str) -> Self {
        Self::Pem { path: path.to_owned(), problem: printable(problem, 120) }
    }
}

impl fmt::Display for TlsSetupError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(
                formatter,
                "fe_certname = {name}: write a DNS name, such as relay.example.com"
            ),
            Self::File { path, error } => match error.kind() {
                io::ErrorKind::NotFound => write!(formatter, "{}: no such file", path.display()),
                io::ErrorKind::PermissionDenied => {
                    write!(formatter, "{}: this program may not read it", path.display())
                }
                _ => write!(formatter, "{}: {}", path.display(), InWords(error)),
            },
            Self::Pem { path, problem } => {
                write!(formatter, "{}: {problem}", path.display())
            }
            Self::Library(text) => write!(formatter, "TLS cannot be set up: {text}"),
        }
    }
}

impl std::error::Error for TlsSetupError {}
