//! Finds out that nothing will come of a visitor while nobody reads what he
//! sent, because the agent takes no more of it, or because it is his next
//! request: the end of a connection is behind the bytes before it, but a reset
//! shows at once to who looks. And that he sends a part of a request and then
//! nothing.

use std::time::{Duration, Instant};

use async_io::Timer;

use crate::net::Connection;

/// How often is looked. A look is a call of the kernel, and who has gone holds
/// no more than a place and a descriptor.
const LOOK_TIME: Duration = Duration::from_secs(10);

/// How long nothing may move while the body of a request is not complete. It is
/// twice what web servers give a client, as the uplink behind the tunnel may be
/// a mobile one that stalls.
const STALL_TIME: Duration = Duration::from_secs(120);

/// Why nothing will come of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The connection is no longer one.
    Gone,
    /// He sent a part of a request.
    Stalled,
}

/// Waits until the visitor is lost; `unfinished` tells how many bytes have
/// passed while the body of a request is not complete, and `None` else.
pub(super) async fn until_lost(
    connection: &Connection,
    unfinished: impl Fn() -> Option<(u64, u64)>,
) -> Loss {
    let mut watch = StallWatch::default();
    loop {
        Timer::after(LOOK_TIME).await;
        // getpeername(2) fails with ENOTCONN after a reset.
        if connection.peer_addr().is_err() {
            return Loss::Gone;
        }
        if watch.is_stalled(Instant::now(), unfinished()) {
            return Loss::Stalled;
        }
    }
}

/// Since when nothing has moved.
#[derive(Default)]
struct StallWatch {
    last: Option<((u64, u64), Instant)>,
}

impl StallWatch {
    fn is_stalled(&mut self, now: Instant, unfinished: Option<(u64, u64)>) -> bool {
        match (unfinished, self.last) {
            (Some(bytes), Some((last, since))) if bytes == last => {
                now.saturating_duration_since(since) >= STALL_TIME
            }
            (bytes, _) => {
                self.last = bytes.map(|bytes| (bytes, now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stops_in_the_middle_of_a_body_is_stalled() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut watch = StallWatch::default();
        assert!(!watch.is_stalled(at(0), Some((10, 0))));
        assert!(!watch.is_stalled(at(119), Some((10, 0))));
        assert!(watch.is_stalled(at(120), Some((10, 0))));
    }

    #[test]
    fn a_slow_body_and_a_slow_answer_are_not_stalled() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut watch = StallWatch::default();
        for step in 0..50 {
            assert!(!watch.is_stalled(at(step * 100), Some((step, 0))));
        }
        for step in 0..50 {
            assert!(!watch.is_stalled(at(5000 + step * 100), Some((50, step))), "answered early");
        }
        // The service takes its time with the complete request.
        assert!(!watch.is_stalled(at(10_000), None));
        assert!(!watch.is_stalled(at(20_000), None));
        assert!(!watch.is_stalled(at(20_010), Some((60, 0))), "the next request");
    }
}
