//! The mask of RFC 6455 section 5.3: every byte of a client is XORed with one
//! of four, so that no proxy on the way takes a payload for a request.

/// Masks or unmasks `bytes`, the first of which is byte `offset` of its frame.
/// A word at a time: on a router this stands beside the cipher's own cost.
pub(super) fn apply(mask: [u8; 4], offset: usize, bytes: &mut [u8]) {
    let turned: [u8; 4] = std::array::from_fn(|index| mask[(offset + index) % 4]);
    let half = u64::from(u32::from_ne_bytes(turned));
    let word = half | half << 32;
    let mut words = bytes.chunks_exact_mut(8);
    for part in &mut words {
        if let Ok(whole) = <&mut [u8; 8]>::try_from(part) {
            *whole = (u64::from_ne_bytes(*whole) ^ word).to_ne_bytes();
        }
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(turned.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_gets_its_own_of_the_four_wherever_the_payload_is_cut() {
        let mask = [1, 20, 77, 200];
        for length in 0..40 {
            let plain: Vec<u8> = (0..length).map(|index: u8| index.wrapping_mul(7)).collect();
            let expected: Vec<u8> =
                plain.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]).collect();
            for cut in 0..=plain.len() {
                let mut bytes = plain.clone();
                let (first, second) = bytes.split_at_mut(cut);
                apply(mask, 0, first);
                apply(mask, cut, second);
                assert_eq!(bytes, expected, "{length} bytes cut at {cut}");
            }
        }
    }
}
