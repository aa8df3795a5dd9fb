//! Which DNS records to update: those of the kites that fly by other relays
//! than the last update said (`protocol.md` 15). A pure machine.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use litemap::LiteMap;

use super::backoff::fraction;

/// Pause after the first failure, and how often it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(112);
const DOUBLINGS: u32 = 4;

/// The relays that each domain flies by.
pub type Flights = LiteMap<String, Vec<IpAddr>>;

/// What was told of each domain.
#[derive(Debug, Default)]
pub struct DynDns {
    domains: LiteMap<String, Domain>,
}

#[derive(Debug, Default)]
struct Domain {
    wanted: Vec<IpAddr>,
    told: Vec<IpAddr>,
    /// What was refused last.
    refused: Vec<IpAddr>,
    failures: u32,
    not_before: Option<Instant>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Tell that this domain is at these addresses.
    Update(String, Vec<IpAddr>),
    /// Nothing before this time.
    Wait(Instant),
    /// Nothing before other flights.
    Rest,
}

impl DynDns {
    /// Notes which relays the kites fly by now. A domain that flies nowhere
    /// keeps its record: its relays show that it is away.
    pub fn set_flights(&mut self, flights: Flights) {
        for (domain, known) in &mut self.domains {
            if !flights.contains_key(domain) {
                known.wanted.clear();
            }
        }
        // What was told or refused is remembered while the kite is away.
        self.domains.retain(|domain, known| {
            flights.contains_key(domain) || !known.told.is_empty() || known.failures > 0
        });
        for (domain, wanted) in flights {
            let known = self.domains.entry(domain).or_default();
            if known.refused != wanted {
                // Something else is asked for now.
                known.not_before = None;
            }
            known.wanted = wanted;
        }
    }

    /// Somebody else is to be told from now on.
    pub fn forget(&mut self) {
        for (_, known) in self.domains.iter_mut() {
            let wanted = std::mem::take(&mut known.wanted);
            *known = Domain { wanted, ..Domain::default() };
        }
    }

    /// What to do now; one update at a time.
    pub fn next(&self, now: Instant) -> Next {
        let due = |known: &&Domain| !known.wanted.is_empty() && known.wanted != known.told;
        let mut wait: Option<Instant> = None;
        for (domain, known) in self.domains.iter().filter(|(_, known)| due(known)) {
            match known.not_before.filter(|time| *time > now) {
                None => return Next::Update(domain.clone(), known.wanted.clone()),
                Some(time) => wait = Some(wait.map_or(time, |wait| wait.min(time))),
            }
        }
        wait.map_or(Next::Rest, Next::Wait)
    }

    /// The update was taken.
    pub fn taken(&mut self, domain: &str, addresses: Vec<IpAddr>) {
        if let Some(known) = self.domains.get_mut(domain) {
            known.told = addresses;
            known.refused.clear();
            known.failures = 0;
            known.not_before = None;
        }
    }

    /// It was not; returns how long to wait. `random` is any number.
    pub fn failed(
        &mut self,
        now: Instant,
        domain: &str,
        addresses: Vec<IpAddr>,
        random: u32,
    ) -> Duration {
        let Some(known) = self.domains.get_mut(domain) else { return Duration::ZERO };
        let most = FIRST_PAUSE * (1 << known.failures.min(DOUBLINGS));
        let pause = most / 2 + fraction(most / 2, random);
        known.failures = known.failures.saturating_add(1);
        // What is wanted may have changed meanwhile.
        known.refused = addresses;
        known.not_before = Some(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flights(domains: &[(&str, u8)]) -> Flights {
        let entry = |&(domain, last): &(&str, u8)| {
            (domain.to_owned(), vec![IpAddr::from([192, 0, 2, last])])
        };
        domains.iter().map(entry).collect()
    }

    fn update(domain: &str, last: u8) -> Next {
        Next::Update(domain.to_owned(), vec![IpAddr::from([192, 0, 2, last])])
    }

    fn take(dyndns: &mut DynDns, now: Instant) {
        let Next::Update(domain, addresses) = dyndns.next(now) else { panic!("nothing is due") };
        dyndns.taken(&domain, addresses);
    }

    #[test]
    fn only_what_changed_is_told() {
        let now = Instant::now();
        let mut dyndns = DynDns::default();
        dyndns.set_flights(flights(&[("a.test", 1), ("b.test", 1)]));
        assert_eq!(dyndns.next(now), update("a.test", 1));
        take(&mut dyndns, now);
        take(&mut dyndns, now);
        assert_eq!(dyndns.next(now), Next::Rest);
        dyndns.set_flights(flights(&[("a.test", 1), ("b.test", 2)]));
        assert_eq!(dyndns.next(now), update("b.test", 2));
    }

    #[test]
    fn a_lost_tunnel_that_returns_needs_no_update() {
        let now = Instant::now();
        let mut dyndns = DynDns::default();
        dyndns.set_flights(flights(&[("a.test", 1)]));
        take(&mut dyndns, now);
        dyndns.set_flights(Flights::new());
        assert_eq!(dyndns.next(now), Next::Rest);
        dyndns.set_flights(flights(&[("a.test", 1)]));
        assert_eq!(dyndns.next(now), Next::Rest);
    }

    #[test]
    fn a_lost_tunnel_does_not_cut_the_back_off() {
        let now = Instant::now();
        let mut dyndns = DynDns::default();
        dyndns.set_flights(flights(&[("a.test", 1)]));
        let pause = dyndns.failed(now, "a.test", vec![IpAddr::from([192, 0, 2, 1])], u32::MAX);
        dyndns.set_flights(Flights::new());
        dyndns.set_flights(flights(&[("a.test", 1)]));
        assert_eq!(dyndns.next(now), Next::Wait(now + pause));
    }

    #[test]
    fn another_service_is_told_anew() {
        let now = Instant::now();
        let mut dyndns = DynDns::default();
        dyndns.set_flights(flights(&[("a.test", 1)]));
        take(&mut dyndns, now);
        dyndns.forget();
        assert_eq!(dyndns.next(now), update("a.test", 1));
    }

    #[test]
    fn a_failure_holds_up_its_own_domain_only() {
        let now = Instant::now();
        let mut dyndns = DynDns::default();
        dyndns.set_flights(flights(&[("a.test", 1), ("b.test", 1)]));
        let pause = dyndns.failed(now, "a.test", vec![IpAddr::from([192, 0, 2, 1])], u32::MAX);
        assert_eq!(pause, FIRST_PAUSE);
        assert_eq!(dyndns.next(now), update("b.test", 1));
        take(&mut dyndns, now);
        assert_eq!(dyndns.next(now), Next::Wait(now + pause));
        assert_eq!(dyndns.next(now + pause), update("a.test", 1));
        for _ in 0..9 {
            assert!(
                dyndns.failed(now, "a.test", vec![IpAddr::from([192, 0, 2, 1])], u32::MAX)
                    <= Duration::from_secs(1792)
            );
        }
        dyndns.set_flights(flights(&[("a.test", 2), ("b.test", 1)]));
        assert_eq!(dyndns.next(now), update("a.test", 2), "another relay is told at once");
    }
}
