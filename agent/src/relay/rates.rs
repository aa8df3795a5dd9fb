//! How much may come from one address: connections at a time and in a span of
//! time, and handshakes that fail.
//!
//! One IPv6 subscriber has a /64 at least, so that is what counts as one
//! address; an IPv4 address inside an IPv6 one counts as IPv4.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use super::windows::Windows;
use crate::config::RelayLimits;

/// An IPv4 address, or a /64 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Neighbourhood {
    /// The address.
    V4(u32),
    /// The upper half of the address.
    V6(u64),
}

impl Neighbourhood {
    /// Where an address is.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6(upper_half(address)),
        }
    }
}

fn upper_half(address: Ipv6Addr) -> u64 {
    let [a, b, c, d, ..] = address.segments().map(u64::from);
    a << 48 | b << 32 | c << 16 | d
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// As many are open from there as may be.
    AtATime,
    /// As many came from there lately as may.
    Lately,
}

/// What came from each address.
#[derive(Debug)]
pub struct AddressRates {
    /// Open connections; no more entries than the relay has connections.
    open: HashMap<Neighbourhood, usize>,
    max_open: usize,
    arrivals: Option<Windows<Neighbourhood>>,
    failures: Windows<Neighbourhood>,
}

impl AddressRates {
    /// Nothing has come yet.
    pub fn new(limits: &RelayLimits) -> Self {
        Self {
            open: HashMap::new(),
            max_open: limits.max_connections,
            arrivals: limits.connection_rate.map(Windows::new),
            failures: Windows::new(limits.failure_rate),
        }
    }

    /// Goes on with other limits, after a reload. What is counted stays.
    pub fn set_limits(&mut self, limits: &RelayLimits) {
        self.max_open = limits.max_connections;
        match (&mut self.arrivals, limits.connection_rate) {
            (Some(arrivals), Some(rate)) => arrivals.set_rate(rate),
            (arrivals, rate) => *arrivals = rate.map(Windows::new),
        }
        self.failures.set_rate(limits.failure_rate);
    }

    /// A connection has come. When it is taken, [`Self::disconnect`] has to
    /// follow once.
    ///
    /// # Errors
    /// There are too many; it is to be closed.
    pub fn connect(&mut self, address: IpAddr, now: Instant) -> Result<(), TooMany> {
        let from = Neighbourhood::of(address);
        let arrivals = self.arrivals.as_mut();
        if arrivals.is_some_and(|arrivals| !arrivals.count(from, now)) {
            return Err(TooMany::Lately);
        }
        // An entry is made for a connection that is taken, and no other.
        let open = self.open.get(&from).copied().unwrap_or(0);
        if open >= self.max_open {
            return Err(TooMany::AtATime);
        }
        self.open.insert(from, open + 1);
        Ok(())
    }

