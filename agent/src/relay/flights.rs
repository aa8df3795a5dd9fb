//! Which kite flies on which tunnel, and the kite that a visitor is for.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::names::{parents, split};
use crate::wire::{KiteId, MAX_DOMAIN_BYTES};

/// Name of the kite that takes whatever no other kite takes.
pub const CATCH_ALL: &str = "unknown";

/// The protocols of kites that serve a visitor of `protocol`, the best first
/// (`protocol.md` 11). `http2` and `http3` are PageKite's names for fall-backs
/// of `http`, not versions of HTTP.
pub fn protocols_of(protocol: &str) -> Vec<&str> {
    match protocol {
        "http" => vec!["http", "http2", "http3"],
        "websocket" => vec!["websocket", "http", "http2", "http3"],
        only => vec![only],
    }
}

/// All kites that fly. `T` names a tunnel.
#[derive(Debug)]
pub struct Flights<T> {
    names: HashMap<Box<str>, Vec<Flight<T>>>,
    /// Wildcards, by the name without its `*.`.
    wildcards: HashMap<Box<str>, Vec<Flight<T>>>,
    tunnels: HashMap<T, Vec<Arc<KiteId>>>,
}

/// One kite of a name. Those of a name are sorted by protocol and port.
#[derive(Clone, Debug)]
struct Flight<T> {
    kite: Arc<KiteId>,
    tunnel: T,
}

/// What came of letting a kite fly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added<T> {
    /// It flies.
    New,
    /// It flew on this tunnel before, and nothing changed.
    Already,
    /// It flies on another tunnel, which keeps it.
    Duplicate(T),
}

impl<T: Copy + Eq + Hash> Flights<T> {
    /// An empty sky.
    pub fn new() -> Self {
        Self { names: HashMap::new(), wildcards: HashMap::new(), tunnels: HashMap::new() }
    }

    /// Lets `kite` fly on `tunnel`.
    ///
    /// Only the very same kite on another tunnel is a duplicate. To the
    /// reference a wildcard on another tunnel is one as well (`protocol.md`
    /// 3.6); here that would let an agent with `*.example.com` keep away the
    /// agent of `box.example.com`, and nothing is ambiguous: visitors go to the
    /// more specific name.
    pub fn add(&mut self, kite: &KiteId, tunnel: T) -> Added<T> {
        let (is_wildcard, name) = split(kite.domain());
        let names = if is_wildcard { &mut self.wildcards } else { &mut self.names };
        let flights = names.entry(name.into()).or_default();
        match position(flights, kite.protocol(), kite.port()) {
            Ok(found) if flights[found].tunnel == tunnel => Added::Already,
            Ok(found) => Added::Duplicate(flights[found].tunnel),
            Err(place) => {
                let kite = Arc::new(kite.clone());
                self.tunnels.entry(tunnel).or_default().push(Arc::clone(&kite));
                flights.insert(place, Flight { kite, tunnel });
                Added::New
            }
        }
    }

    /// Takes one kite down and returns the tunnel that it flew on.
    pub fn remove(&mut self, kite: &KiteId) -> Option<T> {
        let tunnel = self.take(kite)?;
        if let Some(kites) = self.tunnels.get_mut(&tunnel) {
            kites.retain(|flying| **flying != *kite);
            if kites.is_empty() {
                self.tunnels.remove(&tunnel);
            }
        }
        Some(tunnel)
    }

    /// Takes down all kites of a tunnel that has ended, and returns them.
    pub fn remove_tunnel(&mut self, tunnel: T) -> Vec<Arc<KiteId>> {
        let kites = self.tunnels.remove(&tunnel).unwrap_or_default();
        for kite in &kites {
            self.take(kite);
        }
        kites
    }

    /// The tunnel that flies just this kite.
    pub fn holder(&self, kite: &KiteId) -> Option<T> {
        let (is_wildcard, name) = split(kite.domain());
        let flights = if is_wildcard { &self.wildcards } else { &self.names }.get(name)?;
        let found = position(flights, kite.protocol(), kite.port()).ok()?;
        Some(flights[found].tunnel)
    }

    /// The kites of a tunnel, in the order in which they were added.
    pub fn kites(&self, tunnel: T) -> &[Arc<KiteId>] {
        self.tunnels.get(&tunnel).map_or(&[], Vec::as_slice)
    }

