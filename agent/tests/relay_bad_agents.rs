//! Agents who want kites that are not theirs: by guessing, by claiming, by
//! what they overheard, and by asking for more than anybody may. They get none,
//! and those whose kites they are do not notice.
#![cfg(feature = "relay")]

#[allow(dead_code)]
mod captures;
mod relay_support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kitelet::wire::{
    Answer, HeadReader, KiteId, KiteRequest, KiteState, MAX_ANSWER_BYTES, Salt, TunnelRequest,
    Verdict,
};
use relay_support::{
    Bystander, Ended, Kite, Relay, SECRET, Salts, Tunnel, ask, assert_modest, connect_from,
    first_line, frame, read_all, request_for, send, status,
};

const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 67);

fn start(lines: &str) -> (Arc<Relay>, Bystander, usize) {
    let relay = Arc::new(Relay::start(lines));
    let bystander = Bystander::start(&relay);
    thread::sleep(Duration::from_millis(100));
    let before = relay.resident();
    (relay, bystander, before)
}

/// How the first kite of a tunnel is.
fn state(tunnel: &Tunnel) -> KiteState {
    tunnel.registration.kites().next().expect("a kite").1.clone()
}

fn is_served(relay: &Relay, host: &str) -> bool {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    status(&ask(relay, Ipv4Addr::new(127, 0, 0, 12), request.as_bytes())) == Some(200)
}

/// A request signed with this challenge.
fn signed(id: &str, salt: &str, challenge: &str, secret: &str) -> KiteRequest {
    let id: KiteId = id.parse().expect("a kite");
    KiteRequest::sign(&id, salt, challenge, secret.as_bytes(), Salt::from_random([7; 4]))
}

fn request(kites: Vec<KiteRequest>, add_kites: bool) -> TunnelRequest {
    TunnelRequest { add_kites, version: Some("evil".to_owned()), kites, ..TunnelRequest::default() }
}

/// Sends a head on a new connection, and reads the answer's.
fn answer_to(relay: &Relay, head: &[u8]) -> Option<Answer> {
    let mut socket = connect_from(relay, ATTACKER);
    send(&mut socket, head);
    let mut reader = HeadReader::new(MAX_ANSWER_BYTES);
    loop {
        let (byte, _) = read_all(&mut socket, 1);
        if byte.is_empty() {
            return None;
        }
        let mut input = &byte[..];
        while !input.is_empty() {
            if let Some(head) = reader.read(&mut input).expect("a head") {
                return Some(Answer::parse(head).expect("an answer"));
            }
        }
    }
}

/// What an answer says of its first kite.
fn verdict(answer: &Answer) -> Verdict {
    answer.results.first().expect("a result").verdict.clone()
}

