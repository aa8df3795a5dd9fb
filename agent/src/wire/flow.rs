//! How much of a stream may be under way (`protocol.md` 8).
//!
//! The receiving end says from time to time how many kilobytes it has passed
//! on to its own socket (`SKB`); the sending end stops reading its socket when
//! more than a window of bytes is not yet covered by that. Every relay in use
//! says it; the reference sends without a window until it does, which a relay
//! pays for with memory.
//!
//! What is under way to a visitor who does not read lies in the relay's
//! memory, and the reference slows everybody down once it holds a megabyte for
//! all its visitors. So a stream begins with the reference's own small window;
//! as long as data is confirmed quickly and the window is what limits it, the
//! window doubles, out of a pool that all streams of the tunnel share; when
//! the confirmations become slow, what it got goes back.

use std::time::{Duration, Instant};

/// Window of a new stream, in bytes: three full frames, as the reference has
/// it.
pub const FIRST_WINDOW_BYTES: u64 = 48 * 1024;
/// What the windows of all streams of a tunnel may have beyond their first, in
/// bytes. Half of what the reference's relay holds before it slows down; good
/// for 5 MB/s at a round trip of 100 ms.
pub const WINDOW_POOL_BYTES: u64 = 512 * 1024;
/// Largest window of one stream, in bytes.
pub const LARGEST_WINDOW_BYTES: u64 = FIRST_WINDOW_BYTES + WINDOW_POOL_BYTES;
/// Room below this waits for more. Far below the window, so that what is under
/// way always brings more.
const SMALLEST_ROOM_BYTES: u64 = 4 * 1024;
/// Data that is confirmed within this time does not lie about, and neither
/// does data that takes up to twice the quickest confirmation so far: on some
/// mobile links that alone is seconds.
const QUICK: Duration = Duration::from_secs(1);
/// Round trip that is reckoned with before one was measured.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_secs(2);
/// Bytes that are passed on before the sender is told again. The reference
/// stops at 47 KB, which are three frames, and sends 16256 bytes in each: so it
/// is told of every frame. Told of every other one, it stops at each turn until
/// it looks again by itself, and sends 10 MB over loopback in 4 s in place of
/// 0.05 s (measured with 1.5.2).
pub const REPORT_BYTES: u64 = 8 * 1024;
/// Bytes that come before the sender is told the first time.
pub const FIRST_REPORT_BYTES: u64 = 4 * 1024;

/// What the windows of one tunnel share.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowPool {
    left: u64,
    quickest: Duration,
}

impl WindowPool {
    pub(super) fn new() -> Self {
        Self { left: WINDOW_POOL_BYTES, quickest: Duration::MAX }
    }

    /// About how long the other end takes to answer.
    pub(super) fn round_trip(&self) -> Duration {
        if self.quickest == Duration::MAX { UNKNOWN_ROUND_TRIP } else { self.quickest }
    }

    fn is_quick(&mut self, latency: Duration) -> bool {
        self.quickest = self.quickest.min(latency);
        latency <= QUICK.max(self.quickest.saturating_mul(2))
    }
}

/// The sender's account of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendWindow {
    sent: u64,
    delivered: u64,
    window: u64,
    /// A byte that was sent, until it is confirmed.
    watched: Option<Watched>,
    /// The window was full since then.
    was_full: bool,
    /// What the window has of the pool goes back as soon as it can.
    is_shrinking: bool,
}

/// A byte under way, at the end of a kilobyte.
#[derive(Clone, Copy, Debug)]
struct Watched {
    since: Instant,
    byte: u64,
    /// Number of the frame that it went in.
    frame: u64,
}

impl SendWindow {
    /// A new stream.
    pub(super) fn new() -> Self {
        Self {
            sent: 0,
            delivered: 0,
            window: FIRST_WINDOW_BYTES,
            watched: None,
            was_full: false,
            is_shrinking: false,
        }
    }

    /// Bytes that may be sent now. A sliver of the window counts as nothing:
    /// it would go in a tiny frame, and more is on its way back.
    pub(super) fn room(&self) -> u64 {
        let room = self.window.saturating_sub(self.under_way());
        if room < SMALLEST_ROOM_BYTES { 0 } else { room }
    }

    /// Notes that `bytes` were sent, in the frame of this number.
    pub(super) fn sent(&mut self, now: Instant, bytes: u64, frame: u64) {
        self.sent += bytes;
        self.was_full |= self.room() == 0;
        // What is reported is rounded down to a kilobyte.
        let byte = self.sent / 1024 * 1024;
        if self.watched.is_none() && byte > self.delivered {
            self.watched = Some(Watched { since: now, byte, frame });
        }
    }

    /// Takes the other end's word for what it has passed on, in kilobytes;
    /// lies are cut to what was sent. Returns the number of a frame that it has
    /// read, if that is news.
    pub(super) fn delivered(
        &mut self,
        now: Instant,
        kilobytes: u64,
        pool: &mut WindowPool,
    ) -> Option<u64> {
        let delivered = kilobytes.saturating_mul(1024).min(self.sent);
        self.delivered = self.delivered.max(delivered);
        let confirmed = self.watched.filter(|watched| self.delivered >= watched.byte);
        if let Some(Watched { since, .. }) = confirmed {
            self.watched = None;
            self.judge(now.saturating_duration_since(since), pool);
        }
        if self.is_shrinking {
            let window = self.window.min(self.under_way().max(FIRST_WINDOW_BYTES));
            pool.left += self.window - window;
            self.window = window;
            self.is_shrinking = window > FIRST_WINDOW_BYTES;
        }
        confirmed.map(|watched| watched.frame)
    }