    /// All kites that fly, each with its tunnel, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&KiteId, T)> {
        let all = self.names.values().chain(self.wildcards.values()).flatten();
        all.map(|flight| (&*flight.kite, flight.tunnel))
    }

    /// The kites for a visitor who wants `host`, in lower case, on the public
    /// port `port`; [`protocols_of`] says which protocols. The first is the one
    /// that `protocol.md` 11 wants; the others are its fall-backs, one at most
    /// of each protocol, so that no visitor of a name is ever passed on to the
    /// wildcard of somebody else in the same protocol.
    ///
    /// The name comes before the port: the kite of all ports of a name before a
    /// wildcard kite of just this port. The catch-all kites are looked for only
    /// when no other kite fits.
    pub fn lookup(&self, protocols: &[&str], port: u16, host: &str) -> Vec<(&KiteId, T)> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let found: Vec<_> = protocols
            .iter()
            .filter_map(|protocol| self.best(protocol, port, host))
            .map(|flight| (&*flight.kite, flight.tunnel))
            .collect();
        if !found.is_empty() {
            return found;
        }
        protocols
            .iter()
            .filter_map(|protocol| of_port(self.names.get(CATCH_ALL)?, protocol, port))
            .map(|flight| (&*flight.kite, flight.tunnel))
            .collect()
    }

    fn best(&self, protocol: &str, port: u16, host: &str) -> Option<&Flight<T>> {
        // A longer name is nobody's, and has too many names above it.
        if host.len() > MAX_DOMAIN_BYTES {
            return None;
        }
        let own = self.names.get(host).and_then(|flights| of_port(flights, protocol, port));
        own.or_else(|| {
            parents(host).find_map(|name| of_port(self.wildcards.get(name)?, protocol, port))
        })
    }

    fn take(&mut self, kite: &KiteId) -> Option<T> {
        let (is_wildcard, name) = split(kite.domain());
        let names = if is_wildcard { &mut self.wildcards } else { &mut self.names };
        let flights = names.get_mut(name)?;
        let found = position(flights, kite.protocol(), kite.port()).ok()?;
        let tunnel = flights.remove(found).tunnel;
        if flights.is_empty() {
            names.remove(name);
        }
        Some(tunnel)
    }
}

impl<T: Copy + Eq + Hash> Default for Flights<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The kite of this port, or else the one of all ports.
fn of_port<'a, T>(flights: &'a [Flight<T>], protocol: &str, port: u16) -> Option<&'a Flight<T>> {
    let found =
        position(flights, protocol, Some(port)).or_else(|_| position(flights, protocol, None));
    found.ok().and_then(|found| flights.get(found))
}

