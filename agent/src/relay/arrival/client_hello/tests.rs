//! ClientHellos of programs in use, and those that want to be read wrongly.

use std::sync::Arc;

use super::*;
use crate::relay::arrival::MAX_ARRIVAL_BYTES;

const HTTP: Alpn = Alpn { any: true, h2: true, http1: true, acme_tls: false };
const ACME: Alpn = Alpn { any: true, h2: false, http1: false, acme_tls: true };
const NONE: Alpn = Alpn { any: false, h2: false, http1: false, acme_tls: false };

fn name(text: &str) -> NameAsked {
    NameAsked::Dns(text.to_owned())
}

/// Recorded hellos and what they ask for. OpenSSL 3.0, with `-tls1` and so on,
/// made the first five.
fn fixtures() -> Vec<(Vec<u8>, ClientHello)> {
    let address = NameAsked::Address([127, 0, 0, 1].into());
    [
        (include_str!("fixtures/tls10-without-name.hex"), NameAsked::None, NONE),
        (include_str!("fixtures/tls10.hex"), name("old.kite.test"), NONE),
        (include_str!("fixtures/tls12.hex"), name("kite.test"), HTTP),
        (include_str!("fixtures/tls13-address.hex"), address, NONE),
        (include_str!("fixtures/tls13-acme.hex"), name("kite.test"), ACME),
        (include_str!("fixtures/curl.hex"), name("kite.test"), HTTP),
        (include_str!("fixtures/java.hex"), name("java.kite.test"), NONE),
        (include_str!("fixtures/chromium.hex"), name("browser.kite.test"), HTTP),
    ]
    .into_iter()
    .map(|(hex, name, alpn)| {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| {
            u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("hex")
        };
        (digits.chunks(2).map(byte).collect(), ClientHello { name, alpn })
    })
    .collect()
}

/// The message in records of up to `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |content: &[u8]| {
        let length = u16::try_from(content.len()).expect("short").to_be_bytes();
        [&[0x16, 3, 1], &length[..], content].concat()
    };
    message.chunks(size).flat_map(record).collect()
}

/// `content` behind its length of `N` bytes.
fn vector<const N: usize>(content: &[u8]) -> Vec<u8> {
    [&content.len().to_be_bytes()[size_of::<usize>() - N..], content].concat()
}

fn message(body: &[u8]) -> Vec<u8> {
    [&[1][..], &vector::<3>(body)].concat()
}

/// All before the extensions.
fn front() -> Vec<u8> {
    [&[3, 3][..], &[7; 32], &vector::<1>(&[9; 32]), &vector::<2>(&[0x13, 1]), &[1, 0]].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector::<2>(content)].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &vector::<2>(&[&[0][..], &vector::<2>(name)].concat()))
}

fn alpn(protocols: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = protocols.iter().flat_map(|protocol| vector::<1>(protocol)).collect();
    extension(16, &vector::<2>(&list))
}

/// Looks at a hello with these extensions.
fn look_at(extensions: &[u8]) -> Look<ClientHello> {
    let body = [front(), vector::<2>(extensions)].concat();
    look(&records(&message(&body), 1 << 14))
}

fn is_malformed(extensions: &[u8]) -> bool {
    look_at(extensions) == Look::Broken("its ClientHello is malformed")
}

/// Every prefix gives [`Look::More`], and what follows changes nothing.
fn assert_found_at_the_end(bytes: &[u8], expected: &ClientHello) {
    for end in 0..bytes.len() {
        assert_eq!(look(&bytes[..end]), Look::More, "{end} of {}", bytes.len());
    }
    let expected = Look::Found(expected.clone());
    assert_eq!(look(bytes), expected);
    for more in [&b"\x16\x03"[..], b"x", &[0; 40_000]] {
        assert_eq!(look(&[bytes, more].concat()), expected);
    }
}

#[test]
fn hellos_of_programs_in_use_are_read_when_they_are_whole() {
    for (bytes, expected) in fixtures() {
        assert_found_at_the_end(&bytes, &expected);
    }
}