    /// A connection that was taken has ended.
    pub fn disconnect(&mut self, address: IpAddr) {
        let from = Neighbourhood::of(address);
        if let Some(open) = self.open.get_mut(&from) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&from);
            }
        }
    }

    /// Whether agents from there are to be turned away unheard, since too many
    /// of their handshakes failed.
    pub fn is_turned_away(&mut self, address: IpAddr, now: Instant) -> bool {
        self.failures.is_full(Neighbourhood::of(address), now)
    }

    /// A handshake from there failed. True when it is the one with which agents
    /// from there begin to be turned away.
    pub fn handshake_failed(&mut self, address: IpAddr, now: Instant) -> bool {
        let from = Neighbourhood::of(address);
        let was_full = self.failures.is_full(from, now);
        self.failures.count(from, now);
        let is_full = self.failures.is_full(from, now);
        if is_full {
            // Now it counts among those whom no crowd pushes out.
            self.failures.count(from, now);
        }
        is_full && !was_full
    }

    /// A handshake from there succeeded, with no kite refused: what failed
    /// before was a mistake that has been mended, or an agent next door's.
    pub fn handshake_succeeded(&mut self, address: IpAddr) {
        self.failures.clear(Neighbourhood::of(address));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Rate;

    fn limits() -> RelayLimits {
        RelayLimits {
            max_connections: 2,
            failure_rate: Rate { count: 3, seconds: 60 },
            ..RelayLimits::default()
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn neighbours_are_a_network_of_ipv6_and_one_address_of_ipv4() {
        let same =
            |one, other| Neighbourhood::of(address(one)) == Neighbourhood::of(address(other));
        assert!(same("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("::ffff:192.0.2.1", "::ffff:192.0.2.2"), "not all of IPv4 is one /64");
        assert!(!same("::1", "0.0.0.1"));
    }

    #[test]
    fn connections_at_a_time_are_given_back() {
        let (mut rates, now) = (AddressRates::new(&limits()), Instant::now());
        let (here, there) = (address("2001:db8::1"), address("2001:db8:1::1"));
        for host in 1..=2 {
            assert_eq!(rates.connect(address(&format!("2001:db8::{host}")), now), Ok(()));
        }
        assert_eq!(rates.connect(here, now), Err(TooMany::AtATime));
        assert_eq!(rates.connect(there, now), Ok(()));
        rates.disconnect(here);
        assert_eq!(rates.connect(here, now), Ok(()));
        for ended in [here, here, there, there, here] {
            rates.disconnect(ended);
        }
        assert!(rates.open.is_empty());
    }

    #[test]
    fn connections_in_a_span_are_counted_whether_taken_or_not() {
        let rate = Rate { count: 3, seconds: 10 };
        let limits = RelayLimits { connection_rate: Some(rate), ..limits() };
        let (mut rates, now) = (AddressRates::new(&limits), Instant::now());
        let here = address("192.0.2.1");
        let results = [0; 4].map(|_| rates.connect(here, now));
        let (taken, late) = (Ok(()), Err(TooMany::Lately));
        assert_eq!(results, [taken, taken, Err(TooMany::AtATime), late]);
        rates.disconnect(here);
        assert_eq!(rates.connect(here, now), late);
        assert_eq!(rates.connect(here, now + Duration::from_secs(10)), taken);
        assert_eq!(rates.open[&Neighbourhood::of(here)], 2, "one was given back");
    }

    #[test]
    fn who_fails_again_and_again_is_turned_away_for_a_while() {
        let (mut rates, now) = (AddressRates::new(&limits()), Instant::now());
        let (here, there) = (address("192.0.2.1"), address("192.0.2.2"));
        for is_last in [false, false, true] {
            assert!(!rates.is_turned_away(here, now));
            assert_eq!(rates.handshake_failed(here, now), is_last);
        }
        assert!(!rates.handshake_failed(here, now), "one that was under way is no news");
        assert!(rates.is_turned_away(here, now) && !rates.is_turned_away(there, now));
        let later = now + Duration::from_secs(60);
        assert!(!rates.is_turned_away(here, later));
        for _ in 0..3 {
            rates.handshake_failed(here, later);
        }
        rates.handshake_succeeded(here);
        assert!(!rates.is_turned_away(here, later), "one that was under way had the secret");
    }

    #[test]
    fn a_reload_keeps_what_was_counted() {
        let (mut rates, now) = (AddressRates::new(&limits()), Instant::now());
        let here = address("192.0.2.1");
        assert_eq!(rates.connect(here, now), Ok(()));
        for _ in 0..3 {
            rates.handshake_failed(here, now);
        }
        let rate = Some(Rate { count: 1, seconds: 10 });
        rates.set_limits(&RelayLimits { max_connections: 1, connection_rate: rate, ..limits() });
        assert!(rates.is_turned_away(here, now));
        assert_eq!(rates.connect(here, now), Err(TooMany::AtATime));
        rates.set_limits(&limits());
        assert_eq!(rates.connect(here, now), Ok(()));
    }
}
