//! What floods and leaks: memory and descriptors stay within their bounds,
//! and the streams that are not to blame live on.

mod agent_support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use agent_support::{Agent, FakeRelay, Open, Service, Tunnel, frame, pattern, wait_for};

const WINDOW: usize = kitelet::wire::FIRST_WINDOW_BYTES as usize;
/// What a hundred streams and the buffers of one tunnel may take beside what
/// the settings allow, in kilobytes. A debug build's tasks are large.
const SLACK: usize = 6 * 1024;

fn two_services(relay: &FakeRelay, settings: &str, slow: u16) -> Agent {
    let lines = format!(
        "{settings}\nservice_on = raw:slow.test:127.0.0.1:{slow}:SECRET\n\
         service_on = raw:kite.test:127.0.0.1:{}:SECRET",
        Service::echo().port()
    );
    Agent::start(relay, &lines)
}

/// A service that is there and cannot be reached for a long time.
struct Unreached {
    listener: TcpListener,
    _first: TcpStream,
}

impl Unreached {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        // With the one place taken, the kernel answers nobody else.
        rustix::net::listen(&listener, 0).expect("a short queue");
        let address = listener.local_addr().expect("bound");
        let _first = TcpStream::connect(address).expect("the first");
        Self { listener, _first }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("bound").port()
    }
}

const SLOW: Open<'static> = Open { host: "slow.test", ..Open::RAW };

fn assert_serves(tunnel: &mut Tunnel, stream: u32) {
    tunnel.open(stream, &Open::RAW, b"hello");
    tunnel.until("the echo", |tunnel| tunnel.visit(stream).data == b"hello");
    tunnel.eof(stream, "WR");
    tunnel.visits.remove(&stream);
}

/// A relay without flow control and a service that does not read: the stream
/// is closed when `buffers` is full, and nobody else's.
#[test]
fn an_upload_that_nobody_takes_is_ended_when_the_buffers_are_full() {
    let relay = FakeRelay::new();
    let mut agent = two_services(&relay, "buffers = 512", Service::deaf().port());
    let mut tunnel = relay.accept_flying();
    tunnel.open(3, &Open::RAW, b"");
    tunnel.ping("there");
    let before = agent.peak();
    tunnel.open(5, &SLOW, b"");
    let upload = pattern(20 << 20);
    for part in upload.chunks(1 << 20) {
        tunnel.data(5, part);
    }
    tunnel.until("the end of the upload", |tunnel| tunnel.visit(5).is_over());
    agent.wait_for_log("the buffers are full (setting buffers)");
    let more = agent.peak() - before;
    assert!(more < 512 + SLACK, "{more} kB");
    // One that was there before, and one that is new.
    tunnel.data(3, b"hello");
    tunnel.until("the echo", |tunnel| tunnel.visit(3).data == b"hello");
    assert_serves(&mut tunnel, 7);
    assert!(agent.is_alive());
}

/// The same from compressed frames, of which one read holds megabytes.
#[test]
fn a_compressed_upload_that_nobody_takes_costs_no_more() {
    let relay = FakeRelay::new();
    let mut agent = two_services(&relay, "buffers = 512", Service::deaf().port());
    let mut tunnel = relay.accept_flying();
    tunnel.open(5, &SLOW, b"");
    tunnel.ping("there");
    let before = agent.peak();
    let payload = [b"SID: 5\r\n\r\n".to_vec(), vec![0; 1_000_000]].concat();
    let mut deflater = agent_support::Deflater::new();
    for _ in 0..64 {
        let compressed = deflater.deflate(&payload);
        tunnel.send(format!("{:x}Z{:x}\r\n", payload.len(), compressed.len()).as_bytes());
        tunnel.send(&compressed);
    }
    tunnel.until("the end of the upload", |tunnel| tunnel.visit(5).is_over());
    let more = agent.peak() - before;
    assert!(more < 512 + SLACK, "{more} kB");
    assert_serves(&mut tunnel, 7);
    assert!(agent.is_alive());
}

