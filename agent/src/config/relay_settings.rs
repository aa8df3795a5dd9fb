//! What a relay's configuration means, once every file is read and every
//! option is checked; the counterpart of [`super::Settings`] for the public
//! end.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::settings::AddressRange;
use crate::wire::{KiteId, Secret};

/// Everything the relay needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelaySettings {
    /// Addresses to listen on (`host`); empty is every address of the machine.
    pub hosts: Vec<IpAddr>,
    /// Ports for visitors and tunnels alike (`ports`); never empty.
    pub ports: Vec<u16>,
    /// `portalias = A:B`: what is heard on A is told to agents as B.
    pub port_aliases: Vec<(u16, u16)>,
    /// Protocols that kites may have (`protos`), in lower case; never empty.
    pub protocols: Vec<String>,
    /// Ports of raw kites (`rawports`).
    pub raw_ports: RawPorts,
    /// File with a line for each kite that may fly (`kites`); read by
    /// [`super::load_kites`].
    pub kites_file: Option<PathBuf>,
    /// Kites that may fly, from the configuration itself (`domain`).
    pub grants: Vec<Grant>,
    /// Who else is asked whether a kite may fly (`authdomain`).
    pub authorities: Vec<Authority>,
    /// Questions to authorities at the same time (`auththreads`).
    pub max_questions: usize,
    /// Name server for questions to authorities (`nameserver`); `None` is that
    /// of the machine.
    pub name_server: Option<SocketAddr>,
    /// Certificates of the names whose TLS ends here (`tls_endpoint`).
    pub certificates: Vec<CertificateFiles>,
    /// Name of the certificate for those who ask for no name (`tls_default`);
    /// one of [`Self::certificates`], and set whenever there are any. A
    /// `tls_default` below a wildcard is the name of the wildcard here.
    pub default_certificate: Option<String>,
    /// Certificates whose file is not there are made, for agents that know the
    /// key (`selfsign`).
    pub self_sign: bool,
    /// Folder of answers to ACME's http-01 challenges (`acme_webroot`).
    pub acme_webroot: Option<PathBuf>,
    /// Which visitors are let in (`client_acl`). The first rule that fits
    /// holds; whom none fits stays out; without any rule everybody is let in.
    pub visitor_rules: Vec<AccessRule>,
    /// Which agents are let in (`tunnel_acl`), likewise.
    pub tunnel_rules: Vec<AccessRule>,
    /// What one of many may use.
    pub limits: RelayLimits,
    /// File with the page for visitors who are not served (`errorpage`).
    pub error_page: Option<PathBuf>,
    /// Where that page sends a visitor instead: per domain, and the empty
    /// domain for all the rest (`errorurl`).
    pub error_urls: Vec<(String, String)>,
    /// Whether the page tells a kite that is away from an unknown one and from
    /// one above its quota (`reveal_kites`).
    pub reveal_kites: bool,
    /// File with the message of the day for agents (`motd`).
    pub motd: Option<PathBuf>,
    /// Where each visit is noted (`access_log`).
    pub access_log: Option<AccessLog>,
    /// User and group to become after the ports are bound (`runas`), as
    /// `USER` or `USER:GROUP`.
    pub run_as: Option<String>,
    /// Folder to lock the process into after that (`chroot`).
    pub chroot: Option<PathBuf>,
    /// Seconds of silence before an agent is asked for a sign of life
    /// (`keepalive`), 20 to 86400.
    pub keepalive_seconds: u32,
    /// Kilobytes that may wait for slow visitors, all streams of a tunnel
    /// together (`buffers`), 64 to 1048576.
    pub buffer_kilobytes: usize,
    /// Whether agents that can read them are sent zlib chunks (`zchunks`).
    /// They cost 319 KB of RAM for each tunnel.
    pub compress: bool,
    /// Seconds that a stop waits for streams to end (`stop_timeout`), 0 to
    /// 3600.
    pub stop_seconds: u32,
}

