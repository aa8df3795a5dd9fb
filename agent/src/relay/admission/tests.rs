//! Requests of agents, good and bad, and what becomes of their kites.

use std::collections::HashSet;

use super::*;
use crate::config::{Authority, AuthorityMeans, Grant, RawPorts, RelayLimits};
use crate::relay::challenge::SECRET_BYTES;

const NOW: Now = Now { seconds: 1000, unix_seconds: 1_700_000_000 };

fn settings() -> RelaySettings {
    RelaySettings {
        port_aliases: vec![(80, 8080)],
        protocols: ["http", "https", "websocket", "raw"].map(str::to_owned).to_vec(),
        raw_ports: RawPorts {
            any: false,
            connect: vec![22],
            dedicated: vec![(2222, kite("raw-5900:a.test"))],
        },
        limits: RelayLimits {
            max_kites: 3,
            quota: KiteQuota { streams: Some(50), ..KiteQuota::default() },
            ..RelayLimits::default()
        },
        ..RelaySettings::default()
    }
}

fn kite(id: &str) -> KiteId {
    id.parse().expect("valid")
}

fn grant(protocol: &str, domain: &str, quota: KiteQuota) -> Grant {
    Grant {
        protocols: vec![(protocol.to_owned(), None)],
        domain: domain.to_owned(),
        secret: Secret::new("s3cret"),
        quota,
    }
}

fn authority(kite_domain: &str) -> Authority {
    let means = AuthorityMeans::Dns("auth.test".to_owned());
    Authority { kite_domain: kite_domain.to_owned(), means }
}

/// A relay and one connection to it.
struct Relay {
    settings: RelaySettings,
    grants: Grants,
    challenges: Challenges,
    flying: HashSet<KiteId>,
    filled: u8,
}

impl Relay {
    fn new() -> Self {
        let quota = KiteQuota { bytes_per_day: Some(1000), ..KiteQuota::default() };
        let mut lines = vec![grant(
            "http",
            "off.test",
            KiteQuota { bytes_per_day: Some(0), ..KiteQuota::default() },
        )];
        for protocol in ["http", "https", "raw"] {
            lines.push(grant(protocol, "a.test", quota));
            lines.push(grant(protocol, "*.kites.test", KiteQuota::default()));
        }
        Self {
            settings: settings(),
            grants: Grants::new(lines),
            challenges: Challenges::new([7; SECRET_BYTES]),
            flying: HashSet::new(),
            filled: 0,
        }
    }

    fn judge(&mut self, kites: &[KiteRequest]) -> Vec<Outcome> {
        self.judge_at("here", kites)
    }

    fn judge_at(&mut self, session: &str, kites: &[KiteRequest]) -> Vec<Outcome> {
        let asker = Asker {
            place: Place { session, ended: None, can_answer_here: true },
            flying: self.flying.len(),
            is_flying: &|kite| self.flying.contains(kite),
        };
        let rules = Rules { settings: &self.settings, grants: &self.grants };
        let filled = &mut self.filled;
        judge(kites, rules, asker, &mut self.challenges, NOW, &mut |bytes| {
            *filled += 1;
            bytes.fill(*filled);
        })
    }

    /// Both legs of an agent that knows `secret`.
    fn ask(&mut self, ids: &[&str], secret: &str) -> Vec<Outcome> {
        let first: Vec<_> = ids.iter().map(|id| request(id, "", secret)).collect();
        let answers: Vec<_> = self
            .judge(&first)
            .into_iter()
            .zip(ids)
            .map(|(outcome, id)| match outcome {
                Outcome::Challenge(challenge) => request(id, &challenge, secret),
                _ => request(id, "", secret),
            })
            .collect();
        self.judge(&answers)
    }

    fn ask_one(&mut self, id: &str, secret: &str) -> Outcome {
        self.ask(&[id], secret).remove(0)
    }

    fn challenge(&mut self, id: &str) -> String {
        match self.judge(&[request(id, "", "s3cret")]).remove(0) {
            Outcome::Challenge(challenge) => challenge,
            other => panic!("{id}: {other:?}"),
        }
    }
}

fn request(id: &str, challenge: &str, secret: &str) -> KiteRequest {
    let salt = Salt::from_random([9; 4]);
    KiteRequest::sign(&kite(id), "agent-salt", challenge, secret.as_bytes(), salt)
}

fn verified(bytes_per_day: Option<u64>) -> Outcome {
    let quota = KiteQuota { bytes_per_day, connections_per_day: None, streams: Some(50) };
    Outcome::Verified { secret: Secret::new("s3cret"), quota }
}

