//! What a relay sees of an answer, whole and in every cut.

use super::*;
use crate::http::MAX_HEAD_BYTES;
use proptest::prelude::*;

/// How an answer ended; counts are of all bytes fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Open,
    End(usize, bool),
    Switched(usize),
    UntilClose,
    Broken(&'static str),
}

/// Feeds `pieces` as a driver does, up to the end of the answer and no more.
fn run<'a>(method: &[u8], pieces: impl IntoIterator<Item = &'a [u8]>) -> (Outcome, Option<u16>) {
    let mut follower = ResponseFollower::new(method);
    let mut before = 0;
    let mut outcome = Outcome::Open;
    for piece in pieces {
        outcome = match follower.follow(piece) {
            Answered::More => Outcome::Open,
            Answered::End { bytes, keeps_alive } => Outcome::End(before + bytes, keeps_alive),
            Answered::Switched(bytes) => Outcome::Switched(before + bytes),
            Answered::UntilClose => Outcome::UntilClose,
            Answered::Broken(problem) => Outcome::Broken(problem),
        };
        assert!(follower.held_bytes() <= MAX_HEAD_BYTES);
        before += piece.len();
        match outcome {
            Outcome::Open => {}
            Outcome::Switched(_) | Outcome::End(..) => break,
            _ => assert_eq!(follower.held_bytes(), 0),
        }
    }
    (outcome, follower.status())
}

/// The outcome, the same in one piece, byte by byte, and in every two pieces.
fn follow(method: &str, input: &[u8]) -> (Outcome, Option<u16>) {
    let method = method.as_bytes();
    let whole = run(method, [input]);
    for size in 1..input.len().min(40) {
        assert_eq!(run(method, input.chunks(size)), whole, "{} by {size}", input.escape_ascii());
    }
    for cut in 0..input.len().min(400) {
        let (first, second) = input.split_at(cut);
        assert_eq!(run(method, [first, second]), whole, "{} at {cut}", input.escape_ascii());
    }
    whole
}

#[test]
fn an_answer_ends_where_a_browser_sees_its_end() {
    let chunks = "5\r\nabcde\r\n0\r\n\r\n";
    for (method, answer) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde".to_owned()),
        ("GET", "HTTP/1.1 200\r\ncontent-length:0\r\n\r\n".to_owned()),
        ("GET", "HTTP/1.1 200 \r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde".to_owned()),
        ("GET", "HTTP/1.1 200 OK\nContent-Length: 5\n\nabcde".to_owned()),
        ("GET", "HTTP/1.1 200 OK\nContent-Length: 5\r\n\nabcde".to_owned()),
        ("GET", format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")),
        ("GET", format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n{chunks}")),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\nX: y\r\n\r\n"
                .to_owned(),
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_owned()),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n".to_owned()),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n".to_owned()),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n".to_owned()),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n".to_owned()),
        ("GET", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()),
        ("POST", "HTTP/1.1 404 Höh\r\nContent-Length: 5\r\nX: é\r\n\r\nabcde".to_owned()),
        ("GET", "HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n".to_owned()),
        ("GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na".into()),
    ] {
        let status = answer[9..12].parse().ok();
        let whole = (Outcome::End(answer.len(), true), status);
        assert_eq!(follow(method, answer.as_bytes()), whole, "{answer}");
    }
}

#[test]
fn interim_heads_come_before_the_answer() {
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 103 \r\n\r\n",
        "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 102 Processing\n\n",
    ] {
        let answer = format!("{interim}{last}");
        let whole = (Outcome::End(answer.len(), true), Some(200));
        assert_eq!(follow("POST", answer.as_bytes()), whole, "{interim}");
        assert_eq!(follow("POST", interim.as_bytes()), (Outcome::Open, None));
    }
    for (count, ends) in [(MAX_INTERIM_HEADS, true), (MAX_INTERIM_HEADS + 1, false)] {
        let answer = "HTTP/1.1 100 \r\n\r\n".repeat(count as usize) + last;
        let (outcome, status) = run(b"POST", [answer.as_bytes()]);
        assert_eq!((matches!(outcome, Outcome::End(..)), status.is_some()), (ends, ends));
    }
}

#[test]
fn a_connection_that_the_service_closes_is_not_kept() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 304 OK\r\nConnection: close\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.0 204 OK\r\n\r\n",
        // The chunks end it, but nobody should rely on that.
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 205 Reset\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 205 Reset\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let (outcome, _) = follow("GET", answer.as_bytes());
        assert_eq!(outcome, Outcome::End(answer.len(), false), "{answer}");
    }
}

#[test]
fn an_answer_without_a_length_lasts_until_the_end() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n",
        "HTTP/1.1 205 Reset\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n",
    ] {
        let answer = format!("{head}abc");
        assert_eq!(follow("GET", answer.as_bytes()).0, Outcome::UntilClose, "{head}");
        assert_eq!(follow("GET", head.as_bytes()).0, Outcome::UntilClose, "{head}");
    }
}

