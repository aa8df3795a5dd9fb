//! The agent's side of the handshake: which kites were asked for, with which
//! salts, and what the relay said of each (`protocol.md` 3).
//!
//! Both flows are here. Where the relay adds kites to running tunnels, its
//! challenges are answered in a frame; where it does not, they are answered in
//! a second request on a new connection.

use super::answer::{Answer, Verdict};
use super::kite::KiteId;
use super::request::{KiteRequest, TunnelRequest, VERSION};
use super::secret::Secret;
use super::signature::{Salt, write_hex};

/// Characters of an agent's salt (`protocol.md` 3.1).
const AGENT_SALT_LENGTH: usize = 36;
/// Challenges to one kite before it counts as refused. One is the protocol's;
/// the second is for one that ran out of its ten minutes under way.
const MAX_CHALLENGES: u8 = 2;

/// Fills a buffer with random bytes; passed in, since `wire` has none.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]);

/// The kites of one tunnel.
#[derive(Debug)]
pub struct Registration {
    kites: Vec<RequestedKite>,
    zlib_chunks: bool,
    relay_adds_kites: bool,
    session_id: Option<String>,
}

/// A kite and what the relay said of it so far.
#[derive(Debug)]
struct RequestedKite {
    id: KiteId,
    secret: Secret,
    salt: String,
    state: KiteState,
    challenges: u8,
    /// Whether the newest challenge has been answered.
    is_answered: bool,
}

/// What a relay said of a kite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KiteState {
    /// Asked for, or not even that.
    Requested,
    /// To be signed again.
    Challenged(String),
    /// Visitors reach it.
    Flying,
    /// Another tunnel, or a wildcard of one, holds it.
    Duplicate,
    /// Refused, with the relay's word for the reason.
    Refused(String),
}

/// What has to be done after an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: at least one kite flies.
    Fly,
    /// Nothing yet: the relay has still to say what it makes of an answer.
    Wait,
    /// Send [`Registration::answer_payload`] on this connection.
    AnswerHere,
    /// Connect anew and send [`Registration::request`] there.
    Reconnect,
    /// No kite flies, and none will without another configuration or time.
    Refused,
}

impl Registration {
    /// Prepares to ask for `kites`. With `zlib_chunks`, the relay may send
    /// compressed frames.
    pub fn new(
        kites: impl IntoIterator<Item = (KiteId, Secret)>,
        zlib_chunks: bool,
        random: Random<'_>,
    ) -> Self {
        let kites = kites
            .into_iter()
            .map(|(id, secret)| {
                let mut bytes = [0; AGENT_SALT_LENGTH / 2];
                random(&mut bytes);
                let mut salt = [0; AGENT_SALT_LENGTH];
                write_hex(&bytes, &mut salt);
                let salt = salt.iter().copied().map(char::from).collect();
                let state = KiteState::Requested;
                RequestedKite { id, secret, salt, state, challenges: 0, is_answered: false }
            })
            .collect();
        Self { kites, zlib_chunks, relay_adds_kites: false, session_id: None }
    }

    /// The head of the handshake: unsigned by challenge at first, signed on
    /// the second connection. `replace` is the session id of the tunnel that
    /// this one takes the place of; on the second connection it is the id that
    /// the first one got.
    pub fn request(&self, replace: Option<&str>, random: Random<'_>) -> Vec<u8> {
        let replace = self.session_id.as_deref().or(replace);
        TunnelRequest {
            add_kites: true,
            zlib_chunks: self.zlib_chunks,
            mobile: false,
            version: Some(VERSION.to_owned()),
            replace: replace.map(str::to_owned),
            kites: self.kites.iter().map(|kite| kite.sign(random)).collect(),
        }
        .encode()
    }

    /// Takes the relay's answer to a request, from a head or a frame. The step
    /// is to be taken before the next answer is.
    pub fn apply(&mut self, answer: &Answer) -> Step {
        for kite in &mut self.kites {
            // To ask again for a kite whose verdict is under way would make it
            // a duplicate of itself (`protocol.md` 3.4).
            kite.is_answered |= kite.is_challenged();
        }
        if answer.status.is_some() {
            self.relay_adds_kites = answer.add_kites;
            // What flew on the connection before this one does no longer.
            let flying = self.kites.iter_mut().filter(|kite| kite.state == KiteState::Flying);
            flying.for_each(|kite| kite.state = KiteState::Requested);
        }
        if let Some(session_id) = &answer.session_id {
            // Relays know a tunnel by the newest id only (`protocol.md` 3.6).
            self.session_id = Some(session_id.clone());
        }
        for result in &answer.results {
            let Some(kite) = self.kites.iter_mut().find(|kite| kite.has_key(&result.key)) else {
                continue;
            };
            match &result.verdict {
                Verdict::Flying => kite.state = KiteState::Flying,
                Verdict::TlsAtRelay => {}
                // A kite that flies stays up: its duplicate is itself.
                _ if kite.state == KiteState::Flying => {}
                Verdict::Duplicate => kite.state = KiteState::Duplicate,
                Verdict::Refused(reason) => kite.state = KiteState::Refused(reason.clone()),
                Verdict::Challenge(_) if kite.challenges == MAX_CHALLENGES => {
                    kite.state = KiteState::Refused("challenge".to_owned());
                }
                Verdict::Challenge(challenge) => {
                    kite.challenges += 1;
                    kite.is_answered = false;
                    kite.state = KiteState::Challenged(challenge.clone());
                }
            }
        }
        self.step(answer.status.is_some())
    }

