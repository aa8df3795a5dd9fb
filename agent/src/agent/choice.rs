//! Which relays of a pool to use: the fastest ones that work. A pure machine
//! that is told what pings measured and what became of tunnels
//! (`protocol.md` 15).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use litemap::LiteMap;

/// Pings whose mean counts.
const SAMPLES: usize = 3;
/// What a relay that says that it is overloaded seems slower by.
const OVERLOAD: Duration = Duration::from_millis(250);
/// The same for one that is in use; to leave it has a price as well.
const OVERLOAD_IN_USE: Duration = Duration::from_millis(50);
/// What a relay seems slower by after its tunnel was lost or refused.
const TROUBLE: Duration = Duration::from_secs(1);
/// How long that takes to fade.
const TROUBLE_FADES: Duration = Duration::from_secs(30 * 60);
/// A relay that is in trouble all the time is no news again and again.
const TROUBLE_IS_NEWS_AFTER: Duration = Duration::from_secs(600);
/// A relay has to be faster than one in use by this part to be worth a move.
const WORTH_A_MOVE: u32 = 4;
/// And by this much, since pings vary.
const LEAST_GAIN: Duration = Duration::from_millis(20);
/// Relays that are remembered; pools have fewer.
pub const MAX_KNOWN: usize = 64;

/// What a ping said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// From the connection to the first byte of the answer.
    pub time: Duration,
    /// The relay's id: one relay may have several addresses.
    pub uuid: Option<String>,
    /// It asks new agents to go elsewhere.
    pub is_overloaded: bool,
}

/// What is known about the relays of a pool.
#[derive(Debug, Default)]
pub struct Choice {
    known: LiteMap<SocketAddr, Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The latest ones first.
    times: Vec<Duration>,
    uuid: Option<String>,
    is_overloaded: bool,
    trouble: Option<Instant>,
}

