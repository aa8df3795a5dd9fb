//! Frames in every cut, and everything that the RFC forbids.

use proptest::prelude::*;

use super::*;
use crate::net::websocket::append_frame;

/// What came out of a decoder.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    data: Vec<u8>,
    /// Pings (with payload), pongs and closes, each with the length of the
    /// data before it.
    controls: Vec<(usize, String)>,
    fault: Option<Fault>,
}

fn feed(decoder: &mut Decoder, seen: &mut Seen, bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() && seen.fault.is_none() {
        let before = at;
        let place = seen.data.len();
        match decoder.next(&mut bytes[at..]) {
            Ok((used, Piece::Data(length))) => {
                assert!(length > 0 && length <= used);
                at += used;
                seen.data.extend_from_slice(&bytes[at - length..at]);
            }
            Ok((used, Piece::More)) => {
                at += used;
                assert_eq!(at, bytes.len(), "input is left over");
            }
            Ok((used, control)) => {
                seen.controls.push((place, format!("{control:?}")));
                at += used;
            }
            Err(fault) => {
                assert!(matches!(decoder.next(&mut []), Err(again) if again == fault));
                seen.fault = Some(fault);
            }
        }
        assert!(at > before || seen.fault.is_some(), "no progress");
    }
}

fn decode(is_masked: bool, parts: &[&[u8]]) -> Seen {
    let (mut decoder, mut seen) = (Decoder::new(is_masked), Seen::default());
    parts.iter().for_each(|part| feed(&mut decoder, &mut seen, part));
    seen
}

/// Decodes bytes, and sees that no cut in two and no dripping changes what
/// comes out.
fn decode_in_all_cuts(is_masked: bool, bytes: &[u8]) -> Seen {
    let seen = decode(is_masked, &[bytes]);
    for cut in 1..bytes.len() {
        let (first, second) = bytes.split_at(cut);
        assert_eq!(decode(is_masked, &[first, second]), seen, "cut at {cut}");
    }
    let drops: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(decode(is_masked, &drops), seen, "in drops");
    seen
}

fn data(bytes: &[u8]) -> Seen {
    Seen { data: bytes.to_vec(), ..Seen::default() }
}

/// RFC 6455 section 5.7, with bytes in place of text, which no tunnel has.
#[test]
fn the_examples_of_the_rfc() {
    assert_eq!(decode_in_all_cuts(false, b"\x82\x05Hello"), data(b"Hello"));
    let masked = b"\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(decode_in_all_cuts(true, masked), data(b"Hello"));
    let fragmented = b"\x02\x03Hel\x80\x02lo";
    assert_eq!(decode_in_all_cuts(false, fragmented), data(b"Hello"));
    let ping = decode_in_all_cuts(false, b"\x89\x05Hello");
    assert_eq!(ping.controls, [(0, format!("{:?}", Piece::Ping(b"Hello")))]);
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(decode_in_all_cuts(true, pong).controls, [(0, "Pong".to_owned())]);
    let medium = [&b"\x82\x7e\x01\x00"[..], &[b'm'; 256]].concat();
    assert_eq!(decode_in_all_cuts(false, &medium), data(&[b'm'; 256]));
    let long = [&b"\x82\x7f\0\0\0\0\0\x01\0\0"[..], &[b'l'; 65536]].concat();
    for cut in [1, 2, 9, 10, 11, 70, 65545] {
        let (first, second) = long.split_at(cut);
        assert_eq!(decode(false, &[first, second]), data(&[b'l'; 65536]));
    }
    for text in [&b"\x81\x05Hello"[..], b"\x01\x03Hel\x80\x02lo"] {
        assert_eq!(decode_in_all_cuts(false, text).fault, Some(Fault::Text));
    }
}

#[test]
fn control_frames_come_between_those_of_a_message() {
    let bytes = b"\x02\x03Hel\x89\x01p\x8a\x00\x00\x00\x80\x02lo\x88\x02\x03\xe8junk";
    let seen = decode_in_all_cuts(false, bytes);
    let controls = [(3, Piece::Ping(b"p")), (3, Piece::Pong), (5, Piece::Close(Some(1000)))];
    let controls = controls.map(|(place, piece)| (place, format!("{piece:?}")));
    assert_eq!(seen.data, b"Hello");
    assert_eq!(seen.controls, controls);
    assert_eq!(seen.fault, None, "what comes behind a close does not matter");
}

#[test]
fn closes_with_and_without_a_status() {
    for (payload, status) in [
        (&b""[..], None),
        (b"\x03\xe8", Some(1000)),
        (b"\x03\xe9going away", Some(1001)),
        (b"\x0b\xb8", Some(3000)),
        (b"\x13\x87", Some(4999)),
    ] {
        let mut bytes = Vec::new();
        append_frame(&mut bytes, Opcode::Close, None, payload);
        let close = format!("{:?}", Piece::Close(status));
        assert_eq!(decode_in_all_cuts(false, &bytes).controls, [(0, close)]);
    }
    // 999, 1004, 1005, 1006, 1015 and 5000 are never sent.
    for payload in
        [&b"\x03"[..], b"\x03\xe7", b"\x03\xec", b"\x03\xed", b"\x03\xee", b"\x03\xf7", b"\x13\x88"]
    {
        let mut bytes = Vec::new();
        append_frame(&mut bytes, Opcode::Close, None, payload);
        assert_eq!(decode_in_all_cuts(false, &bytes).fault, Some(Fault::CloseStatus));
    }
}

