//! Visitors as every port of the Internet gets them: garbage of all protocols,
//! heads without end, and those who want the relay to connect them to somebody
//! else. Each gets its answer or is closed, at bounded memory, while others are
//! served.
#![cfg(feature = "relay")]

mod net_support;
mod relay_support;

use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use net_support::{NOW, PemFile, self_signed};
use relay_support::{
    Bystander, Ended, Kite, Relay, ask, assert_modest, connect_from, first_line, noise, read_all,
    send, status, statuses,
};

const VISITOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// What a TLS visitor gets who is not served (`protocol.md` 12.4).
const ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 0x31];

fn start() -> (Arc<Relay>, Bystander, usize) {
    let relay = Arc::new(Relay::start(""));
    let bystander = Bystander::start(&relay);
    // The first visits bring what the relay needs anyway.
    thread::sleep(Duration::from_millis(100));
    let before = relay.resident();
    (relay, bystander, before)
}

/// Sends bytes and the end, and reads what comes.
fn say(relay: &Relay, bytes: &[u8]) -> (Vec<u8>, Ended) {
    let mut socket = connect_from(relay, VISITOR);
    send(&mut socket, bytes);
    let _ = socket.shutdown(Shutdown::Write);
    read_all(&mut socket, 1 << 20)
}

#[test]
fn noise_is_closed_at_once() {
    let (relay, bystander, before) = start();
    for seed in 0..400 {
        let length = [1, 2, 5, 64, 1000, 20_000][seed as usize % 6];
        let mut bytes = noise(seed, length);
        // Each way into a reader of ours gets its share.
        match seed % 8 {
            0 => bytes[0] = 0x16,
            1 => bytes.splice(..0, [0x16, 3, 1, 0x40, 0]).for_each(drop),
            2 => bytes.splice(..0, *b"GET / HTTP/1.1\r\n").for_each(drop),
            3 => bytes.splice(..0, *b"<?xml ").for_each(drop),
            4 => bytes.splice(..0, [16, 0]).for_each(drop),
            5 => bytes.splice(..0, *b"NICK ").for_each(drop),
            6 => bytes.splice(..0, [0x80, 0x2e, 1, 3, 1]).for_each(drop),
            _ => {}
        }
        let (answer, ended) = say(&relay, &bytes);
        assert!(ended != Ended::Open, "seed {seed}");
        assert!(matches!(status(&answer), None | Some(400 | 431)), "{:?}", first_line(&answer));
    }
    assert_modest(&relay, before, 16);
    bystander.finish();
}

/// A ClientHello in one record, with this many bytes of an unknown extension.
fn hello(padding: usize) -> Vec<u8> {
    let two = |number: usize| (number as u16).to_be_bytes();
    let extension = [&[0x7f, 0x7f][..], &two(padding), &vec![0; padding]].concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &two(2),
        &[0x13, 1],
        &[1, 0],
        &two(extension.len()),
        &extension,
    ]
    .concat();
    let length = (body.len() as u32).to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    let records =
        message.chunks(1 << 14).map(|part| [&[0x16, 3, 1][..], &two(part.len()), part].concat());
    records.collect::<Vec<_>>().concat()
}

