//! Which supervisor keeps which kites at which relay: a pure machine that
//! compares what is wanted with what flies, and says what to start and to end.
//!
//! What flies is left alone. A tunnel that is not wanted any more ends only
//! once what is wanted instead flies, and then it drains first. Kites that
//! come later, and those that the relay refused while others flew, get a
//! tunnel of their own: a relay answers a request without a success by closing
//! the tunnel that it came by, with all that is on it (`protocol.md` 3.4), so
//! a kite is never added to a tunnel that people use. When a relay has lost
//! all of an agent's tunnels, the next one carries all kites again.

use std::fmt;
use std::net::SocketAddr;

use crate::config::RelayAddress;
use crate::wire::KiteId;

/// Further tunnels to one relay beside the main one, for kites that came later
/// or were refused.
pub const MAX_EXTRAS: usize = 4;

/// One relay to keep a tunnel to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name, which TLS asks for, and its port.
    pub relay: RelayAddress,
    /// The one address to use, of a relay from a pool.
    pub address: Option<SocketAddr>,
}

/// The relay, and the address if there is one to use.
impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(formatter, "{address}"),
            None => write!(formatter, "{}", self.relay),
        }
    }
}

/// What a supervisor last told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The kites that fly now.
    pub flying: Vec<KiteId>,
    /// The kites that the relay refused.
    pub refused: Vec<KiteId>,
    /// The address of the relay that the kites fly by.
    pub address: Option<SocketAddr>,
    /// Tries that came to nothing since the last tunnel.
    pub failures: u32,
    /// The relay's name does not lead to that address any more.
    pub has_moved: bool,
    /// The supervisor is done.
    pub has_ended: bool,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Move {
    /// Start a supervisor with these kites; the first try is late when the
    /// relay has refused them a moment ago.
    Start {
        /// Its number from now on.
        id: u32,
        /// Where.
        endpoint: Endpoint,
        /// With which kites.
        kites: Vec<KiteId>,
        /// The relay refused them a moment ago.
        is_refused: bool,
        /// Another tunnel flies the same kites until this one does.
        is_successor: bool,
        /// It is the one tunnel that all kites of its relay come by, as far as
        /// the relay takes them.
        is_main: bool,
    },
    /// These are a supervisor's kites from its next tunnel on.
    SetKites {
        /// Whose.
        id: u32,
        /// All of its kites.
        kites: Vec<KiteId>,
    },
    /// End the tunnel once nobody uses it.
    Drain(u32),
    /// End the supervisor now; it flies nothing.
    Stop(u32),
}

/// All supervisors of an agent.
#[derive(Debug, Default)]
pub struct Assignments {
    all: Vec<Assignment>,
    last_id: u32,
}

#[derive(Debug)]
struct Assignment {
    id: u32,
    endpoint: Endpoint,
    kites: Vec<KiteId>,
    part: Part,
    report: Report,
    /// What looked like another relay behind the same name was the same one.
    stays: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The tunnel to its relay.
    Main,
    /// One more, for kites that came later or were refused.
    Extra,
    /// Takes the place of the main one when it flies.
    Successor,
    /// It drains.
    Leaving,
}

impl Assignments {
    /// Notes what a supervisor tells.
    pub fn report(&mut self, id: u32, report: Report) {
        if let Some(told) = self.all.iter_mut().find(|told| told.id == id) {
            told.stays &= !report.flying.is_empty();
            told.report = report;
        }
    }

    /// Everything that was told last.
    pub fn reports(&self) -> impl Iterator<Item = (&Endpoint, &Report)> {
        self.all.iter().map(|told| (&told.endpoint, &told.report))
    }

    /// Whether any kite flies.
    pub fn any_flies(&self) -> bool {
        self.all.iter().any(Assignment::flies)
    }

    /// What to do now, so that each of `wanted` gets each of `kites`.
    pub fn decide(&mut self, wanted: &[Endpoint], kites: &[KiteId]) -> Vec<Move> {
        let mut moves = Vec::new();
        self.all.retain(|told| !told.report.has_ended);
        for told in &mut self.all {
            if told.part != Part::Leaving {
                told.keep_only(kites, &mut moves);
            }
        }
        for endpoint in wanted {
            self.succeed(endpoint, &mut moves);
            self.promote(endpoint);
            self.merge(endpoint, &mut moves);
            self.set_apart(endpoint, &mut moves);
            self.complete(endpoint, kites, &mut moves);
        }
        self.leave(wanted, &mut moves);
        moves
    }