#[test]
fn what_the_rfc_forbids_is_found_at_its_first_byte() {
    for (is_masked, bytes, length, fault) in [
        (false, &b"\xc2\x00"[..], 1, Fault::ReservedBits),
        (false, b"\xa2\x00", 1, Fault::ReservedBits),
        (false, b"\x92\x00", 1, Fault::ReservedBits),
        (false, b"\x83\x00", 1, Fault::UnknownOpcode),
        (false, b"\x8b\x00", 1, Fault::UnknownOpcode),
        (false, b"\x8f\x00", 1, Fault::UnknownOpcode),
        (false, b"\x09\x00", 1, Fault::FragmentedControl),
        (false, b"\x08\x00", 1, Fault::FragmentedControl),
        (false, b"\x89\x7e\x00\x7e", 2, Fault::LongControl),
        (false, b"\x88\x7f", 2, Fault::LongControl),
        (false, b"\x80\x00", 1, Fault::NoMessage),
        (false, b"\x00\x01a", 1, Fault::NoMessage),
        (false, b"\x82\x00\x80\x00", 3, Fault::NoMessage),
        (false, b"\x02\x00\x82\x00", 3, Fault::TwoMessages),
        (false, b"\x02\x00\x00\x00\x02\x00", 5, Fault::TwoMessages),
        (false, b"\x82\x80\0\0\0\0", 2, Fault::Masked),
        (true, b"\x82\x00", 2, Fault::NotMasked),
        (true, b"\x88\x00", 2, Fault::NotMasked),
        (false, b"\x82\x7e\x00\x7d", 4, Fault::PaddedLength),
        (true, b"\x82\xfe\x00\x00\0\0\0\0", 4, Fault::PaddedLength),
        (false, b"\x82\x7f\0\0\0\0\0\0\xff\xff", 10, Fault::PaddedLength),
        (false, b"\x82\x7f\0\0\0\0\x01\0\0\x01", 10, Fault::LongFrame),
        (true, b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0", 10, Fault::LongFrame),
        (false, b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10, Fault::LongFrame),
    ] {
        assert_eq!(decode_in_all_cuts(is_masked, bytes).fault, Some(fault), "{bytes:x?}");
        let early = decode(is_masked, &[&bytes[..length]]);
        let mut decoder = Decoder::new(is_masked);
        let before = decoder.next(&mut bytes[..length - 1].to_vec()).map(|_| ());
        assert_eq!((before, early.fault), (Ok(()), Some(fault)), "{bytes:x?}");
        assert!(fault.to_string().starts_with("the other end broke the WebSocket protocol: "));
    }
}

#[test]
fn the_longest_frame_is_taken_and_nothing_of_it_kept() {
    let mut decoder = Decoder::new(false);
    let mut header = b"\x82\x7f\0\0\0\0\x01\0\0\0".to_vec();
    assert_eq!(decoder.next(&mut header), Ok((10, Piece::More)));
    let mut part = vec![1; 65536];
    for _ in 0..MAX_PAYLOAD_BYTES / part.len() {
        assert_eq!(decoder.next(&mut part), Ok((part.len(), Piece::Data(part.len()))));
    }
    assert_eq!(decoder.next(&mut b"\x89\x00".to_vec()), Ok((2, Piece::Ping(b""))));
    assert!(size_of::<Decoder>() < 256);
}

#[test]
fn data_before_a_fault_comes_out() {
    let seen = decode_in_all_cuts(false, b"\x82\x03abc\xff");
    assert_eq!((&seen.data[..], seen.fault), (&b"abc"[..], Some(Fault::UnknownOpcode)));
}

/// A frame: what it is, whether it ends its message, its payload.
fn frames() -> impl Strategy<Value = Vec<(u8, bool, Vec<u8>)>> {
    let length = prop_oneof![0..130_usize, 0..4_usize, 65530..65540_usize];
    let payload = (length, any::<u8>())
        .prop_map(|(length, seed)| (0..length).map(|index| (index / 3) as u8 ^ seed).collect());
    prop::collection::vec((0..4_u8, any::<bool>(), payload), 0..12)
}

proptest! {
    #[test]
    fn what_was_written_is_read_in_any_cut(
        frames in frames(),
        mask in prop::option::of(any::<[u8; 4]>()),
        cuts in prop::collection::vec(1..3000_usize, 1..30),
    ) {
        let (mut wire, mut expected, mut in_message) = (Vec::new(), Seen::default(), false);
        for (kind, ends, mut payload) in frames {
            if kind == 0 {
                payload.truncate(MAX_CONTROL_BYTES);
                append_frame(&mut wire, Opcode::Ping, mask, &payload);
                let ping = format!("{:?}", Piece::Ping(&payload));
                expected.controls.push((expected.data.len(), ping));
                continue;
            }
            let opcode = if in_message { Opcode::Continuation } else { Opcode::Binary };
            let start = wire.len();
            append_frame(&mut wire, opcode, mask, &payload);
            if !ends {
                wire[start] &= !FIN;
            }
            in_message = !ends;
            expected.data.extend_from_slice(&payload);
        }
        let (mut decoder, mut seen) = (Decoder::new(mask.is_some()), Seen::default());
        let mut rest = &wire[..];
        for length in cuts.iter().cycle() {
            let (part, after) = rest.split_at(rest.len().min(*length));
            feed(&mut decoder, &mut seen, part);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&seen, &expected);
    }

    #[test]
    fn garbage_in_any_cut_gives_the_same(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cut in 0..300_usize,
        is_masked in any::<bool>(),
    ) {
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        prop_assert_eq!(decode(is_masked, &[&bytes]), decode(is_masked, &[first, second]));
    }
}
