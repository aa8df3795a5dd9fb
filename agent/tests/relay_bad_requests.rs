//! Requests that two readers could read in two ways, as visitors send them who
//! want the relay and the service to disagree: refused before the service sees
//! any of them. And requests for somebody else: served by whoever they are for.
#![cfg(feature = "relay")]

mod net_support;
mod relay_support;

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::sync::Arc;

use net_support::{Identity, NOW, PemFile, self_signed};
use relay_support::{
    Bystander, Ended, Kite, PAGE, Relay, ask, assert_modest, connect_from, read_all, send, status,
    statuses,
};
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const VISITOR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// What follows each attack on its connection; nobody may take it for a
/// request.
const NEXT: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: kite.test\r\n\r\n";

fn start() -> (Arc<Relay>, Kite) {
    let relay = Arc::new(Relay::start(""));
    let kite = Kite::fly(&relay, "http:kite.test");
    (relay, kite)
}

/// A request whose second header line is `line`.
fn with(line: &[u8]) -> Vec<u8> {
    [b"POST /smuggled HTTP/1.1\r\nHost: kite.test\r\n", line, b"\r\n\r\n0\r\n\r\n"].concat()
}

#[test]
fn what_is_ambiguous_never_reaches_the_service() {
    let (relay, kite) = start();
    let bystander = Bystander::start(&relay);
    let before = relay.resident();
    let lines: &[&[u8]] = &[
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\ncontent-length: 05",
        b"Content-Length: 5, 6",
        b"Content-Length: 5, 5",
        b"Content-Length: +5",
        b"Content-Length: -5",
        b"Content-Length: 0x5",
        b"Content-Length: 5 5",
        b"Content-Length: 5;",
        b"Content-Length: 5.0",
        b"Content-Length: 1e1",
        b"Content-Length:",
        b"Content-Length: five",
        b"Content-Length: \xd9\xa5",
        b"Content-Length: 99999999999999999999999999",
        b"Content-Length: 18446744073709551616",
        b"Content-Length: 5\x0b",
        b"Content-Length: \"5\"",
        b"Content-Length : 5",
        b"Content-Length\t: 5",
        b"Content_Length: 5",
        b" Content-Length: 5",
        b"Content-Length: 5\r\n 6",
        b"Content-Length: 5\r\n\t6",
        b"Content-Length\x00: 5",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: 0\r\nTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked;q=1",
        b"Transfer-Encoding: \"chunked\"",
        b"Transfer-Encoding: 'chunked'",
        b"Transfer-Encoding: chunked\x0b",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: \x0cchunked",
        b"Transfer-Encoding: \xc2\xa0chunked",
        b"Transfer-Encoding: chu\xc5\x93nked",
        b"Transfer-Encoding: chunked,",
        b"Transfer-Encoding: , chunked",
        b"Transfer-Encoding:",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding\x00: chunked",
        b"Transfer_Encoding: chunked",
        b" Transfer-Encoding: chunked",
        b"\tTransfer-Encoding: chunked",
        b"X: y\r\n Transfer-Encoding: chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding: chunked\nX: y",
        b"X: y\nTransfer-Encoding: chunked",
        b"X: y\rTransfer-Encoding: chunked",
        b"X: y\r\rTransfer-Encoding: chunked",
        b"X: \x00",
        b"X\r: y",
        b"X y: z",
        b": z",
        b"no colon at all",
        b"X: y\r\n\x00",
        b"Connection: Content-Length\r\nContent-Length: 5",
        b"Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked",
        b"Connection: Host",
        b"Connection: X-Forwarded-For\r\nX-Forwarded-For: 192.0.2.1",
        b"Host: kite.test",
        b"Host: other.test",
        b"host: kite.test",
        b"Host : other.test",
        b"Host\t: other.test",
        b" Host: other.test",
    ];
    for line in lines {
        let answer = ask(&relay, VISITOR, &[&with(line), NEXT].concat());
        let shown = String::from_utf8_lossy(line);
        let codes = statuses(&answer);
        assert!(matches!(codes[..], [400 | 501]), "{shown:?}: {codes:?}");
    }
    assert_eq!(kite.streams(), 0, "the service saw {:?}", kite.seen());
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn request_lines_that_are_none_never_reach_the_service() {
    let (relay, kite) = start();
    let bystander = Bystander::start(&relay);
    let before = relay.resident();
    let lines: &[&[u8]] = &[
        b"GET  /smuggled HTTP/1.1\r\n",
        b"GET\t/smuggled\tHTTP/1.1\r\n",
        b"GET /smuggled  HTTP/1.1\r\n",
        b"GET /smuggled HTTP/1.1 \r\n",
        b"GET /smuggled HTTP/1.2\r\n",
        b"GET /smuggled HTTP/2.0\r\n",
        b"GET /smuggled HTTP/0.9\r\n",
        b"GET /smuggled http/1.1\r\n",
        b"GET /smuggled\r\n",
        b"GET /smugg\x00led HTTP/1.1\r\n",
        b"GET /smugg\rled HTTP/1.1\r\n",
        b"GET /smuggled\x0bHTTP/1.1\r\n",
        b"GET /smuggled HTTP/1.1\r\r\n",
        b"GET smuggled HTTP/1.1\r\n",
        b"GET kite.test/smuggled HTTP/1.1\r\n",
        b"GET //smuggled@kite.test:x HTTP/1.1 HTTP/1.1\r\n",
        b"GET ftp://kite.test/smuggled HTTP/1.1\r\n",
        b"GET http:///smuggled HTTP/1.1\r\n",
        b"GET http://a@kite.test/smuggled HTTP/1.1\r\n",
        b"GET * HTTP/1.1\r\nX: smuggled\r\n",
        b"G\xc3\x89T /smuggled HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA /smuggled HTTP/1.1\r\n",
    ];
    for line in lines {
        let request = [line, &b"Host: kite.test\r\n\r\n"[..], NEXT].concat();
        let codes = statuses(&ask(&relay, VISITOR, &request));
        let shown = String::from_utf8_lossy(line);
        assert!(matches!(codes[..], [400 | 501]), "{shown:?}: {codes:?}");
    }
    assert_eq!(kite.streams(), 0, "the service saw {:?}", kite.seen());
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn a_length_that_is_said_twice_is_one_length() {
    let (relay, kite) = start();
    let request = b"POST /twice HTTP/1.1\r\nHost: kite.test\r\nContent-Length: 5\r\n\
        Content-Length: 5\r\n\r\nhelloGET /next HTTP/1.1\r\nHost: kite.test\r\n\
        Connection: close\r\n\r\n";
    assert_eq!(statuses(&ask(&relay, VISITOR, request)), [200, 200]);
    assert!(kite.seen().contains("helloGET /next"), "{}", kite.seen());
}

#[test]
fn lines_that_end_in_lf_alone_are_one_request_or_none() {
    let (relay, kite) = start();
    let well = b"GET /lines HTTP/1.1\nHost: kite.test\nConnection: close\n\n";
    assert_eq!(statuses(&ask(&relay, VISITOR, well)), [200]);
    for mixed in [
        &b"GET /smuggled HTTP/1.1\nHost: kite.test\r\n\r\n"[..],
        b"GET /smuggled HTTP/1.1\r\nHost: kite.test\n\r\n",
        b"GET /smuggled HTTP/1.1\r\nHost: kite.test\r\n\n",
        b"GET /smuggled HTTP/1.1\nHost: kite.test\n\r\n",
    ] {
        let codes = statuses(&ask(&relay, VISITOR, &[mixed, NEXT].concat()));
        assert_eq!(codes, [400], "{:?}", String::from_utf8_lossy(mixed));
    }
    assert!(!kite.seen().contains("smuggled"), "{}", kite.seen());
}

#[test]
fn a_body_that_breaks_its_framing_ends_the_connection() {
    let (relay, kite) = start();
    let bystander = Bystander::start(&relay);
    let before = relay.resident();
    let long = [b"5;".to_vec(), b"x".repeat(5000), b"\r\nhello\r\n".to_vec()].concat();
    let trailers = [b"0\r\n".to_vec(), b"X: y\r\n".repeat(20_000)].concat();
    let bodies: &[&[u8]] = &[
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5;\x00\r\nhello\r\n0\r\n\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"\r\n5\r\nhello\r\n0\r\n\r\n",
        b";a\r\nhello\r\n0\r\n\r\n",
        b"g\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"0\r\n\n",
        b"0\r\n\rx",
        b"0\n\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\nX: \x00\r\n\r\n",
        &long,
        &trailers,
    ];
    for body in bodies {
        let head =
            b"POST /chunks HTTP/1.1\r\nHost: kite.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = ask(&relay, VISITOR, &[head, *body, NEXT].concat());
        // The service may have answered the head; it never sees what follows.
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let codes = statuses(&answer);
        assert!(codes.len() <= 1, "{shown:?}: {codes:?}");
        let seen = kite.seen();
        assert!(!seen.contains("smuggled"), "{shown:?} made the service see {seen:?}");
    }
    assert_modest(&relay, before, 16);
    bystander.finish();
}

#[test]
fn forged_claims_about_a_visitor_are_renamed() {
    let (relay, kite) = start();
    let request = b"GET /claims HTTP/1.1\r\nHost: kite.test\r\nX-Forwarded-For: 10.0.0.1\r\n\
        x-forwarded-proto: https\r\nX_Forwarded_For: 10.0.0.2\r\nX-PageKite-Port: 1\r\n\
        Forwarded: for=10.0.0.3\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&ask(&relay, VISITOR, request)), Some(200));
    let seen = kite.seen().to_ascii_lowercase();
    assert!(seen.contains("get /claims"), "{seen}");
    for line in seen.lines() {
        let name = line.split(':').next().unwrap_or_default().replace('_', "-");
        let is_claim = ["x-forwarded-for", "x-forwarded-proto", "x-pagekite-port", "forwarded"]
            .contains(&name.as_str());
        assert!(!is_claim, "{line}");
    }
}

#[test]
fn an_absolute_target_and_its_host_lead_to_one_kite() {
    let (relay, kite) = start();
    let other = Kite::fly(&relay, "http:other.test");
    let request = b"GET http://other.test/absolute HTTP/1.1\r\nHost: kite.test\r\n\
        Connection: close\r\n\r\n";
    assert_eq!(status(&ask(&relay, VISITOR, request)), Some(200));
    assert_eq!(kite.streams(), 0);
    let seen = other.seen();
    assert!(seen.starts_with("GET /absolute HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("Host: other.test\r\n") && !seen.contains("kite.test"), "{seen}");
    // Nobody flies this one.
    let request = b"GET http://away.test/ HTTP/1.1\r\nHost: kite.test\r\n\r\n";
    assert_eq!(status(&ask(&relay, VISITOR, request)), Some(503));
    assert_eq!(kite.streams(), 0);
}

#[test]
fn names_that_are_none_get_an_answer_and_nobody_else() {
    let (relay, kite) = start();
    let bystander = Bystander::start(&relay);
    let before = relay.resident();
    let label = "a".repeat(300);
    let labels = ["a"; 4000].join(".");
    let names = [
        "kite.test\x01",
        "kite\x7f.test",
        "kite.test\x1b[2J",
        "kité.test",
        "kite.test/x",
        "kite.test?x",
        "kite.test#x",
        "kite.test@other.test",
        "user@kite.test",
        "kite..test",
        ".kite.test",
        "kite.test..",
        "kite.test:80:80",
        "kite.test:0",
        "kite.test:99999",
        "kite.test:",
        "kite.test:x",
        "kite.test, other.test",
        "kite.test other.test",
        "*.kite.test",
        "*",
        "",
        "[::1",
        "[::1]x",
        "[kite.test]",
        "<script>alert(1)</script>",
        "%6bite.test",
        "kite.test%00",
        "ｋite.test",
        "127.0.0.1",
        "127.0.0.1:22",
        "[::1]:25",
        "2130706433",
        "localhost",
        "ping.pagekite.kite.test",
        "0x7f000001--",
        &label,
        &labels,
        "unknown",
        "_any_.kite.test",
        "kite.test.evil.example",
    ];
    for name in names {
        let request = format!("GET /smuggled HTTP/1.1\r\nHost: {name}\r\n\r\n");
        let answer = ask(&relay, VISITOR, request.as_bytes());
        let code = status(&answer);
        assert!(matches!(code, Some(400 | 503)), "{name:?}: {code:?}");
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains("<script>alert"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }
    assert_eq!(kite.streams(), 0, "the service saw {:?}", kite.seen());
    assert_modest(&relay, before, 16);
    bystander.finish();
}

/// A TLS client that trusts one certificate.
fn tls(
    relay: &Relay,
    identity: &Identity,
    name: &'static str,
) -> StreamOwned<ClientConnection, std::net::TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(identity.certificate.clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = name.try_into().expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    StreamOwned::new(session, connect_from(relay, VISITOR))
}

#[test]
fn a_host_that_tls_was_not_made_for_is_misdirected() {
    let identity = self_signed(&["kite.test", "other.test"], NOW, false);
    let file = PemFile::new(&format!("{}{}", identity.pem, identity.key_pem));
    let lines = ["kite.test", "other.test"]
        .map(|name| format!("tls_endpoint = {name}:{}\n", file.0.display()))
        .concat();
    let relay = Arc::new(Relay::start(&lines));
    let kite = Kite::fly(&relay, "http:kite.test");
    let other = Kite::fly(&relay, "http:other.test");
    for (target, host, code) in [
        ("/", "kite.test", 200),
        ("/smuggled", "other.test", 421),
        ("/smuggled", "away.test", 421),
        ("http://other.test/smuggled", "kite.test", 421),
        ("http://kite.test/", "other.test", 200),
    ] {
        let mut socket = tls(&relay, &identity, "kite.test");
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        assert_eq!(status(&answer), Some(code), "{target} at {host}");
    }
    // The second request of a connection is looked at as well.
    let mut socket = tls(&relay, &identity, "kite.test");
    let requests = ["kite.test", "other.test"]
        .map(|host| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
        .concat();
    socket.write_all(requests.as_bytes()).expect("sent");
    let mut answers = Vec::new();
    let _ = socket.read_to_end(&mut answers);
    assert_eq!(statuses(&answers), [200, 421]);
    assert_eq!(other.streams(), 0, "the other kite saw {:?}", other.seen());
    assert!(!kite.seen().contains("smuggled"), "{}", kite.seen());
}

#[test]
fn each_request_of_a_connection_goes_to_the_kite_that_it_names() {
    let (relay, kite) = start();
    let other = Kite::fly(&relay, "http:other.test");
    let mut socket = connect_from(&relay, VISITOR);
    for (path, host) in [("/a", "kite.test"), ("/b", "other.test"), ("/c", "kite.test")] {
        send(&mut socket, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        let mut answer = Vec::new();
        while !answer.ends_with(PAGE.as_bytes()) {
            let (more, ended) = read_all(&mut socket, 1);
            assert!(ended == Ended::Open && !more.is_empty());
            answer.extend(more);
        }
    }
    assert!(kite.seen().contains("/a ") && kite.seen().contains("/c "), "{}", kite.seen());
    assert!(!kite.seen().contains("/b ") && other.seen().contains("/b "), "{}", other.seen());
}
