//! The server's side of the handshake (RFC 6455 section 4.2): whether a
//! request wants a tunnel, and the answer to it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{PATH, SUBPROTOCOL, VERSION, accept_for, has_token};
use crate::http::head::{Framing, Head};

/// Bytes of a `Sec-WebSocket-Key` (RFC 6455 section 4.1).
const KEY_BYTES: usize = 16;

/// Why a request for [`PATH`] does not become a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: (u16, &'static str),
    /// Header lines that say what is possible.
    headers: &'static str,
    mend: &'static str,
}

impl Refusal {
    const fn bad(mend: &'static str) -> Self {
        Self { status: (400, "Bad Request"), headers: "", mend }
    }

    const fn upgrade(mend: &'static str) -> Self {
        const HEADERS: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
        Self { status: (426, "Upgrade Required"), headers: HEADERS, mend }
    }

    /// The whole response, after which the connection is to be closed.
    pub fn response(&self) -> Vec<u8> {
        let Self { status: (code, phrase), headers, mend } = self;
        let connection = if *code == 426 { "Upgrade, close" } else { "close" };
        format!(
            "HTTP/1.1 {code} {phrase}\r\n\
             {headers}\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\n\
             Cache-Control: no-store\r\n\
             Connection: {connection}\r\n\
             \r\n\
             {mend}\n",
            length = mend.len() + 1
        )
        .into_bytes()
    }
}

/// What to mend, for the log of the relay.
impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.mend)
    }
}

impl std::error::Error for Refusal {}

/// Reads the head of a request, up to and with its empty line. `None` when it
/// is not for [`PATH`]; else the answer that makes the connection a WebSocket.
///
/// # Errors
/// The request is for [`PATH`], but cannot become a tunnel.
pub fn accept_upgrade(head: &[u8]) -> Option<Result<Vec<u8>, Refusal>> {
    let head = Head::parse(head).ok()?;
    (head.target() == PATH.as_bytes()).then(|| judge(&head))
}

fn judge(head: &Head<'_>) -> Result<Vec<u8>, Refusal> {
    let values = |name: &'static str| {
        head.headers()
            .filter(move |header| header.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|header| header.value)
    };
    if head.method() != b"GET" {
        return Err(Refusal {
            status: (405, "Method Not Allowed"),
            headers: "Allow: GET\r\n",
            mend: "Agents open their tunnels here, with GET.",
        });
    }
    if !values("Upgrade").any(|value| has_token(value, "websocket"))
        || !values("Connection").any(|value| has_token(value, "upgrade"))
    {
        return Err(Refusal::upgrade(
            "Agents open their tunnels here, inside a WebSocket. There is no page. If an agent \
             sees this, a proxy on the way has removed the header Upgrade or Connection.",
        ));
    }
    if !values("Sec-WebSocket-Version").eq([VERSION.as_bytes()]) {
        return Err(Refusal::upgrade("The version of WebSocket has to be 13."));
    }
    if head.before_headers().trim_ascii_end().ends_with(b"1.0") {
        return Err(Refusal::bad("A WebSocket needs HTTP/1.1; a proxy on the way has HTTP/1.0."));
    }
    if !matches!(head.framing(), Ok(Framing::None | Framing::Length(0))) {
        return Err(Refusal::bad("A request for a WebSocket has no body."));
    }
    let mut keys = values("Sec-WebSocket-Key");
    let key = keys.next().filter(|_| keys.next().is_none());
    let key = key.and_then(|key| std::str::from_utf8(key).ok());
    let Some(key) = key.filter(|key| is_key(key)) else {
        return Err(Refusal::bad("Sec-WebSocket-Key has to be 16 bytes in Base64."));
    };
    let offers = |value: &[u8]| {
        value.split(|byte| *byte == b',').any(|word| word.trim_ascii() == SUBPROTOCOL.as_bytes())
    };
    if !values("Sec-WebSocket-Protocol").any(offers) {
        return Err(Refusal::bad("Sec-WebSocket-Protocol has to offer tunnel.kitelet."));
    }
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\
         Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\
         \r\n",
        accept_for(key)
    );
    Ok(answer.into_bytes())
}

