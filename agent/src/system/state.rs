//! What the agent remembers beyond its end: which addresses a relay had when
//! it was reached, what time it was, and the id of the last session, with
//! which a relay lets a device take back its kites.
//!
//! Two text files, one fact a line:
//!
//! ```text
//! STATE_DIRECTORY/remembered        RUNTIME_DIRECTORY/sessions (mode 0600)
//! time 1795600000                   session relay.example.com:443 ID
//! relay relay.example.com:443 192.0.2.1 2001:db8::1
//! ```
//!
//! A session id is a bearer token, so it never reaches the state directory,
//! which is on flash and in backups. Flash wears: addresses are written when
//! they are others, at most once an hour, the time once a day. All of it may
//! be lost; a line that is not understood is skipped, a directory that cannot
//! be written is told once.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::debug;

/// Most relays that are remembered; the one used longest ago is forgotten.
pub const MAX_RELAYS: usize = 64;
/// Most addresses of a relay.
pub const MAX_ADDRESSES: usize = 16;
/// Longest file that is written and read, in bytes; what was used longest ago
/// goes first.
pub const MAX_FILE_BYTES: usize = 16 * 1024;
/// Longest name of a relay with its port, and longest session id, in bytes.
const MAX_WORD_BYTES: usize = 264;
/// Least time between two writes of addresses.
const ADDRESSES_GAP: Duration = Duration::from_secs(3600);
/// Least seconds between two times that are written.
const TIME_GAP_SECONDS: u64 = 86_400;

/// No time after this, the end of the century, is one that was.
const LATEST_TIME: u64 = 4_102_444_800;

const STATE_FILE: &str = "remembered";
const RUNTIME_FILE: &str = "sessions";

/// What is remembered, in memory and on disk.
#[derive(Debug)]
pub struct State {
    facts: Facts,
    sessions: Sessions,
    state: Place,
    runtime: Place,
    /// Addresses are to be written.
    changed: bool,
    written: Option<Instant>,
    time_written: u64,
}

/// The facts of the state directory, the latest relay first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    time: Option<u64>,
    relays: Vec<(String, Vec<IpAddr>)>,
}

/// Session ids by relay, the latest first.
#[derive(Clone, Default, PartialEq, Eq)]
struct Sessions(Vec<(String, String)>);

/// They are secrets.
impl std::fmt::Debug for Sessions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Sessions({})", self.0.len())
    }
}

impl State {
    /// Reads what is there. Without a directory, nothing is kept beyond the
    /// end of the program.
    pub fn open(state_directory: Option<PathBuf>, runtime_directory: Option<PathBuf>) -> Self {
        let state = Place::new(state_directory, STATE_FILE);
        let runtime = Place::new(runtime_directory, RUNTIME_FILE);
        let facts = Facts::decode(&state.read());
        let sessions = Sessions::decode(&runtime.read());
        let time_written = facts.time.unwrap_or(0);
        Self { facts, sessions, state, runtime, changed: false, written: None, time_written }
    }

    /// The addresses at which `relay` (`host:port`) was reached last.
    pub fn addresses(&self, relay: &str) -> &[IpAddr] {
        let found = self.facts.relays.iter().find(|(name, _)| name == relay);
        found.map_or(&[], |(_, addresses)| addresses)
    }

    /// Keeps the addresses of a relay that was reached, the best one first.
    pub fn remember_addresses(&mut self, relay: &str, addresses: &[IpAddr], now: Instant) {
        let addresses = &addresses[..addresses.len().min(MAX_ADDRESSES)];
        if is_word(relay) && !addresses.is_empty() {
            self.changed |= self.addresses(relay) != addresses;
            put_first(&mut self.facts.relays, relay, addresses.to_vec());
        }
        self.save(now);
    }

    /// The latest time that is known to have been right, in Unix seconds: the
    /// clock of this machine cannot be behind it.
    pub fn last_good_time(&self) -> Option<u64> {
        self.facts.time
    }

    /// Keeps a time that a relay's certificate was valid at. A clock that was
    /// not proved right must not get here: one from the future would stay.
    pub fn remember_time(&mut self, unix_seconds: u64, now: Instant) {
        if self.facts.time.is_none_or(|time| time < unix_seconds) {
            self.facts.time = Some(unix_seconds);
        }
        self.save(now);
    }

    /// The id of the last session with `relay` (`host:port`).
    pub fn session(&self, relay: &str) -> Option<&str> {
        self.sessions.0.iter().find(|(name, _)| name == relay).map(|(_, id)| id.as_str())
    }

