//! The agent with its tunnel inside a WebSocket over TLS. Between it and the
//! relay of these tests stands a gateway that reads and writes frames with
//! code of its own, so that a mistake in the program's is not made twice.

mod agent_support;
mod net_support;

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use agent_support::{Agent, FakeRelay, Open, Service, pattern, wait_for};
use async_io::{Async, Timer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kitelet::net::{Acceptor, Connection};
use net_support::{Identity, NOW, receive, self_signed, send, soon};
use smol::future;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What the tests and the gateway tell each other.
#[derive(Default)]
struct Shared {
    /// Bytes that the agent gets next, between two messages.
    injected: VecDeque<Vec<u8>>,
    /// Opcode and payload of the agent's control frames.
    controls: Vec<(u8, Vec<u8>)>,
    heads: Vec<String>,
}

struct Gateway {
    port: u16,
    identity: Identity,
    shared: Arc<Mutex<Shared>>,
}

impl Gateway {
    fn to(relay: &FakeRelay) -> Self {
        let identity = self_signed(&["relay.test"], NOW, false);
        let acceptor = Acceptor::from_pem(identity.pem.as_bytes(), identity.key_pem.as_bytes());
        let acceptor = acceptor.expect("identity");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let port = listener.local_addr().expect("address").port();
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, relay.port()));
        let shared = Arc::new(Mutex::new(Shared::default()));
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                // One tunnel at a time; how it ends is the tests' affair.
                let _ = smol::block_on(carry(&acceptor, socket, target, &ours));
            }
        });
        Self { port, identity, shared }
    }

    /// An agent with one kite `raw:kite.test` for the service at `port`.
    fn agent(&self, port: u16) -> Agent {
        let lines = format!(
            "wschunks\nfe_certname = relay.test/{}\n\
             service_on = raw:kite.test:127.0.0.1:{port}:SECRET",
            self.identity.sha1_hex()
        );
        Agent::start_encrypted_at(self.port, &lines)
    }

    fn inject(&self, bytes: &[u8]) {
        self.shared.lock().expect("shared").injected.push_back(bytes.to_vec());
    }

    fn wait_for_control(&self, opcode: u8, payload: &[u8]) {
        wait_for("a control frame", || {
            let controls = &self.shared.lock().expect("shared").controls;
            controls.iter().any(|(seen, bytes)| *seen == opcode && bytes == payload).then_some(())
        });
    }
}

/// Carries one tunnel.
async fn carry(
    acceptor: &Acceptor,
    socket: TcpStream,
    target: SocketAddr,
    shared: &Mutex<Shared>,
) -> io::Result<()> {
    let agent =
        acceptor.accept(Async::new(socket)?, &[], soon()).await.map_err(io::Error::other)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(receive(&agent, 1).await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.expect("a key"));
    let accept = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, accept.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         server: some proxy\r\nsec-websocket-accept: {}\r\n\
         sec-websocket-protocol: tunnel.kitelet\r\n\r\n",
        STANDARD.encode(accept)
    );
    send(&agent, answer.as_bytes()).await?;
    shared.lock().expect("shared").heads.push(head);
    let relay = Async::<TcpStream>::connect(target).await?;
    future::or(up(&agent, &relay, shared), down(&agent, &relay, shared)).await
}

/// From the agent to the relay.
async fn up(
    agent: &Connection,
    relay: &Async<TcpStream>,
    shared: &Mutex<Shared>,
) -> io::Result<()> {
    let mut unread = Vec::new();
    let more = async |unread: &mut Vec<u8>, length: usize| {
        while unread.len() < length {
            match receive(agent, 10_000).await? {
                bytes if bytes.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => unread.extend(bytes),
            }
        }
        Ok::<Vec<u8>, io::Error>(unread.drain(..length).collect())
    };
    let mut relay = relay;
    loop {
        let header = more(&mut unread, 2).await?;
        let opcode = header[0] & 0x0f;
        assert!(header[0] & 0xf0 == 0x80, "whole messages, no reserved bits");
        assert!(header[1] & 0x80 != 0, "an agent's frame has to be masked");
        let length = match header[1] & 0x7f {
            126 => {
                let length = more(&mut unread, 2).await?;
                usize::from(length[0]) << 8 | usize::from(length[1])
            }
            127 => panic!("longer than a TLS record"),
            length => usize::from(length),
        };
        let mask = more(&mut unread, 4).await?;
        let mut payload = more(&mut unread, length).await?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        match opcode {
            2 => relay.write_all(&payload).await?,
            8..=10 => shared.lock().expect("shared").controls.push((opcode, payload)),
            other => panic!("opcode {other}"),
        }
    }
}

