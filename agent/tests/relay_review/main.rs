//! What visitors and agents do to a running relay at the worst moment: nobody
//! may wait for ever, nothing may stay behind, and nothing may reach whom it is
//! not for. The agent's every frame is the test's own.
#![cfg(all(feature = "relay", target_os = "linux"))]
#![allow(dead_code, unreachable_pub)]

mod agent;
mod relay;

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
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

#[test]
fn a_part_of_an_answer_is_not_taken_for_all_of_it() {
    let relay = Relay::start("");
    let mut agent = Agent::fly(&relay, &["http:kite.test"]);
    let mut visitor = relay.visitor();
    visitor.get("kite.test", "");
    let stream = agent.next_stream().stream();
    agent.data(stream, "HTTP/1.0 200 OK\r\n\r\npart");
    visitor.read_until("part");
    drop(agent);
    assert_eq!(visitor.read_to_end(), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_slow_visitor_gets_all_of_an_answer_whose_tunnel_is_gone() {
    const LENGTH: usize = 6 << 20;
    let relay = Relay::start("buffers = 16384\n");
    let mut agent = Agent::fly(&relay, &["http:kite.test"]);
    let mut visitor = relay.visitor();
    visitor.get("kite.test", "");
    let stream = agent.next_stream().stream();
    agent.data(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n"));
    for _ in 0..LENGTH / 8192 {
        agent.data(stream, [b'x'; 8192]);
    }
    // By its answer the relay has taken in all of it.
    agent.ping();
    drop(agent);
    relay.wait_for_log("the agent closed the tunnel");
    let answer = visitor.read_to_end().expect("no reset");
    assert_eq!(answer.split_once("\r\n\r\n").map(|(_, body)| body.len()), Some(LENGTH));
}

#[test]
fn each_request_on_a_connection_goes_to_its_own_kite() {
    let relay = Relay::start("");
    let mut one = Agent::fly(&relay, &["http:one.kite.test"]);
    let mut two = Agent::fly(&relay, &["http:*.two.kite.test"]);
    let mut visitor = relay.visitor();
    let post = "POST /first HTTP/1.1\r\nHost: one.kite.test\r\nContent-Length: 4\r\n\r\nbody";
    let get = |host: &str| format!("GET /next HTTP/1.1\r\nHost: {host}\r\n\r\n");
    visitor.send(&(post.to_owned() + &get("a.two.kite.test") + &get("b.two.kite.test")));
    let first = one.next_stream();
    let mut body = first.text();
    while !body.ends_with("body") {
        body += &one.next_of_stream().text();
    }
    assert!(!body.contains("/next"), "{body}");
    one.data(first.stream(), OK);
    assert_eq!(visitor.read_until("ok"), OK);
    for name in ["a.two.kite.test", "b.two.kite.test"] {
        let next = two.next_stream();
        assert_eq!(next.get("Host"), Some(name));
        assert_eq!(next.text(), get(name));
        two.data(next.stream(), OK);
        assert_eq!(visitor.read_until("ok"), OK);
    }
    assert_eq!(one.end_of(first.stream()), "1WR");
}

#[test]
fn a_service_that_closes_an_idle_connection_costs_no_request() {
    let relay = Relay::start("");
    let mut agent = Agent::fly(&relay, &["http:kite.test"]);
    let mut visitor = relay.visitor();
    visitor.get("kite.test", "");
    let stream = agent.next_stream().stream();
    agent.data(stream, OK);
    visitor.read_until("ok");
    visitor.get("kite.test", "");
    assert_eq!(agent.next_of_stream().stream(), stream, "the same connection");
    agent.eof(stream, "WR");
    let stream = agent.next_stream().stream();
    agent.data(stream, OK);
    assert_eq!(visitor.read_until("ok"), OK);
    // What must not be sent twice is the visitor's to send again.
    visitor.send("POST / HTTP/1.1\r\nHost: kite.test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(agent.next_of_stream().stream(), stream);
    agent.eof(stream, "WR");
    assert_eq!(visitor.read_to_end(), Ok(String::new()));
}

#[test]
fn a_body_that_is_none_is_answered_by_the_relay() {
    let relay = Relay::start("");
    let mut agent = Agent::fly(&relay, &["http:kite.test"]);
    let mut visitor = relay.visitor();
    visitor.send("POST / HTTP/1.1\r\nHost: kite.test\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n");
    let stream = agent.next_stream().stream();
    assert_eq!(agent.end_of(stream), "1WR");
    assert!(visitor.read_to_end().expect("a page").starts_with("HTTP/1.1 400 "));
}

#[test]
fn another_protocol_has_both_ends_bytes_from_the_first_on() {
    let relay = Relay::start("");
    let mut agent = Agent::fly(&relay, &["http:kite.test"]);
    let mut visitor = relay.visitor();
    let head = "GET / HTTP/1.1\r\nHost: kite.test\r\nUpgrade: websocket\r\n\r\n";
    visitor.send(&format!("{head}early"));
    let first = agent.next_stream();
    assert_eq!((first.get("Proto"), first.text()), (Some("http"), head.to_owned()));
    let stream = first.stream();
    agent.data(stream, "HTTP/1.1 101 Switching Protocols\r\n\r\nglued");
    assert!(visitor.read_until("glued").starts_with("HTTP/1.1 101 "));
    assert_eq!(agent.next_of_stream().text(), "early");
    for text in ["a", "b"] {
        visitor.send(text);
        assert_eq!(agent.next_of_stream().text(), text);
        agent.data(stream, text);
        visitor.read_until(text);
    }
    agent.eof(stream, "R");
    assert_eq!(visitor.read_to_end(), Ok(String::new()));
    drop(visitor);
    assert!(agent.end_of(stream).contains('R'));
}

#[test]
fn a_visitor_who_has_said_all_gets_his_answer() {
    let relay = Relay::start("");
    let mut agent = Agent::fly(&relay, &["http:kite.test", "raw:kite.test"]);
    let before = relay.descriptors();
    for start in ["", "CONNECT kite.test:22 HTTP/1.0\r\n\r\n"] {
        let mut visitor = relay.visitor();
        visitor.send(start);
        if !start.is_empty() {
            visitor.read_until("\r\n\r\n");
        }
        visitor.send("GET / HTTP/1.0\r\nHost: kite.test\r\n\r\n");
        visitor.0.shutdown(Shutdown::Write).expect("open");
        let stream = agent.next_stream().stream();
        assert_eq!(agent.end_of(stream), "1R");
        agent.data(stream, "HTTP/1.0 200 OK\r\n\r\n");
        agent.data(stream, "all of it");
        agent.eof(stream, "R");
        assert!(visitor.read_to_end().expect("an answer").ends_with("all of it"));
    }
    relay.wait_for_descriptors(before);
}

#[test]
fn an_answer_that_comes_early_is_all_that_comes() {
    let relay = Relay::start("");
    let mut agent = Agent::fly(&relay, &["http:kite.test"]);
    let before = relay.descriptors();
    let mut visitor = relay.visitor();
    visitor.send("POST / HTTP/1.1\r\nHost: kite.test\r\nContent-Length: 99999999\r\n\r\nbegin");
    let stream = agent.next_stream().stream();
    let answer = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    agent.data(stream, answer);
    assert_eq!(agent.end_of(stream), "1WR");
    let _ = visitor.0.write_all(&[b'x'; 60_000]);
    assert_eq!(visitor.read_to_end(), Ok(answer.to_owned()));
    drop(visitor);
    relay.wait_for_descriptors(before);
}

#[test]
fn the_kites_file_is_read_again_although_another_file_is_gone() {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let name = |end: &str| folder.join(format!("review-{}-{end}", std::process::id()));
    let (kites, motd) = (name("kites"), name("motd"));
    std::fs::write(&kites, "http:other.test:secret-of-another\n").expect("written");
    std::fs::write(&motd, "hello").expect("written");
    let lines = format!("kites = {}\nmotd = {}\n", kites.display(), motd.display());
    let relay = Relay::start(&lines);
    std::fs::remove_file(&motd).expect("there");
    relay.wait_for_log("it stays as it was");
    let line = format!("http:late.test:{}\n", relay::SECRET);
    std::fs::write(&kites, format!("{line}http:other.test:secret-of-another\n")).expect("written");
    relay.wait_for_log("the files were read again; 4 kites may fly");
    let (mut agent, answer) = Agent::ask(&relay, &["http:late.test"], None);
    assert_eq!(answer.motd.as_deref(), Some("hello"), "as it was");
    assert_eq!(agent.sign(&answer), [Verdict::Flying]);
    let _ = std::fs::remove_file(&kites);
}
