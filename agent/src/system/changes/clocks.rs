//! Whether the clock was set and whether the machine slept. The kernel says
//! both by one timer: `TFD_TIMER_CANCEL_ON_SET` (timerfd_create(2)) ends its
//! wait when the clock is set and when the machine resumes, without a single
//! wake-up before. Three clocks then tell what it was.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use async_io::Async;
use log::debug;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Differences that count. NTP corrects smaller ones all the time.
const NOTABLE: Duration = Duration::from_secs(1);
/// When the timer goes off if nothing happens: the last second of 32 bits,
/// which every kernel takes, and ten years hence after that.
const LAST_SECOND: i64 = i32::MAX as i64;
const TEN_YEARS: i64 = 10 * 365 * 86_400;

/// What the clocks say, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    /// Time of day since 1970.
    real: i128,
    /// Time since the start, with sleep.
    boot: i128,
    /// Time since the start, without sleep.
    monotonic: i128,
}

impl Reading {
    fn now() -> Self {
        let read = |clock| {
            let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
            i128::from(tv_sec) * 1_000_000_000 + i128::from(tv_nsec)
        };
        Self {
            real: read(ClockId::Realtime),
            boot: read(ClockId::Boottime),
            monotonic: read(ClockId::Monotonic),
        }
    }

    /// What happened until `later`.
    fn until(&self, later: &Self) -> Happened {
        let notable = i128::try_from(NOTABLE.as_nanos()).unwrap_or(i128::MAX);
        let slept = (later.boot - later.monotonic) - (self.boot - self.monotonic);
        let stepped = (later.real - later.boot) - (self.real - self.boot);
        Happened { resumed: slept > notable, set: stepped.abs() > notable }
    }
}

/// What the clocks tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Happened {
    /// The machine slept.
    pub(super) resumed: bool,
    /// The time of day was set.
    pub(super) set: bool,
}

/// The clocks as they were last seen.
#[derive(Debug)]
pub(super) struct Clocks {
    timer: Option<Async<OwnedFd>>,
    seen: Reading,
}

impl Clocks {
    pub(super) fn watch() -> Self {
        let timer = timer().inspect_err(|error| debug!("no timerfd: {error}")).ok();
        Self { timer, seen: Reading::now() }
    }

    /// What wakes when it is time to look.
    pub(super) fn timer(&self) -> Option<&Async<OwnedFd>> {
        self.timer.as_ref()
    }

    /// Waits for the next event of the timer, after this one.
    pub(super) fn rearm(&mut self) {
        // Setting it again forgets what it had to tell. A timer that cannot be
        // set would wake forever.
        if self.timer.as_ref().is_some_and(|timer| arm(timer.get_ref()).is_err()) {
            self.timer = None;
        }
    }

    /// What happened since the last look.
    pub(super) fn look(&mut self) -> Happened {
        let now = Reading::now();
        std::mem::replace(&mut self.seen, now).until(&now)
    }
}

fn timer() -> io::Result<Async<OwnedFd>> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
    arm(&timer)?;
    Async::new(timer)
}

fn arm(timer: &OwnedFd) -> io::Result<()> {
    let now = clock_gettime(ClockId::Realtime).tv_sec;
    let tv_sec = if now < LAST_SECOND { LAST_SECOND } else { now.saturating_add(TEN_YEARS) };
    let never = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec { tv_sec, tv_nsec: 0 },
    };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    match timerfd_settime(timer, flags, &never) {
        // The clock was set since the last time, and the timer is set as well
        // (fs/timerfd.c).
        Ok(_) | Err(rustix::io::Errno::CANCELED) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i128 = 1_000_000_000;
    const START: Reading =
        Reading { real: 1_800_000_000 * SECOND, boot: 500 * SECOND, monotonic: 400 * SECOND };

    #[test]
    fn the_timer_of_a_quiet_machine_does_not_wake_it() {
        let mut clocks = Clocks::watch();
        clocks.rearm();
        let timer = clocks.timer().expect("Linux has it");
        let read = rustix::io::read(timer.get_ref(), &mut [0; 8]);
        assert_eq!(read, Err(rustix::io::Errno::AGAIN));
    }

    #[test]
    fn time_that_passes_is_nothing() {
        let later = Reading {
            real: START.real + 90 * SECOND + SECOND / 2,
            boot: START.boot + 90 * SECOND,
            monotonic: START.monotonic + 90 * SECOND,
        };
        assert_eq!(START.until(&later), Happened::default());
    }

    #[test]
    fn sleep_is_no_set_clock() {
        let later = Reading {
            real: START.real + 3600 * SECOND,
            boot: START.boot + 3600 * SECOND,
            monotonic: START.monotonic + 2 * SECOND,
        };
        assert_eq!(START.until(&later), Happened { resumed: true, set: false });
    }

    #[test]
    fn a_step_in_either_direction_is_a_set_clock() {
        for step in [-86_400, -2, 2, 800_000_000] {
            let later = Reading { real: START.real + step * SECOND, ..START };
            assert_eq!(START.until(&later), Happened { resumed: false, set: true });
        }
    }
}
