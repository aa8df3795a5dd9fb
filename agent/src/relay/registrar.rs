//! What one agent asks for and gets: judges its kites by our own lines and by
//! whoever else is asked, and gets old tunnels out of the way (`protocol.md`
//! 3.6 and 14).

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use log::{debug, info};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::admission::{self, Handshake, Outcome, Reason, handshake, judge};
use super::authority::{RECHECK_INTERVAL, Ruling};
use super::challenge::Place;
use super::flights::Added;
use super::quota::{is_nothing, quota_of};
use super::session_ids::RANDOM_BYTES;
use super::shared::{Relay, unix_seconds};
use super::takeover::takeover;
use super::tunnels::{Admitted, AgentTunnel, Proof, TunnelId};
use crate::config::KiteQuota;
use crate::wire::{KiteId, KiteRequest, KiteResult, Quota, Verdict};

/// Judges the requests of one agent as long as it is connected.
pub(super) struct Registrar {
    relay: Rc<Relay>,
    id: TunnelId,
    session: String,
    address: IpAddr,
    replace: Option<String>,
    next_review: Instant,
}

/// What became of a request.
#[derive(Default)]
pub(super) struct Judged {
    /// For each kite of the request.
    pub(super) results: Vec<KiteResult>,
    /// The kites that fly now and did not before.
    pub(super) admitted: Vec<Admitted>,
    /// The least that an authority or a line leaves to any of them.
    pub(super) quota: Quota,
}

impl Judged {
    pub(super) fn any(&self, verdict: &Verdict) -> bool {
        self.results.iter().any(|result| result.verdict == *verdict)
    }

    pub(super) fn any_challenge(&self) -> bool {
        self.results.iter().any(|result| matches!(result.verdict, Verdict::Challenge(_)))
    }

    fn push(&mut self, kite: &KiteRequest, verdict: Verdict) {
        self.results.push(KiteResult { key: kite.key(), verdict });
    }
}

impl Registrar {
    pub(super) fn new(relay: &Rc<Relay>, address: IpAddr, replace: Option<String>) -> Self {
        let id = relay.next_tunnel();
        let mut random = [0; RANDOM_BYTES];
        fill_random(&mut random);
        let session = relay.sessions.borrow_mut().add(id, unix_seconds(), random);
        let next_review = Instant::now() + RECHECK_INTERVAL;
        Self { relay: Rc::clone(relay), id, session, address, replace, next_review }
    }

    pub(super) fn id(&self) -> TunnelId {
        self.id
    }

    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    /// The id by which the agent may take this tunnel's place later.
    pub(super) fn session_id(&self) -> &str {
        &self.session
    }

    /// When [`Self::review`] is due.
    pub(super) fn next_review(&self) -> Instant {
        self.next_review
    }

    /// The connection is closed after its challenge; what it wanted to replace
    /// is remembered for the one that brings the answer.
    pub(super) fn note_first_leg(&self) {
        if let Some(replace) = &self.replace {
            let mut sessions = self.relay.sessions.borrow_mut();
            sessions.note_first_leg(&self.session, replace, self.relay.seconds());
        }
    }

    /// Judges a request; old tunnels have until `deadline` to show life.
    pub(super) async fn judge(
        &mut self,
        kites: &[KiteRequest],
        can_answer_here: bool,
        deadline: Instant,
    ) -> Judged {
        let relay = Rc::clone(&self.relay);
        if relay.rates.borrow_mut().is_turned_away(self.address, Instant::now()) {
            return self.unheard(kites);
        }
        let mut outcomes = self.by_lines(kites, can_answer_here);
        let mut rulings = Vec::with_capacity(kites.len());
        for (kite, outcome) in kites.iter().zip(&mut outcomes) {
            rulings.push(match outcome {
                Outcome::AskAuthority => {
                    Some(self.by_authority(kite, outcome, can_answer_here).await)
                }
                _ => None,
            });
        }
        let is_granted = rulings.iter().flatten().any(Ruled::is_yes);
        match handshake(&outcomes) {
            Handshake::Failed => {
                if relay.rates.borrow_mut().handshake_failed(self.address, Instant::now()) {
                    relay.tell_lockout(self.address);
                }
            }
            Handshake::Open if !is_granted => {}
            _ => relay.rates.borrow_mut().handshake_succeeded(self.address),
        }
        let proven: Vec<KiteId> = kites
            .iter()
            .zip(outcomes.iter().zip(&rulings))
            .filter(|(_, (outcome, ruling))| {
                matches!(outcome, Outcome::Verified { .. }) || ruling.iter().any(Ruled::is_yes)
            })
            .map(|(kite, _)| kite.id.clone())
            .collect();
        self.make_way(&proven, deadline).await;
        let mut judged = Judged::default();
        for ((kite, outcome), ruling) in kites.iter().zip(outcomes).zip(rulings) {
            self.conclude(kite, outcome, ruling, &mut judged);
        }
        judged
    }

