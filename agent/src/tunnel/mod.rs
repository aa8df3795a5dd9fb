//! One tunnel after its handshake, the same at both ends: its connection, its
//! session and the streams on it.
//!
//! One task reads, one writes, and each stream has a task of its own. What
//! cannot be sent at once waits in one place, [`Tunnel::outgoing`], which holds
//! a frame and the control frames of one turn at most; a stream that wants to
//! send waits until that is empty, so a slow link stops the reading of sockets
//! instead of filling memory.
//!
//! What differs between the ends is behind two traits: [`Owner`] says what
//! becomes of what the other end asks for, [`Stream`] is one stream's socket.

mod backlog;
#[cfg(all(test, feature = "relay"))]
mod fixture;
mod notify;
#[cfg(feature = "relay")]
mod public;
mod receive;
mod send;
mod transfer;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use event_listener::Event as Bell;
use litemap::LiteMap;
use smol::future;

use crate::net::{Connection, before};
use crate::wire::{
    Answer, Beat, HEADER_ROOM, Heartbeat, MAX_BODY_BYTES, Open, Quota, Session, TunnelRequest,
    WireError,
};
pub(crate) use backlog::Backlog;
pub(crate) use notify::Notify;
use send::Outgoing;
pub(crate) use send::Progress;
pub(crate) use transfer::{Inflow, Outflow, Supply, move_in, move_out};

/// One read from a tunnel; a few TLS records.
const READ_BYTES: usize = 64 * 1024;

/// A tunnel and everything that its tasks share.
pub(crate) struct Tunnel {
    connection: Connection,
    session: RefCell<Session>,
    /// What is framed and not yet taken by the connection.
    outgoing: RefCell<Outgoing>,
    buffers: Rc<Buffers>,
    /// Longest body of a data frame that the other end is sent, in bytes.
    max_body: usize,
    /// Rung for one stream after another while the tunnel takes bytes.
    room: Bell,
    /// Rung when the writer has something to do.
    work: Notify,
    streams: RefCell<LiteMap<u32, Rc<dyn Stream>>>,
    /// Bytes that wait for slow sockets, all streams together.
    buffered: Cell<usize>,
    /// Bytes of requests that are not complete, all streams together.
    heads: Cell<usize>,
    /// The bound of each of the two.
    max_buffered: usize,
    /// Rung when `buffered` falls.
    drained: Notify,
    /// The session's deadline that is being waited for.
    watched: Cell<Option<Instant>>,
    /// Rung when the session has another one.
    deadline_changed: Notify,
    /// The other end is to be asked for a sign of life at once.
    in_doubt: Cell<bool>,
    /// Rung when the last stream is forgotten.
    emptied: Notify,
    /// When the last byte came from the other end.
    heard: Cell<Instant>,
    /// Rung when one comes.
    hearing: Bell,
    /// Why the tunnel has to end.
    failure: Cell<Option<TunnelEnd>>,
    /// Rung when it has to. Reader and writer may both wait for a link on which
    /// nothing moves any more.
    failing: Notify,
    /// It has ended: nothing moves any more.
    is_over: Cell<bool>,
    /// Streams were open then.
    ended_with_streams: Cell<bool>,
}

/// What all tunnels of a thread read into, one at a time, so that idle ones
/// have no buffers.
pub(crate) struct Buffers {
    /// What sockets are read into, with room for a frame's headers.
    outgoing: RefCell<Box<[u8]>>,
    /// What tunnels are read into.
    incoming: RefCell<Box<[u8]>>,
    /// Bytes that wait for slow sockets, all tunnels together, and the bound.
    held: Cell<usize>,
    max_held: usize,
}

impl Buffers {
    /// For tunnels that hold at most `max_held` bytes for slow sockets, all of
    /// them together.
    pub(crate) fn new(max_held: usize) -> Rc<Self> {
        Rc::new(Self {
            held: Cell::new(0),
            max_held,
            outgoing: RefCell::new(vec![0; HEADER_ROOM + MAX_BODY_BYTES].into_boxed_slice()),
            incoming: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
        })
    }
}

/// One stream, as the tunnel's reader sees it.
pub(crate) trait Stream {
    /// Takes bytes from the other end; returns how many bytes are off our
    /// hands, these or earlier ones.
    fn take(&self, tunnel: &Tunnel, bytes: &[u8]) -> usize;
    /// The other end closes the stream or a half of it.
    fn end(&self, eof: crate::wire::Eof);
    /// The other end has passed data on: there may be room for more.
    fn wake(&self);
    /// Ends the stream: it was half-closed and idle for too long.
    fn abandon(&self);
    /// Ends the stream: its socket takes nothing while the buffers are full.
    fn overrun(&self);
    /// Whether the other end closed both directions.
    fn is_left(&self) -> bool;
    /// What the stream keeps in memory.
    fn held(&self) -> Held;
    /// Bytes that its socket has taken so far.
    fn taken(&self) -> u64;
    /// The tunnel has forgotten the stream; `why` is for the log.
    fn give_up(&self, tunnel: &Tunnel, why: &str);
}

