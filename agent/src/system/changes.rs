//! What happens to the machine that a tunnel should not wait to find out by
//! itself: another network, other name servers, another time, the end of a
//! sleep.
//!
//! The first sign of a change is looked at and reported at once, because a
//! link that is back or a new address is what an agent without tunnel waits
//! for. What follows it (a link tells five messages on its way up) is looked
//! at 100 ms later, and while it goes on, the looks are further apart, up to 2
//! seconds: a flapping link cannot keep the machine busy, and the last state
//! is always looked at. A quiet machine is never woken.

mod clocks;
mod netlink;
mod network;
mod resolver;

use std::fmt;
use std::future;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_io::{Async, Timer};

use clocks::Clocks;
use network::{Drained, Network, POLL};
use resolver::Resolver;

/// Least time between two looks, in which a burst of messages ends.
const SETTLE: Duration = Duration::from_millis(100);
/// Most time between two looks while messages keep coming.
const MAX_GAP: Duration = Duration::from_secs(2);
/// Where the name servers stand (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link, an address or a route came, went, or is another one.
    Network,
    /// Names are looked up elsewhere.
    Resolver,
    /// The time of day was set, by more than a second.
    ClockSet,
    /// The machine slept, for more than a second.
    Resumed,
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Network => "the network of this machine changed",
            Self::Resolver => "the name servers of this machine changed",
            Self::ClockSet => "the clock of this machine was set",
            Self::Resumed => "this machine slept and is back",
        })
    }
}

/// Watches the machine. Whatever the system does not let it watch is told at
/// debug level and left out.
#[derive(Debug)]
pub struct Changes {
    network: Network,
    network_pace: Pace,
    /// The kernel could not tell everything; what it was counts as a change.
    network_lost: bool,
    resolver: Resolver,
    resolver_pace: Pace,
    clocks: Clocks,
    /// The clocks say so, and it is to be reported.
    resumed: bool,
    clock_set: bool,
}

impl Changes {
    /// Begins with what there is now.
    pub fn watch() -> Self {
        Self::watch_with(RESOLV_CONF.into())
    }

    /// The same with another file instead of `/etc/resolv.conf`.
    pub fn watch_with(resolv_conf: PathBuf) -> Self {
        Self {
            network: Network::watch(),
            network_pace: Pace::default(),
            network_lost: false,
            resolver: Resolver::watch(resolv_conf),
            resolver_pace: Pace::default(),
            clocks: Clocks::watch(),
            resumed: false,
            clock_set: false,
        }
    }

    /// Waits for the next change. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.look(Instant::now()) {
                return change;
            }
            match self.wake().await {
                Wake::Network => {
                    let drained = self.network.drain();
                    self.network_lost |= drained == Drained::Certainly;
                    if drained != Drained::Noise {
                        self.network_pace.sign(Instant::now());
                    }
                }
                Wake::Poll => self.network_pace.sign(Instant::now()),
                // A file that is being written is empty first.
                Wake::Resolver => self.resolver_pace.sign(Instant::now() + SETTLE),
                Wake::Clock => self.clocks.rearm(),
                Wake::Due => {}
            }
        }
    }

    /// What has changed of all that is due.
    fn look(&mut self, now: Instant) -> Option<Change> {
        let happened = self.clocks.look();
        self.resumed |= happened.resumed;
        self.clock_set |= happened.set;
        if std::mem::take(&mut self.resumed) {
            return Some(Change::Resumed);
        }
        if self.network_pace.is_due(now) {
            // What came in the meantime is in the digest.
            self.network_lost |= self.network.drain() == Drained::Certainly;
            if self.network.is_another() | std::mem::take(&mut self.network_lost) {
                return Some(Change::Network);
            }
        }
        if self.resolver_pace.is_due(now) && self.resolver.is_another() {
            return Some(Change::Resolver);
        }
        std::mem::take(&mut self.clock_set).then_some(Change::ClockSet)
    }

    /// Waits until there is something to look at. A source that has a look
    /// before it is not listened to.
    async fn wake(&mut self) -> Wake {
        let due = [self.network_pace.due, self.resolver_pace.due];
        let due = due.into_iter().flatten().min();
        let (network, resolver) = (&self.network, &self.resolver);
        let network_sign = async {
            match network.socket() {
                _ if self.network_pace.due.is_some() => future::pending().await,
                Some(socket) => readable(socket).await,
                None => {
                    Timer::after(POLL).await;
                    return Wake::Poll;
                }
            }
            Wake::Network
        };
        let resolver_sign = async {
            match resolver.inotify() {
                Some(inotify) if self.resolver_pace.due.is_none() => readable(inotify).await,
                _ => future::pending().await,
            }
            Wake::Resolver
        };
        let clock = async {
            match self.clocks.timer() {
                Some(timer) => readable(timer).await,
                None => future::pending().await,
            }
            Wake::Clock
        };
        let due = async {
            match due {
                Some(due) => drop(Timer::at(due).await),
                None => future::pending().await,
            }
            Wake::Due
        };
        let signs = smol::future::or(network_sign, resolver_sign);
        smol::future::or(smol::future::or(clock, signs), due).await
    }
}

enum Wake {
    Network,
    Poll,
    Resolver,
    Clock,
    Due,
}

/// Waits for a descriptor; one that fails is silent from then on.
async fn readable(source: &Async<OwnedFd>) {
    if source.readable().await.is_err() {
        future::pending().await
    }
}

/// When to look after a sign: at once, but not too often.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    due: Option<Instant>,
    last: Option<Instant>,
    gap: Duration,
}

impl Pace {
    /// Something may have changed.
    fn sign(&mut self, now: Instant) {
        let earliest = self.last.map_or(now, |last| last + self.gap);
        self.due.get_or_insert(earliest.max(now));
    }

    /// Whether to look now; if so, the look is taken for done.
    fn is_due(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        let quiet = self.last.is_none_or(|last| now.duration_since(last) >= 2 * MAX_GAP);
        self.gap = if quiet { SETTLE } else { (2 * self.gap).min(MAX_GAP) };
        self.last = Some(now);
        self.due = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sign_is_looked_at_at_once_and_what_follows_after_a_moment() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert!(!pace.is_due(start));
        pace.sign(start);
        assert!(pace.is_due(start));
        pace.sign(start + Duration::from_millis(1));
        assert!(!pace.is_due(start + Duration::from_millis(99)));
        assert!(pace.is_due(start + SETTLE));
        assert!(!pace.is_due(start + 2 * SETTLE));
    }

    #[test]
    fn a_storm_costs_a_look_in_two_seconds_and_its_end_is_seen() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut looks = 0;
        for millisecond in 0..60_000 {
            let now = start + Duration::from_millis(millisecond);
            pace.sign(now);
            looks += u32::from(pace.is_due(now));
        }
        assert!((30..40).contains(&looks), "{looks}");
        assert!(pace.is_due(start + Duration::from_secs(62)), "the end is seen");
        let later = start + Duration::from_secs(90);
        pace.sign(later);
        assert!(pace.is_due(later), "after a quiet time it is quick again");
    }
}
