//! Relays that send garbage, too much, too little or nothing. Whatever it is:
//! the agent says one line in words, lives on in bounded memory, and comes
//! again, but not too often.

mod agent_support;

use std::thread;
use std::time::Duration;

use agent_support::{Agent, Deflater, FakeRelay, Open, Service, Tunnel, frame, open_frame};

/// The most that an agent may need for the worst that a relay can send, in
/// kilobytes above what it needs anyway.
const MOST_MEMORY: usize = 4 * 1024;

/// Lets a relay misbehave instead of answering; `words` have to be in the log.
fn instead_of_an_answer(words: &str, misbehave: impl FnOnce(Tunnel)) {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, 9);
    let (tunnel, _) = relay.accept_request();
    misbehave(tunnel);
    agent.wait_for_log(words);
    agent.wait_for_log("next try in");
    assert!(agent.is_alive());
}

/// Lets a relay misbehave on a tunnel. `words` have to be in the log, and the
/// agent has to come again and serve.
fn on_a_tunnel(words: &str, misbehave: impl FnOnce(Tunnel)) {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, Service::echo().port());
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    let before = agent.peak();
    misbehave(tunnel);
    agent.wait_for_log(words);
    let mut tunnel = relay.accept_flying();
    tunnel.open(5, &Open::RAW, b"hello");
    tunnel.until("the echo", |tunnel| tunnel.visit(5).data == b"hello");
    assert!(agent.is_alive());
    let more = agent.peak() - before;
    assert!(more < MOST_MEMORY, "{words:?} took {more} kB");
    let lines = agent.log().lines().filter(|line| line.contains(words)).count();
    assert_eq!(lines, 1, "{}", agent.log());
}

/// Bytes on a tunnel that cannot go on after them.
fn bytes_on_a_tunnel(words: &str, bytes: &[u8]) {
    on_a_tunnel(words, |mut tunnel| {
        tunnel.send(bytes);
        tunnel.wait_for_end();
    });
}

#[test]
fn answers_that_are_none() {
    let send = |bytes: &'static [u8]| {
        move |mut tunnel: Tunnel| {
            tunnel.send(bytes);
            tunnel.wait_for_end();
        }
    };
    let not_pagekite = "a handshake that is not PageKite's; is it a PageKite relay?";
    instead_of_an_answer(not_pagekite, send(b"SSH-2.0-OpenSSH\r\n\r\n"));
    instead_of_an_answer(not_pagekite, send(b"\0\xff\x80\r\nmore\r\n\r\n"));
    instead_of_an_answer(not_pagekite, send(b"\r\n\r\n"));
    instead_of_an_answer(not_pagekite, send(b"HTTP/1.1 two-hundred OK\r\n\r\n"));
    instead_of_an_answer(not_pagekite, send(b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n"));
    let web_server = "(HTTP 200), not like a PageKite relay; is the port right?";
    instead_of_an_answer(web_server, send(b"HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\n<html>"));
    instead_of_an_answer("HTTP 400", send(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    // A result for a kite that nobody asked for.
    let other = b"HTTP/1.1 200 OK\r\nX-PageKite-OK: http:other.test:0123\r\n\r\n";
    instead_of_an_answer("says nothing of raw:kite.test", send(other));
}

#[test]
fn answers_that_do_not_come() {
    instead_of_an_answer("it closed the connection instead of answering", drop);
    instead_of_an_answer("the connection was lost: ", Tunnel::reset);
    instead_of_an_answer("it closed the connection instead of answering", |mut tunnel| {
        tunnel.send(b"HTTP/1.1 200 OK\r\nX-PageKite-OK: raw:ki");
    });
}

#[test]
fn a_relay_that_closes_before_the_request_is_read() {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, 9);
    drop(relay.accept());
    relay.accept().reset();
    drop(relay.accept());
    relay.accept_flying().ping("there");
    assert!(agent.is_alive());
}

#[test]
fn an_endless_answer_costs_little() {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, 9);
    let (mut tunnel, _) = relay.accept_request();
    let before = agent.peak();
    tunnel.send(b"HTTP/1.1 200 OK\r\n");
    let line = format!("X-PageKite-Misc: {}\r\n", "a".repeat(4000));
    for _ in 0..1000 {
        tunnel.send(line.as_bytes());
    }
    tunnel.wait_for_end();
    agent.wait_for_log("it sent an endless handshake");
    assert!(agent.is_alive() && agent.peak() - before < MOST_MEMORY);
}

/// The deadline of 30 seconds is not waited for.
#[test]
fn an_answer_in_drops_costs_little() {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, 9);
    let (mut tunnel, _) = relay.accept_request();
    let before = agent.peak();
    for _ in 0..100 {
        tunnel.send(b"X");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(agent.is_alive() && agent.peak() - before < MOST_MEMORY);
    assert_eq!(relay.count_connections(Duration::from_millis(50)), 0, "one at a time");
}

#[test]
fn a_silent_relay_is_waited_for() {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, 9);
    let _silent = relay.accept_request();
    assert_eq!(relay.count_connections(agent_support::A_WHILE), 0, "one at a time");
    assert!(agent.is_alive());
}

#[test]
fn a_relay_that_always_closes_is_not_hammered() {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, 9);
    // The waits double from half a second on: five or so are usual.
    let count = relay.count_connections(Duration::from_secs(4));
    assert!((2..20).contains(&count), "{count} connections");
    assert!(agent.is_alive());
    let lines = agent.log().lines().count();
    assert!(lines <= count + 1, "a line for each try at most:\n{}", agent.log());
}