    /// The frame that answers the challenges: headers and body.
    pub fn answer_payload(&self, random: Random<'_>) -> Vec<u8> {
        self.frame_for(|kite| kite.is_to_be_answered(), random)
    }

    /// Adds a kite to the running tunnel: the frame that asks for it. `None`
    /// when it is asked for already, since a relay answers the second time
    /// with "duplicate" and an answer without a success closes the tunnel and
    /// all that is on it (`protocol.md` 3.4); so a kite that was never flown
    /// is to be proved on a connection of its own first. `None` as well when
    /// the relay does not add kites to running tunnels.
    pub fn add(&mut self, id: KiteId, secret: Secret, random: Random<'_>) -> Option<Vec<u8>> {
        if !self.relay_adds_kites || self.kites.iter().any(|kite| kite.id == id) {
            return None;
        }
        let added = Self::new([(id, secret)], false, random).kites;
        self.kites.extend(added);
        let last = self.kites.last().map(|kite| kite.id.clone());
        Some(self.frame_for(|kite| Some(&kite.id) == last.as_ref(), random))
    }

    /// The kites and their states.
    pub fn kites(&self) -> impl Iterator<Item = (&KiteId, &KiteState)> {
        self.kites.iter().map(|kite| (&kite.id, &kite.state))
    }

    /// The id that the relay knows this tunnel by, for the next one's Replace.
    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    fn step(&self, is_head: bool) -> Step {
        let any = |wanted: fn(&RequestedKite) -> bool| self.kites.iter().any(wanted);
        if any(RequestedKite::is_to_be_answered) {
            if self.relay_adds_kites { Step::AnswerHere } else { Step::Reconnect }
        } else if any(|kite| kite.state == KiteState::Flying) {
            Step::Fly
        } else if !is_head && any(RequestedKite::is_challenged) {
            Step::Wait
        } else {
            Step::Refused
        }
    }

    fn frame_for(&self, wanted: impl Fn(&&RequestedKite) -> bool, random: Random<'_>) -> Vec<u8> {
        TunnelRequest {
            version: Some(VERSION.to_owned()),
            kites: self.kites.iter().filter(wanted).map(|kite| kite.sign(random)).collect(),
            ..TunnelRequest::default()
        }
        .encode_payload()
    }
}

impl RequestedKite {
    fn sign(&self, random: Random<'_>) -> KiteRequest {
        let challenge = match &self.state {
            KiteState::Challenged(challenge) => challenge,
            _ => "",
        };
        let mut salt = [0; 4];
        random(&mut salt);
        let salt = Salt::from_random(salt);
        KiteRequest::sign(&self.id, &self.salt, challenge, self.secret.bytes(), salt)
    }

    fn is_challenged(&self) -> bool {
        matches!(self.state, KiteState::Challenged(_))
    }

    fn is_to_be_answered(&self) -> bool {
        self.is_challenged() && !self.is_answered
    }

