//! A line for each visit, in the Common Log Format or as JSON, for whoever wants
//! to know who came. What stands behind the `?` of a target is left out: tokens
//! and passwords travel there.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use log::warn;
use serde_json::json;

use super::caller::From;
use super::request::{Version, VisitorRequest};
use super::shared::unix_seconds;
use crate::config::{AccessLog as Settings, AccessLogFormat};
use crate::system::civil::Civil;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// Longest text of a visitor's that a line repeats, in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// Where the lines go.
pub(super) struct AccessLog {
    settings: RefCell<Option<Settings>>,
    output: RefCell<Option<Output>>,
    complains: Cell<bool>,
}

enum Output {
    File(File),
    Standard,
}

/// What a line says of one visit.
pub(super) struct Entry<'a> {
    pub(super) from: &'a From,
    /// Name that was asked for.
    pub(super) host: &'a str,
    /// Protocol of the kite.
    pub(super) protocol: &'a str,
    /// What was asked for, over HTTP.
    pub(super) request: Option<&'a VisitorRequest>,
    /// The User-Agent header.
    pub(super) agent: Option<&'a str>,
    /// Status of the answer; 0 if there was none.
    pub(super) status: u16,
    pub(super) seconds: f64,
    /// Bytes to the kite.
    pub(super) sent: u64,
    /// Bytes to the visitor.
    pub(super) received: u64,
}

impl AccessLog {
    /// Opens the log.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn open(settings: Option<Settings>) -> io::Result<Self> {
        let output =
            settings.as_ref().map(|settings| open(settings.path.as_deref())).transpose()?;
        Ok(Self {
            settings: RefCell::new(settings),
            output: RefCell::new(output),
            complains: Cell::new(true),
        })
    }

    /// Opens the file anew, after somebody has moved it away.
    pub(super) fn reopen(&self) {
        let settings = self.settings.borrow().clone();
        self.change(settings);
    }

    /// Goes on in another file, or in another format; a file that cannot be
    /// opened changes nothing.
    pub(super) fn change(&self, settings: Option<Settings>) {
        match settings.as_ref().map(|settings| open(settings.path.as_deref())).transpose() {
            Ok(output) => {
                *self.output.borrow_mut() = output;
                *self.settings.borrow_mut() = settings;
            }
            Err(error) => warn!("the access log stays where it was: {error}"),
        }
        self.complains.set(true);
    }

    /// Writes a line. What cannot be written is lost, and that is told once.
    pub(super) fn note(&self, entry: &Entry<'_>) {
        let Some(format) = self.settings.borrow().as_ref().map(|settings| settings.format) else {
            return;
        };
        let now = unix_seconds();
        let mut line = match format {
            AccessLogFormat::Common => entry.common(now),
            AccessLogFormat::Json => entry.json(now),
        };
        line.push('\n');
        let written = match &mut *self.output.borrow_mut() {
            Some(Output::File(file)) => file.write_all(line.as_bytes()),
            Some(Output::Standard) => io::stdout().write_all(line.as_bytes()),
            None => Ok(()),
        };
        if let Err(error) = written {
            if self.complains.replace(false) {
                warn!("the access log cannot be written: {error}");
            }
        }
    }
}

/// Visitors' addresses are nobody's business but the owner's and a group's.
fn open(path: Option<&Path>) -> io::Result<Output> {
    let Some(path) = path else { return Ok(Output::Standard) };
    OpenOptions::new().append(true).create(true).mode(0o640).open(path).map(Output::File)
}

impl Entry<'_> {
    /// `ADDRESS - - [TIME] "REQUEST" STATUS BYTES`.
    fn common(&self, now: u64) -> String {
        let Civil { year, month, day, hour, minute, second } = Civil::at(now);
        let month = MONTHS[usize::try_from(month - 1).unwrap_or_default() % MONTHS.len()];
        let address = self.from.peer.ip();
        format!(
            "{address} - - [{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000] \
             \"{}\" {} {}",
            self.request_line(),
            self.status,
            self.received
        )
    }

    fn request_line(&self) -> String {
        let host = printable(self.host);
        match self.request {
            Some(request) => {
                let version = match request.version {
                    Version::Http10 => "1.0",
                    Version::Http11 => "1.1",
                };
                format!("{} {} HTTP/{version}", request.method, request.target)
            }
            None => format!("{} {host}:{} -", self.protocol, self.from.port),
        }
    }

    fn json(&self, now: u64) -> String {
        json!({
            "time": Civil::at(now).to_string(),
            "visitor": self.from.peer.ip().to_string(),
            "kite": printable(self.host),
            "protocol": self.protocol,
            "port": self.from.port,
            "tls": self.from.tls,
            "method": self.request.map(|request| &request.method),
            "target": self.request.map(|request| &request.target),
            "agent": self.agent.map(printable),
            "status": (self.status > 0).then_some(self.status),
            "seconds": (self.seconds * 1000.0).round() / 1000.0,
            "bytes_in": self.sent,
            "bytes_out": self.received,
        })
        .to_string()
    }
}

/// What a visitor sent, as it may stand in a log.
fn printable(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let is_bad = |letter: char| letter.is_control() || matches!(letter, '"' | '\\');
    text[..end].chars().map(|letter| if is_bad(letter) { '?' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from() -> From {
        From {
            peer: "192.0.2.7:4242".parse().expect("an address"),
            local: "192.0.2.1".parse().expect("an address"),
            port: 443,
            tls: true,
            tls_name: None,
            named: None,
        }
    }

    fn entry<'a>(from: &'a From, request: Option<&'a VisitorRequest>) -> Entry<'a> {
        Entry {
            from,
            host: "box.test",
            protocol: "http",
            request,
            agent: Some("curl/8 \"x\""),
            status: 200,
            seconds: 0.1234,
            sent: 10,
            received: 20,
        }
    }

    #[test]
    fn a_line_is_what_every_reader_of_logs_knows() {
        let head = b"GET /a?token=secret HTTP/1.1\r\nHost: box.test\r\n\r\n";
        let request = VisitorRequest::read(head, None).expect("a request");
        let from = from();
        assert_eq!(
            entry(&from, Some(&request)).common(1_700_000_000),
            "192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] \"GET /a HTTP/1.1\" 200 20"
        );
        let raw = Entry { protocol: "raw", status: 0, ..entry(&from, None) };
        assert_eq!(
            raw.common(0),
            "192.0.2.7 - - [01/Jan/1970:00:00:00 +0000] \"raw box.test:443 -\" 0 20"
        );
    }

    #[test]
    fn json_holds_whatever_a_visitor_sends() {
        let head = b"GET /a?token=secret HTTP/1.1\r\nHost: box.test\r\n\r\n";
        let request = VisitorRequest::read(head, None).expect("a request");
        let from = from();
        let line = entry(&from, Some(&request)).json(0);
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["target"], "/a");
        assert_eq!(value["agent"], "curl/8 ?x?");
        assert_eq!(value["seconds"], 0.123);
        assert!(!line.contains("secret") && !line.contains('\n'));
    }
}
