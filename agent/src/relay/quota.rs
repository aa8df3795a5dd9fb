//! How much the visitors of a kite may use, and how much they have used.
//!
//! What is counted belongs to the name that flies: all protocols and ports of
//! `box.example.com` together, and all visitors of a wildcard kite on the
//! wildcard. Kites that fly by one wildcard line count apart, so that none of
//! them uses up what is another's.
//!
//! A day is 24 hours of a clock that never goes back, from the first use on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::config::KiteQuota;

/// How long a day is.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Names whose use is remembered while no visitor is there, more than there
/// are kites. Beyond it, the half that has used least is forgotten: an agent
/// that flies name after name to get there forgets its own small uses, and no
/// name that has used up its day. Some 15 MB when full.
const MAX_RESTING: usize = 131_072;
/// Names after which to look for the first time for what can be forgotten.
const FIRST_SWEEP: usize = 1024;

/// What a kite may use: what its own line says, and else what holds for all.
pub fn quota_of(own: &KiteQuota, general: &KiteQuota) -> KiteQuota {
    KiteQuota {
        bytes_per_day: own.bytes_per_day.or(general.bytes_per_day),
        connections_per_day: own.connections_per_day.or(general.connections_per_day),
        streams: own.streams.or(general.streams),
    }
}

/// Whether nothing at all may be used, which is how a line shuts a kite out.
pub fn is_nothing(quota: &KiteQuota) -> bool {
    let bounds = [quota.bytes_per_day, quota.connections_per_day, quota.streams];
    bounds.contains(&Some(0))
}

/// What is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverQuota {
    /// The bytes of the day.
    Bytes,
    /// The connections of the day.
    Connections,
    /// The streams at the same time.
    Streams,
}

/// One visitor's connection to a kite; to be given back to [`Quotas::close`].
#[derive(Debug)]
#[must_use = "a connection that is never closed counts for ever"]
pub struct Permit {
    /// `None` where nothing is counted.
    usage: Option<usize>,
}

/// What the visitors of all kites have used.
#[derive(Debug)]
pub struct Quotas {
    usages: Slab<Usage>,
    names: HashMap<Box<str>, usize>,
    sweep_at: usize,
    most_resting: usize,
}

#[derive(Debug)]
struct Usage {
    day: Instant,
    bytes: u64,
    connections: u64,
    streams: u64,
}

impl Quotas {
    /// Nothing used.
    pub fn new() -> Self {
        Self {
            usages: Slab::new(),
            names: HashMap::new(),
            sweep_at: FIRST_SWEEP,
            most_resting: MAX_RESTING,
        }
    }

    /// Lets a visitor in to the kite that flies as `domain`. Costs no memory
    /// where `quota` bounds nothing.
    ///
    /// # Errors
    /// What is used up.
    pub fn open(
        &mut self,
        domain: &str,
        quota: &KiteQuota,
        now: Instant,
    ) -> Result<Permit, OverQuota> {
        if *quota == KiteQuota::default() {
            return Ok(Permit { usage: None });
        }
        let index = self.index(domain, now);
        let Some(usage) = self.usages.get_mut(index) else { return Ok(Permit { usage: None }) };
        usage.roll(now);
        usage.check_bytes(quota)?;
        if quota.connections_per_day.is_some_and(|most| usage.connections >= most) {
            return Err(OverQuota::Connections);
        }
        if quota.streams.is_some_and(|most| usage.streams >= most) {
            return Err(OverQuota::Streams);
        }
        usage.connections += 1;
        usage.streams += 1;
        Ok(Permit { usage: Some(index) })
    }

    /// Notes that a visitor sent or got `bytes`.
    ///
    /// # Errors
    /// The bytes of the day are used up by now, and the connection is to end:
    /// one that goes on for days must not be a way around the quota.
    pub fn used(
        &mut self,
        permit: &Permit,
        bytes: u64,
        quota: &KiteQuota,
        now: Instant,
    ) -> Result<(), OverQuota> {
        let Some(usage) = permit.usage.and_then(|index| self.usages.get_mut(index)) else {
            return Ok(());
        };
        usage.roll(now);
        usage.bytes = usage.bytes.saturating_add(bytes);
        usage.check_bytes(quota)
    }

