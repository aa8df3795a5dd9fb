//! What an agent does with the signals that people and service managers send.

mod agent_support;

use std::thread;
use std::time::Duration;

use agent_support::{Agent, FakeRelay, Open, Reply, Service};
use kitelet::wire::Verdict;

#[test]
fn sighup_is_told_and_ends_nothing() {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, Service::echo().port());
    let (mut tunnel, request) = relay.accept_request();
    tunnel.send(&Reply::default().all(&request, &Verdict::Flying).encode());
    agent.wait_for_log("flies by relay");
    agent.hang_up();
    agent.wait_for_log("SIGHUP: the agent does not read its configuration again yet; restart it");
    tunnel.send(&agent_support::open_frame(5, &Open::RAW, b"still here"));
    tunnel.until("the echo", |tunnel| tunnel.visit(5).data == b"still here");
    thread::sleep(Duration::from_millis(100));
    assert!(agent.is_alive());
    assert_eq!(agent.terminate().code(), Some(0));
}
