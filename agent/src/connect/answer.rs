//! What a relay answers to a visitor's `CONNECT` (`protocol.md` 11), read from
//! the bytes as they come, and what it means in words.

use std::fmt;

/// Longest head of an answer, in bytes. A relay's own has 39, a web server
/// that answers in its place sends less than this by default.
pub const MAX_ANSWER_BYTES: usize = 8 * 1024;
/// The most headers of an answer.
const MAX_HEADERS: usize = 64;
/// Letters of an unknown status that are quoted.
const MAX_QUOTED: usize = 60;

/// The request for a port of a kite.
pub fn request(kite: &str, port: u16) -> Vec<u8> {
    format!("CONNECT {kite}:{port} HTTP/1.1\r\nHost: {kite}:{port}\r\n\r\n").into_bytes()
}

/// What the bytes so far say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The head goes on.
    More,
    /// The way is open; the stream begins after so many bytes.
    Established(usize),
    /// There is no way.
    Refused(Refusal),
}

/// Why there is no way to the kite.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// 503: no such kite flies now, or not with this port.
    Away,
    /// 403: the relay lets in no such visitor.
    Forbidden,
    /// A web server answered, with this status.
    WebServer(u16),
    /// A status that no relay is known to send, with its words.
    Status(u16, String),
    /// The answer was not HTTP, or its head had no end.
    NotHttp,
}

/// Reads the answer from all `bytes` that have come.
pub fn read(bytes: &[u8]) -> Answer {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_ANSWER_BYTES => return Answer::More,
        _ => return Answer::Refused(Refusal::NotHttp),
    };
    let is_page = response.headers.iter().any(|header| {
        let kind = header.value.trim_ascii_start();
        header.name.eq_ignore_ascii_case("Content-Type")
            && kind.get(..9).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/html"))
    });
    let refusal = match response.code.unwrap_or_default() {
        // RFC 9110 section 9.3.6; with a page it is a server that knows no
        // CONNECT, and its page is not the service's.
        200..=299 if !is_page => return Answer::Established(length),
        503 => Refusal::Away,
        403 => Refusal::Forbidden,
        status @ (200..=399 | 400 | 404 | 405 | 421 | 426 | 501) => Refusal::WebServer(status),
        status => {
            let reason = response.reason.unwrap_or_default();
            let printable = |letter: &char| matches!(letter, ' '..='~');
            Refusal::Status(status, reason.chars().filter(printable).take(MAX_QUOTED).collect())
        }
    };
    Answer::Refused(refusal)
}

/// To follow "relay HOST:PORT: ".
impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away => formatter.write_str(
                "no such kite is there now (503): the device is away, or the name or the port \
                 is not one that this relay carries",
            ),
            Self::Forbidden => formatter.write_str(
                "it lets in no visitors from this network (403); ask the owner of the relay",
            ),
            Self::WebServer(status) => write!(
                formatter,
                "a web server answered, not a relay ({status}); name the relay with --relay \
                 HOST[:PORT]"
            ),
            Self::Status(status, reason) => {
                write!(formatter, "it refused ({status}")?;
                if !reason.is_empty() {
                    write!(formatter, " {reason}")?;
                }
                formatter.write_str(")")
            }
            Self::NotHttp => formatter.write_str(
                "this is no relay, its answer was not HTTP; name the relay with --relay \
                 HOST[:PORT]",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer to `bytes` as they drip in, one by one.
    fn dripping(bytes: &[u8]) -> Answer {
        let mut answers = (1..=bytes.len()).map(|length| read(&bytes[..length]));
        answers.find(|answer| *answer != Answer::More).unwrap_or(Answer::More)
    }

    #[test]
    fn the_stream_begins_behind_the_empty_line() {
        for head in [
            "HTTP/1.0 200 Connection Established\r\n\r\n",
            "HTTP/1.1 200 OK\r\nVia: x\r\n\r\n",
            "HTTP/1.1 200\n\n",
            "HTTP/1.1 299 \r\nContent-Length: 5\r\n\r\n",
        ] {
            let established = Answer::Established(head.len());
            assert_eq!(dripping(head.as_bytes()), established, "{head}");
            let with_banner = format!("{head}SSH-2.0-x\r\n\r\n");
            assert_eq!(read(with_banner.as_bytes()), established, "{head}");
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        for (head, refusal) in [
            ("HTTP/1.0 503 Unavailable\r\n\r\n", Refusal::Away),
            ("HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n", Refusal::Forbidden),
            ("HTTP/1.1 400 Bad Request\r\n\r\n", Refusal::WebServer(400)),
            ("HTTP/1.1 404 x\r\n\r\n", Refusal::WebServer(404)),
            ("HTTP/1.1 405 Not Allowed\r\n\r\n", Refusal::WebServer(405)),
            ("HTTP/1.1 301 x\r\nLocation: /\r\n\r\n", Refusal::WebServer(301)),
            ("HTTP/1.1 200 OK\r\ncontent-type: Text/HTML;x\r\n\r\n", Refusal::WebServer(200)),
            ("HTTP/1.1 429 Slow\tdown\r\n\r\n", Refusal::Status(429, "Slowdown".into())),
            ("SSH-2.0-OpenSSH_9.9\r\n", Refusal::NotHttp),
            ("\x15\x03\x03\x00\x02\x02\x31", Refusal::NotHttp),
            ("HTTP/2.0 200 OK\r\n\r\n", Refusal::NotHttp),
        ] {
            assert_eq!(dripping(head.as_bytes()), Answer::Refused(refusal), "{head}");
        }
    }

    #[test]
    fn a_head_without_end_is_given_up() {
        let mut head = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        head.resize(MAX_ANSWER_BYTES - 1, b'a');
        assert_eq!(read(&head), Answer::More);
        head.push(b'a');
        assert_eq!(read(&head), Answer::Refused(Refusal::NotHttp));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(read(many.as_bytes()), Answer::Refused(Refusal::NotHttp));
    }

    #[test]
    fn every_refusal_says_what_to_do_or_what_came() {
        let status = Refusal::Status(429, "Too Many Requests".into());
        assert_eq!(status.to_string(), "it refused (429 Too Many Requests)");
        assert_eq!(Refusal::Status(500, String::new()).to_string(), "it refused (500)");
        assert!(Refusal::WebServer(405).to_string().contains("--relay HOST"));
    }
}