    /// Keeps or, with `None`, forgets the id of a session.
    pub fn remember_session(&mut self, relay: &str, id: Option<&str>) {
        let id = id.filter(|id| is_word(id) && is_word(relay));
        if self.session(relay) == id {
            return;
        }
        match id {
            Some(id) => put_first(&mut self.sessions.0, relay, id.to_owned()),
            None => self.sessions.0.retain(|(name, _)| name != relay),
        }
        self.runtime.write(&self.sessions.encode(), false);
    }

    /// Writes what is due to be written at `now`.
    pub fn save(&mut self, now: Instant) {
        let rested = self.written.is_none_or(|at| now.duration_since(at) >= ADDRESSES_GAP);
        let time = self.facts.time.unwrap_or(0);
        let time_is_due = time >= self.time_written.saturating_add(TIME_GAP_SECONDS);
        if (self.changed && rested) || time_is_due {
            self.state.write(&self.facts.encode(), true);
            (self.changed, self.written, self.time_written) = (false, Some(now), time);
        }
    }

    /// Writes addresses that waited for their hour; for the end of the program.
    pub fn save_at_end(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.state.write(&self.facts.encode(), true);
        }
    }
}

impl Facts {
    fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` does not fail.
        let _ = self.time.map(|time| writeln!(text, "time {time}"));
        for (relay, addresses) in &self.relays {
            let before = text.len();
            let _ = write!(text, "relay {relay}");
            for address in addresses {
                let _ = write!(text, " {address}");
            }
            text.push('\n');
            if text.len() > MAX_FILE_BYTES {
                text.truncate(before);
                break;
            }
        }
        text
    }

    fn decode(text: &str) -> Self {
        let mut facts = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some("time"), Some(time)) => {
                    let time = time.parse().ok().filter(|time| *time <= LATEST_TIME);
                    facts.time = time.or(facts.time);
                }
                (Some("relay"), Some(relay)) if is_word(relay) => {
                    let addresses: Result<Vec<IpAddr>, _> =
                        words.take(MAX_ADDRESSES).map(str::parse).collect();
                    let known = facts.relays.iter().any(|(name, _)| name == relay);
                    match addresses {
                        Ok(addresses) if !addresses.is_empty() && !known => {
                            facts.relays.push((relay.to_owned(), addresses));
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        facts.relays.truncate(MAX_RELAYS);
        facts
    }
}

impl Sessions {
    fn encode(&self) -> String {
        let mut text = String::new();
        for (relay, id) in &self.0 {
            if text.len() + relay.len() + id.len() + 10 > MAX_FILE_BYTES {
                break;
            }
            let _ = writeln!(text, "session {relay} {id}");
        }
        text
    }

    fn decode(text: &str) -> Self {
        let mut sessions = Vec::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().take(4).collect();
            if let ["session", relay, id] = words[..] {
                if is_word(relay) && is_word(id) && sessions.len() < MAX_RELAYS {
                    sessions.push((relay.to_owned(), id.to_owned()));
                }
            }
        }
        Self(sessions)
    }
}

/// Whether `text` can stand in a line.
fn is_word(text: &str) -> bool {
    (1..=MAX_WORD_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn put_first<T>(list: &mut Vec<(String, T)>, name: &str, value: T) {
    list.retain(|(known, _)| known != name);
    list.insert(0, (name.to_owned(), value));
    list.truncate(MAX_RELAYS);
}

/// A file that may be there.
#[derive(Debug)]
struct Place {
    path: Option<PathBuf>,
    told: bool,
}

impl Place {
    fn new(directory: Option<PathBuf>, file: &str) -> Self {
        Self { path: directory.map(|directory| directory.join(file)), told: false }
    }

    /// Nothing, if it cannot be read, is too long or is no text.
    fn read(&self) -> String {
        let Some(path) = &self.path else { return String::new() };
        let mut text = Vec::new();
        let most = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut text));
        match read {
            Ok(length) if length <= MAX_FILE_BYTES => String::from_utf8(text).unwrap_or_default(),
            Ok(_) => String::new(),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    debug!("{} cannot be read: {error}", path.display());
                }
                String::new()
            }
        }
    }

    /// Writes the whole of it, or nothing. `lasting`: it outlives a loss of
    /// power.
    fn write(&mut self, text: &str, lasting: bool) {
        let Some(path) = &self.path else { return };
        match replace(path, text, lasting) {
            Ok(()) => self.told = false,
            Err(error) if !self.told => {
                self.told = true;
                debug!("{} cannot be written: {error}; going on without", path.display());
            }
            Err(_) => {}
        }
    }
}

fn replace(path: &Path, text: &str, lasting: bool) -> io::Result<()> {
    let new = path.with_extension("new");
    // What an earlier run left may belong to somebody else, or be a link.
    let _ = std::fs::remove_file(&new);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            if lasting { file.sync_all() } else { Ok(()) }
        })
        .and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}

#[cfg(test)]
mod tests;
