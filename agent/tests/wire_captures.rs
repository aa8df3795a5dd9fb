//! The recorded tunnels of the programs that are in use, in `captures/`: every
//! head and every frame has to be understood as the decoder that was written
//! from the description of the protocol understood them, however the bytes are
//! cut, and every signature has to verify.

mod captures;

use captures::{Recording, decode, latin, recordings};
use kitelet::wire::{Answer, Headers, TunnelRequest, Verdict, WireError, lines};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use serde_json::Value;

/// The secret of all kites in the recordings.
const SECRET: &[u8] = b"s3cret";

/// Recordings that were made with wrong frames on purpose: which one, how many
/// frames are good, and what is wrong with the next one. The reference takes
/// some of the length lines; we do not, since nobody sends them.
const WRONG_ON_PURPOSE: [(&str, usize, WireError); 27] = [
    // `0x1a`, and eight more whose length is 1 too small besides.
    ("22/09.be2fe", 0, WireError::FrameSize),
    ("22/11.be2fe", 0, WireError::FrameWithoutBlankLine),
    ("22/13.be2fe", 0, WireError::FrameSize),
    // A bare line feed after the length.
    ("22/15.be2fe", 0, WireError::FrameSize),
    // `zz`.
    ("22/17.be2fe", 0, WireError::FrameSize),
    // No blank line; no stream and no directive; `SID: abc`; bare line feeds.
    ("22/19.be2fe", 0, WireError::FrameWithoutBlankLine),
    ("22/21.be2fe", 0, WireError::FrameWithoutMeaning),
    ("22/23.be2fe", 0, WireError::StreamId),
    ("22/29.be2fe", 0, WireError::FrameWithoutBlankLine),
    // Compressed in name only; of another length; a new stream without `R`.
    ("22/31.be2fe", 0, WireError::Compression),
    ("22/35.be2fe", 1, WireError::Compression),
    ("22/39.be2fe", 1, WireError::Compression),
    // The length is 1 too small.
    ("22/43.be2fe", 0, WireError::FrameWithoutBlankLine),
    ("22/45.be2fe", 0, WireError::FrameWithoutBlankLine),
    // `0x1b`, ` 1b `, `1_b`, `+1b`, `1b;x=1`.
    ("23/02.be2fe", 0, WireError::FrameSize),
    ("23/06.be2fe", 0, WireError::FrameSize),
    ("23/08.be2fe", 0, WireError::FrameSize),
    ("23/10.be2fe", 0, WireError::FrameSize),
    ("23/12.be2fe", 0, WireError::FrameSize),
    // An empty line between two frames.
    ("23/14.be2fe", 1, WireError::FrameSize),
    // `SID: 777777777777777` and `SID: -5`, which the reference echoes.
    ("23/26.be2fe", 0, WireError::StreamId),
    ("23/26.fe2be", 0, WireError::StreamId),
    ("23/28.be2fe", 0, WireError::StreamId),
    ("23/28.fe2be", 0, WireError::StreamId),
    // `0`.
    ("30/03.fe2be", 25, WireError::FrameLength),
    ("31/03.fe2be", 25, WireError::FrameLength),
    ("32/02.fe2be", 25, WireError::FrameLength),
];

/// Requests that are malformed on purpose.
const WRONG_REQUESTS: [(&str, WireError); 1] = [("20/22.be2fe", WireError::HandshakeKite)];

/// Kite lines whose signature is wrong on purpose.
const WRONG_SIGNATURES: [(&str, &str); 3] = [
    ("20/02.be2fe", "another secret, the first request"),
    ("20/03.be2fe", "another secret, the answer to the challenge"),
    ("20/20.be2fe", "letters in place of a signature"),
];

/// A recording with a challenge that no relay gave.
const FORGED_CHALLENGE: &str = "20/12.be2fe";

/// A frame as we decode it, or as the description says it is.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    headers: Vec<(String, String)>,
    body: Body,
}

/// Long bodies are known by length and SHA-1 only.
#[derive(Debug, PartialEq, Eq)]
enum Body {
    Text(String),
    Digest(usize, String),
}

/// The frame as the description has it.
fn described(record: &Value) -> Frame {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let headers = record["headers"].as_array().into_iter().flatten().map(|pair| {
        let (name, value) = (text(&pair[0]), text(&pair[1]));
        // The decoder that made the descriptions split at colon and space.
        match name.split_once(':') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (name, value),
        }
    });
    let body = match &record["body_sha1"] {
        Value::String(sha1) => Body::Digest(
            record["body_len"].as_u64().and_then(|length| length.try_into().ok()).expect("length"),
            sha1.clone(),
        ),
        _ => Body::Text(text(&record["body"])),
    };
    Frame { headers: headers.collect(), body }
}

