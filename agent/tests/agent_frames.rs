//! The checklist of interop hazards (`protocol.md` 18) from the agent's side,
//! on the wire.
//!
//! | hazard | where |
//! |---|---|
//! | one clear CONNECT before TLS | `net_open.rs` |
//! | no ZRST, QDays, QConns, Proto from the agent | the parser of `agent_support`, of every frame |
//! | no zero frames, no LF, one space, lower-case lengths | the parser of `agent_support` |
//! | 150 frames in a read | `no_read_of_the_reference_holds_150_frames` |
//! | body of a frame at most 16 KB | `bodies_are_of_the_reference_s_size` |
//! | lower-case domains, a flying kite never again | `agent_handshake.rs` |
//! | the newest session id | `agent_handshake.rs` |
//! | no PING for a relay without `minecraft` | `wire::Heartbeat` (20 s is the least `keepalive`) |
//! | PONG for a PING, NOOP or not | `a_ping_is_answered` |
//! | glued frames | `agent_handshake.rs` |
//! | `SKB: 0` at once | `the_first_receipt_comes_at_once` |
//! | a relay that never confirms | `a_relay_that_confirms_nothing_gets_a_window` |
//! | EOF letters, empty data, dead streams, odd headers | below |
//! | Z frames in any split | `compressed_frames_arrive_in_any_split` |
//! | RST after the reply to a probe | the agent sends no probes |

mod agent_support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use agent_support::{Agent, FakeRelay, Open, Service, Tunnel, pattern, wait_for};
use kitelet::wire::{
    Eof, Event, FIRST_WINDOW_BYTES, HEADER_ROOM, LARGEST_WINDOW_BYTES, MAX_REQUEST_BYTES,
    Open as WireOpen, Role, Session, SessionSettings,
};

const WINDOW: usize = FIRST_WINDOW_BYTES as usize;

fn echoing() -> (FakeRelay, Agent, Tunnel) {
    let relay = FakeRelay::new();
    let agent = Agent::with_raw(&relay, Service::echo().port());
    let tunnel = relay.accept_flying();
    (relay, agent, tunnel)
}

#[test]
fn a_ping_is_answered() {
    let (_relay, _agent, mut tunnel) = echoing();
    tunnel.ping("1795336273.3391");
    for (headers, wanted) in [
        ("PING: without-noop\r\n", "without-noop"),
        ("noop:1\r\nping:  in-any-case\r\n", "in-any-case"),
        ("NOOP: 1\r\nPING: \r\n", ""),
    ] {
        tunnel.frame(headers, b"");
        let frame = tunnel.next_frame().expect("a frame");
        assert_eq!((frame.get("NOOP"), frame.get("PONG")), (Some("1"), Some(wanted)));
    }
    // The reference cuts the echo at 64 characters.
    let long = "9".repeat(1000);
    tunnel.frame(&format!("NOOP: 1\r\nPING: {long}\r\n"), b"!");
    let frame = tunnel.next_frame().expect("a frame");
    assert_eq!(frame.get("PONG"), Some(&long[..64]));
    // A stream's own frame may carry one.
    tunnel.open(5, &Open { more: "PING: 7\r\n", ..Open::RAW }, b"hello");
    tunnel.until("both", |tunnel| {
        tunnel.visit(5).data == b"hello" && tunnel.pongs.iter().any(|pong| pong == "7")
    });
}

#[test]
fn a_thousand_pings_at_once_are_answered_as_one_can() {
    let (_relay, _agent, mut tunnel) = echoing();
    let mut bytes = Vec::new();
    for number in 0..1000 {
        bytes.extend(agent_support::frame(&format!("NOOP: 1\r\nPING: {number}\r\n"), b"!"));
    }
    tunnel.send(&bytes);
    tunnel.ping("last");
    assert_bursts_are_bearable(&tunnel.frame_lengths);
}

