//! The reading end of a tunnel: bytes go to the session, and what comes out
//! goes to the streams. While services do not take what has come for them, the
//! tunnel is not read.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use log::warn;
use smol::future;

use super::{News, Running, Tunnel, TunnelEnd};
use crate::agent::answer::Refusal;
use crate::agent::heartbeat::Heartbeat;
use crate::agent::stream::Stream;
use crate::agent::visitors::Request;
use crate::wire::{Eof, Event, Open, Session, WireError};

/// One read from the tunnel; a few TLS records.
const READ_BYTES: usize = 64 * 1024;
/// How often the reader goes on before it lets the other tasks have a turn.
const READS_PER_TURN: u32 = 4;
/// How long the tunnel is not read while data for slow services fills the
/// buffer, before the stream with most of it is closed.
const OVERRUN_PATIENCE: Duration = Duration::from_secs(5);

impl Tunnel {
    pub(super) async fn read(
        self: &Rc<Self>,
        first: &[u8],
        heartbeat: &Cell<Heartbeat>,
        on_news: &mut dyn FnMut(&mut Session, News),
    ) -> TunnelEnd {
        if let Err(error) = self.take_in(first, on_news).await {
            return TunnelEnd::Protocol(error);
        }
        let mut buffer = vec![0; READ_BYTES];
        let mut reads = 0;
        loop {
            if let Some(error) = self.failure.take() {
                return TunnelEnd::Lost(error);
            }
            match self.connection.try_read(&mut buffer) {
                Ok(0) => return TunnelEnd::Closed,
                Ok(length) => {
                    let mut beating = heartbeat.get();
                    beating.received(Instant::now());
                    heartbeat.set(beating);
                    if let Err(error) = self.take_in(&buffer[..length], on_news).await {
                        return TunnelEnd::Protocol(error);
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

    /// Takes all of `input`, with pauses while services have to take some of
    /// what came out of it: compressed, one read can be a thousand.
    async fn take_in(
        self: &Rc<Self>,
        mut input: &[u8],
        on_news: &mut dyn FnMut(&mut Session, News),
    ) -> Result<(), WireError> {
        while !self.receive(&mut input, on_news)? {
            self.flush();
            self.wait_until_drained().await;
        }
        Ok(())
    }

    /// Gives bytes to the session and acts on what comes out; false when more
    /// waits for services than may before all is used.
    fn receive(
        self: &Rc<Self>,
        input: &mut &[u8],
        on_news: &mut dyn FnMut(&mut Session, News),
    ) -> Result<bool, WireError> {
        let now = Instant::now();
        let mut session = self.session.borrow_mut();
        loop {
            if self.buffered.get() > self.max_buffered {
                self.note_deadline(&session);
                return Ok(false);
            }
            while self.heads.get() > self.max_buffered {
                let Some(shed) = self.shed_head() else { break };
                session.close(now, shed, Eof::BOTH);
            }
            let Some(event) = session.receive(now, input)? else { break };
            match event {
                Event::Progress => {}
                Event::Open { stream, open } if !self.may_open(stream) => {
                    let answer = self.refuse_overload(&open);
                    self.send_answer(&mut session, now, stream, &answer);
                    session.close(now, stream, Eof::BOTH);
                }
                Event::Open { stream, open } => {
                    let serving = Stream::new(stream, &open);
                    let task = Rc::clone(&serving).serve(Rc::clone(self));
                    let task = self.executor.spawn(task);
                    let running = Running { stream: serving, _task: task };
                    let old = self.streams.borrow_mut().insert(stream, running);
                    if let Some(old) = old {
                        old.stream.give_up(self, "the relay gave its number away");
                    }
                }
                Event::TooManyStreams { stream, open } => {
                    let answer = self.refuse_overload(&open);
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
                        serving.wake_reader();
                    }
                }
                Event::Quota(quota) => on_news(&mut session, News::Quota(quota)),
                Event::Answer(answer) => on_news(&mut session, News::Answer(answer)),
                // Only agents ask for kites.
                Event::Request(_) => {}
            }
        }
        self.note_deadline(&session);
        Ok(true)
    }

    /// What a visitor above the limit is told: nothing, while the tunnel takes
    /// nothing, since pages for endless visitors must not pile up.
    fn refuse_overload(&self, open: &Open<'_>) -> Vec<u8> {
        let refused = self.overloads.get().wrapping_add(1);
        self.overloads.set(refused);
        if refused.is_power_of_two() {
            warn!(
                "{refused} visitors in all were not served: the {} streams of a tunnel are in use \
                 (setting max_streams)",
                self.max_streams
            );
        }
        if self.has_room() {
            self.visitors.refuse(&Request::new(open), Refusal::Unavailable)
        } else {
            Vec::new()
        }
    }

    /// Whether one more stream may be: to the relay, one is over before its
    /// service was reached or took everything. Such a one has to go first.
    fn may_open(&self, stream: u32) -> bool {
        let mut streams = self.streams.borrow_mut();
        if streams.len() < self.max_streams || streams.contains_key(&stream) {
            return true;
        }
        let left = streams.iter().find(|(_, running)| running.stream.is_left());
        let left = left.map(|(&stream, _)| stream);
        let Some(left) = left.and_then(|left| streams.remove(&left)) else { return false };
        left.stream.give_up(self, "room was needed for another");
        true
    }

    /// Ends the stream with most of a request that is not complete. Waiting, as
    /// for services, would help nobody: only reading on can complete it.
    fn shed_head(&self) -> Option<u32> {
        let mut streams = self.streams.borrow_mut();
        let most = streams.iter().max_by_key(|(_, running)| running.stream.held().head);
        let stream = most.map(|(&stream, _)| stream)?;
        let shed = streams.remove(&stream)?;
        shed.stream.give_up(self, "its request is not complete and the buffers are full");
        Some(stream)
    }

    /// Waits while more data lies here for slow services than may. A service
    /// that takes nothing for long loses its stream, so that the others get
    /// theirs.
    async fn wait_until_drained(&self) {
        while self.buffered.get() > self.max_buffered {
            let end = Instant::now() + OVERRUN_PATIENCE;
            let drained = async {
                self.drained.wait().await;
                false
            };
            let timeout = async {
                Timer::at(end).await;
                true
            };
            if future::or(drained, timeout).await {
                let streams = self.streams.borrow();
                let largest = streams.values().max_by_key(|running| running.stream.held().waiting);
                if let Some(largest) = largest {
                    largest.stream.overrun();
                }
                return;
            }
        }
    }
}
