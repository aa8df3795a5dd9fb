//! Drives one tunnel: its socket, its session and the streams on it.
//!
//! One task reads, one writes, and each stream has a task that ends with it;
//! dropping the tunnel ends them all. What cannot be sent at once waits in one
//! place, [`Tunnel::outgoing`], which holds a frame and the control frames of
//! one turn at most; a stream that wants to send waits until that is empty, so
//! a slow link stops the reading of services instead of filling memory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use event_listener::Event as Bell;
use smol::{LocalExecutor, Task, future};

use super::heartbeat::{Beat, Heartbeat};
use super::notify::Notify;
use super::stream::{Progress, Stream};
use super::visitors::Visitors;
use crate::net::Connection;
use crate::wire::{Answer, Eof, Event, HEADER_ROOM, MAX_BODY_BYTES, Quota, Session, WireError};

/// One read from the tunnel; a few TLS records.
const READ_BYTES: usize = 32 * 1024;
/// Control frames that are written in one turn, in bytes.
const CONTROL_BYTES: usize = 8 * 1024;
/// How often the reader goes on before it lets the other tasks have a turn.
const READS_PER_TURN: u32 = 4;
/// How long the tunnel is not read while data for slow services fills the
/// buffer, before the stream with most of it is closed.
const OVERRUN_PATIENCE: Duration = Duration::from_secs(5);

/// A tunnel and everything that its tasks share.
pub(super) struct Tunnel {
    executor: &'static LocalExecutor<'static>,
    connection: Connection,
    session: RefCell<Session>,
    pub(super) visitors: Rc<Visitors>,
    /// What is framed and not yet taken by the connection.
    outgoing: RefCell<Outgoing>,
    /// The one buffer that all services are read into.
    scratch: RefCell<Box<[u8]>>,
    /// Rung for one stream after another while the tunnel takes bytes.
    room: Bell,
    /// Rung when the writer has something to do.
    work: Notify,
    streams: RefCell<BTreeMap<u32, Running>>,
    /// Bytes that wait for slow services, all streams together.
    pub(super) buffered: Cell<usize>,
    max_buffered: usize,
    max_streams: usize,
    /// Rung when `buffered` falls.
    drained: Notify,
    /// The session's deadline that is being waited for.
    watched: Cell<Option<Instant>>,
    /// Rung when the session has another one.
    deadline_changed: Notify,
    /// Why the tunnel has to end, found by a stream's task.
    failure: Cell<Option<io::Error>>,
}

/// A stream and the task that serves it.
struct Running {
    stream: Rc<Stream>,
    _task: Task<()>,
}

/// Bytes on their way to the connection.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    /// How many of them the connection has taken.
    taken: usize,
}

/// Why a tunnel ended.
#[derive(Debug)]
#[non_exhaustive]
pub(super) enum TunnelEnd {
    /// The relay closed it.
    Closed,
    /// The network did.
    Lost(io::Error),
    /// The relay did not answer a PING.
    Silent,
    /// The relay broke the protocol.
    Protocol(WireError),
}

/// What the relay says beside the streams.
pub(super) enum News {
    /// An answer to a request for kites.
    Answer(Box<Answer>),
    /// What is left of the quota.
    Quota(Quota),
}

impl Tunnel {
    pub(super) fn new(
        executor: &'static LocalExecutor<'static>,
        connection: Connection,
        session: Session,
        visitors: Rc<Visitors>,
        max_buffered: usize,
        max_streams: usize,
    ) -> Rc<Self> {
        Rc::new(Self {
            executor,
            connection,
            session: RefCell::new(session),
            visitors,
            outgoing: RefCell::default(),
            scratch: RefCell::new(vec![0; HEADER_ROOM + MAX_BODY_BYTES].into_boxed_slice()),
            room: Bell::new(),
            work: Notify::default(),
            streams: RefCell::default(),
            buffered: Cell::new(0),
            max_buffered,
            max_streams,
            drained: Notify::default(),
            watched: Cell::new(None),
            deadline_changed: Notify::default(),
            failure: Cell::new(None),
        })
    }

