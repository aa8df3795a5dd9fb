//! The writing end of a tunnel: what cannot be sent at once waits here, and
//! nobody reads more from a service before that is gone.

use std::io;
use std::time::Instant;

use event_listener::listener;

use super::{Tunnel, TunnelEnd};
use crate::wire::{HEADER_ROOM, Session};

/// Control frames that are written in one turn, in bytes.
const CONTROL_BYTES: usize = 8 * 1024;

/// Room for frames that an idle tunnel keeps, in bytes: that of a few control
/// frames. A relay has thousands of tunnels, and one that a slow link made wait
/// had room for some data.
const KEPT_BYTES: usize = 512;

/// What came of moving bytes from a socket into the tunnel.
pub(crate) enum Progress {
    /// So many bytes went.
    Moved(usize),
    /// The socket has nothing now.
    SocketIsIdle,
    /// The socket is at its end.
    End,
    /// The socket broke.
    Failed(io::Error),
    /// The other end has to pass some on first.
    WindowIsFull,
    /// The tunnel has to take some first.
    TunnelIsFull,
}

/// Bytes on their way to the connection.
#[derive(Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    /// How many of them the connection has taken.
    taken: usize,
}

impl Tunnel {
    /// Sends what waits, as the link takes it.
    pub(super) async fn write(&self) -> TunnelEnd {
        loop {
            self.work.wait().await;
            while !self.is_flushed() {
                if let Err(error) = self.connection.writable().await {
                    return TunnelEnd::Lost(error);
                }
                self.flush();
            }
        }
    }

