//! Visitors and services that end, break, wait or talk in any order. What one
//! end has sent before it finished arrives at the other, byte for byte.

mod agent_support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr};
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use agent_support::{Agent, FakeRelay, LONG, Open, Service, dead_port, pattern};
use rustix::net::sockopt::set_socket_linger;

/// More than the window of a stream and the buffers of sockets together.
const LARGE: usize = 3 << 20;

#[test]
fn a_service_that_speaks_first_is_heard_at_once() {
    let relay = FakeRelay::new();
    let service = Service::new(|mut socket| {
        socket.write_all(b"SSH-2.0-test\r\n").expect("banner");
        let mut line = [0; 5];
        socket.read_exact(&mut line).expect("the visitor's line");
        socket.write_all(&line).expect("echo");
    });
    let _agent = Agent::with_raw(&relay, service.port());
    let mut tunnel = relay.accept_flying();
    tunnel.open(5, &Open::RAW, b"");
    tunnel.until("the banner", |tunnel| tunnel.visit(5).data == b"SSH-2.0-test\r\n");
    tunnel.data(5, b"hello");
    assert_eq!(tunnel.read_to_end(5), b"SSH-2.0-test\r\nhello");
}

#[test]
fn a_visitor_who_finishes_first_gets_the_whole_answer() {
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, Service::echo_at_end().port());
    let mut tunnel = relay.accept_flying();
    let upload = pattern(LARGE);
    tunnel.open(5, &Open::RAW, &upload[..1000]);
    tunnel.data(5, &upload[1000..]);
    tunnel.eof(5, "R");
    assert!(tunnel.read_to_end(5) == upload, "bytes were lost or swapped");
}

#[test]
fn a_service_that_finishes_first_gets_the_whole_upload() {
    let (sender, receiver) = mpsc::channel();
    let service = Service::new(move |mut socket| {
        socket.write_all(b"enough said").expect("answer");
        socket.shutdown(Shutdown::Write).expect("half-closed");
        let mut all = Vec::new();
        socket.read_to_end(&mut all).expect("the upload");
        sender.send(all).expect("the test waits");
    });
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, service.port());
    let mut tunnel = relay.accept_flying();
    tunnel.open(5, &Open::RAW, b"");
    tunnel.until("the half-close", |tunnel| tunnel.visit(5).eof_read);
    assert_eq!(tunnel.visit(5).data, b"enough said");
    let upload = pattern(LARGE);
    tunnel.data(5, &upload);
    tunnel.eof(5, "R");
    assert!(receiver.recv_timeout(LONG).expect("an upload") == upload);
}

/// As the reference's relay does it for every visitor who finishes first.
#[test]
fn an_upload_is_delivered_although_the_relay_closed_both_directions() {
    let (sender, receiver) = mpsc::channel();
    let service = Service::new(move |mut socket| {
        thread::sleep(Duration::from_millis(100));
        let mut all = Vec::new();
        let _ = socket.read_to_end(&mut all);
        sender.send(all).expect("the test waits");
    });
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, service.port());
    let mut tunnel = relay.accept_flying();
    let upload = pattern(500_000);
    tunnel.open(5, &Open::RAW, b"");
    tunnel.data(5, &upload);
    tunnel.frame("SID: 5\r\n", b"");
    tunnel.eof(5, "R");
    tunnel.eof(5, "WR");
    assert!(receiver.recv_timeout(LONG).expect("an upload") == upload);
}

#[test]
fn both_directions_at_once_do_not_wait_for_each_other() {
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, Service::echo().port());
    let mut tunnel = relay.accept_flying();
    let upload = pattern(LARGE);
    tunnel.open(5, &Open::RAW, b"");
    for part in upload.chunks(32 * 1024) {
        tunnel.data(5, part);
        tunnel.listen(Duration::from_millis(1));
    }
    tunnel.eof(5, "R");
    assert!(tunnel.read_to_end(5) == upload, "bytes were lost or swapped");
}