#[test]
fn wrong_secrets_are_turned_away_after_a_while_from_there_only() {
    let (relay, bystander, before) = start("ratelimit_auth = 10/600");
    let mut refused = 0;
    let mut turned_away = 0;
    for guess in 0..30 {
        let secret = format!("guess-{guess}");
        match Tunnel::open(&relay, ATTACKER, &[("http:kite.test", &secret)], None) {
            Some(tunnel) => {
                assert!(matches!(state(&tunnel), KiteState::Refused(_)), "{:?}", state(&tunnel));
                assert_eq!(turned_away, 0, "a guess was heard after others were not");
                refused += 1;
            }
            None => turned_away += 1,
        }
    }
    assert_eq!((refused, turned_away), (10, 20));
    let log = relay.log();
    let told = format!("agents from {ATTACKER} are turned away for 600 s: too many refused kites");
    assert_eq!(log.matches(&told).count(), 1, "once for all that come: {log}");
    assert_eq!(log.matches("http:kite.test refused: wrong secret").count(), 10, "{log}");
    // Now not even the right one is heard from there, nor a ping hindered.
    assert!(Tunnel::open(&relay, ATTACKER, &[("http:kite.test", SECRET)], None).is_none());
    let ping = b"HEAD /ping HTTP/1.1\r\nHost: ping.pagekite\r\n\r\n";
    assert_eq!(status(&ask(&relay, ATTACKER, ping)), Some(503));
    let owner = Tunnel::fly(&relay, ELSEWHERE, &["http:kite.test"]);
    drop(owner);
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn who_has_a_kite_cannot_guess_on_for_others() {
    let (relay, bystander, _) = start("ratelimit_auth = 10/600");
    let mut tunnel = Tunnel::fly(&relay, ATTACKER, &["http:mine.kite.test"]);
    for guess in 0..10 {
        let state = tunnel.add(&format!("http:{guess}.kite.test"), &format!("guess-{guess}"));
        assert!(matches!(state, Some(KiteState::Refused(_))), "{state:?}");
    }
    // The tenth was the last that counts for anything.
    let state = tunnel.add("http:late.kite.test", SECRET);
    assert_ne!(state, Some(KiteState::Flying), "guesses are heard for ever on a tunnel");
    assert!(!is_served(&relay, "late.kite.test"));
    bystander.finish();
}

#[test]
fn kites_of_others_stay_with_them() {
    let (relay, bystander, _) = start("");
    let kite = Kite::fly(&relay, "http:kite.test");
    // Who has the secret but comes second has to wait.
    for _ in 0..3 {
        let second = Tunnel::open(&relay, ELSEWHERE, &[("http:kite.test", SECRET)], None);
        assert_eq!(state(&second.expect("a tunnel")), KiteState::Duplicate);
    }
    let told = format!("agent {ELSEWHERE}: http:kite.test refused: another tunnel flies it");
    assert_eq!(relay.log().matches(&told).count(), 3, "{}", relay.log());
    let claims = [
        "http:kite.test",
        "HTTP:KITE.test",
        "http-80:kite.test",
        "https:kite.test",
        "raw:kite.test",
        "http:*.test",
        "http:*.kite.test",
        "http:unknown",
        "http:good.kite.test",
        "websocket:kite.test",
    ];
    for claim in claims {
        let answer = Tunnel::open(&relay, ATTACKER, &[(claim, "not-the-secret")], None);
        let flies = answer.is_some_and(|tunnel| state(&tunnel) == KiteState::Flying);
        assert!(!flies, "{claim}");
    }
    assert!(!kite.is_gone() && is_served(&relay, "kite.test"));
    bystander.finish();
}

#[test]
fn a_stolen_session_id_grounds_nobody() {
    let (relay, bystander, _) = start("");
    let kite = Kite::fly(&relay, "http:kite.test");
    let id = kite.session_id().to_owned();
    for (claim, secret) in [
        ("http:kite.test", "not-the-secret"),
        ("http:nobody.example", SECRET),
        // A kite of the attacker's own, which flies.
        ("http:other.test", SECRET),
    ] {
        let tunnel = Tunnel::open(&relay, ATTACKER, &[(claim, secret)], Some(&id));
        let flies = tunnel.is_some_and(|tunnel| state(&tunnel) == KiteState::Flying);
        assert_eq!(flies, claim == "http:other.test");
        assert!(!kite.is_gone(), "{claim}");
    }
    for odd in ["", ":", "\u{e9}", &"a".repeat(5000), &id[..id.len() - 1], &id.to_uppercase()] {
        drop(Tunnel::open(&relay, ATTACKER, &[("http:kite.test", "no")], Some(odd)));
        assert!(!kite.is_gone(), "{odd}");
    }
    assert!(is_served(&relay, "kite.test"));
    // Who knows the secret as well is the owner, who comes back.
    let owner = Tunnel::open(&relay, ELSEWHERE, &[("http:kite.test", SECRET)], Some(&id));
    assert_eq!(state(&owner.expect("a tunnel")), KiteState::Flying);
    bystander.finish();
}

#[test]
fn an_overheard_answer_is_worth_nothing() {
    let (relay, bystander, _) = start("");
    // An agent that answers where it was challenged.
    let first = request(vec![signed("http:kite.test", "salt", "", SECRET)], true);
    let mut socket = connect_from(&relay, ELSEWHERE);
    send(&mut socket, &first.encode());
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read_all(&mut socket, 1).0);
    }
    let answer = Answer::parse(&head).expect("an answer");
    let Verdict::Challenge(challenge) = verdict(&answer) else { panic!("{answer:?}") };
    let overheard = request(vec![signed("http:kite.test", "salt", &challenge, SECRET)], true);
    // Before its owner has used it, after that, and after the tunnel is gone.
    for round in 0..3 {
        for replace in [None, answer.session_id.clone()] {
            let replayed = TunnelRequest { replace, ..overheard.clone() };
            for add_kites in [true, false] {
                let replayed = TunnelRequest { add_kites, ..replayed.clone() };
                let heard = answer_to(&relay, &replayed.encode()).expect("an answer");
                let verdict = verdict(&heard);
                assert!(matches!(verdict, Verdict::Challenge(_)), "round {round}: {verdict:?}");
            }
        }
        match round {
            0 => {
                send(&mut socket, &Tunnel::kite_frame(&overheard));
                let mut came = Vec::new();
                while !came.ends_with(b"!") {
                    came.extend(read_all(&mut socket, 1).0);
                }
                let text = String::from_utf8_lossy(&came);
                assert!(text.contains("X-PageKite-OK: http:kite.test"), "{text}");
            }
            _ => send(&mut socket, b"0\r\n"),
        }
    }
    bystander.finish();
}

