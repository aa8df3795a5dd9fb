//! What a configuration means, once every file is read and every option is
//! checked. The rest of the program sees this and nothing of the rc format.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::wire::{KiteId, Secret};

/// Everything the agent needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The relays to keep a tunnel to, all of them at the same time.
    pub relays: Vec<RelaySettings>,
    /// How every relay is connected to.
    pub security: Security,
    /// The kites to fly and the services behind them; never empty.
    pub kites: Vec<KiteSettings>,
    /// Where the "unavailable" page sends a visitor: per domain, and the empty
    /// domain for all the rest (`errorurl`).
    pub error_urls: Vec<(String, String)>,
    /// Whether a relay that can read them is sent zlib chunks (`zchunks`).
    /// They cost 319 KB of RAM, hence off by default.
    pub compress: bool,
    /// Seconds of silence before the relay is asked for a sign of life
    /// (`keepalive`), 20 or more.
    pub keepalive_seconds: u32,
    /// Streams that one tunnel may hold at the same time (`max_streams`).
    pub max_streams: usize,
    /// Kilobytes that may wait for slow services, all streams of a tunnel
    /// together (`buffers`).
    pub buffer_kilobytes: usize,
}

/// One relay, by name or address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelaySettings {
    /// DNS name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
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
    /// the relay's own name.
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
    /// A name for the log and for later commands (`service_name`).
    pub name: Option<String>,
    /// What is done to visitors on the way.
    pub flags: KiteFlags,
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