/// A relay that gives a number to a new visitor while the last one's bytes
/// still wait: these bytes are gone, and must not be counted for ever.
#[test]
fn streams_that_take_an_old_number_leave_nothing_behind() {
    let service = Unreached::new();
    let relay = FakeRelay::new();
    let agent = two_services(&relay, "buffers = 1024", service.port());
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    let descriptors = agent.descriptors();
    let upload = vec![0; 700 << 10];
    for _ in 0..4 {
        tunnel.open(5, &SLOW, b"");
        tunnel.data(5, &upload);
        tunnel.eof(5, "WR");
    }
    tunnel.open(5, &Open::RAW, b"hello");
    tunnel.until("the echo", |tunnel| tunnel.visit(5).data.ends_with(b"hello"));
    assert!(!agent.log().contains("the buffers are full"), "{}", agent.log());
    wait_for("the old streams to end", || (agent.descriptors() <= descriptors + 1).then_some(()));
}

#[test]
fn streams_above_the_limit_are_refused() {
    let relay = FakeRelay::new();
    let lines = format!(
        "max_streams = 20\nservice_on = http,raw:kite.test:127.0.0.1:{}:SECRET",
        Service::echo().port()
    );
    let mut agent = Agent::start(&relay, &lines);
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    let descriptors = agent.descriptors();
    for stream in 1..=20 {
        tunnel.open(stream, &Open::RAW, b"hello");
        tunnel.until("the echo", |tunnel| tunnel.visit(stream).data == b"hello");
    }
    tunnel.open(21, &Open::HTTP, b"GET / HTTP/1.1\r\n\r\n");
    tunnel.until("the refusal", |tunnel| tunnel.visit(21).is_over());
    assert!(tunnel.visit(21).text().starts_with("HTTP/1.1 503 "), "{}", tunnel.visit(21).text());
    agent.wait_for_log("1 visitors in all were not served");
    for stream in 100..3000 {
        tunnel.open(stream, &Open::RAW, b"hello");
    }
    tunnel.ping("still there");
    assert!(agent.descriptors() <= descriptors + 20 && agent.is_alive());
    tunnel.data(1, b" again");
    tunnel.until("the echo", |tunnel| tunnel.visit(1).data == b"hello again");
    // One goes, one may come.
    tunnel.eof(2, "WR");
    agent.wait_for_log("5 bytes in");
    tunnel.visits.remove(&5000);
    assert_serves(&mut tunnel, 5000);
}

/// Visitors who are gone before their service was reached are no streams any
/// more to the relay, but they are to the agent; and they make room first.
#[test]
fn visitors_who_left_count_and_make_room() {
    let service = Unreached::new();
    let relay = FakeRelay::new();
    let mut agent = two_services(&relay, "max_streams = 50", service.port());
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    let descriptors = agent.descriptors();
    for stream in 1..=1000 {
        tunnel.open(stream, &SLOW, b"");
        tunnel.eof(stream, "WR");
    }
    tunnel.ping("after all");
    wait_for("the dials", || (agent.descriptors() > descriptors).then_some(()));
    thread::sleep(Duration::from_millis(100));
    let more = agent.descriptors() - descriptors;
    assert!(more <= 50 && agent.is_alive(), "{more} descriptors");
    assert_serves(&mut tunnel, 5000);
}

