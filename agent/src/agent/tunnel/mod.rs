//! Drives one tunnel: its socket, its session and the streams on it.
//!
//! One task reads, one writes, and each stream has a task that ends with it;
//! dropping the tunnel ends them all. What cannot be sent at once waits in one
//! place, [`Tunnel::outgoing`], which holds a frame and the control frames of
//! one turn at most; a stream that wants to send waits until that is empty, so
//! a slow link stops the reading of services instead of filling memory.

mod receive;
mod send;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use async_io::Timer;
use event_listener::Event as Bell;
use smol::{LocalExecutor, Task, future};

use super::heartbeat::{Beat, Heartbeat};
use super::notify::Notify;
use super::stream::{Held, Stream};
use super::visitors::Visitors;
use crate::net::Connection;
use crate::wire::{Answer, HEADER_ROOM, MAX_BODY_BYTES, Quota, Session, WireError};
use send::Outgoing;

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
    buffered: Cell<usize>,
    /// Bytes of requests that are not complete, all streams together.
    heads: Cell<usize>,
    /// The bound of each of the two.
    max_buffered: usize,
    max_streams: usize,
    /// Visitors that were refused above that.
    overloads: Cell<u32>,
    /// Rung when `buffered` falls.
    drained: Notify,
    /// The session's deadline that is being waited for.
    watched: Cell<Option<Instant>>,
    /// Rung when the session has another one.
    deadline_changed: Notify,
    /// Why the tunnel has to end, found by a stream's task.
    failure: Cell<Option<io::Error>>,
}

/// Ends the streams with the tunnel, however it ends: their tasks hold it, so
/// it would never be dropped with them.
struct EndStreams<'a>(&'a Tunnel);

impl Drop for EndStreams<'_> {
    fn drop(&mut self) {
        for running in std::mem::take(&mut *self.0.streams.borrow_mut()).into_values() {
            running.stream.give_up(self.0, "the tunnel ended");
        }
    }
}

/// A stream and the task that serves it.
struct Running {
    stream: Rc<Stream>,
    _task: Task<()>,
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
            heads: Cell::new(0),
            max_buffered,
            max_streams,
            overloads: Cell::new(0),
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
        let _end = EndStreams(self);
        let heartbeat = Cell::new(heartbeat);
        let read = self.read(first, &heartbeat, on_news);
        let write = async { TunnelEnd::Lost(self.write().await) };
        let watch = async {
            self.watch(&heartbeat).await;
            TunnelEnd::Silent
        };
        future::or(read, future::or(write, watch)).await
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

    /// Counts what a stream keeps in memory, or no longer does.
    pub(super) fn count_held(&self, before: Held, after: Held) {
        self.buffered.set(self.buffered.get() + after.waiting - before.waiting);
        self.heads.set(self.heads.get() + after.head - before.head);
        if after.waiting < before.waiting {
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