impl Choice {
    /// Notes what a ping said; `None` when it was not answered.
    pub fn measured(&mut self, address: SocketAddr, measured: Option<Measured>) {
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&address) {
            return;
        }
        let known = self.known.entry(address).or_default();
        match measured {
            Some(Measured { time, uuid, is_overloaded }) => {
                known.times.insert(0, time);
                known.times.truncate(SAMPLES);
                known.uuid = uuid;
                known.is_overloaded = is_overloaded;
            }
            None => known.times.clear(),
        }
    }

    /// Notes that a tunnel to this relay was lost, refused or never came about;
    /// true when that is news.
    pub fn trouble(&mut self, now: Instant, address: SocketAddr) -> bool {
        let Some(known) = self.known.get_mut(&address) else { return true };
        let before = known.trouble.replace(now);
        before.is_none_or(|before| now.saturating_duration_since(before) >= TROUBLE_IS_NEWS_AFTER)
    }

    /// Whether two addresses are those of one relay, as far as it says so.
    pub fn is_same(&self, one: &SocketAddr, other: &SocketAddr) -> bool {
        self.uuid(one).is_some() && self.uuid(one) == self.uuid(other)
    }

    /// Forgets relays that are no longer in the pool.
    pub fn keep_only(&mut self, pool: &[SocketAddr]) {
        self.known.retain(|address, _| pool.contains(address));
    }

    /// The best `count` relays among `pool`, the fastest first; those `in_use`
    /// stay unless others are clearly better. Where no ping was answered, the
    /// pool's order holds: networks that swallow pings may let tunnels through.
    pub fn best(
        &self,
        now: Instant,
        pool: &[SocketAddr],
        in_use: &[SocketAddr],
        count: usize,
    ) -> Vec<SocketAddr> {
        let mut ranked: Vec<(Duration, usize, SocketAddr)> = pool
            .iter()
            .enumerate()
            .map(|(place, address)| {
                let used = in_use.contains(address);
                (self.seeming_time(now, address, used), place, *address)
            })
            .collect();
        ranked.sort();
        let mut best: Vec<SocketAddr> = Vec::new();
        for (_, _, address) in ranked {
            let is_same = |other: &SocketAddr| {
                let (one, other) = (self.uuid(&address), self.uuid(other));
                one.is_some() && one == other
            };
            if best.len() < count && !best.contains(&address) && !best.iter().any(is_same) {
                best.push(address);
            }
        }
        best
    }

    fn uuid(&self, address: &SocketAddr) -> Option<&String> {
        self.known.get(address).and_then(|known| known.uuid.as_ref())
    }

    fn seeming_time(&self, now: Instant, address: &SocketAddr, is_used: bool) -> Duration {
        let Some(known) = self.known.get(address) else { return Duration::MAX };
        let count = u32::try_from(known.times.len()).unwrap_or(u32::MAX);
        let sum: Duration = known.times.iter().sum();
        let Some(mean) = sum.checked_div(count) else { return Duration::MAX };
        let mut time = mean;
        if is_used {
            time = time.saturating_sub((mean / WORTH_A_MOVE).max(LEAST_GAIN));
        }
        if known.is_overloaded {
            time += if is_used { OVERLOAD_IN_USE } else { OVERLOAD };
        }
        if let Some(since) = known.trouble {
            let left = TROUBLE_FADES.saturating_sub(now.saturating_duration_since(since));
            let share = left.as_millis() as u32 / (TROUBLE_FADES.as_millis() as u32 / 1024);
            time += TROUBLE / 1024 * share;
        }
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 443))
    }

    fn ping(milliseconds: u64) -> Option<Measured> {
        let time = Duration::from_millis(milliseconds);
        Some(Measured { time, uuid: None, is_overloaded: false })
    }

    fn choice(times: &[u64]) -> (Choice, Vec<SocketAddr>) {
        let mut choice = Choice::default();
        let mut pool = Vec::new();
        for (last, &time) in (1..).zip(times) {
            pool.push(address(last));
            choice.measured(address(last), ping(time));
        }
        (choice, pool)
    }

    #[test]
    fn the_fastest_are_used_and_spares_after_them() {
        let (choice, pool) = choice(&[90, 30, 60]);
        let now = Instant::now();
        assert_eq!(choice.best(now, &pool, &[], 1), [address(2)]);
        assert_eq!(choice.best(now, &pool, &[], 2), [address(2), address(3)]);
        assert_eq!(choice.best(now, &pool, &[], 9).len(), 3);
    }

    #[test]
    fn a_relay_that_does_not_answer_comes_last() {
        let (mut choice, pool) = choice(&[30, 60]);
        choice.measured(address(1), None);
        assert_eq!(choice.best(Instant::now(), &pool, &[], 1), [address(2)]);
    }

    #[test]
    fn without_any_answer_the_order_of_the_pool_holds() {
        let choice = Choice::default();
        let pool = [address(3), address(1)];
        assert_eq!(choice.best(Instant::now(), &pool, &[], 1), [address(3)]);
    }

    #[test]
    fn a_little_faster_is_not_worth_a_move_but_clearly_faster_is() {
        let (mut choice, pool) = choice(&[60, 50]);
        let now = Instant::now();
        assert_eq!(choice.best(now, &pool, &[address(1)], 1), [address(1)]);
        for _ in 0..SAMPLES {
            choice.measured(address(2), ping(10));
        }
        assert_eq!(choice.best(now, &pool, &[address(1)], 1), [address(2)]);
    }

    #[test]
    fn a_better_relay_that_returns_is_gone_back_to() {
        let (mut choice, pool) = choice(&[20, 200]);
        let start = Instant::now();
        choice.trouble(start, address(1));
        choice.measured(address(1), None);
        let used = choice.best(start, &pool, &[address(1)], 1);
        assert_eq!(used, [address(2)]);
        choice.measured(address(1), ping(20));
        assert_eq!(choice.best(start, &pool, &used, 1), [address(2)], "the trouble is fresh");
        let later = start + TROUBLE_FADES;
        assert_eq!(choice.best(later, &pool, &used, 1), [address(1)]);
    }

    #[test]
    fn one_relay_with_two_addresses_gets_one_tunnel() {
        let (mut choice, pool) = choice(&[10, 20, 30]);
        for last in [1, 2] {
            let time = Duration::from_millis(10);
            let uuid = Some("same".to_owned());
            choice.measured(address(last), Some(Measured { time, uuid, is_overloaded: false }));
        }
        assert_eq!(choice.best(Instant::now(), &pool, &[], 2), [address(1), address(3)]);
    }

    #[test]
    fn an_overloaded_relay_is_left_to_others() {
        let (mut choice, pool) = choice(&[10, 100]);
        let time = Duration::from_millis(10);
        choice.measured(address(1), Some(Measured { time, uuid: None, is_overloaded: true }));
        assert_eq!(choice.best(Instant::now(), &pool, &[], 1), [address(2)]);
        assert_eq!(choice.best(Instant::now(), &pool, &[address(1)], 1), [address(1)]);
    }
}