#[test]
fn thousands_of_visitors_in_a_row_leave_nothing_behind() {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, Service::echo().port());
    let mut tunnel = relay.accept_flying();
    let mut visit = |from: u32, to: u32| {
        for first in (from..to).step_by(20) {
            for stream in first..first + 20 {
                tunnel.open(stream, &Open::RAW, b"hello");
            }
            tunnel.until("the echoes", |tunnel| {
                (first..first + 20).all(|stream| tunnel.visit(stream).data == b"hello")
            });
            for stream in first..first + 20 {
                tunnel.eof(stream, ["WR", "R", "RW"][stream as usize % 3]);
            }
            tunnel.visits.clear();
        }
        tunnel.ping(&format!("after {to}"));
        tunnel.visits.clear();
    };
    visit(0, 1000);
    let ends = |agent: &Agent| agent.log().matches("5 bytes in, 5 bytes out").count();
    wait_for("the ends", || (ends(&agent) == 1000).then_some(()));
    let (descriptors, memory) = (agent.descriptors(), agent.resident());
    visit(1000, 6000);
    wait_for("the ends", || (ends(&agent) == 6000).then_some(()));
    assert_eq!(agent.descriptors(), descriptors);
    let more = agent.resident().saturating_sub(memory);
    assert!(more < 1024 && agent.is_alive(), "{more} kB more");
}

/// Opened and closed in one breath, before a service could be dialled.
#[test]
fn visitors_who_leave_at_once_leave_nothing_behind() {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, Service::echo().port());
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    let descriptors = agent.descriptors();
    for stream in 0..2000 {
        tunnel.open(stream, &Open::RAW, b"hello");
        tunnel.eof(stream, "WR");
        if stream % 100 == 0 {
            tunnel.ping(&format!("{stream}"));
        }
    }
    tunnel.ping("after all");
    wait_for("the ends", || (agent.descriptors() == descriptors).then_some(()));
    assert!(agent.is_alive());
    assert_serves(&mut tunnel, 5);
}

#[test]
fn tunnels_in_a_row_leave_nothing_behind() {
    let relay = FakeRelay::new();
    let agent = Agent::with_raw(&relay, Service::echo().port());
    let mut descriptors = None;
    for _ in 0..4 {
        let mut tunnel = relay.accept_flying();
        tunnel.ping("there");
        let count = agent.descriptors();
        assert_eq!(*descriptors.get_or_insert(count), count);
        for stream in 0..50 {
            tunnel.open(stream, &Open::RAW, b"hello");
        }
        tunnel.until("the echoes", |tunnel| {
            (0..50).all(|stream| tunnel.visit(stream).data == b"hello")
        });
    }
}

/// A relay that does not read: what the agent has to say is bounded, and so is
/// what it takes from services.
#[test]
fn a_relay_that_does_not_read_costs_little() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let service = Service::new(move |mut socket| {
        while socket.write_all(&[b'x'; 4096]).is_ok() {
            counter.fetch_add(4096, Ordering::Relaxed);
        }
    });
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, service.port());
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    let before = agent.peak();
    tunnel.confirms = false;
    for stream in 0..100 {
        tunnel.open(stream, &Open::RAW, b"");
    }
    // Questions, data for nobody, refusals: each wants an answer.
    let mut bytes = Vec::new();
    for number in 0..20_000 {
        bytes.extend(frame(&format!("NOOP: 1\r\nPING: {number}\r\n"), b"!"));
        bytes.extend(frame(&format!("SID: {}\r\n", 1000 + number), b"lost"));
        if number % 100 == 0 {
            bytes.extend(frame("NOOP: 1\r\nX-PageKite-Misc: motd=hello\r\n", b"!"));
        }
    }
    tunnel.send(&bytes);
    wait_for("the agent to read it all", || {
        let lowest = taken.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(200));
        (lowest > 0 && lowest == taken.load(Ordering::Relaxed)).then_some(())
    });
    let more = agent.peak() - before;
    assert!(more < SLACK && agent.is_alive(), "{more} kB");
    tunnel.ping("and now it reads");
}

