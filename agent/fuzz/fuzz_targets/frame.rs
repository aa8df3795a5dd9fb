//! Any bytes behind a handshake: no panic, no growth, and the same result
//! however the bytes are cut, at both ends of a tunnel.

#![no_main]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kitelet::wire::{
    Decoder, Eof, Event, HEADER_ROOM, Headers, Piece, Role, Session, SessionSettings, SignOfLife,
    WireError,
};
use kitelet_fuzz::{Dice, Script, cuts};
use libfuzzer_sys::fuzz_target;

const MAX_HEADER_BYTES: usize = 400;
const MAX_STREAMS: usize = 5;

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let (flags, seed) = (script.byte(), script.number() as u64);
    let bytes = script.rest();

    assert_same(decode(&cuts(bytes, 0)), decode(&cuts(bytes, seed)));

    for role in [Role::Agent, Role::Relay] {
        let settings = SessionSettings {
            role,
            max_streams: MAX_STREAMS,
            max_header_bytes: MAX_HEADER_BYTES,
            compress: flags & 1 != 0,
            guard_bursts: flags & 2 != 0,
        };
        assert_same(listen(settings, &cuts(bytes, 0)), listen(settings, &cuts(bytes, seed)));
        drive(settings, &cuts(bytes, seed), seed);
    }
});

/// What came out, and how it ended.
type Outcome<T> = (Vec<T>, Option<WireError>);

/// The cut changes nothing, except how much of a corrupt compressed frame
/// comes out before the error: the decompressor looks ahead.
fn assert_same<T: PartialEq + std::fmt::Debug>(one: Outcome<T>, other: Outcome<T>) {
    if [one.1, other.1].contains(&Some(WireError::Compression)) {
        assert!(one.1.is_some() && other.1.is_some(), "the cut hides an error");
        let (one, other) = (one.0, other.0);
        assert!(one.len().abs_diff(other.len()) <= 2);
        let certain = one.len().min(other.len()).saturating_sub(1);
        assert_eq!(one[..certain], other[..certain], "the cut changes what came before");
    } else {
        assert_eq!(one, other, "the cut changes the result");
    }
}

