//! What a configuration means, once every file is read and every option is
//! checked. The rest of the program sees this and nothing of the rc format.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::proxy::ProxySettings;
use crate::wire::{KiteId, Secret};

/// Everything the agent needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The relays to keep a tunnel to, all of them at the same time.
    pub relays: Vec<RelayAddress>,
    /// Relays to choose the fastest ones of (`frontends`).
    pub pool: Option<RelayPool>,
    /// Relays of the pool to use beside those that it asks for
    /// (`spare_relays`), 0 to 4.
    pub spare_relays: usize,
    /// Addresses of the pool that are never used (`nofrontend`).
    pub never: Vec<SocketAddr>,
    /// Whether the relays that the kites' own names lead to now are not kept
    /// (`new`).
    pub ignores_own_names: bool,
    /// How every relay is connected to.
    pub security: Security,
    /// The proxy on the way to them, if there is one.
    pub proxy: ProxySettings,
    /// The kites to fly and the services behind them; never empty.
    pub kites: Vec<KiteSettings>,
    /// Where the "unavailable" page sends a visitor: per domain, and the empty
    /// domain for all the rest (`errorurl`).
    pub error_urls: Vec<(String, String)>,
    /// Whom to tell by which relays the kites fly (`dyndns`).
    pub dyndns: Option<DynDnsSettings>,
    /// Whether a relay that can read them is sent zlib chunks (`zchunks`).
    /// They cost 319 KB of RAM, hence off by default.
    pub compress: bool,
    /// Whether tunnels go inside a WebSocket (`wschunks`), which Kitelet's
    /// relays alone take; for networks that let only HTTPS through.
    pub websocket: bool,
    /// Seconds of silence before the relay is asked for a sign of life
    /// (`keepalive`), 20 to 86400; 80 without one and for `auto`.
    pub keepalive_seconds: u32,
    /// Whether that is shortened where the path forgets silent tunnels earlier
    /// (`keepalive = auto`, or none).
    pub adapts_keepalive: bool,
    /// Longest wait before another try to reach a relay, in seconds, during the
    /// first ten minutes of an outage (`retry_max`), 1 to 3600.
    pub retry_seconds: u32,
    /// The same after that (`late_retry_max`), 1 to 3600.
    pub late_retry_seconds: u32,
    /// Streams that one tunnel may hold at the same time (`max_streams`), 1 to
    /// 65536.
    pub max_streams: usize,
    /// Kilobytes that may wait for slow services, all streams of a tunnel
    /// together (`buffers`), 64 to 1048576.
    pub buffer_kilobytes: usize,
    /// Where facts are kept that outlive a restart (`state_directory`, else
    /// systemd's `$STATE_DIRECTORY`); `None`: nowhere.
    pub state_directory: Option<PathBuf>,
    /// Where the control socket and the sessions are (`runtime_directory`, else
    /// systemd's `$RUNTIME_DIRECTORY`); `None`: nowhere.
    pub runtime_directory: Option<PathBuf>,
}

/// Relays that are alike (`frontends = N:NAME:PORT`), of which the fastest ones
/// are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayPool {
    /// Where their addresses are.
    pub source: PoolSource,
    /// Their port.
    pub port: u16,
    /// How many of them to use, 1 to 16.
    pub wanted: usize,
}

impl RelayPool {
    /// The pool as one relay by its name, for a proxy that looks it up; a file
    /// has none.
    pub fn as_relay(&self) -> Option<RelayAddress> {
        match &self.source {
            PoolSource::Name(name) => Some(RelayAddress { host: name.clone(), port: self.port }),
            PoolSource::File(_) => None,
        }
    }
}

/// Where the addresses of a pool are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolSource {
    /// All addresses of a DNS name.
    Name(String),
    /// A file with one address a line, which is read again and again.
    File(PathBuf),
}

/// `NAME:PORT`, or `@FILE:PORT`.
impl fmt::Display for RelayPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            PoolSource::Name(name) => write_host_port(formatter, name, self.port),
            PoolSource::File(path) => write!(formatter, "@{}:{}", path.display(), self.port),
        }
    }
}

/// How DNS records are updated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynDnsSettings {
    /// The URL, with places for `%(domain)s`, `%(ip)s`, `%(ips)s` and
    /// `%(sign)s`.
    pub template: String,
    /// User and password of the service, for HTTP Basic.
    pub account: Option<(String, Secret)>,
    /// Whether a URL in clear is asked for inside TLS to the same host, as
    /// pagekite.net has it.
    pub inside_tls: bool,
}

/// One relay, by name or address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    /// DNS name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl RelayAddress {
    /// Whether it is an onion service of Tor's, whose name no name server may
    /// be asked for (RFC 7686 section 2).
    pub fn is_onion(&self) -> bool {
        let name = self.host.trim_end_matches('.');
        let (_, last) = name.rsplit_once('.').unwrap_or_default();
        last.eq_ignore_ascii_case("onion")
    }
}