#[test]
fn the_second_leg_of_another_program_is_good_once() {
    let (relay, bystander, _) = start("");
    // libpagekite answers on a new connection, and cannot on the old one.
    let first = request(vec![signed("http:kite.test", "salt", "", SECRET)], false);
    let answer = answer_to(&relay, &first.encode()).expect("an answer");
    let Verdict::Challenge(challenge) = verdict(&answer) else { panic!("{answer:?}") };
    let second = request(vec![signed("http:kite.test", "salt", &challenge, SECRET)], false);
    let answer = answer_to(&relay, &second.encode()).expect("an answer");
    assert_eq!(verdict(&answer), Verdict::Flying);
    for _ in 0..3 {
        let again = answer_to(&relay, &second.encode()).expect("an answer");
        assert!(matches!(verdict(&again), Verdict::Challenge(_)), "{again:?}");
    }
    // The challenge is for that kite and that salt only.
    for (id, salt) in
        [("http:other.test", "salt"), ("http:kite.test", "other"), ("raw:kite.test", "salt")]
    {
        let kites = vec![signed(id, salt, &challenge, SECRET)];
        let other = answer_to(&relay, &request(kites, false).encode()).expect("an answer");
        assert!(matches!(verdict(&other), Verdict::Challenge(_)), "{id} {salt}: {other:?}");
    }
    bystander.finish();
}

#[test]
fn recorded_handshakes_open_nothing() {
    // The secret of the recordings, and no limit that would hide a mistake.
    let (relay, bystander, before) =
        start("domain = *:kite.test:s3cret\nratelimit_auth = 9999/60\n");
    let mut played = 0;
    for recording in captures::recordings().iter().filter(|recording| recording.is_of_agent()) {
        if !recording.bytes.starts_with(b"CONNECT PageKite") {
            continue;
        }
        let mut socket = connect_from(&relay, ATTACKER);
        send(&mut socket, &recording.bytes);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let (answer, ended) = read_all(&mut socket, 1 << 20);
        assert_ne!(ended, Ended::Open, "{}", recording.name);
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains("X-PageKite-OK"), "{}: {text}", recording.name);
        played += 1;
    }
    assert!(played > 50, "only {played} recordings");
    assert!(!is_served(&relay, "kite.test"));
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn the_same_kite_twice_is_one_kite() {
    let (relay, bystander, _) = start("");
    let one = signed("http:kite.test", "salt", "", SECRET);
    let mut tunnel = Tunnel::fly(&relay, ATTACKER, &["http:mine.kite.test"]);
    tunnel.send(&Tunnel::kite_frame(&request(vec![one.clone(), one], true)));
    let answer = tunnel.next_answer().expect("an answer");
    assert_eq!(answer.results.len(), 1, "{answer:?}");
    let Verdict::Challenge(challenge) = verdict(&answer) else { panic!("{answer:?}") };
    let one = signed("http:kite.test", "salt", &challenge, SECRET);
    // In one request, and again and again.
    for _ in 0..5 {
        let twice = request(vec![one.clone(), one.clone()], true);
        tunnel.send(&Tunnel::kite_frame(&twice));
        let answer = tunnel.next_answer().expect("an answer");
        assert_eq!(verdict(&answer), Verdict::Flying);
        assert_eq!(answer.results.len(), 1, "{answer:?}");
    }
    assert!(tunnel.is_alive());
    bystander.finish();
}

