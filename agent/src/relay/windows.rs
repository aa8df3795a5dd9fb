//! Counts what each of many does in a span of time, in bounded memory.
//!
//! The choice that matters is whom to forget when there are too many. Those
//! above the limit and the others have room of their own. Too many others push
//! out the oldest of the others, whose span is nearest to its end: nobody is
//! locked out because of a crowd, and no crowd of newcomers, such as the
//! 65536 networks of one IPv6 /48, makes it forget one who is above the limit.
//! To push out one of those, as many as there is room for have to go above
//! the limit themselves within one span, which costs more than it gains.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::config::Rate;

/// How many are remembered who are below the limit, and again as many above.
/// Some 8 MB when both are full.
pub const MAX_REMEMBERED: usize = 32_768;

/// Counts per `K`, each in a span that begins with its first one.
#[derive(Debug)]
pub struct Windows<K> {
    rate: Rate,
    below: Table<K>,
    above: Table<K>,
}

impl<K: Copy + Eq + Hash + Ord> Windows<K> {
    /// Counts up to `rate`.
    pub fn new(rate: Rate) -> Self {
        Self::with_room(rate, MAX_REMEMBERED)
    }

    fn with_room(rate: Rate, most: usize) -> Self {
        Self { rate, below: Table::new(most), above: Table::new(most) }
    }

    /// Counts by another rate from now on. Who was above the old limit stays
    /// there until the span is over.
    pub fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Counts one more of `key`. False when that is one too many, and so until
    /// its span is over.
    pub fn count(&mut self, key: K, now: Instant) -> bool {
        self.forget_old(now);
        if self.above.entries.contains_key(&key) {
            return false;
        }
        let (start, count) = self.below.take(key).unwrap_or((now, 0));
        let count = count + 1;
        if count > self.rate.count {
            self.above.insert(key, start, count);
            return false;
        }
        self.below.insert(key, start, count);
        true
    }

    /// Whether `key` has no more left: one more would be one too many.
    pub fn is_full(&mut self, key: K, now: Instant) -> bool {
        self.forget_old(now);
        let count = self.below.entries.get(&key).map_or(0, |&(_, count)| count);
        self.above.entries.contains_key(&key) || count >= self.rate.count
    }

    /// Forgets what `key` did.
    pub fn clear(&mut self, key: K) {
        self.below.take(key);
        self.above.take(key);
    }

    fn forget_old(&mut self, now: Instant) {
        let span = Duration::from_secs(u64::from(self.rate.seconds));
        for table in [&mut self.below, &mut self.above] {
            while let Some(&(start, key)) = table.oldest.first() {
                if now.saturating_duration_since(start) < span {
                    break;
                }
                table.take(key);
            }
        }
    }
}

#[derive(Debug)]
struct Table<K> {
    entries: HashMap<K, (Instant, u32)>,
    oldest: BTreeSet<(Instant, K)>,
    most: usize,
}

impl<K: Copy + Eq + Hash + Ord> Table<K> {
    fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), oldest: BTreeSet::new(), most }
    }

    fn insert(&mut self, key: K, start: Instant, count: u32) {
        if self.entries.len() >= self.most {
            if let Some((_, oldest)) = self.oldest.pop_first() {
                self.entries.remove(&oldest);
            }
        }
        self.entries.insert(key, (start, count));
        self.oldest.insert((start, key));
    }

    fn take(&mut self, key: K) -> Option<(Instant, u32)> {
        let (start, count) = self.entries.remove(&key)?;
        self.oldest.remove(&(start, key));
        Some((start, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { count: 3, seconds: 10 };

    #[test]
    fn one_too_many_is_refused_until_the_span_is_over() {
        let (mut windows, start) = (Windows::new(RATE), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..3 {
            assert!(!windows.is_full(1, at(second)));
            assert!(windows.count(1, at(second)));
        }
        assert!(windows.is_full(1, at(9)), "three are there");
        assert!(!windows.count(1, at(9)));
        assert!(windows.count(2, at(9)), "another one");
        assert!(!windows.is_full(1, at(10)));
        for _ in 0..3 {
            assert!(windows.count(1, at(10)), "a new span");
        }
    }

    #[test]
    fn who_goes_on_is_not_kept_out_for_ever() {
        let (mut windows, start) = (Windows::new(RATE), Instant::now());
        for second in 0..30 {
            windows.count(1, start + Duration::from_secs(second));
        }
        assert!(windows.count(1, start + Duration::from_secs(30)));
    }

    #[test]
    fn what_is_cleared_is_forgotten_and_leaves_nothing() {
        let (mut windows, start) = (Windows::new(RATE), Instant::now());
        for _ in 0..100 {
            assert!(windows.count(1, start));
            windows.clear(1);
        }
        for _ in 0..4 {
            windows.count(2, start);
        }
        windows.clear(2);
        assert!(windows.count(2, start));
        windows.clear(2);
        assert!(windows.below.oldest.is_empty() && windows.above.oldest.is_empty());
    }

    #[test]
    fn a_crowd_of_newcomers_frees_no_offender_and_locks_out_nobody() {
        let (mut windows, start) = (Windows::with_room(RATE, 100), Instant::now());
        let offender = 1_000_000;
        for _ in 0..4 {
            windows.count(offender, start);
        }
        for newcomer in 0..10_000 {
            assert!(windows.count(newcomer, start));
        }
        assert!(!windows.count(offender, start) && windows.is_full(offender, start));
        assert_eq!(windows.below.entries.len(), 100);
        assert_eq!(windows.below.oldest.len(), 100);
    }

    #[test]
    fn even_a_crowd_of_offenders_has_a_bound() {
        let (mut windows, start) = (Windows::with_room(RATE, 100), Instant::now());
        for offender in 0..1000 {
            for _ in 0..4 {
                windows.count(offender, start);
            }
        }
        assert_eq!((windows.above.entries.len(), windows.above.oldest.len()), (100, 100));
        assert!(windows.count(5000, start), "who comes new is let in");
        let later = start + Duration::from_secs(10);
        assert!(windows.count(5000, later));
        assert!(windows.above.entries.is_empty(), "all that is old goes");
    }
}
