//! What is done to visitors on their way: who they are is told to the service
//! in headers or ahead of them, and some do not get there
//! (`protocol.md` 13).

mod agent_support;

use std::io::{Read, Write};

use agent_support::{Agent, FakeRelay, Open, Service, Tunnel};

const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: kite.test\r\n\r\n";

/// A service that shows its visitor what it got so far: the first bytes up to
/// a blank line, or all of them.
fn mirror() -> Service {
    Service::new(|mut socket| {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = socket.read(&mut buffer) {
            all.extend_from_slice(&buffer[..length]);
            if all.ends_with(b"\r\n\r\n") {
                break;
            }
        }
        let _ = socket.write_all(&all);
    })
}

/// An agent with a kite for HTTP and these `service_cfg` lines.
fn with_flags(flags: &[&str]) -> (FakeRelay, Agent, Tunnel) {
    let relay = FakeRelay::new();
    let port = mirror().port();
    let mut lines = format!("service_on = http,raw:kite.test:127.0.0.1:{port}:SECRET\n");
    for flag in flags {
        lines += &format!("service_cfg = kite.test/80 : {flag}\n");
    }
    let agent = Agent::start(&relay, &lines);
    let tunnel = relay.accept_flying();
    (relay, agent, tunnel)
}

/// Opens a stream from an address and returns what comes back.
fn visit(tunnel: &mut Tunnel, protocol: &str, address: &str, bytes: &[u8]) -> Vec<u8> {
    let stream = tunnel.visits.keys().last().map_or(1, |last| last + 1);
    let more = format!("Port: 8080\r\nRIP: {address}\r\nRPort: 4711\r\n");
    tunnel.open(stream, &Open { protocol, more: &more, ..Open::HTTP }, bytes);
    tunnel.eof(stream, "R");
    tunnel.until("the answer", |tunnel| tunnel.visit(stream).eof_read);
    tunnel.visit(stream).data.clone()
}

fn visit_text(tunnel: &mut Tunnel, address: &str, request: &[u8]) -> String {
    String::from_utf8(visit(tunnel, "http", address, request)).expect("text")
}

#[test]
fn the_service_is_told_who_visits() {
    let (_relay, _agent, mut tunnel) = with_flags(&[]);
    let seen = visit_text(&mut tunnel, "::ffff:192.0.2.7", REQUEST);
    let wanted = "GET /hello HTTP/1.1\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n\
        X-PageKite-Port: 8080\r\nHost: kite.test\r\n\r\n";
    let other = wanted.replace("192.0.2.7", "::ffff:192.0.2.7");
    assert!(seen == wanted || seen == other, "{seen}");
    // TLS that the relay took off, and an address that the visitor invents.
    let open = Open { more: "RIP: 2001:db8::1\r\nRTLS: 1\r\n", ..Open::HTTP };
    tunnel.open(90, &open, b"GET / HTTP/1.1\r\nX-Forwarded-For: 127.0.0.1\r\nHost: k\r\n\r\n");
    let seen = String::from_utf8(tunnel.read_to_end(90)).expect("text");
    assert!(seen.contains("\r\nX-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: https\r\n"));
    assert!(seen.contains("\r\nX-Old-X-Forwarded-For: 127.0.0.1\r\n"), "{seen}");
    // A head in pieces: the agent's words come once, in the right place.
    tunnel.open(91, &Open::HTTP, b"GET / HT");
    for part in [&b"TP/1.1\r\nHo"[..], b"st: kite.test\r", b"\n\r", b"\n"] {
        tunnel.ping("between");
        tunnel.data(91, part);
    }
    let seen = String::from_utf8(tunnel.read_to_end(91)).expect("text");
    assert!(seen.starts_with("GET / HTTP/1.1\r\nX-Forwarded-For: 127.0.0.9\r\n"), "{seen}");
    assert_eq!(seen.matches("X-Forwarded-For").count(), 1);
}

