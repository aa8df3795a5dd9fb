//! Challenges that are good once and in one place, made without remembering
//! them (`protocol.md` 3.3 to 3.5).
//!
//! The reference accepts a pair of challenge and signature again and again for
//! ten to twenty minutes, on any connection, so whoever overhears one takes
//! the kite. Here a challenge is bound to its place:
//!
//! - An agent that can answer on the same connection (AddKites, and every
//!   frame) gets a challenge that is good there only. It is good on another
//!   connection when that names this one's session id as the one it replaces
//!   and this one has ended: so answers an agent of the reference that has its
//!   zlib chunks off, which announces AddKites and connects anew all the same.
//! - An agent that cannot (libpagekite) gets one that is good on any
//!   connection, since it will answer on a new one; the old one is closed.
//!
//! A challenge that was accepted is remembered for as long as it would be
//! valid, and refused. When too many are remembered, all are forgotten and the
//! relay's secret changes with them, so that every challenge made before is
//! void: agents that had one under way are challenged again. Only who knows a
//! kite's secret can make the relay remember.

use std::collections::HashSet;

use ring::hmac;

use crate::wire::{KiteRequest, SALT_LENGTH, SIGNATURE_LENGTH, Salt, WINDOW_SECONDS};

/// Bytes of the relay's own secret.
pub const SECRET_BYTES: usize = 32;
/// Accepted challenges that are remembered of each ten minutes. More than
/// there are kites, so that all can come back at once after an outage; some
/// 9 MB if they do, and again in the next ten minutes.
pub const MAX_REMEMBERED: usize = 131_072;

/// Where a challenge is to be answered, or was.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Session id of this connection.
    pub session: &'a str,
    /// The session id that the request names as the one it replaces, if no
    /// connection that lives has it.
    pub ended: Option<&'a str>,
    /// Whether the agent can answer on this connection: it announced AddKites,
    /// or its request came in a frame.
    pub can_answer_here: bool,
}

/// The challenges of one relay.
pub struct Challenges {
    secret: hmac::Key,
    /// How often all was forgotten.
    epoch: u64,
    /// Ten minutes that [`Self::used`] is of.
    window: u64,
    used: HashSet<u128>,
    used_before: HashSet<u128>,
    most: usize,
}

impl Challenges {
    /// Starts with a random secret, which is to be another at each start of
    /// the relay.
    pub fn new(secret: [u8; SECRET_BYTES]) -> Self {
        Self {
            secret: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            epoch: 0,
            window: 0,
            used: HashSet::new(),
            used_before: HashSet::new(),
            most: MAX_REMEMBERED,
        }
    }

    /// A challenge for `kite`. `seconds` are those of a clock that never goes
    /// back, from any beginning: agents do not read it.
    pub fn make(&self, kite: &KiteRequest, place: Place<'_>, salt: Salt, seconds: u64) -> String {
        let session = place.can_answer_here.then_some(place.session);
        kite.make_challenge(self.key(session).as_ref(), salt, seconds)
    }

    /// Whether the challenge in `kite` is one of ours, of the last ten to
    /// twenty minutes, was made for this place, and was not accepted before.
    pub fn is_valid(&self, kite: &KiteRequest, place: Place<'_>, seconds: u64) -> bool {
        let fits = |session| kite.has_valid_challenge(self.key(session).as_ref(), seconds);
        let mut is_ours = fits(None) | fits(Some(place.session));
        if let Some(ended) = place.ended {
            is_ours |= fits(Some(ended));
        }
        let is_used = |name| self.used.contains(&name) || self.used_before.contains(&name);
        is_ours && name(kite).is_some_and(|name| !is_used(name))
    }

    /// Notes that a valid challenge was answered rightly. False when that was
    /// so before, and the kite has to be challenged again.
    #[must_use]
    pub fn accept(&mut self, kite: &KiteRequest, seconds: u64) -> bool {
        let window = seconds / WINDOW_SECONDS;
        if window > self.window {
            // What was accepted two windows ago was made then or before.
            let before = std::mem::take(&mut self.used);
            self.used_before = if window == self.window + 1 { before } else { HashSet::new() };
            self.window = window;
        }
        let Some(name) = name(kite) else { return false };
        if self.used_before.contains(&name) || !self.used.insert(name) {
            return false;
        }
        if self.used.len() >= self.most {
            self.epoch += 1;
            self.used = HashSet::new();
            self.used_before = HashSet::new();
        }
        true
    }

    /// The key of the challenges of one connection, or of any.
    fn key(&self, session: Option<&str>) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(&self.epoch.to_be_bytes());
        context.update(if session.is_some() { b"session" } else { b"anybody" });
        context.update(session.unwrap_or_default().as_bytes());
        context.sign()
    }
}

impl std::fmt::Debug for Challenges {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let remembered = self.used.len() + self.used_before.len();
        formatter
            .debug_struct("Challenges")
            .field("remembered", &remembered)
            .finish_non_exhaustive()
    }
}