/// Ports on which raw kites are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawPorts {
    /// Any port, by HTTP CONNECT (`virtual`).
    pub any: bool,
    /// These ports, by HTTP CONNECT.
    pub connect: Vec<u16>,
    /// Ports that are listened on, each for one kite (`2222=raw-22:NAME`).
    pub dedicated: Vec<(u16, KiteId)>,
}

impl RawPorts {
    /// Whether raw kites are reached by HTTP CONNECT to this port.
    pub fn allows(&self, port: u16) -> bool {
        let is_dedicated = |(_, kite): &(u16, KiteId)| kite.port() == Some(port);
        self.any || self.connect.contains(&port) || self.dedicated.iter().any(is_dedicated)
    }
}

/// A kite, or all below a name, that may fly for whoever knows the secret:
/// a line of the kites file or a `domain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Protocols; with a port, that port alone. Never empty.
    pub protocols: Vec<(String, Option<u16>)>,
    /// Name in lower case; `*.parent` is every name below it, `unknown` flies
    /// for every name that nobody has.
    pub domain: String,
    /// What the agent has to know. Several grants with one domain are several
    /// secrets of it.
    pub secret: Secret,
    /// What this kite may use, where it differs from the rest.
    pub quota: KiteQuota,
}

/// What visitors of one kite may use, each where it is bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KiteQuota {
    /// Bytes in a day, both directions together (`quota_bytes`).
    pub bytes_per_day: Option<u64>,
    /// Visitors' connections in a day (`quota_conns`).
    pub connections_per_day: Option<u64>,
    /// Streams at the same time (`quota_streams`).
    pub streams: Option<u64>,
}

/// Somebody who knows which kites may fly (`protocol.md` 14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Kites at or below this name are asked about; empty is every kite.
    pub kite_domain: String,
    /// How it is asked.
    pub means: AuthorityMeans,
}

/// How an authority is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityMeans {
    /// DNS queries below this name.
    Dns(String),
    /// A program, with the first words of its command line.
    Program {
        /// The file.
        path: PathBuf,
        /// Words before `--auth`.
        arguments: Vec<String>,
    },
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Name in lower case, or `*.parent`.
    pub name: String,
    /// PEM file with key and chain, or a folder with `fullchain.pem` and
    /// `privkey.pem`, as ACME clients make it.
    pub path: PathBuf,
}

/// Lets addresses in or keeps them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// In, or out.
    pub allow: bool,
    /// Whom; `None` is everybody.
    pub range: Option<AddressRange>,
}

/// What one of many may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayLimits {
    /// Visitors' connections at the same time (`max_visitors`).
    pub max_visitors: usize,
    /// Tunnels at the same time (`max_tunnels`).
    pub max_tunnels: usize,
    /// Kites of one tunnel (`max_kites`).
    pub max_kites: usize,
    /// Streams of one tunnel at the same time (`max_streams`).
    pub max_streams: usize,
    /// Connections at the same time from one address, or from one /64 of IPv6
    /// (`max_connections`).
    pub max_connections: usize,
    /// Connections from one address or /64 in this many seconds
    /// (`ratelimit_conns = N/SECONDS`); `None` is no limit.
    pub connection_rate: Option<Rate>,
    /// Different visitors' addresses of one kite in this many seconds
    /// (`ratelimit_ips = N/SECONDS`).
    pub address_rate: Option<Rate>,
    /// Refused handshakes from one address or /64 in this many seconds
    /// (`ratelimit_auth = N/SECONDS`); further agents from there are turned
    /// away unheard until the time is over.
    pub failure_rate: Rate,
    /// What a kite may use unless its line says otherwise.
    pub quota: KiteQuota,
}

/// So many in so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In how many seconds; at least 1.
    pub seconds: u32,
}

/// Where each visit is noted, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// The file; `None` is standard output (`-`).
    pub path: Option<PathBuf>,
    /// How a line looks (`access_log_format`).
    pub format: AccessLogFormat,
}

/// How a line of the access log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// Common Log Format, as web servers write it.
    #[default]
    Common,
    /// An object of JSON on each line.
    Json,
}

/// `N/SECONDS`, as it is written.
impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.count, self.seconds)
    }
}
