//! What a visitor gets when the agent cannot or will not serve: a page for
//! HTTP, an alert for TLS, nothing for anything else (`protocol.md` 9, 12.1,
//! 12.3, 12.4).
//!
//! Every text that comes from outside is escaped, which PageKite leaves out.

use std::fmt;

use crate::html::{document, escape, frame_url, frameset, shown};
use crate::net::TLS_ACCESS_DENIED;

/// Why a visitor is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// No such kite here, its service does not answer, or the visitor's
    /// address is not on the kite's list: the visitor cannot tell which.
    Unavailable,
    /// The kite asks for a password, and the request has no right one.
    Unauthorized,
    /// The URL firewall holds the request back.
    Firewall {
        /// The rule in words, to follow "blocks".
        rule: &'static str,
    },
    /// The request cannot be read, and the kite has a guard that has to.
    Malformed {
        /// What is wrong, to follow "because".
        problem: &'static str,
    },
    /// The head of the request is longer than the agent holds.
    HeadTooLarge,
}

impl Refusal {
    /// The HTTP status code, with its reason phrase.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Self::Unavailable => (503, "Service Unavailable"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Firewall { .. } => (500, "Internal Server Error"),
            Self::Malformed { .. } => (400, "Bad Request"),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large"),
        }
    }
}

impl fmt::Display for Refusal {
    /// For the log: what happened, the rule, and the setting that changes it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable => formatter.write_str("not available"),
            Self::Unauthorized => formatter.write_str("no right password (flag password)"),
            Self::Firewall { rule } => {
                write!(formatter, "the URL firewall blocks {rule} (flag insecure lets it pass)")
            }
            Self::Malformed { problem } => {
                write!(formatter, "the request cannot be judged, because {problem}")
            }
            Self::HeadTooLarge => formatter.write_str("the head of the request is too large"),
        }
    }
}

/// The last bytes of a stream that is refused; the stream is to be closed
/// after them. Empty for protocols that have no way to say no.
///
/// `protocol` is the stream's (`Proto` header), `domain` the name that the
/// visitor asked for. With `error_url` the page for [`Refusal::Unavailable`]
/// becomes a frame around that URL; the other pages stay, since they say what
/// to mend.
pub fn refuse(protocol: &str, refusal: Refusal, domain: &str, error_url: Option<&str>) -> Vec<u8> {
    match protocol {
        "http" | "http2" | "http3" | "websocket" => {
            page(protocol, refusal, domain, error_url).into_bytes()
        }
        "https" => TLS_ACCESS_DENIED.to_vec(),
        _ => Vec::new(),
    }
}

/// A whole HTTP response without a length: the end of the stream ends it.
fn page(protocol: &str, refusal: Refusal, domain: &str, error_url: Option<&str>) -> String {
    let (code, phrase) = refusal.status();
    let login = match refusal {
        Refusal::Unauthorized => "WWW-Authenticate: Basic realm=\"PageKite\"\r\n",
        _ => "",
    };
    let mut page = format!(
        "HTTP/1.1 {code} {phrase}\r\n\
         {login}\
         Content-Type: text/html; charset=utf-8\r\n\
         Pragma: no-cache\r\n\
         Expires: 0\r\n\
         Cache-Control: no-store\r\n\
         Connection: close\r\n\
         \r\n"
    );
    let domain = shown(domain);
    let (title, text) = words(refusal, &escape(domain));
    let body = match error_url {
        Some(url) if refusal == Refusal::Unavailable => {
            let parameters = [("where", "BE"), ("proto", protocol), ("domain", domain)];
            frameset(title, &text, &frame_url(url, &parameters))
        }
        _ => document(title, "", "", &format!("<h1>{title}</h1>{text}")),
    };
    page.push_str(&body);
    page
}

