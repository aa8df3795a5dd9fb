//! Races between addresses that answer, refuse and keep silent.

use std::net::TcpListener;

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::*;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// A listener that nobody gets through to: its backlog is full, and the
/// kernel drops what comes after. Holds what fills it.
fn silent(address: &str, port: u16) -> (TcpListener, Vec<TcpStream>) {
    let address: SocketAddr = format!("{address}:{port}").parse().expect("address");
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
    let socket = socket.expect("socket");
    rustix::net::bind(&socket, &address).expect("bind");
    rustix::net::listen(&socket, 0).expect("listen");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("address");
    let patience = Duration::from_millis(50);
    let fill = std::iter::from_fn(|| TcpStream::connect_timeout(&address, patience).ok());
    (listener, fill.collect())
}

#[test]
fn a_dead_first_address_does_not_keep_the_second_from_winning() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let alive = listener.local_addr().expect("address");
    // Nothing listens there; without IPv6 there is no route either.
    let refusing = SocketAddr::new("::1".parse().expect("address"), alive.port());
    let dial = connect_any("x", vec![refusing, alive], SocketOptions::TUNNEL, soon());
    let socket = smol::block_on(dial).expect("connected");
    assert_eq!(socket.get_ref().peer_addr().expect("peer"), alive);
    assert!(socket.get_ref().nodelay().expect("option"));
    assert!(sockopt::socket_keepalive(socket.get_ref()).expect("option"));

    let (mute, _filling) = silent("127.0.0.2", 0);
    let mute = mute.local_addr().expect("address");
    let dial = connect_any("x", vec![mute, alive], SocketOptions::TUNNEL, soon());
    let socket = smol::block_on(dial).expect("connected");
    assert_eq!(socket.get_ref().peer_addr().expect("peer"), alive);
}

#[test]
fn the_deadline_ends_what_nobody_answers() {
    let mute = [silent("127.0.0.3", 0), silent("127.0.0.4", 0)];
    let addresses = mute.iter().map(|(socket, _)| socket.local_addr());
    let addresses = addresses.collect::<io::Result<Vec<_>>>().expect("address");
    let deadline = Instant::now() + 2 * ATTEMPT_DELAY;
    let dial = connect_any("relay", addresses, SocketOptions::TUNNEL, deadline);
    let text = smol::block_on(dial).expect_err("mute").to_string();
    assert!(text.contains("127.0.0.3 no answer in time"), "{text}");
    assert!(text.contains("127.0.0.4 no answer in time"), "{text}");
}

#[test]
fn an_old_attempt_makes_room_when_all_places_are_taken() {
    let pending = || -> Connecting { Box::pin(std::future::pending()) };
    let attempt = |address, since| Attempt { address, since, connecting: pending() };
    let now = Instant::now();
    let old = now.checked_sub(ATTEMPT_PATIENCE).unwrap_or(now);
    let all = addresses(&["::1", "::2", "::3"]);
    let mut race = Race {
        waiting: addresses(&["::4"]).into_iter(),
        running: vec![attempt(all[0], old), attempt(all[1], now), attempt(all[2], now)],
        failed: Vec::new(),
        start_next: false,
        pace: Timer::never(),
    };
    assert!(!race.start());
    race.make_room();
    race.make_room();
    assert_eq!(race.running.len(), MAX_ATTEMPTS - 1);
    assert_eq!(race.failed[0].address, all[0]);
    assert!(race.start() && !race.start());
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| SocketAddr::new(text.parse().expect("address"), 1)).collect()
}

#[test]
fn families_alternate_beginning_with_the_preferred_one() {
    for (given, tried) in [
        (vec!["::1", "::2", "1.1.1.1"], vec!["::1", "1.1.1.1", "::2"]),
        (
            vec!["1.1.1.1", "1.1.1.2", "::1", "1.1.1.3"],
            vec!["1.1.1.1", "::1", "1.1.1.2", "1.1.1.3"],
        ),
        (vec!["::1"], vec!["::1"]),
        (vec![], vec![]),
    ] {
        assert_eq!(alternate(addresses(&given)), addresses(&tried));
    }
}

#[test]
fn an_error_names_every_address_in_words() {
    let error = DialError::Tcp {
        host: "relay.example.com".to_owned(),
        port: 443,
        failed: vec![
            FailedAttempt {
                address: "[2001:db8::1]:443".parse().expect("address"),
                error: io::Error::from_raw_os_error(101),
            },
            FailedAttempt {
                address: "192.0.2.1:443".parse().expect("address"),
                error: io::ErrorKind::ConnectionRefused.into(),
            },
        ],
    };
    assert_eq!(
        error.to_string(),
        "cannot connect to relay.example.com port 443: \
         2001:db8::1 no route to that network; \
         192.0.2.1 connection refused, nothing listens there"
    );
}
