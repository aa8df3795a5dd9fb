//! Requests that two readers read in two ways, as attackers send them to reach
//! what is not theirs behind a reader's back.

use super::{status, with};
use crate::relay::request::MAX_METHOD_BYTES;
use crate::relay::request::Status;

#[test]
fn headers_that_two_readers_read_differently_are_refused() {
    for headers in [
        // Where the body ends.
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nX: y\r\nContent-Length: 05\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,6\r\n",
        "Content-Length:\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5;\r\n",
        "Content-Length: 5.0\r\n",
        "Content-Length: 1e1\r\n",
        "Content-Length: \u{665}\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n",
        // What is a header and what is not.
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        " Content-Length: 5\r\n",
        "X: y\r\n Content-Length: 5\r\n",
        "X: y\r\n\tz\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\u{b}: chunked\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding: chunked\u{c}\r\n",
        "\u{0}Transfer-Encoding: chunked\r\n",
        "Transfer\u{0}-Encoding: chunked\r\n",
        "Transfer Encoding: chunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "content_length: 5\r\n",
        "\"Content-Length\": 5\r\n",
        "X: y\rContent-Length: 5\r\n",
        "X: y\r\rContent-Length: 5\r\n",
        "\rX: y\r\n",
        "X: y\nContent-Length: 5\r\n",
        "X: y\n",
        "X: a\u{0}b\r\n",
        "X: a\u{7f}b\r\n",
        "X: a\u{1b}b\r\n",
        "X\u{85}: b\r\n",
        "no colon\r\n",
        ": empty\r\n",
        "GET /b HTTP/1.1\r\n",
        // Who gets it.
        "Host: kite.test\r\n",
        "host: other.test\r\n",
        "Host : other.test\r\n",
        "Host\r\n",
        // What does not arrive.
        "Connection: Host\r\n",
        "Connection: close, content-length\r\n",
        "Connection: transfer_encoding\r\n",
        "Connection: close\r\nConnection: X-Forwarded-For\r\n",
    ] {
        let bad = with(headers).expect_err(headers);
        assert_eq!(bad.status, Status::BadRequest, "{headers:?}: {}", bad.problem);
    }
}

#[test]
fn codings_that_a_service_may_not_know_are_refused() {
    for coding in [
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked, identity",
        "identity",
        "identity, chunked",
        "xchunked",
        "chunkedx",
        "x chunked",
        "chunked;a=b",
        "\"chunked\"",
        "'chunked'",
        ",chunked",
        "chunked,",
        "cow",
        "",
        "chu\u{f1}ked",
    ] {
        let bad = with(&format!("Transfer-Encoding: {coding}\r\n")).expect_err(coding);
        assert_eq!(bad.status, Status::NotImplemented, "{coding}");
    }
    let old = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(status(old), Some(400));
}

#[test]
fn request_lines_that_two_readers_read_differently_are_refused() {
    for line in [
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/0.9",
        "GET / HTTP/1.10",
        "GET / HTTP/01.1",
        "GET / http/1.1",
        "GET / HTTP/1.1 ",
        "GET /  HTTP/1.1",
        "GET  / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.1\t",
        "GET /a b HTTP/1.1",
        "GET /\u{0} HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
        "GET /\r HTTP/1.1",
        "GET /\u{b}b HTTP/1.1",
        "GET /",
        "GET HTTP/1.1",
        "/ HTTP/1.1",
        "G(T / HTTP/1.1",
        "GÉT / HTTP/1.1",
        "GET a HTTP/1.1",
        "GET a/b HTTP/1.1",
        "GET * HTTP/1.1",
        "POST * HTTP/1.1",
        "OPTIONS ** HTTP/1.1",
        "OPTIONS *? HTTP/1.1",
        "GET ?a HTTP/1.1",
        "GET #a HTTP/1.1",
        "GET \\a HTTP/1.1",
        "GET kite.test:80 HTTP/1.1",
        "CONNECT kite.test:80 HTTP/1.1",
        "GET ftp://kite.test/ HTTP/1.1",
        "GET ws://kite.test/ HTTP/1.1",
        "GET http:/kite.test/ HTTP/1.1",
        "GET http:kite.test HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET http:///a HTTP/1.1",
        "GET http://?a HTTP/1.1",
        "GET http://user@kite.test/ HTTP/1.1",
        "GET http://user:pw@kite.test/ HTTP/1.1",
        "GET http://kite.test:x/ HTTP/1.1",
        "GET http://kite.test:/ HTTP/1.1",
        "GET http://kite.test#a HTTP/1.1",
        "GET http://kite.test\\@a/ HTTP/1.1",
        "GET http://kite.test,a/ HTTP/1.1",
        "GET http://kite%2etest/ HTTP/1.1",
        "GET http://é.test/ HTTP/1.1",
        "http://kite.test/ HTTP/1.1",
    ] {
        assert_eq!(status(&format!("{line}\r\nHost: kite.test\r\n\r\n")), Some(400), "{line:?}");
    }
    for (ends, problem) in [("\r\n", "cut"), ("\n\r\n", "mixed"), ("\r\n\r\nX", "more")] {
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a{ends}")), Some(400), "{problem}");
    }
    assert_eq!(status("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Some(400));
    let method = "A".repeat(MAX_METHOD_BYTES + 1);
    assert_eq!(status(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")), Some(501));
    assert_eq!(status(&format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", &method[1..])), None);
}

#[test]
fn hosts_that_are_no_names_are_refused() {
    for host in
        ["", " ", "a b", "a,b", "a/b", "user@a", "a:", "a:x", "é.test", "a..b", "[::1", "a\tb"]
    {
        for version in ["1.0", "1.1"] {
            let head = format!("GET / HTTP/{version}\r\nHost: {host}\r\n\r\n");
            assert_eq!(status(&head), Some(400), "{host}");
        }
    }
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), Some(400));
    assert_eq!(status("GET / HTTP/1.1\r\nX-Host: a\r\n\r\n"), Some(400));
    assert_eq!(status("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), Some(400));
}
