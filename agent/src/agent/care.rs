//! When a relay is tried: after a failure, after a loss, and at once when
//! something has changed that may be the cure.
//!
//! The contract: [`Care::next`] says what to do; `begins`, `failed`, `flies`
//! and `ended` tell what came of it; `change` tells of the world outside.

use std::time::{Duration, Instant};

use super::backoff::{Backoff, Caps, Failure};

/// Least time from the begin of one try to the next that a change brings
/// about: a link that flaps must not make a storm.
pub const LEAST_GAP: Duration = Duration::from_secs(1);
/// Least time from one change that makes the waits short again to the next.
const HOPE_GAP: Duration = Duration::from_secs(10);

/// What happened outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// What a try waits for may be there now, as name servers or the right
    /// time; a tunnel that stands is as good as before.
    Hope,
    /// The network is another one, or the machine was suspended.
    Network,
    /// A person, a script or another configuration asks for a try now.
    Asked,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try now.
    Try,
    /// Nothing before this time.
    Wait(Instant),
    /// Nothing: a try or a tunnel is under way.
    Busy,
}

/// One relay, from try to try.
#[derive(Clone, Copy, Debug)]
pub struct Care {
    backoff: Backoff,
    state: State,
    last_try: Option<Instant>,
    last_hope: Option<Instant>,
    /// Tries since the last tunnel that flew.
    tries: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Waiting {
        until: Instant,
        after: Option<Failure>,
    },
    Trying {
        /// Something changed since it began.
        is_outdated: bool,
    },
    Flying {
        since: Instant,
    },
}

impl Care {
    /// The first try is at once.
    pub fn new(now: Instant, caps: Caps) -> Self {
        Self {
            backoff: Backoff::new(caps),
            state: State::Waiting { until: now, after: None },
            last_try: None,
            last_hope: None,
            tries: 0,
        }
    }

    /// What to do now.
    pub fn next(&self, now: Instant) -> Next {
        match self.state {
            State::Waiting { until, .. } if until <= now => Next::Try,
            State::Waiting { until, .. } => Next::Wait(until),
            State::Trying { .. } | State::Flying { .. } => Next::Busy,
        }
    }

    /// Tries since the last tunnel that flew.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// A try begins.
    pub fn begins(&mut self, now: Instant) {
        self.last_try = Some(now);
        self.tries = self.tries.saturating_add(1);
        self.state = State::Trying { is_outdated: false };
    }

    /// The try came to nothing; returns how long to wait. `random` is any
    /// number.
    pub fn failed(&mut self, now: Instant, failure: Failure, random: u32) -> Duration {
        self.count_flight(now);
        let wait = match self.state {
            State::Trying { is_outdated: true } if failure == Failure::Network => {
                self.hope(now);
                self.gap(now)
            }
            _ => self.backoff.wait(now, failure, random),
        };
        self.state = State::Waiting { until: now + wait, after: Some(failure) };
        wait
    }

    /// At least one kite flies, or one more.
    pub fn flies(&mut self, now: Instant) {
        if matches!(self.state, State::Flying { .. }) {
            return;
        }
        self.tries = 0;
        self.state = State::Flying { since: now };
    }

    /// The tunnel has ended; returns how long to wait. `random` is any number.
    pub fn ended(&mut self, now: Instant, failure: Failure, random: u32) -> Duration {
        self.count_flight(now);
        let wait = self.backoff.wait(now, failure, random);
        self.state = State::Waiting { until: now + wait, after: Some(failure) };
        wait
    }

    /// The tunnel was ended here, for a new one to take its place.
    pub fn renewed(&mut self, now: Instant) {
        self.count_flight(now);
        self.state = State::Waiting { until: now + self.gap(now), after: None };
    }

    /// Something has changed. A try that is under way is better begun anew, at
    /// the time that is returned; it counts as failed then.
    pub fn change(&mut self, now: Instant, change: Change) -> Option<Instant> {
        let gap = self.gap(now);
        match &mut self.state {
            State::Waiting { until, after } => {
                // Another network does not make a secret right.
                let may_help = matches!(after, None | Some(Failure::Network));
                if may_help || change == Change::Asked {
                    *until = (*until).min(now + gap);
                    self.hope(now);
                }
                None
            }
            State::Trying { is_outdated } => {
                *is_outdated = true;
                Some(now + gap)
            }
            State::Flying { .. } => None,
        }
    }

