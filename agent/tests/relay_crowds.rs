//! Many at once, and who goes away in the middle: nothing of them is left
//! behind, they cost little, and others are served.
#![cfg(feature = "relay")]

mod relay_support;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use relay_support::{
    Bystander, Ended, Kite, LONG, Relay, Tunnel, ask, assert_modest, connect_from, frame, read_all,
    reset, send, status, statuses, wait_for,
};

const VISITOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

fn start() -> (Arc<Relay>, Bystander, usize) {
    let relay = Arc::new(Relay::start(""));
    let bystander = Bystander::start(&relay);
    // The first visits bring what the relay needs anyway.
    thread::sleep(Duration::from_millis(100));
    let before = relay.resident();
    (relay, bystander, before)
}

#[test]
fn ten_thousand_requests_at_once_are_answered_one_after_the_other() {
    let (relay, bystander, before) = start();
    let _kite = Kite::fly(&relay, "http:kite.test");
    const REQUESTS: usize = 10_000;
    let one = b"GET / HTTP/1.1\r\nHost: kite.test\r\n\r\n";
    let mut socket = connect_from(&relay, VISITOR);
    let mut writer = socket.try_clone().expect("a clone");
    let sender = thread::spawn(move || {
        send(&mut writer, &one.repeat(REQUESTS));
        let _ = writer.shutdown(Shutdown::Write);
    });
    let (answers, ended) = read_all(&mut socket, usize::MAX);
    sender.join().expect("sent");
    assert_eq!((statuses(&answers).len(), ended), (REQUESTS, Ended::Closed));
    assert_modest(&relay, before, 16);
    bystander.finish();
}

/// The tunnel is not read while the buffers are full; somebody who takes a
/// little all the time must not make that last for ever.
#[test]
fn who_reads_nothing_is_cut_although_another_reads_a_little() {
    let relay = Arc::new(Relay::start("buffers = 64"));
    let _kite = Kite::fly(&relay, "http:kite.test");
    let big = b"GET /big HTTP/1.1\r\nHost: kite.test\r\n\r\n";
    let mut idle: Vec<_> = (0..6).map(|_| connect_from(&relay, VISITOR)).collect();
    let mut slow = connect_from(&relay, VISITOR);
    idle.iter_mut().for_each(|socket| send(socket, big));
    send(&mut slow, big);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; 1024 * 1024];
        while stopped.recv_timeout(Duration::from_millis(20)).is_err() {
            if slow.read(&mut buffer).is_err() {
                return;
            }
        }
    });
    // Time for the kernels' buffers to fill, and the relay's.
    thread::sleep(Duration::from_secs(2));
    for _ in 0..3 {
        let asked = b"GET / HTTP/1.1\r\nHost: kite.test\r\nConnection: close\r\n\r\n";
        assert_eq!(status(&ask(&relay, VISITOR, asked)), Some(200));
    }
    let _ = stop.send(());
    reader.join().expect("the slow one");
}