fn position<T>(flights: &[Flight<T>], protocol: &str, port: Option<u16>) -> Result<usize, usize> {
    let of =
        |flight: &Flight<T>| (flight.kite.protocol(), flight.kite.port()).cmp(&(protocol, port));
    flights.binary_search_by(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kite(id: &str) -> KiteId {
        id.parse().expect("valid")
    }

    /// Each kite on a tunnel of its own, which is its place in the list.
    fn flights(ids: &[&str]) -> Flights<usize> {
        let mut flights = Flights::new();
        for (tunnel, id) in ids.iter().enumerate() {
            assert_eq!(flights.add(&kite(id), tunnel), Added::New, "{id}");
        }
        flights
    }

    fn found(ids: &[&str], protocol: &str, port: u16, host: &str) -> Vec<String> {
        let flights = flights(ids);
        let found = flights.lookup(&protocols_of(protocol), port, host);
        found.iter().map(|(kite, _)| kite.to_string()).collect()
    }

    #[test]
    fn the_more_specific_name_wins_whoever_came_first() {
        let ids = ["http:unknown", "http:*.b.test", "http:*.a.b.test", "http:c.a.b.test"];
        let mut reversed = ids;
        reversed.reverse();
        for ids in [ids, reversed] {
            assert_eq!(found(&ids, "http", 80, "c.a.b.test"), ["http:c.a.b.test"]);
            assert_eq!(found(&ids, "http", 80, "c.a.b.test."), ["http:c.a.b.test"]);
            assert_eq!(found(&ids, "http", 80, "d.a.b.test"), ["http:*.a.b.test"]);
            assert_eq!(found(&ids, "http", 80, "d.b.test"), ["http:*.b.test"]);
            for host in ["b.test", "elsewhere", "", ".", "unknown", "*"] {
                assert_eq!(found(&ids, "http", 80, host), ["http:unknown"], "{host}");
            }
        }
        assert!(found(&["http:*.test"], "http", 80, "a.test").is_empty(), "two labels remain");
    }

    #[test]
    fn the_port_s_own_kite_comes_first_but_never_before_the_name() {
        let ids = ["http:a.test", "http-8080:a.test", "http-8080:*.b.test", "http:c.b.test"];
        assert_eq!(found(&ids, "http", 8080, "a.test"), ["http-8080:a.test"]);
        assert_eq!(found(&ids, "http", 80, "a.test"), ["http:a.test"]);
        assert_eq!(found(&ids, "http", 8080, "x.b.test"), ["http-8080:*.b.test"]);
        assert_eq!(found(&ids, "http", 8080, "c.b.test"), ["http:c.b.test"]);
        assert!(found(&["raw-22:a.test"], "raw", 23, "a.test").is_empty());
    }

    #[test]
    fn websockets_go_to_http_kites_and_http_has_fall_backs() {
        let ids = ["http3:a.test", "http:a.test", "http:*.a.test", "websocket:unknown"];
        assert_eq!(found(&ids, "websocket", 80, "a.test"), ["http:a.test", "http3:a.test"]);
        assert_eq!(found(&ids, "websocket", 80, "b.test"), ["websocket:unknown"]);
        assert_eq!(
            found(&["http:a.test", "websocket:a.test"], "websocket", 80, "a.test"),
            ["websocket:a.test", "http:a.test"]
        );
        assert!(found(&["websocket:a.test"], "http", 80, "a.test").is_empty());
        assert!(found(&ids, "https", 443, "a.test").is_empty());
    }

    #[test]
    fn only_the_very_same_kite_on_another_tunnel_is_a_duplicate() {
        let mut flights = flights(&["http:a.b.test", "http:*.b.test"]);
        assert_eq!(flights.add(&kite("http:a.b.test"), 0), Added::Already);
        assert_eq!(flights.add(&kite("http:a.b.test"), 7), Added::Duplicate(0));
        assert_eq!(flights.add(&kite("http:*.b.test"), 7), Added::Duplicate(1));
        for id in ["http-80:a.b.test", "https:a.b.test", "http:c.b.test", "http:*.a.b.test"] {
            assert_eq!(flights.add(&kite(id), 7), Added::New, "{id}");
        }
        assert_eq!(flights.kites(7).len(), 4);
        assert_eq!(flights.holder(&kite("http:*.b.test")), Some(1));
        assert_eq!(flights.holder(&kite("http:x.b.test")), None, "covered, not held");
    }

    #[test]
    fn nothing_is_left_of_what_came_down() {
        let mut flights = flights(&["http:a.test"]);
        for id in ["http:*.b.test", "raw-22:a.test"] {
            assert_eq!(flights.add(&kite(id), 0), Added::New);
        }
        assert_eq!(flights.iter().count(), 3);
        assert_eq!(flights.remove(&kite("http:a.test")), Some(0));
        assert_eq!(flights.remove(&kite("http:a.test")), None);
        assert_eq!(flights.kites(0).len(), 2);
        assert_eq!(flights.remove_tunnel(0).len(), 2);
        assert!(flights.remove_tunnel(0).is_empty());
        assert!(flights.names.is_empty() && flights.wildcards.is_empty());
        assert!(flights.tunnels.is_empty());
        assert_eq!(flights.add(&kite("http:a.test"), 1), Added::New, "free for others");
    }

    #[test]
    fn a_host_of_a_megabyte_costs_next_to_nothing() {
        let flights = flights(&["http:*.b.test", "http:unknown"]);
        let host = "a.".repeat(500_000) + "b.test";
        let started = std::time::Instant::now();
        for _ in 0..1000 {
            let found = flights.lookup(&["http"], 80, &host);
            assert_eq!(found[0].0.domain(), CATCH_ALL);
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
}
