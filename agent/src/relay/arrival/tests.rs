//! What connections are taken for, among all protocols at once.

use proptest::prelude::*;

use super::*;

const ALL: Served = Served { irc: true, minecraft: true, xmpp: true };
const NONE: Served = Served { irc: false, minecraft: false, xmpp: false };

const UNKNOWN: Arrival = Arrival::Unknown("its first bytes are of no protocol that is served here");

/// A ClientHello that asks for `a.b`.
const HELLO: &[u8] = b"\x16\x03\x01\0\x3b\x01\0\0\x37\x03\x0301234567890123456789012345678901\0\
                       \0\x02\x13\x01\x01\0\0\x0c\0\0\0\x08\0\x06\0\0\x03a.b";

fn host() -> String {
    "a.b".to_owned()
}

#[test]
fn every_protocol_is_known_with_the_byte_that_tells_it() {
    let hello = ClientHello { name: NameAsked::Dns(host()), alpn: Alpn::default() };
    let minecraft = Arrival::Minecraft { host: host(), port: 25565 };
    for (bytes, told, expected) in [
        (HELLO, HELLO.len(), Arrival::Tls(hello)),
        (b"\x80\x2e\x01\x03\x01", 3, Arrival::OldTls),
        (b"GET / HTTP/1.1\r\n", 2, Arrival::Http),
        (b"\r\nGET / HTTP/1.1\r\n", 2, Arrival::Http),
        (b"HEAD /ping HTTP/1.1\r\nHost: ping.pagekite\r\n\r\n", 2, Arrival::Http),
        (b"CONNECT PageKite:1 HTTP/1.0\r\n", 2, Arrival::Http),
        (b"PING / HTTP/1.0\r\n", 2, Arrival::Http),
        (b"NICK / HTTP/1.0\r\n", 17, Arrival::Http),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 2, Arrival::Http),
        (b"SSH-2.0-x\r\n", 2, Arrival::Http),
        (b"\x09\0\x05\x03a.b\x63\xdd\x02", 10, minecraft.clone()),
        (b"\x16\0\x05\x10a.b\0abcdefghijkl\x63\xdd\x02", 23, minecraft),
        (b"<?xml version='1.0'?><stream:stream to='a.b'>", 44, Arrival::Xmpp { host: host() }),
        (b"<stream:stream to='a.b'>", 23, Arrival::Xmpp { host: host() }),
        (b"NICK joe@a.b\r\n", 14, Arrival::Irc { host: host(), cut: 8..12 }),
        (b"\xfe\x01\xfa", 1, UNKNOWN),
        (b"\x16\x01", 2, UNKNOWN),
        (b"\x80\x2e\x02", 3, UNKNOWN),
        (b"<html>", 2, UNKNOWN),
        (b"\0\0\0\0", 1, UNKNOWN),
        (b" GET / HTTP/1.1\r\n", 2, UNKNOWN),
        (b"\xff\xff", 2, UNKNOWN),
    ] {
        for end in 0..=bytes.len() {
            let expected = if end < told { Arrival::More } else { expected.clone() };
            assert_eq!(look(&bytes[..end], ALL), expected, "{end} of {bytes:?}");
        }
    }
}

#[test]
fn what_is_not_served_is_not_looked_for() {
    for bytes in [&b"G"[..], b"N", b"NICK joe@a.b\r\n", b"\r", b"\r\0/\x07mc.test"] {
        assert_eq!(look(bytes, NONE), Arrival::Http, "{bytes:?}");
    }
    for bytes in [&b"<"[..], b"<?xml ?><stream:stream to='a.b'>", b"\x09\0\x05", b"\xff"] {
        assert_eq!(look(bytes, NONE), UNKNOWN, "{bytes:?}");
    }
    assert!(matches!(look(HELLO, NONE), Arrival::Tls(_)));
}

#[test]
fn what_is_served_is_read_from_the_setting() {
    let served = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Served::among(&names)
    };
    assert_eq!(served(&["http", "xmpp", "irc", "minecraft"]), ALL);
    assert_eq!(served(&["http", "irc"]), Served { irc: true, ..NONE });
    assert_eq!(served(&["https", "raw"]), NONE);
}

#[test]
fn what_cannot_be_served_says_why() {
    for (bytes, reason) in [
        (&b"\x16\x03\x01\0\0"[..], "a record of its ClientHello is malformed"),
        (b"\x16\x03\x01\0\x01\x02", "its TLS does not begin with a ClientHello"),
        (b"\x08\0\x05\x03a b\x63\xdd", "its Minecraft handshake is malformed"),
        (b"<stream:stream>", "the header of its XMPP stream names no host"),
        (
            b"NICK joe\r\nJOIN",
            "its IRC client names no server, as NICK or USER with name@server do",
        ),
    ] {
        let (Arrival::BrokenTls(because) | Arrival::Unknown(because)) = look(bytes, ALL) else {
            panic!("{bytes:?}")
        };
        assert_eq!(because, reason);
    }
}

/// Bytes that have much of what tells protocols.
fn arrival() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        prop::sample::select(
            &[
                HELLO,
                b"\x16\x03\x01\0\x01\x01",
                b"\x16\x03\x03\0\x04\x01\0\0\x20",
                b"\x16\x03",
                b"\x80\x01",
                b"\x09\0\x05\x03a.b\x63\xdd\x02",
                b"\r\0",
                b"<?xml ",
                b"?>",
                b"<stream:stream ",
                b" to='a.b'",
                b" x=\"'>\"",
                b">",
                b"NICK joe",
                b"USER ",
                b"PASS x\r\n",
                b"CAP LS\r\n",
                b"@A.b",
                b" HTTP/1.1",
                b"\r\n",
                b"\n",
                b"\r",
                b"\0",
                b"GET / ",
            ][..]
        )
        .prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..6),
        prop::sample::select(&[900, 5_000, 17_000][..]).prop_map(|count| vec![b'a'; count]),
    ];
    prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat())
}

fn served() -> impl Strategy<Value = Served> {
    any::<[bool; 3]>().prop_map(|[irc, minecraft, xmpp]| Served { irc, minecraft, xmpp })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn an_answer_stands(bytes in arrival(), served in served()) {
        let mut answer = Arrival::More;
        let late = [bytes.len().div_ceil(2).max(300), bytes.len()];
        for end in (0..300).chain(late).filter(|end| *end <= bytes.len()) {
            let next = look(&bytes[..end], served);
            prop_assert!(answer == Arrival::More || answer == next, "{:?}, {:?}", answer, next);
            answer = next;
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_ask_for_ever(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        mut start in arrival(),
        served in served(),
    ) {
        look(&bytes, served);
        start.append(&mut bytes);
        start.resize(MAX_ARRIVAL_BYTES, b'a');
        prop_assert_ne!(look(&start, served), Arrival::More);
    }
}