#[test]
fn a_service_that_resets_ends_its_stream_only() {
    let service = Service::new(|mut socket| {
        let mut first = [0];
        socket.read_exact(&mut first).expect("a byte");
        socket.write_all(b"half an ans").expect("answer");
        if first == *b"r" {
            thread::sleep(Duration::from_millis(50));
            set_socket_linger(&socket, Some(Duration::ZERO)).expect("linger");
        }
    });
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, service.port());
    let mut tunnel = relay.accept_flying();
    tunnel.open(5, &Open::RAW, b"r");
    tunnel.until("the end", |tunnel| tunnel.visit(5).is_over());
    agent.wait_for_log("the service's connection broke");
    tunnel.open(7, &Open::RAW, b"x");
    assert_eq!(tunnel.read_to_end(7), b"half an ans");
    assert!(agent.is_alive());
}

/// An answer such as "too large", by a service that leaves the upload unread:
/// its kernel sends a reset behind the answer.
#[test]
fn an_answer_to_an_unread_upload_arrives_whole() {
    let service = Service::new(|mut socket| {
        let mut first = [0];
        socket.read_exact(&mut first).expect("a byte");
        socket.write_all(&pattern(30_000)).expect("answer");
        thread::sleep(Duration::from_millis(50));
    });
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, service.port());
    let mut tunnel = relay.accept_flying();
    for stream in 1..=10 {
        tunnel.open(stream, &Open::RAW, b"x");
        tunnel.data(stream, &[0; 40_000]);
        tunnel.until("the end", |tunnel| tunnel.visit(stream).is_over());
        assert!(
            tunnel.visit(stream).data == pattern(30_000),
            "{}",
            tunnel.visit(stream).data.len()
        );
    }
}

/// Uploads and their answers on many streams, frame by frame in turn.
#[test]
fn many_streams_at_once_arrive_whole() {
    const STREAMS: u32 = 40;
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, Service::echo_at_end().port());
    let mut tunnel = relay.accept_flying();
    let all = pattern(400_000);
    let text = |stream: u32| &all[stream as usize * 1000..][..300_000];
    for stream in 1..=STREAMS {
        tunnel.open(stream, &Open::RAW, b"");
    }
    for part in 0..30 {
        for stream in 1..=STREAMS {
            tunnel.data(stream, &text(stream)[part * 10_000..][..10_000]);
        }
    }
    for stream in 1..=STREAMS {
        tunnel.eof(stream, "R");
    }
    for stream in 1..=STREAMS {
        assert!(tunnel.read_to_end(stream) == text(stream), "stream {stream}");
    }
}

/// The visitor is told to stop sending.
#[test]
fn a_service_that_takes_no_more_says_so() {
    let service = Service::new(drop);
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, service.port());
    let mut tunnel = relay.accept_flying();
    tunnel.open(5, &Open::RAW, b"");
    tunnel.until("the end of the answer", |tunnel| tunnel.visit(5).eof_read);
    while !tunnel.visit(5).eof_write {
        tunnel.data(5, b"more");
        tunnel.listen(Duration::from_millis(5));
    }
}

#[test]
fn a_lost_tunnel_closes_the_connections_to_services() {
    let (sender, receiver) = mpsc::channel();
    let service = Service::new(move |mut socket| {
        let mut all = Vec::new();
        let _ = socket.write_all(b"hello");
        let _ = socket.read_to_end(&mut all);
        sender.send(all).expect("the test waits");
    });
    let relay = FakeRelay::new();
    let agent = Agent::with_raw(&relay, service.port());
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    let before = agent.descriptors();
    for stream in 1..=20 {
        tunnel.open(stream, &Open::RAW, b"");
        tunnel.until("the service", |tunnel| tunnel.visit(stream).data == b"hello");
    }
    drop(tunnel);
    for _ in 0..20 {
        assert!(receiver.recv_timeout(LONG).is_ok());
    }
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    assert_eq!(agent.descriptors(), before);
}

