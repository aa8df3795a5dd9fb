//! What visitors and agents do to a running relay at the worst moment: nobody
//! may wait for ever, nothing may stay behind, and nothing may reach whom it is
//! not for. The agent's every frame is the test's own.
#![cfg(all(feature = "relay", target_os = "linux"))]
#![allow(dead_code, unreachable_pub)]

mod agent;
mod relay;

use std::thread;
use std::time::{Duration, Instant};

use agent::Agent;
use kitelet::wire::Verdict;
use relay::Relay;

/// Far beyond what any step takes here.
const LONG: Duration = Duration::from_secs(20);

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_visitor_who_leaves_in_the_middle_of_an_answer_leaves_nothing_behind() {
    let relay = Relay::start("");
    let mut agent = Agent::fly(&relay, &["http:kite.test"]);
    let before = relay.descriptors();
    for _ in 0..3 {
        let mut visitor = relay.visitor();
        visitor.get("kite.test", "");
        let stream = agent.next_stream().stream();
        agent.data(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbegin");
        visitor.read_until("begin");
        // A FIN first, and a reset in answer to what comes then.
        drop(visitor);
        assert_eq!(agent.end_of(stream), "1R");
        for _ in 0..20 {
            agent.data(stream, [b'x'; 1000]);
            thread::sleep(Duration::from_millis(2));
        }
    }
    relay.wait_for_descriptors(before);
}

#[test]
fn agents_and_visitors_take_no_places_from_each_other() {
    let relay = Relay::start("max_visitors = 2\n");
    let mut agents: Vec<_> =
        (0..70).map(|number| Agent::fly(&relay, &[&format!("http:a{number}.kite.test")])).collect();
    let mut visitors: Vec<_> = (0..2).map(|_| relay.visitor()).collect();
    for visitor in &mut visitors {
        visitor.get("a0.kite.test", "");
        let stream = agents[0].next_stream().stream();
        agents[0].data(stream, OK);
        visitor.read_until("ok");
    }
    let mut third = relay.visitor();
    third.get("a0.kite.test", "");
    assert!(third.read_to_end().expect("a page").starts_with("HTTP/1.1 503 "));
    Agent::fly(&relay, &["http:late.kite.test"]);
    drop(visitors);
    let end = Instant::now() + LONG;
    loop {
        let mut visitor = relay.visitor();
        visitor.get("a1.kite.test", "");
        visitor.0.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        if visitor.read_to_end().is_err() {
            // It waits for the kite's answer.
            break;
        }
        assert!(Instant::now() < end, "places that nobody has stay taken");
    }
}

#[test]
#[ignore = "takes a minute"]
fn an_agent_without_a_kite_gains_no_time_by_asking_again() {
    let relay = Relay::start("");
    let (mut agent, answer) = Agent::ask(&relay, &["http:kite.test"], None);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(62) {
        // A challenge that is not answered rightly is asked for anew.
        agent.ask_again(&answer);
        if agent.is_closed_within(Duration::from_secs(5)) {
            return;
        }
    }
    panic!("it holds a tunnel without the secret of a kite");
}

#[test]
fn a_kite_that_is_taken_out_comes_down_and_its_secret_is_good_no_more() {
    let relay = Relay::start("");
    let mut agent = Agent::fly(&relay, &["http:kite.test"]);
    let config = std::fs::read_to_string(relay.config()).expect("readable");
    let lines = config.lines().filter(|line| !line.starts_with("domain = *:kite.test"));
    let without = lines.collect::<Vec<_>>().join("\n");
    let (mut waiting, challenge) = Agent::ask(&relay, &["raw:kite.test"], None);
    std::fs::write(relay.config(), without).expect("written");
    relay.reload();
    assert!(agent.is_closed_within(LONG));
    let verdicts = waiting.sign(&challenge);
    assert!(matches!(verdicts[..], [Verdict::Refused(_)]), "{verdicts:?}");
}

#[test]
fn an_agent_that_comes_again_takes_the_place_of_a_tunnel_that_is_stuck() {
    let relay = Relay::start("");
    let mut old = Agent::fly(&relay, &["http:kite.test"]);
    let session = old.session.clone();
    let mut visitor = relay.visitor();
    visitor.get("kite.test", "");
    old.next_stream();
    let (mut new, answer) = Agent::ask(&relay, &["http:kite.test"], Some(&session));
    let verdicts = new.sign(&answer);
    assert_eq!(verdicts, [Verdict::Flying]);
    // Nothing of an answer came: a page instead.
    assert!(visitor.read_to_end().expect("a page").starts_with("HTTP/1.1 503 "));
    let mut visitor = relay.visitor();
    visitor.get("kite.test", "");
    let stream = new.next_stream().stream();
    new.data(stream, OK);
    visitor.read_until("ok");
}
