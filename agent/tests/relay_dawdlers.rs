//! Who says nothing, or a byte now and then: each is closed within the relay's
//! own times, and meanwhile everybody else is served.
//!
//! All of them at once, in one test, since each takes as long as the relay is
//! patient.
#![cfg(feature = "relay")]

mod net_support;
mod relay_support;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use net_support::{NOW, PemFile, self_signed};
use relay_support::{
    Bystander, Kite, PAGE, Relay, Tunnel, ask, assert_modest, connect_from, read_all, reset, send,
    status, wait_for,
};
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Time for the first byte (`reception.rs`).
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// Time for a head or a ClientHello once it has begun (`head.rs`).
const HEAD: Duration = Duration::from_secs(20);
/// Time for a TLS handshake (`reception.rs`).
const TLS: Duration = Duration::from_secs(15);
/// A machine that is busy with other tests.
const MARGIN: Duration = Duration::from_secs(10);
/// How often the slow ones send a byte.
const DRIP: Duration = Duration::from_millis(100);

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, last)
}

/// Sends `rest` byte by byte and waits for the relay to close. What has come by
/// then, and how long it took.
fn drip(socket: &mut TcpStream, rest: &[u8], limit: Duration) -> (Vec<u8>, Duration) {
    let begin = Instant::now();
    socket.set_read_timeout(Some(DRIP)).expect("a timeout");
    let mut rest = rest.iter();
    let mut came = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(byte) = rest.next() {
            if socket.write_all(&[*byte]).is_err() {
                return (came, begin.elapsed());
            }
        }
        match socket.read(&mut buffer) {
            Ok(0) => return (came, begin.elapsed()),
            Ok(length) => came.extend_from_slice(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return (came, begin.elapsed()),
        }
        assert!(begin.elapsed() < limit + MARGIN, "still open after {:?}", begin.elapsed());
    }
}

/// A whole ClientHello of a real client.
fn hello() -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = "relay.test".try_into().expect("a name");
    let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes).expect("a hello");
    bytes
}

/// Begins in this way and dawdles in that, for so long at most.
struct Dawdler {
    name: &'static str,
    begin: Vec<u8>,
    drip: Vec<u8>,
    limit: Duration,
}

fn dawdlers() -> Vec<Dawdler> {
    let dawdler = |name, begin: &[u8], drip: &[u8], limit| Dawdler {
        name,
        begin: begin.to_vec(),
        drip: drip.to_vec(),
        limit,
    };
    let hello = hello();
    let long = [b"X-Drip: ".to_vec(), vec![b'a'; 4000]].concat();
    let lines = b"X: y\r\n".repeat(1000);
    let get = b"GET / HTTP/1.1\r\nHost: kite.test\r\n";
    let upgrade = b"GET /.kitelet/tunnel HTTP/1.1\r\nHost: kite.test\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: tunnel.kitelet\r\n\r\n";
    let frame = [&[0x82, 0xfe, 0x0f, 0xa0, 0, 0, 0, 0][..], get, &long].concat();
    vec![
        dawdler("nothing", b"", b"", FIRST_BYTE),
        dawdler("one byte", b"G", b"", HEAD),
        dawdler("half a head", get, b"", HEAD),
        dawdler("a head that drips", get, &long, HEAD),
        dawdler("headers that drip", get, &lines, HEAD),
        dawdler("a target that drips", b"GET /", &long, HEAD),
        dawdler("empty lines that drip", b"", &b"\r\n".repeat(2000), HEAD),
        dawdler("half a hello", &hello[..50], b"", HEAD),
        dawdler("a hello that drips", &hello[..5], &[0; 400], HEAD),
        dawdler("a record that never comes", &[0x16, 3, 1], b"", HEAD),
        dawdler("a hello and silence", &hello, b"", TLS),
        dawdler("a hello and drips", &hello, &[0x16, 3, 3, 0x3f, 0, 16, 0, 0x3e, 0xfc], TLS),
        dawdler("half a stanza", b"<?xml version='1.0'?><stream:stream to='", &long, HEAD),
        dawdler("half a handshake of Minecraft", &[20, 0, 5], b"", HEAD),
        dawdler("half a nick", b"NICK joe\r\nUSER ", &long, HEAD),
        dawdler("half a tunnel", b"CONNECT PageKite:1 HTTP/1.0\r\nX-PageKite: http:", &long, HEAD),
        dawdler("a CONNECT and silence", b"CONNECT kite.test:80 HTTP/1.1\r\n\r\n", b"", FIRST_BYTE),
        dawdler("a CONNECT and drips", b"CONNECT kite.test:80 HTTP/1.1\r\n\r\nGET /", &long, HEAD),
        dawdler("a WebSocket and silence", upgrade, b"", FIRST_BYTE),
        dawdler(
            "a WebSocket and a head",
            &[&upgrade[..], &frame[..60]].concat(),
            &frame[60..],
            HEAD,
        ),
        // The WebSocket drips, but nothing comes out of it.
        dawdler(
            "a WebSocket and pings",
            upgrade,
            &[0x89, 0x80, 1, 2, 3, 4].repeat(100),
            FIRST_BYTE,
        ),
    ]
}

