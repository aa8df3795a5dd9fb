//! Keeps bursts of tiny frames within what the reference can take: it reads up
//! to 50,393 bytes at once and drops the tunnel when more than 150 frames are
//! in them (`protocol.md` 5).
//!
//! Each frame is charged as if it were [`CHARGE_BYTES`] long, and long frames
//! pay for themselves and others. The debt of a frame is forgiven when the
//! other end is known to have read it: it confirms each kilobyte of a stream
//! (`protocol.md` 8), or it was heard long after the frame was sent. While the
//! link hangs, nothing is forgiven. Before the debt would allow 150 frames in
//! one read, a padding frame is due.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What a frame has to bring or is in debt for. With at most
/// [`DEBT_FRAMES`] such debts, 50,393 bytes hold at most
/// 50,393 / 500 + 49 = 149 frames. A smaller charge would cost fewer padding
/// bytes and leave fewer frames free of them.
const CHARGE_BYTES: u64 = 500;
const DEBT_FRAMES: u64 = 49;
const LARGEST_DEBT: u64 = CHARGE_BYTES * DEBT_FRAMES;
/// Debts of frames that were sent within this time are one entry, up to this
/// number of frames.
const SLOT: Duration = Duration::from_millis(100);
const SLOT_FRAMES: u64 = 4;
/// Entries that are kept; older ones are joined.
const MAX_SLOTS: usize = 32;
/// Time in which a living reference comes round to reading a tunnel. It serves
/// all its sockets in turn.
const READING_TIME: Duration = Duration::from_secs(1);
/// Length of a padding frame: long, since each one is charged as well, but no
/// longer than a quarter of a data frame, since data waits behind it.
pub(super) const PADDING_BYTES: usize = 4096;

/// The account of one direction of a tunnel.
#[derive(Clone, Debug, Default)]
pub(super) struct BurstGuard {
    /// Oldest first.
    slots: VecDeque<Slot>,
    debt: u64,
    /// Frames sent so far.
    frames: u64,
}

/// Some frames in a row.
#[derive(Clone, Copy, Debug)]
struct Slot {
    start: Instant,
    /// Number of the first frame.
    first: u64,
    /// What these frames still owe.
    owed: u64,
}

impl BurstGuard {
    /// Notes that bytes came from the other end. What it says now can be as
    /// old as `round_trip`.
    pub(super) fn heard(&mut self, now: Instant, round_trip: Duration) {
        let grace = READING_TIME.saturating_add(round_trip).saturating_add(SLOT);
        while let Some(&Slot { start, owed, .. }) = self.slots.front() {
            if now.saturating_duration_since(start) < grace {
                break;
            }
            self.debt -= owed;
            self.slots.pop_front();
        }
    }

    /// Notes that the other end has read the frame of this number, and so all
    /// before it.
    pub(super) fn was_read(&mut self, frame: u64) {
        while let [Slot { owed, .. }, Slot { first, .. }, ..] = *self.slots.make_contiguous() {
            if first > frame + 1 {
                return;
            }
            self.debt -= owed;
            self.slots.pop_front();
        }
        // The last one may not be complete.
        if frame + 1 == self.frames {
            self.slots.clear();
            self.debt = 0;
        }
    }

    /// Number of the next frame.
    pub(super) fn next_frame(&self) -> u64 {
        self.frames
    }

    /// Notes a frame of `bytes` on the wire.
    pub(super) fn note(&mut self, now: Instant, bytes: usize) {
        let is_full = |slot: &Slot| {
            now.saturating_duration_since(slot.start) >= SLOT
                || self.frames - slot.first >= SLOT_FRAMES
        };
        if self.slots.back().is_none_or(is_full) {
            self.slots.push_back(Slot { start: now, first: self.frames, owed: 0 });
        }
        if self.slots.len() > MAX_SLOTS {
            if let Some(joined) = self.slots.pop_front() {
                if let Some(next) = self.slots.front_mut() {
                    next.owed += joined.owed;
                }
            }
        }
        self.frames += 1;
        if let Some(newest) = self.slots.back_mut() {
            newest.owed += CHARGE_BYTES;
            self.debt += CHARGE_BYTES;
        }
        // The oldest debts are paid first, so that what is left of a burst is
        // never less than it owes by itself.
        let mut payment = bytes as u64;
        for slot in &mut self.slots {
            let paid = payment.min(slot.owed);
            slot.owed -= paid;
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
        self.debt > LARGEST_DEBT / 4 * 3
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

    #[test]
    fn frames_that_are_confirmed_owe_nothing() {
        let now = Instant::now();
        let mut guard = BurstGuard::default();
        for _ in 0..10_000 {
            let frame = guard.next_frame();
            guard.note(now, 16);
            guard.note(now, 16);
            assert!(!guard.needs_padding() && !guard.is_strained());
            guard.was_read(frame);
        }
    }

    #[test]
    fn what_follows_a_confirmed_frame_is_still_owed() {
        let now = Instant::now();
        let mut guard = BurstGuard::default();
        let mut sent = Vec::new();
        for round in 0..1000_u64 {
            guard.note(now, 16);
            sent.push(16);
            // The first frames are confirmed late, the others never.
            guard.was_read(round.min(20));
            while guard.needs_padding() {
                sent.push(PADDING_BYTES);
                guard.note(now, PADDING_BYTES);
            }
        }
        assert!(most_frames_in_a_read(&sent[21..]) < 150);
    }
}
