//! What becomes of the old tunnel when its kites are asked for on a new one.
//!
//! The reference closes the tunnel that Replace names before it has checked
//! anything, so that whoever overhears a session id grounds the kites
//! (`protocol.md` 3.6). Here Replace counts only for who has just proved to
//! know the secret of a kite that flies there. And where it is missing or out
//! of date, the old tunnel is asked for a sign of life: an agent that lost its
//! tunnel without a word has its kites back at once, not after minutes.

use std::hash::Hash;
use std::time::{Duration, Instant};

use super::flights::Flights;
use crate::wire::KiteId;

/// Time for a sign of life where the answer goes in the head of a response:
/// libpagekite waits 2 s for that (`protocol.md` 16).
pub const PROBE_TIME_BEFORE_HEAD: Duration = Duration::from_millis(1500);
/// The same where the answer goes in a frame, for which nobody waits.
pub const PROBE_TIME_BEFORE_FRAME: Duration = Duration::from_secs(5);

/// Which tunnels are in the way of a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover<T> {
    /// To be closed at once, with all their kites.
    pub close: Vec<T>,
    /// To be asked for a sign of life, and the kites that hang on it.
    pub ask: Vec<(T, Vec<KiteId>)>,
}

/// Decides what becomes of the tunnels that fly kites of a new request.
///
/// `proven` are the kites of the request whose secret was proved just now, and
/// no others; `this` is the tunnel that asks, which is never in its own way.
/// `replaced` are the tunnels that its Replace means
/// ([`super::session_ids::SessionIds::replaced`]); one that flies none of the
/// proven kites is left alone.
pub fn takeover<T: Copy + Eq + Hash>(
    flights: &Flights<T>,
    proven: &[KiteId],
    this: T,
    replaced: &[T],
) -> Takeover<T> {
    let mut takeover = Takeover { close: Vec::new(), ask: Vec::new() };
    for kite in proven {
        let Some(holder) = flights.holder(kite).filter(|holder| *holder != this) else { continue };
        if replaced.contains(&holder) {
            if !takeover.close.contains(&holder) {
                takeover.close.push(holder);
            }
        } else if let Some((_, kites)) =
            takeover.ask.iter_mut().find(|(tunnel, _)| *tunnel == holder)
        {
            if !kites.contains(kite) {
                kites.push(kite.clone());
            }
        } else {
            takeover.ask.push((holder, vec![kite.clone()]));
        }
    }
    takeover
}

/// Waits for signs of life of the tunnels in [`Takeover::ask`].
///
/// Send a PING on each, tell what comes of it, and ask again at the time that
/// [`Probe::step`] names or after each piece of news.
#[derive(Clone, Debug)]
pub struct Probe<T> {
    asked: Vec<Asked<T>>,
    end: Instant,
}

#[derive(Clone, Debug)]
struct Asked<T> {
    tunnel: T,
    kites: Vec<KiteId>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Silent,
    Alive,
    Ended,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeStep<T> {
    /// Ask again at this time, if nothing happens before.
    Wait(Instant),
    /// It is over. Close the silent tunnels, then let fly what is not among
    /// the duplicates; another newcomer may have been quicker, and what
    /// [`Flights::add`] says holds.
    Done {
        /// Tunnels that gave no sign of life.
        silent: Vec<T>,
        /// Kites that stay where they are.
        duplicates: Vec<KiteId>,
    },
}

impl<T: Copy + Eq> Probe<T> {
    /// Begins to wait: for `time`, which is one of the two constants of this
    /// module. With nobody to ask it is over at once.
    pub fn new(now: Instant, time: Duration, ask: Vec<(T, Vec<KiteId>)>) -> Self {
        let asked = ask.into_iter().map(|(tunnel, kites)| {
            let state = State::Silent;
            Asked { tunnel, kites, state }
        });
        Self { asked: asked.collect(), end: now + time }
    }

    /// Bytes came on `tunnel`: any byte that comes after the question is a sign
    /// of life, since libpagekite answers a PING without a PONG (`protocol.md`
    /// 6).
    pub fn heard(&mut self, tunnel: T) {
        self.set(tunnel, State::Alive);
    }

    /// `tunnel` has ended by itself.
    pub fn ended(&mut self, tunnel: T) {
        self.set(tunnel, State::Ended);
    }

    /// What to do now.
    pub fn step(&self, now: Instant) -> ProbeStep<T> {
        let with = |state| self.asked.iter().filter(move |asked| asked.state == state);
        if now < self.end && with(State::Silent).next().is_some() {
            return ProbeStep::Wait(self.end);
        }
        ProbeStep::Done {
            silent: with(State::Silent).map(|asked| asked.tunnel).collect(),
            duplicates: with(State::Alive).flat_map(|asked| asked.kites.clone()).collect(),
        }
    }

