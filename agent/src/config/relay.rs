//! The lines about the way to the relays: which they are, how the way is
//! protected, what is sent to visitors while a service is away.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::address::{HOST_PORT, host_port, is_host_name};
use super::certificate::certificate_name;
use super::error_url::ErrorUrls;
use super::problem::quoted;
use super::settings::{
    CertificateName, PoolSource, RelayAddress, RelayPool, Security, TlsSettings,
};

/// Port of a relay when none is written (`protocol.md` 2.1).
pub const DEFAULT_RELAY_PORT: u16 = 443;
/// Most relays that a configuration may name.
pub const MAX_RELAYS: usize = 64;
/// Most relays of a pool that may be asked for at the same time.
pub const MAX_WANTED: usize = 16;
/// Most relays of a pool beside those that are asked for.
pub const MAX_SPARE_RELAYS: usize = 4;
/// Most accepted certificate names.
pub const MAX_CERTIFICATE_NAMES: usize = 64;

/// What `defaults` stands for (`protocol.md` 15).
const DEFAULT_POOL: &str = "fe4_152.b5p.us";
const DEFAULT_NAMES: [&str; 8] = [
    "b5p.us",
    "frontends.b5p.us",
    "pagekite.net",
    "pagekite.me",
    "pagekite.com",
    "pagekite.org",
    "testing.is",
    "302.is",
];
const DEFAULT_ERROR_URL: &str = "https://pagekite.net/offline/?";
/// The first label of the pool of a white-label domain.
const WHITE_LABEL_POOL: &str = "fe4_152";

/// The lines so far.
#[derive(Debug, Default)]
pub(super) struct RelayLines {
    relays: Vec<RelayAddress>,
    pool: Option<RelayPool>,
    never: Vec<SocketAddr>,
    names: Vec<CertificateName>,
    roots: Option<PathBuf>,
    plain: bool,
    error_urls: ErrorUrls,
}

impl RelayLines {
    /// `frontend = HOST[:PORT]`.
    pub(super) fn add_relay(&mut self, value: &str) -> Result<(), String> {
        let relay = relay(value)?;
        if !self.relays.contains(&relay) {
            if self.relays.len() >= MAX_RELAYS {
                return Err(format!("more than {MAX_RELAYS} relays; remove some"));
            }
            self.relays.push(relay);
        }
        Ok(())
    }

    /// `frontends = N:NAME:PORT`, or `N:@FILE:PORT` with an absolute path.
    pub(super) fn set_pool(&mut self, value: &str) -> Result<(), String> {
        const SHAPE: &str = "is written COUNT:NAME:PORT, such as 1:relays.example.com:443";
        let (count, pool) = value.split_once(':').ok_or(SHAPE)?;
        let wanted = count.parse::<usize>().ok().filter(|wanted| (1..=MAX_WANTED).contains(wanted));
        let wanted =
            wanted.ok_or_else(|| format!("{SHAPE}; COUNT is a number from 1 to {MAX_WANTED}"))?;
        let (source, port) = match pool.strip_prefix('@') {
            Some(file) => {
                let (path, port) = file.rsplit_once(':').ok_or(SHAPE)?;
                let port = port.parse().ok().filter(|&port| port != 0);
                let port = port.ok_or("ends with a port, such as 1:@/etc/relays:443")?;
                if !path.starts_with('/') {
                    return Err("the path after @ begins with /".into());
                }
                (PoolSource::File(path.into()), port)
            }
            None => {
                let RelayAddress { host, port } = relay(pool)?;
                (PoolSource::Name(host), port)
            }
        };
        self.pool = Some(RelayPool { source, port, wanted });
        Ok(())
    }

    /// `nofrontend = ADDRESS:PORT`.
    pub(super) fn add_never(&mut self, value: &str) -> Result<(), String> {
        let address = value.parse().map_err(|_| {
            "is written ADDRESS:PORT, such as 192.0.2.1:443 or [2001:db8::1]:443".to_owned()
        })?;
        if !self.never.contains(&address) {
            if self.never.len() >= MAX_RELAYS {
                return Err(format!("more than {MAX_RELAYS} addresses; remove some"));
            }
            self.never.push(address);
        }
        Ok(())
    }

