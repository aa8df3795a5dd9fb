//! Which name servers are asked: the one of the configuration, or those of the
//! machine.

use std::cell::RefCell;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the machine's name servers stand (resolv.conf(5)).
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Name servers that are asked, as many as the system's own resolver asks
/// (`MAXNS` in resolv.conf(5)).
pub(super) const MAX_NAME_SERVERS: usize = 3;
/// The port of DNS (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;
/// Longest part of the file that is read, in bytes; three servers stand in it
/// well before that.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The name servers, re-read when the file changes.
#[derive(Debug)]
pub(super) struct NameServers {
    file: Option<PathBuf>,
    known: RefCell<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Of which state of the file they are: device, inode, length, and time of
    /// change in seconds and nanoseconds.
    state: Option<(u64, u64, u64, i64, i64)>,
    servers: Vec<SocketAddr>,
}

impl NameServers {
    /// `configured` alone, or what `file` says from time to time. The file is
    /// read now: after a chroot it may be gone, and what it said holds on.
    pub(super) fn new(configured: Option<SocketAddr>, file: &Path) -> Self {
        let known = Known { state: None, servers: configured.into_iter().collect() };
        let file = configured.is_none().then(|| file.to_owned());
        let servers = Self { file, known: RefCell::new(known) };
        servers.refresh();
        servers
    }

    /// Whom to ask, in this order; never empty. Without any, the machine
    /// itself is asked, as resolv.conf(5) has it.
    pub(super) fn current(&self) -> Vec<SocketAddr> {
        self.refresh();
        let servers = self.known.borrow().servers.clone();
        if servers.is_empty() { vec![(Ipv4Addr::LOCALHOST, DNS_PORT).into()] } else { servers }
    }

    fn refresh(&self) {
        let Some(file) = &self.file else { return };
        let Ok(state) = fs::metadata(file).map(|data| state_of(&data)) else { return };
        let mut known = self.known.borrow_mut();
        if known.state == Some(state) {
            return;
        }
        let mut text = Vec::new();
        let read = File::open(file).and_then(|file| {
            // Of the file that is read: another may have taken its place.
            known.state = Some(state_of(&file.metadata()?));
            file.take(MAX_FILE_BYTES).read_to_end(&mut text)
        });
        if read.is_ok() {
            known.servers = parse(&String::from_utf8_lossy(&text));
        }
    }
}

fn state_of(data: &Metadata) -> (u64, u64, u64, i64, i64) {
    (data.dev(), data.ino(), data.len(), data.mtime(), data.mtime_nsec())
}

/// The addresses of the `nameserver` lines. One with the name of an interface
/// (`fe80::1%eth0`) is passed over.
fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address: IpAddr = match (words.next(), words.next()) {
                (Some("nameserver"), Some(address)) => address.parse().ok()?,
                _ => return None,
            };
            Some(SocketAddr::new(address, DNS_PORT))
        })
        .take(MAX_NAME_SERVERS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(servers: &[SocketAddr]) -> Vec<String> {
        servers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn reads_three_servers_and_passes_over_the_rest() {
        let text = "# nameserver 192.0.2.9\nsearch example.com\nnameserver\t192.0.2.1 # first\r\n\
            nameserver nonsense\nnameserver fe80::1%eth0\nnameservers 192.0.2.8\nnameserver\n\
            options timeout:1\nnameserver 2001:db8::1\nnameserver 192.0.2.3\nnameserver 192.0.2.4";
        let wanted = ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:53"];
        assert_eq!(addresses(&parse(text)), wanted);
        assert!(parse("").is_empty());
    }

    #[test]
    fn the_configured_server_is_the_only_one() {
        let configured = SocketAddr::from(([192, 0, 2, 1], 5353));
        let servers = NameServers::new(Some(configured), Path::new("/nonexistent"));
        assert_eq!(servers.current(), [configured]);
    }

    #[test]
    fn the_machine_itself_is_asked_when_nothing_is_known() {
        let servers = NameServers::new(None, Path::new("/nonexistent"));
        assert_eq!(addresses(&servers.current()), ["127.0.0.1:53"]);
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_missing_one_forgives() {
        let file = std::env::temp_dir().join(format!("kitelet-{}-resolv", std::process::id()));
        fs::write(&file, "nameserver 192.0.2.1\n").expect("write");
        let servers = NameServers::new(None, &file);
        assert_eq!(addresses(&servers.current()), ["192.0.2.1:53"]);
        fs::write(&file, "nameserver 192.0.2.22\n").expect("write");
        assert_eq!(addresses(&servers.current()), ["192.0.2.22:53"]);
        fs::remove_file(&file).expect("remove");
        assert_eq!(addresses(&servers.current()), ["192.0.2.22:53"]);
    }
}
