//! `kitelet connect`, the built program, against relays that do as each test
//! says. Loopback only.

#![cfg(feature = "connect")]

mod net_support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use kitelet::config::RelayAddress;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use net_support::{Authority, NOW, PemFile, read_head, relay, self_signed, server_config};

const KITE: &str = "box.example.com:22";
const RELAY: &str = "relay.example.com";
const ESTABLISHED: &[u8] = b"HTTP/1.0 200 Connection Established\r\n\r\n";

/// A visitor's connection at the relay.
trait Stream: Read + Write {
    /// Tells the visitor that no more will come.
    fn finish(&mut self);
}

impl Stream for TcpStream {
    fn finish(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Stream for StreamOwned<ServerConnection, TcpStream> {
    fn finish(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
        let _ = self.sock.shutdown(Shutdown::Write);
    }
}

/// Reads the head of a request, to the byte.
fn head_of(stream: &mut dyn Stream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

/// What relays do with a visitor, after its head.
type Script = fn(&mut dyn Stream);

/// A relay with TLS; the heads it reads are sent to `heads`.
fn tls_relay(config: &Arc<ServerConfig>, heads: Sender<String>, script: Script) -> RelayAddress {
    let config = Arc::clone(config);
    relay(move |mut socket| {
        let (config, heads) = (Arc::clone(&config), heads.clone());
        thread::spawn(move || {
            // A certificate name is announced in clear before TLS.
            let mut first = [0];
            if socket.peek(&mut first).is_ok() && first == *b"C" {
                let _ = heads.send(read_head(&mut socket));
                let _ = socket.write_all(ESTABLISHED);
            }
            let session = ServerConnection::new(config).expect("session");
            let mut stream = StreamOwned::new(session, socket);
            let head = head_of(&mut stream);
            if !head.is_empty() {
                let _ = heads.send(head);
                script(&mut stream);
            }
        });
    })
}

/// A relay without TLS.
fn plain_relay(script: Script) -> RelayAddress {
    relay(move |mut socket| {
        thread::spawn(move || {
            head_of(&mut socket);
            script(&mut socket);
        });
    })
}

/// Sends everything back until the end, which it answers with its own.
fn echo(stream: &mut dyn Stream) {
    let mut buffer = vec![0; 64 * 1024];
    let _ = stream.write_all(ESTABLISHED);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
    stream.finish();
}

/// Says how many bytes came, and all of them backwards, once the end has come.
fn after_the_end(stream: &mut dyn Stream) {
    let _ = stream.write_all(ESTABLISHED);
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    all.reverse();
    let _ = stream.write_all(format!("{} bytes\n", all.len()).as_bytes());
    let _ = stream.write_all(&all);
    stream.finish();
}

/// Speaks first, in one piece with the answer, and ends.
fn banner(stream: &mut dyn Stream) {
    let _ = stream.write_all(&[ESTABLISHED, b"SSH-2.0-test\r\n"].concat());
    stream.finish();
}

/// Sends without end.
fn flood(stream: &mut dyn Stream) {
    let _ = stream.write_all(ESTABLISHED);
    while stream.write_all(&[b'x'; 64 * 1024]).is_ok() {}
}

fn away(stream: &mut dyn Stream) {
    let _ = stream.write_all(b"HTTP/1.0 503 Unavailable\r\n\r\n");
    stream.finish();
}

fn forbidden(stream: &mut dyn Stream) {
    let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n<h1>");
    stream.finish();
}

fn web_server(stream: &mut dyn Stream) {
    let _ = stream.write_all(b"HTTP/1.1 405 Not Allowed\r\nServer: nginx\r\n\r\n<html>");
    stream.finish();
}

fn not_http(stream: &mut dyn Stream) {
    let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n");
    stream.finish();
}

fn silent_end(stream: &mut dyn Stream) {
    stream.finish();
}

/// `kitelet connect` with these words.
fn kitelet(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kitelet"));
    command.arg("connect").args(words).env_remove("KITELET_RELAY");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it with this input to its end.
fn run(mut command: Command, input: Vec<u8>) -> Output {
    let mut child = command.spawn().expect("start");
    let mut stdin = child.stdin.take().expect("input");
    let writer = thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("output");
    writer.join().expect("writer");
    output
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// Bytes that are not like each other.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// An authority that the visitor trusts, and a relay's settings by it.
fn trusted() -> (Authority, Arc<ServerConfig>) {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1", RELAY], NOW);
    let config = server_config(&identity, rustls::ALL_VERSIONS);
    (authority, config)
}

fn path(file: &PemFile) -> &str {
    file.0.to_str().expect("path")
}

#[test]
fn ten_megabytes_go_both_ways() {
    let (authority, config) = trusted();
    let (heads, seen) = channel();
    let relay = tls_relay(&config, heads, echo).to_string();
    let sent = noise(10 * 1024 * 1024);
    let command = kitelet(&["--relay", &relay, "--ca-certs", path(&authority.file), KITE]);
    let output = run(command, sent.clone());
    assert_eq!(errors(&output), "");
    assert!(output.status.success());
    assert!(output.stdout == sent, "{} of {} bytes", output.stdout.len(), sent.len());
    let head = "CONNECT box.example.com:22 HTTP/1.1\r\nHost: box.example.com:22\r\n\r\n";
    assert_eq!(seen.recv().expect("head"), head);
}

#[test]
fn the_end_of_the_input_leaves_the_other_direction_open() {
    let (authority, config) = trusted();
    let sent = noise(3 * 1024 * 1024 + 1);
    let mut expected = format!("{} bytes\n", sent.len()).into_bytes();
    expected.extend(sent.iter().rev());
    let with_tls = tls_relay(&config, channel().0, after_the_end).to_string();
    let plain = plain_relay(after_the_end).to_string();
    for words in [
        &["--relay", &with_tls, "--ca-certs", path(&authority.file), KITE][..],
        &["--relay", &plain, "--plain", KITE],
    ] {
        let output = run(kitelet(words), sent.clone());
        assert!(output.status.success(), "{}", errors(&output));
        assert!(output.stdout == expected, "{} bytes", output.stdout.len());
    }
}

#[test]
fn a_service_that_speaks_first_is_heard_and_its_end_ends_all() {
    let (authority, config) = trusted();
    let relay = tls_relay(&config, channel().0, banner).to_string();
    let mut command = kitelet(&["--ca-certs", path(&authority.file), KITE]);
    command.env("KITELET_RELAY", relay);
    let mut child = command.spawn().expect("start");
    // The input stays open.
    let input = child.stdin.take();
    let output = child.wait_with_output().expect("output");
    assert_eq!(output.stdout, b"SSH-2.0-test\r\n");
    assert_eq!(errors(&output), "");
    assert!(output.status.success());
    drop(input);
}

#[test]
fn refusals_exit_69_and_say_what_can_be_done() {
    let (authority, config) = trusted();
    for (script, part) in [
        (away as Script, "no such kite is there now (503): the device is away"),
        (forbidden, "no visitors from this network (403)"),
        (web_server, "a web server answered, not a relay (405); name the relay with --relay"),
        (not_http, "this is no relay"),
        (silent_end, "closed the connection without an answer"),
    ] {
        let relay = tls_relay(&config, channel().0, script).to_string();
        let words = ["--relay", &relay, "--ca-certs", path(&authority.file), KITE];
        let output = run(kitelet(&words), Vec::new());
        let errors = errors(&output);
        assert_eq!(output.status.code(), Some(69), "{errors}");
        assert!(errors.starts_with(&format!("kitelet: relay {relay}: ")), "{errors}");
        assert!(errors.contains(part), "{errors}");
        assert_eq!((output.stdout.len(), errors.lines().count()), (0, 1), "{errors}");
    }
}

#[test]
fn a_relay_that_is_not_there_exits_69() {
    // Port 1 is for a service that nobody runs; a freed one may be another test's.
    let output = run(kitelet(&["--relay", "127.0.0.1:1", KITE]), Vec::new());
    assert_eq!(output.status.code(), Some(69));
    assert!(errors(&output).contains("connection refused"), "{}", errors(&output));
}

#[test]
fn the_certificate_of_a_stranger_is_refused_and_its_pin_is_told() {
    let stranger = self_signed(&[RELAY], NOW, false);
    let relay = tls_relay(&server_config(&stranger, rustls::ALL_VERSIONS), channel().0, banner);
    let relay = relay.to_string();
    let output = run(kitelet(&["--relay", &relay, "--relay-certname", RELAY, KITE]), Vec::new());
    let errors = errors(&output);
    let mend = format!("--relay-certname {RELAY}/{}", stranger.pin());
    assert_eq!(output.status.code(), Some(69));
    assert!(errors.contains("self-signed") && errors.contains(&mend), "{errors}");
    assert_eq!(output.stdout, b"");

    let pinned = mend.split(' ').nth(1).expect("pin");
    let output = run(kitelet(&["--relay", &relay, "--relay-certname", pinned, KITE]), Vec::new());
    assert_eq!(output.stdout, b"SSH-2.0-test\r\n");
}

#[test]
fn a_file_of_certificates_that_is_none_exits_78() {
    let file = PemFile::new("none");
    let output = run(kitelet(&["--ca-certs", path(&file), KITE]), Vec::new());
    assert_eq!(output.status.code(), Some(78));
    assert!(errors(&output).contains("no usable certificate"), "{}", errors(&output));
    let output = run(kitelet(&["--ca-certs", "/nonexistent", KITE]), Vec::new());
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn without_tls_it_says_so() {
    let relay = plain_relay(banner).to_string();
    let output = run(kitelet(&["--relay", &relay, "--plain", KITE]), Vec::new());
    assert_eq!(output.stdout, b"SSH-2.0-test\r\n");
    let expected = "kitelet: --plain: everybody on the way to the relay can read along\n";
    assert_eq!(errors(&output), expected);
}

#[test]
fn an_output_that_nobody_reads_ends_it_quietly() {
    let relay = plain_relay(flood).to_string();
    let mut child = kitelet(&["--relay", &relay, "--plain", KITE]).spawn().expect("start");
    let input = child.stdin.take();
    let mut output = child.stdout.take().expect("output");
    output.read_exact(&mut [0; 1000]).expect("bytes");
    drop(output);
    let end = child.wait_with_output().expect("end");
    assert!(end.status.success(), "{end:?}");
    assert_eq!(errors(&end).lines().count(), 1, "{}", errors(&end));
    drop(input);
}

/// `kitelet connect --listen`, ended with the test.
struct Listening {
    child: Child,
    address: String,
    _output: BufReader<ChildStdout>,
}

impl Listening {
    fn start(relay: &str, words: &[&str]) -> Self {
        let fixed = ["--relay", relay, "--listen", "127.0.0.1:0"];
        let mut child = kitelet(&[&fixed, words].concat()).spawn().expect("start");
        let mut output = BufReader::new(child.stdout.take().expect("output"));
        let mut line = String::new();
        output.read_line(&mut line).expect("line");
        let (address, kite) = line.trim_end().split_once(" leads to ").expect("an address");
        assert_eq!(kite, "box.example.com port 22");
        Self { child, address: address.to_owned(), _output: output }
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.address).expect("connect");
        socket.set_read_timeout(Some(net_support::LONG)).expect("timeout");
        socket
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_local_port_carries_many_connections_at_once() {
    let (authority, config) = trusted();
    let relay = tls_relay(&config, channel().0, after_the_end).to_string();
    let listening = Listening::start(&relay, &["--ca-certs", path(&authority.file), KITE]);
    // All of them are open before the first one gets its answer.
    let mut sockets: Vec<TcpStream> = (0..20).map(|_| listening.connect()).collect();
    for (number, socket) in sockets.iter_mut().enumerate() {
        socket.write_all(&noise(100_000 + number)).expect("write");
    }
    for (number, socket) in sockets.iter_mut().enumerate().rev() {
        socket.shutdown(Shutdown::Write).expect("half-close");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).expect("answer");
        let length = 100_000 + number;
        let mut expected = format!("{length} bytes\n").into_bytes();
        expected.extend(noise(length).iter().rev());
        assert!(answer == expected, "{number}: {} bytes", answer.len());
    }
}

#[test]
fn a_local_connection_that_fails_is_told_and_the_next_one_served() {
    let relay = plain_relay(away).to_string();
    let mut listening = Listening::start(&relay, &["--plain", KITE]);
    for _ in 0..3 {
        let mut socket = listening.connect();
        assert_eq!(socket.read(&mut [0]).unwrap_or(0), 0);
    }
    listening.child.kill().expect("end");
    let mut told = String::new();
    let mut errors = listening.child.stderr.take().expect("errors");
    errors.read_to_string(&mut told).expect("text");
    assert!(told.matches("no such kite is there now (503)").count() >= 2, "{told}");
}

#[test]
fn a_busy_local_port_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    let output = run(kitelet(&["--listen", &address, KITE]), Vec::new());
    assert_eq!(output.status.code(), Some(69));
    assert!(errors(&output).contains("another program listens there"), "{}", errors(&output));
}
