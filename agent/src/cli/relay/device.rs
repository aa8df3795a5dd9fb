//! The lines that go on the device of a new kite: an rc file as it stands, so
//! that it can be copied or sent there as a whole.

use std::fmt::Write as _;

use crate::config::{Grant, RelaySettings};

/// Port of tunnels with TLS, and of those in clear, where the relay has them.
const TLS_PORT: u16 = 443;
const CLEAR_PORT: u16 = 80;

/// The rc file for the agent with the kite of `grant`, whose secret is
/// `secret`; `pin` is that of a certificate that nobody vouches for.
pub(super) fn lines(
    settings: &RelaySettings,
    pin: Option<&str>,
    grant: &Grant,
    secret: &str,
) -> String {
    let pin = pin.map(|pin| format!("/sha256:{pin}")).unwrap_or_default();
    let name = &grant.domain;
    let mut text =
        String::from("# For the device: /etc/kitelet.d/10_account.rc, then chmod 600 that file.\n");
    let certificate = settings.default_certificate.as_deref();
    let port = port(settings, if certificate.is_some() { TLS_PORT } else { CLEAR_PORT });
    match certificate {
        Some(wildcard) if wildcard.starts_with("*.") => {
            let parent = &wildcard[2..];
            let _ = writeln!(text, "# Any name below {parent} that leads to the relay will do.");
            let _ = writeln!(text, "frontend = relay.{parent}:{port}");
            let _ = writeln!(text, "fe_certname = relay.{parent}{pin}");
        }
        Some(certificate) => {
            let _ = writeln!(text, "frontend = {certificate}:{port}");
            let _ = writeln!(text, "fe_certname = {certificate}{pin}");
        }
        None => {
            // The DNS name of a kite leads to its relay.
            let _ = match name.strip_prefix("*.") {
                Some(parent) => writeln!(text, "frontend = relay.{parent}:{port}"),
                None if name.contains('.') => writeln!(text, "frontend = {name}:{port}"),
                None => {
                    writeln!(text, "# Write the address of the relay.\nfrontend = RELAY:{port}")
                }
            };
            text.push_str("# The relay has no certificate: everything goes in clear.\nnossl\n");
        }
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
    text
}

/// The port that agents connect to: the usual one if it is there, as it is told
/// to them.
fn port(settings: &RelaySettings, usual: u16) -> u16 {
    let told = |port: &u16| {
        let alias = settings.port_aliases.iter().find(|(from, _)| from == port);
        alias.map_or(*port, |(_, to)| *to)
    };
    let mut ports = settings.ports.iter().map(told);
    let first = ports.clone().next().unwrap_or(usual);
    ports.find(|port| *port == usual).unwrap_or(first)
}
