//! Through an HTTP proxy by `CONNECT`, with Basic credentials where it wants
//! some (RFC 9110 section 9.3.6, RFC 7617).

use std::fmt;
use std::net::TcpStream;

use async_io::Async;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::http_connect::{AnswerHead, ConnectError, MAX_HEAD_BYTES, ask};
use super::proxy_error::{ProxyFailure, WITH_PASSWORD};
use super::socket::printable;
use crate::config::ProxyCredentials;

/// Ways to show who one is that a text names.
const MAX_SCHEMES: usize = 4;
/// Characters of such a way.
const MAX_SCHEME_CHARACTERS: usize = 20;

/// Why an HTTP proxy does not connect.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpProxyFault {
    /// It wants to know who we are, and was told nothing.
    NoPassword,
    /// It does not take the user name and password.
    WrongPassword,
    /// It takes no Basic credentials, but these.
    OtherSchemes(Vec<String>),
    /// Another answer than a good one.
    Refused {
        /// HTTP status code.
        status: u16,
        /// The words beside it.
        reason: String,
    },
    /// The answer is not HTTP.
    NotHttp,
    /// The head of the answer has no end.
    TooLong,
}

impl fmt::Display for HttpProxyFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Refused { status, reason } = self else {
            return match self {
                Self::NoPassword => {
                    write!(formatter, "it wants a user name and a password; write {WITH_PASSWORD}")
                }
                Self::WrongPassword => formatter.write_str(
                    "it does not accept the user name and password; are both right, and typed \
                     as the proxy knows them?",
                ),
                Self::OtherSchemes(schemes) => write!(
                    formatter,
                    "it wants {}, and only a user name and a password (Basic) can be given; ask \
                     who runs it to allow that, or use a local proxy that translates",
                    schemes.join(", ")
                ),
                Self::TooLong => write!(
                    formatter,
                    "its answer to CONNECT has more than {MAX_HEAD_BYTES} bytes; is it an HTTP \
                     proxy?"
                ),
                _ => formatter.write_str(
                    "its answer to CONNECT is not HTTP; for a SOCKS proxy write proxy = \
                     socks5:HOST:PORT",
                ),
            };
        };
        let mend = match status {
            403 => {
                "it does not let anybody through to that relay or port; ask who runs it, or try \
                 port 443 of the relay"
            }
            400 | 404 | 405 | 501 => {
                "it does not take CONNECT; is it an HTTP proxy? For a SOCKS proxy write proxy = \
                 socks5:HOST:PORT"
            }
            429 => "it has too much to do",
            500 | 502..=504 => {
                "it cannot reach the relay; is the relay up, and its name spelled right?"
            }
            _ => "it does not connect to the relay",
        };
        write!(formatter, "{mend} (HTTP {status} {reason})")
    }
}

/// Asks the proxy at the other end of `socket` for a connection to
/// `authority`. Not a byte behind its answer is taken from the socket.
pub(super) async fn connect(
    socket: &Async<TcpStream>,
    authority: &str,
    credentials: Option<&ProxyCredentials>,
) -> Result<(), ProxyFailure> {
    let request = request(authority, credentials);
    match ask(socket, request.as_bytes()).await {
        Ok(head) => verdict(&head, credentials.is_some()).map_err(ProxyFailure::Http),
        Err(ConnectError::NotHttp) => Err(ProxyFailure::Http(HttpProxyFault::NotHttp)),
        Err(ConnectError::TooLong) => Err(ProxyFailure::Http(HttpProxyFault::TooLong)),
        Err(ConnectError::Closed) => Err(ProxyFailure::Closed),
        Err(ConnectError::Io(error)) => Err(ProxyFailure::Io(error)),
    }
}