/// Headers and bodies of all frames, and how it ended.
fn decode(parts: &[&[u8]]) -> Outcome<(Vec<u8>, Vec<u8>)> {
    let mut decoder = Decoder::new(MAX_HEADER_BYTES);
    let mut frames = Vec::new();
    for mut part in parts.iter().copied() {
        loop {
            match decoder.next(&mut part) {
                Ok(Some(Piece::Headers(block) | Piece::LongHeaders(block))) => {
                    assert!(block.len() <= MAX_HEADER_BYTES);
                    if let Ok(headers) = Headers::parse(block) {
                        let _ = headers.has_meaning();
                    }
                    frames.push((block.to_vec(), Vec::new()));
                }
                Ok(Some(Piece::Body(bytes))) => {
                    assert!(!bytes.is_empty());
                    frames.last_mut().expect("headers come first").1.extend_from_slice(bytes);
                }
                Ok(Some(Piece::End)) => {}
                Ok(None) => {
                    assert!(part.is_empty(), "input is left over");
                    break;
                }
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// The events of a session whose driver does nothing, bodies joined.
fn listen(settings: SessionSettings, parts: &[&[u8]]) -> Outcome<String> {
    let now = Instant::now();
    let mut session = Session::new(settings);
    let mut events = Vec::new();
    let mut data: Option<(u32, Vec<u8>)> = None;
    for mut part in parts.iter().copied() {
        loop {
            match session.receive(now, &mut part) {
                Ok(Some(Event::Data { stream, bytes })) => match &mut data {
                    Some((same, joined)) if *same == stream => joined.extend_from_slice(bytes),
                    _ => {
                        events.extend(data.take().map(|data| format!("{data:?}")));
                        data = Some((stream, bytes.to_vec()));
                    }
                },
                Ok(Some(Event::Progress)) => {}
                Ok(Some(event)) => {
                    let event = format!("{event:?}");
                    events.extend(data.take().map(|data| format!("{data:?}")));
                    events.push(event);
                }
                Ok(None) => {
                    assert!(part.is_empty(), "input is left over");
                    break;
                }
                Err(error) => {
                    events.extend(data.take().map(|data| format!("{data:?}")));
                    return (events, Some(error));
                }
            }
            assert!(session.stream_count() <= settings.max_streams);
        }
    }
    events.extend(data.take().map(|data| format!("{data:?}")));
    (events, None)
}

/// A session whose driver acts at random; what it writes has to be frames.
fn drive(settings: SessionSettings, parts: &[&[u8]], seed: u64) {
    let mut now = Instant::now();
    let mut dice = Dice::new(seed ^ 0x5eed);
    let mut session = Session::new(settings);
    let mut output = Vec::new();
    let mut known = Vec::new();
    let mut deaf = BTreeSet::new();
    let mut buffer = vec![b'd'; HEADER_ROOM + 3000];
    for mut part in parts.iter().copied() {
        loop {
            let (mut refused, mut arrived) = (None, None);
            match session.receive(now, &mut part) {
                Ok(Some(Event::Open { stream, .. })) => {
                    assert_eq!(settings.role, Role::Agent);
                    known.push(stream);
                    deaf.remove(&stream);
                }
                Ok(Some(Event::TooManyStreams { stream, .. })) => refused = Some(stream),
                Ok(Some(Event::Data { stream, bytes })) => {
                    assert!(!deaf.contains(&stream), "data for a stream that takes none");
                    arrived = Some((stream, bytes.len()));
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
            if let Some(stream) = refused {
                session.refuse(stream);
            }
            if let Some((stream, bytes)) = arrived {
                session.delivered(stream, bytes);
            }
            let stream = known.get(dice.below(known.len())).copied().unwrap_or(1);
            match dice.below(24) {
                0 => session.close(now, stream, Eof { read: true, write: false }),
                1 | 2 => {
                    session.close(now, stream, Eof { read: dice.below(2) == 0, write: true });
                    if known.contains(&stream) {
                        deaf.insert(stream);
                    }
                }
                3 | 4 => {
                    let room = session.send_room(stream).min(dice.below(3000));
                    if room > 0 {
                        let body = HEADER_ROOM..HEADER_ROOM + room;
                        let frame = session.data_frame(now, stream, &mut buffer, body);
                        output.extend_from_slice(frame);
                    }
                }
                5 => session.show_life(SignOfLife::Ping),
                6 => session.show_life(SignOfLife::Noop),
                7 => {
                    now += Duration::from_millis(dice.below(40_000) as u64);
                    while let Some(stream) = session.expired_stream(now) {
                        deaf.insert(stream);
                    }
                }
                8 if settings.role == Role::Relay => {
                    let open = kitelet::wire::Open {
                        protocol: "http",
                        host: "kite.test",
                        port: Some(80),
                        visitor_address: "127.0.0.1",
                        visitor_port: None,
                        visitor_tls: false,
                    };
                    let opened = session.open(now, &open, b"GET / HTTP/1.1\r\n", &mut output);
                    known.extend(opened);
                }
                9 | 10 => {
                    let limit = output.len() + 2000;
                    session.control_frames(now, &mut output, limit);
                }
                _ => {}
            }
            assert!(session.stream_count() <= settings.max_streams);
            if output.len() > 200_000 {
                break;
            }
        }
    }
    while session.has_control_frames() {
        let before = output.len();
        session.control_frames(now, &mut output, before + 2000);
        assert!(output.len() > before || !session.has_control_frames(), "a promise without frames");
        assert!(output.len() < 2_000_000, "control frames without end");
    }
    let mut decoder = Decoder::new(MAX_HEADER_BYTES);
    let mut rest = &output[..];
    while decoder.next(&mut rest).expect("our own frames are valid").is_some() {}
    assert!(decoder.is_between_frames());
}
