//! What a service and a visitor see of [`RequestFilter`], whole streams at a
//! time.

use std::rc::Rc;

use super::{MAX_HEADERS, Piece, RequestFilter};
use crate::agent::access::Visitor;
use crate::agent::answer::Refusal;
use crate::config::{AddressRange, KiteFlags, KiteSettings, Origin, RewriteHost};
use crate::http::scan::MAX_HEAD_BYTES;
use crate::wire::Secret;

mod properties;

fn kite(flags: KiteFlags) -> Rc<KiteSettings> {
    Rc::new(KiteSettings {
        id: "http:box.example.com".parse().expect("a kite"),
        secret: Secret::new("s3cret"),
        origin: Origin::Tcp { host: "nas.lan".to_owned(), port: 8080 },
        name: None,
        flags,
    })
}

fn visitor() -> Visitor {
    Visitor {
        address: "::ffff:192.0.2.7".to_owned(),
        port: Some(4711),
        tls: true,
        public_port: Some(443),
    }
}

fn insecure() -> KiteFlags {
    KiteFlags { insecure: true, ..KiteFlags::default() }
}

fn with_password() -> KiteFlags {
    KiteFlags { passwords: vec![("ann".to_owned(), Secret::new("one"))], ..KiteFlags::default() }
}

/// Every kind of kite: guarded by the firewall, a password, nothing; with and
/// without rewriting.
fn every_kind() -> [KiteFlags; 6] {
    [
        KiteFlags::default(),
        with_password(),
        insecure(),
        KiteFlags { rewrite_host: Some(RewriteHost::Origin), ..insecure() },
        KiteFlags { raw_headers: true, ..KiteFlags::default() },
        KiteFlags { raw_headers: true, ..insecure() },
    ]
}

/// Feeds `pieces`; what the service got and what the visitor was told.
fn run<'a>(
    flags: KiteFlags,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Option<Refusal>) {
    let mut filter = RequestFilter::new(kite(flags), visitor());
    let mut out = Vec::new();
    let mut refused = None;
    for mut input in pieces {
        while let Some(piece) = filter.next(&mut input) {
            match piece {
                Piece::Forward(bytes) => {
                    assert!(!bytes.is_empty() && refused.is_none());
                    out.extend_from_slice(bytes);
                }
                Piece::Refuse(refusal) => {
                    assert!(refused.replace(refusal).is_none(), "refused twice");
                }
            }
        }
        assert!(input.is_empty());
    }
    if refused.is_none() {
        out.extend_from_slice(filter.end().unwrap_or_default());
    }
    assert!(filter.end().is_none());
    (out, refused)
}

fn whole(flags: KiteFlags, input: &[u8]) -> (Vec<u8>, Option<Refusal>) {
    run(flags, [input])
}

#[track_caller]
fn assert_passes(flags: KiteFlags, input: &str, output: &str) {
    let (out, refused) = whole(flags, input.as_bytes());
    assert_eq!(String::from_utf8_lossy(&out), output);
    assert_eq!(refused, None);
}

const ADDED: &str = "X-Forwarded-For: ::ffff:192.0.2.7\r\n\
                     X-Forwarded-Proto: https\r\nX-PageKite-Port: 443\r\n";

#[test]
fn the_visitor_is_named_after_the_request_line() {
    let rest = "hOST: box.example.com\r\nA:b\r\nA:  b\t\r\nX-Obs: \u{e9}\r\n\r\n";
    assert_passes(
        KiteFlags::default(),
        &format!("GET /a HTTP/1.1\r\n{rest}"),
        &format!("GET /a HTTP/1.1\r\n{ADDED}{rest}"),
    );
}

#[test]
fn lines_of_a_visitor_who_ends_them_with_lf_stay_alike() {
    assert_passes(
        KiteFlags::default(),
        "GET / HTTP/1.0\nHost: a\n\n",
        &format!("GET / HTTP/1.0\n{}Host: a\n\n", ADDED.replace('\r', "")),
    );
}

