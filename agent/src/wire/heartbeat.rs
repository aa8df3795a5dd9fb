//! Notices that a tunnel is dead although nothing says so, at either end.
//!
//! Silence is broken by a PING, and a PING that is not answered ends the
//! tunnel. While streams are open, somebody waits for them: then silence is
//! short and the patience is what a link that stumbles needs. A relay that
//! would die of a PING (`protocol.md` 18) gets a frame that asks for nothing;
//! then a dead path is noticed by the kernel, which gets no acknowledgement for
//! it, and a relay that hangs while its kernel lives is not noticed.

use std::time::{Duration, Instant};

use super::session::SignOfLife;

/// Time that the other end of an idle tunnel has to answer a PING, beside
/// [`ROUND_TRIPS`]; any byte counts as an answer.
pub const IDLE_ANSWER_TIME: Duration = Duration::from_secs(9);
/// The same while streams are open. To give up loses them, so it is longer;
/// with [`BUSY_SILENCE`] a dead tunnel is noticed within 25 seconds.
pub const BUSY_ANSWER_TIME: Duration = Duration::from_secs(15);
/// Round trips that are allowed on top: the kernel's own repetitions on a link
/// that takes seconds for each and loses some.
pub const ROUND_TRIPS: u32 = 8;
/// Longest round trip that patience is had with.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(5);
/// Least silence before a sign of life while streams are open.
pub const BUSY_SILENCE: Duration = Duration::from_secs(8);
/// The same where the kernel alone notices, whose patience is longer.
const UNANSWERED_BUSY_SILENCE: Duration = Duration::from_secs(5);
/// Silence while streams are open, as a part of `keepalive`: who pays for each
/// byte and asks for a long one does not want a PING each eight seconds.
const BUSY_PART: u32 = 10;
/// A PING is repeated while its answer is out. The kernel repeats a lost one
/// after ever longer pauses, unless something newer gets through.
const REPEAT_AFTER: Duration = Duration::from_secs(4);

/// Watches over one tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    keepalive: Duration,
    may_ping: bool,
    /// The last byte from the other end, or the last sign of life to one that
    /// must not be pinged.
    quiet_since: Instant,
    asked: Option<Asked>,
    /// Running average.
    round_trip: Duration,
}

/// A PING that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    again_at: Instant,
    until: Instant,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Send this and ask again.
    Send(SignOfLife),
    /// Ask again at this time, if nothing happens before.
    Wait(Instant),
    /// The other end does not answer.
    Dead,
}

impl Heartbeat {
    /// A tunnel that has just begun. After `keepalive` of silence the other end is
    /// asked for an answer, if `may_ping`.
    pub fn new(now: Instant, keepalive: Duration, may_ping: bool) -> Self {
        let round_trip = Duration::ZERO;
        Self { keepalive, may_ping, quiet_since: now, asked: None, round_trip }
    }

    /// Notes that bytes came from the other end.
    pub fn received(&mut self, now: Instant) {
        self.quiet_since = now;
        if let Some(asked) = self.asked.take() {
            let sample = now.saturating_duration_since(asked.at).min(MAX_ROUND_TRIP);
            self.round_trip = match self.round_trip {
                Duration::ZERO => sample,
                average => (average * 7 + sample) / 8,
            };
        }
    }

    /// The path may have changed: asks for an answer at the next beat, whatever
    /// came lately.
    pub fn doubt(&mut self, now: Instant) {
        let silence = self.keepalive.max(BUSY_SILENCE);
        self.quiet_since = now.checked_sub(silence).unwrap_or(now);
    }

    /// What to do now; `has_streams` while any is open.
    pub fn beat(&mut self, now: Instant, has_streams: bool) -> Beat {
        if let Some(asked) = &mut self.asked {
            if now >= asked.until {
                return Beat::Dead;
            }
            if now < asked.again_at {
                return Beat::Wait(asked.again_at.min(asked.until));
            }
            asked.again_at = now + REPEAT_AFTER;
            return Beat::Send(SignOfLife::Ping);
        }
        let due = self.quiet_since + self.silence(has_streams);
        if now < due {
            return Beat::Wait(due);
        }
        if !self.may_ping {
            self.quiet_since = now;
            return Beat::Send(SignOfLife::Noop);
        }
        let answer_time = if has_streams { BUSY_ANSWER_TIME } else { IDLE_ANSWER_TIME };
        let until = now + answer_time + self.round_trip * ROUND_TRIPS;
        self.asked = Some(Asked { at: now, again_at: now + REPEAT_AFTER, until });
        Beat::Send(SignOfLife::Ping)
    }

