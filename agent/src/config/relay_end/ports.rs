//! Where the relay listens and what it offers there: `host`, `ports`,
//! `portalias`, `protos`, `rawports` (features F, `protocol.md` 11).

use std::net::IpAddr;

use super::super::address::port;
use super::super::grammar::TypedLine;
use super::super::nearest::nearest;
use super::super::problem::{Place, Report, quoted};
use super::super::relay_settings::RawPorts;
use super::super::service::PROTOCOLS;
use crate::wire::KiteId;

/// What `ports` is without a line: HTTP and HTTPS. (PageKite listens on 80
/// alone then, where no browser looks first any more.)
pub const DEFAULT_PORTS: [u16; 2] = [80, 443];
/// What `protos` is without a line, in the order in which agents are told
/// (`protocol.md` 3.2).
pub const DEFAULT_PROTOCOLS: [&str; 9] =
    ["http", "http2", "http3", "https", "websocket", "irc", "xmpp", "raw", "minecraft"];
/// Most ports of one line, aliases and dedicated ones included: each is a
/// socket that is polled.
pub const MAX_PORTS: usize = 256;
/// Most addresses to listen on.
pub const MAX_HOSTS: usize = 64;

/// The lines so far.
#[derive(Debug, Default)]
pub(super) struct PortLines {
    hosts: Vec<IpAddr>,
    /// The command line has named an address.
    new_hosts: bool,
    ports: Option<Vec<u16>>,
    aliases: Vec<(u16, u16)>,
    last_alias: Option<Place>,
    protocols: Option<Vec<String>>,
    raw: Option<(RawPorts, Place)>,
}

/// What the lines mean.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) hosts: Vec<IpAddr>,
    pub(super) ports: Vec<u16>,
    pub(super) aliases: Vec<(u16, u16)>,
    pub(super) protocols: Vec<String>,
    pub(super) raw: RawPorts,
}

impl PortLines {
    /// `host = ADDRESS`, more than once; an empty one means every address, and
    /// one of the command line takes the place of those of the files.
    pub(super) fn add_host(&mut self, line: &TypedLine) -> Result<(), String> {
        let typed = line.place.file().is_none();
        if typed && !std::mem::replace(&mut self.new_hosts, true) || line.value.is_empty() {
            self.hosts.clear();
        }
        if line.value.is_empty() {
            return Ok(());
        }
        let bare = line.value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address: IpAddr = bare.unwrap_or(&line.value).parse().map_err(|_| {
            format!(
                "{} is no address; write an address of this machine, such as 192.0.2.1 or \
                 2001:db8::1, or no line to listen on all of them",
                quoted(&line.value)
            )
        })?;
        if !self.hosts.contains(&address) {
            if self.hosts.len() >= MAX_HOSTS {
                return Err(format!("more than {MAX_HOSTS} addresses; remove some"));
            }
            self.hosts.push(address);
        }
        Ok(())
    }

    /// `ports = 80,443`; the last line holds.
    pub(super) fn set_ports(&mut self, value: &str) -> Result<(), String> {
        let mut ports = Vec::new();
        for word in value.split(',').map(str::trim) {
            let number = port(word).ok_or_else(|| wrong_port(word, "ports = 80,443"))?;
            if !ports.contains(&number) {
                ports.push(number);
            }
        }
        bounded(ports.len())?;
        self.ports = Some(ports);
        Ok(())
    }

    /// `portalias = A:B`; the last line for an A holds.
    pub(super) fn add_alias(&mut self, line: &TypedLine) -> Result<(), String> {
        const EXAMPLE: &str = "portalias = 8443:443";
        let (from, to) = line.value.split_once(':').ok_or_else(|| wrong_port("", EXAMPLE))?;
        let from = port(from).ok_or_else(|| wrong_port(from, EXAMPLE))?;
        let to = port(to).ok_or_else(|| wrong_port(to, EXAMPLE))?;
        self.aliases.retain(|(known, _)| *known != from);
        bounded(self.aliases.len() + 1)?;
        self.aliases.push((from, to));
        self.last_alias = Some(line.place.clone());
        Ok(())
    }

    /// `protos = http,https`; the last line holds.
    pub(super) fn set_protocols(&mut self, value: &str) -> Result<(), String> {
        let mut protocols: Vec<String> = Vec::new();
        for word in value.split(',').map(str::trim) {
            let name = word.to_ascii_lowercase();
            if !PROTOCOLS.contains(&name.as_str()) {
                let near = nearest(&name, PROTOCOLS);
                let mend = near.map_or_else(
                    || format!("write some of {}", DEFAULT_PROTOCOLS.join(",")),
                    |near| format!("did you mean {near}?"),
                );
                return Err(format!("{} is no protocol of a relay; {mend}", quoted(word)));
            }
            if !protocols.contains(&name) {
                protocols.push(name);
            }
        }
        self.protocols = Some(protocols);
        Ok(())
    }

    /// `rawports = virtual,22,2222=raw-22:NAME`, or `none`; the last line holds.
    pub(super) fn set_raw(&mut self, line: &TypedLine, report: &mut Report) -> Result<(), String> {
        const SHAPE: &str = "is written virtual (any port, by HTTP CONNECT), none, or a list of \
             PORT (that one by HTTP CONNECT) and PORT=raw-PORT:NAME (a port of its own for one kite)";
        let mut raw = RawPorts::default();
        for word in line.value.split(',').map(str::trim) {
            if word.eq_ignore_ascii_case("virtual") {
                raw.any = true;
            } else if let Some(number) = port(word) {
                if !raw.connect.contains(&number) {
                    raw.connect.push(number);
                }
                let text = format!(
                    "raw kites are reached on port {number} by HTTP CONNECT only, since nobody is \
                     led to a kite by the address alone; for a port of its own write \
                     {number}=raw-{number}:NAME"
                );
                report.warning(&line.place, line.row.name, text);
            } else if let Some((number, kite)) = word.split_once('=') {
                let number = port(number).ok_or_else(|| wrong_port(number, SHAPE_OF_ONE))?;
                let kite = one_kite(kite)?;
                if raw.dedicated.iter().any(|(known, _)| *known == number) {
                    return Err(format!("port {number} leads to one kite only; remove one"));
                }
                raw.dedicated.push((number, kite));
            } else if !word.is_empty() && !word.eq_ignore_ascii_case("none") {
                return Err(SHAPE.into());
            }
        }
        bounded(raw.connect.len().max(raw.dedicated.len()))?;
        self.raw = Some((raw, line.place.clone()));
        Ok(())
    }