#[test]
fn raw_streams_pass_untouched() {
    let (_relay, _agent, mut tunnel) = with_flags(&[]);
    assert_eq!(visit(&mut tunnel, "raw", "192.0.2.7", REQUEST), REQUEST);
    let admin = b"GET /admin HTTP/1.1\r\n\r\n";
    assert_eq!(visit(&mut tunnel, "raw", "192.0.2.7", admin), admin);
}

#[test]
fn headers_are_as_the_flags_say() {
    let (_relay, _agent, mut tunnel) = with_flags(&["rawheaders : True"]);
    assert_eq!(visit(&mut tunnel, "http", "192.0.2.7", REQUEST), REQUEST);
    let (_relay, _agent, mut tunnel) = with_flags(&["rewritehost : intern.test:8000"]);
    let seen = visit_text(&mut tunnel, "192.0.2.7", REQUEST);
    assert!(seen.contains("\r\nHost: intern.test:8000\r\nX-Old-Host: kite.test\r\n"), "{seen}");
}

/// Ahead of the first byte, with or without one.
#[test]
fn the_proxy_header_comes_first() {
    let (_relay, _agent, mut tunnel) = with_flags(&["proxyproto : True"]);
    let line = "PROXY TCP4 192.0.2.7 0.0.0.0 4711 8080\r\n";
    let seen = visit_text(&mut tunnel, "::ffff:192.0.2.7", REQUEST);
    assert!(seen.starts_with(&format!("{line}GET /hello HTTP/1.1\r\nX-Forwarded-For: ")), "{seen}");
    assert_eq!(visit(&mut tunnel, "raw", "192.0.2.7", b""), line.as_bytes());
    assert_eq!(visit(&mut tunnel, "raw", "nobody", b"x"), b"PROXY UNKNOWN\r\nx");
    let seen = visit_text(&mut tunnel, "2001:db8::1", REQUEST);
    assert!(seen.starts_with("PROXY TCP6 2001:db8::1 :: 4711 8080\r\nGET "), "{seen}");

    let (_relay, _agent, mut tunnel) = with_flags(&["proxyproto : v2"]);
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\0\0\0\0\x12\x67\x1f\x90";
    let seen = visit(&mut tunnel, "raw", "192.0.2.7", b"hello");
    assert_eq!(seen, [&header[..], b"hello"].concat());
}

#[test]
fn the_firewall_says_how_to_pass_it() {
    let (_relay, agent, mut tunnel) = with_flags(&[]);
    let seen = visit_text(&mut tunnel, "192.0.2.7", b"GET /admin HTTP/1.1\r\nHost: k\r\n\r\n");
    assert!(seen.starts_with("HTTP/1.1 500 ") && seen.contains("+insecure"), "{seen}");
    agent.wait_for_log("the URL firewall blocks addresses that begin with /adm");
    // A request that cannot be judged does not pass either.
    let seen = visit_text(&mut tunnel, "192.0.2.7", b"SSH-2.0-client\r\n\r\n");
    assert!(seen.starts_with("HTTP/1.1 400 "), "{seen}");

    let (_relay, _agent, mut tunnel) = with_flags(&["insecure : True"]);
    let seen = visit_text(&mut tunnel, "192.0.2.7", b"GET /admin HTTP/1.1\r\nHost: k\r\n\r\n");
    assert!(seen.starts_with("GET /admin "), "{seen}");
}

/// Of a connection with several requests, each is looked at.
#[test]
fn the_firewall_sees_later_requests() {
    let relay = FakeRelay::new();
    let _agent = Agent::with_http(&relay, Service::echo().port());
    let mut tunnel = relay.accept_flying();
    tunnel.open(5, &Open::HTTP, REQUEST);
    tunnel.until("the first", |tunnel| tunnel.visit(5).data.ends_with(b"\r\n\r\n"));
    tunnel.data(5, b"GET /wp-admin/ HTTP/1.1\r\n\r\n");
    tunnel.until("the end", |tunnel| tunnel.visit(5).is_over());
    let seen = tunnel.visit(5).text();
    assert!(seen.contains("HTTP/1.1 500 ") && !seen.contains("GET /wp-admin"), "{seen}");
}

