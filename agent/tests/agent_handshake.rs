//! The agent and what relays say of its kites: both ways of challenging, all
//! kinds of refusals, and the way back after a loss (`protocol.md` 3).

mod agent_support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_support::{A_WHILE, Agent, FakeRelay, Open, Reply, SECRET, Service, Tunnel, wait_for};
use kitelet::wire::{Answer, KiteRequest, KiteResult, Salt, TunnelRequest, Verdict};

const RELAY_SECRET: &[u8] = b"a relay's own";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn challenge(kite: &KiteRequest) -> Verdict {
    Verdict::Challenge(kite.make_challenge(RELAY_SECRET, Salt::from_random([1, 2, 3, 4]), now()))
}

fn is_proved(kite: &KiteRequest) -> bool {
    kite.has_valid_challenge(RELAY_SECRET, now()) && kite.is_signed_with(SECRET.as_bytes(), now())
}

/// What a relay sends in a frame.
fn noop(answer: &Answer) -> Vec<u8> {
    let payload = answer.encode_payload();
    [format!("{:x}\r\n", payload.len()).as_bytes(), &payload].concat()
}

fn assert_serves(tunnel: &mut Tunnel, stream: u32) {
    tunnel.open(stream, &Open::RAW, b"hello");
    tunnel.until("the echo", |tunnel| tunnel.visit(stream).data == b"hello");
}

#[test]
fn a_challenge_is_answered_on_the_same_connection_and_the_newest_session_is_replaced() {
    let relay = FakeRelay::new();
    let agent = Agent::with_raw(&relay, Service::echo().port());
    let (mut tunnel, request) = relay.accept_request();
    assert!(request.add_kites && request.zlib_chunks);
    assert_eq!((request.kites.len(), &request.replace), (1, &None));
    assert!(request.kites[0].challenge.is_empty());
    let first = Reply { session: "of-the-head", ..Reply::default() };
    tunnel.send(&first.each(&request, challenge).encode());
    let answer = tunnel.next_kite_request();
    assert!(is_proved(&answer.kites[0]));
    assert_eq!(answer.kites[0].key(), request.kites[0].key(), "the same salt in both");
    let second = Reply { session: "of-the-frame", ..Reply::default() };
    tunnel.send(&noop(&second.all(&answer, &Verdict::Flying)));
    agent.wait_for_log("raw:kite.test flies");
    assert_serves(&mut tunnel, 5);
    drop(tunnel);
    let (_, request) = relay.accept_request();
    assert_eq!(request.replace.as_deref(), Some("of-the-frame"));
}

#[test]
fn without_add_kites_the_challenge_is_answered_on_a_second_connection() {
    let relay = FakeRelay::new();
    let agent = Agent::with_raw(&relay, Service::echo().port());
    let (mut tunnel, first) = relay.accept_request();
    let reply = Reply { add_kites: false, session: "first" };
    tunnel.send(&reply.each(&first, challenge).encode());
    drop(tunnel);
    let (mut tunnel, second) = relay.accept_request();
    assert_eq!(second.replace.as_deref(), Some("first"));
    assert!(is_proved(&second.kites[0]));
    assert_eq!(second.kites[0].key(), first.kites[0].key());
    let reply = Reply { add_kites: false, session: "second" };
    tunnel.send(&reply.all(&second, &Verdict::Flying).encode());
    agent.wait_for_log("raw:kite.test flies");
    assert_serves(&mut tunnel, 5);
    drop(tunnel);
    let (_, third) = relay.accept_request();
    assert_eq!(third.replace.as_deref(), Some("second"));
    assert!(third.kites[0].challenge.is_empty(), "an old challenge may have run out");
}

#[test]
fn each_new_tunnel_replaces_the_one_before() {
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, Service::echo().port());
    let mut last = None;
    for session in ["one", "two", "three"] {
        let (mut tunnel, request) = relay.accept_request();
        assert_eq!(request.replace.as_deref(), last);
        let reply = Reply { session, ..Reply::default() };
        tunnel.send(&reply.all(&request, &Verdict::Flying).encode());
        assert_serves(&mut tunnel, 5);
        last = Some(session);
    }
}

