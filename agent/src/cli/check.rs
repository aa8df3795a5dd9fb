//! `kitelet check`: what a configuration means, without connecting to anything.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use super::run::sources;
use super::{EXIT_STOPPED, Outcome, bad_config, say};
use crate::config::{
    Environment, KiteSettings, Loaded, Origin, Pin, ProxyProtocol, RewriteHost, Security,
    TlsSettings, load, printable,
};

/// Names of a list that are written out; the rest is counted.
const MAX_LISTED: usize = 4;
/// Widest column; longer entries push the next one.
const MAX_COLUMN: usize = 48;

pub(super) fn command(
    config: &[PathBuf],
    environment: &dyn Environment,
    output: &mut dyn Write,
    errors: &mut dyn Write,
) -> Outcome {
    match load(&sources(config), environment) {
        Ok(loaded) => {
            say(output, &describe(&loaded));
            Outcome::Exit(EXIT_STOPPED)
        }
        Err(error) => bad_config(errors, &error),
    }
}

/// A configuration in words: relays, kites, the URL firewall, warnings.
pub fn describe(loaded: &Loaded) -> String {
    let settings = &loaded.settings;
    let mut text = String::from("Relays\n");
    for relay in &settings.relays {
        let _ = writeln!(text, "  {relay}");
    }
    if let Some(pool) = &settings.pool {
        let wanted = pool.wanted + settings.spare_relays;
        let _ = match wanted {
            1 => writeln!(text, "  the fastest of {pool}"),
            _ => writeln!(text, "  the fastest {wanted} of {pool}"),
        };
    }
    let _ = writeln!(text, "  {}", protection(&settings.security));
    if settings.proxy.proxy.is_some() {
        let _ = writeln!(text, "  through the {}, which looks their names up", settings.proxy);
    }
    if settings.websocket {
        text.push_str(
            "  tunnels inside a WebSocket (wschunks), which only Kitelet's relays take\n",
        );
    }
    text.push('\n');

    table(&mut text, &settings.kites);
    firewall(&mut text, &settings.kites);
    if !settings.error_urls.is_empty() {
        text.push('\n');
    }
    for (domain, url) in &settings.error_urls {
        let of = if domain.is_empty() { "every kite" } else { domain };
        let _ = writeln!(text, "Error page of {of}: {url}");
    }
    if loaded.warnings.is_empty() {
        text.push_str("\nThe configuration can be used.");
    } else {
        let _ = write!(
            text,
            "\nThe configuration can be used. Warnings: {}\n{}",
            loaded.warnings.total(),
            loaded.warnings
        );
    }
    text
}

fn protection(security: &Security) -> String {
    let TlsSettings { names, roots } = match security {
        Security::Plain => return "in clear (nossl): anyone on the way can read along".into(),
        Security::Tls(tls) => tls,
    };
    let all_pinned = !names.is_empty() && names.iter().all(|name| name.pin.is_some());
    let names = names.iter().map(|name| match name.pin {
        None => name.name.clone(),
        Some(Pin::CertificateSha1(_)) => format!("{} (one certificate only)", name.name),
        Some(Pin::KeySha256(_)) => format!("{} (one key only)", name.name),
    });
    let names: Vec<String> = names.collect();
    let names = if names.is_empty() { "the relay's own name".to_owned() } else { listed(&names) };
    if all_pinned {
        return format!("TLS; certificate for {names}");
    }
    let roots = match roots {
        Some(path) => printable(&format!("the roots of {}", path.display())),
        None => "the built-in roots".to_owned(),
    };
    format!("TLS; certificate for {names}, checked against {roots}")
}

/// Kites, services and flags in columns.
fn table(text: &mut String, kites: &[KiteSettings]) {
    let head = ["KITE".to_owned(), "SERVICE".into(), "VISITORS".into()];
    let row = |kite: &KiteSettings| {
        let origin = printable(&kite.origin.to_string());
        [kite.id.to_string(), origin, flags(kite)]
    };
    let rows: Vec<[String; 3]> = std::iter::once(head).chain(kites.iter().map(row)).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0).min(MAX_COLUMN)
    };
    let (kite_width, origin_width) = (width(0), width(1));
    for [kite, origin, flags] in &rows {
        let _ = writeln!(text, "{kite:kite_width$}  {origin:origin_width$}  {flags}");
    }
}

/// What is done to the visitors of a kite, in words.
fn flags(kite: &KiteSettings) -> String {
    let flags = &kite.flags;
    let mut words = Vec::new();
    if let Some(name) = &kite.name {
        words.push(format!("named {name}"));
    }
    if kite.url_firewall() {
        words.push("URL firewall on".to_owned());
    } else if kite.id.is_http() {
        words.push("URL firewall off".to_owned());
    }
    if !flags.allowed.is_empty() {
        let ranges: Vec<String> = flags.allowed.iter().map(ToString::to_string).collect();
        words.push(format!("only from {}", listed(&ranges)));
    }
    if !flags.passwords.is_empty() {
        let users: Vec<String> = flags.passwords.iter().map(|(user, _)| printable(user)).collect();
        words.push(format!("password for {}", listed(&users)));
    }
    match &flags.rewrite_host {
        Some(RewriteHost::Name(host)) => words.push(format!("Host becomes {host}")),
        Some(RewriteHost::Origin) => words.push(match &kite.origin {
            Origin::Tcp { host, .. } => format!("Host becomes {host}"),
            Origin::Unix(_) => "Host becomes the service's".to_owned(),
        }),
        None => {}
    }
    if flags.raw_headers {
        words.push("no forwarding headers".to_owned());
    }
    match flags.proxy_protocol {
        Some(ProxyProtocol::V1) => words.push("PROXY header v1".to_owned()),
        Some(ProxyProtocol::V2) => words.push("PROXY header v2".to_owned()),
        None => {}
    }
    if words.is_empty() {
        words.push("as they come".to_owned());
    }
    words.join(", ")
}

/// Says for which kites the URL firewall is on and how to turn it off.
fn firewall(text: &mut String, kites: &[KiteSettings]) {
    let guarded: Vec<&KiteSettings> = kites.iter().filter(|kite| kite.url_firewall()).collect();
    if guarded.is_empty() {
        return;
    }
    text.push_str("\nThe URL firewall refuses requests for admin pages. To turn it off, write\n");
    for kite in guarded {
        let _ = writeln!(
            text,
            "  for {}: service_cfg = {}/{} : insecure : True  (or +insecure)",
            kite.id,
            kite.id.domain(),
            kite.id.port().unwrap_or(80)
        );
    }
}

pub(super) fn listed(names: &[String]) -> String {
    let shown = names.len().min(MAX_LISTED);
    let mut text = names[..shown].join(", ");
    if names.len() > shown {
        let _ = write!(text, " and {} more", names.len() - shown);
    }
    text
}