/// A service that is done has told the relay so; no page may follow that.
#[test]
fn a_refusal_after_the_end_of_the_answer_is_silent() {
    let service = Service::new(|mut socket| {
        let _ = socket.write_all(b"all there is");
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let relay = FakeRelay::new();
    let _agent = Agent::with_http(&relay, service.port());
    let mut tunnel = relay.accept_flying();
    tunnel.open(5, &Open::HTTP, b"");
    tunnel.until("the end of the answer", |tunnel| tunnel.visit(5).eof_read);
    tunnel.data(5, b"GET /admin HTTP/1.1\r\n\r\n");
    tunnel.until("the end", |tunnel| tunnel.visit(5).is_over());
    tunnel.ping("after all");
    assert_eq!(tunnel.visit(5).text(), "all there is");
}

#[test]
fn a_password_is_asked_for_and_taken_out() {
    let (_relay, agent, mut tunnel) = with_flags(&["password/bob : open sesame"]);
    let seen = visit_text(&mut tunnel, "192.0.2.7", REQUEST);
    assert!(seen.starts_with("HTTP/1.1 401 "), "{seen}");
    assert!(seen.contains("\r\nWWW-Authenticate: Basic realm="), "{seen}");
    // bob:open sesame, and bob:wrong
    let right = "Ym9iOm9wZW4gc2VzYW1l";
    for (credentials, passes) in [(right, true), ("Ym9iOndyb25n", false), ("!!", false)] {
        let request =
            format!("GET /admin HTTP/1.1\r\nHost: k\r\nAuthorization: Basic {credentials}\r\n\r\n");
        let seen = visit_text(&mut tunnel, "192.0.2.7", request.as_bytes());
        let wanted = if passes { "GET /admin " } else { "HTTP/1.1 401 " };
        assert!(seen.starts_with(wanted), "{credentials}: {seen}");
        assert!(!seen.contains(credentials), "{seen}");
    }
    let log = agent.log();
    assert!(!log.contains("sesame") && !log.contains(right), "{log}");
}

#[test]
fn a_list_of_addresses_lets_in_no_others() {
    let flags = ["ip/192.0.2 : True", "ip/2001:db8::/32 : True"];
    let (_relay, agent, mut tunnel) = with_flags(&flags);
    for (address, is_let_in) in [
        ("192.0.2.7", true),
        ("::ffff:192.0.2.8", true),
        ("2001:db8:1::2", true),
        ("192.0.3.7", false),
        ("2001:db9::1", false),
        ("192.0.2", false),
        ("192.0.2.7, 10.0.0.1", false),
        ("", false),
    ] {
        let seen = visit_text(&mut tunnel, address, REQUEST);
        let wanted = if is_let_in { "GET /hello " } else { "HTTP/1.1 503 " };
        assert!(seen.starts_with(wanted), "{address}: {seen}");
    }
    agent.wait_for_log("http:kite.test lets in other addresses only (flag ip)");
}

/// A name of a host is no way into a page.
#[test]
fn pages_show_names_as_text() {
    let relay = FakeRelay::new();
    let lines = format!(
        "errorurl = https://example.test/off?a=1\n\
         service_on = http:kite.test:127.0.0.1:{}:SECRET",
        agent_support::dead_port()
    );
    let _agent = Agent::start(&relay, &lines);
    let mut tunnel = relay.accept_flying();
    tunnel.open(5, &Open { host: "<script>\"&'", ..Open::HTTP }, REQUEST);
    let page = String::from_utf8(tunnel.read_to_end(5)).expect("text");
    assert!(page.starts_with("HTTP/1.1 503 ") && !page.contains("<script"), "{page}");
    assert!(page.contains("src=\"https://example.test/off?a=1&amp;where=BE&amp;"), "{page}");
}
