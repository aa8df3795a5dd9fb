//! What a service line says: `PROTO[-PORT][,PROTO...]:KITE:HOST:PORT:SECRET`
//! (features B), and beyond PageKite `[IPV6]:PORT` and `unix:/PATH` in place of
//! `HOST:PORT`.

use std::path::PathBuf;

use super::address::{host_port, is_host_name, port};
use super::nearest::nearest;
use super::problem::quoted;
use super::settings::Origin;
use crate::wire::{KiteId, MAX_PROTOCOL_BYTES};

/// Longest path of a Unix socket, in bytes (unix(7): 108 with the final zero).
pub const MAX_SOCKET_PATH_BYTES: usize = 107;
/// The protocols that relays know (features B). Others are passed on.
pub(super) const PROTOCOLS: [&str; 9] =
    ["http", "http2", "http3", "https", "websocket", "raw", "irc", "xmpp", "minecraft"];
/// The port of `ssh`, which is short for `raw-22`.
pub(super) const SSH_PORT: u16 = 22;
const SHAPE: &str = "is not a service; write PROTOCOL:NAME:HOST:PORT:SECRET, such as \
     http:@kitename:localhost:80:@kitesecret, with an IPv6 address in brackets";
const WRONG_ORIGIN: &str = "HOST:PORT is wrong; write PROTOCOL:NAME:HOST:PORT:SECRET with a port \
     from 1 to 65535, and an IPv6 address in brackets";
const NO_PORT: &str = "the port is missing; write PROTOCOL:NAME:HOST:PORT:SECRET, such as \
     http:@kitename:localhost:80:@kitesecret";
const WRONG_SHORT_ORIGIN: &str = "the service is wrong; write PORT, HOST:PORT or unix:/PATH with a \
     port from 1 to 65535, and an IPv6 address in brackets";
const BUILTIN: &str = "there is no built-in web server; run one of your own (such as \
     busybox httpd -p 127.0.0.1:8080 -h FOLDER) and write its port in place of builtin";

/// The parts of a service line; `kite` and `secret` may be placeholders. Not
/// `Debug`, because of the secret.
pub(super) struct ServiceLine<'a> {
    pub(super) protocols: Vec<Protocol>,
    pub(super) kite: &'a str,
    pub(super) origin: Origin,
    /// Empty when there is none.
    pub(super) secret: &'a str,
}

/// A protocol and the public port, if only that port is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Protocol {
    name: String,
    port: Option<u16>,
}

impl Protocol {
    /// The kite of this protocol with the name `domain`.
    ///
    /// # Errors
    /// What is wrong with the name, and the mend.
    pub(super) fn kite(&self, domain: &str) -> Result<KiteId, String> {
        KiteId::new(&self.name, self.port, domain).map_err(|error| error.to_string())
    }

    /// The same protocol on one public port.
    pub(super) fn on_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }
}

/// Reads the value of `service_on` and `service_off`; doubts go to `notes`.
///
/// # Errors
/// What is wrong and the mend, without the parts that may be the secret.
pub(super) fn service_line<'a>(
    value: &'a str,
    notes: &mut Vec<String>,
) -> Result<ServiceLine<'a>, String> {
    let (list, rest) = value.split_once(':').ok_or(SHAPE)?;
    let (kite, rest) = rest.split_once(':').ok_or(SHAPE)?;
    let end = origin_end(rest).ok_or(SHAPE)?;
    let (origin, rest) = rest.split_at(end);
    let origin = read_origin(origin, if lacks_port(origin) { NO_PORT } else { WRONG_ORIGIN })?;
    Ok(ServiceLine {
        protocols: protocols(list, notes)?,
        kite,
        origin,
        secret: rest.strip_prefix(':').unwrap_or_default(),
    })
}

/// Reads the origin of the short form: `PORT`, `HOST:PORT`, `[IPV6]:PORT`,
/// `unix:/PATH`.
///
/// # Errors
/// What is wrong and the mend.
pub(super) fn short_origin(text: &str) -> Result<Origin, String> {
    if text.contains('/') && !text.starts_with("unix:") {
        return Err("files and folders cannot be published: there is no built-in web server; run \
             one of your own and name its port, such as kitelet 8080 NAME"
            .into());
    }
    match port(text) {
        Some(port) => Ok(Origin::Tcp { host: "localhost".into(), port }),
        None => read_origin(text, WRONG_SHORT_ORIGIN),
    }
}