#[test]
fn too_many_kites_are_refused_and_the_rest_fly() {
    let (relay, bystander, before) = start("");
    let names: Vec<String> = (0..10_000).map(|number| format!("http:{number}.kite.test")).collect();
    let kites: Vec<_> = names.iter().map(|name| (name.as_str(), SECRET)).collect();
    // A head as long as that is not even read.
    assert!(Tunnel::open(&relay, ATTACKER, &kites, None).is_none());
    // In a frame, up to what a tunnel may have.
    let mut tunnel = Tunnel::fly(&relay, ATTACKER, &["http:mine.kite.test"]);
    for kites in kites.chunks(300) {
        let mut salts = Salts::new();
        let registration = request_for(kites, &mut salts);
        let head = registration.request(None, &mut |bytes| salts.fill(bytes));
        let request = TunnelRequest::parse(&head).expect("a request");
        if !tunnel.send(&Tunnel::kite_frame(&request)) {
            break;
        }
        let Some(answer) = tunnel.next_answer() else { break };
        let challenged =
            answer.results.iter().filter(|result| matches!(result.verdict, Verdict::Challenge(_)));
        assert_eq!(challenged.count(), 99, "one flies, a hundred may");
    }
    assert!(tunnel.is_alive());
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn as_many_kites_fly_as_the_relay_says() {
    let (relay, bystander, _) = start("max_kites = 250");
    let names: Vec<String> =
        (0..250).map(|number| format!("http:a-device-with-a-name-{number}.kite.test")).collect();
    let kites: Vec<_> = names.iter().map(String::as_str).collect();
    let _agent = Tunnel::fly(&relay, ELSEWHERE, &kites);
    bystander.finish();
}

#[test]
fn odd_requests_of_agents_get_an_answer_or_none() {
    let (relay, bystander, before) = start("ratelimit_auth = 9999/60");
    let long = "a".repeat(300);
    let longest = "a".repeat(12_000);
    let labels = ["a"; 3000].join(".");
    let many = "http:kite.test:s::x\r\nX-PageKite: ".repeat(300);
    let lines = [
        "",
        ":",
        "::::",
        ":::::",
        "http",
        "http:",
        "http:kite.test",
        "http:kite.test:::",
        "http::s::x",
        "http:kite.test:s::x:y",
        "http:.:s::x",
        "http:..:s::x",
        "http:*:s::x",
        "http:*.:s::x",
        "http:*.*.test:s::x",
        "http:**.kite.test:s::x",
        "http:a*.kite.test:s::x",
        "http:kite.test.:s::x",
        "http:-:s::x",
        "http:kite\u{e9}.test:s::x",
        "http:\u{212a}ite.test:s::x",
        "http:kite test:s::x",
        "http:kite.test\x01:s::x",
        "http:kite.test\x1b[2J:s::x",
        "http:kite.test%0d:s::x",
        "http:127.0.0.1:s::x",
        "http:[::1]:s::x",
        "http:localhost:s::x",
        "http-0:kite.test:s::x",
        "http-65536:kite.test:s::x",
        "http--1:kite.test:s::x",
        "http-:kite.test:s::x",
        "http-80-80:kite.test:s::x",
        "-80:kite.test:s::x",
        "smtp-25:kite.test:s::x",
        "h\u{e9}:kite.test:s::x",
        "http:kite.test:\u{e9}\u{1f6a9}:t\u{e9}\u{1f6a9}\u{1f6a9}\u{1f6a9}\u{1f6a9}\u{1f6a9}\u{1f6a9}\u{1f6a9}\u{1f6a9}:\u{e9}\u{1f6a9}",
        "http:kite.test:s:t:t",
        "http:kite.test:s:tttttttttttttttttttttttttttttttttttt:",
        "http:kite.test:s\x01\x02:t\x7f:\x1f",
        &format!("http:{long}.test:s::x"),
        &format!("http:{labels}:s::x"),
        &format!("{longest}:kite.test:s::x"),
        &format!("http:kite.test:{longest}::x"),
        &format!("http:kite.test:s:{longest}:x"),
        &format!("http:kite.test:s:t{longest}:x"),
        &format!("http:kite.test:s::{longest}"),
        &many,
    ];
    for line in lines {
        for features in ["X-PageKite-Features: AddKites\r\n", ""] {
            let head =
                format!("CONNECT PageKite:1 HTTP/1.0\r\n{features}X-PageKite: {line}\r\n\r\n");
            let mut socket = connect_from(&relay, ATTACKER);
            send(&mut socket, head.as_bytes());
            let _ = socket.shutdown(std::net::Shutdown::Write);
            let (answer, ended) = read_all(&mut socket, 1 << 20);
            let shown = &line[..line.char_indices().nth(60).map_or(line.len(), |(at, _)| at)];
            assert_ne!(ended, Ended::Open, "{shown:?}");
            assert!(
                matches!(status(&answer), None | Some(200 | 400 | 431 | 503)),
                "{shown:?}: {}",
                first_line(&answer)
            );
            let text = String::from_utf8_lossy(&answer);
            assert!(!text.contains("X-PageKite-OK"), "{shown:?}: {text}");
            assert!(!text.contains('\x1b'), "{shown:?}: {text}");
        }
    }
    for head in [
        "CONNECT PageKite:1 HTTP/1.0\r\n\r\n",
        "CONNECT pagekite: HTTP/1.1\r\n\r\n",
        "CONNECT PageKite:1 HTTP/1.0\nX-PageKite: http:kite.test:s::x\n\n",
        "CONNECT PageKite:1 HTTP/1.0\r\nX-PageKite-Version: \x1b[2J\r\nX-PageKite: http:kite.test:s::x\r\n\r\n",
        "CONNECT PageKite:1 HTTP/1.0\r\nContent-Length: 5\r\nX-PageKite: http:kite.test:s::x\r\n\r\nhello",
        "CONNECT PageKite:1 HTTP/1.0\r\n X-PageKite: http:kite.test:s::x\r\n\r\n",
    ] {
        let answer = ask(&relay, ATTACKER, &[head.as_bytes(), b"0\r\n"].concat());
        assert!(matches!(status(&answer), None | Some(200 | 400 | 503)), "{head:?}");
    }
    // The log is what people read at a terminal.
    assert!(!relay.log().contains('\x1b'), "{}", relay.log());
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn requests_for_kites_without_end_are_cut_off_or_cost_little() {
    let (relay, bystander, before) = start("ratelimit_auth = 9999/60");
    let mut tunnel = Tunnel::fly(&relay, ATTACKER, &["http:mine.kite.test"]);
    let mut lines = String::from("NOOP: 1\r\n");
    for number in 0..90 {
        lines.push_str(&format!("X-PageKite: http:{number}.kite.test:salt::signature\r\n"));
    }
    let one = frame(&lines, b"!");
    tunnel.socket.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    // Nothing of the answers is read.
    for _ in 0..10_000 {
        if !tunnel.send(&one) {
            break;
        }
    }
    assert_modest(&relay, before, 16);
    bystander.finish();
}
