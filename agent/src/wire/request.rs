//! What an agent asks of a relay: the head of the handshake and the
//! `X-PageKite` lines in later frames (`protocol.md` 3.1 and 3.4).

use std::fmt::Write as _;

use super::error::WireError;
use super::headers::{kite_line, lines};
use super::kite::KiteId;
use super::signature::{self, SIGNATURE_LENGTH, Salt};

/// Version text that we announce; relays show it and look at nothing in it.
pub const VERSION: &str = concat!("Kitelet-", env!("CARGO_PKG_VERSION"));

/// The request of an agent, as read by a relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TunnelRequest {
    /// Kites may be challenged and added on the running tunnel.
    pub add_kites: bool,
    /// The agent reads zlib chunks.
    pub zlib_chunks: bool,
    /// The agent asks to be spared quota messages and frequent pings.
    pub mobile: bool,
    /// The agent's program and version.
    pub version: Option<String>,
    /// Session id of a tunnel that this one takes the place of.
    pub replace: Option<String>,
    /// The kites to fly.
    pub kites: Vec<KiteRequest>,
}

/// `proto[-port]:domain:salt:challenge:signature`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KiteRequest {
    /// The kite.
    pub id: KiteId,
    /// The agent's salt, opaque to the relay.
    pub salt: String,
    /// The relay's challenge, empty at first contact.
    pub challenge: String,
    /// The signature over all of the above.
    pub signature: String,
}

impl TunnelRequest {
    /// Whether a head is that of a tunnel's handshake.
    pub fn is_tunnel(head: &[u8]) -> bool {
        head.split_inclusive(|&byte| byte == b'\n').next().is_some_and(is_tunnel_request_line)
    }

    /// Writes the head of the handshake in the reference's order.
    pub fn encode(&self) -> Vec<u8> {
        let mut head = String::from("CONNECT PageKite:1 HTTP/1.0\r\n");
        for (wanted, feature) in
            [(self.add_kites, "AddKites"), (self.zlib_chunks, "ZChunks"), (self.mobile, "Mobile")]
        {
            if wanted {
                let _ = write!(head, "X-PageKite-Features: {feature}\r\n");
            }
        }
        if let Some(version) = &self.version {
            let _ = write!(head, "X-PageKite-Version: {version}\r\n");
        }
        if let Some(session) = &self.replace {
            let _ = write!(head, "X-PageKite-Replace: {session}\r\n");
        }
        self.write_kites(&mut head);
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Writes the headers and the body of a NOOP frame that asks for kites on
    /// a running tunnel.
    pub fn encode_payload(&self) -> Vec<u8> {
        let mut payload = String::from("NOOP: 1\r\n");
        if let Some(version) = &self.version {
            let _ = write!(payload, "X-PageKite-Version: {version}\r\n");
        }
        self.write_kites(&mut payload);
        payload.push_str("\r\n!");
        payload.into_bytes()
    }

    /// Reads the head of a handshake, from the request line to the blank line.
    ///
    /// # Errors
    /// [`WireError::HandshakeShape`] when this is no tunnel,
    /// [`WireError::HandshakeKite`] when a kite does not have its five parts.
    pub fn parse(head: &[u8]) -> Result<Self, WireError> {
        let line_end = head.iter().position(|&byte| byte == b'\n');
        let (line, rest) = head.split_at(line_end.ok_or(WireError::HandshakeShape)? + 1);
        if !is_tunnel_request_line(line) {
            return Err(WireError::HandshakeShape);
        }
        Self::parse_lines(rest.strip_suffix(b"\r\n").ok_or(WireError::HandshakeShape)?)
    }

    /// Reads the `X-PageKite` lines of a request or a frame.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_lines(block: &[u8]) -> Result<Self, WireError> {
        let mut request = Self::default();
        for line in lines(block) {
            let (name, value) = line.map_err(|_| WireError::HandshakeShape)?;
            let Some(name) = kite_line(name) else { continue };
            let text = String::from_utf8_lossy(value);
            match name.to_ascii_lowercase().as_slice() {
                b"" => request.kites.push(KiteRequest::parse(value)?),
                b"-features" => {
                    for feature in text.split(',').map(str::trim) {
                        request.add_kites |= feature.eq_ignore_ascii_case("AddKites");
                        request.zlib_chunks |= feature.eq_ignore_ascii_case("ZChunks");
                        request.mobile |= feature.eq_ignore_ascii_case("Mobile");
                    }
                }
                b"-version" => request.version = Some(text.into_owned()),
                b"-replace" => request.replace = Some(text.into_owned()),
                _ => {}
            }
        }
        Ok(request)
    }