#[test]
fn a_mixed_answer_keeps_the_tunnel() {
    let relay = FakeRelay::new();
    let port = Service::echo().port();
    let lines = format!(
        "service_on = raw:kite.test:127.0.0.1:{port}:SECRET\n\
         service_on = raw-99:kite.test:127.0.0.1:{port}:SECRET\n\
         service_on = http:other.test:127.0.0.1:{port}:SECRET"
    );
    let agent = Agent::start(&relay, &lines);
    let (mut tunnel, request) = relay.accept_request();
    assert_eq!(request.kites.len(), 3);
    let reply = Reply::default().each(&request, |kite| match kite.id.to_string().as_str() {
        "raw:kite.test" => Verdict::Flying,
        "raw-99:kite.test" => Verdict::Refused("port".to_owned()),
        _ => Verdict::Duplicate,
    });
    tunnel.send(&reply.encode());
    agent.wait_for_log("raw:kite.test flies");
    agent.wait_for_log("refuses raw-99:kite.test: it does not listen on this port");
    agent.wait_for_log("refuses http:other.test: another tunnel flies it");
    assert_serves(&mut tunnel, 5);
}

/// A relay that sends something else first, such as its message of the day,
/// must not get the answer to its challenge twice: it would take the second
/// one for a duplicate and close the tunnel.
#[test]
fn a_challenge_is_answered_once() {
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, Service::echo().port());
    let (mut tunnel, request) = relay.accept_request();
    tunnel.send(&Reply::default().each(&request, challenge).encode());
    let answer = tunnel.next_kite_request();
    tunnel.frame("NOOP: 1\r\nX-PageKite-Misc: motd=hello\r\n", b"!");
    for text in ["1", "2"] {
        tunnel.frame(&format!("NOOP: 1\r\nPING: {text}\r\n"), b"!");
        let frame = tunnel.next_frame().expect("a frame");
        assert_eq!(frame.get("PONG"), Some(text), "{frame:?}");
    }
    tunnel.send(&noop(&Reply::default().all(&answer, &Verdict::Flying)));
    assert_serves(&mut tunnel, 5);
}

/// What is told about refusals, how it comes, and that nobody is hammered.
fn refused_in_words(verdict: &Verdict, in_frame: bool, words: &str) {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, Service::echo().port());
    let (mut tunnel, request) = relay.accept_request();
    if in_frame {
        tunnel.send(&Reply::default().each(&request, challenge).encode());
        let answer = tunnel.next_kite_request();
        tunnel.send(&noop(&Reply::default().all(&answer, verdict)));
    } else {
        tunnel.send(&Reply::default().all(&request, verdict).encode());
    }
    drop(tunnel);
    agent.wait_for_log(words);
    agent.wait_for_log("it took none of the kites; next try in");
    // A duplicate may be our own lost tunnel, which the relay drops soon.
    let most = if *verdict == Verdict::Duplicate { 2 } else { 0 };
    assert!(relay.count_connections(A_WHILE) <= most, "hammering");
    assert!(agent.is_alive());
}

#[test]
fn a_wrong_secret_is_told_in_words() {
    let refused = Verdict::Refused("signature".to_owned());
    refused_in_words(&refused, true, "refuses raw:kite.test: the secret is wrong");
    refused_in_words(&refused, false, "refuses raw:kite.test: the secret is wrong");
}

#[test]
fn other_refusals_are_told_in_words() {
    refused_in_words(&Verdict::Duplicate, true, "another tunnel flies it");
    refused_in_words(&Verdict::Duplicate, false, "another tunnel flies it");
    let strange = Verdict::Refused("a new reason".to_owned());
    refused_in_words(&strange, false, "\"a new reason\"");
}

/// Debian's relay keeps such a tunnel; nothing comes of waiting on it.
#[test]
fn a_tunnel_without_kites_is_ended() {
    let relay = FakeRelay::new();
    let agent = Agent::with_raw(&relay, Service::echo().port());
    let (mut tunnel, request) = relay.accept_request();
    tunnel.send(&Reply::default().each(&request, challenge).encode());
    let answer = tunnel.next_kite_request();
    tunnel.send(&noop(&Reply::default().all(&answer, &Verdict::Duplicate)));
    agent.wait_for_log("it took none of the kites; next try in");
    tunnel.wait_for_end();
}

#[test]
fn endless_challenges_end() {
    let relay = FakeRelay::new();
    let agent = Agent::with_raw(&relay, Service::echo().port());
    let (mut tunnel, request) = relay.accept_request();
    tunnel.send(&Reply::default().each(&request, challenge).encode());
    let again = Reply::default().each(&request, challenge);
    let frames = noop(&again).repeat(20);
    tunnel.send(&frames);
    agent.wait_for_log("it does not accept the answer to its challenge");
    tunnel.finish();
    agent.wait_for_log("it took none of the kites");

    let relay = FakeRelay::new();
    let agent = Agent::with_raw(&relay, Service::echo().port());
    let reply = Reply { add_kites: false, ..Reply::default() };
    for _ in 0..3 {
        let (mut tunnel, request) = relay.accept_request();
        tunnel.send(&reply.each(&request, challenge).encode());
    }
    agent.wait_for_log("it does not accept the answer to its challenge");
    assert_eq!(relay.count_connections(A_WHILE), 0, "hammering");
}

