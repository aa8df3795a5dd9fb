//! A connection as a stream of bytes: both ways at once, in pieces, to its
//! end, and with what TLS has to say in between.

mod net_support;

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_io::{Async, Timer};
use kitelet::config::{Pin, RelayAddress, Security};
use kitelet::net::{Acceptor, Connection, Connector, HandshakeError, OUTGOING_LIMIT, Opening};
use net_support::*;
use rustix::net::sockopt;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConnection, StreamOwned};
use smol::{LocalExecutor, future};

const MEGABYTE: usize = 1024 * 1024;

/// Two ends of one connection in this thread, over small socket buffers.
async fn pair(encrypted: bool) -> (Connection, Connection) {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).expect("bind");
    // Accepted sockets take the buffer sizes over.
    sockopt::set_socket_recv_buffer_size(&listener, 8192).expect("option");
    sockopt::set_socket_send_buffer_size(&listener, 8192).expect("option");
    let relay = RelayAddress {
        host: "127.0.0.1".to_owned(),
        port: listener.get_ref().local_addr().expect("address").port(),
    };
    let identity = self_signed(&["relay.test"], NOW, true);
    let security = if encrypted {
        let pin = Pin::KeySha256(identity.key_sha256());
        security(&[("relay.test", Some(pin))], None)
    } else {
        Security::Plain
    };
    let connector = Connector::new(&security).expect("settings");
    let accept = async {
        let (socket, _) = listener.accept().await.expect("accept");
        if encrypted {
            Acceptor::from_pem(identity.pem.as_bytes(), identity.key_pem.as_bytes())
                .expect("identity")
                .accept(socket, &[], soon())
                .await
                .expect("handshake")
        } else {
            Connection::plain(socket)
        }
    };
    let open = async {
        let opened = connector.open(&relay, Opening::Direct).await;
        opened.expect("open")
    };
    future::zip(open, accept).await
}

/// Bytes in which a lost or doubled piece shows.
fn pattern(length: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed);
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(step).collect()
}

async fn receive_all(connection: &Connection) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let piece = receive(connection, 5000).await.expect("receive");
        if piece.is_empty() {
            return all;
        }
        all.extend(piece);
    }
}

async fn shut_down(connection: &Connection) {
    if let Err(error) = connection.shutdown() {
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        flush(connection).await.expect("flush");
    }
}

