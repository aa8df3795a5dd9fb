//! Sockets of services: TCP and Unix alike, and what is said when one is down.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use kitelet::config::Origin;
use kitelet::net::{ServiceSocket, Socket as _, dial_service};

fn dial(origin: &Origin) -> Result<ServiceSocket, String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    smol::block_on(dial_service(origin, deadline)).map_err(|error| {
        println!("{error}");
        error.to_string()
    })
}

/// A path for a socket, which goes when the test ends.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(name: &str) -> Self {
        // The one in the target directory may be too long for a socket.
        let name = format!("kitelet-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn origin(&self) -> Origin {
        Origin::Unix(self.0.clone())
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Sends a question, ends it, and expects it back.
fn echoes(service: &ServiceSocket) {
    let mut buffer = [0; 64];
    let early = service.try_read(&mut buffer).expect_err("nothing sent yet");
    assert_eq!(early.kind(), ErrorKind::WouldBlock);
    smol::block_on(async {
        service.writable().await.expect("writable");
        assert_eq!(service.try_write(b"question").expect("write"), 8);
        service.shutdown().expect("shutdown");
        let mut answer: Vec<u8> = Vec::new();
        loop {
            match service.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => answer.extend(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    service.readable().await.expect("readable");
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(answer, b"question");
    });
}

fn answer(mut socket: impl Read + Write) {
    let mut question = Vec::new();
    socket.read_to_end(&mut question).expect("read");
    socket.write_all(&question).expect("write");
}

#[test]
fn a_tcp_service() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    thread::spawn(move || answer(listener.accept().expect("accept").0));
    let service = dial(&Origin::Tcp { host: "localhost".to_owned(), port });
    echoes(&service.expect("connected"));
}

#[test]
fn a_unix_service() {
    let path = SocketPath::new("echo");
    let listener = UnixListener::bind(&path.0).expect("bind");
    thread::spawn(move || answer(listener.accept().expect("accept").0));
    echoes(&dial(&path.origin()).expect("connected"));
}

#[test]
fn a_busy_unix_service_is_waited_for() {
    let path = SocketPath::new("busy");
    let listener = UnixListener::bind(&path.0).expect("bind");
    // The shortest backlog, and as many connections as fit into it.
    rustix::net::listen(&listener, 0).expect("listen");
    let waiting = UnixStream::connect(&path.0).expect("first");
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(120));
        let (first, _) = listener.accept().expect("accept");
        answer(listener.accept().expect("accept").0);
        drop((first, waiting));
    });
    echoes(&dial(&path.origin()).expect("connected"));
}

#[test]
fn a_service_that_is_down_is_named_in_words() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    drop(listener);
    let host = "127.0.0.1".to_owned();
    let text = dial(&Origin::Tcp { host, port }).expect_err("down");
    let expected = format!(
        "cannot connect to 127.0.0.1 port {port}: connection refused, nothing listens there"
    );
    assert_eq!(text, expected);

    let path = SocketPath::new("down");
    let name = path.0.display().to_string();
    let text = dial(&path.origin()).expect_err("missing");
    assert!(text.contains("no such socket") && text.contains(&name));
    drop(UnixListener::bind(&path.0).expect("bind"));
    let text = dial(&path.origin()).expect_err("nobody");
    assert!(text.contains("nothing listens on it") && text.contains(&name));
}