#[test]
fn headers_that_are_ours_are_renamed() {
    assert_passes(
        KiteFlags::default(),
        "GET / HTTP/1.1\r\nx-forwarded-for: 6.6.6.6\r\nX-PageKite-Port: 9\r\nHost: a\r\n\
         X_Forwarded_Proto: x\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Fort: y\r\n\r\n",
        &format!(
            "GET / HTTP/1.1\r\n{ADDED}X-Old-x-forwarded-for: 6.6.6.6\r\n\
             X-Old-X-PageKite-Port: 9\r\nHost: a\r\nX-Old-X_Forwarded_Proto: x\r\n\
             X-Old-X-Forwarded-Port: 1\r\nX-Forwarded-Fort: y\r\n\r\n"
        ),
    );
}

#[test]
fn the_host_is_rewritten_on_request() {
    for (rewrite, host) in
        [(RewriteHost::Origin, "nas.lan"), (RewriteHost::Name("x.test:81".to_owned()), "x.test:81")]
    {
        let flags = KiteFlags { rewrite_host: Some(rewrite), ..KiteFlags::default() };
        assert_passes(
            flags,
            "GET / HTTP/1.1\r\nHost: box.example.com\r\n\r\n",
            &format!(
                "GET / HTTP/1.1\r\n{ADDED}Host: {host}\r\nX-Old-Host: box.example.com\r\n\r\n"
            ),
        );
    }
}

#[test]
fn what_the_relay_does_not_know_is_not_made_up() {
    let stranger = Visitor { address: "1.2.3.4\r\nX-Evil: 1".to_owned(), ..Visitor::default() };
    let mut filter = RequestFilter::new(kite(KiteFlags::default()), stranger);
    let mut input = &b"GET / HTTP/1.1\r\n\r\n"[..];
    assert_eq!(
        filter.next(&mut input),
        Some(Piece::Forward(
            b"GET / HTTP/1.1\r\nX-Forwarded-For: unknown\r\nX-Forwarded-Proto: http\r\n\r\n"
        ))
    );
}