    fn write_kites(&self, text: &mut String) {
        for kite in &self.kites {
            let KiteRequest { id, salt, challenge, signature } = kite;
            let _ = write!(text, "X-PageKite: {id}:{salt}:{challenge}:{signature}\r\n");
        }
    }
}

impl KiteRequest {
    /// Asks for `id`; `challenge` is empty at first contact.
    pub fn sign(id: &KiteId, agent_salt: &str, challenge: &str, secret: &[u8], salt: Salt) -> Self {
        let mut request = Self {
            id: id.clone(),
            salt: agent_salt.to_owned(),
            challenge: challenge.to_owned(),
            signature: String::new(),
        };
        request.signature =
            signature::sign(secret, request.payload().as_bytes(), salt, SIGNATURE_LENGTH);
        request
    }

    /// Whether whoever wrote this knows `secret`.
    pub fn is_signed_with(&self, secret: &[u8], unix_seconds: u64) -> bool {
        let payload = self.payload();
        signature::verify(secret, payload.as_bytes(), self.signature.as_bytes(), unix_seconds)
    }

    /// The name under which the relay speaks of this kite:
    /// `proto[-port]:domain:salt`.
    pub fn key(&self) -> String {
        format!("{}:{}", self.id, self.salt)
    }

    /// A challenge for this kite that only the holder of `relay_secret` makes.
    pub fn make_challenge(&self, relay_secret: &[u8], salt: Salt, unix_seconds: u64) -> String {
        let key = self.key();
        signature::sign_at(relay_secret, key.as_bytes(), salt, unix_seconds, SIGNATURE_LENGTH)
    }

    /// Whether the challenge in this request is one of our own and still
    /// valid.
    pub fn has_valid_challenge(&self, relay_secret: &[u8], unix_seconds: u64) -> bool {
        // A challenge without a time stamp would be valid for ever.
        self.challenge.starts_with('t')
            && signature::verify(
                relay_secret,
                self.key().as_bytes(),
                self.challenge.as_bytes(),
                unix_seconds,
            )
    }

    fn parse(value: &[u8]) -> Result<Self, WireError> {
        let text = std::str::from_utf8(value).map_err(|_| WireError::HandshakeKite)?;
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or(WireError::HandshakeKite);
        let (service, domain, salt, challenge, signature) =
            (next()?, next()?, next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(WireError::HandshakeKite);
        }
        let id = format!("{service}:{domain}").parse().map_err(|_| WireError::HandshakeKite)?;
        Ok(Self {
            id,
            salt: salt.to_owned(),
            challenge: challenge.to_owned(),
            signature: signature.to_owned(),
        })
    }

    fn payload(&self) -> String {
        format!("{}:{}:{}", self.id, self.salt, self.challenge)
    }
}

/// `CONNECT PageKite:1 HTTP/1.0`, where the version of PageKite is not looked
/// at (`protocol.md` 1).
fn is_tunnel_request_line(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else { return false };
    let mut words = line.trim_end().split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    method == Some("CONNECT")
        && target.is_some_and(|target| {
            target.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("pagekite:"))
        })
        && matches!(version, Some("HTTP/1.0" | "HTTP/1.1"))
        && words.next().is_none()
}
