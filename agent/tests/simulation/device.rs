//! The device's side of the world: what the agent's supervisor does, with the
//! agent's own machines.

use kitelet::agent::backoff::Failure;
use kitelet::agent::care::Next;

use super::link::{End, Piece, Wire};
use super::tunnel::Tunnel;
use super::{DIAL_TIME, DIALS, HANDSHAKE_TIME, MOST_TRIES, Phase, TRY_WINDOW, What, World};

impl World {
    pub(super) fn device(&mut self) {
        match &mut self.phase {
            Phase::Idle => match self.care.next(self.now) {
                Next::Try => self.try_now(),
                Next::Wait(until) => {
                    let after = until.saturating_duration_since(self.now);
                    self.at(after, What::Device);
                }
                Next::Busy => self.fail("nothing is under way, and nothing is tried"),
            },
            Phase::Flying(wire, tunnel) => {
                let wire = *wire;
                match tunnel.beat(self.now) {
                    Some(until) => {
                        let after = until.saturating_duration_since(self.now);
                        self.pump(wire, End::Device);
                        self.at(after, What::Device);
                    }
                    None => self.lost(true),
                }
            }
            Phase::Dialling(_) | Phase::Greeting(_) => {}
        }
    }

    pub(super) fn try_now(&mut self) {
        self.care.begins(self.now);
        self.tries.push_back(self.now);
        while self.tries.front().is_some_and(|first| self.now - *first > TRY_WINDOW) {
            self.tries.pop_front();
        }
        if self.tries.len() > MOST_TRIES {
            self.fail(&format!("{} tries in {TRY_WINDOW:?}", self.tries.len()));
        }
        self.last_wire += 1;
        let wire = self.last_wire;
        self.phase = Phase::Dialling(wire);
        self.wires.insert(wire, Wire::default());
        if !self.is_plugged {
            // No route: the kernel says so at once.
            return self.failed(Failure::Network);
        }
        for after in DIALS {
            self.at(after, What::Dial(wire));
        }
        self.at(DIAL_TIME, What::Deadline(wire));
    }

    pub(super) fn dial(&mut self, wire: u64) {
        if !matches!(self.phase, Phase::Dialling(known) if known == wire) || !self.passes(wire) {
            return;
        }
        if !self.relay_is_up {
            return self.failed(Failure::Network);
        }
        self.phase = Phase::Greeting(wire);
        self.push(wire, End::Relay, Piece::Hello(self.session));
        self.at(HANDSHAKE_TIME, What::Deadline(wire));
    }

    pub(super) fn deadline(&mut self, wire: u64) {
        if matches!(self.phase, Phase::Dialling(known) | Phase::Greeting(known) if known == wire) {
            self.close(wire, End::Device);
            self.keepalive.failed();
            self.failed(Failure::Network);
        }
    }

    pub(super) fn failed(&mut self, failure: Failure) {
        let random = self.any();
        let wait = self.care.failed(self.now, failure, random);
        self.phase = Phase::Idle;
        self.at(wait, What::Device);
    }

    pub(super) fn lost(&mut self, is_silent: bool) {
        let Phase::Flying(wire, tunnel) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        self.completed += tunnel.completed;
        self.keepalive.ended(is_silent && tunnel.is_idle());
        let random = self.any();
        let wait = self.care.ended(self.now, Failure::Network, random);
        self.close(wire, End::Device);
        self.at(wait, What::Device);
    }

    pub(super) fn device_hears(&mut self, wire: u64, piece: Piece) {
        let now = self.now;
        match (&mut self.phase, piece) {
            (Phase::Greeting(known), Piece::Answer(answer)) if *known == wire => match answer {
                Some(session) => {
                    self.session = Some(session);
                    self.care.flies(now);
                    self.keepalive.flies(now);
                    let keepalive = self.keepalive.interval(now);
                    let tunnel = Tunnel::new(End::Device, now, keepalive);
                    self.phase = Phase::Flying(wire, Box::new(tunnel));
                    self.device();
                }
                None => {
                    self.close(wire, End::Device);
                    self.failed(Failure::Duplicate);
                }
            },
            (Phase::Greeting(known), Piece::End) if *known == wire => self.failed(Failure::Network),
            (Phase::Flying(known, tunnel), Piece::Bytes(bytes)) if *known == wire => {
                tunnel.receive(now, &bytes);
                self.device();
            }
            (Phase::Flying(known, _), Piece::End) if *known == wire => self.lost(false),
            (_, Piece::Bytes(_)) => self.close(wire, End::Device),
            _ => {}
        }
    }
}