/// From the relay to the agent: messages of one, two and three frames, with
/// pings and pongs inside.
async fn down(
    agent: &Connection,
    relay: &Async<TcpStream>,
    shared: &Mutex<Shared>,
) -> io::Result<()> {
    let mut buffer = vec![0; 70_000];
    let mut round = 0;
    loop {
        let injected = shared.lock().expect("shared").injected.pop_front();
        if let Some(bytes) = injected {
            send(agent, &bytes).await?;
        }
        let mut reader = relay;
        let pause = async {
            Timer::after(Duration::from_millis(5)).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        let length = match future::or(reader.read(&mut buffer), pause).await {
            Ok(0) => return send(agent, b"\x88\x02\x03\xe9").await,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => continue,
            Err(error) => return Err(error),
        };
        round += 1;
        let frames = 1 + round % 3;
        let size = length.div_ceil(frames);
        let mut out = Vec::new();
        for (index, part) in buffer[..length].chunks(size).enumerate() {
            let is_last = (index + 1) * size >= length;
            let opcode = if index == 0 { 2 } else { 0 };
            out.push(if is_last { 0x80 | opcode } else { opcode });
            match part.len() {
                length @ 0..126 => out.push(length as u8),
                length @ 126..65536 => out.extend([126, (length >> 8) as u8, length as u8]),
                length => {
                    out.push(127);
                    out.extend((length as u64).to_be_bytes());
                }
            }
            out.extend_from_slice(part);
            out.extend_from_slice(b"\x89\x02in\x8a\x00");
        }
        send(agent, &out).await?;
    }
}

#[test]
fn bulk_both_ways_equals_and_pings_are_answered() {
    let relay = FakeRelay::new();
    let gateway = Gateway::to(&relay);
    let agent = gateway.agent(Service::echo_at_end().port());
    let mut tunnel = relay.accept_flying();
    agent.wait_for_log("raw:kite.test flies");
    let upload = pattern(3 << 20);
    tunnel.open(5, &Open::RAW, &upload[..1000]);
    tunnel.data(5, &upload[1000..]);
    tunnel.eof(5, "R");
    assert!(tunnel.read_to_end(5) == upload, "bytes were lost or swapped");
    gateway.wait_for_control(10, b"in");
    // An idle agent answers as well. Of several pings at once, it answers the
    // last (RFC 6455 section 5.5.3), and nothing comes after this one.
    tunnel.ping("still there");
    gateway.inject(b"\x89\x05Hello");
    gateway.wait_for_control(10, b"Hello");
    let heads = gateway.shared.lock().expect("shared").heads.clone();
    assert_eq!(heads.len(), 1, "one connection");
    let host = format!("GET /.kitelet/tunnel HTTP/1.1\r\nHost: relay.test:{}\r\n", gateway.port);
    assert!(heads[0].starts_with(&host), "{}", heads[0]);
    assert!(!heads[0].contains("Origin") && !heads[0].contains("User-Agent"));
}

#[test]
fn a_peer_that_breaks_the_rfc_costs_the_tunnel_alone() {
    let relay = FakeRelay::new();
    let gateway = Gateway::to(&relay);
    let mut agent = gateway.agent(Service::echo().port());
    for (bytes, words, status) in [
        (&b"\xf2\x00"[..], "a frame has reserved bits set", b"\x03\xea"),
        (b"\x81\x02hi", "a message of text where a tunnel has bytes", b"\x03\xeb"),
        (b"\x82\x7f\xff\0\0\0\0\0\0\0", "a frame is longer than 16 MB", b"\x03\xf1"),
    ] {
        let mut tunnel = relay.accept_flying();
        tunnel.open(5, &Open::RAW, b"hello");
        tunnel.until("the echo", |tunnel| tunnel.visit(5).data == b"hello");
        gateway.inject(bytes);
        agent.wait_for_log(&format!(
            "the tunnel was lost: the other end broke the WebSocket protocol: {words}"
        ));
        gateway.wait_for_control(8, status);
        tunnel.wait_for_end();
    }
    relay.accept_flying().ping("there again");
    assert!(agent.is_alive());
}

#[test]
fn a_close_is_answered_and_the_agent_comes_again() {
    let relay = FakeRelay::new();
    let gateway = Gateway::to(&relay);
    let agent = gateway.agent(Service::echo().port());
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    gateway.inject(b"\x88\x02\x03\xe9");
    agent.wait_for_log("the relay closed the tunnel");
    gateway.wait_for_control(8, b"\x03\xe9");
    relay.accept_flying().ping("there again");
}

#[test]
fn endless_pings_cost_little_and_stop_nothing() {
    let relay = FakeRelay::new();
    let gateway = Gateway::to(&relay);
    let agent = gateway.agent(Service::echo().port());
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    let before = agent.peak();
    let ping = [&b"\x89\x7d"[..], &[b'p'; 125]].concat();
    gateway.inject(&ping.repeat(100_000));
    tunnel.open(5, &Open::RAW, b"hello");
    tunnel.until("the echo", |tunnel| tunnel.visit(5).data == b"hello");
    let more = agent.peak() - before;
    assert!(more < 1024, "{more} kB");
}

#[test]
fn a_relay_without_websocket_is_said_to_have_none() {
    let relay = FakeRelay::new();
    let lines = "wschunks\nservice_on = raw:kite.test:127.0.0.1:9:SECRET";
    let mut agent = Agent::start(&relay, lines);
    relay.accept().send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    agent.wait_for_log("no WebSocket was opened (HTTP 404 Not Found); it is no Kitelet relay");
    agent.wait_for_log("next try in");
    // It keeps to what it was told, and comes again.
    let mut second = relay.accept();
    second.fill(agent_support::LONG);
    assert!(second.take_unread().starts_with(b"GET /.kitelet/tunnel HTTP/1.1\r\n"));
    assert!(agent.is_alive());
}
