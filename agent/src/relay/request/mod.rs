//! Reads a visitor's request before it goes to a kite, as strictly as somebody
//! must who stands before many services: what is served to whom, and where one
//! request ends and the next begins, must not depend on who reads it.

mod connect;
mod forward;
mod host;

use std::fmt;

use crate::http::fields::{BodyHeaders, Header, keeps_alive, members};
use crate::http::head::{Head, HeadError};
use crate::http::{Framing, MAX_HEAD_BYTES, MAX_HEADERS, identity};
use crate::relay::reply::Status;
use host::Host;

pub use connect::{ConnectRequest, is_connect};

/// The longest method, in bytes; the longest registered one is
/// `UPDATEREDIRECTREF`.
pub const MAX_METHOD_BYTES: usize = 32;
/// How much of a target or a path is kept, in bytes; it is for logs, and for
/// paths of ACME challenges, which have about 80.
pub const MAX_TARGET_BYTES: usize = 1024;
/// Headers on which hangs who gets a request and where it ends.
const ESSENTIAL: [&str; 3] = ["Host", "Content-Length", "Transfer-Encoding"];

/// Why a request is answered by the relay itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRequest {
    /// What to answer: 400, 421, 431 or 501.
    pub status: Status,
    /// What is wrong with the request, to follow "because".
    pub problem: &'static str,
}

impl fmt::Display for BadRequest {
    /// For the log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the request is refused, because {}", self.problem)
    }
}

impl std::error::Error for BadRequest {}

/// The version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// What the head of a request says. It keeps nothing of the head itself, which
/// can be freed once it is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisitorRequest {
    /// As written; never `CONNECT`.
    pub method: String,
    /// The name that is asked for: in lower case, without a dot at its end,
    /// without the `0x...--` prefix of sandboxes (`protocol.md` 11); an address
    /// if the visitor gave one, IPv6 in brackets. `None` comes with HTTP/1.0
    /// only; there is nobody to serve then.
    pub host: Option<String>,
    /// The port after the name.
    pub host_port: Option<u16>,
    /// The target as received, for a log: up to the `?`, what is not printable
    /// percent-encoded, `"` and `\` as well; the first [`MAX_TARGET_BYTES`].
    pub target: String,
    /// The path of the target in the same form; `*` for all of a server.
    pub path: String,
    /// The version of the request.
    pub version: Version,
    /// Whether a WebSocket is asked for (`Upgrade: websocket`).
    pub is_websocket: bool,
    /// Whether the answer may be 101 Switching Protocols (any `Upgrade` that
    /// goes to the kite).
    pub may_switch: bool,
    /// Where the body ends; [`crate::http::Body`] follows it.
    pub framing: Framing,
    /// Whether the visitor wants the connection closed after the answer.
    pub closes: bool,
    /// Whether the visitor holds the body back until he is told to send it
    /// (`Expect: 100-continue`).
    pub expects_continue: bool,
    /// The target has a scheme and a host.
    is_absolute: bool,
    /// The head goes to the kite as it is.
    is_unchanged: bool,
}

