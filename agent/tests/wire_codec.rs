//! What is written is read as it was meant, and what is read from a stranger,
//! however wrong, ends in an error: no panic, no growth.

use std::time::Instant;

use kitelet::wire::{
    Answer, Decoder, Event, HeadReader, Headers, Inflater, KiteId, KiteRequest, KiteResult,
    MAX_ANSWER_BYTES, MAX_INFLATED_BYTES, MAX_REQUEST_BYTES, Quota, Role, Session, SessionSettings,
    TunnelRequest, Verdict, WireError, verify,
};
use proptest::prelude::*;

/// Text that stands in a header as it is.
fn text() -> impl Strategy<Value = String> {
    "([!-~]([ -~]{0,30}[!-~])?)?"
}

fn kite_id() -> impl Strategy<Value = KiteId> {
    let protocol = "[a-z][a-z0-9]{0,9}";
    let port = proptest::option::of(1..=u16::MAX);
    let domain = "(\\*\\.)?[a-z0-9][a-z0-9-]{0,20}(\\.[a-z]{1,10}){0,3}";
    (protocol, port, domain)
        .prop_map(|(protocol, port, domain)| KiteId::new(&protocol, port, &domain).expect("a kite"))
}

fn kite_request() -> impl Strategy<Value = KiteRequest> {
    let part = "[!-9;-~]{0,40}";
    (kite_id(), part, part, part).prop_map(|(id, salt, challenge, signature)| KiteRequest {
        id,
        salt,
        challenge,
        signature,
    })
}

prop_compose! {
    fn tunnel_request()(
        add_kites: bool, zlib_chunks: bool, mobile: bool,
        version in proptest::option::of(text()), replace in proptest::option::of(text()),
        kites in proptest::collection::vec(kite_request(), 0..6)
    ) -> TunnelRequest {
        TunnelRequest { add_kites, zlib_chunks, mobile, version, replace, kites }
    }
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        "[0-9a-z]{0,36}".prop_map(Verdict::Challenge),
        Just(Verdict::Flying),
        Just(Verdict::TlsAtRelay),
        Just(Verdict::Duplicate),
        "[a-z]{0,12}".prop_map(Verdict::Refused),
    ]
}

prop_compose! {
    fn answer()(
        add_kites: bool, zlib_chunks: bool, web_sockets: bool,
        protocols in proptest::collection::vec("[a-z0-9]{1,9}", 0..9),
        ports in proptest::collection::vec("[0-9]{1,5}", 0..9),
        raw_ports in proptest::collection::vec("virtual|[0-9]{1,5}", 0..3),
        results in proptest::collection::vec(
            (kite_id(), "[0-9a-f]{36}", verdict())
                .prop_map(|(id, salt, verdict)| KiteResult { key: format!("{id}:{salt}"), verdict }),
            0..9
        ),
        session_id in proptest::option::of(text()), motd in proptest::option::of("[!-~]{0,50}"),
        kilobytes: Option<i64>, days: Option<i64>, connections: Option<i64>,
        visitors: Option<(u32, u32)>
    ) -> Answer {
        let quota = Quota { kilobytes, days, connections, visitors };
        Answer {
            status: Some(200), add_kites, zlib_chunks, web_sockets, protocols, ports, raw_ports, results,
            session_id, motd, quota
        }
    }
}

/// The header lines of a NOOP frame's payload.
fn lines_of(payload: &[u8]) -> &[u8] {
    let end = payload.windows(4).position(|four| four == b"\r\n\r\n").expect("a blank line");
    &payload[..end + 2]
}