/// Title and paragraphs; `domain` is escaped already.
fn words(refusal: Refusal, domain: &str) -> (&'static str, String) {
    match refusal {
        Refusal::Unavailable => (
            "Not reachable right now",
            format!(
                "<p>Nothing answers at <b>{domain}</b>. The device behind it may be \
                 starting or switched off.</p><p>Please try again in a minute.</p>"
            ),
        ),
        Refusal::Unauthorized => (
            "Password needed",
            format!(
                "<p><b>{domain}</b> is open only to those with a user name and a \
                 password.</p><p>Reload this page to enter them.</p>"
            ),
        ),
        Refusal::Firewall { rule } => (
            "Blocked",
            format!(
                "<p>The agent in front of <b>{domain}</b> blocks {rule}: attackers try \
                 such addresses everywhere.</p><p class=\"fix\">Is this device yours? \
                 Flag <code>+insecure</code> on this kite (in the file: \
                 <code>service_cfg = NAME/PORT : insecure : True</code>) lets every \
                 address through, and so does a password (in the file only: \
                 <code>service_cfg = NAME/PORT : password/USER : PASSWORD</code>) for those \
                 who know it.</p>",
                rule = escape(rule)
            ),
        ),
        Refusal::Malformed { problem } => (
            "Request not understood",
            format!(
                "<p>The agent in front of <b>{domain}</b> checks each request, and it \
                 cannot check this one, because {problem}.</p><p>Please reload the page \
                 or try another browser.</p>",
                problem = escape(problem)
            ),
        ),
        Refusal::HeadTooLarge => (
            "Request too large",
            format!(
                "<p>The headers of this request are more than the agent in front of \
                 <b>{domain}</b> holds.</p><p>Please delete the cookies of this site and \
                 try again.</p>"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: [Refusal; 5] = [
        Refusal::Unavailable,
        Refusal::Unauthorized,
        Refusal::Firewall { rule: "addresses with /wp-admin/" },
        Refusal::Malformed { problem: "its length is given twice" },
        Refusal::HeadTooLarge,
    ];

    fn text(refusal: Refusal, domain: &str, error_url: Option<&str>) -> String {
        String::from_utf8(refuse("http", refusal, domain, error_url)).expect("UTF-8")
    }

    #[test]
    fn each_protocol_is_refused_in_its_own_way() {
        for protocol in ["http", "http2", "http3", "websocket"] {
            let page = refuse(protocol, Refusal::Unavailable, "a.example.com", None);
            assert!(page.starts_with(b"HTTP/1.1 503 Service Unavailable\r\n"));
        }
        let alert = refuse("https", Refusal::Unavailable, "a.example.com", None);
        assert_eq!(alert, b"\x15\x03\x03\x00\x02\x02\x31");
        for protocol in ["raw", "irc", "xmpp", "minecraft", ""] {
            assert!(refuse(protocol, Refusal::Unavailable, "a", None).is_empty());
        }
    }

    #[test]
    fn headers_come_in_the_order_of_pagekite() {
        let page = text(Refusal::Unavailable, "a.example.com", None);
        let head = page.split("\r\n\r\n").next().expect("a head");
        assert_eq!(
            head,
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html; charset=utf-8\r\n\
             Pragma: no-cache\r\nExpires: 0\r\nCache-Control: no-store\r\nConnection: close"
        );
    }

    #[test]
    fn a_login_is_asked_for() {
        let page = text(Refusal::Unauthorized, "a.example.com", None);
        assert!(page.starts_with("HTTP/1.1 401 Unauthorized\r\n"));
        assert!(page.contains("\r\nWWW-Authenticate: Basic realm=\"PageKite\"\r\n"));
        for refusal in EVERY {
            let asks = text(refusal, "a", None).contains("WWW-Authenticate");
            assert_eq!(asks, refusal == Refusal::Unauthorized);
        }
    }

    #[test]
    fn the_firewall_page_names_the_rule_and_the_way_out() {
        let page = text(EVERY[2], "a.example.com", None);
        assert!(page.starts_with("HTTP/1.1 500 "));
        assert!(page.contains("addresses with /wp-admin/") && page.contains("+insecure"));
        assert!(page.contains("service_cfg = NAME/PORT : password/USER : PASSWORD"));
        assert!(!page.contains("+password"), "the command line takes no secret");
    }

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let evil = "\"'><script>alert(1)</script>&";
        for refusal in EVERY {
            for url in [None, Some("https://example.com/?a=\"><script>")] {
                let page = text(refusal, evil, url);
                assert!(!page.contains("<script>"), "{page}");
                assert!(!page.contains("'>"), "{page}");
            }
        }
    }

    #[test]
    fn pages_are_small_and_need_nothing_from_elsewhere() {
        for refusal in EVERY {
            let page = text(refusal, "some-name.example.com", None);
            let body = page.split_once("\r\n\r\n").expect("a body").1;
            assert!(body.len() < 1500, "{} bytes", body.len());
            assert!(!body.contains("src=") && !body.contains("url("));
            assert!(body.contains("some-name.example.com"));
        }
        // "&" grows most when escaped.
        let longest = text(Refusal::Unavailable, &"&é".repeat(1000), Some("https://x/?"));
        assert!(longest.len() < 4096);
    }

    #[test]
    fn an_error_url_is_framed() {
        let page =
            text(Refusal::Unavailable, "a.example.com", Some("https://example.com/offline/?"));
        assert!(page.contains(
            "src=\"https://example.com/offline/?&amp;where=BE&amp;proto=http&amp;domain=a.example.com\""
        ));
        assert!(page.contains("<noframes>") && page.contains("cols=\"*\""));
        let page = text(Refusal::Unavailable, "a&b", Some("https://example.com/off"));
        assert!(page.contains("/off?where=BE&amp;proto=http&amp;domain=a%26b\""));
    }

    #[test]
    fn pages_that_help_are_not_framed() {
        for refusal in &EVERY[1..] {
            assert!(!text(*refusal, "a", Some("https://example.com/?")).contains("frameset"));
        }
    }
}