impl VisitorRequest {
    /// Reads a complete head, from the first byte to its empty line. When TLS
    /// of the visitor ends here, `over_tls_name` is the name that it was asked
    /// for; a DNS name there has to be the host of each request.
    ///
    /// # Errors
    /// 400 for what is malformed or ambiguous, 421 for a host that is not the
    /// one of TLS, 431 for too much, 501 for a `Transfer-Encoding` other than
    /// `chunked` and for a method of absurd length.
    pub fn read(head: &[u8], over_tls_name: Option<&str>) -> Result<Self, BadRequest> {
        let head = parse(head)?;
        let method = head.method();
        if method.len() > MAX_METHOD_BYTES {
            return refuse(Status::NotImplemented, "its method is too long");
        }
        if method == b"CONNECT" {
            return refuse(Status::BadRequest, "CONNECT does not belong here");
        }
        let framing = read_framing(&head)?;
        check_spelling(&head)?;
        check_connection_options(&head)?;
        let version = if head.is_http_1_0() { Version::Http10 } else { Version::Http11 };

        let mut host = single_host(&head)?;
        if host.is_none() && version == Version::Http11 {
            return refuse(Status::BadRequest, "it has no Host header");
        }
        let (is_absolute, path) = match Target::parse(head.target(), method) {
            Some(Target::Own(path)) => (false, printable(path)),
            Some(Target::Absolute { authority, start, rest }) => {
                if host.is_none() && head.headers().count() == MAX_HEADERS {
                    return Err(HeadError::TooManyHeaders.into());
                }
                let named = Host::parse(authority);
                host = Some(named.ok_or_else(|| malformed("its target has no usable host"))?);
                (true, start.to_owned() + &printable(rest))
            }
            None => return refuse(Status::BadRequest, "its target is no path"),
        };
        let tls_name = over_tls_name.and_then(host::tls_name);
        if let (Some(tls_name), Some(host)) = (&tls_name, &host) {
            if *tls_name != host.name {
                return refuse(
                    Status::MisdirectedRequest,
                    "its host is not the one that the connection was made for",
                );
            }
        }
        let (host, host_port) = host.map_or((None, None), |host| (Some(host.name), host.port));
        let is_named = |name: &'static str| {
            head.headers().filter(move |header| header.name.eq_ignore_ascii_case(name.as_bytes()))
        };
        let upgrades = || {
            let values = head.headers().filter(|header| is_upgrade(header) && !is_renamed(header));
            values.map(|header| header.value)
        };
        let has_member = |name, member: &str| {
            is_named(name)
                .flat_map(|header| members(header.value))
                .any(|found| found.eq_ignore_ascii_case(member.as_bytes()))
        };
        Ok(Self {
            method: String::from_utf8_lossy(method).into_owned(),
            host,
            host_port,
            target: printable(head.target()),
            path,
            version,
            is_websocket: upgrades().any(|value| has_websocket(value)),
            may_switch: upgrades().next().is_some(),
            framing,
            closes: !keeps_alive(head.headers(), version == Version::Http10),
            expects_continue: version == Version::Http11 && has_member("Expect", "100-continue"),
            is_absolute,
            is_unchanged: !is_absolute && !head.headers().any(|header| is_renamed(&header)),
        })
    }
}

/// What a target is (RFC 9112 section 3.2).
enum Target<'a> {
    /// A path, or `*`.
    Own(&'a [u8]),
    Absolute {
        /// `host[:port]`, unchecked.
        authority: &'a [u8],
        /// What belongs before the rest to make it a path.
        start: &'static str,
        /// Path and query as written.
        rest: &'a [u8],
    },
}

impl<'a> Target<'a> {
    fn parse(target: &'a [u8], method: &[u8]) -> Option<Self> {
        match target {
            [b'/', ..] => return Some(Self::Own(target)),
            b"*" if method == b"OPTIONS" => return Some(Self::Own(target)),
            _ => {}
        }
        let rest = [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        })?;
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
        let (authority, rest) = rest.split_at(end.unwrap_or(rest.len()));
        let start = match (rest, method) {
            ([b'/', ..], _) => "",
            // RFC 9112 section 3.2.4.
            ([], b"OPTIONS") => "*",
            _ => "/",
        };
        Some(Self::Absolute { authority, start, rest })
    }
}

/// Checks the length and every byte of a head.
fn parse(bytes: &[u8]) -> Result<Head<'_>, BadRequest> {
    if bytes.len() > MAX_HEAD_BYTES {
        return refuse(Status::HeadTooLarge, "its head is too long");
    }
    Ok(Head::parse(bytes)?)
}

/// Where the body ends. A coding besides `chunked` would be the service's to
/// undo; services that do not know it are known to end the body elsewhere.
fn read_framing(head: &Head<'_>) -> Result<Framing, BadRequest> {
    let BodyHeaders { length, coding } = BodyHeaders::read(head.headers()).map_err(malformed)?;
    let is_plain = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if length.is_none() && coding.is_some_and(|coding| !is_plain(coding)) {
        return refuse(Status::NotImplemented, "its Transfer-Encoding is not chunked");
    }
    head.framing().map_err(malformed)
}