#[test]
fn the_first_receipt_comes_before_anything_is_delivered() {
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, Service::deaf().port());
    let mut tunnel = relay.accept_flying();
    tunnel.open(5, &Open::RAW, &pattern(5_000));
    let frame = tunnel.next_frame().expect("a frame");
    assert_eq!(
        frame.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["NOOP", "SID", "SKB"]
    );
    assert_eq!((frame.get("SID"), frame.get("SKB").is_some()), (Some("5"), true));
}

#[test]
fn what_the_service_took_is_confirmed() {
    let (_relay, _agent, mut tunnel) = echoing();
    tunnel.open(5, &Open::RAW, b"");
    let all = pattern(200_000);
    for part in all.chunks(20_000) {
        let wanted = (tunnel.visit(5).data.len() + part.len()) as u64;
        tunnel.data(5, part);
        // Half of the reference's window of 47 KB is the most that may lack.
        tunnel.until("echo and receipt", |tunnel| {
            let visit = tunnel.visit(5);
            let confirmed = visit.delivered.unwrap_or(0) * 1024 + 24 * 1024;
            visit.data.len() as u64 == wanted && confirmed >= wanted
        });
    }
    assert_eq!(tunnel.visit(5).data, all);
    assert!(tunnel.visit(5).delivered.is_some_and(|kilobytes| kilobytes <= 200_000 / 1024));
}

/// A relay that never confirms gets a bounded amount, and the service's own
/// kernel stops it; what is confirmed later makes room again.
#[test]
fn a_relay_that_confirms_nothing_gets_a_window() {
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
    tunnel.confirms = false;
    tunnel.open(5, &Open::RAW, b"");
    let received = |tunnel: &Tunnel| tunnel.visit(5).data.len();
    tunnel.until("half a window", |tunnel| received(tunnel) >= WINDOW / 2);
    let count = settled(|| taken.load(Ordering::Relaxed));
    assert!(count < 16 << 20, "the service could send {count} bytes");
    tunnel.ping("after the window");
    let first = received(&tunnel);
    assert!((WINDOW / 2..=WINDOW).contains(&first), "{first} bytes without a receipt");
    tunnel.ping("and no more");
    assert_eq!(received(&tunnel), first);

    let kilobytes = first / 1024;
    tunnel.frame(&format!("NOOP: 1\r\nSID: 5\r\nSKB: {kilobytes}\r\n"), b"");
    tunnel.until("more", |tunnel| received(tunnel) >= first + WINDOW / 2);
    // One that goes back, one that lies, and one for a stream that is none.
    tunnel.frame("NOOP: 1\r\nSID: 5\r\nSKB: 0\r\n", b"");
    tunnel.frame("NOOP: 1\r\nSID: 5\r\nSKB: 18446744073709551615\r\n", b"");
    tunnel.frame("NOOP: 1\r\nSID: 77\r\nSKB: 5\r\n", b"");
    tunnel.ping("lies");
    tunnel.listen(Duration::from_millis(100));
    let outstanding = received(&tunnel) - first;
    assert!(outstanding <= 4 * LARGEST_WINDOW_BYTES as usize, "{outstanding} bytes for a lie");
    // The flow control of old is none any more, but does no harm.
    tunnel.frame("NOOP: 1\r\nSID: 5\r\nSPD: slow\r\n", b"");
    let kilobytes = received(&tunnel) / 1024;
    let before = received(&tunnel);
    tunnel.frame(&format!("NOOP: 1\r\nSID: 5\r\nSKB: {kilobytes}\r\n"), b"");
    tunnel.until("more", |tunnel| received(tunnel) > before);
    tunnel.eof(5, "WR");
    agent.wait_for_log("0 bytes in");
    assert!(agent.is_alive());
}