#[test]
fn raw_headers_stay_raw_behind_a_guard() {
    let flags =
        KiteFlags { raw_headers: true, rewrite_host: Some(RewriteHost::Origin), ..with_password() };
    let request = "GET / HTTP/1.1\r\nAuthorization: Basic YW5uOm9uZQ==\r\nHost: a\r\n\r\n";
    assert_passes(flags.clone(), request, request);
    let (out, refused) = whole(flags, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((out.len(), refused), (0, Some(Refusal::Unauthorized)));
}

#[test]
fn each_of_many_requests_is_rewritten_and_no_body_is() {
    let bodies = [
        ("Content-Length: 20\r\n", "GET / HTTP/1.1\r\n\r\nab"),
        (
            "Transfer-Encoding: chunked\r\n",
            "12\r\nGET / HTTP/1.1\r\n\r\n\r\n1;a=b\r\nx\r\n0\r\nA: GET / HTTP/1.1\r\n\r\n",
        ),
        ("Content-Length: 0\r\n", ""),
        ("", ""),
    ];
    let (mut input, mut output) = (String::new(), String::new());
    for (headers, body) in bodies {
        input += &format!("POST /a HTTP/1.1\r\n{headers}\r\n{body}");
        output += &format!("POST /a HTTP/1.1\r\n{ADDED}{headers}\r\n{body}");
    }
    for flags in [KiteFlags::default(), insecure()] {
        assert_passes(flags, &input, &output);
    }
}

#[test]
fn bodies_pass_without_being_copied() {
    let mut filter = RequestFilter::new(kite(KiteFlags::default()), visitor());
    let mut input = &b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n"[..];
    while filter.next(&mut input).is_some() {}
    let body = b"body body";
    let mut input = &body[..];
    match filter.next(&mut input) {
        Some(Piece::Forward(bytes)) => assert_eq!(bytes.as_ptr(), body.as_ptr()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_firewall_looks_at_every_request() {
    let good = "POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
    let bad = "GET /wp-admin/ HTTP/1.1\r\nHost: a\r\n\r\n";
    let (out, refused) = whole(KiteFlags::default(), format!("{good}{bad}{good}").as_bytes());
    assert!(out.ends_with(b"abc") && !out.windows(8).any(|part| part == b"wp-admin"));
    assert!(matches!(refused, Some(Refusal::Firewall { rule }) if rule.contains("/wp-admin/")));
}

#[test]
fn kites_for_known_visitors_have_no_firewall() {
    let known = AddressRange { network: "192.0.2.7".parse().expect("an address"), prefix_bits: 32 };
    let by_address = KiteFlags { allowed: vec![known], ..KiteFlags::default() };
    for flags in [insecure(), by_address, with_password()] {
        let bad =
            b"GET /wp-admin/ HTTP/1.1\r\nAuthorization: Basic YW5uOm9uZQ==\r\n\r\n".as_slice();
        let (out, refused) = whole(flags, bad);
        assert!(out.starts_with(b"GET /wp-admin/") && refused.is_none());
    }
}

#[test]
fn every_request_needs_the_password() {
    let good = "GET / HTTP/1.1\r\nAuthorization: Basic YW5uOm9uZQ==\r\nA: b\r\n\r\n";
    let seen = format!("GET / HTTP/1.1\r\n{ADDED}A: b\r\n\r\n");
    assert_passes(with_password(), good, &seen);
    for bad in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nAuthorization: Basic YW5uOnR3bw==\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nAuthorization: Bearer x\r\n\r\n",
    ] {
        let (out, refused) = whole(with_password(), format!("{good}{bad}").as_bytes());
        assert_eq!(String::from_utf8_lossy(&out), seen);
        assert_eq!(refused, Some(Refusal::Unauthorized));
    }
}

#[test]
fn only_our_own_password_is_taken_out() {
    let token = "Authorization: Bearer x\r\n";
    assert_passes(
        with_password(),
        &format!("GET / HTTP/1.1\r\n{token}Authorization: Basic YW5uOm9uZQ==\r\n\r\n"),
        &format!("GET / HTTP/1.1\r\n{ADDED}{token}\r\n"),
    );
    assert_passes(
        KiteFlags::default(),
        &format!("GET / HTTP/1.1\r\n{token}\r\n"),
        &format!("GET / HTTP/1.1\r\n{ADDED}{token}\r\n"),
    );
}

#[test]
fn a_websocket_passes_after_its_request() {
    let request = "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    // Masked frames; the second begins like the word "A", the first bit of its
    // mask decides. What looks like a request inside of them is none.
    for frame in [
        &b"\x81\x85abcdef\r\n\r\nGET /wp-admin/ HTTP/1.1\r\n\r\n"[..],
        b"A\xfe\x01\x01GET / HTTP/1.1\r\n\r\n",
        b"\n\x80abcd",
    ] {
        for flags in every_kind() {
            let with_login =
                request.replacen("\r\n", "\r\nAuthorization: Basic YW5uOm9uZQ==\r\n", 1);
            let head = with_login.as_bytes();
            let (head_out, _) = whole(flags.clone(), head);
            let (out, refused) = run(flags, head.chunks(1).chain(frame.chunks(1)));
            assert_eq!(out, [&head_out, frame].concat());
            assert_eq!(refused, None);
        }
    }
}

#[test]
fn an_upgrade_that_was_refused_opens_no_hole() {
    let request = "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
    let bad = "GET /admin HTTP/1.1\r\n\r\n";
    for between in ["", "\r\n", "GET / HTTP/1.1\r\n\r\n"] {
        let input = format!("{request}{between}{bad}");
        let (_, refused) = whole(KiteFlags::default(), input.as_bytes());
        assert!(matches!(refused, Some(Refusal::Firewall { .. })), "{between:?}");
    }
    // HTTP/2 cannot be read, so it does not pass a guard.
    let http2 = "GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0";
    let (_, refused) = whole(KiteFlags::default(), http2.as_bytes());
    assert!(matches!(refused, Some(Refusal::Malformed { .. })));
    let (out, refused) = whole(insecure(), http2.as_bytes());
    assert!(out.ends_with(b"\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"));
    assert_eq!(refused, None);
}

#[test]
fn without_an_upgrade_other_bytes_pass_no_guard() {
    let input = b"GET / HTTP/1.1\r\n\r\n\x81\x85abcdef";
    let (_, refused) = whole(KiteFlags::default(), input);
    assert!(matches!(refused, Some(Refusal::Malformed { .. })));
    let (out, refused) = whole(insecure(), input);
    assert!(out.ends_with(b"\r\n\r\n\x81\x85abcdef") && refused.is_none());
}

#[test]
fn smuggled_requests_pass_no_guard() {
    let hidden = "GET /admin HTTP/1.1\r\nX: y\r\n\r\n";
    for head in [
        "POST / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 32\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 32\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\nContent-Length: 32\r\n\r\n",
        "POST / HTTP/1.1\r\nX: y\r\n Content-Length: 32\r\n\r\n",
        "POST / HTTP/1.1\r\nX: y\rContent-Length: 32\r\n\r\n",
        "POST / HTTP/1.1\r\nX: y\nContent-Length: 32\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 32\r\n\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0;\n\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n",
    ] {
        let input = format!("{head}{hidden}");
        let login = "\r\nAuthorization: Basic YW5uOm9uZQ==\r\n";
        for (flags, input) in [
            (KiteFlags::default(), input.clone()),
            (with_password(), input.replacen("\r\n", login, 1)),
        ] {
            let (out, refused) = whole(flags, input.as_bytes());
            assert!(!out.windows(6).any(|part| part == b"/admin"), "{head:?}");
            assert!(matches!(refused, Some(Refusal::Malformed { .. })), "{head:?}: {refused:?}");
        }
        // Nobody minds on a kite without a guard.
        let (out, refused) = whole(insecure(), input.as_bytes());
        assert!(out.ends_with(hidden.as_bytes()), "{head:?}");
        assert_eq!(refused, None);
    }
}

#[test]
fn an_ambiguous_body_does_not_hide_the_visitor() {
    let input = "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab";
    let (out, _) = whole(insecure(), input.as_bytes());
    assert_eq!(String::from_utf8_lossy(&out), input.replacen("\r\n", &format!("\r\n{ADDED}"), 1));
}

#[test]
fn a_head_that_is_too_large_is_not_held() {
    let mut drip = b"GET / HTTP/1.1\r\nCookie: ".to_vec();
    drip.resize(MAX_HEAD_BYTES + 1, b'a');
    let (out, refused) = run(KiteFlags::default(), drip.chunks(1));
    assert_eq!((out.len(), refused), (0, Some(Refusal::HeadTooLarge)));
    drip.extend_from_slice(b"\r\n\r\nmore");
    assert_eq!(run(insecure(), drip.chunks(1)), (drip.clone(), None));

    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
    let (_, refused) = whole(KiteFlags::default(), many.as_bytes());
    assert_eq!(refused, Some(Refusal::HeadTooLarge));
    assert_passes(insecure(), &many, &many);
}

#[test]
fn the_buffer_lives_as_long_as_a_head() {
    let mut filter = RequestFilter::new(kite(KiteFlags::default()), visitor());
    let mut feed = |mut input: &[u8]| {
        while filter.next(&mut input).is_some() {}
        filter.held_bytes()
    };
    assert_eq!(feed(b""), 0);
    assert!(feed(b"GET / HTTP/1.1\r\nA:") > 0);
    assert!((2..=MAX_HEAD_BYTES).contains(&feed(&[b'a'; 12 * 1024])));
    assert!(feed(&[b'a'; 4000]) <= MAX_HEAD_BYTES);
    assert_eq!(feed(b"\r\n\r\n"), 0);
    assert!(feed(b"GET") > 0);
    assert_eq!(feed(b" /admin HTTP/1.1\r\n\r\nGET"), 0);
}

#[test]
fn an_incomplete_head_reaches_unguarded_services_only() {
    assert_passes(insecure(), "GET / HTTP/1.1\r\nHost", "GET / HTTP/1.1\r\nHost");
    assert_passes(KiteFlags::default(), "GET / HTTP/1.1\r\nHost", "");
}