/// Services that hand headers on as CGI variables take `Content_Length` for
/// `Content-Length`; nobody else does.
fn check_spelling(head: &Head<'_>) -> Result<(), BadRequest> {
    let is_other_spelling = |name: &[u8]| name.contains(&b'_') && identity::is_in(name, &ESSENTIAL);
    if head.headers().any(|header| is_other_spelling(header.name)) {
        return refuse(Status::BadRequest, "it spells a header with _ that is spelled with -");
    }
    Ok(())
}

/// `Connection` names headers that the next proxy takes out (RFC 9110 section
/// 7.6.1). A visitor who names these wants them not to arrive.
fn check_connection_options(head: &Head<'_>) -> Result<(), BadRequest> {
    let mut options = head
        .headers()
        .filter(|header| header.name.eq_ignore_ascii_case(b"Connection"))
        .flat_map(|header| members(header.value));
    if options.any(|option| identity::is_forged(option) || identity::is_in(option, &ESSENTIAL)) {
        return refuse(Status::BadRequest, "its Connection header takes out what has to arrive");
    }
    Ok(())
}

fn single_host(head: &Head<'_>) -> Result<Option<Host>, BadRequest> {
    let mut hosts = head.headers().filter(|header| header.name.eq_ignore_ascii_case(b"Host"));
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(None),
        (Some(Header { value, .. }), None) => match Host::parse(value) {
            Some(host) => Ok(Some(host)),
            None => refuse(Status::BadRequest, "its Host header is no name with or without a port"),
        },
        _ => refuse(Status::BadRequest, "it has two Host headers"),
    }
}

/// Whether a header goes to the kite under another name: what only an agent may
/// say of the visitor, and what leads to another kind of HTTP, in which the
/// visitor could say it unseen.
fn is_renamed(header: &Header<'_>) -> bool {
    identity::is_forged(header.name) || is_upgrade(header) && leads_to_http(header.value)
}

fn is_upgrade(header: &Header<'_>) -> bool {
    identity::is_in(header.name, &["Upgrade"])
}

/// Whether an `Upgrade` names HTTP in another form: `h2c` (RFC 7540 section
/// 3.2) and its drafts, `HTTP/2.0`, or TLS with HTTP in it (RFC 2817).
fn leads_to_http(value: &[u8]) -> bool {
    members(value).any(|member| {
        let name = member.split(|byte| *byte == b'/').next().unwrap_or_default();
        let is_form_of_2 = name.len() >= 2 && name[..2].eq_ignore_ascii_case(b"h2");
        is_form_of_2 || name.eq_ignore_ascii_case(b"HTTP") || name.eq_ignore_ascii_case(b"TLS")
    })
}

fn has_websocket(value: &[u8]) -> bool {
    members(value).any(|member| member.eq_ignore_ascii_case(b"websocket"))
}

/// A target for a log, without its query.
fn printable(target: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::new();
    for &byte in target.iter().take_while(|byte| **byte != b'?').take(MAX_TARGET_BYTES) {
        let is_plain = byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
        if is_plain {
            text.push(char::from(byte));
        } else {
            let digits = [byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]);
            text.extend(['%'].into_iter().chain(digits.map(char::from)));
        }
    }
    text.truncate(MAX_TARGET_BYTES);
    text
}

fn malformed(problem: &'static str) -> BadRequest {
    BadRequest { status: Status::BadRequest, problem }
}

fn refuse<T>(status: Status, problem: &'static str) -> Result<T, BadRequest> {
    Err(BadRequest { status, problem })
}

impl From<HeadError> for BadRequest {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Malformed(problem) => malformed(problem),
            HeadError::TooManyHeaders => {
                Self { status: Status::HeadTooLarge, problem: "it has too many headers" }
            }
        }
    }
}

#[cfg(test)]
mod tests;