fn request(authority: &str, credentials: Option<&ProxyCredentials>) -> String {
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(ProxyCredentials { user, password }) = credentials {
        let pair = [user.bytes(), b":", password.bytes()].concat();
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(&STANDARD.encode(pair));
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request
}

/// What the answer means, where `known` says whether it was told who we are.
fn verdict(head: &AnswerHead, known: bool) -> Result<(), HttpProxyFault> {
    let (status, reason) = head.status().ok_or(HttpProxyFault::NotHttp)?;
    // tinyproxy says 401 to a wrong password.
    if !matches!(status, 401 | 407) {
        let fault = HttpProxyFault::Refused { status, reason };
        return if (200..=299).contains(&status) { Ok(()) } else { Err(fault) };
    }
    let schemes: Vec<&[u8]> = head.values("Proxy-Authenticate").filter_map(scheme).collect();
    let has_basic = schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case(b"Basic"));
    if !schemes.is_empty() && !has_basic {
        let readable =
            |scheme: &&[u8]| printable(&String::from_utf8_lossy(scheme), MAX_SCHEME_CHARACTERS);
        let schemes = schemes.iter().take(MAX_SCHEMES).map(readable).collect();
        return Err(HttpProxyFault::OtherSchemes(schemes));
    }
    Err(if known { HttpProxyFault::WrongPassword } else { HttpProxyFault::NoPassword })
}

/// The first word of a challenge.
fn scheme(challenge: &[u8]) -> Option<&[u8]> {
    let mut words = challenge.split(|byte| matches!(byte, b' ' | b','));
    words.next().filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Secret;

    fn answer(text: &str, known: bool) -> Result<(), HttpProxyFault> {
        let mut head = AnswerHead::default();
        head.take(text.as_bytes()).expect("a head");
        verdict(&head, known)
    }

    #[test]
    fn asks_for_the_relay_with_the_credentials() {
        assert_eq!(
            request("[2001:db8::1]:443", None),
            "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"
        );
        // The example of RFC 7617 section 2.
        let credentials =
            ProxyCredentials { user: Secret::new("Aladdin"), password: Secret::new("open sesame") };
        assert_eq!(
            request("relay.test:443", Some(&credentials)),
            "CONNECT relay.test:443 HTTP/1.1\r\nHost: relay.test:443\r\n\
             Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
        );
    }

    #[test]
    fn any_good_status_is_consent() {
        assert_eq!(answer("HTTP/1.0 200 Connection established\r\n\r\n", false), Ok(()));
        // RFC 9110 section 9.3.6: a length is ignored there.
        assert_eq!(answer("HTTP/1.1 204 X\r\nContent-Length: 9\r\n\r\n", true), Ok(()));
    }

    #[test]
    fn refusals_are_told_with_the_mend() {
        const BASIC: &str = "Proxy-Authenticate: Basic realm=\"x\"\r\n";
        const NTLM: &str = "Proxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM, x\r\n";
        for (head, known, words) in [
            (format!("407 X\r\n{BASIC}"), false, "proxy = http:USER:PASSWORD@HOST:PORT"),
            (format!("407 X\r\n{BASIC}"), true, "does not accept the user name and password"),
            (format!("407 X\r\n{NTLM}{BASIC}"), true, "does not accept the user name and password"),
            (format!("407 X\r\n{NTLM}"), true, "it wants Negotiate, NTLM"),
            ("407 X\r\n".to_owned(), false, "wants a user name and a password"),
            ("401 Unauthorized\r\n".to_owned(), true, "does not accept the user name"),
            ("403 Filtered\r\n".to_owned(), false, "ask who runs it"),
            ("404 Not Found\r\n".to_owned(), false, "is it an HTTP proxy?"),
            ("501 Tor is not an HTTP Proxy\r\n".to_owned(), false, "socks5:HOST:PORT"),
            ("502 Bad Gateway\r\n".to_owned(), false, "cannot reach the relay"),
            ("503 Busy\r\n".to_owned(), false, "(HTTP 503 Busy)"),
            ("302 Found\r\n".to_owned(), false, "(HTTP 302 Found)"),
            ("101 X\r\n".to_owned(), false, "(HTTP 101 X)"),
        ] {
            let told = answer(&format!("HTTP/1.1 {head}\r\n"), known).expect_err(&head);
            assert!(told.to_string().contains(words), "{head}: {told}");
        }
        assert_eq!(answer("HTTP/1.1 abc\r\n\r\n", false), Err(HttpProxyFault::NotHttp));
    }
}
