//! What a relay answers an agent: the head of the handshake's response and
//! the `X-PageKite` lines in later frames (`protocol.md` 3.2 and 3.4).

use std::fmt::Write as _;

use super::error::WireError;
use super::headers::{kite_line, lines, number};

/// The answer of a relay, whether it came as a head or in a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Status of the response; `None` in a frame.
    pub status: Option<u16>,
    /// Kites may be signed and added on the running tunnel.
    pub add_kites: bool,
    /// The relay reads zlib chunks.
    pub zlib_chunks: bool,
    /// The relay is the reference: no other says that it knows WebSockets.
    pub web_sockets: bool,
    /// Protocols that the relay knows, as it lists them.
    pub protocols: Vec<String>,
    /// Ports that the relay listens on, as it lists them.
    pub ports: Vec<String>,
    /// Ports for raw kites, as the relay lists them; `virtual` is any.
    pub raw_ports: Vec<String>,
    /// What became of each kite, in the order of the answer.
    pub results: Vec<KiteResult>,
    /// The newest id of this tunnel, for [`super::TunnelRequest::replace`].
    pub session_id: Option<String>,
    /// Message of the day, as the relay encoded it.
    pub motd: Option<String>,
    /// What is left of the quota, where the relay keeps one.
    pub quota: Quota,
}

/// What a relay says of one kite. The key is `proto[-port]:domain:salt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KiteResult {
    /// Which kite, by [`super::KiteRequest::key`].
    pub key: String,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a kite that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To be signed again, with this challenge.
    Challenge(String),
    /// It flies.
    Flying,
    /// The relay can take TLS off this kite's visitors.
    TlsAtRelay,
    /// Another tunnel flies it.
    Duplicate,
    /// Refused; the reason is empty where the relay gave none.
    Refused(String),
}

/// What is left to use, each where the relay says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Traffic, in kilobytes.
    pub kilobytes: Option<i64>,
    /// Days.
    pub days: Option<i64>,
    /// Connections at the same time.
    pub connections: Option<i64>,
    /// Visitors' addresses, and the seconds they are counted in.
    pub visitors: Option<(u32, u32)>,
}

impl Answer {
    /// Reads a response head, from the status line to the blank line.
    ///
    /// # Errors
    /// [`WireError::HandshakeShape`] when it is not HTTP.
    pub fn parse(head: &[u8]) -> Result<Self, WireError> {
        let line_end = head.iter().position(|&byte| byte == b'\n');
        let (line, rest) = head.split_at(line_end.ok_or(WireError::HandshakeShape)? + 1);
        let line = std::str::from_utf8(line).map_err(|_| WireError::HandshakeShape)?;
        let mut words = line.trim_end().split(' ');
        if !words.next().is_some_and(|version| version.starts_with("HTTP/1.")) {
            return Err(WireError::HandshakeShape);
        }
        let status = words.next().and_then(|status| status.parse().ok());
        let block = rest.strip_suffix(b"\r\n").ok_or(WireError::HandshakeShape)?;
        let mut answer = Self::parse_lines(block)?;
        answer.status = Some(status.ok_or(WireError::HandshakeShape)?);
        Ok(answer)
    }

    /// Reads the `X-PageKite` lines of a response or a frame; unknown ones are
    /// passed over.
    ///
    /// # Errors
    /// [`WireError::HandshakeShape`] when a line is no header.
    pub fn parse_lines(block: &[u8]) -> Result<Self, WireError> {
        let mut answer = Self::default();
        for line in lines(block) {
            let (name, value) = line.map_err(|_| WireError::HandshakeShape)?;
            let Some(name) = kite_line(name) else { continue };
            let text = String::from_utf8_lossy(value);
            answer.take(&name.to_ascii_lowercase(), &text);
        }
        Ok(answer)
    }

    fn take(&mut self, name: &[u8], text: &str) {
        let list = || text.split(',').map(|word| word.trim().to_owned()).collect();
        match name {
            b"-features" => {
                for feature in text.split(',').map(str::trim) {
                    self.add_kites |= feature.eq_ignore_ascii_case("AddKites");
                    self.zlib_chunks |= feature.eq_ignore_ascii_case("ZChunks");
                    self.web_sockets |= feature.eq_ignore_ascii_case("WebSockets");
                }
            }
            b"-protos" => self.protocols = list(),
            b"-ports" => self.ports = list(),
            b"-raw-ports" => self.raw_ports = list(),
            b"-signthis" => {
                if let Some((key, challenge)) = text.rsplit_once(':') {
                    self.push(key, Verdict::Challenge(challenge.to_owned()));
                }
            }
            b"-ok" => self.push(text, Verdict::Flying),
            b"-ssl-ok" => self.push(text, Verdict::TlsAtRelay),
            b"-duplicate" => self.push(text, Verdict::Duplicate),
            b"-invalid" => self.push(text, Verdict::Refused(String::new())),
            b"-invalid-why" => self.give_reason(text),
            b"-sessionid" => self.session_id = Some(text.to_owned()),
            b"-misc" => self.motd = text.strip_prefix("motd=").map(str::to_owned),
            b"-quota" => self.quota.kilobytes = number(text.as_bytes()),
            b"-qdays" => self.quota.days = number(text.as_bytes()),
            b"-qconns" => self.quota.connections = number(text.as_bytes()),
            b"-ipspersec" => {
                self.quota.visitors = text.split_once('/').and_then(|(visitors, seconds)| {
                    Some((visitors.parse().ok()?, seconds.parse().ok()?))
                });
            }
            _ => {}
        }
    }

