//! The relay under test, as a process of its own.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::LONG;

pub const SECRET: &str = "s3cret-0f-kite";

/// A running relay; it is killed when it goes out of scope.
pub struct Relay {
    child: Child,
    port: u16,
    config: PathBuf,
    log: Arc<Mutex<String>>,
}

impl Relay {
    /// A relay in clear that lets `kite.test` and all below it fly. `lines` are
    /// those of the rc file that the test is about.
    pub fn start(lines: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("review-{}-{number}.rc", std::process::id());
        let config = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let own = format!(
            "host = 127.0.0.1\nports = {port}\nrawports = virtual\nstop_timeout = 0\n\
             domain = *:kite.test:{SECRET}\ndomain = *:*.kite.test:{SECRET}\n"
        );
        fs::write(&config, own + lines).expect("written");
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
        let sink = Arc::clone(&log);
        let output = BufReader::new(child.stderr.take().expect("piped"));
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let mut log = sink.lock().expect("log");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let relay = Self { child, port, config, log };
        relay.wait_for_log("listens on");
        relay
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn config(&self) -> &PathBuf {
        &self.config
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("log").clone()
    }

    pub fn wait_for_log(&self, text: &str) {
        let end = Instant::now() + LONG;
        while !self.log().contains(text) {
            assert!(Instant::now() < end, "waited in vain for {text:?}; the log:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Descriptors that the relay has open: one for each connection, and a few
    /// of its own.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs").count()
    }

    /// Waits until the relay has let go of all but so many descriptors.
    pub fn wait_for_descriptors(&self, most: usize) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.descriptors() > most {
            assert!(Instant::now() < end, "{} open and not {most}", self.descriptors());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGHUP.
    pub fn reload(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::HUP).expect("it runs");
    }

    pub fn visitor(&self) -> Visitor {
        Visitor::new(self.port)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.config);
        assert!(!self.log().contains(SECRET), "a secret in the log");
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }
}

/// A visitor's connection.
pub struct Visitor(pub TcpStream);

impl Visitor {
    fn new(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("the relay listens");
        socket.set_read_timeout(Some(LONG)).expect("a timeout");
        socket.set_nodelay(true).expect("no delay");
        Self(socket)
    }

    pub fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).expect("sent");
    }

    pub fn get(&mut self, host: &str, more: &str) {
        self.send(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"));
    }

    /// Reads until what came ends with `end`.
    pub fn read_until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        let mut byte = [0; 1];
        while !text.ends_with(end.as_bytes()) {
            match self.0.read(&mut byte) {
                Ok(1..) => text.push(byte[0]),
                other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&text)),
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// All that comes until the relay closes the connection; a reset is an
    /// error.
    pub fn read_to_end(&mut self) -> Result<String, ErrorKind> {
        let mut text = Vec::new();
        self.0.read_to_end(&mut text).map_err(|error| error.kind())?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
