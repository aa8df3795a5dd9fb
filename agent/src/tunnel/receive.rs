//! The reading end of a tunnel: bytes go to the session, and what comes out
//! goes to the streams. While sockets do not take what has come for them, the
//! tunnel is not read.

use std::cell::Cell;
use std::cmp::Reverse;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smol::future;

use super::{News, Owner, Tunnel, TunnelEnd};
use crate::net::before;
use crate::wire::{Eof, Event, Heartbeat};

/// How often the reader goes on before it lets the other tasks have a turn.
const READS_PER_TURN: u32 = 4;
/// How long the tunnel is not read while data for slow sockets fills the
/// buffer, before those that take nothing are closed.
const OVERRUN_PATIENCE: Duration = Duration::from_secs(5);
/// What a tunnel may hold for slow sockets even when all tunnels together hold
/// too much, in bytes: one of their windows or so.
const FAIR_BYTES: usize = 64 * 1024;

impl Tunnel {
    pub(super) async fn read(
        self: &Rc<Self>,
        first: &[u8],
        heartbeat: &Cell<Heartbeat>,
        owner: &mut dyn Owner,
    ) -> TunnelEnd {
        if let Err(end) = self.take_in(first, owner).await {
            return end;
        }
        let mut reads = 0;
        loop {
            if let Some(end) = self.failure.take() {
                return end;
            }
            // The buffer is every tunnel's: what has to wait is copied out.
            let (outcome, rest) = {
                let mut buffer = self.buffers.incoming.borrow_mut();
                match self.connection.try_read(&mut buffer) {
                    Ok(length) => {
                        let mut input = &buffer[..length];
                        if length > 0 {
                            self.note_heard(heartbeat);
                            if let Err(end) = self.receive(&mut input, owner) {
                                return end;
                            }
                        }
                        (Ok(length), input.to_vec())
                    }
                    Err(error) => (Err(error), Vec::new()),
                }
            };
            match outcome {
                Ok(0) => return TunnelEnd::Closed,
                Ok(_) => {
                    if !rest.is_empty() {
                        if let Err(end) = self.take_in(&rest, owner).await {
                            return end;
                        }
                    }
                    reads += 1;
                    if reads % READS_PER_TURN == 0 {
                        self.flush();
                        future::yield_now().await;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // What all these bytes brought about goes in one piece.
                    self.flush();
                    if let Err(error) = self.connection.readable().await {
                        return TunnelEnd::Lost(error);
                    }
                }
                Err(error) => return TunnelEnd::Lost(error),
            }
        }
    }

    fn note_heard(&self, heartbeat: &Cell<Heartbeat>) {
        let now = Instant::now();
        let mut beating = heartbeat.get();
        beating.received(now);
        heartbeat.set(beating);
        self.heard.set(now);
        self.hearing.notify(usize::MAX);
    }

    /// Takes all of `input`, with pauses while sockets have to take some of
    /// what came out of it: compressed, one read can be a thousand.
    async fn take_in(
        self: &Rc<Self>,
        mut input: &[u8],
        owner: &mut dyn Owner,
    ) -> Result<(), TunnelEnd> {
        while !self.receive(&mut input, owner)? {
            self.flush();
            self.wait_until_drained().await;
        }
        Ok(())
    }

    /// Gives bytes to the session and acts on what comes out; false when more
    /// waits for sockets than may before all is used.
    fn receive(
        self: &Rc<Self>,
        input: &mut &[u8],
        owner: &mut dyn Owner,
    ) -> Result<bool, TunnelEnd> {
        let now = Instant::now();
        let mut session = self.session.borrow_mut();
        loop {
            if self.is_overfull() {
                self.note_deadline(&session);
                return Ok(false);
            }
            while self.heads.get() > self.max_buffered {
                let Some(shed) = self.shed_head() else { break };
                session.close(now, shed, Eof::BOTH);
            }
            let event = session.receive(now, input).map_err(TunnelEnd::Protocol)?;
            let Some(event) = event else { break };
            match event {
                Event::Progress => {}
                Event::Open { stream, open } => {
                    if let Err(answer) = owner.open(self, stream, &open) {
                        self.send_answer(&mut session, now, stream, &answer);
                        session.close(now, stream, Eof::BOTH);
                    }
                }
                Event::TooManyStreams { stream, open } => {
                    let answer = owner.refuse(self, &open);
                    self.send_answer(&mut session, now, stream, &answer);
                    session.refuse(stream);
                }
                Event::Data { stream, bytes } => {
                    if let Some(serving) = self.stream(stream) {
                        let delivered = serving.take(self, bytes);
                        session.delivered(stream, delivered);
                    }
                }
                Event::Eof { stream, eof } => {
                    if let Some(serving) = self.stream(stream) {
                        serving.end(eof);
                    }
                }
                Event::Room { stream } => {
                    if let Some(serving) = self.stream(stream) {
                        serving.wake();
                    }
                }
                Event::Quota(quota) => owner.news(&mut session, News::Quota(quota))?,
                Event::Answer(answer) => owner.news(&mut session, News::Answer(answer))?,
                Event::Request(request) => owner.news(&mut session, News::Request(request))?,
            }
        }
        self.note_deadline(&session);
        Ok(true)
    }

    /// Ends the stream with most of a request that is not complete. Waiting, as
    /// for sockets, would help nobody: only reading on can complete it.
    fn shed_head(&self) -> Option<u32> {
        let mut streams = self.streams.borrow_mut();
        let most = streams.iter().max_by_key(|(_, stream)| stream.held().head);
        let stream = most.map(|(&stream, _)| stream)?;
        let shed = streams.remove(&stream)?;
        drop(streams);
        shed.give_up(self, "its request is not complete and the buffers are full");
        Some(stream)
    }

    /// Whether more data lies here for slow sockets than may.
    fn is_overfull(&self) -> bool {
        self.buffered.get() > self.may_hold()
    }

    /// Bytes that may lie here for slow sockets: less while all tunnels together
    /// hold too much.
    fn may_hold(&self) -> usize {
        let is_scarce = self.buffers.held.get() > self.buffers.max_held;
        if is_scarce { self.max_buffered.min(FAIR_BYTES) } else { self.max_buffered }
    }

    /// Waits until less data lies here for slow sockets. When that takes too
    /// long, the streams whose sockets have taken nothing in the meantime are
    /// closed, so that the others get theirs.
    async fn wait_until_drained(&self) {
        let taken_before: Vec<(u32, u64)> = {
            let streams = self.streams.borrow();
            streams.iter().map(|(&id, stream)| (id, stream.taken())).collect()
        };
        let end = Instant::now() + OVERRUN_PATIENCE;
        while self.is_overfull() {
            if before(end, self.drained.wait()).await.is_none() {
                self.close_overrun(&taken_before);
                return;
            }
        }
    }

    /// Closes the streams that have taken nothing since `taken_before`, those
    /// with most first, until half of what may lie here would be free; the one
    /// with most of all, when every socket has taken something.
    fn close_overrun(&self, taken_before: &[(u32, u64)]) {
        let streams = self.streams.borrow();
        let mut waiting: Vec<_> = streams
            .iter()
            .map(|(id, stream)| (stream.held().waiting, id, stream))
            .filter(|(waiting, ..)| *waiting > 0)
            .collect();
        waiting.sort_unstable_by_key(|(waiting, ..)| Reverse(*waiting));
        let mut left = self.buffered.get();
        let mut any = false;
        for (bytes, id, stream) in &waiting {
            if left <= self.may_hold() / 2 {
                return;
            }
            if taken_before.binary_search(&(**id, stream.taken())).is_ok() {
                stream.overrun();
                left = left.saturating_sub(*bytes);
                any = true;
            }
        }
        if let (false, Some((_, _, largest))) = (any, waiting.first()) {
            largest.overrun();
        }
    }
}

#[cfg(all(test, feature = "relay"))]
mod tests {
    use super::*;
    use crate::tunnel::fixture::tunnel;
    use crate::tunnel::{Buffers, Held, Stream};

