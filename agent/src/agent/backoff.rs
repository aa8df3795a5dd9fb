//! How long to wait before the next try to reach a relay.

use std::time::{Duration, Instant};

/// The first try after a loss waits up to this long, so that the agents of a
/// relay that restarts do not come all at once.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// How long the trouble is young.
pub const YOUNG: Duration = Duration::from_secs(600);
/// A tunnel that has lived this long was a good one: the count starts anew.
pub const STABLE_AFTER: Duration = Duration::from_secs(30);
/// First wait after the relay refused all kites. Asking again at once brings
/// the same answer; somebody has to change something.
const REFUSED_FIRST_WAIT: Duration = Duration::from_secs(10);
/// Longest wait after refusals.
const REFUSED_CAP: Duration = Duration::from_secs(120);
/// First wait while the relay may still hold our own lost tunnel.
const DUPLICATE_FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest one.
const DUPLICATE_CAP: Duration = Duration::from_secs(10);
/// The reference drops a dead tunnel within 75 seconds of a duplicate
/// (`protocol.md` 3.6); after this time it is another machine that has the
/// kites.
const DUPLICATE_PATIENCE: Duration = Duration::from_secs(180);
/// Longest wait after that, since the other machine may go.
const OTHER_MACHINE_CAP: Duration = Duration::from_secs(60);

/// Why a try came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The relay was not reached, or the tunnel was lost.
    Network,
    /// The relay refused all kites.
    Refused,
    /// Another tunnel holds the kites, probably the one that was just lost.
    Duplicate,
}

/// The longest waits for a relay that is not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// During the first ten minutes ([`YOUNG`]).
    pub young: Duration,
    /// After that.
    pub old: Duration,
}

impl Default for Caps {
    fn default() -> Self {
        Self { young: Duration::from_secs(15), old: Duration::from_secs(60) }
    }
}

/// Counts the tries to one relay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    caps: Caps,
    tries: u32,
    trouble_since: Option<Instant>,
}

impl Backoff {
    /// With other caps than the default ones.
    pub fn new(caps: Caps) -> Self {
        Self { caps, ..Self::default() }
    }

    /// Other caps hold from the next wait on.
    pub fn set_caps(&mut self, caps: Caps) {
        self.caps = caps;
    }

    /// Notes that a tunnel that flew for `lived` has ended.
    pub fn tunnel_ended(&mut self, lived: Duration) {
        if lived >= STABLE_AFTER {
            *self = Self::new(self.caps);
        }
    }

    /// Something has changed that may be the cure: the waits are short again.
    pub fn hope(&mut self) {
        self.tries = 0;
    }

    /// How long to wait after a failure. `random` is any number; it spreads
    /// the waits of many agents evenly (full jitter).
    pub fn wait(&mut self, now: Instant, failure: Failure, random: u32) -> Duration {
        let trouble_since = *self.trouble_since.get_or_insert(now);
        let tries = self.tries;
        self.tries = tries.saturating_add(1);
        let trouble = now.saturating_duration_since(trouble_since);
        let doubled = |first: Duration| first.saturating_mul(1 << tries.min(16));
        // Between half and all of it: refusals come soon enough.
        let upper_half = |most: Duration| most / 2 + fraction(most / 2, random);
        match failure {
            Failure::Network => {
                let cap = if trouble < YOUNG { self.caps.young } else { self.caps.old };
                fraction(doubled(FIRST_WAIT).min(cap), random)
            }
            Failure::Refused => upper_half(doubled(REFUSED_FIRST_WAIT).min(REFUSED_CAP)),
            Failure::Duplicate if trouble >= DUPLICATE_PATIENCE => upper_half(OTHER_MACHINE_CAP),
            Failure::Duplicate => upper_half(doubled(DUPLICATE_FIRST_WAIT).min(DUPLICATE_CAP)),
        }
    }
}

/// From nothing to `most`, as `random` falls, in milliseconds. In integers: floating point
/// and its formatting are 20 KB in the binary of a processor that has none.
pub(crate) fn fraction(most: Duration, random: u32) -> Duration {
    let most = most.as_secs().saturating_mul(1000) + u64::from(most.subsec_millis());
    Duration::from_millis(most.saturating_mul(u64::from(random)) / u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YOUNG_CAP: Duration = Duration::from_secs(15);
    const OLD_CAP: Duration = Duration::from_secs(60);

    fn long_trouble(tries: u32, now: Instant) -> Backoff {
        Backoff { tries, trouble_since: Some(now), ..Backoff::default() }
    }

    #[test]
    fn the_first_retry_is_quick_and_the_waits_grow_to_the_cap() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let wait = backoff.wait(now, Failure::Network, u32::MAX);
            assert!(wait >= last && wait <= YOUNG_CAP);
            last = wait;
        }
        assert_eq!(last, YOUNG_CAP);
        let later = now + YOUNG;
        assert_eq!(backoff.wait(later, Failure::Network, u32::MAX), OLD_CAP);
        assert_eq!(Backoff::default().wait(now, Failure::Network, u32::MAX), FIRST_WAIT);
    }

    #[test]
    fn waits_are_spread_over_their_whole_range() {
        let now = Instant::now();
        for random in [0, u32::MAX / 2, u32::MAX] {
            let mut backoff = long_trouble(30, now);
            let wait = backoff.wait(now, Failure::Network, random);
            let wanted = YOUNG_CAP.as_secs_f64() * f64::from(random) / f64::from(u32::MAX);
            assert!((wait.as_secs_f64() - wanted).abs() <= 0.001);
        }
    }

    #[test]
    fn a_short_lived_tunnel_does_not_reset_the_count() {
        let now = Instant::now();
        let mut backoff = long_trouble(10, now);
        backoff.tunnel_ended(STABLE_AFTER / 2);
        assert_eq!(backoff.wait(now, Failure::Network, u32::MAX), YOUNG_CAP);
        backoff.tunnel_ended(STABLE_AFTER);
        assert_eq!(backoff.wait(now, Failure::Network, u32::MAX), FIRST_WAIT);
    }

    #[test]
    fn a_refused_agent_does_not_hammer() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..6).map(|_| backoff.wait(now, Failure::Refused, 0)).collect();
        assert!(waits[0] >= REFUSED_FIRST_WAIT / 2);
        assert_eq!(waits[5], REFUSED_CAP / 2);
    }

    #[test]
    fn a_duplicate_is_asked_for_soon_while_it_may_be_our_own_lost_tunnel() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let first = backoff.wait(now, Failure::Duplicate, u32::MAX);
        assert_eq!(first, DUPLICATE_FIRST_WAIT);
        for _ in 0..10 {
            assert!(backoff.wait(now, Failure::Duplicate, u32::MAX) <= DUPLICATE_CAP);
        }
        let later = now + DUPLICATE_PATIENCE;
        assert_eq!(backoff.wait(later, Failure::Duplicate, u32::MAX), OTHER_MACHINE_CAP);
    }

    #[test]
    fn hope_makes_the_waits_short_again() {
        let now = Instant::now();
        let mut backoff = long_trouble(10, now);
        backoff.hope();
        assert_eq!(backoff.wait(now, Failure::Network, u32::MAX), FIRST_WAIT);
    }
}
