//! The lines about the way to the relays: which they are, how the way is
//! protected, what is sent to visitors while a service is away.

use std::path::PathBuf;

use super::address::{HOST_PORT, host_port, is_host_name};
use super::certificate::certificate_name;
use super::error_url::ErrorUrls;
use super::problem::quoted;
use super::settings::{CertificateName, RelayAddress, Security, TlsSettings};

/// Port of a relay when none is written (`protocol.md` 2.1).
pub const DEFAULT_RELAY_PORT: u16 = 443;
/// Most relays that a configuration may name.
pub const MAX_RELAYS: usize = 64;
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
    pool: Option<RelayAddress>,
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

    /// `frontends = N:NAME:PORT`.
    pub(super) fn set_pool(&mut self, value: &str) -> Result<(), String> {
        const SHAPE: &str = "is written COUNT:NAME:PORT, such as 1:relays.example.com:443";
        let (count, pool) = value.split_once(':').ok_or(SHAPE)?;
        if count.parse::<u16>().is_err() {
            return Err(SHAPE.into());
        }
        if pool.starts_with('@') {
            return Err("relays are not read from a file of addresses; write one line \
                 frontend = ADDRESS:PORT for each"
                .into());
        }
        self.pool = Some(relay(pool)?);
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
        self.pool = Some(RelayAddress { host: DEFAULT_POOL.into(), port: DEFAULT_RELAY_PORT });
        self.error_urls.set_default(DEFAULT_ERROR_URL.into());
        self.push_default_names()
    }

    /// `whitelabel = DOMAIN`, and `whitelabels`, whose page is on HTTPS.
    pub(super) fn set_white_label(&mut self, domain: &str, https: bool) -> Result<(), String> {
        if !is_host_name(domain) {
            return Err(format!("{} is no DNS name; write example.com", quoted(domain)));
        }
        let domain = domain.to_ascii_lowercase();
        self.pool = Some(RelayAddress {
            host: format!("{WHITE_LABEL_POOL}.{domain}"),
            port: DEFAULT_RELAY_PORT,
        });
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
        self.pool.as_ref().is_some_and(|pool| pool.host.starts_with(WHITE_LABEL_POOL))
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
        self.relays.iter().chain(&self.pool).find(is_address).filter(|_| unnamed)
    }

    /// The relays, each once, and how the way to them is protected.
    pub(super) fn finish(self) -> (Vec<RelayAddress>, Security, Vec<(String, String)>) {
        let mut relays = self.relays;
        if let Some(pool) = self.pool.filter(|pool| !relays.contains(pool)) {
            relays.push(pool);
        }
        let security = if self.plain {
            Security::Plain
        } else {
            Security::Tls(TlsSettings { names: self.names, roots: self.roots })
        };
        (relays, security, self.error_urls.finish())
    }
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
        let (relays, security, _) = lines.finish();
        let relays: Vec<_> = relays.iter().map(ToString::to_string).collect();
        assert_eq!(relays, ["a.example.com:443", "[2001:db8::1]:8443", "two.example.com:443"]);
        let names = Vec::new();
        assert_eq!(security, Security::Tls(TlsSettings { names, roots: None }));
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
        let (relays, _, error_urls) = lines.finish();
        assert_eq!(error_urls[0].1, "https://www.example.com/offline/?");
        assert_eq!(relays[0].to_string(), "fe4_152.example.com:443");
    }

    #[test]
    fn refuses_in_words() {
        let mut lines = RelayLines::default();
        assert!(lines.set_pool("@/etc/relays:443").is_err());
        assert!(lines.set_pool("1:@/etc/relays:443").is_err());
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
        assert_eq!(lines.finish().1, Security::Plain);
    }
}