/// The kernel's limit on open files is a limit on streams, with some kept for
/// all else: also when two tunnels share it.
#[test]
fn few_open_files_are_few_streams() {
    let (relay, second) = (FakeRelay::new(), FakeRelay::new());
    let lines = format!(
        "frontend = 127.0.0.1:{}\nservice_on = http,raw:kite.test:127.0.0.1:{}:SECRET",
        second.port(),
        Service::echo().port()
    );
    let mut agent = Agent::with_few_files(&relay, 100, &lines);
    agent.wait_for_log("the limit on open files leaves room for 25 only");
    let mut tunnels = [relay.accept_flying(), second.accept_flying()];
    for tunnel in &mut tunnels {
        for stream in 1..=60 {
            tunnel.open(stream, &Open::HTTP, b"");
        }
        tunnel.ping("opened");
        tunnel.until("the refusals", |tunnel| {
            tunnel.visits.values().filter(|visit| visit.is_over()).count() >= 24
        });
        for visit in tunnel.visits.values().filter(|visit| visit.is_over()) {
            assert!(visit.text().starts_with("HTTP/1.1 503 "));
        }
    }
    // Both are served again.
    drop(tunnels);
    assert_serves(&mut relay.accept_flying(), 5);
    assert_serves(&mut second.accept_flying(), 5);
    assert!(agent.is_alive());
}

/// Whoever reads the log may go away.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, Service::echo().port());
    let mut tunnel = relay.accept_flying();
    assert_serves(&mut tunnel, 5);
    agent.close_log();
    for stream in 10..20 {
        assert_serves(&mut tunnel, stream);
    }
    drop(tunnel);
    assert_serves(&mut relay.accept_flying(), 5);
    assert!(agent.is_alive());
}

/// Requests whose head never ends are held, up to a bound.
#[test]
fn endless_heads_of_requests_are_refused() {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_http(&relay, Service::echo().port());
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    let before = agent.peak();
    for stream in 1..=50 {
        tunnel.open(stream, &Open::HTTP, b"GET / HTTP/1.1\r\n");
        tunnel.data(stream, format!("X-Long: {}\r\n", "a".repeat(100)).repeat(300).as_bytes());
        tunnel.until("the refusal", |tunnel| tunnel.visit(stream).is_over());
        assert!(tunnel.visit(stream).text().starts_with("HTTP/1.1 431 "));
    }
    let more = agent.peak() - before;
    assert!(more < SLACK && agent.is_alive(), "{more} kB");
}

/// One slow visitor among fast ones.
#[test]
fn a_visitor_who_takes_nothing_stops_nobody_else() {
    let service = Service::new(|mut socket| {
        let mut first = [0];
        if socket.read_exact(&mut first).is_ok() {
            let _ = socket.write_all(&pattern(2 << 20));
        }
    });
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, service.port());
    let mut tunnel = relay.accept_flying();
    tunnel.unconfirmed = Some(5);
    tunnel.open(5, &Open::RAW, b"x");
    tunnel.until("a window", |tunnel| tunnel.visit(5).data.len() >= WINDOW / 2);
    for stream in 10..13 {
        tunnel.open(stream, &Open::RAW, b"x");
        assert!(tunnel.read_to_end(stream) == pattern(2 << 20));
    }
    assert!(tunnel.visit(5).data.len() <= WINDOW);
}

/// Visitors who begin requests and never end them have memory to themselves
/// only up to a bound, and hold up nobody: with services that take nothing,
/// the tunnel would not be read for five seconds each.
#[test]
fn requests_without_end_are_shed_and_hold_up_nobody() {
    let relay = FakeRelay::new();
    let lines = format!(
        "buffers = 64\nservice_on = http,raw:kite.test:127.0.0.1:{}:SECRET",
        Service::echo().port()
    );
    let agent = Agent::start(&relay, &lines);
    let mut tunnel = relay.accept_flying();
    let head = format!("GET / HTTP/1.1\r\nHost: kite.test\r\nA: {}", "a".repeat(12_000));
    for stream in 1..=40 {
        tunnel.open(stream, &Open::HTTP, head.as_bytes());
    }
    tunnel.until("most are shed", |tunnel| {
        tunnel.visits.values().filter(|visit| visit.is_over()).count() >= 30
    });
    tunnel.open(99, &Open::RAW, b"hello");
    tunnel.until("the echo", |tunnel| tunnel.visit(99).data == b"hello");
    let shed = agent.log().lines().filter(|line| line.contains("is not complete")).count();
    assert!(shed >= 30, "{}", agent.log());
}
