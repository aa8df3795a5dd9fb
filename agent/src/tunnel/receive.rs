//! The reading end of a tunnel: bytes go to the session, and what comes out
//! goes to the streams. While sockets do not take what has come for them, the
//! tunnel is not read.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use smol::future;

use super::{News, Owner, Tunnel, TunnelEnd};
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
        let buffered = self.buffered.get();
        buffered > self.max_buffered
            || (buffered > FAIR_BYTES && self.buffers.held.get() > self.buffers.max_held)
    }

    /// Waits until less data lies here for slow sockets. When that takes too
    /// long, the streams whose sockets have taken nothing in the meantime are
    /// closed, so that the others get theirs.
    async fn wait_until_drained(&self) {
        let taken_before: BTreeMap<u32, u64> = {
            let streams = self.streams.borrow();
            streams.iter().map(|(&id, stream)| (id, stream.taken())).collect()
        };
        let end = Instant::now() + OVERRUN_PATIENCE;
        while self.is_overfull() {
            let drained = async {
                self.drained.wait().await;
                false
            };
            let timeout = async {
                Timer::at(end).await;
                true
            };
            if future::or(drained, timeout).await {
                self.close_overrun(&taken_before);
                return;
            }
        }
    }

    /// Closes the streams that have taken nothing since `taken_before`, those
    /// with most first, until half of what may lie here would be free; the one
    /// with most of all, when every socket has taken something.
    fn close_overrun(&self, taken_before: &BTreeMap<u32, u64>) {
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
            if left <= self.max_buffered / 2 {
                return;
            }
            if taken_before.get(id) == Some(&stream.taken()) {
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
