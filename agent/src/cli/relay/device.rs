//! The lines that go on the device of a new kite: an rc file as it stands, so
//! that it can be copied or sent there as a whole.

use std::fmt::Write as _;

use super::visitors;
use crate::config::{Grant, RelaySettings};

/// Port of tunnels with TLS, and of those in clear, where the relay has them.
pub(super) const TLS_PORT: u16 = 443;
pub(super) const CLEAR_PORT: u16 = 80;
/// Stands where nothing tells the name of the relay.
const UNKNOWN_HOST: &str = "RELAY";

/// The rc file for the agent with the kite of `grant`, whose secret is
/// `secret`; `pin` is that of a certificate that nobody vouches for.
pub(super) fn lines(
    settings: &RelaySettings,
    pin: Option<&str>,
    grant: &Grant,
    secret: &str,
) -> String {
    let name = &grant.domain;
    let mut text =
        String::from("# For the device: /etc/kitelet.d/10_account.rc, then chmod 600 that file.\n");
    let way = Way::to(settings, pin, name);
    if let Some(parent) = way.any_below {
        let _ = writeln!(text, "# Any name below {parent} that leads to the relay will do.");
    }
    if way.host == UNKNOWN_HOST {
        text.push_str("# Write the address of the relay.\n");
    }
    let _ = writeln!(text, "frontend = {}:{}", way.host, way.port);
    if way.is_plain {
        text.push_str("# The relay has no certificate: everything goes in clear.\nnossl\n");
    } else {
        let _ = writeln!(text, "fe_certname = {}", way.certificate_name());
    }
    let _ = writeln!(text, "kitename = {name}\nkitesecret = {secret}");
    text.push_str("# What to publish; mend the ports, remove what is not wanted.\n");
    for (protocol, port) in &grant.protocols {
        let written = port.map_or(protocol.clone(), |port| format!("{protocol}-{port}"));
        let _ = match (protocol.as_str(), port) {
            ("http", _) => {
                writeln!(text, "service_on = {written}:@kitename:localhost:80:@kitesecret")
            }
            // SSH is what raw is wanted for mostly.
            ("raw", None) => {
                writeln!(text, "service_on = raw-22:@kitename:localhost:22:@kitesecret")
            }
            ("raw", Some(port)) => {
                writeln!(text, "service_on = {written}:@kitename:localhost:{port}:@kitesecret")
            }
            ("https", _) => {
                writeln!(text, "#service_on = {written}:@kitename:localhost:443:@kitesecret")
            }
            // They come with http, and serve special wishes on their own.
            ("websocket" | "http2" | "http3", _) => Ok(()),
            _ => writeln!(text, "#service_on = {written}:@kitename:localhost:PORT:@kitesecret"),
        };
    }
    visitors::lines(&mut text, settings, &way, grant);
    text
}

/// How agents, and visitors of raw kites, come to the relay.
pub(super) struct Way<'a> {
    pub(super) host: String,
    pub(super) port: u16,
    /// The relay has no TLS.
    pub(super) is_plain: bool,
    /// Pin of a certificate that nobody vouches for.
    pub(super) pin: Option<&'a str>,
    /// `host` is one of many names below this one.
    any_below: Option<&'a str>,
}

impl<'a> Way<'a> {
    fn to(settings: &'a RelaySettings, pin: Option<&'a str>, kite: &str) -> Self {
        let certificate = settings.default_certificate.as_deref();
        let any_below = certificate.and_then(|name| name.strip_prefix("*."));
        let host = match (certificate, any_below, kite.strip_prefix("*.")) {
            (_, Some(parent), _) | (None, None, Some(parent)) => format!("relay.{parent}"),
            (Some(name), None, _) => name.to_owned(),
            // The DNS name of a kite leads to its relay.
            (None, None, None) if kite.contains('.') => kite.to_owned(),
            (None, None, None) => UNKNOWN_HOST.to_owned(),
        };
        let is_plain = certificate.is_none();
        let port = port(settings, if is_plain { CLEAR_PORT } else { TLS_PORT });
        Self { host, port, is_plain, pin, any_below }
    }

    /// The name that the certificate has to show, `NAME[/PIN]`.
    pub(super) fn certificate_name(&self) -> String {
        match self.pin {
            Some(pin) => format!("{}/{pin}", self.host),
            None => self.host.clone(),
        }
    }
}

/// The port that agents connect to: the usual one if it is there, as it is told
/// to them.
pub(super) fn port(settings: &RelaySettings, usual: u16) -> u16 {
    let told = |port: &u16| {
        let alias = settings.port_aliases.iter().find(|(from, _)| from == port);
        alias.map_or(*port, |(_, to)| *to)
    };
    let mut ports = settings.ports.iter().map(told);
    let first = ports.clone().next().unwrap_or(usual);
    ports.find(|port| *port == usual).unwrap_or(first)
}