    /// What the lines mean together.
    pub(super) fn finish(self, report: &mut Report) -> Ports {
        let ports = self.ports.unwrap_or_else(|| DEFAULT_PORTS.to_vec());
        let protocols = self.protocols;
        let protocols = protocols.unwrap_or_else(|| DEFAULT_PROTOCOLS.map(str::to_owned).to_vec());
        if let Some(place) = &self.last_alias {
            for (from, _) in self.aliases.iter().filter(|(from, _)| !ports.contains(from)) {
                let text = format!("nobody listens on {from}; add it to ports, or remove the line");
                report.warning(place, "portalias", text);
            }
        }
        let raw = match self.raw {
            Some((raw, place)) => {
                for (number, _) in raw.dedicated.iter().filter(|(port, _)| ports.contains(port)) {
                    let text = format!(
                        "port {number} stands in ports already, where it is for every kite; take \
                         it out of one of the two"
                    );
                    report.mistake(&place, "rawports", text);
                }
                if !protocols.iter().any(|name| name == "raw") && raw != RawPorts::default() {
                    let text = "has no effect, because protos has no raw; add it there";
                    report.warning(&place, "rawports", text);
                }
                raw
            }
            None => RawPorts { any: true, ..RawPorts::default() },
        };
        Ports { hosts: self.hosts, ports, aliases: self.aliases, protocols, raw }
    }
}

const SHAPE_OF_ONE: &str = "rawports = 2222=raw-22:box.example.com";

/// The kite behind a port of its own.
fn one_kite(text: &str) -> Result<KiteId, String> {
    let kite: KiteId = text.parse().map_err(|error| format!("{error}; write {SHAPE_OF_ONE}"))?;
    if kite.protocol() != "raw" || kite.domain().contains('*') {
        return Err(format!(
            "{kite} is not one raw kite, and only that can have a port of its own; write \
             {SHAPE_OF_ONE}"
        ));
    }
    Ok(kite)
}

fn wrong_port(word: &str, example: &str) -> String {
    format!("{} is no port from 1 to 65535; write {example}", quoted(word)).trim_start().to_owned()
}

fn bounded(ports: usize) -> Result<(), String> {
    if ports > MAX_PORTS {
        return Err(format!("more than {MAX_PORTS} ports; remove some"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes, settings, warnings};
    use super::*;

    #[test]
    fn lists_are_read_with_blanks_and_doubles() {
        let read = settings("ports = 80, 443,80\nprotos = HTTP, https,http\nportalias = 443:8443");
        assert_eq!(read.ports, [80, 443]);
        assert_eq!(read.protocols, ["http", "https"]);
        assert_eq!(read.port_aliases, [(443, 8443)]);
        assert!(read.raw_ports.any && read.hosts.is_empty());
    }

    #[test]
    fn raw_ports_are_by_connect_or_of_one_kite() {
        let read = settings("rawports = 2222=raw-22 : Box.example.com, 5900");
        assert!(!read.raw_ports.any);
        assert_eq!(read.raw_ports.connect, [5900]);
        let kite = "raw-22:box.example.com".parse().expect("kite");
        assert_eq!(read.raw_ports.dedicated, [(2222, kite)]);
        assert!(warnings("rawports = 5900").contains("write 5900=raw-5900:NAME"));
        assert_eq!(settings("rawports = none").raw_ports, RawPorts::default());
        assert!(settings("rawports = virtual,none").raw_ports.any);
    }

    #[test]
    fn addresses_add_up_and_an_empty_line_means_all() {
        let read = settings("host = 192.0.2.1\nhost = [2001:db8::1]\nhost = 192.0.2.1");
        assert_eq!(read.hosts.len(), 2);
        assert!(settings("host = 192.0.2.1\nhost =").hosts.is_empty());
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, part) in [
            ("ports = 80,0", "0 is no port"),
            ("ports =", "is no port from 1 to 65535; write ports = 80,443"),
            ("portalias = 80", "write portalias = 8443:443"),
            ("host = localhost", "localhost is no address"),
            ("protos = htps", "did you mean http"),
            ("protos =", "write some of http,"),
            ("rawports = ssh", "is written virtual"),
            ("rawports = 22=http:a.b", "http:a.b is not one raw kite"),
            ("rawports = 22=raw:*.b", "raw:*.b is not one raw kite"),
            ("rawports = 22=raw", "a kite is written"),
            ("rawports = 22=raw:a.b,22=raw:c.d", "leads to one kite only"),
            ("rawports = 443=raw:a.b", "port 443 stands in ports already"),
        ] {
            assert!(mistakes(text).contains(part), "{text}: {}", mistakes(text));
        }
        assert!(warnings("portalias = 8443:443").contains("nobody listens on 8443"));
        let many: Vec<String> = (1..=300).map(|port| port.to_string()).collect();
        assert!(mistakes(&format!("ports = {}", many.join(","))).contains("more than 256 ports"));
    }
}