#[test]
fn who_knows_the_secret_flies_and_nobody_else() {
    let mut relay = Relay::new();
    assert_eq!(relay.ask_one("http:a.test", "s3cret"), verified(Some(1000)));
    assert_eq!(relay.ask_one("http:x.kites.test", "s3cret"), verified(None));
    assert_eq!(relay.ask_one("http:a.test", "wrong"), Outcome::Refused(Reason::Signature));
    for id in ["http:b.test", "http:unknown", "http:kites.test", "http:*.test"] {
        assert_eq!(relay.ask_one(id, "s3cret"), Outcome::Refused(Reason::Unauthorized), "{id}");
    }
    assert_eq!(relay.ask_one("http:off.test", "s3cret"), Outcome::Refused(Reason::Quota));
    assert_eq!(relay.ask_one("http:off.test", "wrong"), Outcome::Refused(Reason::Signature));
}

#[test]
fn without_a_challenge_the_right_secret_is_not_enough() {
    let mut relay = Relay::new();
    for challenge in ["", "t2345678", &"t".repeat(36), &"0".repeat(36)] {
        let outcome = relay.judge(&[request("http:a.test", challenge, "s3cret")]).remove(0);
        assert!(matches!(outcome, Outcome::Challenge(_)), "{challenge}: {outcome:?}");
    }
}

#[test]
fn a_replayed_answer_is_challenged_again() {
    let mut relay = Relay::new();
    let challenge = relay.challenge("http:a.test");
    let answer = [request("http:a.test", &challenge, "s3cret")];
    let elsewhere = relay.judge_at("elsewhere", &answer).remove(0);
    assert!(matches!(elsewhere, Outcome::Challenge(_)), "overheard: {elsewhere:?}");
    assert_eq!(relay.judge(&answer), [verified(Some(1000))]);
    for session in ["here", "elsewhere"] {
        let again = relay.judge_at(session, &answer).remove(0);
        assert!(matches!(again, Outcome::Challenge(_)), "{session}: {again:?}");
    }
    // A challenge for one kite is none for another.
    let challenge = relay.challenge("http:a.test");
    let other = relay.judge(&[request("https:a.test", &challenge, "s3cret")]).remove(0);
    assert!(matches!(other, Outcome::Challenge(_)), "{other:?}");
}

#[test]
fn a_wrong_answer_does_not_use_up_the_challenge() {
    let mut relay = Relay::new();
    let challenge = relay.challenge("http:a.test");
    let wrong = relay.judge(&[request("http:a.test", &challenge, "wrong")]);
    assert_eq!(wrong, [Outcome::Refused(Reason::Signature)]);
    let right = relay.judge(&[request("http:a.test", &challenge, "s3cret")]);
    assert_eq!(right, [verified(Some(1000))]);
}

#[test]
fn protocols_and_ports_have_to_be_served() {
    let mut relay = Relay::new();
    let (protocol, port) = (Outcome::Refused(Reason::Protocol), Outcome::Refused(Reason::Port));
    let ok = verified(Some(1000));
    for (id, wanted) in [
        ("irc:a.test", &protocol),
        ("http2:a.test", &protocol),
        ("http-80:a.test", &ok),
        ("http-8080:a.test", &ok),
        ("http-81:a.test", &port),
        ("https-443:a.test", &ok),
        ("https-22:a.test", &port),
        ("raw:a.test", &ok),
        ("raw-22:a.test", &ok),
        ("raw-80:a.test", &port),
        ("raw-5900:a.test", &ok),
        ("raw-5900:x.kites.test", &port),
        ("raw-2222:a.test", &port),
    ] {
        assert_eq!(&relay.ask_one(id, "s3cret"), wanted, "{id}");
    }
    relay.settings.raw_ports.any = true;
    assert_eq!(relay.ask_one("raw-80:a.test", "s3cret"), ok);
    // What is not served is refused at once, with no challenge before.
    assert_eq!(relay.judge(&[request("irc:a.test", "", "s3cret")]), [protocol]);
}

#[test]
fn an_authority_is_asked_about_names_without_a_line_only() {
    let mut relay = Relay::new();
    relay.settings.authorities = vec![authority("test")];
    for id in ["http:b.x.test", "http:*.x.test", "http:test", "http:b.test"] {
        assert_eq!(relay.ask_one(id, "any"), Outcome::AskAuthority, "{id}");
    }
    let unauthorized = Outcome::Refused(Reason::Unauthorized);
    assert_eq!(relay.ask_one("http:b.example", "any"), unauthorized);
    assert_eq!(relay.ask_one("http:unknown", "any"), unauthorized);
    assert_eq!(relay.ask_one("http:a.test", "any"), Outcome::Refused(Reason::Signature));
    relay.settings.authorities = vec![authority("")];
    assert_eq!(relay.ask_one("http:b.example", "any"), Outcome::AskAuthority);
    // The question uses up nothing; the authority's yes does.
    let challenge = relay.challenge("http:b.example");
    let answer = request("http:b.example", &challenge, "any");
    for _ in 0..2 {
        let outcome = relay.judge(std::slice::from_ref(&answer));
        assert_eq!(outcome, [Outcome::AskAuthority]);
    }
    assert!(relay.challenges.accept(&answer, NOW.seconds));
    assert!(!relay.challenges.accept(&answer, NOW.seconds), "two questions, one flight");
    let outcome = relay.judge(&[answer]).remove(0);
    assert!(matches!(outcome, Outcome::Challenge(_)));
}

