//! What a relay reads in requests, and what it does not let pass.

use proptest::prelude::*;

use super::*;
use crate::http::{Scanned, Scanner};

mod smuggling;

fn read(head: &str) -> Result<VisitorRequest, BadRequest> {
    VisitorRequest::read(head.as_bytes(), None)
}

/// A request with these headers.
fn with(headers: &str) -> Result<VisitorRequest, BadRequest> {
    read(&format!("POST /a HTTP/1.1\r\nHost: kite.test\r\n{headers}\r\n"))
}

fn status(head: &str) -> Option<u16> {
    read(head).err().map(|bad| bad.status.code())
}

#[test]
fn a_request_says_what_the_relay_needs() {
    let request = read(
        "GET /a/b?c=d HTTP/1.1\r\nHost: Kite.Test:8080\r\nUpgrade: WebSocket\r\n\
         Connection: Upgrade\r\nExpect: 100-Continue\r\nTransfer-Encoding: Chunked\r\n\r\n",
    );
    let expected = VisitorRequest {
        method: "GET".to_owned(),
        host: Some("kite.test".to_owned()),
        host_port: Some(8080),
        target: "/a/b".to_owned(),
        path: "/a/b".to_owned(),
        version: Version::Http11,
        is_websocket: true,
        may_switch: true,
        framing: Framing::Chunked,
        closes: false,
        expects_continue: true,
        is_absolute: false,
        is_unchanged: true,
    };
    assert_eq!(request, Ok(expected));
}

#[test]
fn headers_about_the_connection_are_read() {
    for (headers, websocket, switch, closes, expects) in [
        ("", false, false, false, false),
        ("Upgrade: x, websocket\r\n", true, true, false, false),
        ("Upgrade: h2c\r\nupgrade: websocket\r\n", true, true, false, false),
        ("Upgrade: websockets\r\n", false, true, false, false),
        ("Connection: close\r\n", false, false, true, false),
        ("Connection: TE, close\r\nTE: trailers\r\n", false, false, true, false),
        ("Expect: 100-continue\r\n", false, false, false, true),
        ("Expect: something-else\r\n", false, false, false, false),
    ] {
        let read = with(headers).expect(headers);
        let found = (read.is_websocket, read.may_switch, read.closes, read.expects_continue);
        assert_eq!(found, (websocket, switch, closes, expects), "{headers}");
    }
}

