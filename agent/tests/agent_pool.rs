//! Relays of a pool: the fastest ones are used, the next ones take over, and
//! what is better is gone back to without a cut.

mod agent_support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use agent_support::{Agent, Reply, Service, raw_service, wait_for};
use kitelet::wire::{HeadReader, TunnelRequest, Verdict};

/// A relay that answers pings after a while and flies everything.
struct PoolRelay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    milliseconds: AtomicU64,
    pings: AtomicUsize,
    tunnels: AtomicUsize,
    is_gone: AtomicBool,
}

impl PoolRelay {
    fn new(host: [u8; 4], port: u16, milliseconds: u64) -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::from(host), port)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        shared.milliseconds.store(milliseconds, Ordering::Relaxed);
        let known = Arc::clone(&shared);
        thread::spawn(move || {
            for visitor in listener.incoming().flatten() {
                let shared = Arc::clone(&known);
                thread::spawn(move || shared.serve(visitor));
            }
        });
        Self { address, shared }
    }

    fn tunnels(&self) -> usize {
        self.shared.tunnels.load(Ordering::Relaxed)
    }

    fn set_gone(&self, is_gone: bool) {
        self.shared.is_gone.store(is_gone, Ordering::Relaxed);
    }
}

impl Shared {
    fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    fn serve(&self, mut visitor: TcpStream) {
        let mut buffer = [0; 4096];
        let Ok(length) = visitor.read(&mut buffer) else { return };
        if self.is_gone() {
            return;
        }
        let mut input = &buffer[..length];
        if input.starts_with(b"HEAD /ping") {
            self.pings.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(self.milliseconds.load(Ordering::Relaxed)));
            let _ = visitor.write_all(b"HTTP/1.1 503 Unavailable\r\nConnection: close\r\n\r\n");
            return;
        }
        let mut head = HeadReader::new(4096);
        let head = head.read(&mut input).expect("a head").expect("all of it");
        let request = TunnelRequest::parse(head).expect("a request");
        let answer = Reply::default().all(&request, &Verdict::Flying).encode();
        if visitor.write_all(&answer).is_err() {
            return;
        }
        self.tunnels.fetch_add(1, Ordering::Relaxed);
        visitor.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        loop {
            match visitor.read(&mut buffer) {
                Ok(0) => break,
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
                _ if self.is_gone() => break,
                _ => {}
            }
        }
        self.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file that lists `relays`, and the lines for a pool of `wanted` of them.
fn pool(name: &str, wanted: usize, relays: &[&PoolRelay]) -> (PathBuf, String) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("pool-{}-{name}", std::process::id()));
    list(&path, relays);
    let port = relays[0].address.port();
    let service = raw_service(Service::echo().port());
    (path.clone(), format!("frontends = {wanted}:@{}:{port}\n{service}", path.display()))
}

fn list(path: &PathBuf, relays: &[&PoolRelay]) {
    let lines: Vec<String> = relays.iter().map(|relay| relay.address.ip().to_string()).collect();
    fs::write(path, format!("# relays\n{}\n", lines.join("\n"))).expect("written");
}

/// Three relays at one port, the second of which is the fastest.
fn three() -> [PoolRelay; 3] {
    let first = PoolRelay::new([127, 0, 0, 2], 0, 400);
    let port = first.address.port();
    [first, PoolRelay::new([127, 0, 0, 3], port, 1), PoolRelay::new([127, 0, 0, 4], port, 150)]
}

fn tunnels(relays: &[PoolRelay; 3]) -> [usize; 3] {
    [relays[0].tunnels(), relays[1].tunnels(), relays[2].tunnels()]
}

fn wait_for_tunnels(relays: &[PoolRelay; 3], wanted: [usize; 3]) {
    wait_for("the tunnels", || (tunnels(relays) == wanted).then_some(()));
}

#[test]
fn the_fastest_relay_is_used_and_the_next_one_takes_over() {
    let relays = three();
    let (_, lines) = pool("takes-over", 1, &[&relays[0], &relays[1], &relays[2]]);
    let agent = Agent::without_relay(&lines);
    wait_for_tunnels(&relays, [0, 1, 0]);
    relays[1].set_gone(true);
    wait_for_tunnels(&relays, [0, 0, 1]);
    agent.wait_for_log("relays of the pool that are used: 127.0.0.4");
}

#[test]
fn spare_relays_fly_at_the_same_time() {
    let relays = three();
    let (_, lines) = pool("spare", 1, &[&relays[0], &relays[1], &relays[2]]);
    let _agent = Agent::without_relay(&format!("spare_relays = 1\n{lines}"));
    wait_for_tunnels(&relays, [0, 1, 1]);
}

#[test]
fn a_relay_that_is_never_to_be_used_is_not() {
    let relays = three();
    let (_, lines) = pool("never", 1, &[&relays[0], &relays[1], &relays[2]]);
    let _agent = Agent::without_relay(&format!("nofrontend = {}\n{lines}", relays[1].address));
    wait_for_tunnels(&relays, [0, 0, 1]);
    assert_eq!(relays[1].shared.pings.load(Ordering::Relaxed), 0);
}

#[test]
fn a_better_relay_that_comes_gets_its_tunnel_before_the_old_one_drains() {
    let relays = three();
    let (path, lines) = pool("better", 1, &[&relays[0]]);
    let agent = Agent::without_relay(&lines);
    wait_for_tunnels(&relays, [1, 0, 0]);
    list(&path, &[&relays[0], &relays[1]]);
    // A pool that is well is looked at after 45 minutes, and now.
    agent.rewrite_all(&format!("{lines}nossl\nspare_relays = 0\nkeepalive = 90\n"));
    agent.hang_up();
    wait_for_tunnels(&relays, [1, 1, 0]);
    wait_for_tunnels(&relays, [0, 1, 0]);
}
