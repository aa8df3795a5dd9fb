//! Times the ciphers of TLS on this processor, for `run` to compare: 4 MiB in
//! records of 16 KiB, sealed and opened, the ciphers in turn. Prints a line for
//! each cipher and direction: its name, the direction, and the fastest round in
//! microseconds.

use std::time::{Duration, Instant};

use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use ring::error::Unspecified;

/// TLS's longest record (RFC 8446 5.1).
const RECORD_BYTES: usize = 16 * 1024;
const RECORDS: usize = 256;
/// What a run takes is mostly this; other programs disturb some rounds.
const ROUNDS: usize = 5;
/// The head of a record, which is authenticated.
const HEAD: [u8; 5] = [23, 3, 3, 64, 16];

/// Time to seal and to open all records.
fn round(algorithm: &'static Algorithm) -> Result<[Duration; 2], Unspecified> {
    let key = LessSafeKey::new(UnboundKey::new(algorithm, &vec![7; algorithm.key_len()])?);
    let mut record = vec![0; RECORD_BYTES];
    let (mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO);
    for number in 0..RECORDS as u64 {
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&number.to_be_bytes());
        record.truncate(RECORD_BYTES);

        let began = Instant::now();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(HEAD),
            &mut record,
        )?;
        let sealed = Instant::now();
        key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(HEAD), &mut record)?;
        opening += sealed.elapsed();
        sealing += sealed - began;
    }
    Ok([sealing, opening])
}

fn main() -> Result<(), Unspecified> {
    let ciphers = [
        ("chacha20-poly1305", &CHACHA20_POLY1305),
        ("aes-128-gcm", &AES_128_GCM),
        ("aes-256-gcm", &AES_256_GCM),
    ];
    let mut best = [[Duration::MAX; 2]; 3];
    for _ in 0..ROUNDS {
        for ((_, algorithm), best) in ciphers.iter().zip(&mut best) {
            for (best, time) in best.iter_mut().zip(round(algorithm)?) {
                *best = time.min(*best);
            }
        }
    }
    for ((name, _), [seal, open]) in ciphers.iter().zip(best) {
        println!("{name} seal {}", seal.as_micros());
        println!("{name} open {}", open.as_micros());
    }
    Ok(())
}
