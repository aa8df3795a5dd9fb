//! Notices that a tunnel is dead although nothing says so, at either end.
//!
//! Silence is broken by a PING, and a PING that is not answered ends the
//! tunnel. A relay that would die of a PING (`protocol.md` 18) gets a frame
//! that asks for nothing; then a dead path is noticed by the kernel, which
//! gets no acknowledgement for it, and a relay that hangs while its kernel
//! lives is not noticed.

use std::time::{Duration, Instant};

use super::session::SignOfLife;

/// Time that the other end has to answer a PING; any byte counts as an answer.
pub const ANSWER_TIME: Duration = Duration::from_secs(25);

/// Watches over one tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat {
    keepalive: Duration,
    may_ping: bool,
    /// The last byte from the other end, or the last sign of life to one that
    /// must not be pinged.
    quiet_since: Instant,
    asked_at: Option<Instant>,
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
        Self { keepalive, may_ping, quiet_since: now, asked_at: None }
    }

    /// Notes that bytes came from the other end.
    pub fn received(&mut self, now: Instant) {
        self.quiet_since = now;
        self.asked_at = None;
    }

    /// What to do now.
    pub fn beat(&mut self, now: Instant) -> Beat {
        if let Some(asked_at) = self.asked_at {
            let end = asked_at + ANSWER_TIME;
            return if now >= end { Beat::Dead } else { Beat::Wait(end) };
        }
        let due = self.quiet_since + self.keepalive;
        if now < due {
            return Beat::Wait(due);
        }
        if self.may_ping {
            self.asked_at = Some(now);
            Beat::Send(SignOfLife::Ping)
        } else {
            self.quiet_since = now;
            Beat::Send(SignOfLife::Noop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVE: Duration = Duration::from_secs(80);

    #[test]
    fn a_silent_relay_is_asked_and_then_given_up() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, KEEPALIVE, true);
        let due = start + KEEPALIVE;
        assert_eq!(heartbeat.beat(start), Beat::Wait(due));
        assert_eq!(heartbeat.beat(due), Beat::Send(SignOfLife::Ping));
        assert_eq!(heartbeat.beat(due), Beat::Wait(due + ANSWER_TIME));
        assert_eq!(heartbeat.beat(due + ANSWER_TIME), Beat::Dead);
    }

    #[test]
    fn any_byte_is_an_answer() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, KEEPALIVE, true);
        let due = start + KEEPALIVE;
        assert_eq!(heartbeat.beat(due), Beat::Send(SignOfLife::Ping));
        heartbeat.received(due);
        assert_eq!(heartbeat.beat(due + ANSWER_TIME), Beat::Wait(due + KEEPALIVE));
    }

    #[test]
    fn a_relay_that_dies_of_pings_gets_none() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, KEEPALIVE, false);
        let mut now = start;
        for _ in 0..10 {
            now += KEEPALIVE;
            assert_eq!(heartbeat.beat(now), Beat::Send(SignOfLife::Noop));
            assert_eq!(heartbeat.beat(now), Beat::Wait(now + KEEPALIVE));
        }
    }
}