    /// `fe_certname = NAME[/PIN]`; an empty value clears the list.
    pub(super) fn add_name(&mut self, value: &str) -> Result<(), String> {
        if value.is_empty() {
            self.names.clear();
            return Ok(());
        }
        let name = certificate_name(value)?;
        self.push_name(name)
    }

    fn push_name(&mut self, name: CertificateName) -> Result<(), String> {
        if !self.names.contains(&name) {
            if self.names.len() >= MAX_CERTIFICATE_NAMES {
                let text = format!("more than {MAX_CERTIFICATE_NAMES} names; remove some");
                return Err(text);
            }
            self.names.push(name);
        }
        Ok(())
    }

    /// `ca_certs = PATH`, already made absolute; `None` for the built-in roots.
    pub(super) fn set_roots(&mut self, path: Option<PathBuf>) {
        self.roots = path;
    }

    /// `nossl`.
    pub(super) fn set_plain(&mut self) {
        self.plain = true;
    }

    /// `defaults`.
    pub(super) fn set_defaults(&mut self) -> Result<(), String> {
        self.pool = Some(hosted_pool(DEFAULT_POOL.into()));
        self.error_urls.set_default(DEFAULT_ERROR_URL.into());
        self.push_default_names()
    }

    /// `whitelabel = DOMAIN`, and `whitelabels`, whose page is on HTTPS.
    pub(super) fn set_white_label(&mut self, domain: &str, https: bool) -> Result<(), String> {
        if !is_host_name(domain) {
            return Err(format!("{} is no DNS name; write example.com", quoted(domain)));
        }
        let domain = domain.to_ascii_lowercase();
        self.pool = Some(hosted_pool(format!("{WHITE_LABEL_POOL}.{domain}")));
        let scheme = if https { "https" } else { "http" };
        self.error_urls.set_default(format!("{scheme}://www.{domain}/offline/?"));
        for name in [format!("fe.{domain}"), domain] {
            self.push_name(CertificateName { name, pin: None })?;
        }
        self.push_default_names()
    }

    fn push_default_names(&mut self) -> Result<(), String> {
        for name in DEFAULT_NAMES {
            self.push_name(CertificateName { name: name.into(), pin: None })?;
        }
        Ok(())
    }

    /// `errorurl`.
    pub(super) fn set_error_url(&mut self, value: &str) -> Result<(), String> {
        self.error_urls.set(value)
    }

    /// Forgets which relays there are and how they are protected, because the
    /// command line says it anew.
    pub(super) fn forget_relays(&mut self) {
        self.relays.clear();
        self.pool = None;
        self.roots = None;
        self.forget_names();
    }

    /// Forgets what the relay's certificate has to show.
    pub(super) fn forget_names(&mut self) {
        self.names.clear();
        self.plain = false;
    }

    /// Whether relays of pagekite.net or of a white label are among the
    /// relays; they run PageKite.
    pub(super) fn has_pagekites_pool(&self) -> bool {
        self.pool.as_ref().is_some_and(|pool| match &pool.source {
            PoolSource::Name(name) => name.starts_with(WHITE_LABEL_POOL),
            PoolSource::File(_) => false,
        })
    }

    /// Whether certificate names are set that `nossl` leaves unused.
    pub(super) fn names_without_tls(&self) -> bool {
        self.plain && !self.names.is_empty()
    }

    /// The first relay that is an address and for which no certificate name
    /// is set.
    pub(super) fn address_without_name(&self) -> Option<&RelayAddress> {
        let unnamed = !self.plain && self.names.is_empty();
        let is_address = |relay: &&RelayAddress| relay.host.parse::<std::net::IpAddr>().is_ok();
        self.relays.iter().find(is_address).filter(|_| unnamed)
    }

    /// The relays and how the way to them is protected.
    pub(super) fn finish(self) -> Relays {
        let security = if self.plain {
            Security::Plain
        } else {
            Security::Tls(TlsSettings { names: self.names, roots: self.roots })
        };
        let error_urls = self.error_urls.finish();
        Relays { fixed: self.relays, pool: self.pool, never: self.never, security, error_urls }
    }
}