    fn push(&mut self, key: &str, verdict: Verdict) {
        self.results.push(KiteResult { key: key.to_owned(), verdict });
    }

    /// `key;reason`, right after the `Invalid` line of the same kite.
    fn give_reason(&mut self, text: &str) {
        let Some((key, reason)) = text.split_once(';') else { return };
        match self.results.last_mut() {
            Some(KiteResult { key: last, verdict: Verdict::Refused(told) }) if last == key => {
                *told = reason.to_owned();
            }
            _ => self.push(key, Verdict::Refused(reason.to_owned())),
        }
    }

    /// Writes the head of the handshake's response in the order that small
    /// agents expect (`protocol.md` 3.2).
    pub fn encode(&self) -> Vec<u8> {
        let mut head = String::from(
            "HTTP/1.1 200 OK\r\n\
             Content-Type: text/html; charset=utf-8\r\n\
             Pragma: no-cache\r\n\
             Expires: 0\r\n\
             Cache-Control: no-store\r\n\
             Connection: close\r\n\
             Transfer-Encoding: chunked\r\n",
        );
        let features = [
            (self.zlib_chunks, "ZChunks"),
            (self.web_sockets, "WebSockets"),
            (self.add_kites, "AddKites"),
        ];
        for (has, feature) in features {
            if has {
                let _ = write!(head, "X-PageKite-Features: {feature}\r\n");
            }
        }
        for (name, list) in
            [("Protos", &self.protocols), ("Ports", &self.ports), ("Raw-Ports", &self.raw_ports)]
        {
            if !list.is_empty() {
                let _ = write!(head, "X-PageKite-{name}: {}\r\n", list.join(", "));
            }
        }
        self.write_results(&mut head);
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Writes the headers and the body of a NOOP frame that answers a request
    /// on a running tunnel.
    pub fn encode_payload(&self) -> Vec<u8> {
        let mut payload = String::from("NOOP: 1\r\n");
        self.write_results(&mut payload);
        payload.push_str("\r\n!");
        payload.into_bytes()
    }

    fn write_results(&self, text: &mut String) {
        for KiteResult { key, verdict } in &self.results {
            let _ = match verdict {
                Verdict::Challenge(challenge) => {
                    write!(text, "X-PageKite-SignThis: {key}:{challenge}\r\n")
                }
                Verdict::Flying => write!(text, "X-PageKite-OK: {key}\r\n"),
                Verdict::TlsAtRelay => write!(text, "X-PageKite-SSL-OK: {key}\r\n"),
                Verdict::Duplicate => write!(text, "X-PageKite-Duplicate: {key}\r\n"),
                Verdict::Refused(reason) if reason.is_empty() => {
                    write!(text, "X-PageKite-Invalid: {key}\r\n")
                }
                Verdict::Refused(reason) => write!(
                    text,
                    "X-PageKite-Invalid: {key}\r\nX-PageKite-Invalid-Why: {key};{reason}\r\n"
                ),
            };
        }
        if let Some(session) = &self.session_id {
            let _ = write!(text, "X-PageKite-SessionID: {session}\r\n");
        }
        if let Some(motd) = &self.motd {
            let _ = write!(text, "X-PageKite-Misc: motd={motd}\r\n");
        }
        let Quota { kilobytes, days, connections, visitors } = self.quota;
        for (name, value) in [("QConns", connections), ("QDays", days)] {
            if let Some(value) = value {
                let _ = write!(text, "X-PageKite-{name}: {value}\r\n");
            }
        }
        if let Some((visitors, seconds)) = visitors {
            let _ = write!(text, "X-PageKite-IPsPerSec: {visitors}/{seconds}\r\n");
        }
        if let Some(kilobytes) = kilobytes {
            let _ = write!(text, "X-PageKite-Quota: {kilobytes}\r\n");
        }
    }
}