/// Reads `http,https,raw-22,raw/5900`, with `tls` for `https` and `ssh` for
/// `raw-22`.
///
/// # Errors
/// What is wrong and the mend.
pub(super) fn protocols(list: &str, notes: &mut Vec<String>) -> Result<Vec<Protocol>, String> {
    let mut protocols = Vec::new();
    for text in list.split(',').map(str::trim) {
        let (name, number) = match text.split_once(['/', '-']) {
            Some((name, digits)) => {
                let number = port(digits).ok_or(
                    "the public port of a kite is a number from 1 to 65535, such as raw-22",
                )?;
                (name, Some(number))
            }
            None => (text, None),
        };
        let name = name.to_ascii_lowercase();
        let fits = !name.is_empty()
            && name.len() <= MAX_PROTOCOL_BYTES
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !fits {
            return Err(SHAPE.into());
        }
        let (name, number) = match name.as_str() {
            "tls" => ("https", number),
            "ssh" => ("raw", number.or(Some(SSH_PORT))),
            other => (other, number),
        };
        if !PROTOCOLS.contains(&name) {
            notes.push(match nearest(name, PROTOCOLS) {
                Some(near) => format!("relays do not know {name}; did you mean {near}?"),
                None => format!("relays do not know {name}; http, https or raw may be meant"),
            });
        }
        protocols.push(Protocol { name: name.to_owned(), port: number });
    }
    Ok(protocols)
}

/// Where the origin ends and `:SECRET` begins.
fn origin_end(rest: &str) -> Option<usize> {
    let colon_from = |start: usize| {
        let found = rest.get(start..)?.find(':');
        Some(found.map_or(rest.len(), |found| start + found))
    };
    if rest.starts_with("unix:/") {
        return colon_from("unix:".len());
    }
    if rest.starts_with('[') {
        let close = rest.find(']')?;
        return if rest[close..].starts_with("]:") { colon_from(close + 2) } else { None };
    }
    let colon = rest.find(':')?;
    colon_from(colon + 1)
}

/// Whether something else stands where the port belongs, such as the secret.
fn lacks_port(origin: &str) -> bool {
    let (host, port) = origin.rsplit_once(':').unwrap_or((origin, ""));
    let is_number = port.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    !is_number && is_host_name(host)
}

/// Reads `HOST:PORT`, where no host means this machine. The text may be a
/// secret that lost its neighbours, so it is not repeated.
fn read_origin(text: &str, wrong: &str) -> Result<Origin, String> {
    // A host may be named unix, but no path is a number.
    let path = text.strip_prefix("unix:");
    if let Some(path) = path.filter(|path| port(path).is_none()) {
        if !path.starts_with('/') || path.len() > MAX_SOCKET_PATH_BYTES {
            return Err(format!(
                "the path of a Unix socket starts with / and has at most \
                 {MAX_SOCKET_PATH_BYTES} bytes; write unix:/run/NAME.socket"
            ));
        }
        return Ok(Origin::Unix(PathBuf::from(path)));
    }
    if text == "builtin" || text.ends_with(":builtin") {
        return Err(BUILTIN.into());
    }
    let parts = match text.strip_prefix(':') {
        Some(digits) => port(digits).map(|port| ("localhost".to_owned(), port)),
        None => host_port(text, None),
    };
    let (host, port) = parts.ok_or(wrong)?;
    Ok(Origin::Tcp { host, port })
}

