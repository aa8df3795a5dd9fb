//! The certificates that the relay holds: read from their files, read again
//! when those change, and found by the name that somebody asks for.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use log::{info, warn};

use crate::config::CertificateFiles;
use crate::net::{Acceptor, TlsSetupError, read_pem};

/// Files of a folder that an ACME client keeps (RFC 8555 clients agree on
/// these names).
const CHAIN_FILE: &str = "fullchain.pem";
const KEY_FILE: &str = "privkey.pem";

/// All certificates of a relay.
#[derive(Clone, Debug, Default)]
pub(super) struct Certificates {
    held: Vec<Certificate>,
    /// Index of the one for those who ask for no name.
    default: Option<usize>,
}

#[derive(Clone, Debug)]
struct Certificate {
    files: CertificateFiles,
    acceptor: Acceptor,
    /// What the files were like when they were read.
    stamp: Stamp,
    /// What they were like when they could not be read.
    bad: Option<Stamp>,
}

/// When files changed last, and how long they are.
type Stamp = Vec<Option<(SystemTime, u64)>>;

impl Certificates {
    /// Reads all of them.
    ///
    /// # Errors
    /// Names the file that has to be mended.
    pub(super) fn read(
        files: &[CertificateFiles],
        default: Option<&str>,
    ) -> Result<Self, TlsSetupError> {
        let held: Vec<_> =
            files.iter().cloned().map(Certificate::read).collect::<Result<_, _>>()?;
        let default = match default {
            Some(name) => held.iter().position(|certificate| certificate.files.name == name),
            None => None,
        };
        Ok(Self { held, default })
    }

    /// One certificate that lies in no file, for every name that is not asked
    /// for as well.
    pub(super) fn of(name: &str, acceptor: Acceptor) -> Self {
        let files = CertificateFiles { name: name.to_owned(), path: PathBuf::new() };
        let stamp = stamp(&files.path);
        Self { held: vec![Certificate { files, acceptor, stamp, bad: None }], default: Some(0) }
    }

    /// The same certificates, whose files are found elsewhere from now on.
    pub(super) fn moved(mut self, files: &[CertificateFiles]) -> Self {
        for (held, files) in self.held.iter_mut().zip(files) {
            held.files = files.clone();
            held.stamp = stamp(&files.path);
        }
        self
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The one for `name`, in lower case: of this very name first, then of
    /// `*.parent`.
    pub(super) fn find(&self, name: &str) -> Option<&Acceptor> {
        let of = |wanted: &str| self.held.iter().find(|held| held.files.name == wanted);
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            of(&format!("*.{parent}"))
        };
        of(name).or_else(wildcard).map(|held| &held.acceptor)
    }

    /// The one for those who ask for no name.
    pub(super) fn default(&self) -> Option<&Acceptor> {
        self.default.and_then(|index| self.held.get(index)).map(|held| &held.acceptor)
    }

    /// Reads those again whose files have changed. What cannot be read is told
    /// once, and the old certificate stays.
    pub(super) fn refresh(&mut self) {
        for held in &mut self.held {
            let stamp = stamp(&held.files.path);
            if stamp == held.stamp || held.bad.as_ref() == Some(&stamp) {
                continue;
            }
            match Certificate::read(held.files.clone()) {
                Ok(fresh) => {
                    info!("the certificate of {} was read again", held.files.name);
                    *held = fresh;
                }
                Err(error) => {
                    warn!("the certificate of {} stays as it was: {error}", held.files.name);
                    held.bad = Some(stamp);
                }
            }
        }
    }
}

impl Certificate {
    fn read(files: CertificateFiles) -> Result<Self, TlsSetupError> {
        let stamp = stamp(&files.path);
        let (chain, key) = paths(&files.path);
        let acceptor = Acceptor::from_pem(&read_pem(&chain)?, &read_pem(&key)?)
            .map_err(|error| error.in_file(&files.path))?;
        Ok(Self { files, acceptor, stamp, bad: None })
    }
}

/// The files of the chain and the key.
fn paths(path: &Path) -> (PathBuf, PathBuf) {
    if path.is_dir() {
        (path.join(CHAIN_FILE), path.join(KEY_FILE))
    } else {
        (path.to_owned(), path.to_owned())
    }
}

fn stamp(path: &Path) -> Stamp {
    let (chain, key) = paths(path);
    [chain, key]
        .iter()
        .map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
        .collect()
}