#[test]
fn lengths_that_are_none() {
    let no_length = "a frame without a proper length";
    let absurd = "a frame of length zero or of an absurd length";
    bytes_on_a_tunnel(no_length, b"zzz\r\n");
    bytes_on_a_tunnel(no_length, b"-5\r\nSID: 5\r\n\r\n");
    bytes_on_a_tunnel(no_length, b"\r\n");
    bytes_on_a_tunnel(no_length, b"a\nSID: 5\r\n\r\n");
    bytes_on_a_tunnel(no_length, &[b'a'; 100]);
    bytes_on_a_tunnel(no_length, b"123456789\r\n");
    bytes_on_a_tunnel(absurd, b"0\r\n");
    bytes_on_a_tunnel(absurd, b"ffffffff\r\n");
    bytes_on_a_tunnel(absurd, b"ffffffffZ10\r\n");
}

#[test]
fn headers_that_are_none() {
    bytes_on_a_tunnel("a frame whose headers do not end", b"8\r\nno blank");
    bytes_on_a_tunnel("a frame with a malformed header", &frame("SID: 5\r\nno colon\r\n", b""));
    bytes_on_a_tunnel("a frame with a malformed header", &frame("SID: 5\nEOF: 1\r\n", b""));
    bytes_on_a_tunnel("a frame with a malformed stream id", &frame("SID: -1\r\n", b""));
    bytes_on_a_tunnel("a frame with a malformed stream id", &frame("SID: five\r\n", b""));
    bytes_on_a_tunnel("a frame with a malformed stream id", &frame("SID: 99999999999\r\n", b""));
    bytes_on_a_tunnel("a frame with a malformed number", &frame("SID: 1\r\nSKB: x\r\n", b""));
    bytes_on_a_tunnel("a frame without stream and directive", &frame("Future: x\r\n", b""));
}

#[test]
fn endless_headers_cost_little() {
    let line = format!("Future: {}\r\n", "a".repeat(1000));
    let headers = format!("NOOP: 1\r\n{}", line.repeat(500));
    bytes_on_a_tunnel("a frame with endless headers", &frame(&headers, b""));
}

/// A visitor of a wildcard kite can make the relay send such a frame.
#[test]
fn a_visitor_s_endless_host_costs_the_visitor_only() {
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, Service::echo().port());
    let mut tunnel = relay.accept_flying();
    let host = format!("SID: 5\r\nProto: raw\r\nHost: {}\r\n", "a".repeat(300_000));
    tunnel.send(&frame(&host, b"hello"));
    tunnel.open(7, &Open::RAW, b"hello");
    tunnel.until("the echo", |tunnel| tunnel.visit(7).data == b"hello");
    tunnel.until("the refusal", |tunnel| tunnel.visit(5).is_over());
    tunnel.ping("still there");
}

/// A visitor's address and name are kept as long as the stream is.
#[test]
fn long_names_of_visitors_cost_little() {
    let relay = FakeRelay::new();
    let lines = format!("service_on = raw:unknown:127.0.0.1:{}:SECRET", Service::echo().port());
    let mut agent = Agent::start(&relay, &lines);
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    let before = agent.peak();
    let long = "a".repeat(100_000);
    let address = format!("RIP: {long}\r\n");
    for stream in 0..100 {
        let open = Open { protocol: "raw", host: &long, more: &address };
        tunnel.open(stream, &open, b"hello");
        tunnel.until("the echo", |tunnel| tunnel.visit(stream).data == b"hello");
    }
    let more = agent.peak() - before;
    assert!(agent.is_alive() && more < MOST_MEMORY, "{more} kB");
}

#[test]
fn compression_that_is_none() {
    let corrupt = "a frame with corrupt compression";
    bytes_on_a_tunnel(corrupt, b"10Z5\r\nabcde");
    // One byte less and one more than there is.
    bytes_on_a_tunnel(corrupt, &vector("a0"));
    bytes_on_a_tunnel(corrupt, &vector("a2"));
}

/// 16 MB of zeros in 16 KB say that they are one megabyte.
#[test]
fn a_bomb_costs_little() {
    on_a_tunnel("a frame with corrupt compression", |mut tunnel| {
        tunnel.open(5, &Open::RAW, b"");
        let payload = [b"SID: 5\r\n\r\n".to_vec(), vec![0; 16 << 20]].concat();
        let bomb = Deflater::new().deflate(&payload);
        assert!(bomb.len() < 20_000);
        tunnel.send(format!("100000Z{:x}\r\n", bomb.len()).as_bytes());
        tunnel.send(&bomb);
        tunnel.wait_for_end();
    });
}

#[test]
fn tunnels_that_break() {
    on_a_tunnel("the relay closed the tunnel", drop);
    on_a_tunnel("the tunnel was lost: ", Tunnel::reset);
    on_a_tunnel("the relay closed the tunnel", |mut tunnel| {
        tunnel.send(&open_frame(5, &Open::RAW, &[])[..50]);
    });
    on_a_tunnel("the relay closed the tunnel", |mut tunnel| {
        tunnel.finish();
        tunnel.wait_for_end();
    });
}

/// A frame that would open a stream, compressed, under a false length.
fn vector(length: &str) -> Vec<u8> {
    let headers = "SID: 5\r\nProto: raw\r\nHost: kite.test\r\n\r\n";
    let payload = headers.to_owned() + &"x".repeat(0xa1 - headers.len());
    let compressed = Deflater::new().deflate(payload.as_bytes());
    [format!("{length}Z{:x}\r\n", compressed.len()).as_bytes(), &compressed].concat()
}