/// The name of a service (`service_name`): what a log line and a command can
/// carry.
///
/// # Errors
/// How a name is written.
pub(super) fn service_name(text: &str) -> Result<String, String> {
    const MAX_NAME_BYTES: usize = 32;
    let fits = !text.is_empty()
        && text.len() <= MAX_NAME_BYTES
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{} is no name for a service; write up to {MAX_NAME_BYTES} letters, digits, - _ or .",
        quoted(text)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> (Vec<String>, Origin, String) {
        let mut notes = Vec::new();
        let line = service_line(value, &mut notes).expect(value);
        assert!(notes.is_empty(), "{notes:?}");
        let kites = line.protocols.iter();
        let kites = kites.map(|protocol| protocol.kite(line.kite).expect(value).to_string());
        (kites.collect(), line.origin, line.secret.to_owned())
    }

    fn tcp(host: &str, port: u16) -> Origin {
        Origin::Tcp { host: host.into(), port }
    }

    #[test]
    fn reads_pagekites_shapes() {
        for (value, kites, origin, secret) in [
            ("http:a.b:localhost:80:s", "http:a.b", tcp("localhost", 80), "s"),
            ("http:a.b:localhost:80", "http:a.b", tcp("localhost", 80), ""),
            ("http:a.b::80:", "http:a.b", tcp("localhost", 80), ""),
            ("raw/22:a.b:10.0.0.2:22:s", "raw-22:a.b", tcp("10.0.0.2", 22), "s"),
            ("ssh:a.b:h:22:s:t", "raw-22:a.b", tcp("h", 22), "s:t"),
            ("ssh/2222:a.b:h:22:s", "raw-2222:a.b", tcp("h", 22), "s"),
            ("tls:A.b:h:443:s", "https:a.b", tcp("h", 443), "s"),
            ("http-8080,https:a.b:h:1:s", "http-8080:a.b https:a.b", tcp("h", 1), "s"),
        ] {
            let expected = kites.split(' ').map(str::to_owned).collect();
            assert_eq!(read(value), (expected, origin, secret.to_owned()), "{value}");
        }
    }

    #[test]
    fn reads_what_pagekite_cannot_say() {
        assert_eq!(read("http:a.b:[::1]:80:s:t").1, tcp("::1", 80));
        assert_eq!(read("http:a.b:[::1]:80:s:t").2, "s:t");
        let socket = Origin::Unix("/run/web.socket".into());
        assert_eq!(read("http:a.b:unix:/run/web.socket:s").1, socket);
        assert_eq!(read("http:a.b:unix:/run/web.socket").2, "");
        assert_eq!(read("http:a.b:unix:80:s").1, tcp("unix", 80));
    }

    #[test]
    fn refuses_in_words_and_keeps_the_secret() {
        for (value, part) in [
            ("http", "is not a service"),
            ("http:a.b", "is not a service"),
            ("http:a.b:s3cret", "is not a service"),
            ("http:a.b:80:s3cret", "the port is missing"),
            ("http:a.b:localhost:@kitesecret", "the port is missing"),
            ("http:a.b:localhost::s3cret", "the port is missing"),
            ("http:a.b:localhost:80s3cret", "HOST:PORT is wrong"),
            ("http:a.b:::1:80:s3cret", "brackets"),
            ("http:a.b:localhost:0:s3cret", "HOST:PORT"),
            ("http:a.b:localhost:builtin:s3cret", "no built-in web server"),
            ("raw-x:a.b:localhost:22:s3cret", "public port"),
            (":a.b:localhost:22:s3cret", "is not a service"),
            ("http:a.b:[::1]80:s3cret", "brackets"),
        ] {
            let error = match service_line(value, &mut Vec::new()) {
                Ok(_) => panic!("{value}"),
                Err(error) => error,
            };
            assert!(error.contains(part), "{value}: {error}");
            assert!(!error.contains("s3cret"), "{value}: {error}");
        }
        let long = format!("http:a.b:unix:/{}:s", "x".repeat(MAX_SOCKET_PATH_BYTES));
        assert!(service_line(&long, &mut Vec::new()).is_err());
    }

    #[test]
    fn doubts_an_unknown_protocol() {
        let mut notes = Vec::new();
        assert!(protocols("htp,gopher", &mut notes).is_ok());
        assert_eq!(
            notes,
            [
                "relays do not know htp; did you mean http?",
                "relays do not know gopher; http, https or raw may be meant"
            ]
        );
    }
}
