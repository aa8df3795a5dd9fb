//! Which kites may fly, as a line says it: `PROTO[,PROTO]:NAME:SECRET`, in
//! `domain` (`protocol.md` 14) and in the kites file alike. No text in here
//! repeats a part that may be the secret of a line whose parts are mixed up.

use super::super::address::port;
use super::super::grammar::TypedLine;
use super::super::nearest::nearest;
use super::super::problem::{Place, Report};
use super::super::relay_settings::{Grant, KiteQuota};
use super::super::secrets::warn_exposed;
use super::super::service::{PROTOCOLS, SSH_PORT};
use crate::wire::{KiteId, Secret};

/// Longest secret of a kite, in bytes: the longest that libpagekite holds
/// (`protocol.md` 17).
pub const MAX_GRANT_SECRET_BYTES: usize = 255;
/// A secret with fewer bytes is warned about, since it can be guessed.
pub const MIN_GRANT_SECRET_BYTES: usize = 8;

const SHAPE: &str = "is written PROTOCOLS:NAME:SECRET, such as http,https:box.example.com:SECRET";

/// The parts of a grant. Not `Debug`, because of the secret.
pub(super) struct GrantText<'a> {
    /// The list of protocols, for [`protocols`].
    pub(super) protocols: &'a str,
    pub(super) domain: String,
    pub(super) secret: Secret,
    /// What is unwise about it.
    pub(super) doubt: Option<&'static str>,
}

/// Reads `PROTO[,PROTO]:NAME:SECRET`.
///
/// # Errors
/// What is wrong and the mend.
pub(super) fn grant_text(text: &str) -> Result<GrantText<'_>, String> {
    let (protocols, rest) = text.split_once(':').ok_or(SHAPE)?;
    let (domain, secret) = rest.split_once(':').ok_or(SHAPE)?;
    let id = KiteId::new("http", None, domain).map_err(|_| {
        "the name is a DNS name, *.NAME for all below it, or unknown for the rest; write \
         PROTOCOLS:NAME:SECRET"
    })?;
    if secret.is_empty() {
        return Err("the secret is missing; write PROTOCOLS:NAME:SECRET".into());
    }
    let sound = secret.len() <= MAX_GRANT_SECRET_BYTES
        && secret.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if !sound {
        return Err(format!(
            "the secret has to be 1 to {MAX_GRANT_SECRET_BYTES} letters, digits and signs of ASCII, \
             no blank and no colon, since agents do not agree on others; kitelet relay add makes a \
             good one"
        ));
    }
    let doubt = (secret.len() < MIN_GRANT_SECRET_BYTES).then_some(
        "the secret is so short that it can be guessed; kitelet relay add makes a good one",
    );
    let secret = Secret::new(secret.as_bytes());
    Ok(GrantText { protocols, domain: id.domain().to_owned(), secret, doubt })
}

/// Reads `http,https,raw-22`; `*` or nothing is all of `offered`, the protocols
/// of the relay. Those that it does not offer go to `notes`.
///
/// # Errors
/// What is wrong and the mend.
pub(super) fn protocols(
    list: &str,
    offered: &[String],
    notes: &mut Vec<String>,
) -> Result<Vec<(String, Option<u16>)>, String> {
    const WRONG: &str = "one of the protocols is unknown; write some of http, https, websocket, \
         raw, raw-22, or * for all";
    if matches!(list, "" | "*") {
        return Ok(offered.iter().map(|name| (name.clone(), None)).collect());
    }
    let mut protocols: Vec<(String, Option<u16>)> = Vec::new();
    for word in list.split(',').map(str::trim) {
        let (name, number) = match word.split_once(['-', '/']) {
            Some((name, digits)) => {
                let number = port(digits);
                let text = "the port of a protocol is a number from 1 to 65535, such as raw-22";
                (name, Some(number.ok_or(text)?))
            }
            None => (word, None),
        };
        let name = name.to_ascii_lowercase();
        let (name, number) = match name.as_str() {
            "tls" => ("https", number),
            "ssh" => ("raw", number.or(Some(SSH_PORT))),
            other => (other, number),
        };
        let Some(known) = PROTOCOLS.iter().find(|known| **known == name) else {
            let near = nearest(name, PROTOCOLS);
            return Err(near.map_or_else(
                || WRONG.into(),
                |near| format!("one of the protocols is unknown; did you mean {near}?"),
            ));
        };
        if !offered.iter().any(|offered| offered == known) {
            notes.push(format!("this relay has no {known}; add it to protos, or take it out here"));
            continue;
        }
        let protocol = ((*known).to_owned(), number);
        if !protocols.contains(&protocol) {
            protocols.push(protocol);
        }
    }
    match (protocols.is_empty(), notes.pop()) {
        (true, Some(note)) => Err(note),
        (_, note) => {
            notes.extend(note);
            Ok(protocols)
        }
    }
}