#[test]
fn everybody_who_dawdles_is_closed_in_time() {
    let identity = self_signed(&["relay.test"], NOW, false);
    let file = PemFile::new(&format!("{}{}", identity.pem, identity.key_pem));
    let relay =
        Arc::new(Relay::start(&format!("tls_endpoint = relay.test:{}\n", file.0.display())));
    let kite = Kite::fly(&relay, "http:kite.test");
    let bystander = Bystander::start(&relay);
    thread::sleep(Duration::from_millis(100));
    let (before, descriptors) = (relay.resident(), relay.descriptors());
    let begin = Instant::now();
    let mut silent: Vec<TcpStream> = Vec::new();
    for number in 0..500 {
        silent.push(connect_from(&relay, address(1 + number as u8 % 3)));
    }
    thread::scope(|scope| {
        let mut running = Vec::new();
        for (number, dawdler) in dawdlers().into_iter().enumerate() {
            let relay = &relay;
            running.push(scope.spawn(move || {
                let Dawdler { name, begin, drip: rest, limit } = dawdler;
                let mut socket = connect_from(relay, address(10 + number as u8));
                send(&mut socket, &begin);
                let (answer, time) = drip(&mut socket, &rest, limit);
                // Whoever is told something is not told of a kite's page.
                assert!(!String::from_utf8_lossy(&answer).contains(PAGE), "{name}");
                assert!(time < limit + MARGIN, "{name}: {time:?}");
                // Less would be too strict for a slow link. A WebSocket's pings
                // and what is malformed in the end may be closed at once.
                let most = name.contains("Minecraft") || name.contains("drips");
                assert!(most || time > limit / 2, "{name}: {time:?}");
            }));
        }
        // Slow, but no dawdler.
        running.push(scope.spawn(|| {
            let mut socket = connect_from(&relay, address(9));
            for part in
                ["GET /slow HT", "TP/1.1\r\nHost: kite", ".test\r\nConnection: close\r\n", "\r\n"]
            {
                send(&mut socket, part.as_bytes());
                thread::sleep(Duration::from_secs(2));
            }
            let (answer, _) = read_all(&mut socket, 10_000);
            assert_eq!(status(&answer), Some(200));
        }));
        for mut socket in silent {
            let (came, _) = read_all(&mut socket, 10_000);
            assert!(came.is_empty(), "{:?}", String::from_utf8_lossy(&came));
        }
        let time = begin.elapsed();
        assert!(time > FIRST_BYTE / 2 && time < FIRST_BYTE + MARGIN, "{time:?}");
        for thread in running {
            thread.join().expect("it was closed in time");
        }
    });
    wait_for("the relay to let go", || (relay.descriptors() <= descriptors + 3).then_some(()));
    assert_modest(&relay, before, 24);
    let seen = kite.seen();
    assert!(seen.contains("GET /slow HTTP/1.1"), "{seen}");
    assert_eq!(kite.streams(), 1, "the service saw {seen:?}");
    bystander.finish();
    let request = b"GET / HTTP/1.1\r\nHost: kite.test\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&ask(&relay, address(1), request)), Some(200));
}

#[test]
fn who_is_gone_is_missed_although_nobody_reads_on() {
    let relay = Arc::new(Relay::start(""));
    let bystander = Bystander::start(&relay);
    let kites = ["http:kite.test", "raw:kite.test"];
    let mut agent = Tunnel::fly(&relay, address(1), &kites);
    let descriptors = relay.descriptors();
    // The agent takes no more of what they send, or has yet to answer the
    // request before.
    for begin in [
        &b"POST / HTTP/1.1\r\nHost: kite.test\r\nContent-Length: 99999999\r\n\r\n"[..],
        b"CONNECT kite.test:22 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: kite.test\r\n\r\nGET / HTTP/1.1\r\n",
    ] {
        let mut socket = connect_from(&relay, address(2));
        send(&mut socket, begin);
        socket.set_write_timeout(Some(DRIP * 5)).expect("a timeout");
        while !begin.starts_with(b"GET") && socket.write_all(&[b'x'; 64 * 1024]).is_ok() {}
        assert!(agent.is_alive(), "it has read what the visitor sent");
        reset(&socket);
    }
    wait_for("the relay to let go", || {
        assert!(agent.is_alive());
        (relay.descriptors() <= descriptors).then_some(())
    });
    bystander.finish();
}
