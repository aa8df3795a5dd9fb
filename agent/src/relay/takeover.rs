//! What becomes of the old tunnel when its kites are asked for on a new one.
//!
//! The reference closes the tunnel that Replace names before it has checked
//! anything, so that whoever overhears a session id grounds the kites
//! (`protocol.md` 3.6). Here Replace counts only for who has just proved to
//! know the secret of a kite that flies there. And where it is missing or out
//! of date, the old tunnel is asked for a sign of life: an agent that lost its
//! tunnel without a word has its kites back at once, not after minutes.

use std::hash::Hash;
use std::time::Duration;

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
    /// To be asked for a sign of life. Any byte that comes after the question is
    /// one, since libpagekite answers a PING without a PONG (`protocol.md` 6);
    /// one that is silent is to be closed.
    pub ask: Vec<T>,
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
        let way = if replaced.contains(&holder) { &mut takeover.close } else { &mut takeover.ask };
        if !way.contains(&holder) {
            way.push(holder);
        }
    }
    takeover
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
        assert_eq!(found.ask, [2]);
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
        assert_eq!(found, Takeover { close: vec![], ask: vec![1, 2] });
    }
}
