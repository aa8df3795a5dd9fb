//! Keeps bursts of tiny frames within what the reference can take: it reads up
//! to 50,393 bytes at once and drops the tunnel when more than 150 frames are
//! in them (`protocol.md` 5).
//!
//! Each frame is charged as if it were [`CHARGE_BYTES`] long, and long frames
//! pay for themselves and others. The debt of a frame is forgiven once the
//! other end was heard long enough after it was sent to have read it; while
//! the link hangs, nothing is. Before the debt would allow 150 frames in one
//! read, a padding frame is due.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What a frame has to bring or is in debt for. With at most
/// [`DEBT_FRAMES`] such debts, 50,393 bytes hold at most
/// 50,393 / 500 + 49 = 149 frames. A smaller charge would cost fewer padding
/// bytes and leave fewer frames free of them.
const CHARGE_BYTES: u64 = 500;
const DEBT_FRAMES: u64 = 49;
const LARGEST_DEBT: u64 = CHARGE_BYTES * DEBT_FRAMES;
/// Debts of frames that were sent within this time are one entry.
const SLOT: Duration = Duration::from_millis(100);
/// Entries that are kept; older ones are joined.
const MAX_SLOTS: usize = 16;
/// Time in which a living reference comes round to reading a tunnel. It serves
/// all its sockets in turn.
const READING_TIME: Duration = Duration::from_secs(1);
/// Length of a padding frame: long, since each one is charged as well, but no
/// longer than a quarter of a data frame, since data waits behind it.
pub(super) const PADDING_BYTES: usize = 4096;

/// The account of one direction of a tunnel.
#[derive(Clone, Debug, Default)]
pub(super) struct BurstGuard {
    /// When frames began to be sent, and what they still owe; oldest first.
    slots: VecDeque<(Instant, u64)>,
    debt: u64,
}

impl BurstGuard {
    /// Notes that bytes came from the other end. What it says now can be as
    /// old as `round_trip`.
    pub(super) fn heard(&mut self, now: Instant, round_trip: Duration) {
        let grace = READING_TIME.saturating_add(round_trip);
        while let Some(&(start, owed)) = self.slots.front() {
            if now.saturating_duration_since(start) < grace.saturating_add(SLOT) {
                break;
            }
            self.debt -= owed;
            self.slots.pop_front();
        }
    }

    /// Notes a frame of `bytes` on the wire.
    pub(super) fn note(&mut self, now: Instant, bytes: usize) {
        let slot_is_new = self
            .slots
            .back()
            .is_none_or(|&(start, _)| now.saturating_duration_since(start) >= SLOT);
        if slot_is_new {
            self.slots.push_back((now, 0));
        }
        if self.slots.len() > MAX_SLOTS {
            if let Some((_, owed)) = self.slots.pop_front() {
                if let Some((_, next)) = self.slots.front_mut() {
                    *next += owed;
                }
            }
        }
        if let Some((_, newest)) = self.slots.back_mut() {
            *newest += CHARGE_BYTES;
            self.debt += CHARGE_BYTES;
        }
        // The oldest debts are paid first, so that what is left of a burst is
        // never less than it owes by itself.
        let mut payment = bytes as u64;
        for (_, owed) in &mut self.slots {
            let paid = payment.min(*owed);
            *owed -= paid;
            payment -= paid;
            self.debt -= paid;
        }
    }

    /// Whether a padding frame has to come before the next frame.
    pub(super) fn needs_padding(&self) -> bool {
        self.debt + CHARGE_BYTES > LARGEST_DEBT
    }

    /// Whether small frames had better wait a little to become larger ones.
    pub(super) fn is_strained(&self) -> bool {
        self.debt > LARGEST_DEBT / 2
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
        for lengths in [&[16][..], &[16, 16, 700], &[30, 4096, 16], &[16384, 16, 16, 16]] {
            let mut guard = BurstGuard::default();
            let mut sent = Vec::new();
            for &length in lengths.iter().cycle().take(2000) {
                sent.push(length);
                guard.note(now, length);
                while guard.needs_padding() {
                    sent.push(PADDING_BYTES);
                    guard.note(now, PADDING_BYTES);
                }
            }
            assert!(most_frames_in_a_read(&sent) < 150, "{lengths:?}");
        }
    }

    #[test]
    fn typing_is_never_padded_while_the_other_end_is_heard() {
        let mut now = Instant::now();
        let mut guard = BurstGuard::default();
        for _ in 0..10_000 {
            guard.note(now, 16);
            assert!(!guard.needs_padding());
            now += Duration::from_millis(33);
            guard.heard(now, Duration::from_millis(100));
        }
    }

    #[test]
    fn what_piles_up_on_a_hanging_link_is_padded() {
        let mut now = Instant::now();
        let mut guard = BurstGuard::default();
        guard.heard(now, Duration::ZERO);
        let mut sent = Vec::new();
        for _ in 0..1000 {
            sent.push(16);
            guard.note(now, 16);
            if guard.needs_padding() {
                sent.push(PADDING_BYTES);
                guard.note(now, PADDING_BYTES);
            }
            now += Duration::from_millis(100);
        }
        assert!(most_frames_in_a_read(&sent) < 150);
    }
}