    /// What an agent gets that has guessed too often already. At the door it is
    /// turned away; whoever has a kite could guess on through its tunnel.
    fn unheard(&self, kites: &[KiteRequest]) -> Judged {
        let flights = self.relay.flights.borrow();
        let mut judged = Judged::default();
        for kite in kites {
            let flies = flights.holder(&kite.id) == Some(self.id);
            let refused = || Verdict::Refused(Reason::Unauthorized.word(false).to_owned());
            judged.push(kite, if flies { Verdict::Flying } else { refused() });
        }
        judged
    }

    /// What our own lines say.
    fn by_lines(&self, kites: &[KiteRequest], can_answer_here: bool) -> Vec<Outcome> {
        let relay = &self.relay;
        let active = relay.active();
        let sessions = relay.sessions.borrow();
        let flights = relay.flights.borrow();
        let rules = admission::Rules { settings: &active.settings, grants: &active.grants };
        let asker = admission::Asker {
            place: self.place(can_answer_here, &sessions),
            flying: flights.kites(self.id).len(),
            is_flying: &|kite| flights.holder(kite) == Some(self.id),
        };
        let mut challenges = relay.challenges.borrow_mut();
        judge(kites, rules, asker, &mut challenges, relay.now(), &mut fill_random)
    }

    fn place<'a>(&'a self, can_answer_here: bool, sessions: &super::shared::Sessions) -> Place<'a> {
        let ended = self.replace.as_deref().filter(|replace| !sessions.is_live(replace));
        Place { session: &self.session, ended, can_answer_here }
    }

    /// What somebody else says; a kite that has to be challenged again has
    /// another outcome then.
    async fn by_authority(
        &self,
        kite: &KiteRequest,
        outcome: &mut Outcome,
        can_answer_here: bool,
    ) -> Ruled {
        let relay = &self.relay;
        match relay.active().asker.ask(kite, unix_seconds()).await {
            Ruling::Granted { quota, .. } => {
                if !relay.challenges.borrow_mut().accept(kite, relay.seconds()) {
                    let sessions = relay.sessions.borrow();
                    let place = self.place(can_answer_here, &sessions);
                    let challenges = relay.challenges.borrow();
                    *outcome = admission::challenge(
                        kite,
                        place,
                        &challenges,
                        relay.now(),
                        &mut fill_random,
                    );
                    return Ruled::No;
                }
                Ruled::Yes(quota)
            }
            Ruling::Refused(word) => {
                *outcome = Outcome::Refused(Reason::Unauthorized);
                Ruled::Refused(word)
            }
            Ruling::NoAnswer => {
                // The asker tells the log, and no more often than is good.
                debug!("agent {}: nobody says whether {} may fly", self.address, kite.id);
                // Not the agent's fault, so it does not count as one.
                Ruled::No
            }
        }
    }

    /// Gets old tunnels of proven kites out of the way, if they are dead or
    /// were this agent's own.
    async fn make_way(&self, proven: &[KiteId], deadline: Instant) {
        let relay = &self.relay;
        let replaced = match &self.replace {
            Some(replace) => relay.sessions.borrow().replaced(replace),
            None => Vec::new(),
        };
        let way = takeover(&relay.flights.borrow(), proven, self.id, &replaced);
        for id in way.close {
            relay.close_tunnel(id, "its agent came again");
        }
        let asked: Vec<_> = way
            .ask
            .into_iter()
            .filter_map(|id| relay.tunnel(id))
            .map(|old| {
                relay.executor.spawn(async move { (old.id, old.tunnel.shows_life(deadline).await) })
            })
            .collect();
        for task in asked {
            let (id, lives) = task.await;
            if !lives {
                relay.close_tunnel(id, "its agent came again and it showed no life");
            }
        }
    }

    /// Lets a kite fly, or says why not.
    fn conclude(
        &self,
        kite: &KiteRequest,
        outcome: Outcome,
        ruling: Option<Ruled>,
        judged: &mut Judged,
    ) {
        let relay = &self.relay;
        let reveal = relay.active().settings.reveal_kites;
        let refused = |why: &str| Verdict::Refused(why.to_owned());
        let (proof, quota) = match (outcome, ruling) {
            (Outcome::Challenge(challenge), _) => {
                return judged.push(kite, Verdict::Challenge(challenge));
            }
            (Outcome::Verified { secret, quota }, _) => (Proof::Secret(secret), quota),
            (_, Some(Ruled::Yes(quota))) => {
                let most = kite_quota(&quota);
                let general = relay.active().settings.limits.quota;
                least(&mut judged.quota, &quota);
                (
                    Proof::Authority(Box::new(kite.clone()), unix_seconds()),
                    quota_of(&most, &general),
                )
            }
            (_, Some(Ruled::Refused(word))) => {
                relay.tell_refusal(self.address, &kite.id, admission::told_word(&word));
                return judged.push(kite, refused(&word));
            }
            (_, Some(Ruled::No)) | (Outcome::AskAuthority, None) => {
                return judged.push(kite, refused("unauthorized"));
            }
            (Outcome::Refused(reason), None) => {
                relay.tell_refusal(self.address, &kite.id, reason.in_words());
                return judged.push(kite, refused(reason.word(reveal)));
            }
            (Outcome::Flying, None) => return judged.push(kite, Verdict::Flying),
            // Told with the first one.
            (Outcome::Repeated, None) => return,
        };
        if is_nothing(&quota) {
            return judged.push(kite, refused("quota"));
        }
        let added = relay.flights.borrow_mut().add(&kite.id, self.id);
        match added {
            Added::New | Added::Already => {
                judged.push(kite, Verdict::Flying);
                if kite.id.is_http() && relay.has_certificate(kite.id.domain()) {
                    judged.push(kite, Verdict::TlsAtRelay);
                }
                if added == Added::New {
                    let left = relay.left_kilobytes(&kite.id, &quota);
                    least(&mut judged.quota, &Quota { kilobytes: left, ..Quota::default() });
                    judged.admitted.push(Admitted { kite: kite.id.clone(), proof, quota });
                }
            }
            Added::Duplicate(_) => {
                relay.tell_refusal(self.address, &kite.id, "another tunnel flies it");
                judged.push(kite, Verdict::Duplicate);
            }
        }
    }

    /// Says which kites fly, if any do.
    pub(super) fn tell(&self, agent: &AgentTunnel) {
        if agent.kites.borrow().is_empty() {
            return;
        }
        let kites: Vec<String> =
            agent.kites.borrow().iter().map(|admitted| admitted.kite.to_string()).collect();
        agent.has_flown.set(true);
        info!("agent {} ({}) flies {}", agent.address, agent.version, kites.join(", "));
    }

    /// Asks authorities again, and tells the agent what is left of its quota.
    pub(super) async fn review(&mut self, agent: &AgentTunnel) {
        self.next_review = Instant::now() + RECHECK_INTERVAL;
        let relay = Rc::clone(&self.relay);
        let kites = agent.kites.borrow().clone();
        let mut left = None;
        for Admitted { kite, proof, mut quota } in kites {
            if let Proof::Authority(request, asked_at) = proof {
                let ruling = relay.active().asker.ask(&request, asked_at).await;
                match ruling {
                    Ruling::Granted { quota: fresh, .. } => {
                        let general = relay.active().settings.limits.quota;
                        quota = quota_of(&kite_quota(&fresh), &general);
                        agent.set_quota(&kite, quota);
                    }
                    Ruling::Refused(word) => {
                        info!("agent {}: {kite} may fly no longer: {word}", self.address);
                        relay.ground(agent, &kite, "its kites may fly no longer");
                        continue;
                    }
                    Ruling::NoAnswer => {}
                }
            }
            let of_kite = relay.left_kilobytes(&kite, &quota);
            left = left.into_iter().chain(of_kite).min();
        }
        agent.tell_quota(left);
    }
}

