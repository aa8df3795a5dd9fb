//! Agents whose kites fly, and who then break every rule of the tunnel: their
//! tunnel may end, their visitors may go away empty, and nobody else notices;
//! memory stays bounded.
#![cfg(feature = "relay")]

#[path = "agent_support/deflater.rs"]
#[allow(unreachable_pub)]
mod deflater;
mod relay_support;

use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use deflater::Deflater;
use kitelet::wire::{MAX_FRAME_BYTES, MAX_INFLATED_BYTES};
use relay_support::{
    Bystander, Ended, Relay, Tunnel, assert_modest, connect_from, frame, noise, read_all, send,
    status,
};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
const VISITOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: kite.test\r\n\r\n";
/// Floods end when the relay has had enough, or takes no more for so long.
const PATIENCE: Duration = Duration::from_secs(2);

fn start() -> (Arc<Relay>, Bystander, usize) {
    let relay = Arc::new(Relay::start(""));
    let bystander = Bystander::start(&relay);
    thread::sleep(Duration::from_millis(100));
    let before = relay.resident();
    (relay, bystander, before)
}

fn fly(relay: &Relay) -> Tunnel {
    let tunnel = Tunnel::fly(relay, ATTACKER, &["http:kite.test", "raw:kite.test"]);
    tunnel.socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    tunnel
}

/// A visitor who has sent a request, which the agent has.
fn visit(relay: &Relay, agent: &mut Tunnel) -> TcpStream {
    let mut socket = connect_from(relay, VISITOR);
    send(&mut socket, GET);
    agent.wait_for(GET);
    socket
}

/// Sends the same again and again, as long as the relay takes it.
fn flood(agent: &mut Tunnel, bytes: &[u8], times: usize) -> bool {
    let many = bytes.repeat(1 + 60_000 / bytes.len());
    let rounds = 1 + times * bytes.len() / many.len();
    (0..rounds).all(|_| agent.send(&many))
}

