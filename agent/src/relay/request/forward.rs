//! The head of a request as it goes to the kite: what only an agent may say
//! about the visitor is renamed, and so is what leads to HTTP/2, a target with a host becomes a path
//! (RFC 9112 section 3.2.2), and all other lines stay byte for byte.

use std::borrow::Cow;

use super::{Target, VisitorRequest, is_renamed};
use crate::http::fields::Header;
use crate::http::head::Head;
use crate::http::identity;

impl VisitorRequest {
    /// The head to send, without the empty lines before it; `head` is the one
    /// that was read. It is a copy where something had to change only, which
    /// may be longer: by 6 bytes for each renamed header.
    ///
    /// Headers about the connection stay as they are: services and WebSockets
    /// need them.
    pub fn forwarded_head<'h>(&self, head: &'h [u8]) -> Cow<'h, [u8]> {
        let head = Head::checked(head);
        let bytes = head.without_empty_lines();
        if self.is_unchanged {
            return Cow::Borrowed(bytes);
        }
        // Room for a few renamed headers without a second allocation.
        let mut out = Vec::with_capacity(bytes.len() + 64);
        let new_host = self.add_request_line(&head, &mut out);
        let add_host = |out: &mut Vec<u8>, host: &[u8]| {
            for part in [b"Host: ", host, head.line_end()] {
                out.extend_from_slice(part);
            }
        };
        if let Some(host) = new_host.filter(|_| !head.headers().any(|header| is_host(&header))) {
            add_host(&mut out, host);
        }
        for header in head.headers() {
            match new_host {
                Some(host) if is_host(&header) => add_host(&mut out, host),
                _ if is_renamed(&header) => {
                    out.extend_from_slice(identity::OLD);
                    out.extend_from_slice(header.line);
                }
                _ => out.extend_from_slice(header.line),
            }
        }
        out.extend_from_slice(head.last_line());
        Cow::Owned(out)
    }

    /// Adds the request line, and returns what `Host` has to say if it is not
    /// to stay.
    fn add_request_line<'h>(&self, head: &Head<'h>, out: &mut Vec<u8>) -> Option<&'h [u8]> {
        let line = head.request_line();
        let target = self.is_absolute.then(|| Target::parse(head.target(), head.method()));
        let Some(Some(Target::Absolute { authority, start, rest })) = target else {
            out.extend_from_slice(line);
            return None;
        };
        let version = line.iter().rposition(|byte| *byte == b' ').unwrap_or_default();
        for part in [head.method(), b" ", start.as_bytes(), rest, &line[version..]] {
            out.extend_from_slice(part);
        }
        Some(authority)
    }
}

fn is_host(header: &Header<'_>) -> bool {
    header.name.eq_ignore_ascii_case(b"Host")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(head: &str) -> String {
        let request = VisitorRequest::read(head.as_bytes(), None).expect(head);
        let forwarded = request.forwarded_head(head.as_bytes());
        String::from_utf8(forwarded.into_owned()).expect("text")
    }

    #[test]
    fn a_head_without_claims_is_passed_on_uncopied() {
        for head in [
            "GET /a?b HTTP/1.1\r\nhOST:  kite.test:80 \r\nX-Old-Forwarded: a\r\nX-Empty:\r\n\r\n",
            "GET / HTTP/1.0\n\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\nTE: y\r\n\r\n",
        ] {
            let request = VisitorRequest::read(head.as_bytes(), None).expect(head);
            let with_lines = format!("\r\n\r\n{head}");
            for bytes in [head, &with_lines] {
                let forwarded = request.forwarded_head(bytes.as_bytes());
                assert!(matches!(forwarded, Cow::Borrowed(same) if same == head.as_bytes()));
            }
        }
    }

    #[test]
    fn claims_of_the_visitor_are_renamed() {
        for name in [
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Port",
            "X-Forwarded-Host",
            "Forwarded",
            "X-Real-IP",
            "X-PageKite-For",
            "X-PageKite-Proto",
            "X-PageKite-Port",
            "x_real_ip",
            "X_FORWARDED-for",
        ] {
            let head = format!("GET / HTTP/1.1\r\nA: b\r\n{name}:c \r\nHost: a\r\n\r\n");
            let renamed = format!("GET / HTTP/1.1\r\nA: b\r\nX-Old-{name}:c \r\nHost: a\r\n\r\n");
            assert_eq!(forward(&head), renamed);
        }
        let head = "\nGET / HTTP/1.1\nHost: a\nForwarded: b\nForwarded: c\nX: d\n\n";
        assert_eq!(
            forward(head),
            "GET / HTTP/1.1\nHost: a\nX-Old-Forwarded: b\nX-Old-Forwarded: c\nX: d\n\n"
        );
    }

    #[test]
    fn nothing_leads_to_http_in_which_claims_are_not_seen() {
        for value in [
            "h2c",
            "H2C",
            "h2",
            "h2c-14",
            "HTTP/2.0",
            "TLS/1.0",
            "tls/1.2 , HTTP/1.1",
            "websocket, h2c",
            " ,h2c",
        ] {
            let head = format!(
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                 Upgrade: {value}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
            );
            assert_eq!(forward(&head), head.replace("\r\nUpgrade:", "\r\nX-Old-Upgrade:"));
            let request = VisitorRequest::read(head.as_bytes(), None).expect("a request");
            assert!(!request.may_switch && !request.is_websocket, "{value}");
        }
        for (value, is_websocket) in [("websocket", true), ("WebSocket", true), ("IRC/6.9", false)]
        {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: {value}\r\n\r\n");
            assert_eq!(forward(&head), head);
            let request = VisitorRequest::read(head.as_bytes(), None).expect("a request");
            assert!(request.may_switch && request.is_websocket == is_websocket, "{value}");
        }
        let both = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n\r\n";
        let request = VisitorRequest::read(both.as_bytes(), None).expect("a request");
        assert!(request.may_switch && request.is_websocket);
        assert_eq!(forward(both), both.replacen("Upgrade: h2c", "X-Old-Upgrade: h2c", 1));
    }

    #[test]
    fn a_target_with_a_host_becomes_a_path() {
        for (target, path, host) in [
            ("http://kite.test/a?b", "/a?b", "kite.test"),
            ("HTTPS://Kite.Test:8443/", "/", "Kite.Test:8443"),
            ("http://kite.test", "/", "kite.test"),
            ("http://kite.test?a=/b", "/?a=/b", "kite.test"),
            ("http://[::1]:80//a", "//a", "[::1]:80"),
        ] {
            let head = |target: &str, host: &str| {
                format!("GET {target} HTTP/1.1\r\nA: b\r\nHost: {host}\r\nForwardeds: c\r\n\r\n")
            };
            assert_eq!(forward(&head(target, "other.test")), head(path, host));
            let old = format!("GET {target} HTTP/1.0\r\nA: b\r\n\r\n");
            let new = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nA: b\r\n\r\n");
            assert_eq!(forward(&old), new);
        }
        let options = "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(forward(options), "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
        let options = "OPTIONS http://a? HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(forward(options), "OPTIONS /? HTTP/1.1\r\nHost: a\r\n\r\n");
    }

    #[test]
    fn another_head_makes_no_panic() {
        let head = b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n";
        let request = VisitorRequest::read(head, None).expect("a request");
        for other in [&b""[..], b"\r\n", b"GET", b"GET  ", b" http://a b\n", b": \n:"] {
            let _ = request.forwarded_head(other);
        }
    }
}