/// What a stream keeps in memory, in bytes. The two have nothing in common: the
/// socket takes the one, and only its sender can complete the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// Bytes for the socket that it has not taken.
    pub(crate) waiting: usize,
    /// A request that is not complete.
    pub(crate) head: usize,
}

/// Who a tunnel belongs to.
pub(crate) trait Owner {
    /// The other end opens a stream: [`Tunnel::add`] takes it in.
    ///
    /// # Errors
    /// The last bytes of a stream that is not taken.
    fn open(&mut self, tunnel: &Rc<Tunnel>, stream: u32, open: &Open<'_>) -> Result<(), Vec<u8>>;
    /// The other end opens a stream above the session's limit; returns its last
    /// bytes.
    fn refuse(&mut self, tunnel: &Rc<Tunnel>, open: &Open<'_>) -> Vec<u8>;
    /// The other end says something beside the streams.
    ///
    /// # Errors
    /// Why the tunnel has to end.
    fn news(&mut self, session: &mut Session, news: News) -> Result<(), TunnelEnd>;
}

/// What the other end says beside the streams.
pub(crate) enum News {
    /// An answer to a request for kites.
    Answer(Box<Answer>),
    /// A request for kites, which only agents send.
    #[cfg_attr(not(feature = "relay"), expect(dead_code, reason = "an agent never looks at it"))]
    Request(Box<TunnelRequest>),
    /// What is left of the quota.
    Quota(Quota),
}

/// Why a tunnel ended.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum TunnelEnd {
    /// The other end closed it.
    Closed,
    /// The network did.
    Lost(io::Error),
    /// The other end did not answer a PING.
    Silent,
    /// The other end broke the protocol.
    Protocol(WireError),
    /// This end closed it, for this reason.
    #[cfg(feature = "relay")]
    Dropped(&'static str),
}

/// Ends the streams with the tunnel, however it ends.
struct EndStreams<'a>(&'a Tunnel);

impl Drop for EndStreams<'_> {
    fn drop(&mut self) {
        self.0.is_over.set(true);
        self.0.ended_with_streams.set(self.0.stream_count() > 0);
        for (_, stream) in std::mem::take(&mut *self.0.streams.borrow_mut()) {
            stream.give_up(self.0, "the tunnel ended");
        }
        // Whoever waits for this tunnel has to look again.
        self.0.room.notify(usize::MAX);
        self.0.hearing.notify(usize::MAX);
    }
}

impl Tunnel {
    /// A tunnel that sends data frames with bodies of at most `max_body` bytes
    /// and holds at most `max_buffered` bytes for slow sockets.
    pub(crate) fn new(
        connection: Connection,
        session: Session,
        buffers: Rc<Buffers>,
        max_body: usize,
        max_buffered: usize,
    ) -> Rc<Self> {
        Rc::new(Self {
            connection,
            session: RefCell::new(session),
            outgoing: RefCell::default(),
            buffers,
            max_body: max_body.min(MAX_BODY_BYTES),
            room: Bell::new(),
            work: Notify::default(),
            streams: RefCell::default(),
            buffered: Cell::new(0),
            heads: Cell::new(0),
            max_buffered,
            drained: Notify::default(),
            watched: Cell::new(None),
            deadline_changed: Notify::default(),
            in_doubt: Cell::new(false),
            emptied: Notify::default(),
            heard: Cell::new(Instant::now()),
            hearing: Bell::new(),
            failure: Cell::new(None),
            failing: Notify::default(),
            is_over: Cell::new(false),
            ended_with_streams: Cell::new(false),
        })
    }

    /// Runs until the tunnel ends; then all streams are over. `first` are the
    /// bytes that came glued to the head of the handshake.
    pub(crate) async fn run(
        self: &Rc<Self>,
        first: &[u8],
        heartbeat: Heartbeat,
        owner: &mut dyn Owner,
    ) -> TunnelEnd {
        let _end = EndStreams(self);
        let heartbeat = Cell::new(heartbeat);
        let read = self.read(first, &heartbeat, owner);
        let write = self.write();
        let watch = async {
            self.watch(&heartbeat).await;
            TunnelEnd::Silent
        };
        future::or(read, future::or(write, future::or(self.failed(), watch))).await
    }

    async fn failed(&self) -> TunnelEnd {
        loop {
            self.failing.wait().await;
            if let Some(end) = self.failure.take() {
                return end;
            }
        }
    }

