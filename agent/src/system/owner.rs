//! Whom a new file belongs to.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::Path;

/// Where root makes a file in somebody else's folder, it is for that user: a
/// relay that runs as its own user reads it. Nothing is lost where the file
/// system knows no owners.
pub fn give_to_owner_of_folder(file: &File, path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = std::fs::metadata(folder.unwrap_or(Path::new("."))) {
        let _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
    }
}
