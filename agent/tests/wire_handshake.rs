//! The handshake of an agent against a model of a relay, over encoded bytes:
//! which kites fly, and that everything written is read as it was meant.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use kitelet::wire::{
    Answer, Event, HeadReader, KiteId, KiteRequest, KiteResult, KiteState, MAX_ANSWER_BYTES,
    MAX_REQUEST_BYTES, Registration, Role, Salt, Secret, Session, SessionSettings, Step,
    TunnelRequest, Verdict, WINDOW_SECONDS,
};
use proptest::prelude::*;

const START: u64 = 1_700_000_400;

/// A relay, as far as the handshake goes (`protocol.md` 3).
struct Relay {
    secret: &'static [u8],
    adds_kites: bool,
    /// Unix seconds.
    now: u64,
    secrets: BTreeMap<KiteId, &'static str>,
    taken: BTreeSet<KiteId>,
    answers: u32,
}

impl Relay {
    fn new(adds_kites: bool, kites: &[&str]) -> Self {
        Self {
            secret: b"relay's own",
            adds_kites,
            now: START,
            secrets: kites.iter().map(|kite| (id(kite), "s3cret")).collect(),
            taken: BTreeSet::new(),
            answers: 0,
        }
    }

    fn answer(&mut self, request: &TunnelRequest) -> Answer {
        self.answers += 1;
        let results = request.kites.iter().map(|kite| {
            let verdict = self.judge(kite);
            KiteResult { key: kite.key(), verdict }
        });
        let results: Vec<_> = results.collect();
        for (kite, result) in request.kites.iter().zip(&results) {
            if result.verdict == Verdict::Flying {
                self.taken.insert(kite.id.clone());
            }
        }
        Answer {
            add_kites: self.adds_kites,
            zlib_chunks: true,
            results,
            session_id: Some(format!("{:x}:{}", self.now, self.answers)),
            motd: Some(String::new()),
            ..Answer::default()
        }
    }

    fn judge(&self, kite: &KiteRequest) -> Verdict {
        let refused = |reason: &str| Verdict::Refused(reason.to_owned());
        if kite.challenge.is_empty() {
            let salt = Salt::from_random([1, 2, 3, 4]);
            return Verdict::Challenge(kite.make_challenge(self.secret, salt, self.now));
        }
        let Some(secret) = self.secrets.get(&kite.id) else { return refused("unauthorized") };
        if !kite.has_valid_challenge(self.secret, self.now) {
            refused("unauthorized")
        } else if !kite.is_signed_with(secret.as_bytes(), self.now) {
            refused("signature")
        } else if self.taken.contains(&kite.id) {
            Verdict::Duplicate
        } else {
            Verdict::Flying
        }
    }
}

fn id(text: &str) -> KiteId {
    text.parse().expect("a kite")
}

/// Bytes that differ from call to call, the same in each run.
fn random() -> impl FnMut(&mut [u8]) {
    let mut state = 7_u8;
    move |bytes| {
        for byte in bytes {
            state = state.wrapping_mul(5).wrapping_add(3);
            *byte = state;
        }
    }
}

fn agent(kites: &[(&str, &str)]) -> Registration {
    let kites = kites.iter().map(|(kite, secret)| (id(kite), Secret::new(*secret)));
    Registration::new(kites, true, &mut random())
}

fn states(agent: &Registration) -> Vec<KiteState> {
    agent.kites().map(|(_, state)| state.clone()).collect()
}

fn refused(reason: &str) -> KiteState {
    KiteState::Refused(reason.to_owned())
}

/// One connection: the agent's head, the relay's, and what is to be done.
fn connect(agent: &mut Registration, relay: &mut Relay) -> Step {
    let head = agent.request(None, &mut random());
    assert!(!String::from_utf8_lossy(&head).contains("s3cret"));
    let mut reader = HeadReader::new(MAX_REQUEST_BYTES);
    let head = reader.read(&mut &head[..]).expect("short").expect("complete");
    let request = TunnelRequest::parse(head).expect("a request");
    let head = relay.answer(&request).encode();
    let mut reader = HeadReader::new(MAX_ANSWER_BYTES);
    let head = reader.read(&mut &head[..]).expect("short").expect("complete");
    agent.apply(&Answer::parse(head).expect("an answer"))
}

