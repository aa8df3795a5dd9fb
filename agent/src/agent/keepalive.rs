//! How long the path to a relay may be silent before a NAT on it forgets the
//! tunnel: learned from tunnels that fell silent while they were idle.
//!
//! A silent end alone says little, since an uplink that fails ends tunnels the
//! same way. When the very next try succeeds, though, the path was there all
//! the time and only the tunnel's place in it was gone.

use std::time::{Duration, Instant};

/// Shortest interval, as PageKite's (`protocol.md` 10).
pub const LEAST: Duration = Duration::from_secs(20);
/// How long an interval has to hold before a longer one is tried.
const FIRST_TRIAL_AFTER: Duration = Duration::from_secs(12 * 3600);
/// The same when longer ones failed again and again.
const LAST_TRIAL_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// The interval for one relay.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    most: Duration,
    interval: Duration,
    is_adaptive: bool,
    /// The last tunnel fell silent while it was idle, and no try has failed
    /// since.
    is_suspect: bool,
    /// Since when the interval is as it is.
    since: Instant,
    trial_after: Duration,
}

impl Keepalive {
    /// Begins with `most`, and stays there unless `is_adaptive`.
    pub fn new(now: Instant, most: Duration, is_adaptive: bool) -> Self {
        Self {
            most,
            interval: most,
            is_adaptive,
            is_suspect: false,
            since: now,
            trial_after: FIRST_TRIAL_AFTER,
        }
    }

    /// The interval for a tunnel that begins now.
    pub fn interval(&mut self, now: Instant) -> Duration {
        let held = now.saturating_duration_since(self.since);
        if self.is_adaptive && self.interval < self.most && held >= self.trial_after {
            self.set(now, self.interval * 4 / 3);
        }
        self.interval
    }

    /// A tunnel has ended; `is_silent` when the relay did not answer while no
    /// stream was open.
    pub fn ended(&mut self, is_silent: bool) {
        self.is_suspect = is_silent;
    }

    /// A try has failed: the path was away.
    pub fn failed(&mut self) {
        self.is_suspect = false;
    }

    /// A tunnel is up again; true when the interval is shorter now.
    pub fn flies(&mut self, now: Instant) -> bool {
        if !std::mem::take(&mut self.is_suspect) || !self.is_adaptive || self.interval <= LEAST {
            return false;
        }
        if self.interval < self.most {
            // Longer ones are not worth many lost tunnels.
            self.trial_after = (self.trial_after * 2).min(LAST_TRIAL_AFTER);
        }
        self.set(now, self.interval * 3 / 4);
        true
    }

    fn set(&mut self, now: Instant, interval: Duration) {
        self.interval = interval.clamp(LEAST.min(self.most), self.most);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(80);

    fn lose(keepalive: &mut Keepalive, now: Instant) -> bool {
        keepalive.ended(true);
        keepalive.flies(now)
    }

    #[test]
    fn a_nat_that_forgets_brings_shorter_intervals_down_to_the_least() {
        let now = Instant::now();
        let mut keepalive = Keepalive::new(now, MOST, true);
        assert!(lose(&mut keepalive, now));
        assert_eq!(keepalive.interval(now), Duration::from_secs(60));
        for _ in 0..10 {
            lose(&mut keepalive, now);
        }
        assert_eq!(keepalive.interval(now), LEAST);
        assert!(!lose(&mut keepalive, now));
    }

    #[test]
    fn an_outage_says_nothing_of_the_nat() {
        let now = Instant::now();
        let mut keepalive = Keepalive::new(now, MOST, true);
        keepalive.ended(true);
        keepalive.failed();
        assert!(!keepalive.flies(now));
        keepalive.ended(false);
        assert!(!keepalive.flies(now));
        assert_eq!(keepalive.interval(now), MOST);
    }

    #[test]
    fn a_longer_interval_is_tried_again_after_a_while() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(start, MOST, true);
        lose(&mut keepalive, start);
        assert_eq!(keepalive.interval(start + FIRST_TRIAL_AFTER / 2), MOST * 3 / 4);
        assert_eq!(keepalive.interval(start + FIRST_TRIAL_AFTER), MOST);
    }

    #[test]
    fn what_is_set_by_hand_stays() {
        let now = Instant::now();
        let mut keepalive = Keepalive::new(now, Duration::from_secs(600), false);
        assert!(!lose(&mut keepalive, now));
        assert_eq!(keepalive.interval(now), Duration::from_secs(600));
    }
}