#[test]
fn a_relay_that_turns_the_agent_away_is_not_hammered() {
    for line in ["HTTP/1.0 403 Forbidden", "HTTP/1.0 503 Unavailable"] {
        let relay = FakeRelay::new();
        let agent = Agent::with_raw(&relay, Service::echo().port());
        let (mut tunnel, _) = relay.accept_request();
        tunnel.send(format!("{line}\r\n\r\n").as_bytes());
        drop(tunnel);
        agent.wait_for_log(&format!("turned this agent away (HTTP {})", &line[9..12]));
        assert_eq!(relay.count_connections(A_WHILE), 0, "hammering after {line}");
    }
}

/// libpagekite loses such frames (`protocol.md` 17); the agent must not.
#[test]
fn frames_that_come_glued_to_the_head_are_read() {
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, Service::echo().port());
    let (mut tunnel, request) = relay.accept_request();
    let mut bytes = Reply::default().all(&request, &Verdict::Flying).encode();
    bytes.extend(agent_support::open_frame(5, &Open::RAW, b"early"));
    bytes.extend_from_slice(b"a\r\nSID");
    tunnel.confirms = false;
    tunnel.send(&bytes);
    tunnel.until("the echo", |tunnel| tunnel.visit(5).data == b"early");
    tunnel.send(b": 5\r\n\r\n");
    tunnel.ping("still in step");
}

#[test]
fn a_head_in_single_bytes_with_unknown_lines_is_read() {
    let relay = FakeRelay::new();
    let agent = Agent::with_raw(&relay, Service::echo().port());
    let (mut tunnel, request) = relay.accept_request();
    let head = String::from_utf8(Reply::default().all(&request, &Verdict::Flying).encode());
    let head = head.expect("text").replace(
        "\r\n\r\n",
        "\r\nX-PageKite-Upgrade: 9;tag;md5;url;url\r\nX-PageKite-Future: thing\r\nSomething: else\r\n\
         X-PageKite-Quota: 51200\r\nX-PageKite-QDays: 42\r\nX-PageKite-IPsPerSec: 5/3600\r\n\r\n",
    );
    for byte in head.as_bytes() {
        tunnel.send(&[*byte]);
    }
    agent.wait_for_log("quota left");
    agent.wait_for_log("50 MB, 42 days, 5 visitors in 3600 s");
    assert_serves(&mut tunnel, 5);
}

/// Where a relay keeps a quota, each of its PONGs tells it.
#[test]
fn a_quota_is_logged_when_it_changes() {
    let relay = FakeRelay::new();
    let agent = Agent::with_raw(&relay, Service::echo().port());
    let mut tunnel = relay.accept_flying();
    for kilobytes in [51_300, 51_250, 51_200, 51_200, 20_480] {
        tunnel.frame(&format!("NOOP: 1\r\nQuota: {kilobytes}\r\n"), b"!");
    }
    agent.wait_for_log(": 20 MB");
    assert_eq!(agent.log().matches("quota left").count(), 2, "{}", agent.log());
}

/// The relay's own check makes it say the same of a flying kite again.
#[test]
fn later_words_about_a_flying_kite_change_nothing() {
    let relay = FakeRelay::new();
    let _agent = Agent::with_raw(&relay, Service::echo().port());
    let (mut tunnel, request) = relay.accept_request();
    let all = |verdict: Verdict| Reply::default().all(&request, &verdict);
    tunnel.send(&all(Verdict::Flying).encode());
    tunnel.send(&noop(&all(Verdict::Duplicate)));
    tunnel.send(&noop(&Reply::default().each(&request, challenge)));
    tunnel.send(&noop(&all(Verdict::Flying)));
    tunnel.frame("NOOP: 1\r\nQuota: 1000\r\nQDays: 3\r\nQConns: 2\r\n", b"!");
    assert_serves(&mut tunnel, 5);
    let requests = tunnel.frame_lengths.iter().filter(|&&length| length > 150).count();
    assert_eq!(requests, 0, "a flying kite was asked for again");
}