    /// Runs until the tunnel ends; then all streams are over. `first` are the
    /// bytes that came glued to the head of the handshake.
    pub(super) async fn run(
        self: &Rc<Self>,
        first: &[u8],
        heartbeat: Heartbeat,
        on_news: &mut dyn FnMut(&mut Session, News),
    ) -> TunnelEnd {
        let heartbeat = Cell::new(heartbeat);
        let read = self.read(first, &heartbeat, on_news);
        let write = async { TunnelEnd::Lost(self.write().await) };
        let watch = async {
            self.watch(&heartbeat).await;
            TunnelEnd::Silent
        };
        let end = future::or(read, future::or(write, watch)).await;
        // The streams' tasks hold the tunnel; without them it is dropped.
        let streams = std::mem::take(&mut *self.streams.borrow_mut());
        drop(streams);
        end
    }

    async fn read(
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
            self.flush();
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
            let Some(event) = session.receive(now, input)? else { break };
            match event {
                Event::Progress => {}
                Event::Open { stream, open } if !self.may_open(stream) => {
                    let answer = self.visitors.refuse_overload(&open);
                    session.close(now, stream, Eof::BOTH);
                    if self.has_room() {
                        self.send_answer(&mut session, now, stream, &answer);
                    }
                }
                Event::Open { stream, open } => {
                    let serving = Stream::new(stream, &open);
                    let task = Rc::clone(&serving).serve(Rc::clone(self));
                    let task = self.executor.spawn(task);
                    let running = Running { stream: serving, _task: task };
                    let old = self.streams.borrow_mut().insert(stream, running);
                    if let Some(old) = old {
                        old.stream.give_up(self);
                    }
                }
                Event::TooManyStreams { stream, open } => {
                    let answer = self.visitors.refuse_overload(&open);
                    session.refuse(stream);
                    // A page for each of endless streams must not pile up.
                    if self.has_room() {
                        self.send_answer(&mut session, now, stream, &answer);
                    }
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
        left.stream.give_up(self);
        true
    }

    /// Sends what waits, as the link takes it.
    async fn write(&self) -> io::Error {
        loop {
            self.work.wait().await;
            if let Some(error) = self.failure.take() {
                return error;
            }
            while !self.is_flushed() {
                if let Err(error) = self.connection.writable().await {
                    return error;
                }
                self.flush();
                if let Some(error) = self.failure.take() {
                    return error;
                }
            }
        }
    }

    /// Looks after the heartbeat and the half-closed streams; ends when the
    /// relay is silent for too long.
    async fn watch(&self, heartbeat: &Cell<Heartbeat>) {
        loop {
            let now = Instant::now();
            let mut beating = heartbeat.get();
            let next = match beating.beat(now) {
                Beat::Dead => return,
                Beat::Send(sign) => {
                    self.session.borrow_mut().show_life(sign);
                    self.flush();
                    now
                }
                Beat::Wait(until) => until,
            };
            heartbeat.set(beating);
            let expired = self.session.borrow_mut().expired_stream(now);
            if let Some(stream) = expired {
                if let Some(serving) = self.stream(stream) {
                    serving.abandon();
                }
                continue;
            }
            let deadline = self.session.borrow().deadline();
            self.watched.set(deadline);
            let next = deadline.map_or(next, |deadline| deadline.min(next));
            let timer = async {
                Timer::at(next).await;
            };
            future::or(timer, self.deadline_changed.wait()).await;
        }
    }

    /// Waits while more data lies here for slow services than may. A service
    /// that takes nothing for long loses its stream, so that the others get
    /// theirs.
    async fn wait_until_drained(&self) {
        let end = Instant::now() + OVERRUN_PATIENCE;
        while self.buffered.get() > self.max_buffered {
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
                let largest = streams.values().max_by_key(|running| running.stream.waiting());
                if let Some(largest) = largest {
                    largest.stream.overrun();
                }
                return;
            }
        }
    }

    /// Reads once from a service into the tunnel. The service's socket is
    /// given as a function that reads into a buffer.
    pub(super) fn forward(
        &self,
        stream: u32,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> Progress {
        if !self.has_room() {
            return Progress::TunnelIsFull;
        }
        let mut session = self.session.borrow_mut();
        let room = session.send_room(stream).min(MAX_BODY_BYTES);
        if room == 0 {
            return Progress::WindowIsFull;
        }
        let mut scratch = self.scratch.borrow_mut();
        match read(&mut scratch[HEADER_ROOM..HEADER_ROOM + room]) {
            Ok(0) => Progress::End,
            Ok(length) => {
                let body = HEADER_ROOM..HEADER_ROOM + length;
                let frame = session.data_frame(Instant::now(), stream, &mut scratch, body);
                self.send(frame);
                Progress::Moved(length)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Progress::ServiceIsIdle,
            Err(error) => Progress::Failed(error),
        }
    }

    /// Sends an answer of our own on a stream, whatever its window.
    pub(super) fn answer(&self, stream: u32, answer: &[u8]) {
        let mut session = self.session.borrow_mut();
        self.send_answer(&mut session, Instant::now(), stream, answer);
    }

    fn send_answer(&self, session: &mut Session, now: Instant, stream: u32, answer: &[u8]) {
        let mut scratch = self.scratch.borrow_mut();
        for part in answer.chunks(MAX_BODY_BYTES) {
            let body = HEADER_ROOM..HEADER_ROOM + part.len();
            scratch[body.clone()].copy_from_slice(part);
            self.send(session.data_frame(now, stream, &mut scratch, body));
        }
    }

    /// Waits until the tunnel takes a frame at once.
    pub(super) async fn wait_for_room(&self) {
        while !self.has_room() {
            let bell = self.room.listen();
            if self.has_room() {
                break;
            }
            bell.await;
        }
    }

    /// Lets the next stream that waits for room have it.
    pub(super) fn pass_room_on(&self) {
        if self.has_room() {
            self.room.notify(1);
        }
    }

    /// Changes the session, and sends what it has to say then.
    pub(super) fn with_session<T>(&self, change: impl FnOnce(&mut Session) -> T) -> T {
        let mut session = self.session.borrow_mut();
        let result = change(&mut session);
        self.note_deadline(&session);
        drop(session);
        self.flush();
        result
    }

    /// Forgets a stream whose task ends.
    pub(super) fn forget(&self, stream: u32, serving: &Rc<Stream>) {
        let mut streams = self.streams.borrow_mut();
        // The relay may have given the id to a new stream already.
        if streams.get(&stream).is_some_and(|running| Rc::ptr_eq(&running.stream, serving)) {
            if let Some(Running { _task: task, .. }) = streams.remove(&stream) {
                // It is the task that is running now.
                task.detach();
            }
        }
    }

    /// Counts bytes that wait for a service, or no longer do.
    pub(super) fn count_waiting(&self, before: usize, after: usize) {
        self.buffered.set(self.buffered.get() + after - before);
        if after < before {
            self.drained.notify();
        }
    }

    fn stream(&self, stream: u32) -> Option<Rc<Stream>> {
        self.streams.borrow().get(&stream).map(|running| Rc::clone(&running.stream))
    }

    fn note_deadline(&self, session: &Session) {
        if session.deadline() != self.watched.get() {
            self.deadline_changed.notify();
        }
    }

    fn has_room(&self) -> bool {
        self.outgoing.borrow().is_empty()
    }

    fn is_flushed(&self) -> bool {
        self.has_room() && !self.connection.has_unsent()
    }

    /// Sends a frame as far as the connection takes it; the rest waits.
    fn send(&self, frame: &[u8]) {
        let mut outgoing = self.outgoing.borrow_mut();
        let taken = if outgoing.is_empty() { self.try_write(frame) } else { 0 };
        outgoing.bytes.extend_from_slice(&frame[taken..]);
        if !outgoing.is_empty() || self.connection.has_unsent() {
            self.work.notify();
        }
    }

    /// Sends what waits and what the session has to say, as far as the
    /// connection takes it now.
    pub(super) fn flush(&self) {
        loop {
            let mut outgoing = self.outgoing.borrow_mut();
            if !outgoing.is_empty() {
                let taken = self.try_write(&outgoing.bytes[outgoing.taken..]);
                outgoing.take(taken);
            }
            if !outgoing.is_empty() {
                break;
            }
            let mut session = self.session.borrow_mut();
            if !session.has_control_frames() {
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
            self.failure.set(Some(error));
            self.work.notify();
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
            // Answers about kites are long and rare.
            self.bytes.shrink_to(2 * MAX_BODY_BYTES);
        }
    }
}

impl fmt::Display for TunnelEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => formatter.write_str("the relay closed the tunnel"),
            Self::Lost(error) => write!(formatter, "the tunnel was lost: {error}"),
            Self::Silent => formatter.write_str("the relay does not answer any more"),
            Self::Protocol(error) => write!(formatter, "the relay sent {error}"),
        }
    }
}