    /// A good tunnel that ends lets the count start anew.
    fn count_flight(&mut self, now: Instant) {
        if let State::Flying { since } = self.state {
            self.backoff.tunnel_ended(now.saturating_duration_since(since));
        }
    }

    /// Another configuration has other caps.
    pub fn set_caps(&mut self, caps: Caps) {
        self.backoff.set_caps(caps);
    }

    fn hope(&mut self, now: Instant) {
        let is_due = |last| now.saturating_duration_since(last) >= HOPE_GAP;
        if self.last_hope.is_none_or(is_due) {
            self.last_hope = Some(now);
            self.backoff.hope();
        }
    }

    fn gap(&self, now: Instant) -> Duration {
        let next = self.last_try.map_or(now, |last| last + LEAST_GAP);
        next.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failing(now: Instant, failure: Failure, tries: u32) -> (Care, Instant) {
        let mut care = Care::new(now, Caps::default());
        let mut now = now;
        for _ in 0..tries {
            care.begins(now);
            now += SECOND;
            now += care.failed(now, failure, u32::MAX);
        }
        (care, now)
    }

    #[test]
    fn the_first_try_is_at_once() {
        let now = Instant::now();
        assert_eq!(Care::new(now, Caps::default()).next(now), Next::Try);
    }

    #[test]
    fn a_change_ends_the_wait_for_a_relay_that_is_not_reached() {
        let (mut care, due) = failing(Instant::now(), Failure::Network, 10);
        let now = due - 5 * SECOND;
        assert_eq!(care.next(now), Next::Wait(due));
        assert_eq!(care.change(now, Change::Network), None);
        assert_eq!(care.next(now), Next::Try);
        care.begins(now);
        assert!(care.failed(now + SECOND, Failure::Network, u32::MAX) <= SECOND, "hopes");
    }

    #[test]
    fn another_network_does_not_make_a_secret_right_but_a_person_may() {
        let (mut care, due) = failing(Instant::now(), Failure::Refused, 3);
        let now = due - 3 * SECOND;
        care.change(now, Change::Network);
        assert_eq!(care.next(now), Next::Wait(due));
        care.change(now, Change::Asked);
        assert_eq!(care.next(now), Next::Try);
    }

    #[test]
    fn a_flapping_link_makes_no_storm() {
        let mut now = Instant::now();
        let mut care = Care::new(now, Caps::default());
        let mut tries = 0;
        for _ in 0..1000 {
            care.change(now, Change::Network);
            if care.next(now) == Next::Try {
                care.begins(now);
                care.failed(now, Failure::Network, u32::MAX);
                tries += 1;
            }
            now += SECOND / 10;
        }
        assert!(tries <= 150, "{tries} tries in 100 s");
    }

    #[test]
    fn a_try_that_hangs_begins_anew_after_a_change() {
        let now = Instant::now();
        let mut care = Care::new(now, Caps::default());
        care.begins(now);
        let young = care.change(now + SECOND / 10, Change::Network);
        assert_eq!(young, Some(now + LEAST_GAP), "too young to be given up");
        let old = care.change(now + 5 * SECOND, Change::Network);
        assert_eq!(old, Some(now + 5 * SECOND));
        let wait = care.failed(now + 5 * SECOND, Failure::Network, u32::MAX);
        assert_eq!(wait, Duration::ZERO);
    }

    #[test]
    fn a_relay_that_closes_at_once_is_tried_ever_less() {
        let mut now = Instant::now();
        let mut care = Care::new(now, Caps::default());
        let mut last = Duration::ZERO;
        for _ in 0..10 {
            care.begins(now);
            care.flies(now);
            now += SECOND;
            last = care.ended(now, Failure::Network, u32::MAX);
            now += last;
        }
        assert_eq!(last, Caps::default().young);
        care.begins(now);
        care.flies(now);
        now += 60 * SECOND;
        assert!(care.ended(now, Failure::Network, u32::MAX) <= SECOND);
    }
}