    /// The visitor's connection has ended.
    pub fn close(&mut self, permit: Permit) {
        if let Some(usage) = permit.usage.and_then(|index| self.usages.get_mut(index)) {
            usage.streams = usage.streams.saturating_sub(1);
        }
    }

    /// Kilobytes of 1024 bytes that are left of the day, for
    /// `X-PageKite-Quota`; `None` where bytes have no bound.
    pub fn left_kilobytes(&self, domain: &str, quota: &KiteQuota, now: Instant) -> Option<i64> {
        let most = quota.bytes_per_day?;
        let usage = self.names.get(domain).and_then(|&index| self.usages.get(index));
        let used = usage.filter(|usage| !usage.is_over(now)).map_or(0, |usage| usage.bytes);
        Some(i64::try_from(most.saturating_sub(used) / 1024).unwrap_or(i64::MAX))
    }

    /// How many names are remembered.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no name is remembered.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn index(&mut self, domain: &str, now: Instant) -> usize {
        if let Some(&index) = self.names.get(domain) {
            return index;
        }
        if self.names.len() >= self.sweep_at {
            self.sweep(now);
        }
        let index = self.usages.insert(Usage { day: now, bytes: 0, connections: 0, streams: 0 });
        self.names.insert(domain.into(), index);
        index
    }

    /// Forgets the names without a visitor whose day is over, and if that are
    /// not enough, the ones that have used least. What it costs is spread over
    /// the names that come until the next time.
    fn sweep(&mut self, now: Instant) {
        self.forget(|usage| usage.is_over(now));
        let resting = || self.usages.iter().filter(|(_, usage)| usage.streams == 0);
        let mut used: Vec<_> = resting().map(|(_, usage)| usage.amount()).collect();
        if used.len() >= self.most_resting {
            let half = used.len() / 2;
            let (_, &mut middle, _) = used.select_nth_unstable(half);
            self.forget(|usage| usage.amount() < middle);
            let left = self.usages.iter().filter(|(_, usage)| usage.streams == 0).count();
            let mut surplus = left.saturating_sub(self.most_resting / 2);
            self.forget(|usage| {
                let is_surplus = surplus > 0 && usage.amount() == middle;
                surplus -= usize::from(is_surplus);
                is_surplus
            });
        }
        self.sweep_at = self.names.len().saturating_mul(2).max(FIRST_SWEEP);
        let with_visitors = self.usages.iter().filter(|(_, usage)| usage.streams > 0).count();
        self.sweep_at = self.sweep_at.min(with_visitors + self.most_resting);
    }

    fn forget(&mut self, mut which: impl FnMut(&Usage) -> bool) {
        let usages = &mut self.usages;
        self.names.retain(|_, &mut index| {
            let goes = usages.get(index).is_none_or(|usage| usage.streams == 0 && which(usage));
            if goes {
                usages.try_remove(index);
            }
            !goes
        });
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self::new()
    }
}

