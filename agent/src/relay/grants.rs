//! Which secrets let a kite fly: the lines of the configuration and of the
//! kites file, found by name.
//!
//! The most specific name that has a line for the protocol decides alone: who
//! knows the secret of `*.example.com` cannot fly `box.example.com` when that
//! has a line of its own.

use std::hint::black_box;

use subtle::ConstantTimeEq;

use super::names::{parents, split};
use crate::config::Grant;
use crate::wire::{KiteId, KiteRequest, Secret};

/// Stands for the secret of a name that nobody has, so that a refusal takes as
/// long as that of a wrong signature. As long as usual secrets are.
const NOBODY: &[u8] = b"no kite's secret";

/// All grants. To find one costs about the logarithm of their number.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// Sorted by what [`split`] says of the domain; those of one domain stay
    /// in the order of the configuration.
    lines: Vec<Grant>,
}

impl Grants {
    /// Takes the lines of the configuration and of the kites file.
    pub fn new(lines: impl IntoIterator<Item = Grant>) -> Self {
        let mut lines: Vec<_> = lines.into_iter().collect();
        lines.sort_by(|one, other| split(&one.domain).cmp(&split(&other.domain)));
        Self { lines }
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no line at all.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines that decide about `kite`: those of its own name, or else of
    /// the closest wildcard above it while two labels remain; of these the ones
    /// with its port, or else the ones without a port, which are for every
    /// port. A wildcard kite and `unknown` need a line of just that name, or a
    /// wider wildcard.
    pub fn find(&self, kite: &KiteId) -> GrantsFor<'_> {
        let name = split(kite.domain());
        let wildcards = parents(name.1).map(|parent| (true, parent));
        let found = std::iter::once(name).chain(wildcards).find_map(|name| {
            let lines = self.of_name(name);
            let with = |port: Option<u16>| -> Option<Vec<&Grant>> {
                let fits = |(protocol, of): &(String, Option<u16>)| {
                    protocol == kite.protocol() && *of == port
                };
                let lines = lines.iter().filter(|line| line.protocols.iter().any(fits));
                let lines: Vec<_> = lines.collect();
                (!lines.is_empty()).then_some(lines)
            };
            kite.port().and_then(|port| with(Some(port))).or_else(|| with(None))
        });
        GrantsFor { lines: found.unwrap_or_default() }
    }

    /// Whether `kite`, which flies for who proved to know `secret`, may go on
    /// with these grants: the check after a reload.
    pub fn still_granted(&self, kite: &KiteId, secret: &Secret) -> bool {
        self.find(kite).with_secret(secret).is_some()
    }

    fn of_name(&self, name: (bool, &str)) -> &[Grant] {
        let start = self.lines.partition_point(|line| split(&line.domain) < name);
        let rest = self.lines.get(start..).unwrap_or_default();
        let length = rest.partition_point(|line| split(&line.domain) == name);
        &rest[..length]
    }
}

/// The lines that decide about one kite.
#[derive(Clone, Debug)]
pub struct GrantsFor<'a> {
    lines: Vec<&'a Grant>,
}

