//! What the relay shows a visitor who is not served (`protocol.md` 12.1,
//! 12.2): a page for browsers and a line of text for everything else.
//!
//! A stranger must not learn which names are in use. So a kite that is away,
//! one that does not exist and one that has used up its quota get the same
//! bytes, head and all, unless `reveal_kites` is on.

pub mod template;
mod words;

use std::fmt::Write as _;
use std::net::IpAddr;

use self::template::{Template, Values};
use self::words::Words;
pub use self::words::{Absence, NotServed};
use crate::html::{document, error_url, escape, frame_url, frameset, shown};

/// Rules of style that the pages of `kitelet demo` share.
pub(crate) const STYLE: &str = include_str!("page.css");
/// The picture of a kite.
pub(crate) const KITE: &str = include_str!("kite.svg");

/// In place of a name that is none.
const NO_NAME: &str = "this address";

/// The pages of one relay.
#[derive(Clone, Debug)]
pub struct Pages {
    template: Option<Template>,
    error_urls: Vec<(String, String)>,
    reveal: bool,
}

/// Who is not served.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// The name that the visitor asked for, without a port; empty if there is
    /// none. It may hold anything.
    pub host: &'a str,
    /// The protocol, `http` or `websocket`.
    pub protocol: &'a str,
    /// Where the visitor reached the relay, for the error URL.
    pub relay: Option<IpAddr>,
}

/// The same message for both kinds of visitors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// A whole page, for browsers.
    pub html: String,
    /// One line, for programs and terminals.
    pub text: String,
}

impl Pages {
    /// `template` is that of `errorpage`, `error_urls` are pairs of domain and
    /// URL (`errorurl`; an empty domain is all the rest), `reveal` is
    /// `reveal_kites`.
    pub fn new(
        template: Option<Template>,
        error_urls: Vec<(String, String)>,
        reveal: bool,
    ) -> Self {
        Self { template, error_urls, reveal }
    }

    /// What the visitor gets to read. An error URL goes before the template,
    /// and both go before the relay's own page; an error URL is only for
    /// visitors of a kite that is not there, as the other pages say what to
    /// mend.
    pub fn body(&self, reason: NotServed, visit: &Visit<'_>) -> Body {
        let words = Words::new(reason, self.reveal);
        let name = shown_name(visit.host);
        let because = words.because.map(|part| format!("{part}.")).unwrap_or_default();
        let text = format!("{}{name}{}{because}", words.before_name, words.after_name);
        let url = match reason {
            NotServed::Unavailable(_) => error_url(&self.error_urls, visit.host),
            _ => None,
        };
        let html = match (url, &self.template) {
            (Some(url), _) => framed(url, visit, &words, &text),
            (None, Some(template)) => template.fill(&Values {
                title: words.title,
                text: &text,
                hint: words.hint,
                name,
                status: &reason.status().0.to_string(),
                refresh: &words.refresh.map(|seconds| seconds.to_string()).unwrap_or_default(),
            }),
            (None, None) => own(reason, &words, name, &because),
        };
        Body { html, text: format!("{}: {text} {}\n", words.title, words.hint) }
    }

    /// A whole HTTP response; the connection is to be closed after it.
    ///
    /// `html` is what [`wants_html`] says of the request; `is_head` is true for
    /// the method HEAD, whose response ends with its head.
    pub fn response(
        &self,
        reason: NotServed,
        visit: &Visit<'_>,
        html: bool,
        is_head: bool,
    ) -> Vec<u8> {
        let Body { html: page, text } = self.body(reason, visit);
        let (kind, body) = if html { ("html", page) } else { ("plain", text) };
        let (code, phrase) = reason.status();
        let mut response = format!(
            "HTTP/1.1 {code} {phrase}\r\n\
             Content-Type: text/{kind}; charset=utf-8\r\n\
             Content-Length: {}\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Pragma: no-cache\r\n\
             Expires: 0\r\n\
             Cache-Control: no-store\r\n",
            body.len()
        );
        if let Some(seconds) = reason.retry_after() {
            // Infallible: a String takes every write.
            let _ = write!(response, "Retry-After: {seconds}\r\n");
        }
        response.push_str("Connection: close\r\n\r\n");
        if !is_head {
            response.push_str(&body);
        }
        response.into_bytes()
    }
}

/// Whether to answer with a page, by the value of the header `Accept`
/// (`None` without one; values of several such headers are joined by commas).
///
/// Every browser names `text/html` when it opens a page (the Fetch standard
/// has it do so). Programs such as curl send `*/*`, or nothing: they are read
/// in terminals and logs, and get text.
pub fn wants_html(accept: Option<&[u8]>) -> bool {
    let Some(accept) = accept else { return false };
    accept.split(|byte| *byte == b',').any(|range| {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let kind = parts.next().unwrap_or_default();
        let is_page = [&b"text/html"[..], b"application/xhtml+xml"]
            .iter()
            .any(|page| kind.eq_ignore_ascii_case(page));
        is_page && !parts.any(is_zero_quality)
    })
}

/// `q=0`, `q=0.` to `q=0.000` (RFC 9110 section 12.4.2).
fn is_zero_quality(parameter: &[u8]) -> bool {
    match parameter {
        [b'q' | b'Q', b'=', b'0', rest @ ..] => {
            rest.is_empty() || (rest[0] == b'.' && rest[1..].iter().all(|digit| *digit == b'0'))
        }
        _ => false,
    }
}

/// The name as a page may repeat it, in whatever place of a template: text
/// that can be no name is not.
fn shown_name(host: &str) -> &str {
    let is_inside =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    let host = shown(host);
    if host.is_empty() || !host.bytes().all(is_inside) { NO_NAME } else { host }
}

/// The relay's own page.
fn own(reason: NotServed, words: &Words, name: &str, because: &str) -> String {
    let mut head = "<link rel=\"icon\" href=\"data:,\">".to_owned();
    let mut foot = format!("Status {}", reason.status().0);
    if let Some(seconds) = words.refresh {
        // Infallible: a String takes every write.
        let _ = write!(head, "<meta http-equiv=\"refresh\" content=\"{seconds}\">");
        let _ = write!(foot, " · this page reloads itself every {seconds} seconds");
    }
    let main = format!(
        "{KITE}<h1>{}</h1><p>{}<b>{}</b>{}{}</p><p class=\"fix\">{}</p><small>{foot}</small>",
        escape(words.title),
        escape(words.before_name),
        escape(name),
        escape(words.after_name),
        escape(because),
        escape(words.hint),
    );
    document(&escape(words.title), &head, STYLE, &main)
}

/// A frame around the operator's URL, as PageKite makes it.
fn framed(url: &str, visit: &Visit<'_>, words: &Words, text: &str) -> String {
    let relay = visit.relay.map(|address| address.to_canonical().to_string());
    let mut parameters =
        vec![("where", "FE"), ("proto", shown(visit.protocol)), ("domain", shown(visit.host))];
    if let Some(relay) = &relay {
        parameters.push(("relay", relay));
    }
    let text = format!("<p>{}</p><p>{}</p>", escape(text), escape(words.hint));
    frameset(&escape(words.title), &text, &frame_url(url, &parameters))
}

#[cfg(test)]
mod tests;