#[test]
fn who_reads_no_answers_costs_little() {
    let (relay, bystander, before) = start();
    let kite = Kite::fly(&relay, "http:kite.test");
    let mut sockets = Vec::new();
    for number in 0..20 {
        let mut socket = connect_from(&relay, VISITOR);
        socket.set_nonblocking(true).expect("non-blocking");
        let request: &[u8] = if number % 2 == 0 {
            b"GET /big HTTP/1.1\r\nHost: kite.test\r\n\r\n"
        } else {
            // As much as the kernels hold on the way, and the relay.
            &b"GET / HTTP/1.1\r\nHost: kite.test\r\n\r\n".repeat(20_000)
        };
        let _ = socket.write(request);
        sockets.push(socket);
    }
    wait_for("the visits to begin", || (kite.streams() >= 15).then_some(()));
    // Longer than the relay waits before it cuts the most greedy one.
    thread::sleep(Duration::from_secs(6));
    assert_modest(&relay, before, 32);
    for (number, socket) in sockets.iter().enumerate() {
        if number % 3 == 0 {
            reset(socket);
        }
    }
    drop(sockets);
    // The kite is as good as new.
    let answer =
        ask(&relay, VISITOR, b"GET / HTTP/1.1\r\nHost: kite.test\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&answer), Some(200));
    bystander.finish();
}

#[test]
fn who_goes_in_the_middle_leaves_nothing_behind() {
    let (relay, bystander, before) = start();
    let kite = Kite::fly(&relay, "http:kite.test");
    let descriptors = relay.descriptors();
    for number in 0..100 {
        let mut socket = connect_from(&relay, VISITOR);
        send(&mut socket, b"GET /big HTTP/1.1\r\nHost: kite.test\r\n\r\n");
        let mut some = vec![0; 1 + number * 1000];
        let _ = socket.read(&mut some);
        if number % 2 == 0 {
            reset(&socket);
        }
        // And in the middle of a request.
        let mut socket = connect_from(&relay, VISITOR);
        send(
            &mut socket,
            b"POST / HTTP/1.1\r\nHost: kite.test\r\nContent-Length: 99999\r\n\r\nabc",
        );
        if number % 2 == 1 {
            reset(&socket);
        }
    }
    assert!(kite.streams() > 0);
    wait_for("the relay to let go", || (relay.descriptors() <= descriptors + 3).then_some(()));
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn who_finishes_and_then_vanishes_leaves_nothing_behind() {
    let (relay, bystander, _) = start();
    let mut agent = Tunnel::fly(&relay, Ipv4Addr::new(127, 0, 0, 66), &["http:kite.test"]);
    let descriptors = relay.descriptors();
    let mut socket = connect_from(&relay, VISITOR);
    send(&mut socket, b"GET / HTTP/1.1\r\nHost: kite.test\r\n\r\n");
    socket.shutdown(Shutdown::Write).expect("a live connection");
    agent.wait_for(b"EOF: 1R");
    reset(&socket);
    drop(socket);
    // The relay learns of it from the answer that it cannot pass on.
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    agent.send(&frame("SID: 1\r\n", head));
    for _ in 0..10 {
        agent.send(&frame("SID: 1\r\n", &[b'x'; 1000]));
    }
    agent.wait_for(b"EOF: 1W");
    wait_for("the relay to let go", || (relay.descriptors() <= descriptors).then_some(()));
    bystander.finish();
}

#[test]
fn visitors_of_raw_kites_who_vanish_leave_nothing_behind() {
    let (relay, bystander, _) = start();
    let mut agent = Tunnel::fly(&relay, Ipv4Addr::new(127, 0, 0, 66), &["raw:kite.test"]);
    let descriptors = relay.descriptors();
    for (stream, finishes) in [(1, true), (2, false)] {
        let mut socket = connect_from(&relay, VISITOR);
        send(&mut socket, b"CONNECT kite.test:22 HTTP/1.1\r\n\r\nSSH-2.0-x\r\n");
        agent.wait_for(b"SSH-2.0-x\r\n");
        if finishes {
            socket.shutdown(Shutdown::Write).expect("a live connection");
            agent.wait_for(b"EOF: 1R");
        }
        reset(&socket);
        drop(socket);
        for _ in 0..10 {
            agent.send(&frame(&format!("SID: {stream}\r\n"), &[b'x'; 1000]));
        }
        agent.wait_for(b"EOF: 1W");
    }
    wait_for("the relay to let go", || (relay.descriptors() <= descriptors).then_some(()));
    bystander.finish();
}

#[test]
fn a_thousand_connections_that_close_at_once_leave_nothing_behind() {
    let (relay, bystander, before) = start();
    let descriptors = relay.descriptors();
    let begin = Instant::now();
    for number in 0..1000 {
        let socket = connect_from(&relay, VISITOR);
        if number % 2 == 0 {
            reset(&socket);
        }
    }
    assert!(begin.elapsed() < LONG);
    wait_for("the relay to let go", || (relay.descriptors() <= descriptors + 3).then_some(()));
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn one_address_cannot_take_all_places() {
    let (relay, bystander, _) = start();
    let crowd: Vec<_> = (0..300).map(|_| connect_from(&relay, VISITOR)).collect();
    let mut late = connect_from(&relay, VISITOR);
    let (answer, _) = read_all(&mut late, 10_000);
    assert_eq!(status(&answer), Some(429));
    let elsewhere = Ipv4Addr::new(127, 0, 0, 12);
    let request = b"GET / HTTP/1.1\r\nHost: good.kite.test\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&ask(&relay, elsewhere, request)), Some(200));
    drop(crowd);
    wait_for("room again", || {
        let answer = ask(&relay, VISITOR, request);
        (status(&answer) == Some(200)).then_some(())
    });
    bystander.finish();
}