/// `HOST:PORT`, as `frontend` is written.
impl fmt::Display for RelayAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host_port(formatter, &self.host, self.port)
    }
}

/// How the way to a relay is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Everything in clear, on request only (`nossl`).
    Plain,
    /// TLS 1.2 or 1.3 with a certificate that is checked.
    Tls(TlsSettings),
}

/// What the relay's certificate has to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Accepted names, the first of which is asked for (`fe_certname`). Empty:
    /// the relay's own name. One name may stand here with several pins.
    pub names: Vec<CertificateName>,
    /// Certificates to trust instead of the compiled-in roots (`ca_certs`).
    pub roots: Option<PathBuf>,
}

/// A name that a relay's certificate may carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateName {
    /// DNS name, in lower case.
    pub name: String,
    /// The one certificate or key that is accepted under this name. With a
    /// pin, neither the chain nor the dates are looked at.
    pub pin: Option<Pin>,
}

/// A certificate or key that is known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// SHA-1 of the DER certificate, as PageKite's `NAME/SHA1HEX`.
    CertificateSha1([u8; 20]),
    /// SHA-256 of the DER SubjectPublicKeyInfo (RFC 7469 section 2.4), as
    /// `NAME/sha256:BASE64` or `NAME/sha256:HEX`.
    KeySha256([u8; 32]),
}

/// A kite and the service behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KiteSettings {
    /// What the relay announces.
    pub id: KiteId,
    /// The secret shared with the relay.
    pub secret: Secret,
    /// What visitors are connected to.
    pub origin: Origin,
    /// A name for the log and for later commands (`service_name`). Kites of one
    /// service line share it.
    pub name: Option<String>,
    /// What is done to visitors on the way.
    pub flags: KiteFlags,
}

impl KiteSettings {
    /// Whether the URL firewall looks at this kite's requests (`protocol.md`
    /// 13.2): for HTTP, unless it is off or only known visitors are let in.
    pub fn url_firewall(&self) -> bool {
        let trusted = !self.flags.passwords.is_empty() || !self.flags.allowed.is_empty();
        self.id.is_http() && !self.flags.insecure && !trusted
    }
}

/// Where a service listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A TCP port on this machine or its network.
    Tcp {
        /// DNS name or address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A Unix stream socket (`unix:/path`).
    Unix(PathBuf),
}

/// `HOST:PORT` or `unix:/PATH`, as a service line is written.
impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write_host_port(formatter, host, *port),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// `service_cfg` keys and `+flags` (`protocol.md` 13.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KiteFlags {
    /// `rewritehost`: the Host header that the service sees.
    pub rewrite_host: Option<RewriteHost>,
    /// `rawheaders`: no X-Forwarded-* header is added or renamed.
    pub raw_headers: bool,
    /// `insecure`: the URL firewall is off.
    pub insecure: bool,
    /// `proxyproto`: a PROXY protocol header goes before the first byte.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// `password/USER`: HTTP Basic credentials, one of which is asked for.
    pub passwords: Vec<(String, Secret)>,
    /// `ip/...`: the visitors that are let in; empty lets in everybody.
    pub allowed: Vec<AddressRange>,
    /// `healthcheck`: how to see whether the service is well.
    pub health_check: Option<HealthCheck>,
}

/// What a service that is well does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheck {
    /// It takes connections.
    Tcp,
    /// It answers a GET of this path with a status of 200 to 399.
    Http(String),
}

/// What `rewritehost` puts in the Host header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RewriteHost {
    /// The host of the service.
    Origin,
    /// A name of the user's choice.
    Name(String),
}

/// Version of the PROXY protocol header (haproxy's proxy-protocol.txt).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// The line of text, `proxyproto` or `proxyproto = v1`.
    V1,
    /// The binary header, `proxyproto = v2`.
    V2,
}

/// A network of addresses: `192.0.2.1`, `192.0.2` (PageKite's /24),
/// `192.0.2.0/25`, `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// First address of the range.
    pub network: IpAddr,
    /// Bits of [`Self::network`] that a visitor's address has to share.
    pub prefix_bits: u8,
}

/// `NETWORK/BITS`; a single address without the bits.
impl fmt::Display for AddressRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all_bits = if self.network.is_ipv4() { 32 } else { 128 };
        if self.prefix_bits == all_bits {
            write!(formatter, "{}", self.network)
        } else {
            write!(formatter, "{}/{}", self.network, self.prefix_bits)
        }
    }
}

pub(super) fn write_host_port(
    formatter: &mut fmt::Formatter<'_>,
    host: &str,
    port: u16,
) -> fmt::Result {
    if host.contains(':') {
        write!(formatter, "[{host}]:{port}")
    } else {
        write!(formatter, "{host}:{port}")
    }
}
