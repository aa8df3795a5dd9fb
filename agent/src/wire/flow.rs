//! How much of a stream may be under way (`protocol.md` 8).
//!
//! The receiving end says from time to time how many kilobytes it has passed
//! on to its own socket (`SKB`); the sending end stops reading its socket when
//! more than a window of bytes is not yet covered by that. The window follows
//! the visitor: it starts at what small relays are known to take and doubles
//! as long as whole windows pass within a second, so that about a second of
//! data waits at the relay, be the visitor on a fibre or on a modem.

use std::time::{Duration, Instant};

/// Window of a new stream, in bytes. libpagekite has used it for years.
pub const FIRST_WINDOW_BYTES: u64 = 128 * 1024;
/// Largest window, in bytes: 100 MB/s at a round trip of 10 ms.
pub const LARGEST_WINDOW_BYTES: u64 = 1024 * 1024;
/// Room below this waits for more. Far below the window, so that what is under
/// way always brings more.
const SMALLEST_ROOM_BYTES: u64 = 4 * 1024;
/// A window that passes within this time is too small.
const FAST_WINDOW: Duration = Duration::from_secs(1);
/// Bytes that are passed on before the sender is told again. The reference
/// stops at 47 KB, so half a window is left on the way.
pub const REPORT_BYTES: u64 = 16 * 1024;

/// The sender's account of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendWindow {
    sent: u64,
    delivered: u64,
    window: u64,
    /// When the measured window began, and the byte it ends with.
    measured: Option<(Instant, u64)>,
}

impl SendWindow {
    /// A new stream.
    pub(super) fn new() -> Self {
        Self { sent: 0, delivered: 0, window: FIRST_WINDOW_BYTES, measured: None }
    }

    /// Bytes that may be sent now. A sliver of the window counts as nothing:
    /// it would go in a tiny frame, and more is on its way back.
    pub(super) fn room(&self) -> u64 {
        let room = self.window.saturating_sub(self.sent - self.delivered);
        if room < SMALLEST_ROOM_BYTES { 0 } else { room }
    }

    /// Notes that `bytes` were sent.
    pub(super) fn sent(&mut self, now: Instant, bytes: u64) {
        self.sent += bytes;
        if self.measured.is_none() {
            self.measured = Some((now, self.sent - bytes + self.window));
        }
    }

    /// Takes the other end's word for what it has passed on, in kilobytes;
    /// lies are cut to what was sent.
    pub(super) fn delivered(&mut self, now: Instant, kilobytes: u64) {
        // What is reported is rounded down, so the last part of a kilobyte is
        // never confirmed; the window is large enough for that.
        let delivered = kilobytes.saturating_mul(1024).min(self.sent);
        self.delivered = self.delivered.max(delivered);
        if let Some((start, end)) = self.measured {
            if self.delivered >= end {
                if now.saturating_duration_since(start) < FAST_WINDOW {
                    self.window = (self.window * 2).min(LARGEST_WINDOW_BYTES);
                }
                self.measured = None;
            }
        }
    }
}

impl Default for SendWindow {
    fn default() -> Self {
        Self::new()
    }
}

/// The receiver's account of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Receipts {
    delivered: u64,
    /// What was last reported; `None` before the first report.
    reported: Option<u64>,
}

impl Receipts {
    /// Notes that `bytes` were passed on.
    pub(super) fn delivered(&mut self, bytes: u64) {
        self.delivered += bytes;
    }

    /// Whether a report is due. The first one is due at once: only it sets the
    /// reference's window to work.
    pub(super) fn is_due(&self) -> bool {
        self.reported.is_none_or(|reported| self.delivered - reported >= REPORT_BYTES)
    }

    /// Makes the report: kilobytes passed on so far, rounded down.
    pub(super) fn report(&mut self) -> u64 {
        let kilobytes = self.delivered / 1024;
        self.reported = Some(kilobytes * 1024);
        kilobytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_stops_at_the_window_and_goes_on_with_the_receipts() {
        let now = Instant::now();
        let mut window = SendWindow::new();
        window.sent(now, FIRST_WINDOW_BYTES);
        assert_eq!(window.room(), 0);
        window.delivered(now + Duration::from_secs(5), 16);
        assert_eq!(window.room(), 16 * 1024);
    }

    #[test]
    fn a_fast_visitor_gets_a_larger_window_up_to_the_bound() {
        let mut now = Instant::now();
        let mut window = SendWindow::new();
        let mut total = 0;
        for _ in 0..20 {
            let room = window.room();
            window.sent(now, room);
            total += room;
            now += Duration::from_millis(100);
            window.delivered(now, total / 1024);
        }
        assert_eq!(window.room(), LARGEST_WINDOW_BYTES);
    }

    #[test]
    fn a_slow_visitor_keeps_the_first_window() {
        let mut now = Instant::now();
        let mut window = SendWindow::new();
        let mut total = 0;
        for _ in 0..20 {
            let room = window.room();
            window.sent(now, room);
            total += room;
            now += Duration::from_secs(10);
            window.delivered(now, total / 1024);
        }
        assert_eq!(window.room(), FIRST_WINDOW_BYTES);
    }

    #[test]
    fn a_relay_that_confirms_more_than_was_sent_gains_nothing() {
        let now = Instant::now();
        let mut window = SendWindow::new();
        window.sent(now, 1000);
        window.delivered(now, u64::MAX);
        assert_eq!(window.room(), FIRST_WINDOW_BYTES);
        window.sent(now, FIRST_WINDOW_BYTES);
        assert_eq!(window.room(), 0);
    }

    #[test]
    fn the_first_receipt_is_due_at_once_and_the_next_after_sixteen_kilobytes() {
        let mut receipts = Receipts::default();
        assert!(receipts.is_due());
        assert_eq!(receipts.report(), 0);
        receipts.delivered(REPORT_BYTES - 1);
        assert!(!receipts.is_due());
        receipts.delivered(1);
        assert!(receipts.is_due());
        assert_eq!(receipts.report(), 16);
    }
}