#[test]
fn a_new_stream_may_have_an_old_number() {
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, Service::echo().port());
    let mut tunnel = relay.accept_flying();
    for round in 0..50 {
        let text = format!("round {round}");
        tunnel.open(5, &Open::RAW, text.as_bytes());
        tunnel.until("the echo", |tunnel| tunnel.visit(5).data == text.as_bytes());
        tunnel.eof(5, "WR");
        tunnel.visits.remove(&5);
    }
}

#[test]
fn unix_sockets_and_ipv6_are_services() {
    let path = std::env::temp_dir().join(format!("kitelet-{}.socket", std::process::id()));
    let listener = UnixListener::bind(&path).expect("a socket");
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut all = Vec::new();
            let _ = socket.read_to_end(&mut all);
            let _ = socket.write_all(&all);
        }
    });
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let six = Service::at(six, |mut socket| {
        let _ = socket.write_all(b"six");
    });
    let relay = FakeRelay::new();
    let lines = format!(
        "service_on = raw:unix.test:unix:{}:SECRET\nservice_on = raw:six.test:[::1]:{}:SECRET",
        path.display(),
        six.port()
    );
    let agent = Agent::start(&relay, &lines);
    let mut tunnel = relay.accept_flying();
    tunnel.open(5, &Open { host: "unix.test", ..Open::RAW }, b"");
    let upload = pattern(300_000);
    tunnel.data(5, &upload);
    tunnel.eof(5, "R");
    assert!(tunnel.read_to_end(5) == upload, "bytes were lost or swapped");
    tunnel.open(7, &Open { host: "six.test", ..Open::RAW }, b"");
    assert_eq!(tunnel.read_to_end(7), b"six");
    agent.wait_for_log("to unix:/");
    let _ = fs::remove_file(path);
}

#[test]
fn a_service_that_is_down_is_an_answer_in_the_visitor_s_protocol() {
    let relay = FakeRelay::new();
    let lines =
        format!("service_on = http,https,raw,websocket:kite.test:127.0.0.1:{}:SECRET", dead_port());
    let agent = Agent::start(&relay, &lines);
    let mut tunnel = relay.accept_flying();
    let protocols = ["http", "https", "raw", "websocket", "irc", "http2", ""];
    for (stream, protocol) in (1..).zip(protocols) {
        tunnel.open(stream, &Open { protocol, ..Open::HTTP }, b"GET / HTTP/1.1\r\n\r\n");
        tunnel.until("the end", |tunnel| tunnel.visit(stream).is_over());
        let visit = tunnel.visit(stream);
        match protocol {
            "http" | "websocket" | "http2" => {
                let text = visit.text();
                assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("kite.test"), "{text}");
            }
            "https" => assert_eq!(visit.data, [0x15, 3, 3, 0, 2, 2, 0x31]),
            _ => assert!(visit.data.is_empty(), "{protocol}: {}", visit.text()),
        }
    }
    agent.wait_for_log("not served: ");
    agent.wait_for_log("nothing listens there");
    // A name that no kite has.
    tunnel.open(50, &Open { host: "other.test", ..Open::HTTP }, b"");
    tunnel.until("the end", |tunnel| tunnel.visit(50).is_over());
    assert!(tunnel.visit(50).text().starts_with("HTTP/1.1 503 "));
    agent.wait_for_log("no such kite here");
}

/// The next protocol of a fall-back is tried when the service of the first is
/// down.
#[test]
fn a_fall_back_serves_when_the_first_service_is_down() {
    let relay = FakeRelay::new();
    let lines = format!(
        "service_on = http:kite.test:127.0.0.1:{}:SECRET\n\
         service_on = http2:kite.test:127.0.0.1:{}:SECRET",
        dead_port(),
        Service::new(|mut socket| {
            let _ = socket.write_all(b"fallen back");
        })
        .port()
    );
    let _agent = Agent::start(&relay, &lines);
    let mut tunnel = relay.accept_flying();
    tunnel.open(5, &Open::HTTP, b"");
    assert_eq!(tunnel.read_to_end(5), b"fallen back");
}
