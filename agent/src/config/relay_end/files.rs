//! Files and folders that a relay's options name, and the users they are for:
//! whether they are there, told with the line that names them.

use std::io;
use std::path::{Path, PathBuf};

use super::super::environment::Environment;
use super::super::grammar::TypedLine;
use super::super::problem::quoted;
use super::super::source::resolve_path;

/// Longest name of a user or a group (useradd(8)).
const MAX_USER_BYTES: usize = 32;

/// The path of an option; `None` when the value is empty, which takes an
/// earlier one away.
pub(super) fn path_of(line: &TypedLine, environment: &dyn Environment) -> Option<PathBuf> {
    let value = line.value.as_str();
    (!value.is_empty()).then(|| resolve_path(&line.place, value, environment))
}

/// The path of an option that names a file to read.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn file_of(
    line: &TypedLine,
    environment: &dyn Environment,
) -> Result<Option<PathBuf>, String> {
    let path = path_of(line, environment);
    path.iter().try_for_each(|path| must_be_file(path, environment))?;
    Ok(path)
}

/// The path of an option that names a folder.
///
/// # Errors
/// Why it cannot be used.
pub(super) fn folder_of(
    line: &TypedLine,
    environment: &dyn Environment,
) -> Result<Option<PathBuf>, String> {
    let path = path_of(line, environment);
    path.iter().try_for_each(|path| must_be_folder(path, environment))?;
    Ok(path)
}

/// The path of an option that names a file to write, in a folder that exists.
///
/// # Errors
/// Why it cannot be written.
pub(super) fn new_file_of(
    line: &TypedLine,
    environment: &dyn Environment,
) -> Result<Option<PathBuf>, String> {
    let path = path_of(line, environment);
    if let Some(path) = &path {
        if environment.is_folder(path).unwrap_or(false) {
            return Err(format!("{} is a folder; name a file in it", path.display()));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.into_iter().try_for_each(|folder| must_be_folder(folder, environment))?;
    }
    Ok(path)
}

pub(super) fn must_be_file(path: &Path, environment: &dyn Environment) -> Result<(), String> {
    match environment.is_folder(path) {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!("{} is a folder; name a file", path.display())),
        Err(error) => Err(not_there(path, &error)),
    }
}

fn must_be_folder(path: &Path, environment: &dyn Environment) -> Result<(), String> {
    match environment.is_folder(path) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("{} is not a folder; name one", path.display())),
        Err(error) => Err(not_there(path, &error)),
    }
}

fn not_there(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("{path} does not exist; make it or name another"),
        io::ErrorKind::PermissionDenied => {
            format!("this user may not look at {path}; run kitelet as root, or let its user in")
        }
        _ => format!("{path} cannot be used ({error}); name another"),
    }
}

/// Reads `USER[:GROUP]` of `runas`; an empty value stays who it is.
///
/// # Errors
/// How it is written.
pub(super) fn user(value: &str) -> Result<Option<String>, String> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.len() <= MAX_USER_BYTES
            && !name.starts_with('-')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let (user, group) = value.split_once(':').unwrap_or((value, "x"));
    if value.is_empty() {
        return Ok(None);
    }
    if is_name(user) && is_name(group) {
        return Ok(Some(value.to_owned()));
    }
    Err(format!("{} is no user; write USER or USER:GROUP, such as kitelet", quoted(value)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes_with, settings_with};
    use super::*;

    const FILES: [(&str, &str); 3] = [("/k/motd", ""), ("/srv/acme/x", ""), ("/var/log/x", "")];

    #[test]
    fn paths_are_found_from_their_file_and_an_empty_one_takes_them_away() {
        let text = "motd = motd\nerrorpage = /k/motd\nacme_webroot = /srv/acme
            access_log = /var/log/visits\nchroot = /srv\nrunas = kitelet:www-data";
        let read = settings_with(text, &FILES);
        assert_eq!(read.motd, Some("/k/motd".into()));
        assert_eq!(read.error_page, Some("/k/motd".into()));
        assert_eq!(read.acme_webroot, Some("/srv/acme".into()));
        assert_eq!(read.chroot, Some("/srv".into()));
        assert_eq!(read.run_as.as_deref(), Some("kitelet:www-data"));
        let log = read.access_log.and_then(|log| log.path);
        assert_eq!(log, Some("/var/log/visits".into()));
        let read = settings_with(&format!("{text}\nmotd=\naccess_log=\nrunas="), &FILES);
        assert_eq!((read.motd, read.access_log, read.run_as), (None, None, None));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, part) in [
            ("motd = none", "/k/none does not exist"),
            ("errorpage = /srv", "/srv is a folder"),
            ("acme_webroot = motd", "/k/motd is not a folder"),
            ("chroot = /none", "/none does not exist"),
            ("access_log = /none/visits", "/none does not exist"),
            ("access_log = /srv", "/srv is a folder"),
            ("runas = a b", "is no user"),
            ("runas = :www", "is no user"),
            ("runas = www:", "is no user"),
            ("runas = -x", "is no user"),
        ] {
            let told = mistakes_with(text, &FILES);
            assert!(told.contains(part), "{text}: {told}");
        }
    }

    #[test]
    fn a_user_may_be_a_number() {
        assert_eq!(user("1000:1000"), Ok(Some("1000:1000".into())));
    }
}
