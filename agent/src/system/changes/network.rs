//! Whether the network of this machine is another one: a route socket tells
//! when to look, and a digest of all links, addresses and routes tells whether
//! that was noise. The digest is a sum, so it takes eight bytes however many
//! there are and does not depend on their order.
//!
//! Where a service manager forbids netlink (`RestrictAddressFamilies=`), files
//! of /proc and /sys are looked at every [`POLL`] instead.

use std::fs::File;
use std::hash::{Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::time::Duration;

use async_io::Async;
use log::debug;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{bind, recv, send, socket_with};

use super::netlink::{QUESTIONS, dump_request, messages};

/// Time between two looks at the files; wakes a quiet machine seldom enough.
pub(super) const POLL: Duration = Duration::from_secs(15);
/// `RTMGRP_LINK`, `IPV4_IFADDR`, `IPV4_ROUTE`, `IPV6_IFADDR`, `IPV6_ROUTE`.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// One datagram of a dump: the kernel's own limit is 8 KB unless it is offered
/// more, and one link with all its attributes takes 2 KB.
const DATAGRAM_BYTES: usize = 16 * 1024;
/// Most datagrams of one dump, some 8000 routes; what a backbone router has
/// beyond that changes all the time and is not looked at.
const MAX_DATAGRAMS: usize = 128;
/// Most datagrams that are read at once before a look; the rest follows.
const MAX_DRAINED: usize = 64;
/// Most bytes of a file of /proc, and most links, that are looked at.
const MAX_FILE_BYTES: u64 = 256 * 1024;
const MAX_LINKS: usize = 256;

/// The network as it was last seen.
#[derive(Debug)]
pub(super) struct Network {
    socket: Option<Async<OwnedFd>>,
    digest: u64,
}

impl Network {
    /// Looks at it, and watches it if that is allowed.
    pub(super) fn watch() -> Self {
        let socket = match subscribed() {
            Ok(socket) => Some(socket),
            Err(error) => {
                debug!("no netlink ({error}): the network is looked at every 15 s");
                None
            }
        };
        let mut network = Self { socket, digest: 0 };
        network.is_another();
        network
    }

    /// The socket that tells when to look; without one, look every [`POLL`].
    pub(super) fn socket(&self) -> Option<&Async<OwnedFd>> {
        self.socket.as_ref()
    }

    /// Takes what waits in the socket.
    pub(super) fn drain(&mut self) -> Drained {
        let Some(socket) = &self.socket else { return Drained::Noise };
        let mut buffer = [0; 4096];
        let mut drained = Drained::Noise;
        for _ in 0..MAX_DRAINED {
            match recv(socket.get_ref(), buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((length, _)) => {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    if messages(datagram).any(|message| message.is_of_interest()) {
                        drained = Drained::Perhaps;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // Messages were lost.
                Err(Errno::NOBUFS) => return Drained::Certainly,
                Err(error) => {
                    debug!("netlink: {error}; the network is looked at every 15 s");
                    self.socket = None;
                    return Drained::Perhaps;
                }
            }
        }
        drained
    }

    /// Looks whether it differs from what was seen before.
    pub(super) fn is_another(&mut self) -> bool {
        // The files stand in for a dump that fails; the first look after that
        // is a change too much.
        let digest = if self.socket.is_some() { dumped() } else { Err(Errno::OPNOTSUPP) };
        let digest = digest.unwrap_or_else(|_| read());
        std::mem::replace(&mut self.digest, digest) != digest
    }
}

/// What waited in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// Nothing of interest.
    Noise,
    /// The digest knows.
    Perhaps,
    /// The kernel had more to tell than it could keep.
    Certainly,
}

fn subscribed() -> io::Result<Async<OwnedFd>> {
    let socket = route_socket()?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Async::new(socket)
}

fn route_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // NETLINK_ROUTE is protocol 0.
    socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
}

/// The digest by netlink. The kernel makes each part of the answer while it is
/// read, so nothing here waits.
fn dumped() -> Result<u64, Errno> {
    let socket = route_socket()?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    let mut buffer = vec![0; DATAGRAM_BYTES];
    let mut digest = 0_u64;
    for question in QUESTIONS {
        send(&socket, &dump_request(question), SendFlags::empty())?;
        let mut datagrams = 0;
        'dump: loop {
            let (length, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            for message in messages(buffer.get(..length).unwrap_or_default()) {
                if message.ends_dump() {
                    break 'dump;
                }
                digest = digest.wrapping_add(message.fact().unwrap_or(0));
            }
            datagrams += 1;
            if datagrams == MAX_DATAGRAMS {
                // The socket is of no use for another question: routes are the
                // last one.
                return Ok(digest);
            }
        }
    }
    Ok(digest)
}

/// The digest by the files of /proc and /sys.
fn read() -> u64 {
    let mut digest = 0_u64;
    let mut add = |line: &dyn Fn(&mut std::hash::DefaultHasher)| {
        let mut hasher = std::hash::DefaultHasher::new();
        line(&mut hasher);
        digest = digest.wrapping_add(hasher.finish());
    };
    for path in ["/proc/net/route", "/proc/net/fib_trie", "/proc/net/if_inet6"] {
        for line in text_of(path).lines() {
            add(&|hasher| line.hash(hasher));
        }
    }
    for line in text_of("/proc/net/ipv6_route").lines() {
        // Fields 6 and 7 count users and uses.
        let fields = line.split_ascii_whitespace().enumerate();
        let fields = fields.filter(|(at, _)| !matches!(at, 6 | 7));
        add(&|hasher| fields.clone().for_each(|field| field.hash(hasher)));
    }
    for link in std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten().take(MAX_LINKS)
    {
        let state = text_of(link.path().join("operstate"));
        if state.trim() != "down" {
            add(&|hasher| (link.file_name(), &state).hash(hasher));
        }
    }
    digest
}

/// What can be read of a file; nothing, where there is none.
fn text_of(path: impl AsRef<std::path::Path>) -> String {
    let mut text = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(MAX_FILE_BYTES).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_looks_by_files_see_the_same() {
        assert_eq!(read(), read());
    }
}