#[test]
fn frames_that_are_none_end_the_tunnel() {
    let (relay, bystander, before) = start();
    let long_header =
        [b"NOOP: 1\r\nX: ".to_vec(), vec![b'a'; 100_000], b"\r\n\r\n".to_vec()].concat();
    let kites = [
        b"NOOP: 1\r\n".to_vec(),
        b"X-PageKite: http:kite.test:s::x\r\n".repeat(5000),
        b"\r\n!".to_vec(),
    ]
    .concat();
    let framed = |payload: &[u8]| [format!("{:x}\r\n", payload.len()).as_bytes(), payload].concat();
    let (long_header, kites) = (framed(&long_header), framed(&kites));
    let too_long = format!("{:x}\r\n", MAX_FRAME_BYTES + 1);
    let too_long_inflated = format!("{:x}Z10\r\n", MAX_INFLATED_BYTES + 1);
    let cases: &[&[u8]] = &[
        b"0\r\n",
        b"00000000\r\n",
        b"ffffffff\r\n",
        b"7fffffff\r\n",
        b"fffffffff\r\n",
        b"ffffffffffffffffffffffffffffffffffffffff\r\n",
        b"-1\r\n",
        b"+5\r\n",
        b"0x5\r\n",
        b" 5\r\n",
        b"5 \r\n",
        b"5;ext\r\n",
        b"5\nSID: ",
        b"\r\n",
        b"5\r\r\n",
        b"Z\r\n",
        b"5Z\r\n",
        b"Z5\r\n",
        b"5Z0\r\n",
        b"0Z5\r\n",
        b"5Z5Z5\r\n",
        b"5ZR5\r\n",
        b"fffffZffffffff\r\n",
        too_long.as_bytes(),
        too_long_inflated.as_bytes(),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        // No blank line, no meaning, no number.
        b"5\r\nhello",
        b"9\r\nNOOP: 1\r\n",
        b"2\r\n\r\n",
        b"8\r\nX: y\r\n\r\n",
        b"a\r\nSID: x\r\n\r\n",
        b"b\r\nSID: -1\r\n\r\n",
        b"17\r\nSID: 99999999999999\r\n\r\n",
        b"16\r\nEOF: 1R\r\nno colon\r\n\r\n",
        // Not zlib.
        b"20Z10\r\n0123456789abcdef",
        &long_header,
        &kites,
    ];
    for case in cases {
        let mut agent = fly(&relay);
        let shown = String::from_utf8_lossy(&case[..case.len().min(40)]).into_owned();
        agent.send(case);
        let _ = agent.socket.shutdown(Shutdown::Write);
        agent.wait_for_end();
        drop(agent);
        assert!(!relay.log().contains("panicked"), "{shown:?}");
    }
    for seed in 0..100 {
        let mut agent = fly(&relay);
        agent.send(&noise(seed, 5000));
        let _ = agent.socket.shutdown(Shutdown::Write);
        agent.wait_for_end();
    }
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn the_end_of_a_tunnel_does_not_wait_for_the_agent() {
    // As above, but the agent stays and sends on.
    let (relay, bystander, _) = start();
    for case in [&b"0\r\n"[..], b"ffffffff\r\n", b"5\r\nhello", b"20Z10\r\n0123456789abcdef"] {
        let mut agent = fly(&relay);
        let mut visitor = visit(&relay, &mut agent);
        agent.send(case);
        agent.wait_for_end();
        let (answer, _) = read_all(&mut visitor, 10_000);
        assert_eq!(status(&answer), Some(503), "the visitor is told");
    }
    // In the middle of an answer that ends with the connection.
    let mut agent = fly(&relay);
    let mut visitor = visit(&relay, &mut agent);
    agent.send(&frame("SID: 1\r\n", b"HTTP/1.1 200 OK\r\n\r\na part"));
    agent.send(b"0\r\n");
    let (_, ended) = read_all(&mut visitor, 10_000);
    assert_eq!(ended, Ended::Reset, "nobody may take a part for all");
    bystander.finish();
}

#[test]
fn the_longest_frame_costs_no_memory() {
    let (relay, bystander, before) = start();
    let mut agent = fly(&relay);
    let mut visitor = visit(&relay, &mut agent);
    for headers in ["NOOP: 1\r\n", "SID: 77\r\n", "SID: 1\r\nEOF: 1W\r\n"] {
        let body = vec![b'x'; MAX_FRAME_BYTES - headers.len() - 2];
        assert!(agent.send(&frame(headers, &body)), "{headers}");
    }
    assert!(agent.is_alive());
    // One that says how long it is and no more.
    agent.send(&format!("{MAX_FRAME_BYTES:x}\r\nSID: 1\r\n\r\n").into_bytes());
    agent.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
    let (answer, _) = read_all(&mut visitor, 10_000);
    assert!(answer.ends_with(b"hello"));
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn floods_of_control_frames_cost_no_memory() {
    let (relay, bystander, before) = start();
    let unknown: Vec<u8> =
        (1000..4000).flat_map(|id| frame(&format!("SID: {id}\r\n"), b"who is it")).collect();
    let ends: Vec<u8> =
        (1000..4000).flat_map(|id| frame(&format!("SID: {id}\r\nEOF: 1WR\r\n"), b"")).collect();
    let opens: Vec<u8> = (1000..2000)
        .flat_map(|id| {
            let headers = format!(
                "SID: {id}\r\nProto: http\r\nHost: good.kite.test\r\nPort: 80\r\nRIP: 127.0.0.1\r\n"
            );
            frame(&headers, GET)
        })
        .collect();
    for bytes in [
        frame("NOOP: 1\r\nPING: 1\r\n", b"!"),
        frame(&format!("NOOP: 1\r\nPING: {}\r\n", "p".repeat(5000)), b"!"),
        frame("NOOP: 1\r\nPONG: 1\r\n", b"!"),
        frame("NOOP: 1\r\nQuota: 5\r\nQDays: 6\r\nQConns: -7\r\n", b"!"),
        frame("NOOP: 1\r\nZRST: 1\r\n", b"!"),
        frame("NOOP: 1\r\nSPD: 1\r\nSID: 1\r\n", b"!"),
        frame("NOOP: 1\r\nSID: 5\r\nSKB: 99999999999\r\n", b"!"),
        frame("SID: 5\r\n", b""),
        unknown,
        ends,
        opens,
    ] {
        let mut agent = fly(&relay);
        // Nothing of what the relay says to that is read, until the end.
        let took_all = flood(&mut agent, &bytes, 100_000.min(20_000_000 / bytes.len()));
        assert_modest(&relay, before, 16);
        if took_all {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
            assert!(agent.is_alive(), "{shown:?}");
        }
    }
    bystander.finish();
}

#[test]
fn agents_cannot_open_streams() {
    let (relay, bystander, _) = start();
    let mut agent = fly(&relay);
    for host in ["good.kite.test", "kite.test", "localhost", "127.0.0.1"] {
        for protocol in ["http", "raw", "finger", "probe"] {
            let headers = format!("SID: 4711\r\nProto: {protocol}\r\nHost: {host}\r\nPort: 80\r\n");
            agent.send(&frame(&headers, GET));
            agent.wait_for(b"SID: 4711\r\nEOF: 1WR\r\n");
        }
    }
    assert!(agent.is_alive());
    bystander.finish();
}

#[test]
fn lies_about_streams_hurt_the_liar_alone() {
    let (relay, bystander, before) = start();
    let mut agent = fly(&relay);
    let mut visitor = connect_from(&relay, VISITOR);
    send(&mut visitor, b"POST / HTTP/1.1\r\nHost: kite.test\r\nContent-Length: 999999999\r\n\r\n");
    agent.wait_for(b"999999999\r\n\r\n");
    visitor.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let sender = thread::spawn(move || {
        // As much as is taken; the agent reads nothing.
        while visitor.write_all(&[b'x'; 64 * 1024]).is_ok() {}
        visitor
    });
    for kilobytes in ["0", "99999999999", "18446744073709551615", "1"] {
        agent.send(&frame(&format!("NOOP: 1\r\nSID: 1\r\nSKB: {kilobytes}\r\n"), b"!"));
    }
    for odd in ["-1", "x", "", "1.5", "99999999999999999999999999"] {
        agent.send(&frame(&format!("NOOP: 1\r\nSID: 1\r\nSKB: {odd}\r\n"), b"!"));
    }
    let visitor = sender.join().expect("it gave up");
    assert_modest(&relay, before, 16);
    // Ends again and again, of this stream and of others.
    for letters in ["1", "1R", "1W", "1WR", "1RW", "0", "x", "", "1RRRRRRRRR"] {
        for stream in [1, 2, 99_999_999] {
            agent.send(&frame(&format!("SID: {stream}\r\nEOF: {letters}\r\n"), b"Bye!"));
            agent.send(&frame(&format!("SID: {stream}\r\n"), b"more"));
        }
    }
    drop(visitor);
    bystander.finish();
}

#[test]
fn an_answer_that_breaks_its_own_rules_reaches_nobody_else() {
    let (relay, bystander, _) = start();
    let mut agent = fly(&relay);
    // What comes behind an answer is no answer to the next request.
    let mut visitor = visit(&relay, &mut agent);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\
        Content-Length: 6\r\n\r\npoison";
    agent.send(&frame("SID: 1\r\n", answer));
    agent.send(&frame("SID: 1\r\n", answer));
    let (came, _) = read_all(&mut visitor, 10_000);
    assert!(came.ends_with(b"\r\n\r\nok"), "{:?}", String::from_utf8_lossy(&came));
    // Nor is what comes before any request.
    let mut visitor = visit(&relay, &mut agent);
    agent.send(&frame("SID: 2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let mut came = Vec::new();
    while !came.ends_with(b"ok") {
        came.extend(read_all(&mut visitor, 1).0);
    }
    agent.send(&frame("SID: 2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"));
    assert!(agent.is_alive(), "the early answer is there by now");
    send(
        &mut visitor,
        b"GET /second HTTP/1.1\r\nHost: good.kite.test\r\nConnection: close\r\n\r\n",
    );
    let (came, _) = read_all(&mut visitor, 10_000);
    let text = String::from_utf8_lossy(&came);
    assert!(text.contains("hello from the kite") && !text.contains("poison"), "{text}");
    bystander.finish();
}

#[test]
fn bombs_go_off_in_nobodys_memory() {
    let (relay, bystander, before) = start();
    // For a visitor who reads nothing, for nobody, and as a message to the relay.
    for headers in ["SID: 1\r\n", "SID: 77\r\n", "NOOP: 1\r\n"] {
        let mut agent = fly(&relay);
        let visitor = visit(&relay, &mut agent);
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n";
        agent.send(&frame("SID: 1\r\n", head));
        let mut deflater = Deflater::new();
        for _ in 0..30 {
            let mut payload = headers.as_bytes().to_vec();
            payload.extend_from_slice(b"\r\n");
            payload.resize(MAX_INFLATED_BYTES, 0);
            let wire = deflater.deflate(&payload);
            let line = format!("{:x}Z{:x}\r\n", payload.len(), wire.len());
            if !agent.send(&[line.as_bytes(), &wire].concat()) {
                break;
            }
        }
        // What may wait for the tunnel's visitors, 16 MB, is all of it.
        assert_modest(&relay, before, 20);
        assert!(headers == "SID: 1\r\n" || agent.is_alive(), "{headers}");
        drop(visitor);
    }
    // Headers of a bomb, and more than it says.
    for payload in [vec![b'a'; MAX_INFLATED_BYTES], b"NOOP: 1\r\nX: y\r\n\r\n!".repeat(1000)] {
        let mut agent = fly(&relay);
        let wire = Deflater::new().deflate(&payload);
        let says = if payload[0] == b'a' { payload.len() } else { 20 };
        agent.send(&[format!("{says:x}Z{:x}\r\n", wire.len()).as_bytes(), &wire].concat());
        agent.wait_for_end();
    }
    assert_modest(&relay, before, 20);
    bystander.finish();
}

#[test]
fn data_without_end_for_who_reads_nothing_is_cut_off() {
    let (relay, bystander, before) = start();
    let mut agent = fly(&relay);
    let mut deaf = visit(&relay, &mut agent);
    let mut other = visit(&relay, &mut agent);
    agent.send(&frame("SID: 1\r\n", b"HTTP/1.1 200 OK\r\n\r\n"));
    agent.send(&frame(
        "SID: 2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
    ));
    // Whatever its window: more than the kernel takes and the relay holds.
    agent.socket.set_write_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let one = frame("SID: 1\r\n", &[b'x'; 16_000]);
    for _ in 0..2000 {
        assert!(agent.send(&one), "the relay did not get rid of the greedy stream");
    }
    // What may wait for the tunnel's visitors, 16 MB, is all of it.
    assert_modest(&relay, before, 20);
    // Who reads is served, on the same tunnel.
    agent.send(&frame("SID: 2\r\n", b"hello"));
    let (answer, _) = read_all(&mut other, 10_000);
    assert!(answer.ends_with(b"hello"));
    assert!(agent.is_alive());
    let (came, ended) = read_all(&mut deaf, usize::MAX);
    // Without a length, the end of the connection would be that of the answer.
    assert_eq!(ended, Ended::Reset, "nobody may take {} bytes for all", came.len());
    bystander.finish();
}

#[test]
fn an_agent_that_reads_nothing_holds_up_its_own_visitors_only() {
    let (relay, bystander, before) = start();
    let mut agent = fly(&relay);
    let mut senders = Vec::new();
    for number in 0..20 {
        let mut visitor = connect_from(&relay, VISITOR);
        visitor.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        senders.push(thread::spawn(move || {
            let request: &[u8] = if number % 2 == 0 {
                b"POST / HTTP/1.1\r\nHost: kite.test\r\nContent-Length: 104857600\r\n\r\n"
            } else {
                b"CONNECT kite.test:22 HTTP/1.1\r\n\r\n"
            };
            let _ = visitor.write_all(request);
            let mut taken = 0;
            while visitor.write_all(&[b'x'; 64 * 1024]).is_ok() {
                taken += 64;
            }
            (visitor, taken)
        }));
    }
    let taken: Vec<_> =
        senders.into_iter().map(|sender| sender.join().expect("it gave up")).collect();
    assert!(taken.iter().all(|(_, kilobytes)| *kilobytes < 20_000), "it was taken by somebody");
    assert_modest(&relay, before, 32);
    drop(taken);
    // It reads after all.
    assert!(agent.is_alive());
    bystander.finish();
}