    /// Lets another tunnel take over where the relay has moved.
    fn succeed(&mut self, endpoint: &Endpoint, moves: &mut Vec<Move>) {
        let main = self.position(endpoint, Part::Main);
        let successor = self.position(endpoint, Part::Successor);
        match (main, successor) {
            (Some(main), Some(successor)) if self.all[successor].flies() => {
                self.all[successor].part = Part::Main;
                self.drain(main, moves);
            }
            (None, Some(successor)) => self.all[successor].part = Part::Main,
            (Some(main), Some(successor)) => {
                let is_refused = !self.all[successor].report.refused.is_empty();
                if is_refused || !self.all[main].flies() {
                    // It is the same relay by another address, or there is
                    // nothing to succeed.
                    self.all[main].stays = true;
                    moves.push(Move::Stop(self.all.remove(successor).id));
                }
            }
            (Some(main), None) if self.all[main].is_to_follow() => {
                let kites = self.all[main].kites.clone();
                self.start(endpoint, kites, Part::Successor, false, moves);
            }
            _ => {}
        }
    }

    /// Gives the main tunnel all kites again when none of them flies.
    fn merge(&mut self, endpoint: &Endpoint, moves: &mut Vec<Move>) {
        let Some(main) = self.position(endpoint, Part::Main) else { return };
        if self.all[main].flies() {
            return;
        }
        let id = self.all[main].id;
        let mut merged = self.all[main].kites.clone();
        let known = merged.len();
        self.all.retain(|extra| {
            let is_idle =
                extra.endpoint == *endpoint && extra.part == Part::Extra && !extra.flies();
            if is_idle {
                merged.extend(extra.kites.iter().cloned());
                moves.push(Move::Stop(extra.id));
            }
            !is_idle
        });
        if merged.len() > known {
            self.set_kites(id, merged, moves);
        }
    }

    /// Moves the kites that were refused while others flew.
    fn set_apart(&mut self, endpoint: &Endpoint, moves: &mut Vec<Move>) {
        let known: Vec<u32> = self
            .all
            .iter()
            .filter(|told| told.endpoint == *endpoint && told.flies())
            .filter(|told| matches!(told.part, Part::Main | Part::Extra))
            .map(|told| told.id)
            .collect();
        for id in known {
            let Some(told) = self.all.iter().find(|told| told.id == id) else { continue };
            let is_refused = |kite: &KiteId| told.report.refused.contains(kite);
            let (refused, rest): (Vec<_>, Vec<_>) =
                told.kites.iter().cloned().partition(is_refused);
            if refused.is_empty() || rest.is_empty() {
                continue;
            }
            if self.extras(endpoint) < MAX_EXTRAS {
                self.set_kites(id, rest, moves);
                self.start(endpoint, refused, Part::Extra, true, moves);
            } else if let Some(idle) = self.idle_extra(endpoint) {
                self.set_kites(id, rest, moves);
                let mut all = self.all[idle].kites.clone();
                all.extend(refused);
                self.set_kites(self.all[idle].id, all, moves);
            }
        }
    }

    /// Gives a relay without a main tunnel one of its others.
    fn promote(&mut self, endpoint: &Endpoint) {
        if self.position(endpoint, Part::Main).is_some() {
            return;
        }
        let extras = self.all.iter_mut();
        let extras = extras.filter(|told| told.endpoint == *endpoint && told.part == Part::Extra);
        if let Some(extra) = extras.max_by_key(|told| told.flies()) {
            extra.part = Part::Main;
        }
    }

    fn idle_extra(&self, endpoint: &Endpoint) -> Option<usize> {
        self.all.iter().position(|told| {
            told.endpoint == *endpoint && told.part == Part::Extra && !told.flies()
        })
    }