#[test]
fn eof_letters_come_in_any_order_and_case() {
    let relay = FakeRelay::new();
    let agent = Agent::with_raw(&relay, Service::echo_at_end().port());
    let mut tunnel = relay.accept_flying();
    for (stream, letters) in [(5, "R"), (7, "r")] {
        tunnel.open(stream, &Open::RAW, b"hel");
        tunnel.data(stream, b"lo");
        tunnel.frame(&format!("SID: {stream}\r\nEOF: 1{letters}\r\n"), b"");
        assert_eq!(tunnel.read_to_end(stream), b"hello", "{letters}");
    }
    for (stream, letters) in [(9, "WR"), (11, "rw"), (13, "RW"), (15, "")] {
        tunnel.open(stream, &Open::RAW, b"hello");
        tunnel.eof(stream, letters);
        tunnel.ping(letters);
    }
    agent.wait_for_log("5 bytes in");
    wait_for("the ends", || (agent.log().matches("5 bytes in").count() == 6).then_some(()));
    // Only W: the visitor takes nothing more, and still sends.
    tunnel.open(17, &Open::RAW, b"hel");
    tunnel.eof(17, "w");
    tunnel.data(17, b"lo");
    tunnel.eof(17, "R");
    wait_for("the end", || (agent.log().matches("5 bytes in").count() == 7).then_some(()));
    assert!(tunnel.visit(17).data.is_empty());
}

#[test]
fn what_means_nothing_does_no_harm() {
    let (_relay, _agent, mut tunnel) = echoing();
    tunnel.open(5, &Open::RAW, b"");
    tunnel.frame("SID: 5\r\n", b"");
    tunnel.frame("SID: 5\r\nFuture: x\r\nAnother:y\r\n", b"hel");
    tunnel.frame("NOOP: 1\r\nFuture: x\r\n", b"ignored");
    tunnel.frame("NOOP: 1\r\n", b"");
    tunnel.frame("NOOP: 1\r\nPONG: nobody asked\r\n", b"!");
    tunnel.frame("NOOP: 1\r\nQuota: lots\r\nQDays: -1\r\n", b"!");
    tunnel.frame("NOOP: 1\r\nZRST: 1\r\n", b"!");
    tunnel.frame("sid:5\r\n", b"lo");
    tunnel.until("the echo", |tunnel| tunnel.visit(5).data == b"hello");
    // A stream that is not, or no longer.
    tunnel.eof(99, "WR");
    tunnel.eof(99, "");
    tunnel.eof(5, "WR");
    tunnel.eof(5, "R");
    tunnel.eof(5, "W");
    tunnel.ping("no answer to those");
    assert!(!tunnel.visits.contains_key(&99));
}

#[test]
fn data_for_nobody_is_answered_with_an_end() {
    let (_relay, _agent, mut tunnel) = echoing();
    tunnel.data(99, b"lost");
    let frame = tunnel.next_frame().expect("a frame");
    assert_eq!((frame.get("SID"), frame.get("EOF")), (Some("99"), Some("1WR")));
    // Without Proto or Host it is no first frame.
    for headers in ["SID: 98\r\nProto: raw\r\n", "SID: 98\r\nHost: kite.test\r\n"] {
        tunnel.frame(headers, b"");
        let frame = tunnel.next_frame().expect("a frame");
        assert_eq!((frame.get("SID"), frame.get("EOF")), (Some("98"), Some("1WR")));
    }
    // And for a very many nobodies, not more than is good for the relay.
    let mut bytes = Vec::new();
    for stream in 1000..6000 {
        bytes.extend(agent_support::frame(&format!("SID: {stream}\r\n"), b"lost"));
    }
    tunnel.send(&bytes);
    tunnel.ping("after them");
    tunnel.ping("all of them");
    assert_bursts_are_bearable(&tunnel.frame_lengths);
}

