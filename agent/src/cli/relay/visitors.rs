//! What the owner of a new kite tells its visitors: comments below the lines
//! for the device, commands that work as they stand.

use std::fmt::Write as _;

use super::device::{CLEAR_PORT, TLS_PORT, Way, port};
use crate::config::{Grant, RelaySettings};

/// Port of SSH, which `kitelet ssh-config` takes for granted.
const SSH_PORT: u16 = 22;

/// Adds a comment for each way to the kite of `grant`.
pub(super) fn lines(text: &mut String, settings: &RelaySettings, way: &Way<'_>, grant: &Grant) {
    // A wildcard stands for any name below it.
    let name = match grant.domain.strip_prefix("*.") {
        Some(parent) => format!("box.{parent}"),
        None => grant.domain.clone(),
    };
    if !name.contains('.') {
        return;
    }
    let mut told = String::new();
    for (protocol, kite_port) in &grant.protocols {
        let raw_port = kite_port.unwrap_or(SSH_PORT);
        match protocol.as_str() {
            "http" => {
                let _ = writeln!(told, "#   {}", url(settings, way, &name));
            }
            "raw" if !settings.raw_ports.allows(raw_port) => {}
            "raw" if raw_port == SSH_PORT => {
                let relay = options(way);
                let _ = writeln!(told, "#   kitelet ssh-config {relay} {name} >> ~/.ssh/config");
                let _ = writeln!(told, "#   ssh {name}");
            }
            "raw" => {
                let relay = options(way);
                let _ = writeln!(
                    told,
                    "#   kitelet connect {relay} --listen 127.0.0.1:{raw_port} {name}:{raw_port}"
                );
            }
            _ => {}
        }
    }
    if !told.is_empty() {
        let example = if grant.domain == name { "" } else { " (of one name below, as an example)" };
        let _ = write!(text, "# For visitors{example}:\n{told}");
    }
}

/// The way to the relay on a command line.
fn options(way: &Way<'_>) -> String {
    let mut options = format!("--relay {}:{}", way.host, way.port);
    if way.is_plain {
        options.push_str(" --plain");
    } else if way.pin.is_some() {
        let _ = write!(options, " --relay-certname {}", way.certificate_name());
    }
    options
}

/// With TLS where a certificate that browsers may know is for the name.
fn url(settings: &RelaySettings, way: &Way<'_>, name: &str) -> String {
    let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
    let is_for_it = |held: &str| held == name || Some(held) == wildcard.as_deref();
    let has_tls = settings.certificates.iter().any(|held| is_for_it(&held.name));
    let (scheme, usual) = match has_tls && way.pin.is_none() {
        true => ("https", TLS_PORT),
        false => ("http", CLEAR_PORT),
    };
    match port(settings, usual) {
        port if port == usual => format!("{scheme}://{name}/"),
        port => format!("{scheme}://{name}:{port}/"),
    }
}