#[test]
fn a_tunnel_has_only_so_many_kites() {
    let mut relay = Relay::new();
    let ids = ["http:1.kites.test", "http:2.kites.test", "http:3.kites.test", "http:a.test"];
    let outcomes = relay.ask(&ids, "s3cret");
    let (ok, full) = (verified(None), Outcome::Refused(Reason::TooManyKites));
    assert_eq!(outcomes, [ok.clone(), ok.clone(), ok.clone(), full.clone()]);
    relay.flying = ids[..2].iter().map(|id| kite(id)).collect();
    let outcomes = relay.ask(&[ids[0], "http:4.kites.test", "http:5.kites.test"], "s3cret");
    assert_eq!(outcomes, [Outcome::Flying, ok, full.clone()], "what flies counts, but once");
    relay.settings.limits.max_kites = 2;
    assert_eq!(relay.ask_one("http:4.kites.test", "s3cret"), full);
    assert_eq!(relay.ask_one(ids[1], "s3cret"), Outcome::Flying);
}

#[test]
fn a_kite_that_flies_here_needs_no_proof_and_stays() {
    let mut relay = Relay::new();
    relay.flying.insert(kite("http:a.test"));
    for secret in ["s3cret", "wrong"] {
        let outcome = relay.judge(&[request("http:a.test", "", secret)]);
        assert_eq!(outcome, [Outcome::Flying]);
    }
}

#[test]
fn the_same_kite_twice_is_answered_once_and_counts_once() {
    let mut relay = Relay::new();
    relay.settings.limits.max_kites = 1;
    let outcomes = relay.ask(&["http:a.test", "http:a.test"], "s3cret");
    assert_eq!(outcomes, [verified(Some(1000)), Outcome::Repeated]);
    let mut other_salt = request("http:a.test", "", "s3cret");
    other_salt.salt = "other".to_owned();
    let first = request("http:a.test", "", "s3cret");
    let outcomes = relay.judge(&[first, other_salt]);
    let [Outcome::Challenge(one), Outcome::Challenge(two)] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert_ne!(one, two, "each line has a challenge of its own");
}

#[test]
fn a_request_is_one_guess_at_a_kite_whatever_the_salts() {
    let mut relay = Relay::new();
    relay.settings.authorities = vec![authority("example")];
    let mut answers = |id: &str, secrets: &[&str]| {
        let salted = |(salt, challenge, secret): (&str, &str, &str)| {
            let random = Salt::from_random([9; 4]);
            KiteRequest::sign(&kite(id), salt, challenge, secret.as_bytes(), random)
        };
        let salts: Vec<String> = (0..secrets.len()).map(|number| number.to_string()).collect();
        let asked: Vec<_> = salts.iter().map(|salt| salted((salt, "", "any"))).collect();
        let challenges = relay.judge(&asked);
        let answers =
            salts.iter().zip(&challenges).zip(secrets).map(|((salt, outcome), secret)| {
                let Outcome::Challenge(challenge) = outcome else { panic!("{outcome:?}") };
                salted((salt, challenge, secret))
            });
        relay.judge(&answers.collect::<Vec<_>>())
    };
    let wrong = Outcome::Refused(Reason::Signature);
    let outcomes = answers("http:a.test", &["guess", "other", "s3cret"]);
    assert_eq!(outcomes, [wrong.clone(), wrong.clone(), wrong]);
    let unauthorized = Outcome::Refused(Reason::Unauthorized);
    let outcomes = answers("http:b.example", &["guess", "other"]);
    assert_eq!(outcomes, [Outcome::AskAuthority, unauthorized], "one question");
    // What is right is right twice.
    let outcomes = answers("http:a.test", &["s3cret", "s3cret"]);
    assert_eq!(outcomes, [verified(Some(1000)), verified(Some(1000))]);
}

#[test]
fn a_secret_guessed_beside_a_right_one_counts_as_failure() {
    let mut relay = Relay::new();
    let mut outcomes = relay.ask(&["http:a.test"], "s3cret");
    assert_eq!(handshake(&outcomes), Handshake::Succeeded);
    outcomes.extend(relay.ask(&["http:x.kites.test"], "guess"));
    assert_eq!(handshake(&outcomes), Handshake::Failed);
    assert_eq!(handshake(&relay.ask(&["irc:a.test"], "s3cret")), Handshake::Open);
    let challenged = relay.judge(&[request("http:a.test", "", "s3cret")]);
    assert_eq!(handshake(&challenged), Handshake::Open);
}

#[test]
fn a_wrong_secret_looks_like_an_unknown_name_unless_kites_may_be_told() {
    assert_eq!(Reason::Signature.word(false), Reason::Unauthorized.word(false));
    assert_eq!(Reason::Signature.word(true), "signature");
    assert_eq!(Reason::TooManyKites.word(true), "noconns");
}