fn decoded((block, body): &(Vec<u8>, Vec<u8>), wanted: &Frame) -> Frame {
    let headers = lines(block).map(|line| line.expect("checked before"));
    let body = match &wanted.body {
        Body::Text(_) => Body::Text(latin(body)),
        Body::Digest(..) => {
            let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, body);
            let sha1 = sha1.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            Body::Digest(body.len(), sha1)
        }
    };
    Frame { headers: headers.map(|(name, value)| (latin(name), latin(value))).collect(), body }
}

#[test]
fn every_frame_is_understood_as_described() {
    for recording in recordings() {
        let Recording { name, bytes, head, frames } = &recording;
        let outcome = decode(std::iter::once(&bytes[..]));
        assert_eq!(&outcome.head, head, "{name}");
        let wrong = WRONG_ON_PURPOSE.iter().find(|(file, ..)| file == name);
        let good = wrong.map_or(frames.len(), |&(_, good, _)| good);
        assert_eq!(outcome.error, wrong.map(|&(.., error)| error), "{name}");
        assert_eq!(outcome.frames.len(), good, "{name}");
        assert!(wrong.is_some() || outcome.is_complete, "{name}");
        let mut offset = outcome.head.len() as u64;
        for (number, (frame, record)) in outcome.frames.iter().zip(frames).enumerate() {
            let wanted = described(record);
            assert_eq!(decoded(frame, &wanted), wanted, "{name}, frame {number}");
            assert_eq!(record["off"].as_u64(), Some(offset), "{name}, frame {number}");
            offset += record["wire_len"].as_u64().expect("a length");
        }
    }
}

#[test]
fn the_cut_makes_no_difference() {
    let mut dice = 1_u32;
    for Recording { name, bytes, .. } in recordings() {
        let whole = decode(std::iter::once(&bytes[..]));
        assert_eq!(decode(bytes.chunks(1)), whole, "{name}, byte by byte");
        for round in 0..8 {
            let mut rest = &bytes[..];
            let parts = std::iter::from_fn(|| {
                dice = dice.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                let longest = [3, 60, 1500, 60_000][round % 4];
                let length = (1 + (dice >> 8) as usize % longest).min(rest.len());
                let (part, more) = rest.split_at(length);
                rest = more;
                (!part.is_empty()).then_some(part)
            });
            assert_eq!(decode(parts), whole, "{name}, round {round}");
        }
    }
}

#[test]
fn no_page_of_another_program_is_among_the_recordings() {
    for Recording { name, bytes, .. } in recordings() {
        let outcome = decode(std::iter::once(&bytes[..]));
        for body in outcome.frames.iter().map(|(_, body)| body).chain([&bytes]) {
            let text = latin(body).to_ascii_lowercase();
            assert!(!text.contains("<html") && !text.contains("sorry!"), "{name}");
        }
    }
}

#[test]
fn every_kite_is_signed_with_the_secret() {
    let recordings = recordings();
    let challenges = challenges_of_relays(&recordings);
    let (mut signatures, mut answers) = (0, 0);
    for recording in recordings.iter().filter(|recording| recording.is_of_agent()) {
        let name = &recording.name;
        let time = time_of(&recordings, recording);
        let is_wrong = WRONG_SIGNATURES.iter().any(|(file, _)| file == name);
        for kite in requests(recording).into_iter().flat_map(|request| request.kites) {
            assert_eq!(kite.is_signed_with(SECRET, time), !is_wrong, "{name}: {kite:?}");
            assert!(!kite.is_signed_with(b"s3cres", time), "{name}: {kite:?}");
            signatures += 1;
            if !kite.challenge.is_empty() {
                let is_real = challenges.contains(&(kite.key(), kite.challenge.clone()));
                assert_eq!(is_real, name != FORGED_CHALLENGE, "{name}: {kite:?}");
                answers += 1;
            }
        }
    }
    assert!(signatures > 150 && answers > 70, "{signatures} signatures, {answers} answers");
}

#[test]
fn every_answer_of_a_relay_is_understood() {
    for recording in recordings() {
        if recording.is_of_agent() {
            continue;
        }
        let Recording { name, head, .. } = &recording;
        let answer = Answer::parse(&to_bytes(head)).expect("a head");
        check_answer(name, &answer, head);
        assert_eq!(answer.status, head.split(' ').nth(1).and_then(|code| code.parse().ok()));
        assert_eq!(answer.add_kites, head.contains("AddKites"), "{name}");
        assert_eq!(answer.zlib_chunks, head.contains("ZChunks"), "{name}");
        for block in kite_blocks(&recording) {
            let answer = Answer::parse_lines(&block).expect("a frame");
            check_answer(name, &answer, &latin(&block));
        }
    }
}

/// What follows the key in the line of a verdict; `None` for another verdict.
type Suffix = fn(&Verdict) -> Option<String>;