    fn has_key(&self, key: &str) -> bool {
        key.rsplit_once(':')
            .is_some_and(|(id, salt)| salt == self.salt && id.parse().as_ref() == Ok(&self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY_SECRET: &[u8] = b"relay";
    const NOW: u64 = 1_700_000_000;

    fn registration() -> Registration {
        let kites = ["http:one.test", "raw-22:two.test"]
            .map(|id| (id.parse().expect("valid"), Secret::new("s3cret")));
        Registration::new(kites, true, &mut |bytes| bytes.fill(7))
    }

    /// What a relay would say to `request`: a challenge, or whether the answer
    /// to it is right.
    fn judge(request: &TunnelRequest, add_kites: bool, status: Option<u16>) -> Answer {
        let results = request.kites.iter().map(|kite| {
            let verdict = if kite.challenge.is_empty() {
                let salt = Salt::from_random([1, 2, 3, 4]);
                Verdict::Challenge(kite.make_challenge(RELAY_SECRET, salt, NOW))
            } else if kite.has_valid_challenge(RELAY_SECRET, NOW + 60)
                && kite.is_signed_with(b"s3cret", NOW + 60)
            {
                Verdict::Flying
            } else {
                Verdict::Refused("signature".to_owned())
            };
            super::super::answer::KiteResult { key: kite.key(), verdict }
        });
        let session_id = Some(format!("session-{}", status.unwrap_or(0)));
        Answer { status, add_kites, results: results.collect(), session_id, ..Answer::default() }
    }

    fn payload_lines(payload: &[u8]) -> TunnelRequest {
        let end = payload.windows(4).position(|four| four == b"\r\n\r\n").expect("blank line");
        TunnelRequest::parse_lines(&payload[..end + 2]).expect("valid")
    }

    #[test]
    fn a_challenge_is_answered_on_the_same_connection() {
        let mut agent = registration();
        let random: Random<'_> = &mut |bytes| bytes.fill(9);
        let request = TunnelRequest::parse(&agent.request(None, random)).expect("valid");
        assert!(request.add_kites && request.zlib_chunks && request.kites.len() == 2);
        assert_eq!(agent.apply(&judge(&request, true, Some(200))), Step::AnswerHere);
        let answer = payload_lines(&agent.answer_payload(random));
        assert_eq!(agent.apply(&judge(&answer, true, None)), Step::Fly);
        assert!(agent.kites().all(|(_, state)| *state == KiteState::Flying));
        assert_eq!(agent.session_id(), Some("session-0"), "the newest id counts");
    }

    #[test]
    fn without_add_kites_the_answer_goes_on_a_new_connection() {
        let mut agent = registration();
        let random: Random<'_> = &mut |bytes| bytes.fill(9);
        let first = TunnelRequest::parse(&agent.request(Some("old"), random)).expect("valid");
        assert_eq!(first.replace.as_deref(), Some("old"));
        assert_eq!(agent.apply(&judge(&first, false, Some(200))), Step::Reconnect);
        let second = TunnelRequest::parse(&agent.request(Some("old"), random)).expect("valid");
        assert_eq!(second.replace.as_deref(), Some("session-200"));
        assert_eq!(agent.apply(&judge(&second, false, Some(200))), Step::Fly);
    }

    #[test]
    fn endless_challenges_are_a_refusal() {
        let mut agent = registration();
        let random: Random<'_> = &mut |bytes| bytes.fill(9);
        for _ in 0..MAX_CHALLENGES {
            let mut request = TunnelRequest::parse(&agent.request(None, random)).expect("valid");
            request.kites.iter_mut().for_each(|kite| kite.challenge.clear());
            assert_eq!(agent.apply(&judge(&request, false, Some(200))), Step::Reconnect);
        }
        let mut request = TunnelRequest::parse(&agent.request(None, random)).expect("valid");
        request.kites.iter_mut().for_each(|kite| kite.challenge.clear());
        assert_eq!(agent.apply(&judge(&request, false, Some(200))), Step::Refused);
    }

    #[test]
    fn a_mixed_answer_flies_what_it_can() {
        let mut agent = registration();
        let random: Random<'_> = &mut |bytes| bytes.fill(9);
        let request = TunnelRequest::parse(&agent.request(None, random)).expect("valid");
        let mut answer = judge(&request, true, Some(200));
        answer.results[0].verdict = Verdict::Flying;
        answer.results[1].verdict = Verdict::Refused("port".to_owned());
        assert_eq!(agent.apply(&answer), Step::Fly);
        let states: Vec<_> = agent.kites().map(|(_, state)| state.clone()).collect();
        assert_eq!(states, [KiteState::Flying, KiteState::Refused("port".to_owned())]);
    }

    #[test]
    fn a_flying_kite_is_never_asked_for_again() {
        let mut agent = registration();
        let random: Random<'_> = &mut |bytes| bytes.fill(9);
        let request = TunnelRequest::parse(&agent.request(None, random)).expect("valid");
        agent.apply(&judge(&request, true, Some(200)));
        let id: KiteId = "http:one.test".parse().expect("valid");
        assert_eq!(agent.add(id, Secret::new("s3cret"), random), None);
        let id: KiteId = "http:new.test".parse().expect("valid");
        let frame = agent.add(id.clone(), Secret::new("s3cret"), random).expect("a new kite");
        let asked = payload_lines(&frame);
        assert_eq!(asked.kites.len(), 1);
        assert_eq!(asked.kites[0].id, id);
    }

    #[test]
    fn an_answer_about_somebody_elses_kite_is_passed_over() {
        let mut agent = registration();
        let answer = Answer {
            results: vec![super::super::answer::KiteResult {
                key: "http:one.test:othersalt".to_owned(),
                verdict: Verdict::Flying,
            }],
            ..Answer::default()
        };
        assert_eq!(agent.apply(&answer), Step::Refused);
    }
}
