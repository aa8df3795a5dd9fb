//! Compressed frames: never more bytes than declared, and the same bytes as
//! another way of inflating them gives.

#![no_main]

use kitelet::wire::{Decoder, Inflater, MAX_INFLATED_BYTES, Piece, WireError};
use kitelet_fuzz::{Dice, Script, cuts};
use libfuzzer_sys::fuzz_target;
use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, compress_to_output, create_comp_flags_from_zip_params,
};
use miniz_oxide::inflate::stream::InflateState;
use miniz_oxide::{DataFormat, MZError, MZFlush};

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    match script.byte() % 2 {
        0 => hostile(&mut script),
        _ => friendly(&mut script),
    }
});

/// Arbitrary bytes as a zlib stream, in frames that declare arbitrary lengths.
fn hostile(script: &mut Script<'_>) {
    let mut inflater = Inflater::new();
    let mut reference = InflateState::new_boxed(DataFormat::Zlib);
    while !script.is_over() {
        let (control, declared, length) = (script.byte(), script.number(), script.number());
        let wire = script.bytes(length % 2048);
        if control & 1 != 0 {
            inflater.restart();
            reference.reset(DataFormat::Zlib);
        }
        let Ok(made) = inflate_frame(&mut inflater, wire, declared, u64::from(control)) else {
            return;
        };
        // The reference refuses what reaches behind the beginning of the
        // stream; the agent's ring has zeros or older bytes there.
        let Some(wanted) = inflate_all(&mut reference, wire) else { return };
        assert_eq!(made, wanted);
    }
}

/// What comes out of one frame, if exactly `declared` bytes do.
fn inflate_frame(
    inflater: &mut Inflater,
    wire: &[u8],
    declared: usize,
    seed: u64,
) -> Result<Vec<u8>, WireError> {
    let mut made = Vec::new();
    for mut part in cuts(wire, seed) {
        loop {
            let more = inflater.inflate(&mut part, declared - made.len())?;
            made.extend_from_slice(more);
            assert!(made.len() <= declared);
            if more.is_empty() {
                assert!(part.is_empty(), "input is left over");
                break;
            }
        }
    }
    if made.len() == declared { Ok(made) } else { Err(WireError::Compression) }
}

fn inflate_all(reference: &mut InflateState, mut wire: &[u8]) -> Option<Vec<u8>> {
    let mut made = Vec::new();
    let mut room = vec![0; 70_000];
    loop {
        let result =
            miniz_oxide::inflate::stream::inflate(reference, wire, &mut room, MZFlush::None);
        wire = &wire[result.bytes_consumed..];
        made.extend_from_slice(&room[..result.bytes_written]);
        match result.status {
            Ok(_) | Err(MZError::Buf) if result.bytes_consumed + result.bytes_written == 0 => {
                return wire.is_empty().then_some(made);
            }
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

/// A sender that keeps to the protocol, then one frame of it tampered with.
fn friendly(script: &mut Script<'_>) {
    let level = i32::from(script.byte() % 10);
    let seed = script.number() as u64;
    let tampering = script.byte();
    let mut dice = Dice::new(seed);
    let flags = create_comp_flags_from_zip_params(level, 15, 0);
    let mut deflater = CompressorOxide::new(flags);
    let mut wire = Vec::new();
    let mut bodies = Vec::new();
    while !script.is_over() {
        let (control, length) = (script.byte(), script.number());
        let repeats = if control & 0x80 == 0 { 1 } else { 1 + dice.below(40) };
        let body = script.bytes(length % 1024).repeat(repeats);
        let payload = [b"SID: 7\r\n\r\n", &body[..]].concat();
        if payload.len() > MAX_INFLATED_BYTES {
            continue;
        }
        if control & 0x40 != 0 {
            deflater.reset();
        }
        let mut deflated = Vec::new();
        compress_to_output(&mut deflater, &payload, TDEFLFlush::Sync, |made| {
            deflated.extend_from_slice(made);
            true
        });
        let restart = if control & 0x40 != 0 { "R" } else { "" };
        let mut declared = payload.len();
        if tampering != 0 && dice.below(4) == 0 {
            let mut changed = deflated.clone();
            match tampering % 3 {
                0 => declared = (declared + usize::from(tampering)).max(1),
                1 => declared = declared.saturating_sub(usize::from(tampering)).max(1),
                _ => {
                    let place = dice.below(changed.len());
                    changed[place] ^= tampering;
                }
            }
            let line = format!("{declared:x}Z{:x}{restart}\r\n", changed.len());
            let tampered = [&wire, line.as_bytes(), &changed].concat();
            let result = decode(&tampered, seed);
            if changed == deflated && declared != payload.len() {
                assert!(result.is_err(), "a wrong length is accepted");
            } else if let Ok(frames) = result {
                assert!(frames.last().is_some_and(|frame| frame.len() <= declared));
            }
            return;
        }
        wire.extend_from_slice(
            format!("{declared:x}Z{:x}{restart}\r\n", deflated.len()).as_bytes(),
        );
        wire.extend_from_slice(&deflated);
        bodies.push(body);
    }
    assert_eq!(decode(&wire, seed).as_ref(), Ok(&bodies));
    assert_eq!(decode(&wire, 0).as_ref(), Ok(&bodies));
}

/// The bodies of all frames.
fn decode(wire: &[u8], seed: u64) -> Result<Vec<Vec<u8>>, WireError> {
    let mut decoder = Decoder::new(4096);
    let mut bodies = Vec::new();
    for mut part in cuts(wire, seed) {
        while let Some(piece) = decoder.next(&mut part)? {
            match piece {
                Piece::Headers(_) | Piece::LongHeaders(_) => bodies.push(Vec::new()),
                Piece::Body(bytes) => {
                    bodies.last_mut().expect("headers first").extend_from_slice(bytes);
                }
                Piece::End => {}
            }
        }
        assert!(part.is_empty(), "input is left over");
    }
    if decoder.is_between_frames() { Ok(bodies) } else { Err(WireError::Compression) }
}