#[test]
fn after_a_switch_everything_is_blind() {
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n";
    let answer = format!("HTTP/1.1 100 Continue\r\n\r\n{head}\u{81}HTTP/1.1 200 OK\r\n\r\n");
    let end = answer.find('\u{81}').expect("a frame");
    assert_eq!(follow("GET", answer.as_bytes()), (Outcome::Switched(end), Some(101)));
}

#[test]
fn what_cannot_be_followed_is_broken() {
    for answer in [
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        " HTTP/1.1 200 OK\r\n\r\n",
        "SSH-2.0-x\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.10 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 000 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 200 O\rK\r\n\r\n",
        "HTTP/1.\n\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\n Content-Length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nA: b\rContent-Length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\rA: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 01\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\na",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\nab\n0\n\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        "HTTP/1.1 100 Continue\r\n\r\nabc",
    ] {
        let (outcome, _) = follow("GET", answer.as_bytes());
        assert!(matches!(outcome, Outcome::Broken(_)), "{answer:?}: {outcome:?}");
    }
}

#[test]
fn bytes_after_the_end_are_no_part_of_the_next_answer() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    let both = [&answer[..], answer].concat();
    assert_eq!(follow("GET", &both).0, Outcome::End(answer.len(), true));
    for next in [&both[answer.len()..], b"\r\n"] {
        let mut follower = ResponseFollower::new(b"GET");
        let end = |bytes| Answered::End { bytes, keeps_alive: true };
        assert_eq!(follower.follow(answer), end(answer.len()));
        assert_eq!(follower.follow(b""), end(0));
        assert!(matches!(follower.follow(next), Answered::Broken(_)));
        assert!(matches!(follower.follow(b""), Answered::Broken(_)));
        assert_eq!(follower.status(), Some(200));
    }
    let (head, body) = answer.split_at(answer.len() - 1);
    let mut follower = ResponseFollower::new(b"HEAD");
    assert!(matches!(follower.follow(head), Answered::End { .. }));
    assert!(matches!(follower.follow(body), Answered::Broken(_)));
}

#[test]
fn heads_are_bounded() {
    let mut head = b"HTTP/1.1 204 OK\r\nX: ".to_vec();
    head.resize(MAX_HEAD_BYTES - 4, b'a');
    head.extend_from_slice(b"\r\n\r\n");
    for size in [1, 1000, head.len()] {
        let whole = Outcome::End(MAX_HEAD_BYTES, true);
        assert_eq!(run(b"GET", head.chunks(size)).0, whole);
    }
    head.insert(30, b'a');
    for size in [1, 1000, head.len()] {
        assert!(matches!(run(b"GET", head.chunks(size)).0, Outcome::Broken(_)));
    }
    for (count, fits) in [(MAX_HEADERS, true), (MAX_HEADERS + 1, false)] {
        let head = format!("HTTP/1.1 204 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
        let (outcome, _) = run(b"GET", [head.as_bytes()]);
        assert_eq!(matches!(outcome, Outcome::End(..)), fits);
    }
}

#[test]
fn a_long_body_is_counted_and_not_held() {
    let length = 5_000_000_000_u64;
    let mut follower = ResponseFollower::new(b"GET");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    assert_eq!(follower.follow(head.as_bytes()), Answered::More);
    let piece = vec![0; 1_000_000];
    for _ in 1..length / 1_000_000 {
        assert_eq!(follower.follow(&piece), Answered::More);
        assert_eq!(follower.held_bytes(), 0);
    }
    let end = Answered::End { bytes: piece.len(), keeps_alive: true };
    assert_eq!(follower.follow(&piece), end);
}

/// Answers that have much of what the follower reacts to.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(
        &[
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 304 x\r\n",
            "HTTP/1.0 200 OK\r\n",
            "HTTP/1.1 101 x\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Connection: close\r\n",
            "\r\n",
            "\r\n",
            "\n",
            "\r",
            "5\r\nabcde\r\n",
            "0\r\n\r\n",
            "abcd",
            " ",
        ][..],
    );
    let part = prop_oneof![
        8 => text.prop_map(|text: &str| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
        1 => prop::sample::select(&[100, 16_000][..]).prop_map(|count| vec![b'a'; count]),
    ];
    prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn cuts_change_nothing(
        input in answer(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        method in prop::sample::select(&["GET", "HEAD"][..]),
    ) {
        let method = method.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.push(input.len());
        cuts.sort_unstable();
        let mut start = 0;
        let pieces = cuts.iter().map(|cut| &input[std::mem::replace(&mut start, *cut)..*cut]);
        let whole = run(method, [&input[..]]);
        prop_assert_eq!(run(method, pieces), whole);
        prop_assert_eq!(run(method, input.chunks(1)), whole);
    }
}