    /// How long the other end may be silent before it is asked.
    fn silence(&self, has_streams: bool) -> Duration {
        if !has_streams {
            return self.keepalive;
        }
        let part = self.keepalive / BUSY_PART;
        let least = if self.may_ping { BUSY_SILENCE } else { UNANSWERED_BUSY_SILENCE };
        let silence = if part > BUSY_SILENCE { part } else { least };
        silence.min(self.keepalive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVE: Duration = Duration::from_secs(80);
    const SECOND: Duration = Duration::from_secs(1);

    fn ping_at(heartbeat: &mut Heartbeat, now: Instant, has_streams: bool) {
        assert_eq!(heartbeat.beat(now, has_streams), Beat::Send(SignOfLife::Ping));
    }

    /// Beats until the tunnel is given up; returns when.
    fn dies_at(heartbeat: &mut Heartbeat, mut now: Instant, has_streams: bool) -> Instant {
        loop {
            match heartbeat.beat(now, has_streams) {
                Beat::Dead => return now,
                Beat::Wait(until) => now = until,
                Beat::Send(_) => {}
            }
        }
    }

    #[test]
    fn a_silent_relay_is_asked_and_then_given_up() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, KEEPALIVE, true);
        let due = start + KEEPALIVE;
        assert_eq!(heartbeat.beat(start, false), Beat::Wait(due));
        ping_at(&mut heartbeat, due, false);
        assert_eq!(dies_at(&mut heartbeat, due, false), due + IDLE_ANSWER_TIME);
    }

    #[test]
    fn with_streams_a_dead_tunnel_is_noticed_within_25_seconds() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, KEEPALIVE, true);
        let noticed = dies_at(&mut heartbeat, start, true) - start;
        assert!(noticed > BUSY_ANSWER_TIME && noticed <= 25 * SECOND, "{noticed:?}");
    }

    #[test]
    fn a_link_of_long_round_trips_is_given_time() {
        let mut now = Instant::now();
        let mut heartbeat = Heartbeat::new(now, KEEPALIVE, true);
        for _ in 0..20 {
            now += KEEPALIVE;
            ping_at(&mut heartbeat, now, false);
            now += 2 * SECOND;
            heartbeat.received(now);
        }
        let noticed = dies_at(&mut heartbeat, now, true) - now;
        assert!(noticed >= 30 * SECOND && noticed <= 45 * SECOND, "{noticed:?}");
    }

    #[test]
    fn a_ping_is_repeated_while_its_answer_is_out() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, KEEPALIVE, true);
        let due = start + KEEPALIVE;
        ping_at(&mut heartbeat, due, false);
        assert_eq!(heartbeat.beat(due, false), Beat::Wait(due + REPEAT_AFTER));
        ping_at(&mut heartbeat, due + REPEAT_AFTER, false);
        heartbeat.received(due + 2 * REPEAT_AFTER);
        let next = due + 2 * REPEAT_AFTER + KEEPALIVE;
        assert_eq!(heartbeat.beat(due + 2 * REPEAT_AFTER, false), Beat::Wait(next));
    }

    #[test]
    fn any_byte_is_an_answer() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, KEEPALIVE, true);
        let due = start + KEEPALIVE;
        ping_at(&mut heartbeat, due, false);
        heartbeat.received(due);
        let later = due + IDLE_ANSWER_TIME;
        assert_eq!(heartbeat.beat(later, false), Beat::Wait(due + KEEPALIVE));
    }

    #[test]
    fn a_doubt_is_asked_about_at_once() {
        let start = Instant::now() + KEEPALIVE;
        for has_streams in [false, true] {
            let mut heartbeat = Heartbeat::new(start, KEEPALIVE, true);
            heartbeat.doubt(start + SECOND);
            ping_at(&mut heartbeat, start + SECOND, has_streams);
        }
    }

    #[test]
    fn a_metered_device_is_asked_rarely_even_with_streams() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, Duration::from_secs(600), true);
        assert_eq!(heartbeat.beat(start, true), Beat::Wait(start + 60 * SECOND));
        assert_eq!(heartbeat.beat(start, false), Beat::Wait(start + 600 * SECOND));
    }

    #[test]
    fn a_relay_that_dies_of_pings_gets_none() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, KEEPALIVE, false);
        let mut now = start;
        for _ in 0..10 {
            now += KEEPALIVE;
            assert_eq!(heartbeat.beat(now, false), Beat::Send(SignOfLife::Noop));
            assert_eq!(heartbeat.beat(now, false), Beat::Wait(now + KEEPALIVE));
        }
        let busy = Beat::Wait(now + UNANSWERED_BUSY_SILENCE);
        assert_eq!(heartbeat.beat(now, true), busy);
    }
}
