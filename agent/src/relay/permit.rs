//! What one visitor's stream may use, counted as it goes.

use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use smol::future;

use super::caller::From;
use super::page::Absence;
use super::quota;
use super::route::Found;
use super::shared::Relay;
use super::tunnels::AgentTunnel;
use crate::config::KiteQuota;

/// How often a stream that may use so many bytes a day is looked at.
const COUNT_TIME: Duration = Duration::from_secs(5);

/// A stream that is counted; dropping it ends it.
pub(super) struct Permit {
    relay: Rc<Relay>,
    tunnel: Rc<AgentTunnel>,
    quota: KiteQuota,
    /// `None` once it is given back.
    inner: Option<quota::Permit>,
    counted: (u64, u64),
}

impl Relay {
    /// Lets a visitor in to a kite.
    pub(super) fn permit(self: &Rc<Self>, found: &Found, from: &From) -> Result<Permit, Absence> {
        let now = Instant::now();
        let domain = found.kite.domain();
        if let Some(rate) = self.active().settings.limits.address_rate {
            if !self.visitor_rates.borrow_mut().visit(domain, from.peer.ip(), rate, now) {
                return Err(Absence::OverQuota);
            }
        }
        let quota = found.tunnel.quota(&found.kite);
        let inner = self.quotas.borrow_mut().open(domain, &quota, now);
        let inner = Some(inner.map_err(|_| Absence::OverQuota)?);
        let streams = &found.tunnel.streams;
        streams.set(streams.get() + 1);
        self.visits.set(self.visits.get() + 1);
        let tunnel = Rc::clone(&found.tunnel);
        Ok(Permit { relay: Rc::clone(self), tunnel, quota, inner, counted: (0, 0) })
    }
}

impl Permit {
    /// Counts up to these bytes to the kite and from it, and returns what came
    /// since the last time; the flag is false when the day's are used up.
    pub(super) fn count(&mut self, (sent, received): (u64, u64)) -> ((u64, u64), bool) {
        let new = (sent - self.counted.0, received - self.counted.1);
        self.counted = (sent, received);
        let (to_kites, from_kites) = self.relay.traffic.get();
        self.relay.traffic.set((to_kites + new.0, from_kites + new.1));
        let may_go_on = self.inner.as_ref().is_none_or(|inner| {
            let mut quotas = self.relay.quotas.borrow_mut();
            quotas.used(inner, new.0 + new.1, &self.quota, Instant::now()).is_ok()
        });
        (new, may_go_on)
    }

    /// Does `work` as long as the day's bytes last; `None` when they did not.
    pub(super) async fn watch<T>(
        &mut self,
        work: impl Future<Output = T>,
        bytes: impl Fn() -> (u64, u64),
    ) -> Option<T> {
        if self.quota.bytes_per_day.is_none() {
            return Some(work.await);
        }
        let work = async { Some(work.await) };
        let watch = async {
            loop {
                Timer::after(COUNT_TIME).await;
                let (_, may_go_on) = self.count(bytes());
                if !may_go_on {
                    return None;
                }
            }
        };
        future::or(work, watch).await
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            self.relay.quotas.borrow_mut().close(inner);
        }
        let streams = &self.tunnel.streams;
        streams.set(streams.get().saturating_sub(1));
        if streams.get() == 0 {
            self.tunnel.idle.notify();
        }
    }
}