impl Usage {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.day) >= DAY
    }

    /// Begins a new day when the old one is over.
    fn roll(&mut self, now: Instant) {
        if self.is_over(now) {
            *self = Self { day: now, bytes: 0, connections: 0, streams: self.streams };
        }
    }

    fn check_bytes(&self, quota: &KiteQuota) -> Result<(), OverQuota> {
        match quota.bytes_per_day {
            Some(most) if self.bytes >= most => Err(OverQuota::Bytes),
            _ => Ok(()),
        }
    }

    fn amount(&self) -> (u64, u64) {
        (self.bytes, self.connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(bytes: Option<u64>, connections: Option<u64>, streams: Option<u64>) -> KiteQuota {
        KiteQuota { bytes_per_day: bytes, connections_per_day: connections, streams }
    }

    #[test]
    fn bytes_run_out_and_come_back_the_next_day() {
        let (mut quotas, start) = (Quotas::new(), Instant::now());
        let quota = quota(Some(10_000), None, None);
        assert_eq!(quotas.left_kilobytes("a.test", &quota, start), Some(9));
        let permit = quotas.open("a.test", &quota, start).expect("nothing used");
        assert_eq!(quotas.used(&permit, 9_999, &quota, start), Ok(()));
        assert_eq!(quotas.left_kilobytes("a.test", &quota, start), Some(0));
        assert_eq!(quotas.used(&permit, 1, &quota, start), Err(OverQuota::Bytes));
        assert_eq!(quotas.used(&permit, u64::MAX, &quota, start), Err(OverQuota::Bytes));
        let evening = start + DAY - Duration::from_secs(1);
        assert_eq!(quotas.open("a.test", &quota, evening).err(), Some(OverQuota::Bytes));
        let other = quotas.open("b.test", &quota, evening).expect("another name");
        let tomorrow = start + DAY;
        assert_eq!(quotas.left_kilobytes("a.test", &quota, tomorrow), Some(9));
        assert_eq!(quotas.used(&permit, 1, &quota, tomorrow), Ok(()), "a long stream goes on");
        quotas.close(permit);
        quotas.close(other);
    }

    #[test]
    fn connections_of_the_day_and_streams_at_a_time_are_two_things() {
        let (mut quotas, now) = (Quotas::new(), Instant::now());
        let quota = quota(None, Some(3), Some(2));
        let mut open = || quotas.open("a.test", &quota, now);
        let (one, two) = (open().expect("one"), open().expect("two"));
        assert_eq!(open().err(), Some(OverQuota::Streams));
        quotas.close(one);
        let three = quotas.open("a.test", &quota, now).expect("three");
        quotas.close(two);
        assert_eq!(quotas.open("a.test", &quota, now).err(), Some(OverQuota::Connections));
        quotas.close(three);
        let tomorrow = now + DAY;
        let permit = quotas.open("a.test", &quota, tomorrow).expect("room");
        quotas.close(permit);
        assert_eq!(quotas.left_kilobytes("a.test", &quota, now), None);
    }

    #[test]
    fn streams_that_go_on_overnight_still_count_as_streams() {
        let (mut quotas, now) = (Quotas::new(), Instant::now());
        let quota = quota(None, None, Some(1));
        let permit = quotas.open("a.test", &quota, now).expect("room");
        let later = now + 3 * DAY;
        assert_eq!(quotas.open("a.test", &quota, later).err(), Some(OverQuota::Streams));
        quotas.close(permit);
        let permit = quotas.open("a.test", &quota, later).expect("room");
        quotas.close(permit);
    }

    #[test]
    fn a_kite_without_bounds_costs_nothing() {
        let (mut quotas, now) = (Quotas::new(), Instant::now());
        let none = KiteQuota::default();
        let permit = quotas.open("a.test", &none, now).expect("no bound");
        assert_eq!(quotas.used(&permit, u64::MAX, &none, now), Ok(()));
        quotas.close(permit);
        assert!(quotas.is_empty());
    }

    #[test]
    fn a_line_s_own_bounds_come_before_the_general_ones() {
        let general = quota(Some(1), Some(2), None);
        let merged = quota_of(&quota(Some(9), None, Some(7)), &general);
        assert_eq!(merged, quota(Some(9), Some(2), Some(7)));
        assert!(!is_nothing(&merged) && is_nothing(&quota(None, Some(0), None)));
    }

    #[test]
    fn old_days_are_forgotten_and_visitors_are_not() {
        let (mut quotas, now) = (Quotas::new(), Instant::now());
        let quota = quota(None, Some(5), None);
        let kept = quotas.open("kept.test", &quota, now).expect("room");
        for number in 1..FIRST_SWEEP {
            let permit = quotas.open(&format!("{number}.test"), &quota, now).expect("room");
            quotas.close(permit);
        }
        let permit = quotas.open("new.test", &quota, now + DAY).expect("room");
        assert!(quotas.len() <= 3, "{}", quotas.len());
        assert!(quotas.names.contains_key("kept.test"));
        quotas.close(permit);
        quotas.close(kept);
        assert_eq!(quotas.names.len(), quotas.usages.len());
    }

    #[test]
    fn many_small_names_do_not_make_it_forget_a_used_up_one() {
        let (mut quotas, now) = (Quotas::new(), Instant::now());
        quotas.most_resting = 2000;
        let quota = quota(Some(1000), None, None);
        let permit = quotas.open("greedy.test", &quota, now).expect("room");
        assert!(quotas.used(&permit, 1000, &quota, now).is_err());
        quotas.close(permit);
        for number in 0..20_000 {
            let permit = quotas.open(&format!("{number}.test"), &quota, now).expect("room");
            quotas.close(permit);
            assert!(quotas.len() <= 2001, "{}", quotas.len());
        }
        assert_eq!(quotas.open("greedy.test", &quota, now).err(), Some(OverQuota::Bytes));
    }
}