fn is_key(key: &str) -> bool {
    // Base64 of 16 bytes has 24 letters; longer ones are not even decoded.
    key.len() == 24 && STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::websocket::ClientHandshake;

    const GOOD: &str = "GET /.kitelet/tunnel HTTP/1.1\r\nHost: relay.test\r\n\
        Upgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: tunnel.kitelet\r\n\r\n";

    fn accept(head: &str) -> Result<String, Refusal> {
        let answer = accept_upgrade(head.as_bytes()).expect("for the path")?;
        Ok(String::from_utf8(answer).expect("text"))
    }

    #[test]
    fn client_and_server_agree() {
        let client = ClientHandshake::new("relay.test:8443", [7; 16]);
        let answer = accept_upgrade(client.request()).expect("for the path").expect("accepted");
        client.verify(&answer).expect("verified");
        let other = ClientHandshake::new("relay.test:8443", [8; 16]);
        assert!(other.verify(&answer).is_err());
    }

    #[test]
    fn the_answer_is_that_of_the_rfc() {
        assert_eq!(
            accept(GOOD).expect("accepted"),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
             Sec-WebSocket-Protocol: tunnel.kitelet\r\n\r\n"
        );
    }

    #[test]
    fn what_browsers_and_proxies_add_does_not_matter() {
        for (old, new) in [
            ("Connection: Upgrade", "Connection: keep-alive, UPGRADE"),
            ("Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade"),
            ("Upgrade: websocket", "upgrade: WebSocket"),
            ("tunnel.kitelet", "chat, tunnel.kitelet"),
            ("Host: relay.test", "Host: relay.test\r\nOrigin: null\r\nX-Forwarded-For: 192.0.2.1"),
            ("Host: relay.test", "Host: a\r\nSec-WebSocket-Extensions: permessage-deflate"),
            ("Host: relay.test", "Host: a\r\nContent-Length: 0"),
        ] {
            assert!(accept(&GOOD.replacen(old, new, 1)).is_ok(), "{new}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (old, new, status, word) in [
            ("GET", "POST", 405, "GET"),
            ("Upgrade: websocket", "Upgrade: h2c", 426, "WebSocket"),
            ("Connection: Upgrade", "Connection: close", 426, "WebSocket"),
            ("Version: 13", "Version: 8", 426, "13"),
            ("Version: 13", "Version: 13, 8", 426, "13"),
            ("Sec-WebSocket-Version: 13\r\n", "", 426, "13"),
            ("HTTP/1.1", "HTTP/1.0", 400, "HTTP/1.1"),
            ("Host: relay.test", "Content-Length: 5", 400, "body"),
            ("Host: relay.test", "Transfer-Encoding: chunked", 400, "body"),
            ("ZQ==", "Z===", 400, "Key"),
            ("dGhl", "", 400, "Key"),
            ("dGhl", "dGhldGhl", 400, "Key"),
            ("Host: relay.test", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", 400, "Key"),
            ("tunnel.kitelet", "TUNNEL.kitelet", 400, "tunnel.kitelet"),
            ("Sec-WebSocket-Protocol: tunnel.kitelet\r\n", "", 400, "tunnel.kitelet"),
        ] {
            // The path has the word as well.
            let (line, lines) = GOOD.split_at(GOOD.find("Host").expect("a header"));
            let head = match line.contains(old) {
                true if old != "tunnel.kitelet" => line.replacen(old, new, 1) + lines,
                _ => line.to_owned() + &lines.replacen(old, new, 1),
            };
            let refusal = accept(&head).expect_err(&head);
            assert_eq!(refusal.status.0, status, "{head}");
            assert!(refusal.to_string().contains(word), "{refusal}");
            let response = String::from_utf8(refusal.response()).expect("text");
            let start = format!("HTTP/1.1 {status} ");
            assert!(response.starts_with(&start) && response.contains(word), "{response}");
            let wants_version = response.contains("\r\nSec-WebSocket-Version: 13\r\n");
            assert_eq!(wants_version, status == 426);
        }
    }

    #[test]
    fn other_requests_are_left_to_others() {
        for (old, new) in [
            ("/.kitelet/tunnel", "/"),
            ("/.kitelet/tunnel", "/.kitelet/tunnel/"),
            ("/.kitelet/tunnel", "/.kitelet/tunnel?x"),
            ("/.kitelet/tunnel", "/.Kitelet/tunnel"),
            ("Host: relay.test", "no colon"),
        ] {
            assert!(accept_upgrade(GOOD.replacen(old, new, 1).as_bytes()).is_none(), "{new}");
        }
        assert!(accept_upgrade(b"").is_none());
    }
}
