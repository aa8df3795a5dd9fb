//! Secrets that stand in files of their own: `kitesecret_file`, and the
//! credentials that systemd hands to a service (systemd.exec(5),
//! `LoadCredential=`).

use std::io;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::problem::{Place, Report};
use crate::wire::Secret;

/// Largest file with a secret, in bytes.
pub const MAX_SECRET_FILE_BYTES: usize = 4096;
/// The credential that every kite may use; `kitesecret.NAME` is for the kite
/// NAME alone.
const CREDENTIAL: &str = "kitesecret";

/// Reads `kitesecret_file = PATH`.
///
/// # Errors
/// What is wrong with the file and the mend.
pub(super) fn read_secret_file(
    path: &Path,
    environment: &dyn Environment,
    report: &mut Report,
) -> Result<Secret, String> {
    let read = match environment.read(path, MAX_SECRET_FILE_BYTES) {
        Ok(read) => read,
        Err(error) => return Err(cannot_read(path, &error)),
    };
    if read.world_readable {
        warn_exposed(&Place::path(path), report);
    }
    secret_of(&read.bytes).map_err(|what| format!("{} {what}", path.display()))
}

/// Refuses a secret with a remark behind it, which would become a part of it.
/// Other blanks stay, since PageKite takes them.
///
/// # Errors
/// The mend, without the secret.
pub(super) fn without_remark(secret: &str) -> Result<(), String> {
    let mut parts = secret.rsplit('#').skip(1);
    let has_remark = parts.any(|before| before.ends_with(char::is_whitespace));
    if has_remark {
        return Err("a secret has no blanks; a remark needs a line of its own".into());
    }
    Ok(())
}

/// Warns that every user may read the secret at `place`, once for each file.
pub(super) fn warn_exposed(place: &Place, report: &mut Report) {
    if let Some(file) = place.file() {
        let text = format!(
            "every user of this machine can read the secret in this file; run: chmod o-r {}",
            file.display()
        );
        report.warning(&Place::path(file), "", text);
    }
}

/// The credentials of the service, if the service manager gave any.
pub(super) struct Credentials<'a> {
    environment: &'a dyn Environment,
    folder: Option<PathBuf>,
}

impl<'a> Credentials<'a> {
    pub(super) fn new(environment: &'a dyn Environment) -> Self {
        let folder = environment.variable("CREDENTIALS_DIRECTORY");
        let folder = folder.filter(|folder| !folder.is_empty());
        Self { environment, folder: folder.map(PathBuf::from) }
    }

    /// The credential of one kite; `domain` comes from a checked kite id.
    pub(super) fn of_kite(&self, domain: &str, report: &mut Report) -> Option<Secret> {
        self.read(&format!("{CREDENTIAL}.{domain}"), report)
    }

    /// The credential of all kites.
    pub(super) fn of_all(&self, report: &mut Report) -> Option<Secret> {
        self.read(CREDENTIAL, report)
    }

    fn read(&self, name: &str, report: &mut Report) -> Option<Secret> {
        let path = self.folder.as_ref()?.join(name);
        let text = match self.environment.read(&path, MAX_SECRET_FILE_BYTES) {
            Ok(read) => match secret_of(&read.bytes) {
                Ok(secret) => return Some(secret),
                Err(what) => format!("the credential {what}"),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => cannot_read(&path, &error),
        };
        report.mistake(&Place::path(&path), CREDENTIAL, text);
        None
    }
}

fn secret_of(bytes: &[u8]) -> Result<Secret, &'static str> {
    if bytes.len() > MAX_SECRET_FILE_BYTES {
        return Err("is too large for a secret; write the secret alone into it");
    }
    let secret = bytes.trim_ascii();
    if secret.is_empty() {
        return Err("is empty; write the secret into it");
    }
    if secret.iter().any(u8::is_ascii_control) {
        return Err("holds more than one line; write the secret alone into it");
    }
    Ok(Secret::new(secret))
}

fn cannot_read(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("{path} does not exist; write the secret into it"),
        io::ErrorKind::PermissionDenied => {
            format!("this user may not read {path}; give it to the user that kitelet runs as")
        }
        _ => format!("{path} cannot be read ({error}); mend the file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Fake;

    #[test]
    fn a_file_holds_one_secret() {
        let mut environment = Fake::with(&[
            ("/s/good", "  s3cret word\r\n"),
            ("/s/empty", "\n"),
            ("/s/two", "s3cret\nmore"),
        ]);
        environment.files.insert("/s/long".into(), vec![b'x'; 5000]);
        environment.readable.push("/s/good".into());
        let mut report = Report::new();
        let mut read = |path: &str| read_secret_file(Path::new(path), &environment, &mut report);
        assert_eq!(read("/s/good"), Ok(Secret::new("s3cret word")));
        for path in ["/s/empty", "/s/two", "/s/long", "/s/none"] {
            let error = read(path).expect_err(path);
            assert!(error.starts_with(path) && !error.contains("s3cret"), "{error}");
        }
        assert_eq!(
            report.warnings.to_string(),
            "/s/good: every user of this machine can read the secret in this file; \
             run: chmod o-r /s/good"
        );
    }

    #[test]
    fn credentials_are_found_by_the_name_of_the_kite() {
        let mut environment = Fake::with(&[
            ("/c/kitesecret", "general"),
            ("/c/kitesecret.a.example.com", "special\n"),
        ]);
        let mut report = Report::new();
        let none = Credentials::new(&environment).of_all(&mut report);
        assert_eq!(none, None);
        let variable = ("CREDENTIALS_DIRECTORY".into(), "/c".into());
        environment.variables.extend([variable]);
        let credentials = Credentials::new(&environment);
        assert_eq!(credentials.of_all(&mut report), Some(Secret::new("general")));
        assert_eq!(credentials.of_kite("a.example.com", &mut report), Some(Secret::new("special")));
        assert_eq!(credentials.of_kite("b.example.com", &mut report), None);
        assert!(report.mistakes.is_empty());
    }
}
