//! Any bytes from a visitor and from a service: no panic, the same however
//! they are cut, and what the kite gets is the request that the relay read,
//! without a word that only agents may say.

#![no_main]

use kitelet::http::response::{Answered, ResponseFollower};
use kitelet::http::{Body, Followed, MAX_HEAD_BYTES, Scanned, Scanner};
use kitelet::relay::request::{ConnectRequest, MAX_TARGET_BYTES, VisitorRequest, is_connect};
use kitelet_fuzz::{Script, cuts};
use libfuzzer_sys::fuzz_target;

/// In lower case, `_` as `-`.
const FORGED: [&str; 9] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-host",
    "x-real-ip",
    "forwarded",
    "x-pagekite-for",
    "x-pagekite-proto",
    "x-pagekite-port",
];

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let (flags, seed, length) = (script.byte(), script.number() as u64, script.number());
    let requests = script.bytes(length);
    let answer = script.rest();

    let tls_name = (flags & 1 != 0).then_some("kite.test");
    let seen = visit(&cuts(requests, 0), tls_name);
    assert_eq!(seen, visit(&cuts(requests, seed), tls_name), "the cut changes the requests");

    let method = if flags & 2 != 0 { "HEAD" } else { "GET" };
    let whole = follow(method, &cuts(answer, 0));
    assert_eq!(whole, follow(method, &cuts(answer, seed)), "the cut changes the answer");
});

/// The targets of all requests of a connection, and where each head and each
/// body ends.
fn visit(parts: &[&[u8]], tls_name: Option<&str>) -> (Vec<String>, Vec<usize>) {
    let (mut targets, mut ends) = (Vec::new(), Vec::new());
    let mut scanner = Scanner::default();
    let mut head = Vec::new();
    let mut body: Option<Body> = None;
    let mut before = 0;
    for mut part in parts.iter().copied() {
        while !part.is_empty() {
            let (used, is_end) = match &mut body {
                Some(body) => match body.follow(part) {
                    Followed::More => (part.len(), false),
                    Followed::End(bytes) => (bytes, true),
                    Followed::Broken(..) => return (targets, ends),
                },
                None => match scanner.feed(part) {
                    Scanned::More => (part.len(), false),
                    Scanned::End(bytes) => (bytes, true),
                    Scanned::NoRequest | Scanned::TooLong => return (targets, ends),
                },
            };
            let was_head = body.is_none();
            if was_head {
                head.extend_from_slice(&part[..used]);
                assert!(head.len() <= MAX_HEAD_BYTES);
            }
            before += used;
            part = &part[used..];
            if !is_end {
                continue;
            }
            ends.push(before);
            body = None;
            if was_head {
                let Some(request) = read(&head, tls_name) else { return (targets, ends) };
                body = Body::new(request.framing);
                targets.push(request.target);
                head.clear();
                scanner = Scanner::default();
            }
        }
    }
    (targets, ends)
}

/// Reads a request, and reads it again as the kite gets it.
fn read(head: &[u8], tls_name: Option<&str>) -> Option<VisitorRequest> {
    if is_connect(head) {
        let _ = ConnectRequest::read(head);
        assert!(VisitorRequest::read(head, tls_name).is_err());
        return None;
    }
    let request = VisitorRequest::read(head, tls_name).ok()?;
    assert!(request.target.len() <= MAX_TARGET_BYTES);
    assert!(request.target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'));
    if let (Some(name), Some(host)) = (tls_name, &request.host) {
        assert_eq!(name, host);
    }

    let forwarded = request.forwarded_head(head);
    let first = forwarded.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    let mut hosts = 0;
    for line in forwarded[first..].split_inclusive(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).to_lowercase().replace('_', "-");
        assert!(!FORGED.contains(&name.as_str()), "a forged header is left");
        hosts += usize::from(name == "host");
    }
    assert_eq!(hosts, usize::from(request.host.is_some()));
    // A few bytes more may be too many, which the agent says as well.
    if forwarded.len() <= MAX_HEAD_BYTES {
        let again = VisitorRequest::read(&forwarded, tls_name).expect("our own head");
        assert!(!again.target.starts_with("http"));
        assert_eq!(again.method, request.method);
        assert_eq!((&again.host, again.host_port), (&request.host, request.host_port));
        assert_eq!((again.version, again.framing), (request.version, request.framing));
        assert_eq!((again.closes, again.path), (request.closes, request.path.clone()));
        assert_eq!(again.is_websocket, request.is_websocket);
        assert_eq!(again.may_switch, request.may_switch);
        assert_eq!(again.expects_continue, request.expects_continue);
        let mut scanner = Scanner::default();
        assert_eq!(scanner.feed(&forwarded), Scanned::End(forwarded.len()));
    }
    Some(request)
}

/// How an answer ends, counted from its first byte, and what is said about the
/// bytes after it.
fn follow(method: &str, parts: &[&[u8]]) -> (Vec<Answered>, Option<u16>) {
    let mut follower = ResponseFollower::new(method.as_bytes());
    let mut before = 0;
    let mut found = Vec::new();
    for mut part in parts.iter().copied() {
        while !part.is_empty() {
            let answered = follower.follow(part);
            assert!(follower.held_bytes() <= MAX_HEAD_BYTES);
            let used = match answered {
                Answered::More => part.len(),
                Answered::End { bytes, keeps_alive } => {
                    found.push(Answered::End { bytes: before + bytes, keeps_alive });
                    bytes
                }
                Answered::Switched(bytes) => {
                    found.push(Answered::Switched(before + bytes));
                    return (found, follower.status());
                }
                Answered::UntilClose | Answered::Broken(_) => {
                    assert_eq!(follower.held_bytes(), 0);
                    found.push(answered);
                    return (found, follower.status());
                }
            };
            assert!(used <= part.len());
            before += used;
            part = &part[used..];
        }
    }
    (found, follower.status())
}