#[test]
fn http_1_0_is_read_as_what_it_is() {
    let request = read("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expect("a request");
    assert_eq!((request.host, request.version), (None, Version::Http10));
    assert!(request.closes && !request.expects_continue);
    let request = read("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    assert!(request.is_ok_and(|request| !request.closes && request.host.is_some()));
}

#[test]
fn a_target_is_told_without_its_query_and_printable() {
    let long = format!("/{}", "a".repeat(2 * MAX_TARGET_BYTES));
    for (target, shown, path) in [
        ("/", "/", "/"),
        ("/.well-known/acme-challenge/x-_1", "/.well-known/acme-challenge/x-_1", ""),
        ("/a?token=s3cret", "/a", ""),
        ("/é\"\\%00<", "/%C3%A9%22%5C%00<", ""),
        ("//a/../b", "//a/../b", ""),
        ("http://a/b?c", "http://a/b", "/b"),
        ("http://a?c", "http://a", "/"),
        ("HTTP://A", "HTTP://A", "/"),
        (&long, &long[..MAX_TARGET_BYTES], ""),
    ] {
        let request = read(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).expect(target);
        let path = if path.is_empty() { shown } else { path };
        assert_eq!((&*request.target, &*request.path), (shown, path));
    }
    let all = read("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").expect("a request");
    assert_eq!((&*all.target, &*all.path), ("*", "*"));
    let all = read("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n").expect("a request");
    assert_eq!((&*all.target, &*all.path), ("http://a", "*"));
}

#[test]
fn the_host_of_the_target_counts() {
    for (target, host, port) in [
        ("http://other.test/", "other.test", None),
        ("https://Other.Test.:443", "other.test", Some(443)),
        ("hTTp://0x7f000001--other.test:80?a", "other.test", Some(80)),
    ] {
        for first in ["HTTP/1.1\r\nHost: kite.test:1", "HTTP/1.0"] {
            let request = read(&format!("GET {target} {first}\r\n\r\n")).expect(target);
            assert_eq!((request.host.as_deref(), request.host_port), (Some(host), port));
        }
    }
    // The Host header still has to be one.
    for host in ["", "Host: a b\r\n", "Host: other.test\r\nHost: other.test\r\n"] {
        let head = format!("GET http://other.test/ HTTP/1.1\r\n{host}\r\n");
        assert_eq!(status(&head), Some(400), "{host}");
    }
}

#[test]
fn requests_that_have_to_be_read_are_read() {
    for headers in [
        "Content-Length: 0\r\n",
        "Content-Length: 5\r\ncontent-length:  5 \r\n",
        "Transfer-Encoding: chunked\r\nTE: trailers\r\n",
        "Cookie: é=ü\r\nX:\r\nY: \t\r\n",
        "Transfer-Encodings: x\r\nX-Content-Length: y\r\n",
        "X_Forwarded_For: a\r\nX_Other: b\r\n",
    ] {
        assert!(with(headers).is_ok(), "{headers}");
    }
    for head in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PROPFIND /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a|b{c}^é HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert!(read(head).is_ok(), "{head}");
    }
}

#[test]
fn the_host_is_the_one_that_tls_was_asked_for() {
    for (tls, host, fits) in [
        ("kite.test", "Kite.Test.:443", true),
        ("KITE.test", "kite.test", true),
        ("0x7f000001--kite.test", "kite.test", true),
        ("kite.test", "other.test", false),
        ("kite.test", "a.kite.test", false),
        ("kite.test", "127.0.0.1", false),
        ("127.0.0.1", "kite.test", true),
        ("::1", "kite.test", true),
    ] {
        for head in [
            format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            format!("GET https://{host}/ HTTP/1.1\r\nHost: kite.test\r\n\r\n"),
        ] {
            let found = VisitorRequest::read(head.as_bytes(), Some(tls));
            let expected = if fits { None } else { Some(421) };
            assert_eq!(found.err().map(|bad| bad.status.code()), expected, "{tls} {head}");
        }
    }
    let old = VisitorRequest::read(b"GET / HTTP/1.0\r\n\r\n", Some("kite.test"));
    assert!(old.is_ok_and(|request| request.host.is_none()));
}

#[test]
fn what_is_too_much_is_refused() {
    let head = |count| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!(status(&head(MAX_HEADERS - 1)), None);
    assert_eq!(status(&head(MAX_HEADERS)), Some(431));
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(MAX_HEAD_BYTES));
    assert_eq!(status(&long), Some(431));
    // There would be no room for a Host header.
    let old = |count| format!("GET http://a/ HTTP/1.0\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!((status(&old(MAX_HEADERS - 1)), status(&old(MAX_HEADERS))), (None, Some(431)));
}

/// Heads that have much of what is looked at.
fn head() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(
        &[
            "GET / HTTP/1.1\r\n",
            "GET http://a.test/b HTTP/1.1\r\n",
            "OPTIONS http://a.test HTTP/1.0\r\n",
            "POST /a?b HTTP/1.0\r\n",
            "\r\nHEAD https://[::1]:1?a HTTP/1.1\r\n",
        ][..],
    );
    let header = prop_oneof![
        8 => prop::sample::select(
            &[
                "Content-Length: 5\r\n",
                "Transfer-Encoding: chunked\r\n",
                "X-Forwarded-For: a\r\n",
                "x_real_ip: a\r\n",
                "Forwarded:\r\n",
                "Connection: close\r\n",
                "Upgrade: websocket\r\n",
                "Host: c.test\r\n",
                "X: y\r\n",
                "X: y\n",
            ][..],
        ).prop_map(|text: &str| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    (line, any::<bool>(), prop::collection::vec(header, 0..5)).prop_map(|(line, host, headers)| {
        let host: &[u8] = if host { b"Host: B.test:80\r\n" } else { b"" };
        [line.as_bytes(), host, &headers.concat(), b"\r\n"].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn what_is_forwarded_is_the_same_request(head in head()) {
        let Ok(request) = VisitorRequest::read(&head, None) else { return Ok(()) };
        let forwarded = request.forwarded_head(&head);
        let again = VisitorRequest::read(&forwarded, None);
        prop_assert!(again.is_ok(), "{:?}", forwarded.escape_ascii().to_string());
        let again = again.expect("checked");
        let target = request.path.clone();
        let same = VisitorRequest { target, is_absolute: false, is_unchanged: true, ..request };
        prop_assert_eq!(again, same);
    }

    #[test]
    fn the_scanner_finds_the_same_end_in_every_cut(
        head in head(),
        size in 1_usize..40,
        rest in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        if VisitorRequest::read(&head, None).is_err() {
            return Ok(());
        }
        let input = [&head[..], &rest].concat();
        let mut scanner = Scanner::default();
        let mut seen = 0;
        for piece in input.chunks(size) {
            match scanner.feed(piece) {
                Scanned::More => seen += piece.len(),
                Scanned::End(bytes) => {
                    prop_assert_eq!(seen + bytes, head.len());
                    return Ok(());
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert!(false, "no end");
    }

    #[test]
    fn no_bytes_make_it_panic(head in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = VisitorRequest::read(&head, Some("kite.test"));
        let _ = ConnectRequest::read(&head);
    }
}
