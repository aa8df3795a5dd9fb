//! The certificates that the relay holds: read from their files, read again
//! when those change, and found by the name that somebody asks for.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use log::{info, warn};

use super::shared::unix_seconds;
use crate::config::CertificateFiles;
use crate::net::{Acceptor, HeldCertificate, TlsSetupError, read_pem};

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
    /// What it says; `None` for one that lies in no file.
    says: Option<HeldCertificate>,
    /// What the files were like when they were read.
    stamp: Stamp,
    /// What they were like when they could not be read.
    bad: Option<Stamp>,
}

/// When files changed last, their rights included, and how long they are.
type Stamp = Vec<Option<(SystemTime, (i64, i64), u64)>>;

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
        held.iter().for_each(Certificate::tell);
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
        Self {
            held: vec![Certificate { files, acceptor, says: None, stamp, bad: None }],
            default: Some(0),
        }
    }

    /// The same certificates, whose files are found elsewhere from now on, and
    /// by another user maybe. What that one cannot read is told.
    pub(super) fn moved(mut self, files: &[CertificateFiles]) -> Self {
        for (held, files) in self.held.iter_mut().zip(files) {
            held.files = files.clone();
            held.stamp = stamp(&files.path);
            if is_closed_to_us(&files.path) {
                warn!(
                    "{}: the user of runas may not read it: when it is renewed, the certificate \
                     of {} stays as it was until that user may, or the relay is started again",
                    files.path.display(),
                    files.name
                );
            }
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
                    fresh.tell();
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
        let chain = read_pem(&chain)?;
        let acceptor = Acceptor::from_pem(&chain, &read_pem(&key)?)
            .map_err(|error| error.in_file(&files.path))?;
        let says = HeldCertificate::look_at(&chain, &files.name, now());
        Ok(Self { files, acceptor, says, stamp, bad: None })
    }

    /// What visitors will complain about goes into the log.
    fn tell(&self) {
        for text in self.says.iter().flat_map(|says| &says.warnings) {
            warn!("{}: {text}", self.files.path.display());
        }
    }
}

/// What is in the files of a certificate, for `kitelet relay --check`.
///
/// # Errors
/// As at a start: names the file that has to be mended.
pub fn look_at(files: &CertificateFiles) -> Result<Option<HeldCertificate>, TlsSetupError> {
    Certificate::read(files.clone()).map(|certificate| certificate.says)
}

/// Now, since 1970.
pub(super) fn now() -> Duration {
    Duration::from_secs(unix_seconds())
}

fn is_closed_to_us(path: &Path) -> bool {
    let (chain, key) = paths(path);
    let is_closed = |path: &PathBuf| {
        File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    [chain, key].iter().any(is_closed)
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
            let changed = (metadata.ctime(), metadata.ctime_nsec());
            Some((metadata.modified().ok()?, changed, metadata.len()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::SelfSigned;

    const NAME: &str = "relay.example.com";

    fn pem() -> String {
        let made = SelfSigned::new(NAME).expect("made");
        format!("{}{}", made.certificate, made.key)
    }

    fn pin(certificates: &Certificates) -> String {
        certificates.held[0].says.as_ref().expect("read").pin.clone()
    }

    #[test]
    fn a_bad_new_file_changes_nothing_and_a_good_one_is_taken() {
        let folder = std::env::temp_dir().join(format!("kitelet-held-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        let path = folder.join("own.pem");
        std::fs::write(&path, pem()).expect("write");
        let files = [CertificateFiles { name: NAME.into(), path: path.clone() }];
        let mut certificates = Certificates::read(&files, Some(NAME)).expect("read");
        let first = pin(&certificates);
        std::fs::write(&path, "nothing").expect("write");
        certificates.refresh();
        assert_eq!(pin(&certificates), first);
        std::fs::remove_file(&path).expect("remove");
        certificates.refresh();
        assert_eq!(pin(&certificates), first);
        std::fs::write(&path, pem()).expect("write");
        certificates.refresh();
        assert_ne!(pin(&certificates), first);
        std::fs::remove_dir_all(&folder).expect("clean");
    }
}
