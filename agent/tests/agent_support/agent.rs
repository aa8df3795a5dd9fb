//! The program under test, as a process of its own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::relay::FakeRelay;
use super::{LONG, wait_for};

/// The secret of every kite; no line of any log may hold it.
pub const SECRET: &str = "s3cret-0f-kite";

/// A running agent. It is killed when it goes out of scope, and its log is
/// looked through for what must never be there.
pub struct Agent {
    child: Child,
    log: Arc<Mutex<String>>,
    is_read: Arc<AtomicBool>,
    config: PathBuf,
    relay_port: u16,
}

fn write_config(path: &Path, relay_port: u16, lines: &str) {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .expect("a file for the configuration");
    let relay = match relay_port {
        0 => String::new(),
        port => format!("frontend = 127.0.0.1:{port}\n"),
    };
    let text = format!("{relay}{lines}\n");
    file.write_all(text.as_bytes()).expect("written");
}

/// The line for a kite `raw:kite.test` whose service is at `port`.
pub fn raw_service(port: u16) -> String {
    format!("service_on = raw:kite.test:127.0.0.1:{port}:SECRET\n")
}

impl Agent {
    /// Starts an agent of `relay`, in clear. `lines` are those of the rc file
    /// that the test is about; `SECRET` in them stands for the secret.
    pub fn start(relay: &FakeRelay, lines: &str) -> Self {
        Self::start_at(relay.port(), lines)
    }

    /// An agent with one kite `http:kite.test` for the service at `port`.
    pub fn with_http(relay: &FakeRelay, port: u16) -> Self {
        Self::start(relay, &format!("service_on = http:kite.test:127.0.0.1:{port}:SECRET\n"))
    }

    /// An agent with one kite `raw:kite.test` for the service at `port`.
    pub fn with_raw(relay: &FakeRelay, port: u16) -> Self {
        Self::start(relay, &raw_service(port))
    }

    pub fn start_at(relay_port: u16, lines: &str) -> Self {
        Self::start_encrypted_at(relay_port, &format!("nossl\n{lines}"))
    }

    /// An agent of a relay with TLS; `lines` say which certificate it has.
    pub fn start_encrypted_at(relay_port: u16, lines: &str) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_kitelet")), relay_port, lines)
    }

    /// An agent that may have so many files open.
    pub fn with_few_files(relay: &FakeRelay, files: usize, lines: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")]);
        command.arg(env!("CARGO_BIN_EXE_kitelet"));
        Self::spawn(command, relay.port(), &format!("nossl\n{lines}"))
    }

    fn spawn(mut command: Command, relay_port: u16, lines: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("agent-{}-{number}.rc", std::process::id());
        let config = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let lines = lines.replace("SECRET", SECRET);
        write_config(&config, relay_port, &lines);
        let mut child = command
            .args(["run", "-c"])
            .arg(&config)
            .env_remove("JOURNAL_STREAM")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the agent starts");
        let log = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().expect("piped")).split(b'\n');
        let sink = Arc::clone(&log);
        let is_read = Arc::new(AtomicBool::new(true));
        let goes_on = Arc::clone(&is_read);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = sink.lock().expect("log");
                if !goes_on.load(Ordering::Relaxed) {
                    return;
                }
                log.push_str(&String::from_utf8_lossy(&line));
                log.push('\n');
            }
        });
        Self { child, log, is_read, config, relay_port }
    }

    /// An agent whose `lines` name the relays, which have no TLS.
    pub fn without_relay(lines: &str) -> Self {
        Self::start_at(0, lines)
    }

    /// Gives the agent other lines, which it reads when it is told to.
    pub fn rewrite_all(&self, lines: &str) {
        write_config(&self.config, self.relay_port, &lines.replace("SECRET", SECRET));
    }

    /// Gives the agent of a relay in clear other lines, which it reads when it
    /// is told to.
    pub fn rewrite(&self, lines: &str) {
        self.rewrite_all(&format!("nossl\n{lines}"));
    }

    /// Sends SIGTERM.
    pub fn ask_to_end(&self) {
        kill_process(self.pid(), Signal::TERM).expect("it lives");
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("log").clone()
    }

    /// Waits until the log holds `text`.
    pub fn wait_for_log(&self, text: &str) {
        let end = Instant::now() + LONG;
        while !self.log().contains(text) {
            assert!(Instant::now() < end, "waited in vain for {text:?}; the log:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Closes the pipe of the log at the next line.
    pub fn close_log(&self) {
        self.is_read.store(false, Ordering::Relaxed);
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        kill_process(self.pid(), Signal::HUP).expect("it lives");
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        kill_process(self.pid(), Signal::TERM).expect("it lives");
        wait_for("the agent to end", || self.child.try_wait().expect("a child"))
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it lives").count()
    }

    /// Memory in use, in kilobytes.
    pub fn resident(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The most memory that was in use so far, in kilobytes.
    pub fn peak(&self) -> usize {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux has it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.config);
        let log = self.log();
        if thread::panicking() {
            eprintln!("the agent's log:\n{log}");
            return;
        }
        assert!(!log.contains("panicked"), "{log}");
        assert!(!log.contains(SECRET), "a secret is in the log:\n{log}");
        assert!(ended.is_none_or(|status| status.success()), "{ended:?}\n{log}");
    }
}