#[test]
fn a_relay_that_was_away_is_found_again() {
    let relay = FakeRelay::new();
    let port = relay.port();
    drop(relay);
    let agent = Agent::start_at(port, "service_on = raw:kite.test:127.0.0.1:9:SECRET");
    agent.wait_for_log("nothing listens there");
    let relay = FakeRelay::at(port);
    let tunnel = relay.accept_flying();
    agent.wait_for_log("raw:kite.test flies");
    drop((tunnel, relay));
    agent.wait_for_log("the relay closed the tunnel");
    let relay = FakeRelay::at(port);
    relay.accept_flying();
}

#[test]
fn several_relays_have_tunnels_at_the_same_time() {
    let (one, two) = (FakeRelay::new(), FakeRelay::new());
    let lines = format!(
        "frontend = 127.0.0.1:{}\nservice_on = raw:kite.test:127.0.0.1:{}:SECRET",
        two.port(),
        Service::echo().port()
    );
    let _agent = Agent::start(&one, &lines);
    let (mut first, mut second) = (one.accept_flying(), two.accept_flying());
    assert_serves(&mut first, 5);
    assert_serves(&mut second, 5);
    drop(first);
    assert_serves(&mut second, 7);
    assert_serves(&mut one.accept_flying(), 9);
}

#[test]
fn a_signal_ends_the_agent_at_once_and_in_peace() {
    let relay = FakeRelay::new();
    let mut agent = Agent::with_raw(&relay, Service::echo().port());
    let mut tunnel = relay.accept_flying();
    assert_serves(&mut tunnel, 5);
    assert_eq!(agent.terminate().code(), Some(0));
    tunnel.wait_for_end();
    wait_for("its last word", || agent.log().contains("stopped by a signal").then_some(()));

    // While it waits for a relay that is silent, and for one that is away.
    let mut agent = Agent::with_raw(&relay, 9);
    let _silent = relay.accept_request();
    assert_eq!(agent.terminate().code(), Some(0));
    let mut agent =
        Agent::start_at(agent_support::dead_port(), "service_on = raw:a.test:h:9:SECRET");
    agent.wait_for_log("next try");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(agent.terminate().code(), Some(0));
}

/// The request is what every relay reads: two-legged ones included.
#[test]
fn the_request_is_written_as_relays_expect_it() {
    let relay = FakeRelay::new();
    let _agent = Agent::start(&relay, "service_on = http-8080,RAW-22:Kite.TEST:h:9:SECRET");
    let mut tunnel = relay.accept();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(tunnel.fill(agent_support::LONG), "the agent is gone");
        head.extend(tunnel.take_unread());
    }
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with("CONNECT PageKite:1 HTTP/1.0\r\n"), "{head}");
    assert!(head.contains("\r\nX-PageKite: http-8080:kite.test:"), "{head}");
    assert!(head.contains("\r\nX-PageKite: raw-22:kite.test:"), "{head}");
    let request = TunnelRequest::parse(head.as_bytes()).expect("a request");
    for kite in &request.kites {
        assert_eq!((kite.salt.len(), kite.signature.len()), (36, 36));
        assert!(kite.is_signed_with(SECRET.as_bytes(), now()));
    }
}

/// A relay may say what it makes of each kite in a frame of its own.
#[test]
fn verdicts_one_by_one_are_told_as_they_come() {
    let relay = FakeRelay::new();
    let port = Service::echo().port();
    let service = |name: &str| format!("service_on = raw:{name}.test:127.0.0.1:{port}:SECRET\n");
    let agent = Agent::start(&relay, &(service("a") + &service("b")));
    let (mut tunnel, request) = relay.accept_request();
    let challenge = Verdict::Challenge("t123456789012345678901234567890123456".into());
    tunnel.send(&Reply::default().all(&request, &challenge).encode());
    let request = tunnel.next_kite_request();
    for (kite, verdict) in
        request.kites.iter().zip([Verdict::Flying, Verdict::Refused("quota".into())])
    {
        let results = vec![KiteResult { key: kite.key(), verdict }];
        let payload = Answer { results, ..Answer::default() }.encode_payload();
        tunnel.send(format!("{:x}\r\n", payload.len()).as_bytes());
        tunnel.send(&payload);
    }
    agent.wait_for_log("raw:a.test flies");
    agent.wait_for_log("refuses raw:b.test: the traffic quota is used up");
    assert!(!agent.log().contains("says nothing of"), "{}", agent.log());
}
