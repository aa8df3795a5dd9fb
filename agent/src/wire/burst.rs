//! Keeps bursts of tiny frames within what the reference can take: it reads up
//! to 50,393 bytes at once and drops the tunnel when more than 150 frames are
//! in them (`protocol.md` 5).
//!
//! Each frame is charged as if it were [`CHARGE_BYTES`] long; long frames and
//! time pay it back, but only time in which the other end was heard: what is
//! sent while the link hangs arrives in one piece later. Before the debt would
//! allow 150 frames in one read, a padding frame is due.

use std::time::{Duration, Instant};

/// What a frame has to bring or is in debt for. With at most
/// [`DEBT_FRAMES`] such debts, 50,393 bytes hold at most
/// 50,393 / 680 + 74 = 148 frames.
const CHARGE_BYTES: u64 = 680;
const DEBT_FRAMES: u64 = 74;
const LARGEST_DEBT: u64 = CHARGE_BYTES * DEBT_FRAMES;
/// Within this time a living other end has read what lay there.
const FORGIVEN_AFTER: Duration = Duration::from_secs(3);
/// Length of a padding frame; the longest that small agents read in one piece.
pub(super) const PADDING_BYTES: usize = 1400;

/// The account of one direction of a tunnel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BurstGuard {
    debt: u64,
    counted_from: Option<Instant>,
    heard: Option<Instant>,
}

impl BurstGuard {
    /// Notes that bytes came from the other end.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// Notes a frame of `bytes` on the wire; true when a padding frame has to
    /// follow before the next one.
    pub(super) fn note(&mut self, now: Instant, bytes: usize) -> bool {
        let from = *self.counted_from.get_or_insert(now);
        let until = self.heard.unwrap_or(from);
        let passed = until.saturating_duration_since(from);
        let forgiven = passed.as_millis() * u128::from(LARGEST_DEBT) / FORGIVEN_AFTER.as_millis();
        if forgiven > 0 {
            self.debt = self.debt.saturating_sub(forgiven.try_into().unwrap_or(u64::MAX));
            self.counted_from = Some(until);
        }
        self.debt = (self.debt + CHARGE_BYTES).saturating_sub(bytes as u64);
        self.debt + CHARGE_BYTES > LARGEST_DEBT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most frames that any 50,393 bytes of `frames` hold.
    fn most_frames_in_a_read(frames: &[usize]) -> usize {
        let mut most = 0;
        for start in 0..frames.len() {
            let mut bytes = 0;
            let fit = frames[start..].iter().take_while(|&&frame| {
                bytes += frame;
                bytes <= 50_393
            });
            most = most.max(fit.count());
        }
        most
    }

    #[test]
    fn no_read_of_the_reference_holds_150_frames() {
        let now = Instant::now();
        for lengths in [&[16][..], &[16, 16, 700], &[30, 1400, 16], &[16384, 16, 16, 16]] {
            let mut guard = BurstGuard::default();
            let mut sent = Vec::new();
            for &length in lengths.iter().cycle().take(2000) {
                sent.push(length);
                let mut padding_is_due = guard.note(now, length);
                while padding_is_due {
                    sent.push(PADDING_BYTES);
                    padding_is_due = guard.note(now, PADDING_BYTES);
                }
            }
            assert!(most_frames_in_a_read(&sent) < 150, "{lengths:?}");
        }
    }

    #[test]
    fn slow_typing_is_never_padded_while_the_other_end_is_heard() {
        let mut now = Instant::now();
        let mut guard = BurstGuard::default();
        for frame in 0..10_000 {
            assert!(!guard.note(now, 16));
            now += Duration::from_millis(100);
            if frame % 40 == 0 {
                guard.heard(now);
            }
        }
    }

    #[test]
    fn what_piles_up_on_a_hanging_link_is_padded() {
        let mut now = Instant::now();
        let mut guard = BurstGuard::default();
        guard.heard(now);
        let mut sent = Vec::new();
        for _ in 0..1000 {
            sent.push(16);
            if guard.note(now, 16) {
                sent.push(PADDING_BYTES);
                guard.note(now, PADDING_BYTES);
            }
            now += Duration::from_millis(100);
        }
        assert!(most_frames_in_a_read(&sent) < 150);
    }
}