/// Takes everything of this agent back.
impl Drop for Registrar {
    fn drop(&mut self) {
        self.relay.forget_tunnel(self.id);
        self.relay.sessions.borrow_mut().remove(&self.session);
    }
}

/// What an authority said, as far as it is of use.
enum Ruled {
    Yes(Quota),
    Refused(String),
    No,
}

impl Ruled {
    fn is_yes(&self) -> bool {
        matches!(self, Self::Yes(_))
    }
}

/// The limits among what an authority says; the days are its own affair.
fn kite_quota(quota: &Quota) -> KiteQuota {
    let bytes = quota.kilobytes.and_then(|kilobytes| u64::try_from(kilobytes).ok());
    KiteQuota {
        bytes_per_day: bytes.map(|kilobytes| kilobytes.saturating_mul(1024)),
        connections_per_day: None,
        streams: quota
            .connections
            .and_then(|connections| u64::try_from(connections).ok())
            // Some services write 0 for what they do not limit.
            .filter(|connections| *connections > 0),
    }
}

/// The less of each, as the agent is told of all its kites at once.
fn least(all: &mut Quota, one: &Quota) {
    let less = |all: Option<i64>, one: Option<i64>| all.into_iter().chain(one).min();
    all.kilobytes = less(all.kilobytes, one.kilobytes);
    all.days = less(all.days, one.days);
    all.connections = less(all.connections, one.connections);
    all.visitors = all.visitors.or(one.visitors);
}

pub(super) fn fill_random(bytes: &mut [u8]) {
    // getrandom(2) fails on kernels before 3.17 only, where `ring` reads
    // /dev/urandom. Without either, who can guess zeros could make challenges of
    // ours: no relay is better.
    SystemRandom::new().fill(bytes).expect("the kernel has random bytes");
}
