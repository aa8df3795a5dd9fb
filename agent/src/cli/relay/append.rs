//! Adding a line to the kites file while a relay reads it and others may add
//! lines: one write at the end of the file, and never half a secret.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::config::MAX_KITES_FILE_BYTES;
use crate::system::owner::give_to_owner_of_folder;

/// Only its owner may read a new file.
const MODE: u32 = 0o600;
const OTHERS_MAY_READ: u32 = 0o004;

/// The kites file, locked until it is dropped.
#[derive(Debug)]
pub(super) struct KitesFile {
    file: File,
    /// What stands in it.
    pub(super) bytes: Vec<u8>,
    /// Whether every user of the machine may read it.
    pub(super) world_readable: bool,
}

impl KitesFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// Those of the file system, and a file that is none or too large.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(MODE);
        let mut file = match options.clone().create_new(true).open(path) {
            Ok(file) => {
                give_to_owner_of_folder(&file, path);
                file
            }
            // It may be gone meanwhile, and it may be a link to nothing yet.
            Err(_) => options.create(true).open(path)?,
        };
        // Where locks are unknown, a second writer is unlikely as well.
        let _ = rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
        }
        let world_readable = metadata.permissions().mode() & OTHERS_MAY_READ != 0;
        if metadata.len() >= u64::try_from(MAX_KITES_FILE_BYTES).unwrap_or(u64::MAX) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is full"));
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)?;
        Ok(Self { file, bytes, world_readable })
    }

    /// The numbers of the lines for a name.
    pub(super) fn lines_of(&self, name: &str) -> Vec<usize> {
        let is_of = |line: &[u8]| {
            let line = line.trim_ascii();
            let found = line.split(|byte| *byte == b':').nth(1);
            !line.starts_with(b"#")
                && found.is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
        };
        let lines = self.bytes.split(|byte| *byte == b'\n').enumerate();
        lines.filter(|(_, line)| is_of(line)).map(|(index, _)| index + 1).collect()
    }

    /// Adds a line with one write, behind an end of line if that is missing,
    /// and waits until it is on the disk. A write that is cut is taken back: a
    /// part of a secret must not let anybody in.
    ///
    /// # Errors
    /// Those of the file system; then nothing is added.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        let missing_end = self.bytes.last().is_some_and(|last| *last != b'\n');
        let text = format!("{}{line}\n", if missing_end { "\n" } else { "" });
        let before = self.file.metadata()?.len();
        let written = self.file.write(text.as_bytes());
        if !matches!(written, Ok(length) if length == text.len()) {
            self.file.set_len(before)?;
            return Err(written.err().unwrap_or_else(|| io::ErrorKind::StorageFull.into()));
        }
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn scratch(name: &str) -> PathBuf {
        let name = format!("kitelet-append-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("folder");
        folder
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("file").permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_for_its_owner_and_an_old_one_keeps_its_mode() {
        let folder = scratch("mode");
        let path = folder.join("kites");
        let mut file = KitesFile::open(&path).expect("new");
        file.append("http:a.b:secret").expect("append");
        drop(file);
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("mode");
        let mut file = KitesFile::open(&path).expect("old");
        assert!(file.world_readable);
        file.append("http:c.d:secret").expect("append");
        assert_eq!(mode(&path), 0o644);
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(text, "http:a.b:secret\nhttp:c.d:secret\n");
        std::fs::remove_dir_all(&folder).expect("clean");
    }

    #[test]
    fn a_file_that_root_makes_belongs_to_the_owner_of_the_folder() {
        use std::os::unix::fs::{MetadataExt as _, chown};
        let folder = scratch("owner");
        // Without the rights of root there is nothing to give away.
        if chown(&folder, Some(65_534), Some(65_533)).is_ok() {
            let path = folder.join("kites");
            drop(KitesFile::open(&path).expect("new"));
            let metadata = std::fs::metadata(&path).expect("file");
            assert_eq!((metadata.uid(), metadata.gid()), (65_534, 65_533));
        }
        std::fs::remove_dir_all(&folder).expect("clean");
    }

    #[test]
    fn a_missing_end_of_line_is_added_first() {
        let folder = scratch("end");
        let path = folder.join("kites");
        std::fs::write(&path, "# mine\n*:A.b:secret").expect("write");
        let mut file = KitesFile::open(&path).expect("old");
        assert_eq!(file.lines_of("a.b"), [2]);
        assert!(file.lines_of("secret").is_empty());
        file.append("http:c.d:secret").expect("append");
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(text, "# mine\n*:A.b:secret\nhttp:c.d:secret\n");
        std::fs::remove_dir_all(&folder).expect("clean");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = scratch("folder");
        assert!(KitesFile::open(&folder).is_err());
        assert!(KitesFile::open(&folder.join("none/kites")).is_err());
        std::fs::remove_dir_all(&folder).expect("clean");
    }

    #[test]
    fn two_writers_at_once_lose_nothing() {
        let folder = scratch("two");
        let path = folder.join("kites");
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let path = path.clone();
                std::thread::spawn(move || {
                    for number in 0..25 {
                        let mut file = KitesFile::open(&path).expect("open");
                        file.append(&format!("http:{writer}.{number}:secret")).expect("append");
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().expect("writer"));
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(text.lines().filter(|line| line.ends_with(":secret")).count(), 100);
        assert_eq!(text.lines().count(), 100);
        std::fs::remove_dir_all(&folder).expect("clean");
    }
}