#[test]
fn broken_tls_gets_an_alert() {
    let (relay, bystander, before) = start();
    let well = hello(100);
    let mut cases = vec![
        // No name, and the relay has no certificate.
        well.clone(),
        hello(60_000),
        hello(16_000),
        // Records without end, each well by itself.
        [&[0x16, 3, 1, 0, 1, 1][..], &[0x16, 3, 1, 0, 1, 0].repeat(10_000)].concat(),
        [0x16, 3, 1, 0, 0].repeat(10_000),
        // Another message of a handshake, another record, another version.
        [&[0x16, 3, 1, 0, 4, 2, 0, 0, 0][..], &well].concat(),
        [&well[..9], &[0x17; 2000]].concat(),
        [&[0x16, 3, 9][..], &well[3..]].concat(),
        // It goes on in the same record.
        [&[0x16, 3, 1, 0x40, 0][..], &well[5..], &[0; 16_384]].concat(),
        // SSL 2.
        [&[0x80, 0x2e, 1, 0, 2][..], &[0; 44]].concat(),
    ];
    for place in 5..well.len().min(80) {
        let mut broken = well.clone();
        broken[place] ^= 0xff;
        cases.push(broken);
    }
    for (index, bytes) in cases.iter().enumerate() {
        let (answer, ended) = say(&relay, bytes);
        assert!(ended != Ended::Open, "case {index}");
        // Some of the broken ones have an end that never comes.
        assert!(answer.is_empty() || answer == ALERT, "case {index}: {answer:02x?}");
        assert!(index >= 10 || answer == ALERT || ended == Ended::Reset, "case {index}");
    }
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn a_handshake_of_garbage_behind_a_good_hello_is_closed() {
    let identity = self_signed(&["kite.test"], NOW, false);
    let file = PemFile::new(&format!("{}{}", identity.pem, identity.key_pem));
    let relay = Arc::new(Relay::start(&format!("tls_endpoint = kite.test:{}\n", file.0.display())));
    let bystander = Bystander::start(&relay);
    let before = relay.resident();
    for seed in 0..50 {
        // No name: TLS ends at the relay, by its own certificate.
        let bytes = [hello(100), noise(seed, 40_000)].concat();
        let (_, ended) = say(&relay, &bytes);
        assert!(ended != Ended::Open, "seed {seed}");
    }
    assert_modest(&relay, before, 24);
    bystander.finish();
}

#[test]
fn heads_that_are_too_large_get_431() {
    let (relay, bystander, before) = start();
    let kite = Kite::fly(&relay, "http:kite.test");
    let host = "Host: kite.test\r\n";
    let lines = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let heads = [
        format!("GET / HTTP/1.1\r\n{host}Cookie: {}\r\n\r\n", "c".repeat(20_000)),
        format!("GET / HTTP/1.1\r\n{host}Cookie: {}", "c".repeat(1 << 20)),
        format!("GET / HTTP/1.1\r\n{host}{}\r\n", lines(10_000)),
        format!("GET / HTTP/1.1\r\n{host}{}\r\n", lines(150)),
        format!("GET / HTTP/1.1\r\n{host}{}\r\n", lines(100)),
        format!("GET /{} HTTP/1.1\r\n{host}\r\n", "a".repeat(1 << 20)),
        format!("GET /{}", "a".repeat(20_000)),
        "A".repeat(20_000),
        "\r\n".repeat(20_000),
        format!("CONNECT {}:443 HTTP/1.1\r\n\r\n", "a".repeat(20_000)),
    ];
    for head in &heads {
        // Such a head is not read to its end, so that its sender may see a
        // reset; the answer is there before.
        let codes = statuses(&ask(&relay, VISITOR, head.as_bytes()));
        let shown = &head[..head.len().min(50)];
        let was_reset = codes.is_empty() && head.len() > 300_000;
        assert!(was_reset || codes == [431], "{shown:?}: {codes:?}");
    }
    assert_eq!(kite.streams(), 0);
    // What fits is served.
    let head = format!("GET / HTTP/1.1\r\n{host}Connection: close\r\n{}\r\n", lines(98));
    assert_eq!(status(&ask(&relay, VISITOR, head.as_bytes())), Some(200));
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn the_relay_connects_nobody_to_anything_but_kites() {
    let (relay, bystander, _) = start();
    let _others = Kite::fly(&relay, "http:other.test");
    let trap = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    trap.set_nonblocking(true).expect("non-blocking");
    let port = trap.local_addr().expect("bound").port();
    let mut targets: Vec<String> = [
        "localhost:22",
        "127.0.0.1:22",
        "127.0.0.1:80",
        "127.0.0.1:443",
        "[::1]:25",
        "[::1]:80",
        "0.0.0.0:80",
        "[::]:80",
        "[::ffff:127.0.0.1]:80",
        "2130706433:80",
        "0x7f000001:80",
        "0177.0.0.1:80",
        "example.com:80",
        "example.com:443",
        "kite.test:22",
        "kite.test:80",
        "kite.test:443",
        "kite.test:8080",
        "other.test:22",
        "other.test:443",
        "other.test:25",
        "x.other.test:80",
        "up.pagekite.net:80",
        "unknown:80",
        "_any_.kite.test:80",
    ]
    .map(str::to_owned)
    .to_vec();
    targets.extend(["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}")));
    targets.push(format!("127.0.0.1:{}", relay.port()));
    for target in &targets {
        for rest in ["Host: other.test\r\n", ""] {
            let request = format!("CONNECT {target} HTTP/1.1\r\n{rest}\r\n");
            let answer = ask(&relay, VISITOR, request.as_bytes());
            assert_eq!(answer, b"HTTP/1.0 503 Unavailable\r\n\r\n", "{target}");
        }
    }
    for target in [
        "",
        "/",
        "*",
        ":80",
        "kite.test",
        "kite.test:",
        "kite.test:0",
        "kite.test:65536",
        "kite.test:-1",
        "kite.test:+80",
        "http://kite.test:80",
        "kite.test:80:80",
        "a@b:80",
        "kite.test:http",
        "[::1:80",
        "k\u{ef}te.test:80",
        "kite.test%00:80",
        "kite.test/../:80",
    ] {
        let request = format!("CONNECT {target} HTTP/1.1\r\n\r\n");
        let code = status(&ask(&relay, VISITOR, request.as_bytes()));
        assert!(matches!(code, Some(400 | 503)), "{target}: {code:?}");
    }
    // Bodies have no place here.
    let request = b"CONNECT other.test:80 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(status(&ask(&relay, VISITOR, request)), Some(400));
    assert!(trap.accept().is_err(), "somebody was connected to another port of this machine");
    bystander.finish();
}

#[test]
fn layers_inside_layers_come_to_an_end() {
    let (relay, bystander, before) = start();
    let kite = Kite::fly(&relay, "http:kite.test");
    let connect = "CONNECT kite.test:80 HTTP/1.1\r\n\r\n";
    let answer = ask(&relay, VISITOR, connect.repeat(1000).as_bytes());
    let codes = statuses(&answer);
    assert!(codes.len() < 10 && codes.iter().all(|code| *code == 200), "{codes:?}");
    assert_eq!(kite.streams(), 0);
    // One is what it is for.
    let request =
        format!("{connect}GET / HTTP/1.1\r\nConnection: close\r\nHost: kite.test\r\n\r\n");
    assert_eq!(statuses(&ask(&relay, VISITOR, request.as_bytes())), [200, 200]);
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn a_websocket_for_tunnels_with_garbage_inside_is_closed() {
    let (relay, bystander, before) = start();
    let head = |more: &str| {
        format!(
            "GET /.kitelet/tunnel HTTP/1.1\r\nHost: kite.test\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
        )
    };
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let protocol = "Sec-WebSocket-Protocol: tunnel.kitelet\r\n";
    for refused in [
        head(""),
        head(key),
        head(protocol),
        head(&format!("{key}{key}{protocol}")),
        head(&format!("Sec-WebSocket-Key: {}\r\n{protocol}", "A".repeat(4000))),
        head(&format!("{key}{protocol}Content-Length: 5\r\n")),
        head(&format!("{key}{protocol}Transfer-Encoding: chunked\r\n")),
        head(&format!("{key}{protocol}Sec-WebSocket-Version: 8\r\n")),
        "POST /.kitelet/tunnel HTTP/1.1\r\nHost: kite.test\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "GET /.kitelet/tunnel HTTP/1.1\r\nHost: kite.test\r\n\r\n".to_owned(),
    ] {
        let code = status(&ask(&relay, VISITOR, refused.as_bytes()));
        assert!(matches!(code, Some(400 | 405 | 426)), "{refused}: {code:?}");
    }
    let open = head(&format!("{key}{protocol}"));
    // Mask, opcode and length of a frame, and what of it follows.
    let frame = |first: u8, second: u8, rest: &[u8]| [&[first, second], rest].concat();
    let mut insides: Vec<Vec<u8>> = vec![
        frame(0x82, 0x05, b"hello"),
        frame(0x82, 0xff, &[0xff; 8]),
        frame(0x82, 0xff, &[0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4]),
        frame(0xf2, 0x81, &[0; 5]),
        frame(0x83, 0x81, &[0; 5]),
        frame(0x81, 0x81, &[0; 5]),
        frame(0x89, 0xfe, &[1, 0, 0, 0, 0, 0]),
        frame(0x09, 0x81, &[0; 5]),
        frame(0x80, 0x81, &[0; 5]),
        frame(0x88, 0x80, &[0; 4]),
        // A WebSocket inside the WebSocket, and so on.
        frame(0x82, 0x80 | 4, &[&[0; 4][..], b"GET "].concat()),
        // Pings without end.
        frame(0x89, 0xfd, &[7; 129]).repeat(5000),
        // A frame of nothing, again and again.
        frame(0x02, 0x80, &[0; 4]).into_iter().chain([0, 0x80, 0, 0, 0, 0].repeat(9000)).collect(),
    ];
    insides.extend((0..60).map(|seed| noise(seed, 3000)));
    for (index, inside) in insides.iter().enumerate() {
        let (answer, ended) = say(&relay, &[open.as_bytes(), inside].concat());
        assert!(ended != Ended::Open, "case {index}");
        let is_well = answer.is_empty() && ended == Ended::Reset || status(&answer) == Some(101);
        assert!(is_well, "case {index}: {:?}", first_line(&answer));
        assert!(!String::from_utf8_lossy(&answer).contains("X-PageKite-OK"));
    }
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn probes_get_what_agents_expect_and_nothing_else() {
    let (relay, bystander, before) = start();
    for probe in [
        "HEAD /ping HTTP/1.1\r\nHost: ping.pagekite\r\n\r\n",
        "GET /ping HTTP/1.1\r\nHost: ping.pagekite\r\n\r\n",
        "GET /ping HTTP/1.0\r\nHost: ping.pagekite\r\n\r\n",
        "GET /x HTTP/1.1\r\nX: y\r\nHost: PING.pagekite\r\n\r\n",
        "POST /ping HTTP/1.1\r\nHost: ping.pagekite\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let answer = ask(&relay, VISITOR, probe.as_bytes());
        assert!(answer.starts_with(b"HTTP/1.1 503 Unavailable\r\nX-PageKite-UUID: "), "{probe}");
        assert_eq!(statuses(&answer), [503]);
    }
    let long = format!("PING /{} HTTP/1.1\r\n\r\n", "a".repeat(10_000));
    for (probe, most) in [("PING /x HTTP/1.1\r\nHost: kite.test\r\n\r\n", 11), (&long, 1100)] {
        let answer = ask(&relay, VISITOR, probe.as_bytes());
        assert!(answer.starts_with(b"PONG /") && answer.ends_with(b"\r\n\r\n"), "{probe}");
        assert!(answer.len() <= most, "{} bytes", answer.len());
    }
    for odd in [
        "PING /x\r\n\r\n",
        "PING  /x HTTP/1.1\r\n\r\n",
        "PING /x\x01y HTTP/1.1\r\n\r\n",
        "PING HTTP/1.1\r\n\r\n",
        "GET /~:PageKite:~/v0.8 HTTP/1.1\r\n\r\n",
        "GET /~:PageKite:~/v0.8/kite.test.json HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let code = status(&ask(&relay, VISITOR, odd.as_bytes()));
        assert!(matches!(code, None | Some(400 | 503)), "{odd:?}: {code:?}");
    }
    assert_modest(&relay, before, 16);
    bystander.finish();
}
