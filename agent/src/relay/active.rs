//! What the configuration says now, with the files that it names; made anew at
//! each reload, and kept up when one of the files changes.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use log::warn;

use super::arrival::Served;
use super::authority::Asker;
use super::certificates::Certificates;
use super::grants::Grants;
use super::page::Pages;
use super::page::template::{MAX_TEMPLATE_BYTES, Template};
use super::self_signed::make_missing;
use crate::config::{Environment, Problem, RelaySettings, load_kites};
use crate::net::TlsSetupError;

/// Longest message of the day, in bytes before it is encoded (`protocol.md`
/// 3.2).
const MAX_MOTD_BYTES: usize = 8192;

/// A configuration in use.
pub(super) struct Active {
    pub(super) settings: RelaySettings,
    pub(super) grants: Grants,
    pub(super) certificates: RefCell<Certificates>,
    pub(super) pages: Pages,
    pub(super) served: Served,
    /// As it is sent: percent-encoded.
    pub(super) motd: String,
    pub(super) asker: Rc<Asker>,
}

impl Active {
    /// Reads the files that `settings` names.
    ///
    /// # Errors
    /// Names the file that has to be mended.
    pub(super) fn new(
        settings: RelaySettings,
        environment: &dyn Environment,
    ) -> Result<Self, ActiveError> {
        make_missing(&settings).map_err(ActiveError::Made)?;
        let certificates =
            Certificates::read(&settings.certificates, settings.default_certificate.as_deref())
                .map_err(ActiveError::Tls)?;
        Self::with_certificates(settings, certificates, environment)
    }

    /// The same with certificates that were read already.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn with_certificates(
        settings: RelaySettings,
        certificates: Certificates,
        environment: &dyn Environment,
    ) -> Result<Self, ActiveError> {
        let template = read_template(&settings)?;
        Ok(Self {
            grants: read_grants(&settings, environment)?,
            certificates: RefCell::new(certificates),
            pages: Pages::new(template, settings.error_urls.clone(), settings.reveal_kites),
            served: Served::among(&settings.protocols),
            motd: read_motd(&settings)?,
            asker: Rc::new(Asker::from_settings(&settings)),
            settings,
        })
    }

    /// The same settings, with the files that they name read again. Pages and a
    /// message that cannot be read stay as they were: after a chroot they may lie
    /// outside. Certificates look after theirs, and so do name servers.
    ///
    /// # Errors
    /// The kites file has to be mended.
    pub(super) fn renewed(&self, environment: &dyn Environment) -> Result<Self, ActiveError> {
        let settings = self.settings.clone();
        let grants = read_grants(&settings, environment)?;
        let pages = read_template(&settings).map(|template| {
            Pages::new(template, settings.error_urls.clone(), settings.reveal_kites)
        });
        let stays = |error: ActiveError| warn!("{error}; it stays as it was");
        Ok(Self {
            grants,
            certificates: self.certificates.clone(),
            pages: pages.map_err(stays).unwrap_or_else(|()| self.pages.clone()),
            served: self.served,
            motd: read_motd(&settings).map_err(stays).unwrap_or_else(|()| self.motd.clone()),
            asker: Rc::clone(&self.asker),
            settings,
        })
    }

    /// The same with other settings, such as paths that changed on the way.
    pub(super) fn with(self, settings: RelaySettings) -> Self {
        let certificates =
            RefCell::new(self.certificates.into_inner().moved(&settings.certificates));
        Self { settings, certificates, ..self }
    }

    /// The files whose change asks for a reload; certificates look after
    /// theirs.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let Self { settings, .. } = self;
        [&settings.kites_file, &settings.error_page, &settings.motd]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }
}

/// Reads the page and the message of the day as a start does.
/// Each file that has to be mended is told in words.
pub fn check_texts(settings: &RelaySettings) -> Vec<String> {
    [read_template(settings).err(), read_motd(settings).err()]
        .into_iter()
        .flatten()
        .map(|error| error.to_string())
        .collect()
}

fn read_grants(
    settings: &RelaySettings,
    environment: &dyn Environment,
) -> Result<Grants, ActiveError> {
    let mut grants = settings.grants.clone();
    if let Some(path) = &settings.kites_file {
        let (lines, warnings) =
            load_kites(path, &settings.protocols, environment).map_err(ActiveError::Kites)?;
        for line in warnings.to_string().lines() {
            warn!("{line}");
        }
        grants.extend(lines);
    }
    Ok(Grants::new(grants))
}

fn read_template(settings: &RelaySettings) -> Result<Option<Template>, ActiveError> {
    let Some(path) = &settings.error_page else { return Ok(None) };
    let bad = |error: String| ActiveError::File { path: path.clone(), error };
    let text = read(path, MAX_TEMPLATE_BYTES).map_err(|error| bad(error.to_string()))?;
    Template::from_bytes(&text).map(Some).map_err(|error| bad(error.to_string()))
}

fn read_motd(settings: &RelaySettings) -> Result<String, ActiveError> {
    let Some(path) = &settings.motd else { return Ok(String::new()) };
    let text = read(path, MAX_MOTD_BYTES)
        .map_err(|error| ActiveError::File { path: path.clone(), error: error.to_string() })?;
    Ok(encode(&text))
}

/// Reads a file, and one byte more than `limit` of a longer one.
fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// As a form encodes a value, which is how agents read it (`protocol.md` 3.2).
fn encode(text: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for &byte in &text[..text.len().min(MAX_MOTD_BYTES)] {
        match byte {
            b' ' => encoded.push('+'),
            _ if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) => {
                encoded.push(char::from(byte));
            }
            // A String takes every write.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

/// Why a configuration cannot be used.
#[derive(Debug)]
pub(super) enum ActiveError {
    /// A certificate.
    Tls(TlsSetupError),
    /// A certificate that was to be made; in words.
    Made(String),
    /// The kites file.
    Kites(Problem),
    /// Another file.
    File { path: PathBuf, error: String },
}

impl fmt::Display for ActiveError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(error) => error.fmt(formatter),
            Self::Made(text) => formatter.write_str(text),
            Self::Kites(problem) => problem.fmt(formatter),
            Self::File { path, error } => write!(formatter, "{}: {error}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_encoded_as_a_form_does_it() {
        assert_eq!(encode(b"a b\r\n\xc3\xa9&"), "a+b%0D%0A%C3%A9%26");
    }
}
