//! What becomes of each kite in a request, as far as the relay's own lines say
//! it (`protocol.md` 3 and 14).
//!
//! The order is the reference's: protocol and port, challenge, secret, and then
//! somebody who is asked. Other than there, a wrong signature on a kite that
//! has a line of its own is the end of it, whoever else might be asked.

use std::collections::HashMap;

use super::authority::choose;
use super::challenge::{Challenges, Place};
use super::grants::Grants;
use super::quota::{is_nothing, quota_of};
use crate::config::{KiteQuota, RelaySettings};
use crate::wire::{KiteId, KiteRequest, Random, SALT_LENGTH, Salt, Secret};

/// What became of a kite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It may not fly.
    Refused(Reason),
    /// The agent has to sign it again with this challenge.
    Challenge(String),
    /// The agent knows the secret, so the kite may fly; who flies it now is
    /// another question ([`super::takeover`]).
    Verified {
        /// What it was signed with, to see after a reload whether it is still
        /// good ([`Grants::still_granted`]).
        secret: Secret,
        /// What the kite may use.
        quota: KiteQuota,
    },
    /// No line says anything of it, and somebody else is to be asked. When that says yes, [`Challenges::accept`] has to be
    /// asked as well, and if that says no, the kite is challenged again.
    AskAuthority,
    /// It flies on this very tunnel, and nothing changes: the answer is OK.
    Flying,
    /// The same line is in the request before; its answer is for both.
    Repeated,
}

/// Why a kite may not fly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The relay does not serve its protocol.
    Protocol,
    /// The relay does not serve its port.
    Port,
    /// Nobody may fly it.
    Unauthorized,
    /// The secret is another one.
    Signature,
    /// Its line lets it use nothing at all. One that has merely used up its
    /// day flies, and its visitors are told.
    Quota,
    /// The tunnel has as many kites as it may have.
    TooManyKites,
}

impl Reason {
    /// The word for agents (`protocol.md` 3.2); they know what it means and
    /// say it to their user. Unless kites may be told from unknown names
    /// (`reveal_kites`), a wrong secret looks like an unknown name.
    pub fn word(self, reveal_kites: bool) -> &'static str {
        match self {
            Self::Protocol => "proto",
            Self::Port => "port",
            Self::Signature if reveal_kites => "signature",
            Self::Signature | Self::Unauthorized => "unauthorized",
            Self::Quota => "quota",
            // The closest of the words that agents know.
            Self::TooManyKites => "noconns",
        }
    }

    /// The reason for the relay's own log, to follow "refused: ".
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Protocol => "the relay does not carry its protocol (protos)",
            Self::Port => "the relay does not carry its port (ports, rawports)",
            Self::Unauthorized => "no line for it among the kites that may fly",
            Self::Signature => "wrong secret",
            Self::Quota => "its line lets it use nothing (quota)",
            Self::TooManyKites => "its tunnel has as many kites as it may have (max_kites)",
        }
    }
}

/// The word of an authority, for the relay's own log.
pub(super) fn told_word(word: &str) -> &str {
    match word {
        "signature" => Reason::Signature.in_words(),
        other => other,
    }
}

/// What the relay goes by.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Its settings.
    pub settings: &'a RelaySettings,
    /// Its lines.
    pub grants: &'a Grants,
}

/// Who asks.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// Where its challenges are good.
    pub place: Place<'a>,
    /// How many kites fly on its tunnel.
    pub flying: usize,
    /// Whether this one does.
    pub is_flying: &'a dyn Fn(&KiteId) -> bool,
}

impl std::fmt::Debug for Asker<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { place, flying, .. } = self;
        let mut shown = formatter.debug_struct("Asker");
        shown.field("place", place).field("flying", flying).finish_non_exhaustive()
    }
}

/// The time, by two clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Seconds of a clock that never goes back, from any beginning.
    pub seconds: u64,
    /// Unix time, for agents that put it into their signatures.
    pub unix_seconds: u64,
}

