//! Another configuration for an agent that runs (SIGHUP), and its end (SIGTERM):
//! what did not change keeps its tunnel and its streams.

mod agent_support;

use std::time::Duration;

use agent_support::{Agent, FakeRelay, Open, Reply, Service};
use kitelet::wire::Verdict;

const HANGS_UP: Duration = Duration::from_millis(100);

fn flying(relay: &FakeRelay) -> agent_support::Tunnel {
    let (mut tunnel, request) = relay.accept_request();
    tunnel.send(&Reply::default().all(&request, &Verdict::Flying).encode());
    tunnel
}

#[test]
fn sighup_without_changes_is_told_and_ends_nothing() {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, Service::echo().port());
    let mut tunnel = flying(&relay);
    agent.wait_for_log("flies by relay");
    agent.hang_up();
    agent.wait_for_log("the configuration is read again; nothing has changed");
    tunnel.send(&agent_support::open_frame(5, &Open::RAW, b"still here"));
    tunnel.until("the echo", |tunnel| tunnel.visit(5).data == b"still here");
    assert!(agent.is_alive());
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn a_file_with_mistakes_changes_nothing() {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, Service::echo().port());
    let mut tunnel = flying(&relay);
    agent.wait_for_log("flies by relay");
    agent.rewrite("frontend = no host at all:x\n");
    agent.hang_up();
    agent.wait_for_log("the configuration has mistakes; the one before holds on");
    tunnel.send(&agent_support::open_frame(5, &Open::RAW, b"still here"));
    tunnel.until("the echo", |tunnel| tunnel.visit(5).data == b"still here");
    assert!(agent.is_alive());
}

#[test]
fn a_service_that_moves_keeps_its_tunnel_and_its_streams() {
    let relay = FakeRelay::new();
    let (old, new) = (
        Service::echo(),
        Service::new(|mut visitor| {
            use std::io::Write as _;
            let _ = visitor.write_all(b"the new one");
        }),
    );
    let agent = Agent::with_raw(&relay, old.port());
    let mut tunnel = flying(&relay);
    agent.wait_for_log("flies by relay");
    tunnel.send(&agent_support::open_frame(5, &Open::RAW, b"one"));
    tunnel.until("the echo", |tunnel| tunnel.visit(5).data == b"one");
    agent.rewrite(&agent_support::raw_service(new.port()));
    agent.hang_up();
    agent.wait_for_log("raw:kite.test goes to");
    tunnel.send(&agent_support::open_frame(7, &Open::RAW, b""));
    tunnel.until("the new service", |tunnel| tunnel.visit(7).data == b"the new one");
    tunnel.data(5, b", two");
    tunnel.until("the old stream", |tunnel| tunnel.visit(5).data == b"one, two");
    assert_eq!(relay.count_connections(HANGS_UP), 0);
}

#[test]
fn a_new_kite_comes_by_a_tunnel_of_its_own() {
    let relay = FakeRelay::new();
    let service = Service::echo();
    let agent = Agent::with_raw(&relay, service.port());
    let mut tunnel = flying(&relay);
    agent.wait_for_log("flies by relay");
    let lines = agent_support::raw_service(service.port());
    agent.rewrite(&format!("{lines}{}", lines.replace("kite.test", "other.test")));
    agent.hang_up();
    let (mut second, request) = relay.accept_request();
    let kites: Vec<_> = request.kites.iter().map(|kite| kite.id.to_string()).collect();
    assert!(kites.len() == 1 && kites[0] == "raw:other.test", "{kites:?}");
    // What becomes of it is no matter of the first tunnel's.
    second.send(&Reply::default().all(&request, &Verdict::Refused("quota".into())).encode());
    agent.wait_for_log("refuses raw:other.test");
    tunnel.send(&agent_support::open_frame(5, &Open::RAW, b"still here"));
    tunnel.until("the echo", |tunnel| tunnel.visit(5).data == b"still here");
}

#[test]
fn a_kite_that_comes_while_the_relay_hesitates_is_asked_for_with_the_others() {
    let relay = FakeRelay::new();
    let service = Service::echo();
    let agent = Agent::with_raw(&relay, service.port());
    let (_hesitating, request) = relay.accept_request();
    assert_eq!(request.kites.len(), 1);
    let lines = agent_support::raw_service(service.port());
    agent.rewrite(&format!("{lines}{}", lines.replace("kite.test", "other.test")));
    agent.hang_up();
    let (_, request) = relay.accept_request();
    assert_eq!(request.kites.len(), 2);
}

#[test]
fn a_kite_that_is_gone_is_not_served_and_leaves_when_nobody_uses_the_tunnel() {
    let relay = FakeRelay::new();
    let service = Service::echo();
    let lines = agent_support::raw_service(service.port());
    let two = format!("{lines}{}", lines.replace("kite.test", "other.test"));
    let agent = Agent::start(&relay, &two);
    let mut tunnel = flying(&relay);
    agent.wait_for_log("raw:other.test flies by relay");
    tunnel.send(&agent_support::open_frame(5, &Open::RAW, b"busy"));
    tunnel.until("the echo", |tunnel| tunnel.visit(5).data == b"busy");
    agent.rewrite(&lines);
    agent.hang_up();
    agent.wait_for_log("raw:other.test is gone");
    assert_eq!(relay.count_connections(HANGS_UP), 0, "a stream was open");
    tunnel.eof(5, "RW");
    let (_, request) = relay.accept_request();
    assert_eq!(request.kites.len(), 1);
    assert!(request.replace.is_some(), "the old tunnel is to go");
}

#[test]
fn the_end_is_clean_and_waits_for_streams_a_moment() {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, Service::echo().port());
    let mut tunnel = flying(&relay);
    agent.wait_for_log("flies by relay");
    tunnel.send(&agent_support::open_frame(5, &Open::RAW, b"one"));
    tunnel.until("the echo", |tunnel| tunnel.visit(5).data == b"one");
    agent.ask_to_end();
    agent.wait_for_log("ending");
    tunnel.send(&agent_support::open_frame(7, &Open::RAW, b"too late"));
    tunnel.until("the refusal", |tunnel| tunnel.visit(7).is_over());
    tunnel.data(5, b", two");
    tunnel.until("the old stream", |tunnel| tunnel.visit(5).data == b"one, two");
    tunnel.eof(5, "RW");
    tunnel.wait_for_end();
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
#[ignore = "takes two minutes"]
fn a_configuration_that_reaches_no_relay_gives_way_to_the_one_before() {
    let (old, service) = (FakeRelay::new(), Service::echo());
    let agent = Agent::with_raw(&old, service.port());
    let tunnel = flying(&old);
    agent.wait_for_log("flies by relay");
    let lines = agent_support::raw_service(service.port());
    let dead = agent_support::dead_port();
    agent.rewrite_all(&format!("nossl\nfrontend = 127.0.0.1:{dead}\n{lines}"));
    agent.hang_up();
    agent.wait_for_log("is new");
    drop(tunnel);
    // The old relay is still one of the file's; nobody listens there either.
    let port = old.port();
    drop(old);
    let end = std::time::Instant::now() + Duration::from_secs(150);
    while !agent.log().contains("the one before holds again") {
        assert!(std::time::Instant::now() < end, "it did not give way: {}", agent.log());
        std::thread::sleep(Duration::from_millis(200));
    }
    let old = FakeRelay::at(port);
    let _tunnel = flying(&old);
}