#[test]
fn hellos_are_read_in_records_of_every_size() {
    for (bytes, expected) in fixtures() {
        let message = &bytes[5..];
        for size in 1..message.len() {
            let split = records(message, size);
            assert_eq!(look(&split), Look::Found(expected.clone()), "by {size}");
            assert_eq!(look(&split[..split.len() - 1]), Look::More, "by {size}");
        }
        for size in [1, 2, 3, 4, 5, 100] {
            assert_found_at_the_end(&records(message, size), &expected);
        }
    }
}

#[test]
fn hellos_of_rustls_are_read_in_its_fragments() {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    for fragment in [None, Some(32), Some(33), Some(100)] {
        let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.max_fragment_size = fragment;
        config.alpn_protocols = vec![b"xmpp-client".to_vec()];
        let server = "rust.kite.test".try_into().expect("a name");
        let mut client = rustls::ClientConnection::new(Arc::new(config), server).expect("a client");
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory");
        }
        let alpn = Alpn { any: true, ..NONE };
        assert_found_at_the_end(&bytes, &ClientHello { name: name("rust.kite.test"), alpn });
    }
}

#[test]
fn hellos_without_extensions_ask_for_nothing() {
    let bare = records(&message(&front()), 100);
    assert_found_at_the_end(&bare, &ClientHello::default());
    assert_eq!(look_at(&[]), Look::Found(ClientHello::default()));
}

#[test]
fn what_the_relay_does_not_know_is_passed_over() {
    let grease = [extension(0x0a0a, &[]), extension(0xfafa, &[0])].concat();
    let other_kind = extension(0, &vector::<2>(b"\x07\0\x01x\0\0\x03a.b\0\0\x03c.d"));
    for (extensions, expected) in [
        ([grease.clone(), server_name(b"a.b"), grease.clone()].concat(), name("a.b")),
        (other_kind, name("a.b")),
        (extension(0, &vector::<2>(b"\x07\0\x01x")), NameAsked::None),
        ([grease.clone(), grease].concat(), NameAsked::None),
    ] {
        let expected = ClientHello { name: expected, alpn: NONE };
        assert_eq!(look_at(&extensions), Look::Found(expected), "{extensions:?}");
    }
    let offered = alpn(&[b"\x0a\x0a", b"http/1.0", b"\xff", b"H2"]);
    let alpn = Alpn { any: true, http1: true, ..NONE };
    assert_eq!(look_at(&offered), Look::Found(ClientHello { alpn, ..ClientHello::default() }));
}

#[test]
fn names_that_are_none_do_not_spoil_the_hello() {
    let labels = b"a.".repeat(7_000);
    for asked in [&b""[..], b".", b"a b", b"a\0.b", b"a\n", "\u{fc}.b".as_bytes(), &labels] {
        let name = NameAsked::Malformed;
        let expected = Look::Found(ClientHello { name, alpn: NONE });
        assert_eq!(look_at(&server_name(asked)), expected, "{asked:?}");
    }
    let literal = NameAsked::Address("::1".parse().expect("an address"));
    let expected = Look::Found(ClientHello { name: literal, alpn: NONE });
    assert_eq!(look_at(&server_name(b"::1")), expected);
}

#[test]
fn hellos_in_which_two_readers_could_find_two_names_are_malformed() {
    let name = server_name(b"a.b");
    assert!(is_malformed(&[name.clone(), name.clone()].concat()));
    assert!(is_malformed(&[name.clone(), extension(1, &[]), server_name(b"c.d")].concat()));
    assert!(is_malformed(&[alpn(&[b"h2"]), alpn(&[b"h2"])].concat()));
    for content in [
        &b""[..],
        b"\0\0",
        b"\0",
        b"\0\x01\0",
        b"\0\x05\0\0\x03a.b",
        b"\0\x07\0\0\x03a.b",
        b"\0\x06\0\0\x03a.b\0",
        b"\0\x06\0\0\x04a.b",
        b"\0\x07\0\0\x03a.b\0",
        b"\0\x06\0\0\x02a.b",
    ] {
        assert!(is_malformed(&extension(0, content)), "{content:?}");
    }
    for content in
        [&b""[..], b"\0\0", b"\0\x01\0", b"\0\x02\x02h", b"\0\x04\x02h2\0", b"\0\x03\x02h2x"]
    {
        assert!(is_malformed(&extension(16, content)), "{content:?}");
    }
    for end in 1..name.len() {
        assert!(is_malformed(&name[..end]), "{end}");
    }
    assert!(is_malformed(b"\0\0\xff\xff"));
}