fn session(role: Role) -> Session {
    Session::new(SessionSettings {
        role,
        max_streams: 1,
        max_header_bytes: MAX_ANSWER_BYTES,
        compress: false,
        guard_bursts: true,
    })
}

/// Sends a payload through a tunnel; hands over what comes out.
fn carry<T>(payload: Vec<u8>, to: Role, take: impl Fn(Event<'_>) -> Option<T>) -> T {
    let now = Instant::now();
    let from = if to == Role::Agent { Role::Relay } else { Role::Agent };
    let (mut from, mut to) = (session(from), session(to));
    assert!(from.send_payload(payload));
    let mut bytes = Vec::new();
    from.control_frames(now, &mut bytes, 1);
    let mut rest = &bytes[..];
    let mut taken = None;
    while let Some(event) = to.receive(now, &mut rest).expect("valid") {
        taken = taken.or(take(event));
    }
    taken.expect("an event about kites")
}

/// The agent's frame and the relay's answer on a running tunnel.
fn ask_here(agent: &mut Registration, relay: &mut Relay, payload: Vec<u8>) -> Step {
    assert!(!String::from_utf8_lossy(&payload).contains("s3cret"));
    let request = carry(payload, Role::Relay, |event| match event {
        Event::Request(request) => Some(*request),
        _ => None,
    });
    let answer = relay.answer(&request).encode_payload();
    let answer = carry(answer, Role::Agent, |event| match event {
        Event::Answer(answer) => Some(*answer),
        _ => None,
    });
    agent.apply(&answer)
}

/// The whole handshake; `pause` seconds pass before the challenge is answered.
fn fly(agent: &mut Registration, relay: &mut Relay, pause: u64) -> Step {
    let step = connect(agent, relay);
    relay.now += pause;
    match step {
        Step::AnswerHere => {
            let payload = agent.answer_payload(&mut random());
            ask_here(agent, relay, payload)
        }
        Step::Reconnect => connect(agent, relay),
        step => step,
    }
}

#[test]
fn both_flows_fly_all_kites() {
    for adds_kites in [true, false] {
        let kites = ["http:one.test", "raw-22:one.test", "https:*.two.test"];
        let mut relay = Relay::new(adds_kites, &kites);
        let mut agent = agent(&kites.map(|kite| (kite, "s3cret")));
        assert_eq!(fly(&mut agent, &mut relay, 0), Step::Fly);
        assert_eq!(states(&agent), [KiteState::Flying, KiteState::Flying, KiteState::Flying]);
        assert_eq!(relay.taken.len(), 3);
        assert_eq!(relay.answers, 2);
        assert_eq!(agent.session_id(), Some(format!("{START:x}:2").as_str()));
    }
}

#[test]
fn a_wrong_secret_a_duplicate_and_an_unknown_kite_are_told_apart() {
    for adds_kites in [true, false] {
        let mut relay =
            Relay::new(adds_kites, &["http:good.test", "http:bad.test", "http:taken.test"]);
        relay.taken.insert(id("http:taken.test"));
        let mut agent = agent(&[
            ("http:bad.test", "wrong"),
            ("http:taken.test", "s3cret"),
            ("http:unknown.test", "s3cret"),
            ("http:good.test", "s3cret"),
        ]);
        assert_eq!(fly(&mut agent, &mut relay, 0), Step::Fly);
        let wanted = [
            refused("signature"),
            KiteState::Duplicate,
            refused("unauthorized"),
            KiteState::Flying,
        ];
        assert_eq!(states(&agent), wanted);
    }
}

#[test]
fn without_any_kite_that_flies_the_agent_is_refused() {
    for adds_kites in [true, false] {
        let mut relay = Relay::new(adds_kites, &["http:bad.test"]);
        let mut agent = agent(&[("http:bad.test", "wrong")]);
        assert_eq!(fly(&mut agent, &mut relay, 0), Step::Refused);
    }
}

#[test]
fn a_challenge_is_good_for_ten_to_twenty_minutes() {
    for adds_kites in [true, false] {
        for (pause, step) in [
            (WINDOW_SECONDS, Step::Fly),
            (2 * WINDOW_SECONDS - 1, Step::Fly),
            (2 * WINDOW_SECONDS, Step::Refused),
        ] {
            let mut relay = Relay::new(adds_kites, &["http:one.test"]);
            let mut agent = agent(&[("http:one.test", "s3cret")]);
            assert_eq!(fly(&mut agent, &mut relay, pause), step, "after {pause} s");
        }
    }
}

#[test]
fn a_forged_challenge_is_refused() {
    let relay = Relay::new(true, &["http:one.test"]);
    let kite = id("http:one.test");
    let salt = Salt::from_random([9; 4]);
    let real = KiteRequest::sign(&kite, "salt", "", b"s3cret", salt).make_challenge(
        relay.secret,
        salt,
        START,
    );
    let of_another_relay = KiteRequest::sign(&kite, "salt", "", b"s3cret", salt)
        .make_challenge(b"another", salt, START);
    let of_another_kite = KiteRequest::sign(&id("http:two.test"), "salt", "", b"s3cret", salt)
        .make_challenge(relay.secret, salt, START);
    // Whoever knows the relay's secret could make one without a time.
    let timeless = kitelet::wire::sign(relay.secret, b"http:one.test:salt", salt, 36);
    for (challenge, verdict) in [
        (&real, Verdict::Flying),
        (&of_another_relay, Verdict::Refused("unauthorized".to_owned())),
        (&of_another_kite, Verdict::Refused("unauthorized".to_owned())),
        (&timeless, Verdict::Refused("unauthorized".to_owned())),
        (&"f".repeat(36), Verdict::Refused("unauthorized".to_owned())),
    ] {
        let request = KiteRequest::sign(&kite, "salt", challenge, b"s3cret", salt);
        assert_eq!(relay.judge(&request), verdict, "{challenge}");
    }
    // The answer to one challenge is none to another.
    let mut request = KiteRequest::sign(&kite, "salt", &real, b"s3cret", salt);
    request.salt = "other".to_owned();
    assert_ne!(relay.judge(&request), Verdict::Flying);
}

#[test]
fn a_kite_is_added_to_a_running_tunnel() {
    let mut relay = Relay::new(true, &["http:one.test", "raw-22:two.test"]);
    let mut agent = agent(&[("http:one.test", "s3cret")]);
    assert_eq!(fly(&mut agent, &mut relay, 0), Step::Fly);
    let new = agent.add(id("raw-22:two.test"), Secret::new("s3cret"), &mut random());
    assert_eq!(ask_here(&mut agent, &mut relay, new.expect("a new kite")), Step::AnswerHere);
    let payload = agent.answer_payload(&mut random());
    assert_eq!(ask_here(&mut agent, &mut relay, payload), Step::Fly);
    assert_eq!(states(&agent), [KiteState::Flying, KiteState::Flying]);
    assert_eq!(relay.answers, 4);
}

#[test]
fn kites_added_at_the_same_time_are_each_answered_once() {
    let mut relay = Relay::new(true, &["http:one.test", "http:two.test"]);
    let mut agent = agent(&[("http:one.test", "s3cret")]);
    assert_eq!(fly(&mut agent, &mut relay, 0), Step::Fly);
    let mut add = |agent: &mut Registration, kite, secret| {
        let frame = agent.add(id(kite), Secret::new(secret), &mut random()).expect("a new kite");
        let request = TunnelRequest::parse_lines(lines_of(&frame)).expect("a frame");
        relay.answer(&request)
    };
    let first = add(&mut agent, "http:two.test", "s3cret");
    let second = add(&mut agent, "http:three.test", "wrong");
    let asked = |agent: &Registration| {
        let payload = agent.answer_payload(&mut random());
        let request = TunnelRequest::parse_lines(lines_of(&payload)).expect("a frame");
        let ids = request.kites.iter().map(|kite| kite.id.to_string()).collect::<Vec<_>>();
        (request, ids)
    };
    assert_eq!(agent.apply(&first), Step::AnswerHere);
    let (first, ids) = asked(&agent);
    assert_eq!(ids, ["http:two.test"]);
    assert_eq!(agent.apply(&second), Step::AnswerHere);
    let (second, ids) = asked(&agent);
    // Once more, and an answer without any success would close the tunnel.
    assert_eq!(ids, ["http:three.test"]);
    let (first, second) = (relay.answer(&first), relay.answer(&second));
    for answer in [first, second] {
        agent.apply(&Answer { status: None, ..answer });
    }
    let wanted = [KiteState::Flying, KiteState::Flying, refused("unauthorized")];
    assert_eq!(states(&agent), wanted);
}

#[test]
fn a_relay_that_passes_over_a_kite_is_not_asked_for_ever() {
    for flies in [true, false] {
        let mut relay = Relay::new(false, &["http:one.test", "http:two.test"]);
        let mut agent = agent(&[("http:one.test", "s3cret"), ("http:two.test", "s3cret")]);
        assert_eq!(connect(&mut agent, &mut relay), Step::Reconnect);
        let head = agent.request(None, &mut random());
        let mut answer = relay.answer(&TunnelRequest::parse(&head).expect("a request"));
        answer.results.truncate(usize::from(flies));
        answer.status = Some(200);
        assert_eq!(agent.apply(&answer), if flies { Step::Fly } else { Step::Refused });
    }
}

#[test]
fn an_answer_that_says_nothing_of_a_kite_under_way_changes_nothing() {
    let mut relay = Relay::new(true, &["http:one.test"]);
    let mut agent = agent(&[("http:one.test", "s3cret")]);
    assert_eq!(connect(&mut agent, &mut relay), Step::AnswerHere);
    let payload = agent.answer_payload(&mut random());
    let session_id = Some("newer".to_owned());
    let step = agent.apply(&Answer { session_id, ..Answer::default() });
    assert_eq!(step, Step::Wait);
    assert_eq!(ask_here(&mut agent, &mut relay, payload), Step::Fly);
    assert_eq!(states(&agent), [KiteState::Flying]);
}

/// What is to become of a kite.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Fly,
    WrongSecret,
    Taken,
    Unknown,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![Just(Fate::Fly), Just(Fate::WrongSecret), Just(Fate::Taken), Just(Fate::Unknown)]
}