    /// Reads once from a socket into the tunnel. The socket is given as a
    /// function that reads into a buffer.
    pub(crate) fn forward(
        &self,
        stream: u32,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> Progress {
        if self.is_over.get() {
            return Progress::Failed(io::ErrorKind::BrokenPipe.into());
        }
        if !self.has_room() {
            return Progress::TunnelIsFull;
        }
        let mut session = self.session.borrow_mut();
        if session.has_control_frames() {
            // Padding above all has to come before the next data.
            self.flush_session(&mut session);
            if !self.has_room() {
                return Progress::TunnelIsFull;
            }
        }
        let room = session.send_room(stream).min(self.max_body);
        if room == 0 {
            return Progress::WindowIsFull;
        }
        let mut scratch = self.buffers.outgoing.borrow_mut();
        match read(&mut scratch[HEADER_ROOM..HEADER_ROOM + room]) {
            Ok(0) => Progress::End,
            Ok(length) => {
                let body = HEADER_ROOM..HEADER_ROOM + length;
                let frame = session.data_frame(Instant::now(), stream, &mut scratch, body);
                self.send(frame);
                Progress::Moved(length)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Progress::SocketIsIdle,
            Err(error) => Progress::Failed(error),
        }
    }

    /// Sends an answer of our own on a stream, whatever its window.
    pub(crate) fn answer(&self, stream: u32, answer: &[u8]) {
        let mut session = self.session.borrow_mut();
        self.send_answer(&mut session, Instant::now(), stream, answer);
    }

    pub(crate) fn send_answer(
        &self,
        session: &mut Session,
        now: Instant,
        stream: u32,
        answer: &[u8],
    ) {
        let mut scratch = self.buffers.outgoing.borrow_mut();
        for part in answer.chunks(self.max_body) {
            self.flush_session(session);
            let body = HEADER_ROOM..HEADER_ROOM + part.len();
            scratch[body.clone()].copy_from_slice(part);
            self.send(session.data_frame(now, stream, &mut scratch, body));
        }
    }

    /// Whether a socket with little to say is better given time to say more.
    pub(crate) fn is_strained(&self) -> bool {
        self.session.borrow().is_strained()
    }

    /// Waits until the tunnel takes a frame at once, or is over.
    pub(crate) async fn wait_for_room(&self) {
        while !self.has_room() {
            // On the stack: on a slow link this happens for each frame.
            listener!(self.room => bell);
            if self.has_room() || self.is_over.get() {
                break;
            }
            bell.await;
        }
    }

    /// Lets the next stream that waits for room have it.
    pub(crate) fn pass_room_on(&self) {
        if self.has_room() {
            self.room.notify(1);
        }
    }

    /// Whether the tunnel takes a frame at once.
    pub(crate) fn has_room(&self) -> bool {
        self.outgoing.borrow().is_empty()
    }

    fn is_flushed(&self) -> bool {
        self.has_room() && !self.connection.has_unsent()
    }

    /// Sends a frame as far as the connection takes it; the rest waits.
    pub(super) fn send(&self, frame: &[u8]) {
        let mut outgoing = self.outgoing.borrow_mut();
        let taken = if outgoing.is_empty() { self.try_write(frame) } else { 0 };
        outgoing.bytes.extend_from_slice(&frame[taken..]);
        if !outgoing.is_empty() || self.connection.has_unsent() {
            self.work.notify();
        }
    }

    /// Sends what waits and what the session has to say, as far as the
    /// connection takes it now.
    pub(crate) fn flush(&self) {
        self.flush_session(&mut self.session.borrow_mut());
    }

    pub(super) fn flush_session(&self, session: &mut Session) {
        loop {
            let mut outgoing = self.outgoing.borrow_mut();
            if !outgoing.is_empty() {
                let taken = self.try_write(&outgoing.bytes[outgoing.taken..]);
                outgoing.take(taken);
            }
            if !outgoing.is_empty() || !session.has_control_frames() {
                break;
            }
            session.control_frames(Instant::now(), &mut outgoing.bytes, CONTROL_BYTES);
        }
        if let Err(error) = self.connection.try_flush() {
            self.note_failure(error);
        }
        if self.has_room() {
            self.room.notify(1);
        }
        if !self.is_flushed() {
            self.work.notify();
        }
    }

    fn try_write(&self, bytes: &[u8]) -> usize {
        match self.connection.try_write(bytes) {
            Ok(taken) => taken,
            Err(error) => {
                self.note_failure(error);
                0
            }
        }
    }

    fn note_failure(&self, error: io::Error) {
        if error.kind() != io::ErrorKind::WouldBlock {
            self.drop_with(TunnelEnd::Lost(error));
        }
    }
}

impl Outgoing {
    fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    fn take(&mut self, taken: usize) {
        self.taken += taken;
        if self.is_empty() {
            self.bytes.clear();
            self.taken = 0;
            self.bytes.shrink_to(KEPT_BYTES);
        }
    }
}

#[cfg(all(test, feature = "relay"))]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use async_io::{Timer, block_on};
    use smol::future;

    use super::*;
    use crate::tunnel::fixture::tunnel;
    use crate::tunnel::{Buffers, News, Owner};
    use crate::wire::{Heartbeat, Open};

    struct Nobody;

    impl Owner for Nobody {
        fn open(&mut self, _: &Rc<Tunnel>, _: u32, _: &Open<'_>) -> Result<(), Vec<u8>> {
            Err(Vec::new())
        }

        fn refuse(&mut self, _: &Rc<Tunnel>, _: &Open<'_>) -> Vec<u8> {
            Vec::new()
        }

        fn news(&mut self, _: &mut Session, _: News) -> Result<(), TunnelEnd> {
            Ok(())
        }
    }

    #[test]
    fn a_tunnel_whose_link_takes_nothing_can_be_ended() {
        let (tunnel, _far) = tunnel(Buffers::new(usize::MAX), 1024);
        // More than the kernel holds.
        tunnel.answer(1, &vec![0; 32 << 20]);
        assert!(!tunnel.has_room());
        let heartbeat = Heartbeat::new(Instant::now(), Duration::from_secs(60), true);
        let mut owner = Nobody;
        let run = async { Some(tunnel.run(&[], heartbeat, &mut owner).await) };
        let drop = async {
            for _ in 0..10 {
                future::yield_now().await;
            }
            tunnel.drop_with(TunnelEnd::Dropped("a test"));
            tunnel.drop_with(TunnelEnd::Dropped("a later reason"));
            Timer::after(Duration::from_secs(10)).await;
            None
        };
        let end = block_on(future::or(run, drop));
        assert!(matches!(end, Some(TunnelEnd::Dropped("a test"))), "{end:?}");
    }
}
