//! Which service a visitor is for (`protocol.md` 13).

use std::rc::Rc;

use crate::config::KiteSettings;

/// Name of the kite that takes whatever no other kite takes.
const CATCH_ALL: &str = "unknown";

/// The kites that serve a visitor, in the order in which their services are to
/// be tried: `http2` and `http3` are PageKite's names for fall-backs of
/// `http`, not versions of HTTP.
pub(super) fn candidates(
    kites: &[Rc<KiteSettings>],
    protocol: &str,
    port: Option<u16>,
    host: &str,
) -> Vec<Rc<KiteSettings>> {
    let fallbacks = match protocol {
        "http" => &["http", "http2", "http3"][..],
        "websocket" => &["websocket", "http", "http2", "http3"],
        only => &[only],
    };
    let host = host.to_ascii_lowercase();
    fallbacks.iter().filter_map(|protocol| best(kites, protocol, port, &host)).cloned().collect()
}

/// The kite of one protocol: of its own port before any port, then the exact
/// name before a wildcard and a close wildcard before a far one, as the relay
/// looks for it; the catch-all last.
fn best<'a>(
    kites: &'a [Rc<KiteSettings>],
    protocol: &str,
    port: Option<u16>,
    host: &str,
) -> Option<&'a Rc<KiteSettings>> {
    let fits = |kite: &&Rc<KiteSettings>| {
        kite.id.protocol() == protocol
            && (kite.id.port().is_none() || kite.id.port() == port)
            && (kite.id.covers(host) || kite.id.domain() == CATCH_ALL)
    };
    kites.iter().filter(fits).max_by_key(|kite| {
        let domain = kite.id.domain();
        // A domain that covers the host is the better the longer it is; the
        // exact one is the longest, since a wildcard's star counts for less.
        let closeness = if domain == host {
            usize::MAX
        } else if domain == CATCH_ALL {
            0
        } else {
            domain.len()
        };
        (domain != CATCH_ALL, kite.id.port().is_some(), closeness)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{KiteFlags, Origin};
    use crate::wire::Secret;

    fn kites(ids: &[&str]) -> Vec<Rc<KiteSettings>> {
        let kite = |id: &&str| {
            Rc::new(KiteSettings {
                id: id.parse().expect("valid"),
                secret: Secret::new(""),
                origin: Origin::Tcp { host: "localhost".to_owned(), port: 80 },
                name: None,
                flags: KiteFlags::default(),
            })
        };
        ids.iter().map(kite).collect()
    }

    fn found(ids: &[&str], protocol: &str, port: u16, host: &str) -> Vec<String> {
        let found = candidates(&kites(ids), protocol, Some(port), host);
        found.iter().map(|kite| kite.id.to_string()).collect()
    }

    #[test]
    fn the_port_s_own_kite_comes_before_the_kite_of_all_ports() {
        let ids = ["http:a.test", "http-8080:a.test"];
        assert_eq!(found(&ids, "http", 8080, "a.test"), ["http-8080:a.test"]);
        assert_eq!(found(&ids, "http", 80, "A.Test"), ["http:a.test"]);
        assert!(found(&["raw-22:a.test"], "raw", 23, "a.test").is_empty());
        let ids = ["http:a.test", "http-8080:*.test"];
        assert_eq!(found(&ids, "http", 8080, "a.test"), ["http-8080:*.test"]);
    }

    #[test]
    fn the_exact_name_comes_before_wildcards_and_these_before_the_catch_all() {
        let ids = ["http:unknown", "http:*.b.test", "http:*.a.b.test", "http:c.a.b.test"];
        assert_eq!(found(&ids, "http", 80, "c.a.b.test"), ["http:c.a.b.test"]);
        assert_eq!(found(&ids, "http", 80, "d.a.b.test"), ["http:*.a.b.test"]);
        assert_eq!(found(&ids, "http", 80, "d.b.test"), ["http:*.b.test"]);
        assert_eq!(found(&ids, "http", 80, "elsewhere"), ["http:unknown"]);
    }

    #[test]
    fn websockets_go_to_http_kites_and_http_has_fall_backs() {
        let ids = ["http3:a.test", "http:a.test"];
        assert_eq!(found(&ids, "websocket", 80, "a.test"), ["http:a.test", "http3:a.test"]);
        assert!(found(&ids, "https", 443, "a.test").is_empty());
    }
}
