//! The tunnels of all agents, and how a visitor gets a stream on one.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use log::info;

use super::exchange::Request;
use super::route::Wish;
use super::shared::Relay;
use super::stream::VisitStream;
use crate::config::KiteQuota;
use crate::net::{Connection, before};
use crate::tunnel::{Notify, Tunnel, TunnelEnd};
use crate::wire::{KiteId, KiteRequest, Secret};

/// Time that a visitor waits for a tunnel that is full, before it counts as
/// away.
const ROOM_TIME: Duration = Duration::from_secs(30);

/// Names a tunnel as long as the relay runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TunnelId(pub(super) u64);

/// The tunnel of an agent.
pub(super) struct AgentTunnel {
    pub(super) id: TunnelId,
    pub(super) tunnel: Rc<Tunnel>,
    /// Where the agent is.
    pub(super) address: IpAddr,
    /// The agent's program, as it says.
    pub(super) version: String,
    /// The agent asks to be spared what can be spared.
    pub(super) is_mobile: bool,
    /// How each of its kites was let in.
    pub(super) kites: RefCell<Vec<Admitted>>,
    /// Streams that visitors have on it now.
    pub(super) streams: Cell<usize>,
    /// Rung when there is none.
    pub(super) idle: Notify,
    /// Some kite has flown on it.
    pub(super) has_flown: Cell<bool>,
    /// The agent was told of this quota last, in kilobytes.
    pub(super) told_quota: Cell<Option<i64>>,
}

/// A kite that may fly.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    pub(super) kite: KiteId,
    pub(super) proof: Proof,
    pub(super) quota: KiteQuota,
}

/// Why a kite may fly.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// The agent knows this secret of one of our lines.
    Secret(Secret),
    /// An authority said yes to this request, which came at this Unix time.
    Authority(Box<KiteRequest>, u64),
}

impl AgentTunnel {
    /// Adds kites that fly from now on; most tunnels have one for all their
    /// life, and room for one.
    pub(super) fn add(&self, admitted: Vec<Admitted>) {
        let mut kites = self.kites.borrow_mut();
        kites.reserve_exact(admitted.len());
        kites.extend(admitted);
    }

    /// Tells the agent how many kilobytes its visitors may still use today, if
    /// that is news and it wants to know (`protocol.md` 3.1).
    pub(super) fn tell_quota(&self, left: Option<i64>) {
        if !self.is_mobile && left.is_some() && self.told_quota.replace(left) != left {
            let kilobytes = left.unwrap_or_default();
            let payload = format!("NOOP: 1\r\nQuota: {kilobytes}\r\n\r\n!").into_bytes();
            self.tunnel.with_session(|session| session.send_payload(payload));
        }
    }

    /// Opens a stream for a visitor, once the tunnel has room; `None` when the
    /// agent takes no more, or no longer.
    pub(super) async fn open(
        &self,
        wish: &Wish<'_>,
        kite: &KiteId,
        visitor: &Rc<Connection>,
        first: Vec<u8>,
        request: Option<Request>,
    ) -> Option<Rc<VisitStream>> {
        let deadline = Instant::now() + ROOM_TIME;
        before(deadline, self.tunnel.wait_for_room()).await?;
        if !self.tunnel.has_room() {
            return None;
        }
        let address = wish.from.peer.ip().to_string();
        let open = wish.open(kite, &address);
        VisitStream::open(&self.tunnel, visitor, &open, first, request)
    }

    /// Changes what a kite of this tunnel may use, for streams to come.
    pub(super) fn set_quota(&self, kite: &KiteId, quota: KiteQuota) {
        let mut kites = self.kites.borrow_mut();
        if let Some(admitted) = kites.iter_mut().find(|admitted| admitted.kite == *kite) {
            admitted.quota = quota;
        }
    }

    /// What a kite of this tunnel may use.
    pub(super) fn quota(&self, kite: &KiteId) -> KiteQuota {
        let kites = self.kites.borrow();
        kites
            .iter()
            .find(|admitted| admitted.kite == *kite)
            .map_or_else(KiteQuota::default, |admitted| admitted.quota)
    }
}

impl Relay {
    /// The tunnel of this name, if it lives.
    pub(super) fn tunnel(&self, id: TunnelId) -> Option<Rc<AgentTunnel>> {
        self.tunnels.borrow().get(&id).map(Rc::clone)
    }

    /// Takes a tunnel in.
    pub(super) fn add_tunnel(&self, tunnel: &Rc<AgentTunnel>) {
        self.tunnels.borrow_mut().insert(tunnel.id, Rc::clone(tunnel));
    }

    /// Takes a kite from its tunnel, and closes the tunnel with its last one. It
    /// may fly on another tunnel by now.
    pub(super) fn ground(&self, tunnel: &AgentTunnel, kite: &KiteId, why: &'static str) {
        let mut flights = self.flights.borrow_mut();
        if flights.holder(kite) == Some(tunnel.id) {
            flights.remove(kite);
        }
        drop(flights);
        let mut kites = tunnel.kites.borrow_mut();
        kites.retain(|admitted| admitted.kite != *kite);
        if kites.is_empty() {
            tunnel.tunnel.drop_with(TunnelEnd::Dropped(why));
        }
    }

    /// Closes a tunnel; its kites are free at once.
    pub(super) fn close_tunnel(&self, id: TunnelId, why: &'static str) {
        self.flights.borrow_mut().remove_tunnel(id);
        if let Some(tunnel) = self.tunnels.borrow_mut().remove(&id) {
            tunnel.tunnel.drop_with(TunnelEnd::Dropped(why));
        }
    }

    /// Takes down the kites that may fly no longer by our own lines.
    pub(super) fn review_kites(&self) {
        let tunnels: Vec<_> = self.tunnels.borrow().values().cloned().collect();
        for agent in tunnels {
            self.review_kites_of(&agent);
        }
    }

    /// The same for one tunnel: between the judgement of a kite and its flight
    /// others are asked, and our lines may change meanwhile.
    pub(super) fn review_kites_of(&self, agent: &AgentTunnel) {
        let active = self.active();
        let kites = agent.kites.borrow().clone();
        for Admitted { kite, proof, .. } in kites {
            let is_granted = match proof {
                Proof::Secret(secret) => active.grants.still_granted(&kite, &secret),
                Proof::Authority(..) => true,
            };
            let holder = self.flights.borrow().holder(&kite);
            if !is_granted || holder != Some(agent.id) {
                info!("agent {}: {kite} may fly no longer", agent.address);
                self.ground(agent, &kite, "its kites may fly no longer");
            }
        }
    }

    /// Forgets a tunnel that has ended.
    pub(super) fn forget_tunnel(&self, id: TunnelId) {
        self.flights.borrow_mut().remove_tunnel(id);
        self.tunnels.borrow_mut().remove(&id);
    }
}