impl<'a> GrantsFor<'a> {
    /// Whether no line says anything of the kite.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The line whose secret `request` is signed with, the first of several.
    /// Each secret is tried in constant time and none is left out, and where
    /// there is none a signature is computed all the same. `unix_seconds` is
    /// for agents that put time into their signatures (`protocol.md` 4).
    pub fn verify(&self, request: &KiteRequest, unix_seconds: u64) -> Option<&'a Grant> {
        let mut found = None;
        for &line in &self.lines {
            let fits = request.is_signed_with(line.secret.bytes(), unix_seconds);
            if fits && found.is_none() {
                found = Some(line);
            }
        }
        if self.lines.is_empty() {
            black_box(request.is_signed_with(NOBODY, unix_seconds));
        }
        found
    }

    /// The first line with this secret.
    pub fn with_secret(&self, secret: &Secret) -> Option<&'a Grant> {
        let is_same = |line: &&&Grant| bool::from(line.secret.bytes().ct_eq(secret.bytes()));
        self.lines.iter().find(is_same).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::KiteQuota;
    use crate::wire::Salt;

    fn grant(services: &[(&str, Option<u16>)], domain: &str, secret: &str) -> Grant {
        Grant {
            protocols: services.iter().map(|&(name, port)| (name.to_owned(), port)).collect(),
            domain: domain.to_owned(),
            secret: Secret::new(secret),
            quota: KiteQuota::default(),
        }
    }

    fn http(domain: &str, secret: &str) -> Grant {
        grant(&[("http", None)], domain, secret)
    }

    fn kite(id: &str) -> KiteId {
        id.parse().expect("valid")
    }

    fn signed(id: &str, secret: &str) -> KiteRequest {
        KiteRequest::sign(&kite(id), "salt", "", secret.as_bytes(), Salt::from_random([1; 4]))
    }

    /// The domain of the line by which `id` flies.
    fn verified(grants: &Grants, id: &str, secret: &str) -> Option<String> {
        let found = grants.find(&kite(id)).verify(&signed(id, secret), 0);
        found.map(|line| line.domain.clone())
    }

    #[test]
    fn the_most_specific_name_decides_alone() {
        let grants = Grants::new([
            http("*.b.test", "wide"),
            http("*.a.b.test", "close"),
            http("box.a.b.test", "own"),
        ]);
        let flies = |id, secret| verified(&grants, id, secret).is_some();
        assert!(flies("http:box.a.b.test", "own"));
        assert!(!flies("http:box.a.b.test", "close") && !flies("http:box.a.b.test", "wide"));
        assert!(flies("http:other.a.b.test", "close") && !flies("http:other.a.b.test", "wide"));
        assert!(flies("http:x.b.test", "wide") && flies("http:deep.x.b.test", "wide"));
        assert!(!flies("http:b.test", "wide"), "a wildcard is not its parent");
        assert!(!flies("https:box.a.b.test", "own"), "another protocol");
    }

    #[test]
    fn another_protocol_s_line_does_not_hide_a_wildcard() {
        let grants =
            Grants::new([http("*.b.test", "wide"), grant(&[("https", None)], "x.b.test", "own")]);
        assert_eq!(verified(&grants, "http:x.b.test", "wide").as_deref(), Some("*.b.test"));
        assert_eq!(verified(&grants, "https:x.b.test", "wide"), None);
    }

    #[test]
    fn lines_of_a_port_come_before_lines_of_all_ports() {
        let grants = Grants::new([
            http("a.test", "any"),
            grant(&[("http", Some(8080)), ("raw", Some(22))], "a.test", "port"),
        ]);
        assert!(verified(&grants, "http-8080:a.test", "port").is_some());
        assert!(verified(&grants, "http-8080:a.test", "any").is_none());
        assert!(verified(&grants, "http-81:a.test", "any").is_some());
        assert!(verified(&grants, "http:a.test", "any").is_some());
        assert!(verified(&grants, "http:a.test", "port").is_none(), "one port is not all ports");
        assert!(verified(&grants, "raw-22:a.test", "port").is_some());
        assert!(verified(&grants, "raw-23:a.test", "port").is_none());
    }

    #[test]
    fn all_secrets_of_a_name_are_good() {
        let grants = Grants::new(["one", "two", "three"].map(|secret| http("a.test", secret)));
        for secret in ["one", "two", "three"] {
            assert!(verified(&grants, "http:a.test", secret).is_some(), "{secret}");
        }
        assert!(verified(&grants, "http:a.test", "four").is_none());
    }

    #[test]
    fn wildcards_and_the_catch_all_need_a_line_as_wide() {
        let grants = Grants::new([
            http("*.b.test", "wide"),
            http("a.b.test", "own"),
            http("*.test", "tld"),
            http("*.unknown.test", "below"),
        ]);
        let flies = |id, secret| verified(&grants, id, secret).is_some();
        assert!(flies("http:*.b.test", "wide"));
        assert!(flies("http:*.a.b.test", "wide"), "a narrower one than the line");
        assert!(!flies("http:*.a.b.test", "own"), "a name is no wildcard of it");
        assert!(!flies("http:unknown", "wide") && !flies("http:unknown", "below"));
        assert!(flies("http:*.test", "tld"), "just as it is written");
        assert!(!flies("http:x.test", "tld"), "but it covers nothing");
        let grants = Grants::new([http("unknown", "all")]);
        assert!(verified(&grants, "http:unknown", "all").is_some());
        assert!(verified(&grants, "http:x.test", "all").is_none(), "it is no wildcard");
    }

    #[test]
    fn an_unknown_name_is_refused_even_to_who_knows_the_stand_in() {
        let grants = Grants::new([http("a.test", "s3cret")]);
        assert!(grants.find(&kite("http:b.test")).is_empty());
        let nobody = std::str::from_utf8(NOBODY).expect("text");
        assert_eq!(verified(&grants, "http:b.test", nobody), None);
        assert_eq!(verified(&Grants::default(), "http:a.test", nobody), None);
    }

    #[test]
    fn after_a_reload_a_kite_flies_on_only_with_its_secret() {
        let (id, secret) = (kite("http:box.b.test"), Secret::new("s3cret"));
        let still = |lines: Vec<Grant>| Grants::new(lines).still_granted(&id, &secret);
        assert!(still(vec![http("box.b.test", "s3cret")]));
        assert!(still(vec![http("box.b.test", "new"), http("box.b.test", "s3cret")]));
        assert!(still(vec![http("*.b.test", "s3cret")]), "covered by another line now");
        assert!(!still(vec![http("box.b.test", "new")]));
        assert!(!still(vec![http("*.b.test", "s3cret"), http("box.b.test", "new")]));
        assert!(!still(vec![grant(&[("https", None)], "box.b.test", "s3cret")]));
        assert!(!still(Vec::new()));
    }

    #[test]
    fn a_hundred_thousand_kites_are_quick() {
        let lines = (0..100_000).map(|number| http(&format!("k{number}.kites.test"), "s3cret"));
        let started = Instant::now();
        let grants = Grants::new(lines.chain([http("*.kites.test", "wide")]));
        for number in (0..100_000).step_by(10) {
            let id = kite(&format!("http:k{number}.kites.test"));
            assert!(grants.still_granted(&id, &Secret::new("s3cret")));
        }
        assert!(grants.still_granted(&kite("http:new.kites.test"), &Secret::new("wide")));
        // 10,000 searches of the whole list would take a minute.
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
}
