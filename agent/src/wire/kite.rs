//! The name of a kite as the two ends write it: `proto[-port]:domain`
//! (`protocol.md` 1 and 11).

use std::fmt;
use std::str::FromStr;

/// Longest domain that is accepted, in bytes (RFC 1035 section 2.3.4).
pub const MAX_DOMAIN_BYTES: usize = 253;
/// Longest protocol name; the longest one in use is `websocket`.
pub const MAX_PROTOCOL_BYTES: usize = 24;

/// `proto[-port]:domain`, in lower case, for instance `http:foo.example.com`,
/// `raw-22:foo.example.com` or `https:*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KiteId {
    protocol: String,
    port: Option<u16>,
    domain: String,
}

impl KiteId {
    /// Builds an id; letters are lowered, since relays lower them before they
    /// check a signature (`protocol.md` 3.1).
    ///
    /// # Errors
    /// Says which part cannot stand in a request line.
    pub fn new(protocol: &str, port: Option<u16>, domain: &str) -> Result<Self, KiteIdError> {
        let protocol_fits = !protocol.is_empty()
            && protocol.len() <= MAX_PROTOCOL_BYTES
            && protocol.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !protocol_fits {
            return Err(KiteIdError::Protocol);
        }
        if port == Some(0) {
            return Err(KiteIdError::Port);
        }
        let domain_fits = !domain.is_empty()
            && domain.len() <= MAX_DOMAIN_BYTES
            && domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_*".contains(&byte))
            && !domain[1..].contains('*')
            && (!domain.starts_with('*') || domain.starts_with("*."));
        if !domain_fits {
            return Err(KiteIdError::Domain);
        }
        Ok(Self {
            protocol: protocol.to_ascii_lowercase(),
            port,
            domain: domain.to_ascii_lowercase(),
        })
    }

    /// `http`, `https`, `websocket`, `raw` and whatever else a relay knows.
    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    /// The public port that this kite alone answers on; `None` is every port.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The DNS name, possibly `*.parent`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether visitors of this kite speak HTTP that an agent can read
    /// (`protocol.md` 13: `http`, its fall-backs `http2` and `http3`, and
    /// `websocket`).
    pub fn is_http(&self) -> bool {
        matches!(self.protocol.as_str(), "http" | "http2" | "http3" | "websocket")
    }

    /// Whether this kite serves `host`: the same name, or any depth below the
    /// parent of a wildcard (`protocol.md` 13). `host` is in lower case.
    pub fn covers(&self, host: &str) -> bool {
        match self.domain.strip_prefix('*') {
            Some(parent) => host.len() > parent.len() && host.ends_with(parent),
            None => self.domain == host,
        }
    }
}

impl fmt::Display for KiteId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.protocol)?;
        if let Some(port) = self.port {
            write!(formatter, "-{port}")?;
        }
        write!(formatter, ":{}", self.domain)
    }
}

impl FromStr for KiteId {
    type Err = KiteIdError;

    fn from_str(text: &str) -> Result<Self, KiteIdError> {
        let (service, domain) = text.split_once(':').ok_or(KiteIdError::Shape)?;
        let (protocol, port) = match service.split_once('-') {
            Some((protocol, port)) => {
                let port = port.parse().map_err(|_| KiteIdError::Port)?;
                (protocol, Some(port))
            }
            None => (service, None),
        };
        Self::new(protocol, port, domain)
    }
}

/// Why a text is not a kite id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KiteIdError {
    /// There is no `:` between the protocol and the domain.
    Shape,
    /// The protocol is empty, too long or holds other than letters and digits.
    Protocol,
    /// The port is not a number from 1 to 65535.
    Port,
    /// The domain is empty, too long or holds what no DNS name may hold.
    Domain,
}

impl fmt::Display for KiteIdError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Shape => "a kite is written PROTOCOL[-PORT]:NAME, such as http:box.example.com",
            Self::Protocol => "the protocol of a kite is letters and digits, such as http or raw",
            Self::Port => "the port of a kite is a number from 1 to 65535",
            Self::Domain => "the name of a kite is a DNS name, such as box.example.com",
        })
    }
}

impl std::error::Error for KiteIdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_every_shape() {
        for text in ["http:foo.example.com", "raw-22:foo.example.com", "https:*.example.com"] {
            assert_eq!(text.parse::<KiteId>().expect("valid").to_string(), text);
        }
    }

    #[test]
    fn lowers_letters_before_signing() {
        let kite: KiteId = "HTTP:Foo.Example.COM".parse().expect("valid");
        assert_eq!(kite.to_string(), "http:foo.example.com");
    }

    #[test]
    fn refuses_what_would_break_a_request_line() {
        let domain = "a".repeat(MAX_DOMAIN_BYTES + 1);
        for (text, error) in [
            ("http", KiteIdError::Shape),
            (":x", KiteIdError::Protocol),
            ("http-0:x", KiteIdError::Port),
            ("http-x:x", KiteIdError::Port),
            ("http:", KiteIdError::Domain),
            ("http:a b", KiteIdError::Domain),
            ("http:a\r\nb", KiteIdError::Domain),
            ("http:a:b", KiteIdError::Domain),
            ("http:*", KiteIdError::Domain),
            ("http:a.*.b", KiteIdError::Domain),
            ("http:*a.b", KiteIdError::Domain),
            (&format!("http:{domain}"), KiteIdError::Domain),
        ] {
            assert_eq!(text.parse::<KiteId>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_wildcard_covers_what_is_below_it_only() {
        let kite: KiteId = "http:*.example.com".parse().expect("valid");
        assert!(kite.covers("a.example.com") && kite.covers("b.a.example.com"));
        assert!(!kite.covers("example.com") && !kite.covers("badexample.com"));
    }
}