/// The `domain` lines so far. Not `Debug`, because of the secrets.
#[derive(Default)]
pub(super) struct GrantLines(Vec<Line>);

struct Line {
    place: Place,
    protocols: String,
    domain: String,
    secret: Secret,
}

impl GrantLines {
    /// `domain = PROTO[,PROTO]:NAME:SECRET`.
    pub(super) fn add(&mut self, line: &TypedLine, report: &mut Report) -> Result<(), String> {
        let grant = grant_text(&line.value)?;
        if let Some(doubt) = grant.doubt {
            report.warning(&line.place, line.row.name, doubt);
        }
        if line.place.file().is_none() {
            let text = "every user of this machine can read a secret on the command line; write \
                 the line into a file";
            report.warning(&line.place, line.row.name, text);
        } else if line.exposed {
            warn_exposed(&line.place, report);
        }
        self.0.push(Line {
            place: line.place.clone(),
            protocols: grant.protocols.to_owned(),
            domain: grant.domain,
            secret: grant.secret,
        });
        Ok(())
    }

    /// The grants, once it is known what the relay offers.
    pub(super) fn finish(self, offered: &[String], report: &mut Report) -> Vec<Grant> {
        let mut grants = Vec::new();
        for line in self.0 {
            let mut notes = Vec::new();
            let protocols = protocols(&line.protocols, offered, &mut notes);
            for note in notes {
                report.warning(&line.place, "domain", note);
            }
            match protocols {
                Ok(protocols) => grants.push(Grant {
                    protocols,
                    domain: line.domain,
                    secret: line.secret,
                    quota: KiteQuota::default(),
                }),
                Err(text) => report.mistake(&line.place, "domain", text),
            }
        }
        grants
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes, settings, warnings};
    use super::*;

    #[test]
    fn every_shape_of_a_grant_is_read() {
        for (text, expected, domain) in [
            ("http:a.b:longenough", "http", "a.b"),
            ("HTTP,raw/22,https:A.B:longenough", "http raw-22 https", "a.b"),
            ("ssh,tls:*.b:longenough", "raw-22 https", "*.b"),
            ("*:unknown:longenough", "http https raw", "unknown"),
            (":a.b:longenough", "http https raw", "a.b"),
        ] {
            let read = settings(&format!("domain = {text}\nprotos = http,https,raw"));
            let protocols: Vec<String> = read.grants[0]
                .protocols
                .iter()
                .map(|(name, port)| port.map_or(name.clone(), |port| format!("{name}-{port}")))
                .collect();
            assert_eq!(protocols.join(" "), expected, "{text}");
            assert_eq!(read.grants[0].domain, domain);
            assert_eq!(read.grants[0].secret, Secret::new("longenough"));
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        for (text, part) in [
            ("s3cretword", "is written PROTOCOLS:NAME:SECRET"),
            ("a.b:s3cretword", "is written PROTOCOLS:NAME:SECRET"),
            ("http:a.b:", "the secret is missing"),
            ("http:a_b!:s3cretword", "the name is a DNS name"),
            ("http:a.b:s3cret:word", "no blank and no colon"),
            ("http:a.b:s3cret w", "no blank and no colon"),
            ("http:a.b:s3crét", "of ASCII"),
            ("s3cretword:http:a.b.c.d", "one of the protocols is unknown"),
            ("htpp:a.b:s3cretword", "did you mean http"),
            ("raw-s3cret:a.b:s3cretword", "is a number from 1"),
            ("xmpp:a.b:s3cretword", "this relay has no xmpp"),
        ] {
            let told = mistakes(&format!("domain = {text}\nprotos = http,https,raw"));
            assert!(told.contains(part), "{text}: {told}");
            assert!(!told.contains("s3cr"), "{told}");
        }
        let told = warnings("domain = http,irc:a.b:s3cret\nprotos = http");
        assert!(told.contains("this relay has no irc"), "{told}");
        assert!(told.contains("so short that it can be guessed"), "{told}");
    }
}
