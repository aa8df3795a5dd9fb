//! Anything from the name server of an authority: no panic, and nobody flies
//! unless an address in the message says so.

#![no_main]

use kitelet::relay::authority::{MAX_MESSAGE_BYTES, Reply, Ruling, read_reply};
use kitelet_fuzz::Script;
use libfuzzer_sys::fuzz_target;

const ID: u16 = 0x1234;
const NAME: &str = "aa.tbb.cc.http.kite.test.auth.test";
/// The id, and the question behind the flags and the numbers of records.
const FRONT: &[u8] = b"\x12\x34";
const QUESTION: &[u8] =
    b"\x02aa\x03tbb\x02cc\x04http\x04kite\x04test\x04auth\x04test\0\0\x01\0\x01";

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let message = if script.byte() & 1 == 1 {
        script.rest().to_vec()
    } else {
        // One that gets as far as its records.
        let (flags, counts) = (script.bytes(2), script.bytes(6));
        if counts.len() < 6 {
            return;
        }
        [FRONT, flags, b"\0\x01", counts, QUESTION, script.rest()].concat()
    };
    match read_reply(&message, ID, NAME) {
        Reply::Ruling(Ruling::Granted { quota, secret }) => {
            assert!(secret.is_none(), "DNS tells no secret");
            assert!(message.len() <= MAX_MESSAGE_BYTES);
            let address = match quota.kilobytes {
                None => 0xffff_feff,
                Some(kilobytes) => u32::try_from(kilobytes).expect("an address"),
            };
            assert!(!matches!(address.to_be_bytes(), [0, 0, 0, 0] | [255, 255, 255, _]));
            let bytes = address.to_be_bytes();
            assert!(message.windows(4).any(|four| four == bytes), "quota out of nowhere");
            assert_eq!(message[..2], ID.to_be_bytes());
        }
        Reply::Ruling(Ruling::Refused(reason)) => {
            assert!((1..=32).contains(&reason.len()));
            assert!(reason.bytes().all(|byte| byte.is_ascii_graphic() && !b":;".contains(&byte)));
        }
        Reply::Ruling(Ruling::NoAnswer) => panic!("an answer that is none"),
        Reply::Stray | Reply::Truncated | Reply::Unable(_) | Reply::Useless(_) => {}
    }
});
