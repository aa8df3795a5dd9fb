//! From what a visitor wants to the kite that flies for it.

use std::rc::Rc;

use super::caller::From;
use super::flights::protocols_of;
use super::page::Absence;
use super::shared::Relay;
use super::tunnels::AgentTunnel;
use crate::wire::{KiteId, Open};

/// What a visitor wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    /// Protocol that the visitor speaks.
    pub(super) protocol: &'a str,
    /// Port that the visitor asked for, or came in by.
    pub(super) port: u16,
    /// Name in lower case.
    pub(super) host: &'a str,
    pub(super) from: &'a From,
}

/// Who serves it.
pub(super) struct Found {
    pub(super) kite: KiteId,
    pub(super) tunnel: Rc<AgentTunnel>,
}

impl Relay {
    /// The kite for a visitor.
    pub(super) fn find(&self, wish: &Wish<'_>) -> Result<Found, Absence> {
        let flights = self.flights.borrow();
        let protocols = protocols_of(wish.protocol);
        let candidates = flights.lookup(&protocols, wish.port, wish.host);
        for (kite, id) in candidates {
            if let Some(tunnel) = self.tunnel(id) {
                return Ok(Found { kite: kite.clone(), tunnel });
            }
        }
        Err(self.absence(&protocols, wish))
    }

    /// Whether somebody serves this.
    pub(super) fn has(&self, wish: &Wish<'_>) -> bool {
        self.find(wish).is_ok()
    }

    /// Why nobody serves it, for those who may know.
    fn absence(&self, protocols: &[&str], wish: &Wish<'_>) -> Absence {
        let active = self.active();
        let is_known = active.settings.reveal_kites
            && protocols.iter().any(|protocol| {
                KiteId::new(protocol, None, wish.host)
                    .is_ok_and(|kite| !active.grants.find(&kite).is_empty())
            });
        if is_known { Absence::Away } else { Absence::Unknown }
    }
}

impl<'a> Wish<'a> {
    /// The first frame of the stream, as the agent gets it (`protocol.md` 6):
    /// the protocol is that of the kite.
    pub(super) fn open(&self, kite: &'a KiteId, address: &'a str) -> Open<'a> {
        Open {
            protocol: kite.protocol(),
            host: self.host,
            port: Some(self.port),
            visitor_address: address,
            visitor_port: Some(self.from.peer.port()),
            visitor_tls: self.from.tls,
        }
    }
}
