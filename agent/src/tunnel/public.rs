//! What only the public end of a tunnel does: opens streams, and asks whether
//! the agent is still there.

use std::time::Instant;

use super::Tunnel;
use crate::net::before;
use crate::wire::{Open, SignOfLife};

impl Tunnel {
    /// Opens a stream, as the relay does, with as much of `first` as goes in
    /// one frame, and says how much. `None` when the other end has its limit of
    /// streams. To be called when the tunnel has room.
    pub(crate) fn open(&self, open: &Open<'_>, first: &[u8]) -> Option<(u32, usize)> {
        if self.is_over.get() {
            return None;
        }
        let mut session = self.session.borrow_mut();
        self.flush_session(&mut session);
        let room = self.max_body.saturating_sub(open.header_bytes());
        let sent = first.len().min(room);
        let mut frame = Vec::with_capacity(sent + 512);
        let stream = session.open(Instant::now(), open, &first[..sent], &mut frame)?;
        self.send(&frame);
        Some((stream, sent))
    }

    /// Asks the other end for a sign of life; whether one comes by `deadline`.
    pub(crate) async fn shows_life(&self, deadline: Instant) -> bool {
        let asked = Instant::now();
        self.with_session(|session| session.show_life(SignOfLife::Ping));
        let heard = async {
            loop {
                let hearing = self.hearing.listen();
                if self.is_over.get() {
                    return false;
                }
                if self.heard.get() > asked {
                    return true;
                }
                hearing.await;
            }
        };
        before(deadline, heard).await.unwrap_or(false)
    }
}
