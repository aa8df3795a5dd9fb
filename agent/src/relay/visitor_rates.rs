//! How many different visitors a kite may have in a span of time
//! (`ratelimit_ips`, `protocol.md` 11). The reference tells visitors apart by
//! address and browser; here it is the address, which cannot be made up.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::rates::Neighbourhood;
use crate::config::Rate;

/// Visitors that are remembered, of all kites together. When they are more, a
/// kite with more than its share takes nobody new until its span is over, and
/// the others go on: a flood of visitors harms the kite that it goes to. Some
/// 8 MB, and never more than twice that.
pub const MAX_REMEMBERED: usize = 262_144;

/// While there is no room, it is looked for again after this time; that costs a
/// look at every kite.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The visitors of all kites.
#[derive(Debug)]
pub struct VisitorRates {
    kites: HashMap<Box<str>, Span>,
    total: usize,
    most: usize,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Span {
    start: Instant,
    visitors: HashSet<Neighbourhood>,
}

impl VisitorRates {
    /// No visitor yet.
    pub fn new() -> Self {
        Self { kites: HashMap::new(), total: 0, most: MAX_REMEMBERED, swept: None }
    }

    /// Whether a visitor from `address` may go to the kite that flies as
    /// `domain`. Who was let in may come again until the span is over. The span
    /// of a kite begins with its first visitor.
    pub fn visit(&mut self, domain: &str, address: IpAddr, rate: Rate, now: Instant) -> bool {
        let from = Neighbourhood::of(address);
        let length = Duration::from_secs(u64::from(rate.seconds));
        if self.total >= self.most {
            self.sweep(length, now);
        }
        if !self.kites.contains_key(domain) {
            let span = Span { start: now, visitors: HashSet::new() };
            self.kites.insert(domain.into(), span);
        }
        let share = self.most / self.kites.len();
        let Some(span) = self.kites.get_mut(domain) else { return true };
        if now.saturating_duration_since(span.start) >= length {
            self.total -= span.visitors.len();
            *span = Span { start: now, visitors: HashSet::new() };
        }
        if span.visitors.contains(&from) {
            return true;
        }
        let room = rate.count as usize;
        let count = span.visitors.len();
        if count >= room || self.total >= self.most && count >= share.max(1) {
            return false;
        }
        span.visitors.insert(from);
        self.total += 1;
        true
    }

    /// Gives back the room of spans that are over, of kites nobody visits now.
    fn sweep(&mut self, length: Duration, now: Instant) {
        let is_due = |swept| now.saturating_duration_since(swept) >= SWEEP_EVERY;
        if !self.swept.is_none_or(is_due) {
            return;
        }
        self.swept = Some(now);
        self.kites.retain(|_, span| now.saturating_duration_since(span.start) < length);
        self.total = self.kites.values().map(|span| span.visitors.len()).sum();
    }
}

impl Default for VisitorRates {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { count: 2, seconds: 10 };

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn different_visitors_are_counted_and_known_ones_come_again() {
        let (mut rates, start) = (VisitorRates::new(), Instant::now());
        let mut visit = |kite, from, seconds| {
            rates.visit(kite, address(from), RATE, start + Duration::from_secs(seconds))
        };
        assert!(visit("a.test", 1, 0) && visit("a.test", 2, 1));
        assert!(!visit("a.test", 3, 2), "a third");
        assert!(visit("a.test", 1, 9) && visit("a.test", 2, 9), "known ones");
        assert!(visit("b.test", 3, 2), "another kite");
        assert!(visit("a.test", 3, 10) && visit("a.test", 1, 10), "a new span");
        assert!(!visit("a.test", 2, 10));
    }

    #[test]
    fn a_flood_harms_the_kite_it_goes_to_only() {
        let (mut rates, now) = (VisitorRates::new(), Instant::now());
        rates.most = 1000;
        let rate = Rate { count: 1_000_000, seconds: 10 };
        let taken = (0..5000).filter(|&from| rates.visit("a.test", address(from), rate, now));
        assert_eq!(taken.count(), 1000);
        for kite in 0..100 {
            let name = format!("{kite}.test");
            for from in 0..5 {
                assert!(rates.visit(&name, address(from), rate, now), "{name} {from}");
            }
        }
        assert!(rates.visit("a.test", address(7), rate, now), "a known one comes again");
        assert!(!rates.visit("a.test", address(9999), rate, now));
        assert!(rates.total <= 2000);
    }

    #[test]
    fn spans_that_are_over_take_no_room() {
        let (mut rates, now) = (VisitorRates::new(), Instant::now());
        rates.most = 10;
        let rate = Rate { count: 100, seconds: 10 };
        for from in 0..10 {
            assert!(rates.visit("a.test", address(from), rate, now));
        }
        let later = now + Duration::from_secs(10);
        for from in 0..10 {
            assert!(rates.visit("b.test", address(from), rate, later), "{from}");
        }
        assert_eq!((rates.kites.len(), rates.total), (1, 10));
    }
}