/// Bytes that look like the protocol's, more or less.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        ":",
        ": ",
        ";",
        "/",
        "-",
        "0",
        "1b",
        "5Z8",
        "R\r\n",
        "ffffffff",
        "HTTP/1.1 200 OK\r\n",
        "CONNECT PageKite:1 HTTP/1.0\r\n",
        "X-PageKite",
        "X-Beanstalk",
        "X-PageKite: ",
        "X-PageKite-OK: ",
        "X-PageKite-SignThis: ",
        "X-PageKite-Invalid-Why: ",
        "X-PageKite-IPsPerSec: ",
        "X-PageKite-Quota: ",
        "http:kite.test",
        "raw-22:kite.test",
        "*.",
        "SID: ",
        "NOOP: 1\r\n",
        "PING: ",
        "SKB: ",
        "EOF: 1",
        "Proto: http\r\n",
        "Host: kite.test\r\n",
        "Port: 99999\r\n",
        "18446744073709551616",
        "-9223372036854775808",
        "x\u{da}",
        "\0",
        "\u{0}\u{1}",
        "SID: 5\r\nProto: http\r\nHost: kite.test\r\n\r\n",
        "20\r\nNOOP: 1\r\n",
    ];
    let word = proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec());
    let noise = proptest::collection::vec(any::<u8>(), 0..8);
    proptest::collection::vec(prop_oneof![5 => word, 1 => noise], 0..40)
        .prop_map(|all| all.concat())
}

