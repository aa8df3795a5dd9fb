//! Looks after the relays of a pool: finds their addresses, pings them, and
//! says which ones to use. What is best is [`Choice`]'s to know.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use log::{info, warn};
use smol::Task;

use super::assignment::Endpoint;
use super::backoff::fraction;
use super::choice::{Choice, MAX_KNOWN, Measured};
use super::plan::{Context, Plan};
use super::supervisor::random_number;
use crate::config::{PoolSource, RelayAddress, RelayPool};
use crate::net::{before, ping, resolve};
use crate::tunnel::Notify;
use crate::wire::KiteId;

/// Pause between two looks at a pool that is well; up to a third longer, so
/// that agents do not ping together (`protocol.md` 15).
const LOOK_AGAIN: Duration = Duration::from_secs(45 * 60);
/// First pause after nothing was found, and the longest one; they double in
/// between.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// Least time between two looks, whatever happens.
const LEAST_PAUSE: Duration = Duration::from_secs(5);
/// The same while nothing was found.
const LEAST_PAUSE_SEEKING: Duration = Duration::from_secs(1);
/// Kites whose own names are looked up for the relays that visitors come by.
const MAX_OWN_NAMES: usize = 4;
/// Longest file of addresses that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The relays of the pool that are used, and what is known of all.
#[derive(Default)]
pub(super) struct Pool {
    chosen: RefCell<Vec<Endpoint>>,
    in_use: RefCell<Vec<SocketAddr>>,
    choice: RefCell<Choice>,
    failures: Cell<u32>,
    /// Rung when the pool had better be looked at.
    bell: Notify,
}

impl Pool {
    /// The relays to use now.
    pub(super) fn chosen(&self) -> Vec<Endpoint> {
        self.chosen.borrow().clone()
    }

    /// Something has changed that makes another look worth while.
    pub(super) fn look_again(&self) {
        self.bell.notify();
    }

    /// A tunnel to this relay has come to nothing.
    pub(super) fn trouble(&self, address: SocketAddr) {
        if self.choice.borrow_mut().trouble(Instant::now(), address) {
            self.look_again();
        }
    }

    /// These relays have tunnels.
    pub(super) fn set_in_use(&self, in_use: Vec<SocketAddr>) {
        *self.in_use.borrow_mut() = in_use;
    }

    /// Looks after the pool of whatever configuration holds. Never ends.
    pub(super) async fn watch(&self, context: &Context) {
        loop {
            let plan = context.plan();
            let Some(pool) = &plan.settings.pool else {
                self.choose(context, Vec::new());
                self.bell.wait().await;
                continue;
            };
            let pause = match self.look(&plan, pool, context).await {
                Ok(chosen) => {
                    self.failures.set(0);
                    self.choose(context, chosen);
                    LOOK_AGAIN + fraction(LOOK_AGAIN / 3, random_number())
                }
                Err(text) => {
                    let failures = self.failures.get();
                    self.failures.set(failures.saturating_add(1));
                    if failures == 0 || failures.is_power_of_two() {
                        warn!("relays of {pool}: {text}; looking again");
                    }
                    FIRST_PAUSE.saturating_mul(1 << failures.min(8)).min(LAST_PAUSE)
                }
            };
            let looked = Instant::now();
            before(looked + pause, self.bell.wait()).await;
            let least = if self.failures.get() == 0 { LEAST_PAUSE } else { LEAST_PAUSE_SEEKING };
            Timer::at(looked + least).await;
        }
    }

    fn choose(&self, context: &Context, chosen: Vec<Endpoint>) {
        if *self.chosen.borrow() == chosen {
            return;
        }
        let addresses: Vec<_> = chosen.iter().filter_map(|endpoint| endpoint.address).collect();
        if !addresses.is_empty() {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            info!("relays of the pool that are used: {}", addresses.join(", "));
        }
        *self.chosen.borrow_mut() = chosen;
        context.news.notify();
    }

