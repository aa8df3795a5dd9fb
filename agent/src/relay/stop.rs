//! The end of a relay that does not hurt: agents are sent elsewhere one after
//! the other, each when its visitors are done, and none later than a limit.

use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use log::info;
use smol::future;

use super::shared::Relay;
use super::tunnels::TunnelId;

/// Part of the time for a stop in which tunnels are closed one after the
/// other, in hundredths: all agents coming to another relay in the same second
/// would be too much for it. The rest is for visitors who are not done.
const STAGGERED_PERCENT: u32 = 60;

/// Time to reset the connections of visitors who are not done at the limit: an
/// end that looks like one would make them take half a file for the whole.
const RESET_TIME: Duration = Duration::from_secs(1);

/// How often to look whether all tunnels have ended by themselves.
const LOOK_TIME: Duration = Duration::from_millis(100);

/// When each of `count` tunnels may be closed, from the begin of a stop that
/// may take `limit`.
fn turns(count: usize, limit: Duration) -> impl Iterator<Item = Duration> {
    let span = limit * STAGGERED_PERCENT / 100;
    let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
    (0..count).map(move |turn| span / count * turn)
}

/// Closes all tunnels; ends when that is done, or at the limit.
pub(super) async fn stop(relay: &Rc<Relay>) {
    relay.begin_to_stop();
    let limit = Duration::from_secs(relay.active().settings.stop_seconds.into());
    let began = Instant::now();
    let ids: Vec<TunnelId> = relay.tunnels.borrow().keys().copied().collect();
    let visitors: usize = relay.tunnels.borrow().values().map(|agent| agent.streams.get()).sum();
    info!("stops: {} tunnels and {visitors} streams have {limit:?} to end", ids.len());
    let leaving: Vec<_> = ids
        .iter()
        .zip(turns(ids.len(), limit))
        .map(|(&id, turn)| {
            let relay = Rc::clone(relay);
            relay.clone().executor.spawn(async move {
                Timer::at(began + turn).await;
                let Some(agent) = relay.tunnel(id) else { return };
                while agent.streams.get() > 0 {
                    agent.idle.wait().await;
                }
                relay.close_tunnel(id, "this relay stops");
            })
        })
        .collect();
    let all = async {
        for task in leaving {
            task.await;
        }
    };
    // Agents may leave by themselves before their turn.
    let all = future::or(all, async {
        while !relay.tunnels.borrow().is_empty() {
            Timer::after(LOOK_TIME).await;
        }
    });
    let timeout = async {
        Timer::at(began + limit).await;
    };
    future::or(all, timeout).await;
    let left: Vec<_> = relay.tunnels.borrow().values().cloned().collect();
    for agent in &left {
        relay.close_tunnel(agent.id, "this relay stops");
    }
    let cut = async {
        for agent in left {
            while agent.streams.get() > 0 {
                agent.idle.wait().await;
            }
        }
    };
    let timeout = async {
        Timer::after(RESET_TIME).await;
    };
    future::or(cut, timeout).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_are_closed_one_after_the_other_within_the_limit() {
        let limit = Duration::from_secs(30);
        let turns: Vec<_> = turns(1000, limit).collect();
        assert_eq!(turns.len(), 1000);
        assert_eq!(turns[0], Duration::ZERO, "the first goes at once");
        assert!(turns.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(turns[999] < limit * 60 / 100);
        assert_eq!(super::turns(0, limit).count(), 1, "harmless");
        assert!(super::turns(5, Duration::ZERO).all(|turn| turn == Duration::ZERO));
    }
}
