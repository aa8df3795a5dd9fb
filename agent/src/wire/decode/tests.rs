//! What the decoder does with odd frames and odd cuts.

use super::*;
use crate::wire::deflate::Deflater;

/// Headers and body of each frame, and how it ended.
type Decoded = (Vec<(Vec<u8>, Vec<u8>)>, Result<(), WireError>);

fn decode_in(parts: &[&[u8]], max_header_bytes: usize) -> Decoded {
    let mut decoder = Decoder::new(max_header_bytes);
    let mut frames = Vec::new();
    for mut part in parts.iter().copied() {
        loop {
            match decoder.next(&mut part) {
                Ok(Some(Piece::Headers(block))) => frames.push((block.to_vec(), Vec::new())),
                Ok(Some(Piece::LongHeaders(_))) => {
                    return (frames, Err(WireError::FrameHeadersTooLong));
                }
                Ok(Some(Piece::Body(bytes))) => {
                    frames.last_mut().expect("headers first").1.extend_from_slice(bytes);
                }
                Ok(Some(Piece::End)) => {}
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
        assert!(part.is_empty(), "input is left over");
    }
    (frames, Ok(()))
}

/// The result of `wire` in one piece, which every cut has to give.
fn decode_any_cut(wire: &[u8], max_header_bytes: usize) -> Decoded {
    let whole = decode_in(&[wire], max_header_bytes);
    for cut in 0..=wire.len() {
        let (first, second) = wire.split_at(cut);
        assert_eq!(decode_in(&[first, second], max_header_bytes), whole, "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = wire.chunks(1).collect();
    assert_eq!(decode_in(&bytes, max_header_bytes), whole, "byte by byte");
    whole
}

fn compressed(payload: &[u8], declared: usize) -> Vec<u8> {
    let mut deflated = Vec::new();
    Deflater::new().deflate(payload, &mut deflated);
    let mut frame = format!("{declared:x}Z{:x}\r\n", deflated.len()).into_bytes();
    frame.extend_from_slice(&deflated);
    frame
}

#[test]
fn headers_up_to_the_bound_are_taken_and_longer_ones_refused_in_any_cut() {
    let payload = b"SID: 1\r\nA: b\r\n\r\nbody";
    let headers = payload.len() - 4;
    let mut plain = format!("{:x}\r\n", payload.len()).into_bytes();
    plain.extend_from_slice(payload);
    for wire in [plain, compressed(payload, payload.len())] {
        let (frames, end) = decode_any_cut(&wire, headers);
        assert_eq!((frames.len(), end), (1, Ok(())));
        for bound in 4..headers {
            let (frames, end) = decode_any_cut(&wire, bound);
            assert_eq!((frames.len(), end), (0, Err(WireError::FrameHeadersTooLong)), "{bound}");
        }
    }
}

#[test]
fn a_compressed_frame_of_another_length_is_refused() {
    let payload = b"SID: 7\r\n\r\nhello hello hello hello";
    for wrong in (12..payload.len()).chain(payload.len() + 1..payload.len() + 20) {
        let (_, end) = decode_any_cut(&compressed(payload, wrong), 100);
        assert_eq!(end, Err(WireError::Compression), "declared {wrong}");
    }
    assert_eq!(decode_any_cut(&compressed(payload, payload.len()), 100).1, Ok(()));
}

#[test]
fn a_frame_needs_no_headers_and_no_body() {
    let (frames, end) = decode_any_cut(b"2\r\n\r\n5\r\n\r\nabca\r\nSID: 5\r\n\r\n", 100);
    assert_eq!(end, Ok(()));
    let wanted: [(&[u8], &[u8]); 3] = [(b"", b""), (b"", b"abc"), (b"SID: 5\r\n", b"")];
    assert_eq!(frames, wanted.map(|(headers, body)| (headers.to_vec(), body.to_vec())));
}

#[test]
fn refuses_what_is_no_frame() {
    use WireError::{Compression, FrameLength, FrameSize, FrameWithoutBlankLine};
    for (wire, error) in [
        (&b"0\r\n"[..], FrameLength),
        (b"00000000\r\n", FrameLength),
        (b"0Z5\r\n", FrameLength),
        (b"5Z0\r\n", FrameLength),
        (b"ffffffff\r\n", FrameLength),
        (b"1000001\r\n", FrameLength),
        (b"100001Z10\r\n", FrameLength),
        (b"10Z1000001\r\n", FrameLength),
        (b"100000000\r\n", FrameSize),
        (b"-5\r\n", FrameSize),
        (b"0x5\r\n", FrameSize),
        (b"5;a=b\r\n", FrameSize),
        (b" 5\r\n", FrameSize),
        (b"\r\n", FrameSize),
        (b"5\n", FrameSize),
        (b"R\r\n", FrameSize),
        (b"5RR\r\n", FrameSize),
        (b"5Z\r\n", FrameSize),
        (b"Z5\r\n", FrameSize),
        (b"5Z5Z5\r\n", FrameSize),
        (b"111111111111111111111111", FrameSize),
        (b"GET / HTTP/1.1\r\n", FrameSize),
        (b"9\r\nSID: 5\r\n\x0a", FrameWithoutBlankLine),
        (b"8\r\nSID: 5\n\n", FrameWithoutBlankLine),
        (b"1\r\n\r", FrameWithoutBlankLine),
        (b"20Z5\r\nhello", Compression),
    ] {
        let (frames, end) = decode_any_cut(wire, 100);
        assert_eq!((frames.len(), end), (0, Err(error)), "{}", wire.escape_ascii());
    }
}

#[test]
fn the_largest_frames_are_taken_without_memory_for_them() {
    let mut decoder = Decoder::new(100);
    let mut rest = &b"1000000\r\nSID: 1\r\n\r\n"[..];
    while decoder.next(&mut rest).expect("within the bound").is_some() {}
    let block = [b'x'; 65536];
    let mut bytes = MAX_FRAME_BYTES - 10;
    while bytes > 0 {
        let mut rest = &block[..bytes.min(block.len())];
        bytes -= rest.len();
        while decoder.next(&mut rest).expect("within the bound").is_some() {}
    }
    assert!(decoder.partial.capacity() <= KEPT_PARTIAL_BYTES);
    let mut rest = &b"2\r\n\r\n"[..];
    while decoder.next(&mut rest).expect("the next frame").is_some() {}
    assert!(decoder.is_between_frames());
}

#[test]
fn the_end_of_the_tunnel_within_a_frame_is_known() {
    let wire = b"a\r\nSID: 5\r\n\r\nf\r\nSID: 5\r\n\r\nhello";
    for cut in 0..=wire.len() {
        let mut decoder = Decoder::new(100);
        let mut rest = &wire[..cut];
        while decoder.next(&mut rest).expect("valid").is_some() {}
        let at_an_end = [0, 13, wire.len()].contains(&cut);
        assert_eq!(decoder.is_between_frames(), at_an_end, "cut at {cut}");
    }
}

#[test]
fn memory_of_long_headers_is_given_back() {
    let mut decoder = Decoder::new(100_000);
    let payload = format!("SID: 5\r\nA: {}\r\n\r\n", "x".repeat(90_000));
    let wire = format!("{:x}\r\n{payload}", payload.len());
    for byte in wire.as_bytes().chunks(1000) {
        let mut rest = byte;
        while decoder.next(&mut rest).expect("valid").is_some() {}
    }
    let mut rest = &b"2\r\n"[..];
    while decoder.next(&mut rest).expect("valid").is_some() {}
    assert!(decoder.partial.capacity() <= KEPT_PARTIAL_BYTES);
}

#[test]
fn of_too_many_headers_the_first_lines_come_out_and_the_next_frame_is_whole() {
    let payload = format!("SID: 5\r\nHost: {}\r\nRIP: 1\r\n\r\nbody", "a".repeat(90));
    let plain = [format!("{:x}\r\n{payload}", payload.len()).into_bytes(), b"2\r\n\r\n".into()];
    let packed = [compressed(payload.as_bytes(), payload.len()), b"2\r\n\r\n".into()];
    for wire in [plain.concat(), packed.concat()] {
        for cut in 0..=wire.len() {
            let (mut first, mut second) = wire.split_at(cut);
            let mut decoder = Decoder::new(64);
            let mut seen = Vec::new();
            for part in [&mut first, &mut second] {
                while let Some(piece) = decoder.next(part).expect("no error") {
                    match piece {
                        Piece::LongHeaders(block) => seen.push(block.to_vec()),
                        Piece::Headers(block) => seen.push([b"next ", block].concat()),
                        Piece::Body(_) | Piece::End => {}
                    }
                }
            }
            assert_eq!(seen, [b"SID: 5\r\n".to_vec(), b"next ".to_vec()], "cut at {cut}");
            assert!(decoder.is_between_frames());
        }
    }
}