    /// Starts what is missing.
    fn complete(&mut self, endpoint: &Endpoint, kites: &[KiteId], moves: &mut Vec<Move>) {
        let here = |told: &&Assignment| told.endpoint == *endpoint && told.part != Part::Leaving;
        let missing =
            |kite: &&KiteId| !self.all.iter().filter(here).any(|told| told.kites.contains(kite));
        let missing: Vec<KiteId> = kites.iter().filter(missing).cloned().collect();
        let Some(main) = self.position(endpoint, Part::Main) else {
            if !missing.is_empty() {
                self.start(endpoint, missing, Part::Main, false, moves);
            }
            return;
        };
        if missing.is_empty() {
            return;
        }
        let joined = if !self.all[main].flies() {
            Some(main)
        } else if self.extras(endpoint) >= MAX_EXTRAS {
            // With no other room, the main tunnel takes them when nobody uses it.
            Some(self.idle_extra(endpoint).unwrap_or(main))
        } else {
            return self.start(endpoint, missing, Part::Extra, false, moves);
        };
        if let Some(joined) = joined {
            let mut all = self.all[joined].kites.clone();
            all.extend(missing);
            self.set_kites(self.all[joined].id, all, moves);
        }
    }

    /// Ends what is not wanted, once all that is wanted flies.
    fn leave(&mut self, wanted: &[Endpoint], moves: &mut Vec<Move>) {
        let flies = |endpoint: &Endpoint| {
            self.position(endpoint, Part::Main).is_some_and(|main| self.all[main].flies())
        };
        let all_fly = wanted.iter().all(flies);
        let mut index = 0;
        while let Some(told) = self.all.get(index) {
            if told.part == Part::Leaving || wanted.contains(&told.endpoint) {
                index += 1;
            } else if !told.flies() {
                moves.push(Move::Stop(self.all.remove(index).id));
            } else {
                if all_fly {
                    self.drain(index, moves);
                }
                index += 1;
            }
        }
    }

    fn start(
        &mut self,
        endpoint: &Endpoint,
        kites: Vec<KiteId>,
        part: Part,
        is_refused: bool,
        moves: &mut Vec<Move>,
    ) {
        self.last_id += 1;
        let (id, endpoint) = (self.last_id, endpoint.clone());
        moves.push(Move::Start {
            id,
            endpoint: endpoint.clone(),
            kites: kites.clone(),
            is_refused,
            is_successor: part == Part::Successor,
            is_main: part == Part::Main,
        });
        self.all.push(Assignment {
            id,
            endpoint,
            kites,
            part,
            report: Report::default(),
            stays: false,
        });
    }

    fn set_kites(&mut self, id: u32, kites: Vec<KiteId>, moves: &mut Vec<Move>) {
        if let Some(told) = self.all.iter_mut().find(|told| told.id == id) {
            told.kites.clone_from(&kites);
            moves.push(Move::SetKites { id, kites });
        }
    }

    fn drain(&mut self, index: usize, moves: &mut Vec<Move>) {
        self.all[index].part = Part::Leaving;
        moves.push(Move::Drain(self.all[index].id));
    }

    fn position(&self, endpoint: &Endpoint, part: Part) -> Option<usize> {
        self.all.iter().position(|told| told.endpoint == *endpoint && told.part == part)
    }

    fn extras(&self, endpoint: &Endpoint) -> usize {
        let is_extra = |told: &&Assignment| told.endpoint == *endpoint && told.part == Part::Extra;
        self.all.iter().filter(is_extra).count()
    }
}

impl Assignment {
    fn flies(&self) -> bool {
        !self.report.flying.is_empty()
    }

    /// Whether its relay has moved.
    fn is_to_follow(&self) -> bool {
        self.flies() && self.report.has_moved && !self.stays
    }

    /// Takes out the kites that the configuration has no more. A relay cannot
    /// be told to forget one, so it flies on until the tunnel is renewed.
    fn keep_only(&mut self, kites: &[KiteId], moves: &mut Vec<Move>) {
        let known = self.kites.len();
        self.kites.retain(|kite| kites.contains(kite));
        if self.kites.len() == known {
            return;
        }
        if self.kites.is_empty() {
            self.part = Part::Leaving;
            moves.push(Move::Drain(self.id));
        } else {
            moves.push(Move::SetKites { id: self.id, kites: self.kites.clone() });
        }
    }
}

#[cfg(test)]
mod tests;