    /// Finds, pings and chooses.
    async fn look(
        &self,
        plan: &Plan,
        pool: &RelayPool,
        context: &Context,
    ) -> Result<Vec<Endpoint>, String> {
        let settings = &plan.settings;
        if settings.proxy.proxy.is_some() {
            return via_proxy(pool, &settings.never);
        }
        let is_allowed = |address: &SocketAddr| !settings.never.contains(address);
        let mut addresses = match &pool.source {
            PoolSource::Name(name) => match resolve(name, pool.port).await {
                Ok(found) => {
                    let found_ips: Vec<_> = found.iter().map(SocketAddr::ip).collect();
                    let mut state = context.state.borrow_mut();
                    state.remember_addresses(&pool.to_string(), &found_ips, Instant::now());
                    found
                }
                Err(error) => {
                    let state = context.state.borrow();
                    let known = state.addresses(&pool.to_string()).iter();
                    let known: Vec<_> = known.map(|&ip| SocketAddr::new(ip, pool.port)).collect();
                    if known.is_empty() {
                        return Err(error.to_string());
                    }
                    known
                }
            },
            PoolSource::File(path) => {
                let text = read(path).map_err(|error| error.to_string())?;
                listed(&text, pool.port)
            }
        };
        addresses.retain(is_allowed);
        addresses.truncate(MAX_KNOWN);
        if addresses.is_empty() {
            return Err("there is no address".to_owned());
        }
        let mut own = Vec::new();
        if !settings.ignores_own_names {
            own = own_relays(&plan.kites(), pool.port).await;
            own.retain(|address| is_allowed(address) && !addresses.contains(address));
        }
        let all: Vec<SocketAddr> = addresses.iter().chain(&own).copied().collect();
        let pings: Vec<(SocketAddr, Task<_>)> =
            all.iter().map(|&address| (address, context.executor.spawn(ping(address)))).collect();
        self.choice.borrow_mut().keep_only(&all);
        for (address, ping) in pings {
            let measured = ping.await.map(|ping| Measured {
                time: ping.time,
                uuid: ping.uuid,
                is_overloaded: ping.is_overloaded,
            });
            // What does not answer as a relay is the kite's own web server, say.
            own.retain(|known| measured.is_some() || *known != address);
            self.choice.borrow_mut().measured(address, measured);
        }
        let count = pool.wanted + settings.spare_relays;
        let in_use = self.in_use.borrow();
        let mut best = self.choice.borrow().best(Instant::now(), &addresses, &in_use, count);
        own.retain(|own| !best.iter().any(|best| self.choice.borrow().is_same(own, best)));
        best.extend(own);
        let host = |address: &SocketAddr| match &pool.source {
            PoolSource::Name(name) => name.clone(),
            PoolSource::File(_) => address.ip().to_string(),
        };
        let endpoint = |address: SocketAddr| Endpoint {
            relay: RelayAddress { host: host(&address), port: pool.port },
            address: Some(address),
        };
        Ok(best.into_iter().map(endpoint).collect())
    }
}

/// Starts to look after the pool.
pub(super) fn start(context: &Rc<Context>, pool: &Rc<Pool>) -> Task<()> {
    let (context, pool) = (Rc::clone(context), Rc::clone(pool));
    let executor = context.executor;
    executor.spawn(async move { pool.watch(&context).await })
}

/// The addresses that the kites' own names have now: visitors come by them
/// until their names lead elsewhere.
async fn own_relays(kites: &[KiteId], port: u16) -> Vec<SocketAddr> {
    let mut names: Vec<&str> =
        kites.iter().map(KiteId::domain).filter(|name| !name.starts_with('*')).collect();
    names.sort_unstable();
    names.dedup();
    let mut addresses = Vec::new();
    for name in names.into_iter().take(MAX_OWN_NAMES) {
        // That a new kite has no address yet is no trouble.
        let found = resolve(name, port).await.unwrap_or_default();
        addresses.extend(found.into_iter().filter(|address| !address.ip().is_loopback()));
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MAX_OWN_NAMES);
    addresses
}

/// A proxy looks the pool's name up itself, and pings do not pass.
fn via_proxy(pool: &RelayPool, never: &[SocketAddr]) -> Result<Vec<Endpoint>, String> {
    match &pool.source {
        PoolSource::Name(name) => {
            let relay = RelayAddress { host: name.clone(), port: pool.port };
            Ok(vec![Endpoint { relay, address: None }])
        }
        PoolSource::File(path) => {
            let text = read(path).map_err(|error| error.to_string())?;
            let allowed = listed(&text, pool.port).into_iter();
            let allowed = allowed.filter(|address| !never.contains(address));
            let relays = allowed.take(pool.wanted).map(|address| {
                let relay = RelayAddress { host: address.ip().to_string(), port: pool.port };
                Endpoint { relay, address: None }
            });
            let relays: Vec<_> = relays.collect();
            if relays.is_empty() { Err("there is no address".to_owned()) } else { Ok(relays) }
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    // To open a pipe would wait for whoever writes to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The addresses in a file, one a line; `#` and `;` begin comments.
fn listed(text: &str, port: u16) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| line.split(['#', ';']).next())
        .filter_map(|line| line.trim().parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, port))
        .take(MAX_KNOWN)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lists_addresses() {
        let text = "192.0.2.1\n# all\n 2001:db8::1 ; the second\nno address\n\n192.0.2.2#x";
        let listed: Vec<_> = listed(text, 443).iter().map(ToString::to_string).collect();
        assert_eq!(listed, ["192.0.2.1:443", "[2001:db8::1]:443", "192.0.2.2:443"]);
        let long = "192.0.2.1\n".repeat(1000);
        assert_eq!(super::listed(&long, 443).len(), MAX_KNOWN);
    }
}
