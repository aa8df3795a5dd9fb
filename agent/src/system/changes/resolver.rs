//! Whether names are looked up elsewhere: the folders that lead to
//! `/etc/resolv.conf` are watched by inotify(7), every one of its symbolic
//! links included (systemd and OpenWrt have it in /run and /tmp), and what it
//! says is compared, because those folders see many other files.

use std::fs::File;
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use async_io::Async;
use log::debug;
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};

/// Symbolic links that are followed.
const MAX_LINKS: usize = 8;
/// Most bytes of the file that are read; three servers are all that count.
const MAX_FILE_BYTES: u64 = 16 * 1024;
/// Most events that are taken at once; the rest follows.
const MAX_EVENTS: usize = 1024;

/// The file as it was last seen.
#[derive(Debug)]
pub(super) struct Resolver {
    path: PathBuf,
    inotify: Option<Async<OwnedFd>>,
    folders: Vec<PathBuf>,
    seen: Option<u64>,
}

impl Resolver {
    /// Reads `path` and watches the folders that lead to it.
    pub(super) fn watch(path: PathBuf) -> Self {
        let seen = digest(&path);
        let mut resolver = Self { path, inotify: None, folders: Vec::new(), seen };
        resolver.watch_folders();
        resolver
    }

    /// What wakes when it is time to look.
    pub(super) fn inotify(&self) -> Option<&Async<OwnedFd>> {
        self.inotify.as_ref()
    }

    /// Takes the events, and looks whether the file says something else.
    pub(super) fn is_another(&mut self) -> bool {
        if self.drain() || folders(&self.path) != self.folders {
            self.watch_folders();
        }
        let seen = digest(&self.path);
        std::mem::replace(&mut self.seen, seen) != seen
    }

    /// Whether a watch has ended because its folder is gone.
    fn drain(&mut self) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let mut buffer = [MaybeUninit::uninit(); 2048];
        let mut events = Reader::new(inotify.get_ref(), &mut buffer);
        let mut ended = false;
        for _ in 0..MAX_EVENTS {
            // It ends with `AGAIN`.
            let Ok(event) = events.next() else { break };
            ended |= event.events().intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF);
        }
        ended
    }

    fn watch_folders(&mut self) {
        self.folders = folders(&self.path);
        self.inotify = watched(&self.folders)
            .inspect_err(|error| debug!("{} is not watched: {error}", self.path.display()))
            .ok();
    }
}

fn watched(folders: &[PathBuf]) -> io::Result<Async<OwnedFd>> {
    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    // Not `MODIFY`: a file is read when it is whole.
    let events = WatchFlags::CLOSE_WRITE
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    for folder in folders {
        add_watch(&inotify, folder, events)?;
    }
    Async::new(inotify)
}

/// The folders in which something has to happen if `path` is to lead to
/// another file: that of each link on the way, or the nearest one above it
/// that is there.
fn folders(path: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let folder = path.ancestors().skip(1).find_map(|folder| folder.canonicalize().ok());
        folders.extend(folder.filter(|folder| !folders.contains(folder)));
        match (std::fs::read_link(&path), path.parent()) {
            (Ok(target), Some(folder)) => path = folder.join(target),
            _ => break,
        }
    }
    folders
}

/// What the file says, without comments; `None` if there is none.
fn digest(path: &Path) -> Option<u64> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(MAX_FILE_BYTES).read_to_end(&mut text).ok()?;
    let mut hasher = std::hash::DefaultHasher::new();
    for line in text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
        if !line.is_empty() && !line.starts_with(b"#") && !line.starts_with(b";") {
            line.hash(&mut hasher);
        }
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("kitelet-resolver-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("etc")).expect("a folder");
        folder.canonicalize().expect("it is there")
    }

    #[test]
    fn another_server_counts_and_a_comment_does_not() {
        let folder = folder("content");
        let file = folder.join("etc/resolv.conf");
        let mut resolver = Resolver::watch(file.clone());
        assert!(!resolver.is_another());
        let mut write = |text: &str| {
            std::fs::write(&file, text).expect("it is ours");
            resolver.is_another()
        };
        assert!(write("nameserver 192.0.2.1\n"));
        assert!(!write("# by DHCP, 10:04\n\nnameserver 192.0.2.1"));
        assert!(write("nameserver 192.0.2.2\n"));
        std::fs::remove_file(&file).expect("it is there");
        assert!(resolver.is_another());
        std::fs::remove_dir_all(folder).expect("it is ours");
    }

    #[test]
    fn every_link_is_followed_even_into_a_folder_that_is_not_there_yet() {
        let folder = folder("links");
        let (etc, run) = (folder.join("etc"), folder.join("run"));
        let file = etc.join("resolv.conf");
        symlink("../run/resolve/stub.conf", &file).expect("it is ours");
        let mut resolver = Resolver::watch(file);
        assert_eq!(resolver.folders, [etc.clone(), folder.clone()]);
        std::fs::create_dir_all(run.join("resolve")).expect("it is ours");
        assert!(!resolver.is_another());
        assert_eq!(resolver.folders, [etc, run.join("resolve")]);
        std::fs::write(run.join("resolve/stub.conf"), "nameserver ::1").expect("it is ours");
        assert!(resolver.is_another());
        std::fs::remove_dir_all(folder).expect("it is ours");
    }
}
