//! Signatures: checking one never panics, a true one is always accepted, and
//! one that was tampered with never is.

#![no_main]

use kitelet::wire::{
    DYNDNS_SIGNATURE_LENGTH, KiteId, KiteRequest, SIGNATURE_LENGTH, Salt, TunnelRequest,
    WINDOW_SECONDS, sign, sign_at, verify,
};
use kitelet_fuzz::Script;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let time = u64::from_be_bytes(std::array::from_fn(|_| script.byte()));
    let salt = Salt::from_random(std::array::from_fn(|_| script.byte()));
    let tampered = script.byte();
    let length = usize::from(script.byte());
    let secret = script.bytes(length);
    let length = usize::from(script.byte());
    let signature = script.bytes(length);
    let payload = script.rest();

    let _ = verify(secret, payload, signature, time);

    for length in [SIGNATURE_LENGTH, DYNDNS_SIGNATURE_LENGTH] {
        let plain = sign(secret, payload, salt, length);
        assert_eq!(plain.len(), length);
        assert!(verify(secret, payload, plain.as_bytes(), time));
        let stamped = sign_at(secret, payload, salt, time, length);
        let window = time / WINDOW_SECONDS * WINDOW_SECONDS;
        for (offset, valid) in [(0, true), (2 * WINDOW_SECONDS - 1, true)] {
            let later = window.saturating_add(offset);
            assert_eq!(verify(secret, payload, stamped.as_bytes(), later), valid);
        }
        if let Some(later) = window.checked_add(2 * WINDOW_SECONDS) {
            assert!(!verify(secret, payload, stamped.as_bytes(), later));
        }
        for mut text in [plain.into_bytes(), stamped.into_bytes()] {
            let place = usize::from(tampered >> 3) % length;
            text[place] ^= 1 << (tampered & 7);
            assert!(!verify(secret, payload, &text, time), "a changed signature is accepted");
        }
    }

    let text = String::from_utf8_lossy(payload);
    if let Ok(id) = text.parse::<KiteId>() {
        assert_eq!(id.to_string().parse::<KiteId>().as_ref(), Ok(&id));
        let kite = KiteRequest::sign(&id, "salt", "challenge", secret, salt);
        assert!(kite.is_signed_with(secret, time));
        let _ = id.covers("kite.test");
    }
    let line = [b"X-PageKite: ", payload, b"\r\n"].concat();
    if let Ok(request) = TunnelRequest::parse_lines(&line) {
        for kite in &request.kites {
            let _ = kite.is_signed_with(secret, time);
            let challenge = kite.make_challenge(secret, salt, time);
            let answer = KiteRequest { challenge, ..kite.clone() };
            assert!(answer.has_valid_challenge(secret, time));
        }
    }
});