/// What tells one challenge from another: its hash, not its salt. A longer one
/// that begins with the same hash is the same challenge.
fn name(kite: &KiteRequest) -> Option<u128> {
    u128::from_str_radix(kite.challenge.get(SALT_LENGTH..SIGNATURE_LENGTH)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 10 * WINDOW_SECONDS;

    fn challenges() -> Challenges {
        Challenges::new([7; SECRET_BYTES])
    }

    fn here(session: &str) -> Place<'_> {
        Place { session, ended: None, can_answer_here: true }
    }

    /// Connects anew instead of answering where it was challenged.
    fn anywhere(session: &str) -> Place<'_> {
        Place { session, ended: None, can_answer_here: false }
    }

    fn after<'a>(session: &'a str, ended: &'a str) -> Place<'a> {
        Place { session, ended: Some(ended), can_answer_here: true }
    }

    fn request(id: &str, challenge: &str) -> KiteRequest {
        let id = id.parse().expect("valid");
        KiteRequest::sign(&id, "agent-salt", challenge, b"s3cret", Salt::from_random([9; 4]))
    }

    fn answer(challenges: &Challenges, place: Place<'_>, random: u8, seconds: u64) -> KiteRequest {
        let salt = Salt::from_random([random; 4]);
        let challenge = challenges.make(&request("http:a.test", ""), place, salt, seconds);
        request("http:a.test", &challenge)
    }

    #[test]
    fn an_answer_on_the_same_connection_is_good_there_only() {
        let challenges = challenges();
        let answer = answer(&challenges, here("one"), 1, NOW);
        assert!(challenges.is_valid(&answer, here("one"), NOW));
        assert!(!challenges.is_valid(&answer, here("two"), NOW), "overheard and sent elsewhere");
        assert!(!challenges.is_valid(&answer, anywhere("two"), NOW));
    }

    #[test]
    fn an_agent_that_connects_anew_answers_there() {
        let challenges = challenges();
        let answer = answer(&challenges, anywhere("one"), 1, NOW);
        assert!(challenges.is_valid(&answer, anywhere("two"), NOW));
        assert!(challenges.is_valid(&answer, here("two"), NOW));
    }

    #[test]
    fn an_ended_connection_s_challenge_is_answered_on_the_one_that_replaces_it() {
        let challenges = challenges();
        let answer = answer(&challenges, here("one"), 1, NOW);
        assert!(challenges.is_valid(&answer, after("two", "one"), NOW));
        assert!(!challenges.is_valid(&answer, after("two", "three"), NOW));
    }

    #[test]
    fn what_was_accepted_is_refused_for_as_long_as_it_would_be_valid() {
        for used_at in [NOW, NOW + 599, NOW + 600, NOW + 1199] {
            let mut challenges = challenges();
            let answer = answer(&challenges, here("one"), 1, NOW);
            assert!(challenges.is_valid(&answer, here("one"), used_at));
            assert!(challenges.accept(&answer, used_at));
            assert!(!challenges.accept(&answer, used_at), "nor is it accepted unasked");
            for later in used_at..NOW + 1300 {
                // Others come and go, which makes it forget what is old.
                let other = self::answer(&challenges, here("two"), 2, later);
                let _ = challenges.accept(&other, later);
                assert!(!challenges.is_valid(&answer, here("one"), later), "{used_at} {later}");
            }
        }
    }

    #[test]
    fn another_signature_and_a_longer_challenge_are_no_way_around() {
        let mut challenges = challenges();
        let answer = answer(&challenges, here("one"), 1, NOW);
        assert!(challenges.accept(&answer, NOW));
        let id = &answer.id;
        let again = KiteRequest::sign(
            id,
            "agent-salt",
            &answer.challenge,
            b"s3cret",
            Salt::from_random([3; 4]),
        );
        assert!(!challenges.is_valid(&again, here("one"), NOW));
        for digit in "0123456789abcdef".chars() {
            let longer = request("http:a.test", &format!("{}{digit}", answer.challenge));
            assert!(!challenges.is_valid(&longer, here("one"), NOW));
        }
    }

    #[test]
    fn old_foreign_and_forged_ones_are_refused() {
        let challenges = challenges();
        let answer = answer(&challenges, here("one"), 1, NOW);
        assert!(challenges.is_valid(&answer, here("one"), NOW + 1199));
        assert!(!challenges.is_valid(&answer, here("one"), NOW + 1200));
        let other_kite = request("http:b.test", &answer.challenge);
        assert!(!challenges.is_valid(&other_kite, here("one"), NOW));
        let other_start = Challenges::new([8; SECRET_BYTES]);
        assert!(!other_start.is_valid(&answer, here("one"), NOW));
        for forged in ["", "t", "t1111111", "é", &"t".repeat(36), &"0".repeat(36), &"é".repeat(18)]
        {
            let forged = request("http:a.test", forged);
            assert!(!challenges.is_valid(&forged, here("one"), NOW));
        }
    }

    #[test]
    fn when_too_many_are_remembered_no_old_one_comes_back() {
        let mut challenges = challenges();
        challenges.most = 10;
        let answers: Vec<_> =
            (0..11).map(|random| answer(&challenges, here("one"), random, NOW)).collect();
        for answer in &answers[..10] {
            assert!(challenges.is_valid(answer, here("one"), NOW));
            assert!(challenges.accept(answer, NOW));
        }
        assert!(challenges.used.len() < 10);
        for answer in &answers {
            assert!(!challenges.is_valid(answer, here("one"), NOW));
        }
        let fresh = answer(&challenges, here("one"), 1, NOW);
        assert!(challenges.is_valid(&fresh, here("one"), NOW), "and nobody is locked out");
    }

    #[test]
    fn the_secret_is_not_shown() {
        assert!(!format!("{:?}", challenges()).contains('7'));
    }
}