#[test]
fn a_megabyte_each_way_at_once() {
    for encrypted in [false, true] {
        let executor = LocalExecutor::new();
        smol::block_on(executor.run(async {
            let (client, server) = pair(encrypted).await;
            let tasks: Vec<_> = [(client, 1), (server, 2)]
                .into_iter()
                .map(|(connection, seed)| {
                    let connection = Rc::new(connection);
                    let writer = Rc::clone(&connection);
                    executor
                        .spawn(async move {
                            send(&writer, &pattern(MEGABYTE, seed)).await.expect("send");
                            shut_down(&writer).await;
                        })
                        .detach();
                    executor.spawn(async move {
                        let received = receive_all(&connection).await;
                        assert!(received == pattern(MEGABYTE, 3 - seed));
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
        }));
    }
}

#[test]
fn plaintext_that_is_left_over_is_not_waited_for() {
    smol::block_on(async {
        let (client, server) = pair(true).await;
        send(&server, b"abcdefgh").await.expect("send");
        assert_eq!(receive(&client, 3).await.expect("receive"), b"abc");
        // The socket has nothing more to tell.
        client.readable().await.expect("readable");
        assert_eq!(receive(&client, 100).await.expect("receive"), b"defgh");
        let mut buffer = [0; 10];
        let error = client.try_read(&mut buffer).expect_err("nothing left");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer() {
    for encrypted in [false, true] {
        smol::block_on(async {
            let (client, server) = pair(encrypted).await;
            let sent = pattern(8 * MEGABYTE, 1);
            let mut taken = 0;
            // The kernel takes more after a while, as windows open.
            for _ in 0..20 {
                while let Ok(more) = client.try_write(&sent[taken..]) {
                    taken += more;
                }
                Timer::after(Duration::from_millis(5)).await;
            }
            assert!(taken < 6 * MEGABYTE, "{taken} bytes were taken");
            let pending = client.try_flush();
            assert_eq!(pending.is_err(), encrypted);
            let before = taken;
            while taken - before <= OUTGOING_LIMIT {
                let piece = receive(&server, 5000).await.expect("receive");
                if let Ok(more) = client.try_write(&sent[taken..]) {
                    taken += more;
                }
                assert!(!piece.is_empty());
            }
        });
    }
}

#[test]
fn shutdown_ends_one_way_and_leaves_the_other() {
    for encrypted in [false, true] {
        smol::block_on(async {
            let (client, server) = pair(encrypted).await;
            send(&client, b"last words").await.expect("send");
            shut_down(&client).await;
            let error = client.try_write(b"more").expect_err("shut down");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            assert_eq!(receive_all(&server).await, b"last words");
            send(&server, b"answer").await.expect("send");
            shut_down(&server).await;
            assert_eq!(receive_all(&client).await, b"answer");
        });
    }
}

#[test]
fn shutdown_cuts_nothing_off() {
    smol::block_on(async {
        let (client, server) = pair(true).await;
        let sent = pattern(4 * MEGABYTE, 5);
        let mut taken = 0;
        while let Ok(more) = client.try_write(&sent[taken..]) {
            taken += more;
        }
        let error = client.shutdown().expect_err("bytes are left");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let flushed = async { flush(&client).await.expect("flush") };
        let (received, ()) = future::zip(receive_all(&server), flushed).await;
        assert!(received == sent[..taken]);
    });
}

/// A connection to a peer in a thread that does `script` after the handshake.
fn to_peer(
    version: &'static rustls::SupportedProtocolVersion,
    script: impl Fn(StreamOwned<ServerConnection, TcpStream>) + Send + 'static,
) -> Connection {
    let identity = self_signed(&["relay.test"], NOW, true);
    let config = server_config(&identity, &[version]);
    let relay = relay(move |socket| {
        let session = ServerConnection::new(Arc::clone(&config)).expect("session");
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).expect("handshake");
        }
        script(stream);
    });
    let pin = Pin::KeySha256(identity.key_sha256());
    let security = security(&[("relay.test", Some(pin))], None);
    open(&security, &relay, Opening::Direct).expect("open")
}

#[test]
fn an_end_without_close_notify_is_an_end() {
    for version in [&TLS12, &TLS13] {
        let connection = to_peer(version, |mut stream| {
            stream.write_all(b"bye").expect("write");
        });
        smol::block_on(async {
            assert_eq!(receive_all(&connection).await, b"bye");
            assert_eq!(receive(&connection, 10).await.expect("end"), b"");
            connection.readable().await.expect("the end is readable");
        });
    }
}

#[test]
fn keys_may_change_on_the_way() {
    let connection = to_peer(&TLS13, |mut stream| {
        for _ in 0..3 {
            // Asks for new keys from the other end, too.
            stream.conn.refresh_traffic_keys().expect("key update");
            stream.write_all(b"ping").expect("write");
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).expect("read");
            assert_eq!(&answer, b"pong");
        }
    });
    smol::block_on(async {
        for _ in 0..3 {
            assert_eq!(receive(&connection, 10).await.expect("receive"), b"ping");
            send(&connection, b"pong").await.expect("send");
        }
    });
}

#[test]
fn a_forged_record_ends_the_connection() {
    let connection = to_peer(&TLS13, |mut stream| {
        stream.write_all(b"true").expect("write");
        let forged = [&[23, 3, 3, 0, 40][..], &[0; 40]].concat();
        stream.sock.write_all(&forged).expect("write");
        let _ = stream.sock.read(&mut [0; 100]);
    });
    smol::block_on(async {
        let mut received = Vec::new();
        let error = loop {
            match receive(&connection, 100).await {
                Ok(piece) => received.extend(piece),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(received.is_empty() || received == b"true");
        assert!(connection.try_write(b"more").is_err());
    });
}

#[test]
fn two_tasks_may_wait_at_the_same_time() {
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        let (client, server) = pair(true).await;
        let client = Rc::new(client);
        let got = Rc::new(Cell::new(0));
        let reader = executor.spawn({
            let (client, got) = (Rc::clone(&client), Rc::clone(&got));
            async move { got.set(receive_all(&client).await.len()) }
        });
        let writer = executor.spawn(async move {
            send(&client, &pattern(MEGABYTE, 9)).await.expect("send");
        });
        future::yield_now().await;
        send(&server, b"while you write").await.expect("send");
        let mut received = 0;
        while received < MEGABYTE {
            received += receive(&server, 9000).await.expect("receive").len();
        }
        writer.await;
        shut_down(&server).await;
        reader.await;
        assert_eq!(got.get(), 15);
    }));
}

#[test]
fn an_acceptor_tells_what_came_instead_of_tls() {
    let identity = self_signed(&["relay.test"], NOW, false);
    let acceptor =
        Acceptor::from_pem(identity.pem.as_bytes(), identity.key_pem.as_bytes()).expect("identity");
    let accept = |sent: &'static [u8], close: bool, deadline| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let mut peer = TcpStream::connect(address).expect("connect");
        peer.write_all(sent).expect("write");
        let open_peer = (!close).then_some(peer);
        let (socket, _) = listener.accept().expect("accept");
        let socket = Async::new(socket).expect("socket");
        let accepted = smol::block_on(acceptor.accept(socket, &[], deadline));
        drop(open_peer);
        accepted.expect_err("no handshake")
    };
    use kitelet::net::AcceptError;
    assert!(matches!(
        accept(b"GET / HTTP/1.1\r\n\r\n", false, soon()),
        AcceptError::Handshake(HandshakeError::NotTls { .. })
    ));
    assert!(matches!(accept(b"", true, soon()), AcceptError::Handshake(HandshakeError::Closed)));
    let now = std::time::Instant::now();
    assert!(matches!(accept(b"\x16", false, now), AcceptError::Timeout));

    let other = self_signed(&["relay.test"], NOW, false);
    assert!(Acceptor::from_pem(identity.pem.as_bytes(), other.key_pem.as_bytes()).is_err());
    assert!(Acceptor::from_pem(b"", identity.key_pem.as_bytes()).is_err());
}
