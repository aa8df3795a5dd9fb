//! SOCKS 5 without a socket.

use super::*;
use crate::wire::Secret;

fn credentials() -> ProxyCredentials {
    ProxyCredentials { user: Secret::new("me"), password: Secret::new("p:w") }
}

/// Feeds `answer` in pieces of `size` and returns all that was sent, and what
/// was left of the answer.
fn run<'a>(
    host: &str,
    credentials: Option<&ProxyCredentials>,
    answer: &'a [u8],
    size: usize,
) -> Result<(Vec<u8>, &'a [u8]), SocksFault> {
    let mut handshake = Handshake::new(host, 443, credentials).expect("a host");
    let mut sent = handshake.take_outgoing();
    let mut rest = answer;
    while handshake.wanted() > 0 {
        assert!(!rest.is_empty(), "waits for {} bytes", handshake.wanted());
        let taken = handshake.receive(&rest[..size.min(rest.len())])?;
        rest = &rest[taken..];
        sent.extend(handshake.take_outgoing());
    }
    Ok((sent, rest))
}

#[test]
fn names_and_addresses_go_as_they_are() {
    let name = b"\x05\x01\x00\x03\x0arelay.test\x01\xbb";
    let v4 = b"\x05\x01\x00\x01\xc0\x00\x02\x07\x01\xbb";
    let v6 = b"\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb";
    for (host, request) in [("relay.test", &name[..]), ("192.0.2.7", v4), ("2001:db8::1", v6)] {
        let answer = b"\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00";
        let (sent, _) = run(host, None, answer, 100).expect("done");
        assert_eq!(sent, [b"\x05\x01\x00", request].concat(), "{host}");
    }
}

#[test]
fn nothing_behind_the_answer_is_taken_however_it_arrives() {
    let long = [&b"\x05\x00\x05\x00\x00\x03\xff"[..], &[b'x'; 257]].concat();
    for answer in [
        &b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"[..],
        b"\x05\x00\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x04\x38",
        b"\x05\x00\x05\x00\x00\x03\x00\x04\x38",
        b"\x05\x00\x05\x00\x00\x03\x02ab\x04\x38",
        &long,
        b"\x05\x02\x01\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38",
        b"\x05\x02\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38",
    ] {
        let answer = [answer, b"\x16\x03\x01glued"].concat();
        for size in 1..=answer.len() {
            let known = credentials();
            let (_, rest) = run("a.b", Some(&known), &answer, size).expect("done");
            assert_eq!(rest, b"\x16\x03\x01glued", "in pieces of {size}");
        }
    }
}

#[test]
fn a_password_is_given_where_it_is_asked_for() {
    let known = credentials();
    let reply = b"\x05\x00\x00\x01\0\0\0\0\0\0";
    let asked = [&b"\x05\x02\x01\x00"[..], reply].concat();
    let (sent, _) = run("a.b", Some(&known), &asked, 100).expect("done");
    assert!(sent.starts_with(b"\x05\x02\x00\x02\x01\x02me\x03p:w\x05\x01\x00\x03\x03a.b"));
    let not_asked = [&b"\x05\x00"[..], reply].concat();
    let (sent, _) = run("a.b", Some(&known), &not_asked, 100).expect("done");
    assert!(sent.starts_with(b"\x05\x02\x00\x02\x05\x01\x00"));
}

#[test]
fn refusals_are_told_apart() {
    let known = credentials();
    let with = |answer: &[u8]| run("a.b", Some(&known), answer, 1).expect_err("refused");
    let without = |answer: &[u8]| run("a.b", None, answer, 1).expect_err("refused");
    assert_eq!(with(b"\x05\xff"), SocksFault::NoMethod);
    assert_eq!(without(b"\x05\xff"), SocksFault::NoPassword);
    assert_eq!(with(b"\x05\x02\x01\x01"), SocksFault::WrongPassword);
    // A method that was not offered.
    assert_eq!(without(b"\x05\x02"), SocksFault::NotSocks);
    assert_eq!(with(b"\x05\x01"), SocksFault::NotSocks);
    assert_eq!(without(b"HTTP/1.1 400"), SocksFault::Http);
    assert_eq!(without(b"\x00\x5b"), SocksFault::NotSocks);
    assert_eq!(without(b"SSH-2.0"), SocksFault::NotSocks);
    assert_eq!(without(b"\x05\x00\x04"), SocksFault::NotSocks);
    assert_eq!(without(b"\x05\x00\x05\x00\x00\x02\x00"), SocksFault::NotSocks);
    for code in 1..=u8::MAX {
        // Two bytes suffice: some send no more.
        assert_eq!(without(&[5, 0, 5, code]), SocksFault::Refused(code));
    }
}

#[test]
fn every_code_has_words() {
    let mut known: Vec<String> = (1..=8).chain(0xf0..=0xf7).map(told).collect();
    assert!(known.iter().all(|text| !text.contains("unknown")), "{known:?}");
    known.sort();
    known.dedup();
    assert_eq!(known.len(), 16);
    assert!(told(1).contains("general failure") && told(1).contains("Tor"));
    assert!(told(9).contains("unknown SOCKS code 9"));
    for fault in [SocksFault::NoMethod, SocksFault::NoPassword] {
        assert!(fault.to_string().contains("no acceptable authentication method"));
    }
}

fn told(code: u8) -> String {
    SocksFault::Refused(code).to_string()
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    assert!(Handshake::new(&"a".repeat(255), 1, None).is_ok());
    assert!(Handshake::new(&"a".repeat(256), 1, None).is_err());
}

#[test]
fn bytes_at_the_end_are_not_wanted() {
    let mut handshake = Handshake::new("a.b", 1, None).expect("a host");
    for bytes in [&b"\x05\x00"[..], b"\x05\x00", b"\x00\x01\x00", b"\x00\x00\x00\x00\x00"] {
        assert_eq!(handshake.receive(bytes), Ok(bytes.len()));
    }
    assert_eq!((handshake.wanted(), handshake.receive(b"x")), (0, Ok(0)));
}

proptest::proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
        let known = credentials();
        let mut handshake = Handshake::new("a.b", 1, Some(&known)).expect("a host");
        let mut rest = &bytes[..];
        while handshake.wanted() > 0 && !rest.is_empty() {
            let Ok(taken) = handshake.receive(rest) else { return Ok(()) };
            proptest::prop_assert!(taken > 0 && handshake.incoming.len() < MAX_ANSWER_BYTES);
            rest = &rest[taken..];
        }
    }
}
