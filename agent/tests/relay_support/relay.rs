//! The program under test, as a process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::LONG;

/// The secret of every kite; no line of any log may hold it.
pub const SECRET: &str = "s3cret-0f-kite";
/// Where those come from who behave well; everybody else has other addresses,
/// so that the limits per address hit whom they are for.
pub const GOOD_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 250);

/// A running relay. It is killed when it goes out of scope, and its log is
/// looked through for what must never be there.
pub struct Relay {
    child: Child,
    port: u16,
    log: Arc<Mutex<String>>,
    config: PathBuf,
}

impl Relay {
    /// A relay that lets anything at or below `kite.test` and `other.test` fly
    /// for [`SECRET`]. `lines` are further ones of its rc file.
    pub fn start(lines: &str) -> Self {
        // Between our look and the relay's bind a port can be taken by another
        // test.
        for _ in 0..20 {
            if let Some(relay) = Self::try_start(lines) {
                return relay;
            }
        }
        panic!("no port for a relay");
    }

    fn try_start(lines: &str) -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hostile-relay-{}-{number}.rc", std::process::id());
        let config = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let port = free_port();
        let mut text = format!("host = 127.0.0.1\nports = {port}\n");
        for name in ["kite.test", "*.kite.test", "other.test", "*.other.test"] {
            text.push_str(&format!("domain = *:{name}:{SECRET}\n"));
        }
        text.push_str(lines);
        text.push('\n');
        fs::write(&config, text).expect("a file for the configuration");
        let mut child = Command::new(env!("CARGO_BIN_EXE_kitelet"))
            .args(["relay", "-c"])
            .arg(&config)
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the relay starts");
        let log = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().expect("piped")).split(b'\n');
        let sink = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = sink.lock().expect("log");
                log.push_str(&String::from_utf8_lossy(&line));
                log.push('\n');
            }
        });
        let mut relay = Self { child, port, log, config };
        let end = Instant::now() + LONG;
        loop {
            if relay.log().contains("relay listens on") {
                return Some(relay);
            }
            if !relay.is_alive() {
                let log = relay.log();
                assert!(
                    log.contains("in use") || log.is_empty(),
                    "the relay did not start:\n{log}"
                );
                return None;
            }
            assert!(Instant::now() < end, "the relay does not start:\n{}", relay.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("log").clone()
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Memory in use, in kilobytes.
    pub fn resident(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The most memory that was in use so far, in kilobytes.
    pub fn peak(&self) -> usize {
        self.status("VmHWM:")
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it lives").count()
    }

    fn status(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux has it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.config);
        let log = self.log();
        if thread::panicking() {
            let start = log.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            eprintln!("the end of the relay's log:\n{}", &log[start..]);
            return;
        }
        assert!(!log.contains("panicked"), "{log}");
        assert!(!log.contains(SECRET), "a secret is in the log:\n{log}");
        assert!(ended.is_none() || log.contains("in use"), "{ended:?}\n{log}");
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("bound").port()
}
