//! Whether a configuration that was read while the agent runs reaches a relay.
//! If it does not, the one before returns: who mends a machine through the
//! tunnel that the configuration is about must not lock himself out.

use std::time::{Duration, Instant};

/// How long no relay is reached before the configuration before returns.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// A tunnel that was lost this recently shows that relays could be reached by
/// the configuration before. When none was, that one is no better.
pub const RECENTLY: Duration = Duration::from_secs(600);

/// Watches over one configuration at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trial {
    /// Since when a new configuration is tried.
    since: Option<Instant>,
    /// Something flew when it was judged last.
    flew: bool,
    /// Since when nothing flies.
    down_since: Option<Instant>,
    /// When anything flew last.
    last_flight: Option<Instant>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to judge, or not before this time.
    Open(Option<Instant>),
    /// The new configuration reaches a relay.
    Good,
    /// It does not: the one before is to return.
    Bad,
}

impl Trial {
    /// A new configuration holds from now on; false when there is nothing to
    /// return to, because the one before reached no relay either.
    pub fn begin(&mut self, now: Instant) -> bool {
        let is_recent = |last| now.saturating_duration_since(last) <= RECENTLY;
        let is_on = self.last_flight.is_some_and(is_recent);
        self.since = is_on.then_some(now);
        // The clock starts with the new configuration.
        self.down_since = None;
        is_on
    }

    /// Judges. `flies` while any tunnel flies, `flies_anew` when one of them
    /// was made by the new configuration, `is_awaited` while one is still to be
    /// made anew for it.
    pub fn judge(
        &mut self,
        now: Instant,
        flies: bool,
        flies_anew: bool,
        is_awaited: bool,
    ) -> Verdict {
        if flies || self.flew {
            // The loss is told when it happens, so it flew until now.
            self.last_flight = Some(now);
        }
        self.flew = flies;
        if flies {
            self.down_since = None;
        }
        let Some(since) = self.since else { return Verdict::Open(None) };
        let settled = since + PATIENCE;
        // Where nothing has to be made anew, there is nothing to wait for: an
        // outage weeks later says nothing about this configuration.
        if flies_anew || flies && !is_awaited && now >= settled {
            self.since = None;
            return Verdict::Good;
        }
        if flies {
            // Tunnels of the configuration before say nothing of this one.
            return Verdict::Open((!is_awaited).then_some(settled));
        }
        let end = *self.down_since.get_or_insert(now) + PATIENCE;
        if now < end {
            return Verdict::Open(Some(end));
        }
        self.since = None;
        Verdict::Bad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_configuration_that_reaches_no_relay_goes() {
        let now = Instant::now();
        let mut trial = Trial::default();
        trial.judge(now, true, false, true);
        assert!(trial.begin(now));
        assert_eq!(trial.judge(now, false, false, true), Verdict::Open(Some(now + PATIENCE)));
        assert_eq!(trial.judge(now + PATIENCE, false, false, true), Verdict::Bad);
        assert_eq!(trial.judge(now + PATIENCE, false, false, true), Verdict::Open(None));
    }

    #[test]
    fn one_that_does_stays_whatever_comes_later() {
        let now = Instant::now();
        let mut trial = Trial::default();
        trial.judge(now, true, false, true);
        trial.begin(now);
        assert_eq!(trial.judge(now, true, true, true), Verdict::Good);
        assert_eq!(trial.judge(now + 10 * PATIENCE, false, false, true), Verdict::Open(None));
    }

    #[test]
    fn a_tunnel_from_before_proves_nothing_and_its_loss_starts_the_clock() {
        let now = Instant::now();
        let mut trial = Trial::default();
        trial.judge(now, true, false, true);
        trial.begin(now);
        assert_eq!(trial.judge(now + 5 * PATIENCE, true, false, true), Verdict::Open(None));
        let lost = now + 6 * PATIENCE;
        assert_eq!(trial.judge(lost, false, false, true), Verdict::Open(Some(lost + PATIENCE)));
        assert_eq!(trial.judge(lost + PATIENCE, false, false, true), Verdict::Bad);
    }

    #[test]
    fn what_changes_no_tunnel_is_good_when_it_has_settled() {
        let now = Instant::now();
        let mut trial = Trial::default();
        trial.judge(now, true, false, false);
        trial.begin(now);
        let open = Verdict::Open(Some(now + PATIENCE));
        assert_eq!(trial.judge(now, true, false, false), open);
        assert_eq!(trial.judge(now + PATIENCE, true, false, false), Verdict::Good);
        let outage = now + 100 * PATIENCE;
        assert_eq!(trial.judge(outage, false, false, false), Verdict::Open(None));
    }

    #[test]
    fn a_tunnel_that_flew_quietly_until_now_is_a_recent_one() {
        let now = Instant::now();
        let mut trial = Trial::default();
        trial.judge(now, true, false, false);
        let lost = now + 10 * RECENTLY;
        trial.judge(lost, false, false, false);
        assert!(trial.begin(lost + SECOND));
    }

    #[test]
    fn nothing_returns_when_nothing_flew_before() {
        let now = Instant::now();
        let mut trial = Trial::default();
        assert!(!trial.begin(now));
        trial.judge(now, true, false, true);
        assert!(!trial.begin(now + RECENTLY + SECOND));
    }
}