    /// The other end wants less at a time.
    pub(super) fn slow_down(&mut self) {
        self.is_shrinking = true;
    }

    /// Gives back what the window has of the pool; the stream is over.
    pub(super) fn release(&mut self, pool: &mut WindowPool) {
        pool.left += self.window - FIRST_WINDOW_BYTES;
        self.window = FIRST_WINDOW_BYTES;
    }

    fn judge(&mut self, latency: Duration, pool: &mut WindowPool) {
        let was_full = std::mem::take(&mut self.was_full);
        if !pool.is_quick(latency) {
            self.is_shrinking = true;
        } else if was_full {
            self.is_shrinking = false;
            let growth = self.window.min(pool.left);
            self.window += growth;
            pool.left -= growth;
        }
    }

    fn under_way(&self) -> u64 {
        self.sent - self.delivered
    }
}

/// The receiver's account of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Receipts {
    received: u64,
    delivered: u64,
    /// What was last reported; `None` before the first report.
    reported: Option<u64>,
}

impl Receipts {
    /// Notes that `bytes` came.
    pub(super) fn received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// Notes that `bytes` were passed on.
    pub(super) fn delivered(&mut self, bytes: u64) {
        self.delivered += bytes;
    }

    /// Whether a report is due. Only the first one sets the reference's window
    /// to work, so it does not wait until something is passed on; but a small
    /// request needs none.
    pub(super) fn is_due(&self) -> bool {
        match self.reported {
            Some(reported) => self.delivered - reported >= REPORT_BYTES,
            None => self.received >= FIRST_REPORT_BYTES,
        }
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
        let (mut window, mut pool) = (SendWindow::new(), WindowPool::new());
        window.sent(now, FIRST_WINDOW_BYTES, 0);
        assert_eq!(window.room(), 0);
        window.delivered(now + Duration::from_secs(5), 16, &mut pool);
        assert_eq!(window.room(), 16 * 1024);
    }

    /// Sends whatever there is room for, each time confirmed after `latency`.
    fn run(window: &mut SendWindow, pool: &mut WindowPool, rounds: u32, latency: Duration) {
        let mut now = Instant::now();
        for _ in 0..rounds {
            window.sent(now, window.room(), 0);
            now += latency;
            window.delivered(now, window.sent / 1024, pool);
        }
    }

    #[test]
    fn a_quick_visitor_gets_a_larger_window_as_far_as_the_pool_goes() {
        let (mut first, mut second) = (SendWindow::new(), SendWindow::new());
        let mut pool = WindowPool::new();
        run(&mut first, &mut pool, 20, Duration::from_millis(100));
        assert_eq!(first.room(), LARGEST_WINDOW_BYTES);
        run(&mut second, &mut pool, 20, Duration::from_millis(100));
        assert_eq!(second.room(), FIRST_WINDOW_BYTES);
        first.release(&mut pool);
        run(&mut second, &mut pool, 20, Duration::from_millis(100));
        assert_eq!(second.room(), LARGEST_WINDOW_BYTES);
    }

    #[test]
    fn a_visitor_who_becomes_slow_gives_back_what_it_got() {
        let (mut window, mut pool) = (SendWindow::new(), WindowPool::new());
        run(&mut window, &mut pool, 20, Duration::from_millis(10));
        run(&mut window, &mut pool, 3, Duration::from_secs(10));
        assert_eq!(window.room(), FIRST_WINDOW_BYTES);
        assert_eq!(pool.left, WINDOW_POOL_BYTES);
    }

    #[test]
    fn a_slow_link_is_no_slow_visitor() {
        let (mut window, mut pool) = (SendWindow::new(), WindowPool::new());
        run(&mut window, &mut pool, 20, Duration::from_secs(3));
        assert_eq!(window.room(), LARGEST_WINDOW_BYTES);
    }

    #[test]
    fn a_service_with_little_to_say_needs_no_window() {
        let (mut window, mut pool) = (SendWindow::new(), WindowPool::new());
        let mut now = Instant::now();
        for _ in 0..100 {
            window.sent(now, 100, 0);
            now += Duration::from_millis(10);
            window.delivered(now, window.sent / 1024, &mut pool);
        }
        assert_eq!(pool.left, WINDOW_POOL_BYTES);
    }

    #[test]
    fn a_relay_that_confirms_more_than_was_sent_gains_nothing() {
        let now = Instant::now();
        let (mut window, mut pool) = (SendWindow::new(), WindowPool::new());
        window.sent(now, 1000, 0);
        window.delivered(now, u64::MAX, &mut pool);
        assert_eq!(window.room(), FIRST_WINDOW_BYTES);
        window.sent(now, FIRST_WINDOW_BYTES, 0);
        assert_eq!(window.room(), 0);
    }

    #[test]
    fn the_first_receipt_is_due_early_and_the_next_ones_with_each_frame_of_the_reference() {
        let mut receipts = Receipts::default();
        receipts.received(FIRST_REPORT_BYTES - 1);
        assert!(!receipts.is_due(), "a small request needs none");
        receipts.received(1);
        assert!(receipts.is_due(), "even if nothing is passed on");
        assert_eq!(receipts.report(), 0);
        receipts.received(REPORT_BYTES);
        receipts.delivered(REPORT_BYTES - 1);
        assert!(!receipts.is_due());
        receipts.delivered(1);
        assert!(receipts.is_due());
        assert_eq!(receipts.report(), REPORT_BYTES / 1024);
        receipts.delivered(16256);
        assert!(receipts.is_due());
    }
}
