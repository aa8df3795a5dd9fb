//! Many small frames at once, which the reference's relay does not survive
//! (`protocol.md` 5), and services that are slower than their visitors.

mod agent_support;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

use agent_support::{Agent, FakeRelay, Open, Service, open_frame};

/// What the reference reads at once, and one frame too many for that.
const READ_BYTES: usize = 50_393;
const TOO_MANY_FRAMES: usize = 150;

#[test]
fn a_talkative_service_does_not_flood_a_relay_that_says_nothing() {
    let service = Service::new(|mut socket| {
        for _ in 0..3000 {
            if socket.write_all(b"x").is_err() {
                return;
            }
            // Each byte is a read of its own.
            let sent = Instant::now();
            while sent.elapsed() < Duration::from_micros(100) {
                thread::yield_now();
            }
        }
        let _ = socket.read(&mut [0]);
    });
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, service.port());
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    tunnel.confirms = false;
    tunnel.open(5, &Open::RAW, b"");
    tunnel.until("all bytes", |tunnel| tunnel.visit(5).data.len() == 3000);
    assert_bearable(&tunnel.frame_lengths);
}

#[test]
fn refusals_of_many_visitors_do_not_flood_the_relay_nor_the_log() {
    let relay = FakeRelay::new();
    let port = Service::echo().port();
    let lines = format!("max_streams = 1\nservice_on = https:kite.test:127.0.0.1:{port}:SECRET\n");
    let agent = Agent::start(&relay, &lines);
    let mut tunnel = relay.accept_flying();
    tunnel.confirms = false;
    let open = Open { protocol: "https", ..Open::HTTP };
    let opens: Vec<u8> = (1..=400).flat_map(|stream| open_frame(stream, &open, b"x")).collect();
    tunnel.send(&opens);
    tunnel.ping("all are refused");
    assert_bearable(&tunnel.frame_lengths);
    assert!(agent.log().lines().count() < 20, "{}", agent.log());
}

/// A service with a small buffer that always takes a little never has an empty
/// backlog; what it has taken must go from memory all the same.
#[test]
fn a_slow_service_costs_no_memory_for_what_it_has_taken() {
    let path = std::env::temp_dir().join(format!("kitelet-slow-{}.socket", std::process::id()));
    let listener = UnixListener::bind(&path).expect("a free path");
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(1..) = socket.read(&mut buffer) {
                thread::sleep(Duration::from_micros(200));
            }
        }
    });
    let relay = FakeRelay::new();
    let agent = Agent::start(
        &relay,
        &format!("service_on = raw:kite.test:unix:{}:SECRET\n", path.display()),
    );
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    tunnel.open(5, &Open::RAW, b"");
    let before = agent.peak();
    let part = vec![7; 1 << 20];
    for _ in 0..40 {
        tunnel.data(5, &part);
    }
    let more = agent.peak() - before;
    let _ = std::fs::remove_file(&path);
    assert!(more < 8 * 1024, "40 MB took {more} kB");
}

#[test]
fn visitors_of_a_lost_tunnel_have_their_line_in_the_log() {
    let relay = FakeRelay::new();
    let agent = Agent::with_raw(&relay, Service::echo().port());
    let mut tunnel = relay.accept_flying();
    for stream in 1..=3 {
        tunnel.open(stream, &Open::RAW, b"hello");
        tunnel.until("the echo", |tunnel| tunnel.visit(stream).data == b"hello");
    }
    drop(tunnel);
    agent.wait_for_log("the relay closed the tunnel");
    let lines = agent.log().lines().filter(|line| line.contains("5 bytes out")).count();
    assert_eq!(lines, 3, "{}", agent.log());
}

fn assert_bearable(lengths: &[usize]) {
    for start in 0..lengths.len() {
        let mut bytes = 0;
        let fit = lengths[start..].iter().take_while(|&&length| {
            bytes += length;
            bytes <= READ_BYTES
        });
        assert!(fit.count() < TOO_MANY_FRAMES, "from frame {start}");
    }
}