    fn set(&mut self, tunnel: T, state: State) {
        let asked = self.asked.iter_mut().find(|asked| asked.tunnel == tunnel);
        if let Some(asked) = asked {
            asked.state = state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::flights::Added;
    use super::*;

    const THIS: u32 = 99;

    fn kites(ids: &[&str]) -> Vec<KiteId> {
        ids.iter().map(|id| id.parse().expect("valid")).collect()
    }

    /// Tunnel 1 flies a and b, tunnel 2 flies c.
    fn flights() -> Flights<u32> {
        let mut flights = Flights::new();
        for (id, tunnel) in [("http:a.test", 1), ("http:b.test", 1), ("http:c.test", 2)] {
            assert_eq!(flights.add(&id.parse().expect("valid"), tunnel), Added::New);
        }
        flights
    }

    #[test]
    fn replace_closes_a_tunnel_of_which_one_kite_was_proved() {
        let found = takeover(&flights(), &kites(&["http:a.test", "http:new.test"]), THIS, &[1]);
        assert_eq!(found, Takeover { close: vec![1], ask: vec![] });
        let found = takeover(&flights(), &kites(&["http:a.test", "http:b.test"]), THIS, &[1]);
        assert_eq!(found.close, [1], "once");
    }

    #[test]
    fn an_overheard_session_id_grounds_nobody() {
        let nothing = Takeover { close: vec![], ask: vec![] };
        assert_eq!(takeover(&flights(), &[], THIS, &[1]), nothing, "nothing was proved");
        let found = takeover(&flights(), &kites(&["http:mine.test"]), THIS, &[1]);
        assert_eq!(found, nothing, "another kite was proved");
        let found = takeover(&flights(), &kites(&["http:c.test"]), THIS, &[1]);
        assert_eq!(found.close, [0_u32; 0], "that of another tunnel was");
        assert_eq!(found.ask, [(2, kites(&["http:c.test"]))]);
    }

    #[test]
    fn a_tunnel_is_not_in_its_own_way() {
        let found = takeover(&flights(), &kites(&["http:a.test"]), 1, &[1]);
        assert_eq!(found, Takeover { close: vec![], ask: vec![] });
    }

    #[test]
    fn without_replace_each_holder_is_asked_once() {
        let proven = kites(&["http:a.test", "http:c.test", "http:b.test", "http:a.test"]);
        let found = takeover(&flights(), &proven, THIS, &[]);
        let asked = vec![(1, kites(&["http:a.test", "http:b.test"])), (2, kites(&["http:c.test"]))];
        assert_eq!(found, Takeover { close: vec![], ask: asked });
    }

    #[test]
    fn who_is_silent_loses_and_who_is_alive_keeps_its_kites() {
        let now = Instant::now();
        let ask = vec![(1, kites(&["http:a.test", "http:b.test"])), (2, kites(&["http:c.test"]))];
        let mut probe = Probe::new(now, PROBE_TIME_BEFORE_HEAD, ask);
        let end = now + PROBE_TIME_BEFORE_HEAD;
        assert_eq!(probe.step(now), ProbeStep::Wait(end));
        probe.heard(1);
        probe.heard(7);
        let just_before = end - Duration::from_millis(1);
        assert_eq!(probe.step(just_before), ProbeStep::Wait(end));
        let duplicates = kites(&["http:a.test", "http:b.test"]);
        assert_eq!(probe.step(end), ProbeStep::Done { silent: vec![2], duplicates });
    }

    #[test]
    fn it_is_over_as_soon_as_all_is_known() {
        let now = Instant::now();
        let ask = vec![(1, kites(&["http:a.test"])), (2, kites(&["http:c.test"]))];
        let mut probe = Probe::new(now, PROBE_TIME_BEFORE_FRAME, ask);
        probe.ended(1);
        probe.heard(2);
        let duplicates = kites(&["http:c.test"]);
        assert_eq!(probe.step(now), ProbeStep::Done { silent: vec![], duplicates });
        // It was alive, and has ended since: what it flew is free.
        probe.ended(2);
        let free = ProbeStep::Done { silent: vec![], duplicates: vec![] };
        assert_eq!(probe.step(now), free);
        assert_eq!(Probe::<u32>::new(now, PROBE_TIME_BEFORE_HEAD, vec![]).step(now), free);
    }
}