/// What the lines mean.
#[derive(Debug)]
pub(super) struct Relays {
    pub(super) fixed: Vec<RelayAddress>,
    pub(super) pool: Option<RelayPool>,
    pub(super) never: Vec<SocketAddr>,
    pub(super) security: Security,
    pub(super) error_urls: Vec<(String, String)>,
}

/// One relay of a hosted service.
fn hosted_pool(name: String) -> RelayPool {
    RelayPool { source: PoolSource::Name(name), port: DEFAULT_RELAY_PORT, wanted: 1 }
}

fn relay(text: &str) -> Result<RelayAddress, String> {
    let (host, port) = host_port(text, Some(DEFAULT_RELAY_PORT))
        .ok_or_else(|| format!("{} {HOST_PORT}", quoted(text)))?;
    let host = host.to_ascii_lowercase();
    Ok(RelayAddress { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_add_up_and_the_last_pool_holds() {
        let mut lines = RelayLines::default();
        for value in ["a.example.com", "[2001:db8::1]:8443", "A.example.com:443"] {
            lines.add_relay(value).expect(value);
        }
        lines.set_pool("1:one.example.com:443").expect("pool");
        lines.set_pool("2:two.example.com").expect("pool");
        let Relays { fixed, pool, security, .. } = lines.finish();
        let relays: Vec<_> = fixed.iter().map(ToString::to_string).collect();
        assert_eq!(relays, ["a.example.com:443", "[2001:db8::1]:8443"]);
        let pool = pool.expect("the last one");
        assert_eq!((pool.to_string().as_str(), pool.wanted), ("two.example.com:443", 2));
        let names = Vec::new();
        assert_eq!(security, Security::Tls(TlsSettings { names, roots: None }));
    }

    #[test]
    fn a_pool_may_be_a_file() {
        let mut lines = RelayLines::default();
        lines.set_pool("3:@/etc/relays:8443").expect("a file");
        let pool = lines.finish().pool.expect("a pool");
        assert_eq!(pool.to_string(), "@/etc/relays:8443");
        assert_eq!(pool.wanted, 3);
    }

    #[test]
    fn names_add_up_and_an_empty_one_clears_them() {
        let mut lines = RelayLines::default();
        lines.set_defaults().expect("defaults");
        assert_eq!(lines.names.len(), DEFAULT_NAMES.len());
        lines.add_name("").expect("clear");
        lines.add_name("Relay.Example.com").expect("name");
        lines.add_name("relay.example.com").expect("again");
        assert_eq!(lines.names.len(), 1);
        assert_eq!(lines.names[0].name, "relay.example.com");
    }

    #[test]
    fn white_labels_name_their_own_relays() {
        let mut lines = RelayLines::default();
        lines.set_white_label("Example.com", true).expect("domain");
        assert_eq!(lines.names[0].name, "fe.example.com");
        let Relays { pool, error_urls, .. } = lines.finish();
        assert_eq!(error_urls[0].1, "https://www.example.com/offline/?");
        assert_eq!(pool.expect("a pool").to_string(), "fe4_152.example.com:443");
    }

    #[test]
    fn refuses_in_words() {
        let mut lines = RelayLines::default();
        assert!(lines.set_pool("@/etc/relays:443").is_err());
        assert!(lines.set_pool("1:@etc/relays:443").is_err());
        assert!(lines.set_pool("1:@/etc/relays").is_err());
        assert!(lines.set_pool("0:relay:443").is_err());
        assert!(lines.set_pool("17:relay:443").is_err());
        assert!(lines.add_never("relay:443").is_err());
        assert!(lines.set_pool("x:relay:443").is_err());
        assert!(
            lines.add_relay("2001:db8::1").is_err_and(|text| text.contains("[2001:db8::1]:443"))
        );
        assert!(lines.add_name("a b").is_err());
    }

    #[test]
    fn clear_text_is_for_who_asks_for_it() {
        let mut lines = RelayLines::default();
        lines.add_relay("192.0.2.1:443").expect("relay");
        assert!(lines.address_without_name().is_some());
        lines.set_plain();
        assert!(lines.address_without_name().is_none());
        lines.add_name("x.example.com").expect("name");
        assert!(lines.names_without_tls());
        assert_eq!(lines.finish().security, Security::Plain);
    }
}
