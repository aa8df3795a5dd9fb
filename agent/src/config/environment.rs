//! What loading a configuration needs of the machine: files, folders and
//! environment variables. Behind a trait, so that everything else in this room
//! can be tried without a disk.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;

/// Reads what a configuration is made of.
pub trait Environment {
    /// The first `limit + 1` bytes of a file, so that the caller sees when it
    /// is longer than `limit`.
    ///
    /// # Errors
    /// Those of opening and reading.
    fn read(&self, path: &Path, limit: usize) -> io::Result<FileBytes>;

    /// The names in a folder that end in `.rc` and do not start with a dot, in
    /// any order; at most `limit + 1` of them.
    ///
    /// # Errors
    /// Those of opening and reading the folder.
    fn rc_files(&self, folder: &Path, limit: usize) -> io::Result<Vec<OsString>>;

    /// Whether a path leads to a folder.
    ///
    /// # Errors
    /// `NotFound` when it leads nowhere.
    fn is_folder(&self, path: &Path) -> io::Result<bool>;

    /// An environment variable; `None` when it is unset or not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;
}

/// A file and who may read it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FileBytes {
    /// The bytes, possibly cut (see [`Environment::read`]).
    pub bytes: Vec<u8>,
    /// Whether every user of the machine may read the file.
    pub world_readable: bool,
}

// The bytes may be a secret.
impl std::fmt::Debug for FileBytes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FileBytes")
            .field("length", &self.bytes.len())
            .field("world_readable", &self.world_readable)
            .finish()
    }
}

/// Whether a folder's entry is read as an rc file.
pub fn is_rc_name(name: &str) -> bool {
    name.ends_with(".rc") && !name.starts_with('.')
}

/// The machine that the program runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host;

impl Environment for Host {
    fn read(&self, path: &Path, limit: usize) -> io::Result<FileBytes> {
        let file = std::fs::File::open(path)?;
        let metadata = file.metadata()?;
        let mut bytes = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        file.take(most).read_to_end(&mut bytes)?;
        Ok(FileBytes { bytes, world_readable: metadata.is_file() && others_may_read(&metadata) })
    }

    fn rc_files(&self, folder: &Path, limit: usize) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name();
            if is_rc_name(&name.to_string_lossy()) {
                names.push(name);
                if names.len() > limit {
                    break;
                }
            }
        }
        Ok(names)
    }

    fn is_folder(&self, path: &Path) -> io::Result<bool> {
        Ok(std::fs::metadata(path)?.is_dir())
    }

    fn variable(&self, name: &str) -> Option<String> {
        // A proxy that is misspelled is better than one that is gone round.
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

#[cfg(unix)]
fn others_may_read(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o004 != 0
}

/// Elsewhere nothing simple tells; a home is closed to others there.
#[cfg(not(unix))]
fn others_may_read(_: &std::fs::Metadata) -> bool {
    false
}

#[cfg(test)]
pub(crate) use fake::Fake;

#[cfg(test)]
mod fake {
    use super::*;
    use std::collections::BTreeMap;

    /// A machine that exists in a test only; `path` to content, where a path
    /// listed in `readable` is world-readable.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Fake {
        pub(crate) files: BTreeMap<String, Vec<u8>>,
        pub(crate) readable: Vec<String>,
        pub(crate) variables: BTreeMap<String, String>,
    }

    impl Fake {
        pub(crate) fn with(files: &[(&str, &str)]) -> Self {
            Self {
                files: files
                    .iter()
                    .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
                    .collect(),
                ..Self::default()
            }
        }
    }

    impl Environment for Fake {
        fn read(&self, path: &Path, limit: usize) -> io::Result<FileBytes> {
            let name = path.to_string_lossy();
            let bytes = self.files.get(name.as_ref());
            let bytes = bytes.ok_or(io::ErrorKind::NotFound)?;
            Ok(FileBytes {
                bytes: bytes.iter().copied().take(limit + 1).collect(),
                world_readable: self.readable.iter().any(|readable| *readable == name),
            })
        }

        fn rc_files(&self, folder: &Path, limit: usize) -> io::Result<Vec<OsString>> {
            let names = self.files.keys().rev().filter_map(|path| {
                let path = Path::new(path);
                let name = path.file_name()?.to_string_lossy();
                let inside = path.parent() == Some(folder) && is_rc_name(&name);
                inside.then(|| OsString::from(name.as_ref()))
            });
            Ok(names.take(limit + 1).collect())
        }

        fn is_folder(&self, path: &Path) -> io::Result<bool> {
            if self.files.contains_key(path.to_string_lossy().as_ref()) {
                return Ok(false);
            }
            let inside = |file: &String| Path::new(file).starts_with(path);
            if self.files.keys().any(inside) {
                return Ok(true);
            }
            Err(io::ErrorKind::NotFound.into())
        }

        fn variable(&self, name: &str) -> Option<String> {
            self.variables.get(name).cloned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_host_tells_who_may_read_and_cuts_long_files() {
        let folder = std::env::temp_dir().join(format!("kitelet-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        let path = folder.join("10_account.rc");
        std::fs::write(&path, "0123456789").expect("file");
        for (mode, expected) in [(0o600, false), (0o640, false), (0o644, true)] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("mode");
            let read = Host.read(&path, 4).expect("read");
            assert_eq!(read.world_readable, expected, "{mode:o}");
            assert_eq!(read.bytes, b"01234");
        }
        std::fs::write(folder.join(".hidden.rc"), "").expect("file");
        std::fs::write(folder.join("80_httpd.rc.sample"), "").expect("file");
        assert_eq!(Host.rc_files(&folder, 9).expect("list"), vec![OsString::from("10_account.rc")]);
        assert!(Host.is_folder(&folder).expect("folder"));
        std::fs::remove_dir_all(&folder).expect("clean");
        assert!(Host.is_folder(&folder).is_err());
    }
}