/// The header lines of a NOOP frame's payload.
fn lines_of(payload: &[u8]) -> &[u8] {
    let end = payload.windows(4).position(|four| four == b"\r\n\r\n").expect("a blank line");
    &payload[..end + 2]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_kite_gets_its_fate(
        fates in proptest::collection::vec(fate(), 1..12), adds_kites: bool
    ) {
        let names: Vec<String> = (0..fates.len()).map(|kite| format!("http:k{kite}.test")).collect();
        let kites: Vec<_> = fates.iter().zip(&names).map(|(fate, name)| {
            (name.as_str(), if *fate == Fate::WrongSecret { "wrong" } else { "s3cret" })
        }).collect();
        let mut relay = Relay::new(adds_kites, &[]);
        for (fate, name) in fates.iter().zip(&names) {
            if *fate != Fate::Unknown {
                relay.secrets.insert(id(name), "s3cret");
            }
            if *fate == Fate::Taken {
                relay.taken.insert(id(name));
            }
        }
        let mut agent = agent(&kites);
        let step = fly(&mut agent, &mut relay, 60);
        prop_assert_eq!(step, if fates.contains(&Fate::Fly) { Step::Fly } else { Step::Refused });
        let wanted: Vec<_> = fates.iter().map(|fate| match fate {
            Fate::Fly => KiteState::Flying,
            Fate::WrongSecret => refused("signature"),
            Fate::Taken => KiteState::Duplicate,
            Fate::Unknown => refused("unauthorized"),
        }).collect();
        prop_assert_eq!(states(&agent), wanted);
    }
}
