//! A connection inside a WebSocket: over TLS and in clear, both ways at once,
//! to its end, and what is said when there is none.

mod net_support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use async_io::{Async, Timer};
use kitelet::config::{Pin, RelayAddress, Security};
use kitelet::net::websocket::{End, MAX_FRAME_BYTES, Opcode, accept_upgrade, append_frame};
use kitelet::net::{
    Acceptor, Connection, Connector, OUTGOING_LIMIT, OpenError, OpenFailure, OpenStep, Opening,
    Timeouts,
};
use net_support::*;
use rustix::net::sockopt;
use smol::{LocalExecutor, future};

const MEGABYTE: usize = 1024 * 1024;

/// Two ends of one connection in this thread, over small socket buffers. The
/// server's first bytes are glued to its answer.
async fn pair(encrypted: bool, glued: &[u8]) -> (Connection, Connection) {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).expect("bind");
    sockopt::set_socket_recv_buffer_size(&listener, 8192).expect("option");
    sockopt::set_socket_send_buffer_size(&listener, 8192).expect("option");
    let port = listener.get_ref().local_addr().expect("address").port();
    let relay = RelayAddress { host: "127.0.0.1".to_owned(), port };
    let identity = self_signed(&["relay.test"], NOW, true);
    let pin = Pin::KeySha256(identity.key_sha256());
    let (security, host) = match encrypted {
        true => (security(&[("relay.test", Some(pin))], None), "relay.test"),
        false => (Security::Plain, "127.0.0.1"),
    };
    let connector = Connector::new(&security).expect("settings").inside_websocket(true);
    let accept = async {
        let (socket, _) = listener.accept().await.expect("accept");
        let connection = if encrypted {
            Acceptor::from_pem(identity.pem.as_bytes(), identity.key_pem.as_bytes())
                .expect("identity")
                .accept(socket, &[], soon())
                .await
                .expect("handshake")
        } else {
            Connection::plain(socket)
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(receive(&connection, 1).await.expect("a request"));
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        assert!(text.contains(&format!("\r\nHost: {host}:{port}\r\n")), "{text}");
        let mut answer = accept_upgrade(&head).expect("a tunnel").expect("accepted");
        answer.extend_from_slice(glued);
        send(&connection, &answer).await.expect("answer");
        connection.into_websocket(End::Server, Vec::new())
    };
    // A name that is announced in clear would break the server here.
    let open = async { connector.open(&relay, Opening::ClearConnect).await.expect("open") };
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
            let (client, server) = pair(encrypted, b"").await;
            let tasks: Vec<_> = [(client, 1), (server, 2)]
                .into_iter()
                .map(|(connection, seed)| {
                    let connection = Rc::new(connection);
                    let writer = Rc::clone(&connection);
                    let sends = executor.spawn(async move {
                        send(&writer, &pattern(MEGABYTE, seed)).await.expect("send");
                    });
                    executor.spawn(async move {
                        let mut received = Vec::new();
                        while received.len() < MEGABYTE {
                            received.extend(receive(&connection, 70_000).await.expect("receive"));
                        }
                        assert!(received == pattern(MEGABYTE, 3 - seed));
                        sends.await;
                        connection
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
fn what_is_glued_to_the_answer_is_not_waited_for() {
    for encrypted in [false, true] {
        smol::block_on(async {
            let (client, _server) = pair(encrypted, b"\x82\x05Hello").await;
            client.readable().await.expect("readable");
            let mut received = receive(&client, 3).await.expect("receive");
            received.extend(receive(&client, 3).await.expect("receive"));
            received.extend(receive(&client, 3).await.expect("receive"));
            assert_eq!(received, b"Hello");
            let error = client.try_read(&mut [0; 10]).expect_err("nothing left");
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        });
    }
}

#[test]
fn a_reader_that_does_not_read_stops_the_writer() {
    for encrypted in [false, true] {
        smol::block_on(async {
            let (client, server) = pair(encrypted, b"").await;
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
            assert!(client.has_unsent() && client.try_flush().is_err());
            let (before, mut received) = (taken, Vec::new());
            while taken - before <= OUTGOING_LIMIT + MAX_FRAME_BYTES {
                received.extend(receive(&server, 5000).await.expect("receive"));
                if let Ok(more) = client.try_write(&sent[taken..]) {
                    taken += more;
                }
            }
            assert!(received == sent[..received.len()]);
        });
    }
}

#[test]
fn a_shutdown_cuts_nothing_off_and_ends_both_ways() {
    for encrypted in [false, true] {
        smol::block_on(async {
            let (client, server) = pair(encrypted, b"").await;
            let sent = pattern(4 * MEGABYTE, 5);
            let mut taken = 0;
            while let Ok(more) = client.try_write(&sent[taken..]) {
                taken += more;
            }
            let error = client.shutdown().expect_err("bytes are left");
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            let error = client.try_write(b"more").expect_err("shut down");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            let flushed = async { flush(&client).await.expect("flush") };
            let (received, ()) = future::zip(receive_all(&server), flushed).await;
            assert!(received == sent[..taken]);
            server.readable().await.expect("the end is readable");
            let error = server.try_write(b"more").expect_err("closed");
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
            shut_down(&server).await;
            assert_eq!(receive_all(&client).await, b"");
        });
    }
}

#[test]
fn data_before_the_end_of_a_half_dead_server_arrives() {
    smol::block_on(async {
        let (client, server) = pair(true, b"").await;
        send(&server, b"last words").await.expect("send");
        drop(server);
        assert_eq!(receive_all(&client).await, b"last words");
        client.readable().await.expect("the end is readable");
    });
}

/// A relay in clear that answers the request for a WebSocket with this, and
/// stays or goes.
fn answers(answer: &'static [u8], stays: bool) -> RelayAddress {
    relay(move |mut socket: TcpStream| {
        assert!(read_head(&mut socket).starts_with("GET /.kitelet/tunnel HTTP/1.1\r\n"));
        let _ = socket.write_all(answer);
        if stays {
            let _ = socket.read(&mut [0; 10]);
        }
    })
}

fn refused(relay: &RelayAddress, time: Duration) -> OpenError {
    let connector = Connector::new(&Security::Plain).expect("settings").inside_websocket(true);
    let connector =
        connector.with_timeouts(Timeouts { dial: LONG, connect: time, ..Timeouts::default() });
    let opened = smol::block_on(connector.open(relay, Opening::Direct));
    let error = opened.expect_err("no WebSocket");
    println!("{error}");
    assert!(!error.suggests_clear_connect());
    error
}

#[test]
fn a_relay_that_opens_none_is_told_in_words() {
    let page =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body>Welcome</body></html>";
    for (answer, words) in [
        (&page[..], "no WebSocket was opened (HTTP 200 OK); it is no Kitelet relay, or a proxy"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "(HTTP 404 Not Found); it is no Kitelet relay"),
        (b"HTTP/1.1 503 Unavailable\r\n\r\n", "(HTTP 503 Unavailable); it is no Kitelet relay"),
        (b"HTTP/1.1 407 \x1b[31mred\r\n\r\n", "was not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "was not HTTP; is the port right?"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "does not say that this is a WebSocket now"),
    ] {
        let error = refused(&answers(answer, true), LONG);
        assert!(matches!(error.failure, OpenFailure::WebSocket(_)));
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("remove wschunks"), "{text}");
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
    let closed = "the connection was closed after the WebSocket request";
    assert!(refused(&answers(b"", false), LONG).to_string().contains(closed));
    assert!(refused(&answers(b"HTTP/1.1 101", false), LONG).to_string().contains(closed));
    let silent = refused(&answers(b"HTTP/1.1 101", true), Duration::from_millis(100));
    assert!(matches!(silent.failure, OpenFailure::Timeout(OpenStep::WebSocket)));
}

#[test]
fn an_endless_answer_is_no_answer() {
    let relay = relay(|mut socket| {
        let _ = socket.write_all(b"HTTP/1.1 101 Switching Protocols\r\n");
        while socket.write_all(b"X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").is_ok() {
        }
    });
    assert!(refused(&relay, LONG).to_string().contains("was not HTTP"));
}

#[test]
fn a_server_that_breaks_the_protocol_is_an_error_in_words() {
    let mut masked = Vec::new();
    append_frame(&mut masked, Opcode::Binary, Some([1; 4]), b"x");
    for (glued, words) in [
        (&b"\x82\x02ok\xc2\x00"[..], "a frame has reserved bits set"),
        (&[b"\x82\x02ok", &masked[..]].concat(), "a server's frame is masked"),
        (b"\x82\x02ok\x81\x02hi", "a message of text"),
    ] {
        smol::block_on(async {
            let (client, server) = pair(true, glued).await;
            assert_eq!(receive(&client, 100).await.expect("what came before"), b"ok");
            let error = receive(&client, 100).await.expect_err("broken");
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert!(error.to_string().contains(words), "{error}");
            assert!(client.try_write(b"more").is_err());
            assert_eq!(receive_all(&server).await, b"", "the server is told by a close");
        });
    }
}