#[test]
fn first_frames_in_odd_shapes_are_understood() {
    let (_relay, agent, mut tunnel) = echoing();
    let shapes = [
        "SID: 1\r\nProto: raw\r\nHost: KITE.Test\r\nPort: 80\r\nRIP: 192.0.2.1\r\nRPort: 1\r\n",
        "sid:2\r\nPROTO:raw\r\nhost:kite.test\r\n",
        "SID: 3\r\nHost: kite.test\r\nRIP: 2001:db8::1\r\nProto: raw\r\nRTLS: 1\r\n",
        "SID: 4\r\nProto: raw\r\nHost: kite.test\r\nRIP: ::ffff:192.0.2.7\r\nRPort: many\r\n",
        "SID: 99999999\r\nProto: raw\r\nHost: kite.test\r\nPort: 99999\r\nRIP:\r\nFuture: 1\r\n",
        "SID: 4294967295\r\nProto: raw\r\nHost: kite.test\r\n",
        "SID: 0\r\nProto: raw\r\nHost: kite.test\r\n",
    ];
    for (shape, stream) in shapes.into_iter().zip([1, 2, 3, 4, 99_999_999, u32::MAX, 0]) {
        tunnel.frame(shape, b"hello");
        tunnel.until("the echo", |tunnel| tunnel.visit(stream).data == b"hello");
        tunnel.eof(stream, "WR");
    }
    agent.wait_for_log("visitor 192.0.2.1 of raw:KITE.Test");
    agent.wait_for_log("visitor 2001:db8::1 of raw:kite.test");
    agent.wait_for_log("somebody at raw:kite.test");
}

/// Whatever a relay says of a visitor, it is one line of the log.
#[test]
fn a_visitor_cannot_forge_a_line_of_the_log() {
    let (_relay, agent, mut tunnel) = echoing();
    let more = "RIP: 1.2.3.4\rERROR all is lost\u{1b}[31m\r\n";
    tunnel.open(5, &Open { host: "kite.test\u{7}\u{2028}x", more, ..Open::RAW }, b"");
    tunnel.until("the end", |tunnel| tunnel.visit(5).is_over());
    agent.wait_for_log("not served: no such kite here");
    let log = agent.log();
    assert!(!log.contains('\u{1b}') && !log.contains('\u{7}') && !log.contains('\r'), "{log:?}");
}

/// Many visitors who get a little each, all at once: first receipts, data and
/// ends are tiny frames.
#[test]
fn no_read_of_the_reference_holds_150_frames() {
    let relay = FakeRelay::new();
    let service = Service::new(|mut socket| {
        let mut byte = [0];
        if socket.read_exact(&mut byte).is_ok() {
            let _ = socket.write_all(&byte);
        }
    });
    let _agent = Agent::with_raw(&relay, service.port());
    let mut tunnel = relay.accept_flying();
    tunnel.confirms = false;
    const VISITORS: u32 = 500;
    let opened: Vec<u8> = (1..=VISITORS)
        .flat_map(|stream| agent_support::open_frame(stream, &Open::RAW, b""))
        .collect();
    tunnel.send(&opened);
    let bytes: Vec<u8> = (1..=VISITORS)
        .flat_map(|stream| agent_support::frame(&format!("SID: {stream}\r\n"), b"x"))
        .collect();
    tunnel.send(&bytes);
    tunnel.until("all ends", |tunnel| {
        tunnel.visits.values().filter(|visit| visit.eof_read).count() == VISITORS as usize
    });
    assert!(tunnel.visits.values().all(|visit| visit.data == b"x"));
    assert_bursts_are_bearable(&tunnel.frame_lengths);
}

#[test]
fn bodies_are_of_the_reference_s_size() {
    let relay = FakeRelay::new();
    let all = Arc::new(pattern(1 << 20));
    let sent = Arc::clone(&all);
    let service = Service::new(move |mut socket| {
        let _ = socket.write_all(&sent);
    });
    let _agent = Agent::with_raw(&relay, service.port());
    let mut tunnel = relay.accept_flying();
    tunnel.open(5, &Open::RAW, b"");
    while !tunnel.visit(5).eof_read {
        let frame = tunnel.next_frame().expect("a frame");
        assert!(frame.body.len() <= 16_256);
    }
    assert!(tunnel.read_to_end(5) == *all, "bytes were lost or swapped");
}

