//! The relay's side of the world: one kite, held by one tunnel at a time.

use std::time::Duration;

use super::link::{End, Piece};
use super::tunnel::Tunnel;
use super::{Held, KEEPALIVE, SECOND, What, World};

impl World {
    pub(super) fn visit(&mut self) {
        let pause = Duration::from_millis(100 + self.number(60_000));
        self.at(pause, What::Visit);
        if self.relay_hangs {
            return;
        }
        let Some((&wire, _)) = self.held.iter().next_back() else { return };
        self.visits += 1;
        let (number, there, back) = (self.visits, self.number(20_000), self.number(100_000));
        let now = self.now;
        let Some(held) = self.held.get_mut(&wire) else { return };
        let output = held.tunnel.visit(now, number, there, back);
        self.push(wire, End::Device, Piece::Bytes(output));
        self.relay(wire);
    }

    pub(super) fn relay(&mut self, wire: u64) {
        if self.relay_hangs {
            return self.at(SECOND, What::Relay(wire));
        }
        let now = self.now;
        let Some(held) = self.held.get_mut(&wire) else { return };
        match held.tunnel.beat(now) {
            Some(until) => {
                self.pump(wire, End::Relay);
                self.at(until.saturating_duration_since(now), What::Relay(wire));
            }
            None => {
                self.held.remove(&wire);
                self.close(wire, End::Relay);
            }
        }
    }

    pub(super) fn relay_hears(&mut self, wire: u64, piece: Piece) {
        let now = self.now;
        match piece {
            Piece::Hello(replaces) if self.relay_is_up => {
                let replaced = self.held.iter().find(|(_, held)| Some(held.session) == replaces);
                if let Some(old) = replaced.map(|(old, _)| *old) {
                    self.held.remove(&old);
                    self.close(old, End::Relay);
                }
                if !self.held.is_empty() {
                    self.push(wire, End::Device, Piece::Answer(None));
                    return self.close(wire, End::Relay);
                }
                self.last_session += 1;
                let (tunnel, session) =
                    (Tunnel::new(End::Relay, now, KEEPALIVE), self.last_session);
                self.held.insert(wire, Held { tunnel, session });
                self.push(wire, End::Device, Piece::Answer(Some(session)));
                self.relay(wire);
            }
            Piece::Bytes(bytes) => match self.held.get_mut(&wire) {
                Some(held) => {
                    held.tunnel.receive(now, &bytes);
                    self.relay(wire);
                }
                // A reset.
                None => self.close(wire, End::Relay),
            },
            Piece::End => {
                self.held.remove(&wire);
            }
            Piece::Hello(_) | Piece::Answer(_) => self.close(wire, End::Relay),
        }
    }
}