/// Says what becomes of each kite of a request, in its order. `random` fills a
/// buffer; it makes challenges.
pub fn judge(
    kites: &[KiteRequest],
    rules: Rules<'_>,
    asker: Asker<'_>,
    challenges: &mut Challenges,
    now: Now,
    random: Random<'_>,
) -> Vec<Outcome> {
    let mut room = rules.settings.limits.max_kites.saturating_sub(asker.flying);
    let mut asked: HashMap<&KiteId, Asked<'_>> = HashMap::new();
    let mut outcomes = Vec::with_capacity(kites.len());
    for kite in kites {
        let Asked { salts, guessed } = asked.entry(&kite.id).or_default();
        let (is_new, is_repeated) = (salts.is_empty(), salts.contains(&kite.salt.as_str()));
        salts.push(&kite.salt);
        outcomes.push(if is_repeated {
            Outcome::Repeated
        } else if (asker.is_flying)(&kite.id) {
            Outcome::Flying
        } else if is_new && room == 0 {
            // Once refused, a kite is not let in by asking with another salt.
            asked.remove(&kite.id);
            Outcome::Refused(Reason::TooManyKites)
        } else if let Some(reason) = *guessed {
            Outcome::Refused(reason)
        } else {
            room -= usize::from(is_new);
            let outcome = judge_one(kite, rules, asker.place, challenges, now, random);
            *guessed = match outcome {
                Outcome::Refused(reason @ (Reason::Signature | Reason::Unauthorized)) => {
                    Some(reason)
                }
                Outcome::AskAuthority => Some(Reason::Unauthorized),
                _ => None,
            };
            outcome
        });
    }
    outcomes
}

/// What a request has asked of one kite so far.
#[derive(Default)]
struct Asked<'a> {
    /// The salts.
    salts: Vec<&'a str>,
    /// There was a guess at its secret that was wrong, or that an authority is
    /// asked about. There is one for each kite: a request counts as one failure
    /// ([`handshake`]), and with another salt for each there would be hundreds.
    guessed: Option<Reason>,
}

fn judge_one(
    kite: &KiteRequest,
    rules: Rules<'_>,
    place: Place<'_>,
    challenges: &mut Challenges,
    now: Now,
    random: Random<'_>,
) -> Outcome {
    let settings = rules.settings;
    if !settings.protocols.iter().any(|protocol| protocol == kite.id.protocol()) {
        return Outcome::Refused(Reason::Protocol);
    }
    if !is_served_port(settings, &kite.id) {
        return Outcome::Refused(Reason::Port);
    }
    if !challenges.is_valid(kite, place, now.seconds) {
        return challenge(kite, place, challenges, now, random);
    }
    let lines = rules.grants.find(&kite.id);
    match lines.verify(kite, now.unix_seconds) {
        Some(line) => {
            if !challenges.accept(kite, now.seconds) {
                return challenge(kite, place, challenges, now, random);
            }
            let quota = quota_of(&line.quota, &settings.limits.quota);
            if is_nothing(&quota) {
                return Outcome::Refused(Reason::Quota);
            }
            Outcome::Verified { secret: line.secret.clone(), quota }
        }
        None if lines.is_empty() => match choose(&settings.authorities, kite.id.domain()) {
            Some(_) => Outcome::AskAuthority,
            None => Outcome::Refused(Reason::Unauthorized),
        },
        None => Outcome::Refused(Reason::Signature),
    }
}

/// A challenge for a kite whose answer was missing, too old, used or not ours.
pub(super) fn challenge(
    kite: &KiteRequest,
    place: Place<'_>,
    challenges: &Challenges,
    now: Now,
    random: Random<'_>,
) -> Outcome {
    let mut salt = [0; SALT_LENGTH / 2];
    random(&mut salt);
    let salt = Salt::from_random(salt);
    Outcome::Challenge(challenges.make(kite, place, salt, now.seconds))
}

/// Whether visitors can come to the kite's port at all (`protocol.md` 11,
/// "Ports and protocols requested by kites").
fn is_served_port(settings: &RelaySettings, kite: &KiteId) -> bool {
    let Some(port) = kite.port() else { return true };
    if kite.protocol() == "raw" {
        let raw = &settings.raw_ports;
        let is_dedicated = raw.dedicated.iter().any(|(_, owner)| owner == kite);
        return raw.any || raw.connect.contains(&port) || is_dedicated;
    }
    settings.ports.contains(&port) || settings.port_aliases.iter().any(|&(_, told)| told == port)
}

/// What a whole request counts as for the limit on failed handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Nothing is decided yet.
    Open,
    /// A secret was wrong or a name unknown. Others that were right do not make
    /// up for it: who has one kite could try the secrets of others for ever.
    Failed,
    /// A secret was right, and none was wrong.
    Succeeded,
}

/// What `outcomes` count as. For a kite of an authority put in what became of
/// it in the end.
pub fn handshake(outcomes: &[Outcome]) -> Handshake {
    let is_failure = |outcome: &Outcome| {
        matches!(outcome, Outcome::Refused(Reason::Signature | Reason::Unauthorized))
    };
    if outcomes.iter().any(is_failure) {
        Handshake::Failed
    } else if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Verified { .. })) {
        Handshake::Succeeded
    } else {
        Handshake::Open
    }
}

#[cfg(test)]
mod tests;
