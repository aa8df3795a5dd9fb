//! Makes the certificates that `selfsign` asks for: those whose files are not
//! there.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use log::info;

use super::certificates::now;
use crate::config::RelaySettings;
use crate::net::{HeldCertificate, SelfSigned, read_pem};
use crate::system::owner::give_to_owner_of_folder;

/// Makes what is missing.
///
/// # Errors
/// Names the file that cannot be written.
pub fn make_missing(settings: &RelaySettings) -> Result<(), String> {
    if !settings.self_sign {
        return Ok(());
    }
    for files in settings.certificates.iter().filter(|files| !files.path.exists()) {
        make(&files.name, &files.path)
            .map_err(|error| format!("{} cannot be made: {error}", files.path.display()))?;
        info!("{} was made, a key and a certificate of its own", files.path.display());
    }
    Ok(())
}

/// The pin of the certificate for those who ask for no name, where it was made
/// by us: `sha256:HEX`, as `fe_certname = NAME/PIN` has it.
pub fn default_pin(settings: &RelaySettings) -> Option<String> {
    let default = settings.default_certificate.as_ref().filter(|_| settings.self_sign)?;
    let files = settings.certificates.iter().find(|files| files.name == *default)?;
    let pem = read_pem(&files.path).ok()?;
    HeldCertificate::look_at(&pem, default, now()).map(|held| held.pin)
}

fn make(name: &str, path: &Path) -> io::Result<()> {
    let made = SelfSigned::new(name).map_err(io::Error::other)?;
    // A file that another start has made meanwhile stays as it is.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    give_to_owner_of_folder(&file, path);
    file.write_all(format!("{}{}", made.key, made.certificate).as_bytes())?;
    file.sync_all()
}