#[test]
fn bodies_whose_lengths_do_not_fit_are_malformed() {
    let whole = [front(), vector::<2>(&server_name(b"a.b"))].concat();
    for end in 0..whole.len() {
        let bare = end == front().len();
        let found = matches!(look(&records(&message(&whole[..end]), 999)), Look::Found(_));
        assert_eq!(found, bare, "{end}");
    }
    let random = [7; 32];
    for (version, session, suites, compression, rest) in [
        ([2, 0], &[][..], &[0, 1][..], &[0][..], &[][..]),
        ([3, 3], &[0; 33], &[0, 1], &[0], &[]),
        ([3, 3], &[], &[], &[0], &[]),
        ([3, 3], &[], &[0, 1, 2], &[0], &[]),
        ([3, 3], &[], &[0, 1], &[], &[]),
        ([3, 3], &[], &[0, 1], &[0], &[0]),
        ([3, 3], &[], &[0, 1], &[0], &[0, 0, 0]),
        ([3, 3], &[], &[0, 1], &[0], &[0, 1]),
    ] {
        let vectors = [vector::<1>(session), vector::<2>(suites), vector::<1>(compression)];
        let body = [&version[..], &random, &vectors.concat(), rest].concat();
        let broken = Look::Broken("its ClientHello is malformed");
        assert_eq!(look(&records(&message(&body), 999)), broken, "{body:?}");
    }
}

#[test]
fn records_that_no_client_sends_are_told_with_the_bytes_that_say_so() {
    let hello = records(&message(&front()), 10);
    for (bytes, told) in [
        (&b"\x16\x02"[..], None),
        (b"\x16\x00", None),
        (b"\x17\x03", None),
        (b"\x16\x03\x05\0\x04", Some(5)),
        (b"\x16\x03\x01\0\0", Some(5)),
        (b"\x16\x03\x01\x40\x01", Some(5)),
        (b"\x16\x03\x01\0\x30\x02", Some(6)),
        (b"\x16\x03\x01\0\x01\x01\x15\x03\x01\0\x02", Some(11)),
        (b"\x16\x03\x01\0\x01\x01\x16\x03\x01\0\0", Some(11)),
        (b"\x16\x03\x01\0\x05\x01\0\0\0", Some(9)),
        (b"\x16\x03\x01\0\x30\x01\0\x3f\xfd", Some(9)),
        (b"\x16\x03\x01\0\x30\x01\xff\xff\xff", Some(9)),
        (&[&hello[..15], b"GET /"].concat(), Some(20)),
    ] {
        for end in 2..=bytes.len() {
            match (look(&bytes[..end]), told) {
                (Look::NotThis, None) => {}
                (Look::Broken(_), Some(told)) => assert!(end >= told, "{bytes:?} to {end}"),
                (Look::More, Some(told)) => assert!(end < told, "{bytes:?} to {end}"),
                (other, _) => panic!("{bytes:?} to {end}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_hello_may_be_as_long_as_the_bound() {
    let hello = |bytes: usize| {
        let others = bytes - 4 - front().len() - 2 - server_name(b"a.b").len();
        let extensions = [server_name(b"a.b"), extension(21, &vec![0; others - 4])].concat();
        message(&[front(), vector::<2>(&extensions)].concat())
    };
    let expected = ClientHello { name: name("a.b"), alpn: NONE };
    let longest = hello(MAX_HELLO_BYTES);
    assert_eq!(longest.len(), MAX_HELLO_BYTES);
    for size in [longest.len(), longest.len() - 1, 100, 24] {
        assert_eq!(look(&records(&longest, size)), Look::Found(expected.clone()), "by {size}");
    }
    let longer = records(&hello(MAX_HELLO_BYTES + 1), 1 << 14);
    assert_eq!(look(&longer), Look::Broken("its ClientHello is longer than 16 KB"));

    let dripping = records(&longest, 1);
    assert_eq!(look(&dripping[..MAX_ARRIVAL_BYTES - 1]), Look::More);
    for end in [MAX_ARRIVAL_BYTES, dripping.len()] {
        let broken = Look::Broken("its ClientHello is split into too many records");
        assert_eq!(look(&dripping[..end]), broken);
    }
}