/// The results, session id and quota of `answer`, against the lines of `text`.
fn check_answer(name: &str, answer: &Answer, text: &str) {
    let values = |wanted: &str| -> Vec<&str> {
        text.lines()
            .filter_map(|line| {
                let (name, value) = line.split_once(": ")?;
                let name = name.strip_prefix("X-PageKite-").or(name.strip_prefix("X-Beanstalk-"))?;
                (name == wanted).then_some(value)
            })
            .collect()
    };
    let keys = |wanted: Suffix| -> Vec<String> {
        let results = answer.results.iter();
        results
            .filter_map(|result| Some(format!("{}{}", result.key, wanted(&result.verdict)?)))
            .collect()
    };
    let checks: [(&str, Suffix); 5] = [
        ("OK", |verdict| (*verdict == Verdict::Flying).then(String::new)),
        ("SSL-OK", |verdict| (*verdict == Verdict::TlsAtRelay).then(String::new)),
        ("Duplicate", |verdict| (*verdict == Verdict::Duplicate).then(String::new)),
        ("SignThis", |verdict| match verdict {
            Verdict::Challenge(challenge) => Some(format!(":{challenge}")),
            _ => None,
        }),
        ("Invalid-Why", |verdict| match verdict {
            Verdict::Refused(reason) => Some(format!(";{reason}")),
            _ => None,
        }),
    ];
    for (line, wanted) in checks {
        assert_eq!(keys(wanted), values(line), "{name}, {line}");
    }
    assert_eq!(answer.session_id.as_deref(), values("SessionID").last().copied(), "{name}");
    let motd = values("Misc").last().and_then(|misc| misc.strip_prefix("motd="));
    assert_eq!(answer.motd.as_deref(), motd, "{name}");
    let number = |line| values(line).last().and_then(|value| value.parse().ok());
    assert_eq!(answer.quota.kilobytes, number("Quota"), "{name}");
    assert_eq!(answer.quota.days, number("QDays"), "{name}");
    assert_eq!(answer.quota.connections, number("QConns"), "{name}");
    let visitors = answer.quota.visitors.map(|(visitors, seconds)| format!("{visitors}/{seconds}"));
    assert_eq!(visitors.as_deref(), values("IPsPerSec").last().copied(), "{name}");
    let list = |line| values(line).last().map(|list| list.split(", ").collect::<Vec<_>>());
    assert_eq!(answer.protocols, list("Protos").unwrap_or_default(), "{name}");
    assert_eq!(answer.ports, list("Ports").unwrap_or_default(), "{name}");
    assert_eq!(answer.raw_ports, list("Raw-Ports").unwrap_or_default(), "{name}");
}

fn to_bytes(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).expect("Latin-1")).collect()
}

/// The header blocks of all frames of a recording that speak of kites.
fn kite_blocks(recording: &Recording) -> Vec<Vec<u8>> {
    let frames = decode(std::iter::once(&recording.bytes[..])).frames.into_iter();
    frames
        .map(|(block, _)| block)
        .filter(|block| Headers::parse(block).is_ok_and(|headers| headers.has_kite_lines))
        .collect()
}

/// What an agent asked for, in the head and in frames.
fn requests(recording: &Recording) -> Vec<TunnelRequest> {
    let head = TunnelRequest::parse(&to_bytes(&recording.head));
    if let Some((_, error)) = WRONG_REQUESTS.iter().find(|(name, _)| *name == recording.name) {
        assert_eq!(head.err(), Some(*error), "{}", recording.name);
        return Vec::new();
    }
    let head = head.unwrap_or_else(|error| panic!("{}: {error}", recording.name));
    let blocks = kite_blocks(recording);
    let frames = blocks.iter().map(|block| TunnelRequest::parse_lines(block).expect("a frame"));
    std::iter::once(head).chain(frames).collect()
}

/// All challenges in the recordings, each with the kite it is for.
fn challenges_of_relays(recordings: &[Recording]) -> Vec<(String, String)> {
    let mut challenges = Vec::new();
    for recording in recordings.iter().filter(|recording| !recording.is_of_agent()) {
        let head = Answer::parse(&to_bytes(&recording.head)).expect("a head");
        let blocks = kite_blocks(recording);
        let frames = blocks.iter().map(|block| Answer::parse_lines(block).expect("a frame"));
        for result in std::iter::once(head).chain(frames).flat_map(|answer| answer.results) {
            if let Verdict::Challenge(challenge) = result.verdict {
                challenges.push((result.key, challenge));
            }
        }
    }
    challenges
}

/// When a tunnel was opened: the relay's session ids begin with it.
fn time_of(recordings: &[Recording], agent: &Recording) -> u64 {
    let relay = agent.name.replace("be2fe", "fe2be");
    let Some(relay) = recordings.iter().find(|recording| recording.name == relay) else { return 0 };
    let answer = Answer::parse(&to_bytes(&relay.head)).expect("a head");
    let session = answer.session_id.unwrap_or_default();
    let time = session.split(':').next().unwrap_or_default();
    u64::from_str_radix(time, 16).unwrap_or_default()
}