fn session(role: Role) -> Session {
    Session::new(SessionSettings {
        role,
        max_streams: 3,
        max_header_bytes: 300,
        compress: true,
        guard_bursts: true,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_request_is_read_as_written(request in tunnel_request()) {
        prop_assert_eq!(TunnelRequest::parse(&request.encode()), Ok(request.clone()));
        let payload = request.encode_payload();
        let wanted = TunnelRequest {
            version: request.version, kites: request.kites, ..TunnelRequest::default()
        };
        prop_assert_eq!(TunnelRequest::parse_lines(lines_of(&payload)), Ok(wanted));
    }

    #[test]
    fn an_answer_is_read_as_written(answer in answer()) {
        prop_assert_eq!(Answer::parse(&answer.encode()), Ok(answer.clone()));
        let payload = answer.encode_payload();
        let wanted = Answer {
            results: answer.results, session_id: answer.session_id, motd: answer.motd,
            quota: answer.quota, ..Answer::default()
        };
        prop_assert_eq!(Answer::parse_lines(lines_of(&payload)), Ok(wanted));
    }

    #[test]
    fn a_kite_is_read_as_written(kite in kite_id()) {
        prop_assert_eq!(kite.to_string().parse(), Ok(kite.clone()));
        prop_assert_eq!(kite.to_string().to_ascii_uppercase().parse(), Ok(kite));
    }

    #[test]
    fn garbage_is_taken_by_every_parser_without_a_panic(bytes in garbage()) {
        let _ = HeadReader::new(200).read(&mut &bytes[..]);
        let _ = Answer::parse(&bytes);
        let _ = Answer::parse_lines(&bytes);
        let _ = TunnelRequest::parse(&bytes);
        let _ = TunnelRequest::parse_lines(&bytes);
        let _ = Headers::parse(&bytes).map(|headers| headers.has_meaning());
        let _ = String::from_utf8_lossy(&bytes).parse::<KiteId>();
        let _ = verify(&bytes, &bytes, &bytes, u64::MAX);
        let _ = Inflater::new().inflate(&mut &bytes[..], 100);
        let mut decoder = Decoder::new(100);
        let mut rest = &bytes[..];
        while let Ok(Some(_)) = decoder.next(&mut rest) {}
        let now = Instant::now();
        for role in [Role::Agent, Role::Relay] {
            let mut session = session(role);
            let mut rest = &bytes[..];
            while let Ok(Some(_)) = session.receive(now, &mut rest) {}
            prop_assert!(session.stream_count() <= 3);
            let mut output = Vec::new();
            session.control_frames(now, &mut output, usize::MAX);
            prop_assert!(!session.has_control_frames());
        }
    }
}

/// How a session takes `wire`.
fn feed(wire: &[u8]) -> Result<usize, WireError> {
    let mut session = session(Role::Agent);
    let mut rest = wire;
    let mut bytes = 0;
    while let Some(event) = session.receive(Instant::now(), &mut rest)? {
        if let Event::Data { bytes: more, .. } = event {
            bytes += more.len();
        }
    }
    Ok(bytes)
}

#[test]
fn a_head_without_end_is_refused() {
    let mut reader = HeadReader::new(MAX_ANSWER_BYTES);
    let line = "X-PageKite-OK: http:kite.test:salt\r\n";
    let mut taken = 0;
    let error = loop {
        match reader.read(&mut line.as_bytes()) {
            Ok(head) => assert_eq!(head, None),
            Err(error) => break error,
        }
        taken += line.len();
        assert!(taken <= MAX_ANSWER_BYTES);
    };
    assert_eq!(error, WireError::HandshakeTooLong);
    let mut reader = HeadReader::new(MAX_REQUEST_BYTES);
    let garbage = vec![b'\n'; MAX_REQUEST_BYTES + 1];
    assert_eq!(reader.read(&mut &garbage[..]), Err(WireError::HandshakeTooLong));
}

#[test]
fn headers_without_end_are_refused() {
    for header in ["A:", "\r", "A: b\r\n", "X-PageKite: http:kite.test:a:b:c\r\n"] {
        let wire = format!("ffffff\r\n{}", header.repeat(1000));
        assert_eq!(feed(wire.as_bytes()), Err(WireError::FrameHeadersTooLong), "{header:?}");
    }
}

#[test]
fn malformed_heads_are_refused() {
    use WireError::{HandshakeKite, HandshakeShape};
    for head in [
        "",
        "\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 x y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\n\r\n",
        "HTTP/1.1 99999 OK\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
    ] {
        assert_eq!(Answer::parse(head.as_bytes()), Err(HandshakeShape), "{head:?}");
    }
    for head in [
        "",
        "\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "CONNECT kite.test:443 HTTP/1.0\r\n\r\n",
        "CONNECT PageKite:1 HTTP/2.0\r\n\r\n",
        "CONNECT PageKite:1 HTTP/1.0 x\r\n\r\n",
        "CONNECT PageKite:1\r\n\r\n",
        "CONNECT PageKite:1 HTTP/1.0\r\nA\r\n\r\n",
    ] {
        assert_eq!(TunnelRequest::parse(head.as_bytes()), Err(HandshakeShape), "{head:?}");
    }
    for kite in [
        "",
        "http:kite.test",
        "http:kite.test:a:b",
        "http:kite.test:a:b:c:d",
        ":kite.test:a:b:c",
        "http::a:b:c",
        "http-0:kite.test:a:b:c",
        "http-65536:kite.test:a:b:c",
        "http:k t:a:b:c",
    ] {
        let head = format!("CONNECT PageKite:1 HTTP/1.0\r\nX-PageKite: {kite}\r\n\r\n");
        assert_eq!(TunnelRequest::parse(head.as_bytes()), Err(HandshakeKite), "{kite:?}");
    }
}

/// A compressed frame that opens stream 5 with `zeros` bytes, and says that it
/// inflates to `declared` more than it does.
fn bomb(zeros: usize, declared: isize) -> Vec<u8> {
    let mut payload = b"SID: 5\r\nProto: http\r\nHost: kite.test\r\n\r\n".to_vec();
    payload.resize(payload.len() + zeros, 0);
    let size = payload.len().checked_add_signed(declared).expect("a length");
    // Without its checksum the stream is not at its end.
    let mut deflated = miniz_oxide::deflate::compress_to_vec_zlib(&payload, 9);
    deflated.truncate(deflated.len() - 4);
    let mut wire = format!("{size:x}Z{:x}\r\n", deflated.len()).into_bytes();
    wire.extend_from_slice(&deflated);
    wire
}

#[test]
fn zlib_bombs_are_refused() {
    assert_eq!(feed(&bomb(1_000_000, 0)), Ok(1_000_000));
    for (zeros, declared) in [(1_000_000, -1), (1_000_000, -900_000), (1000, 1), (1000, 100_000)] {
        assert_eq!(
            feed(&bomb(zeros, declared)),
            Err(WireError::Compression),
            "{zeros}, {declared}"
        );
    }
    let largest = MAX_INFLATED_BYTES - 40;
    assert_eq!(feed(&bomb(largest, 1000)), Err(WireError::FrameLength));
}
