//! `CONNECT host:port`, by which visitors reach raw kites and agents ask for
//! the certificate of a name (`protocol.md` 2.2 and 11).

use super::host::Host;
use super::{BadRequest, malformed, parse};

/// What follows an HTTP CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    /// The name in the form of [`super::VisitorRequest::host`].
    pub host: String,
    /// From 1 to 65535.
    pub port: u16,
}

/// Whether a head, or the begin of one, is that of a CONNECT; a tunnel's is
/// one as well.
pub fn is_connect(head: &[u8]) -> bool {
    head.trim_ascii_start().starts_with(b"CONNECT ")
}

impl ConnectRequest {
    /// Reads a complete head. `Host` and other headers do not count: clients
    /// send what they like there, or nothing.
    ///
    /// # Errors
    /// 400 for what is malformed, is no `host:port` or has a body; 431 for too
    /// much.
    pub fn read(head: &[u8]) -> Result<Self, BadRequest> {
        let head = parse(head)?;
        if head.method() != b"CONNECT" {
            return Err(malformed("it is no CONNECT"));
        }
        head.framing().map_err(malformed)?;
        match Host::parse(head.target()) {
            Some(Host { name: host, port: Some(port) }) => Ok(Self { host, port }),
            _ => Err(malformed("its target is no name with a port")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::request::Status;

    #[test]
    fn clients_say_where_they_want_to_go() {
        for (head, host, port) in [
            ("CONNECT kite.test:22 HTTP/1.0\r\n\r\n", "kite.test", 22),
            ("CONNECT fe.test:443 HTTP/1.1\r\nHost: fe.test\r\n\r\n", "fe.test", 443),
            ("CONNECT Kite.test.:22 HTTP/1.1\nContent-Length: 0\n\n", "kite.test", 22),
            ("\r\nCONNECT [::1]:1 HTTP/1.1\r\nHost: a, b\r\n\r\n", "[::1]", 1),
            ("CONNECT 0x7f000001--a.test:80 HTTP/1.0\r\n\r\n", "a.test", 80),
        ] {
            assert!(is_connect(head.as_bytes()));
            let read = ConnectRequest::read(head.as_bytes());
            assert_eq!(read, Ok(ConnectRequest { host: host.to_owned(), port }), "{head}");
        }
    }

    #[test]
    fn other_requests_lead_nowhere() {
        for head in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "connect a:1 HTTP/1.1\r\n\r\n",
            "CONNECT a HTTP/1.1\r\n\r\n",
            "CONNECT a:0 HTTP/1.1\r\n\r\n",
            "CONNECT a:b HTTP/1.1\r\n\r\n",
            "CONNECT http://a:1 HTTP/1.1\r\n\r\n",
            "CONNECT user@a:1 HTTP/1.1\r\n\r\n",
            "CONNECT / HTTP/1.1\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nX: y\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nX: y\r\n",
        ] {
            let error = ConnectRequest::read(head.as_bytes()).expect_err(head);
            assert_eq!(error.status, Status::BadRequest, "{head}");
        }
        assert!(!is_connect(b"GET / HTTP/1.1\r\n\r\n") && !is_connect(b"CONNECTS a:1"));
    }
}
