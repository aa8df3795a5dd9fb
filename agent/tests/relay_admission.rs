//! Agents of other programs at the relay's door: their recorded requests, and
//! the whole way from the first request to a flight that replaces another.
#![cfg(feature = "relay")]

use std::fs;
use std::path::Path;

use kitelet::config::{Grant, KiteQuota};
use kitelet::relay::challenge::{Challenges, Place, SECRET_BYTES};
use kitelet::relay::flights::{Added, Flights};
use kitelet::relay::grants::Grants;
use kitelet::relay::session_ids::{RANDOM_BYTES, SessionIds};
use kitelet::relay::takeover::takeover;
use kitelet::wire::{Answer, KiteRequest, Salt, Secret, TunnelRequest, Verdict};

fn grants() -> Grants {
    Grants::new([Grant {
        protocols: ["http", "https", "websocket", "raw"].map(|p| (p.to_owned(), None)).to_vec(),
        domain: "kite.test".to_owned(),
        secret: Secret::new("s3cret"),
        quota: KiteQuota::default(),
    }])
}

/// The head of a recorded direction, with its blank line.
fn head(file: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(file).ok()?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(bytes[..end + 4].to_vec())
}

#[test]
fn recorded_signatures_are_judged_as_the_reference_judged_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let (mut right, mut wrong) = (0, 0);
    for scenario in ["20-fe-handshake-variants", "22-fe-replace-addkites"] {
        for number in 1..60 {
            let file = |end: &str| folder.join(scenario).join(format!("{number:02}.{end}.bin"));
            let (Some(request), Some(answer)) = (head(&file("be2fe")), head(&file("fe2be"))) else {
                continue;
            };
            let Ok(request) = TunnelRequest::parse(&request) else { continue };
            let Ok(answer) = Answer::parse(&answer) else { continue };
            // The session id begins with the time of the recording.
            let time = answer.session_id.as_deref().and_then(|id| id.split_once(':'));
            let Some((time, _)) = time else { continue };
            let unix_seconds = u64::from_str_radix(time, 16).expect("a time");
            for kite in &request.kites {
                let key = kite.key();
                let results = answer.results.iter().filter(|result| result.key == key);
                for result in results {
                    let is_right = match &result.verdict {
                        Verdict::Flying | Verdict::Duplicate => true,
                        Verdict::Refused(reason) if reason == "signature" => false,
                        _ => continue,
                    };
                    let found = grants().find(&kite.id).verify(kite, unix_seconds).is_some();
                    assert_eq!(found, is_right, "{scenario}/{number} {key}");
                    *(if is_right { &mut right } else { &mut wrong }) += 1;
                }
            }
        }
    }
    assert!(right > 5 && wrong > 0, "{right} right and {wrong} wrong signatures");
}

/// A relay that tells tunnels by number.
struct Relay {
    challenges: Challenges,
    ids: SessionIds<u32>,
    flights: Flights<u32>,
}

impl Relay {
    fn new() -> Self {
        Self {
            challenges: Challenges::new([7; SECRET_BYTES]),
            ids: SessionIds::new(),
            flights: Flights::new(),
        }
    }

    fn connect(&mut self, tunnel: u32) -> String {
        self.ids.add(tunnel, 0x6b02_a836, [tunnel as u8; RANDOM_BYTES])
    }

    fn place<'a>(&self, session: &'a str, replace: Option<&'a str>, adds: bool) -> Place<'a> {
        let ended = replace.filter(|id| !self.ids.is_live(id));
        Place { session, ended, can_answer_here: adds }
    }
}

fn sign(challenge: &str) -> KiteRequest {
    let id = "http:kite.test".parse().expect("valid");
    KiteRequest::sign(&id, "salt", challenge, b"s3cret", Salt::from_random([3; 4]))
}

/// libpagekite and pagekite.py without zlib chunks: two connections, of which
/// the second one names the first, and no longer the tunnel that was lost.
#[test]
fn an_agent_that_reconnects_has_its_kite_back_although_its_replace_names_the_first_leg() {
    for announces_add_kites in [false, true] {
        let mut relay = Relay::new();
        let kite = sign("").id;
        let lost = relay.connect(1);
        assert_eq!(relay.flights.add(&kite, 1), Added::New);
        let leg = relay.connect(2);
        let place = relay.place(&leg, Some(&lost), announces_add_kites);
        let challenge = relay.challenges.make(&sign(""), place, Salt::from_random([1; 4]), 0);
        relay.ids.note_first_leg(&leg, &lost, 0);
        let answer = sign(&challenge);
        let second = relay.connect(3);
        if announces_add_kites {
            let early = relay.place(&second, Some(&leg), true);
            assert!(!relay.challenges.is_valid(&answer, early, 1), "the first connection lives");
        }
        relay.ids.remove(&leg);
        let place = relay.place(&second, Some(&leg), announces_add_kites);
        assert!(relay.challenges.is_valid(&answer, place, 1));
        assert!(grants().find(&kite).verify(&answer, 0).is_some());
        assert!(relay.challenges.accept(&answer, 1));
        let replaced = relay.ids.replaced(&leg);
        let found = takeover(&relay.flights, std::slice::from_ref(&kite), 3, &replaced);
        assert_eq!(found.close, [1]);
        relay.flights.remove_tunnel(1);
        assert_eq!(relay.flights.add(&kite, 3), Added::New);
    }
}

#[test]
fn without_replace_a_dead_tunnel_is_found_out_and_a_living_one_stays() {
    let kite = sign("").id;
    for lives in [false, true] {
        let mut relay = Relay::new();
        assert_eq!(relay.flights.add(&kite, 1), Added::New);
        let found = takeover(&relay.flights, std::slice::from_ref(&kite), 2, &[]);
        assert!(found.close.is_empty());
        assert_eq!(found.ask, [1]);
        if !lives {
            relay.flights.remove_tunnel(1);
        }
        let wanted = if lives { Added::Duplicate(1) } else { Added::New };
        assert_eq!(relay.flights.add(&kite, 2), wanted);
    }
}