    /// Looks after the heartbeat and the half-closed streams; ends when the
    /// other end is silent for too long.
    async fn watch(&self, heartbeat: &Cell<Heartbeat>) {
        loop {
            let now = Instant::now();
            let mut beating = heartbeat.get();
            if self.in_doubt.take() {
                beating.doubt(now);
            }
            let next = match beating.beat(now, self.stream_count() > 0) {
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
            before(next, self.deadline_changed.wait()).await;
        }
    }

    /// Changes the session, and sends what it has to say then.
    pub(crate) fn with_session<T>(&self, change: impl FnOnce(&mut Session) -> T) -> T {
        let mut session = self.session.borrow_mut();
        let result = change(&mut session);
        self.note_deadline(&session);
        drop(session);
        self.flush();
        result
    }

    /// Takes a stream in; the one that had its number before is given up.
    pub(crate) fn add(&self, stream: u32, serving: Rc<dyn Stream>) {
        let mut streams = self.streams.borrow_mut();
        if streams.is_empty() {
            // From now on somebody waits for the other end.
            self.deadline_changed.notify();
        }
        let old = streams.insert(stream, serving);
        drop(streams);
        if let Some(old) = old {
            old.give_up(self, "the relay gave its number away");
        }
    }

    /// Forgets a stream whose task ends; false when it was forgotten before.
    pub(crate) fn forget(&self, stream: u32, serving: &dyn Stream) -> bool {
        let mut streams = self.streams.borrow_mut();
        // The relay may have given the id to a new stream already.
        let is_same = streams
            .get(&stream)
            .is_some_and(|known| std::ptr::addr_eq(&raw const **known, serving));
        if is_same {
            streams.remove(&stream);
            if streams.is_empty() {
                // Gives back the memory of the crowd that was.
                *streams = LiteMap::new();
                self.emptied.notify();
            }
        }
        is_same
    }

    /// Streams that are known here.
    pub(crate) fn stream_count(&self) -> usize {
        self.streams.borrow().len()
    }

    /// Waits until no stream is known here.
    pub(crate) async fn wait_until_empty(&self) {
        while self.stream_count() > 0 {
            self.emptied.wait().await;
        }
    }

    /// The path may have changed: asks the other end for a sign of life.
    pub(crate) fn doubt(&self) {
        self.in_doubt.set(true);
        self.deadline_changed.notify();
    }

    /// Says goodbye on the connection, as far as that goes at once.
    pub(crate) fn hang_up(&self) {
        // The other end notices the closed socket as well.
        let _ = self.connection.shutdown();
        let _ = self.connection.try_flush();
    }

    /// The connection's addresses, ours and the other end's.
    ///
    /// # Errors
    /// When the kernel has forgotten the connection.
    pub(crate) fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.connection.local_addr()?, self.connection.peer_addr()?))
    }

    /// Whether streams were open when the tunnel ended.
    pub(crate) fn ended_with_streams(&self) -> bool {
        self.ended_with_streams.get()
    }

    /// Whether this stream is known here.
    pub(crate) fn has(&self, stream: u32) -> bool {
        self.streams.borrow().contains_key(&stream)
    }

    /// Takes out a stream that the other end has left while its socket is not
    /// done; such a one goes first when room is needed.
    pub(crate) fn give_up_a_left_one(&self) -> bool {
        let mut streams = self.streams.borrow_mut();
        let left = streams.iter().find(|(_, stream)| stream.is_left()).map(|(&stream, _)| stream);
        let Some(left) = left.and_then(|left| streams.remove(&left)) else { return false };
        drop(streams);
        left.give_up(self, "room was needed for another");
        true
    }

    /// Counts what a stream keeps in memory, or no longer does.
    pub(crate) fn count_held(&self, before: Held, after: Held) {
        self.buffered.set(self.buffered.get() + after.waiting - before.waiting);
        self.buffers.held.set(self.buffers.held.get() + after.waiting - before.waiting);
        self.heads.set(self.heads.get() + after.head - before.head);
        if after.waiting < before.waiting {
            self.drained.notify();
        }
    }

    /// Ends the tunnel; its `run` returns this, unless there was a reason
    /// before.
    pub(crate) fn drop_with(&self, end: TunnelEnd) {
        let first = self.failure.take().unwrap_or(end);
        self.failure.set(Some(first));
        self.failing.notify();
    }

    fn stream(&self, stream: u32) -> Option<Rc<dyn Stream>> {
        self.streams.borrow().get(&stream).map(Rc::clone)
    }

    fn note_deadline(&self, session: &Session) {
        if session.deadline() != self.watched.get() {
            self.deadline_changed.notify();
        }
    }
}

impl TunnelEnd {
    /// In words, where `peer` is who is at the other end.
    pub(crate) fn told_of(&self, peer: &str) -> String {
        match self {
            Self::Closed => format!("the {peer} closed the tunnel"),
            Self::Lost(error) => format!("the tunnel was lost: {error}"),
            Self::Silent => format!("the {peer} does not answer any more"),
            Self::Protocol(error) => format!("the {peer} sent {error}"),
            #[cfg(feature = "relay")]
            Self::Dropped(why) => (*why).to_owned(),
        }
    }
}