    /// A stream whose socket takes nothing.
    struct Deaf {
        waiting: usize,
        is_overrun: Cell<bool>,
    }

    impl Stream for Deaf {
        fn take(&self, _: &Tunnel, _: &[u8]) -> usize {
            0
        }

        fn end(&self, _: Eof) {}

        fn wake(&self) {}

        fn abandon(&self) {}

        fn overrun(&self) {
            self.is_overrun.set(true);
        }

        fn is_left(&self) -> bool {
            false
        }

        fn held(&self) -> Held {
            Held { waiting: self.waiting, head: 0 }
        }

        fn taken(&self) -> u64 {
            0
        }

        fn give_up(&self, _: &Tunnel, _: &str) {}
    }

    fn add(tunnel: &Tunnel, id: u32, waiting: usize) -> Rc<Deaf> {
        let stream = Rc::new(Deaf { waiting, is_overrun: Cell::new(false) });
        tunnel.add(id, Rc::clone(&stream) as Rc<dyn Stream>);
        tunnel.count_held(Held::default(), stream.held());
        stream
    }

    fn overrun(tunnel: &Tunnel) {
        let taken: Vec<_> = tunnel.streams.borrow().keys().map(|&id| (id, 0)).collect();
        tunnel.close_overrun(&taken);
    }

    /// Else many tunnels, each with less than half of its own bound, would stand
    /// still for ever.
    #[test]
    fn when_all_tunnels_hold_too_much_each_gets_rid_of_what_is_above_its_share() {
        let buffers = Buffers::new(10 * FAIR_BYTES);
        let (first, _far) = tunnel(Rc::clone(&buffers), 100 * FAIR_BYTES);
        let (other, _far_too) = tunnel(Rc::clone(&buffers), 100 * FAIR_BYTES);
        let deaf = add(&first, 1, 4 * FAIR_BYTES);
        let modest = add(&first, 2, FAIR_BYTES / 4);
        assert!(!first.is_overfull());
        let _crowd = add(&other, 1, 10 * FAIR_BYTES);
        assert!(first.is_overfull() && other.is_overfull());
        overrun(&first);
        assert!(deaf.is_overrun.get(), "the tunnel stands still");
        assert!(!modest.is_overrun.get(), "it holds less than its share");
    }

    #[test]
    fn a_tunnel_above_its_own_bound_closes_the_largest_until_half_is_free() {
        let (tunnel, _far) = tunnel(Buffers::new(usize::MAX), 1000);
        let streams = [600, 500, 300].map(|waiting| {
            let id = u32::try_from(waiting).expect("small");
            add(&tunnel, id, waiting)
        });
        assert!(tunnel.is_overfull());
        overrun(&tunnel);
        assert_eq!(streams.map(|stream| stream.is_overrun.get()), [true, true, false]);
    }
}
