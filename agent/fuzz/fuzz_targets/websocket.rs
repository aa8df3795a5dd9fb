//! Any bytes as a WebSocket and as both heads of its handshake: no panic, the
//! cut changes nothing, and what was written is read the same.

#![no_main]

use kitelet::net::websocket::{
    ClientHandshake, Decoder, Fault, MAX_CONTROL_BYTES, Opcode, Piece, accept_upgrade, append_frame,
};
use kitelet_fuzz::{Dice, Script, cuts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let (flags, seed) = (script.byte(), script.number() as u64);
    let bytes = script.rest();

    for is_masked in [false, true] {
        let whole = decode(is_masked, &cuts(bytes, 0));
        assert_eq!(whole, decode(is_masked, &cuts(bytes, seed)), "the cut changes the result");
    }
    round_trip(bytes, flags, seed);

    // The key of RFC 6455 section 1.3, to which a seed has the answer.
    let client = ClientHandshake::new("relay.test", *b"the sample nonce");
    let _ = client.verify(bytes);
    if let Some(Ok(answer)) = accept_upgrade(bytes) {
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
    }
    let answer = accept_upgrade(client.request());
    assert!(answer.is_some_and(|answer| answer.is_ok_and(|head| client.verify(&head).is_ok())));
});

/// What came out: data, the rest with its place in the data, how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    data: Vec<u8>,
    controls: Vec<(usize, String)>,
    fault: Option<Fault>,
}

fn decode(is_masked: bool, parts: &[&[u8]]) -> Outcome {
    let (mut decoder, mut outcome) = (Decoder::new(is_masked), Outcome::default());
    for part in parts {
        let mut bytes = part.to_vec();
        let mut at = 0;
        while at < bytes.len() {
            let used = match decoder.next(&mut bytes[at..]) {
                Ok((used, Piece::Data(length))) => {
                    assert!(length > 0 && length <= used, "data that is not there");
                    outcome.data.extend_from_slice(&bytes[at + used - length..at + used]);
                    used
                }
                Ok((used, Piece::More)) => {
                    assert_eq!(at + used, bytes.len(), "input is left over");
                    used
                }
                Ok((used, control)) => {
                    if let Piece::Ping(payload) = control {
                        assert!(payload.len() <= MAX_CONTROL_BYTES);
                    }
                    outcome.controls.push((outcome.data.len(), format!("{control:?}")));
                    used
                }
                Err(fault) => {
                    outcome.fault = Some(fault);
                    return outcome;
                }
            };
            assert!(used > 0, "no progress");
            at += used;
        }
    }
    outcome
}

/// Cuts `bytes` into messages, fragments and pings, and reads them again.
fn round_trip(bytes: &[u8], flags: u8, seed: u64) {
    let mut dice = Dice::new(seed);
    let mask = (flags & 1 != 0).then(|| (seed as u32 ^ 0x5a5a_a5a5).to_ne_bytes());
    let (mut wire, mut expected, mut in_message) = (Vec::new(), Outcome::default(), false);
    for part in cuts(bytes, seed) {
        if dice.below(4) == 0 {
            let payload = &part[..part.len().min(MAX_CONTROL_BYTES)];
            append_frame(&mut wire, Opcode::Ping, mask, payload);
            let ping = format!("{:?}", Piece::Ping(payload));
            expected.controls.push((expected.data.len(), ping));
        }
        let opcode = if in_message { Opcode::Continuation } else { Opcode::Binary };
        let start = wire.len();
        append_frame(&mut wire, opcode, mask, part);
        in_message = dice.below(2) == 0;
        if in_message {
            wire[start] &= 0x7f;
        }
        expected.data.extend_from_slice(part);
    }
    assert_eq!(decode(mask.is_some(), &cuts(&wire, seed ^ 1)), expected);
}