/// In one byte at a time, and in pieces that cut all kinds of places.
#[test]
fn frames_arrive_in_any_split() {
    let (_relay, _agent, mut tunnel) = echoing();
    let mut bytes = agent_support::open_frame(5, &Open::RAW, b"in ");
    bytes.extend(agent_support::frame("SID: 5\r\n", b"any "));
    bytes.extend(agent_support::frame("NOOP: 1\r\nSID: 5\r\nSKB: 0\r\n", b""));
    bytes.extend(agent_support::frame("SID: 5\r\n", b"split"));
    bytes.extend(agent_support::frame("SID: 5\r\nEOF: 1R\r\n", b"Bye!"));
    tunnel.confirms = false;
    for pieces in [1, 3, 7, 64] {
        for piece in bytes.chunks(pieces) {
            tunnel.send(piece);
        }
        assert_eq!(tunnel.read_to_end(5), b"in any split");
    }
}

/// Compressed both ways, as the reference does it: a relay's session with its
/// compressor on.
#[test]
fn compressed_frames_arrive_in_any_split() {
    let relay = FakeRelay::new();
    let lines = format!(
        "zchunks\nservice_on = raw:kite.test:127.0.0.1:{}:SECRET",
        Service::echo_at_end().port()
    );
    let _agent = Agent::start(&relay, &lines);
    let (mut tunnel, request) = relay.accept_request();
    let mut reply = agent_support::Reply::default().all(&request, &kitelet::wire::Verdict::Flying);
    reply.zlib_chunks = true;
    tunnel.send(&reply.encode());
    let mut session = Session::new(SessionSettings {
        role: Role::Relay,
        max_streams: 10,
        max_header_bytes: MAX_REQUEST_BYTES,
        compress: true,
        guard_bursts: false,
    });
    let now = Instant::now();
    let visitor = WireOpen {
        protocol: "raw",
        host: "kite.test",
        port: Some(80),
        visitor_address: "192.0.2.1",
        visitor_port: None,
        visitor_tls: false,
    };
    let text = "All work and no play makes a dull stream. ".repeat(500).into_bytes();
    let mut output = Vec::new();
    let stream = session.open(now, &visitor, &[], &mut output).expect("a stream");
    for part in text.chunks(1000) {
        let mut buffer = vec![0; HEADER_ROOM];
        buffer.extend_from_slice(part);
        let body = HEADER_ROOM..buffer.len();
        output.extend_from_slice(session.data_frame(now, stream, &mut buffer, body));
    }
    assert!(output.len() < text.len() / 2, "it was compressed");
    session.close(now, stream, Eof { read: true, write: false });
    session.control_frames(now, &mut output, usize::MAX);
    for (index, piece) in output.chunks(13).enumerate() {
        tunnel.send(piece);
        if index % 50 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let (mut answer, mut wire_bytes, mut ended) = (Vec::new(), 0, false);
    while !ended {
        assert!(tunnel.fill(agent_support::LONG), "the agent is gone");
        let bytes = tunnel.take_unread();
        wire_bytes += bytes.len();
        let mut input = &bytes[..];
        while let Some(event) = session.receive(now, &mut input).expect("good frames") {
            match event {
                Event::Data { bytes, .. } => answer.extend_from_slice(bytes),
                Event::Eof { eof, .. } => ended |= eof.read,
                _ => {}
            }
        }
    }
    assert!(answer == text, "{} bytes of {}", answer.len(), text.len());
    assert!(wire_bytes < text.len() / 2, "the agent compresses too");
}

/// Waits until a number stays as it is for a while.
fn settled(number: impl Fn() -> usize) -> usize {
    let mut last = number();
    loop {
        thread::sleep(Duration::from_millis(200));
        let next = number();
        if next == last {
            return next;
        }
        last = next;
    }
}

/// A relay that reads 50,393 bytes at once dies of 150 frames in them
/// (`protocol.md` 5).
fn assert_bursts_are_bearable(lengths: &[usize]) {
    let mut first = 0;
    let mut bytes = 0;
    for (last, length) in lengths.iter().enumerate() {
        bytes += length;
        while bytes > 50_393 {
            bytes -= lengths[first];
            first += 1;
        }
        assert!(last - first < 149, "150 frames in {bytes} bytes");
    }
}
