//! One stream of a visitor: moves bytes between the visitor's connection and
//! the tunnel of the kite, and follows HTTP on the way, so that the connection
//! can go on to another kite once a request is answered.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Instant;

use smol::future;

use super::exchange::{Exchange, Progress, Request};
use super::gone::{Loss, until_lost};
use crate::net::Connection;
use crate::tunnel::{Backlog, Held, Inflow, Notify, Outflow, Supply, Tunnel, move_in, move_out};
use crate::wire::{Eof, Open};

/// Bytes that are read at once while an answer is awaited; what a visitor sends
/// then is the next request, which has to wait.
const EARLY_BYTES: usize = 4096;

/// A stream of one visitor.
pub(super) struct VisitStream {
    id: u32,
    visitor: Rc<Connection>,
    /// What goes to the kite before anything else of the visitor.
    ahead: RefCell<Vec<u8>>,
    backlog: RefCell<Backlog>,
    exchange: RefCell<Exchange>,
    /// What the agent closed.
    closed: Cell<Eof>,
    /// The visitor has sent all that it will, and the agent was told.
    is_told: Cell<bool>,
    /// Why it ended early.
    fate: Cell<Option<Fate>>,
    /// Rung with a fate.
    fated: Notify,
    /// Rung when there is something for the visitor.
    for_visitor: Notify,
    /// Rung when there may be room in the tunnel.
    for_tunnel: Notify,
    sent: Cell<u64>,
    /// Bytes that had gone and come before this request.
    before: Cell<(u64, u64)>,
}

/// Why a stream ends before both directions are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was half-closed and idle for too long.
    Abandoned,
    /// The visitor takes nothing while the buffers are full.
    Overrun,
    /// The tunnel ended, or forgot the stream.
    TunnelEnded,
    /// The visitor's connection broke.
    VisitorGone,
    /// The visitor sent a part of a request, and then nothing.
    Stalled,
    /// What the visitor sends as the body of a request is none.
    BadBody(&'static str),
    /// The visitor asks for more after an answer that nobody can follow.
    Unclear,
}

/// What comes after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The visitor may send another request, on this stream or another.
    Next,
    /// The visitor's connection is to be closed.
    Close,
    /// Nothing came in answer to the request.
    Unanswered,
    /// What the visitor sends as the body of the request is none, and nothing
    /// has come in answer; in words to follow "because".
    BadBody(&'static str),
    /// It is to be cut, so that nobody takes a part of an answer for all of it.
    Cut(Fate),
}

impl VisitStream {
    /// Opens a stream on `tunnel`, which has room; `first` goes to the kite
    /// before what the visitor sends from now on. `None` when the agent has all
    /// the streams that it takes.
    pub(super) fn open(
        tunnel: &Tunnel,
        visitor: &Rc<Connection>,
        open: &Open<'_>,
        mut first: Vec<u8>,
        exchange: Option<Request>,
    ) -> Option<Rc<Self>> {
        let (id, sent) = tunnel.open(open, &first)?;
        let ahead = first.split_off(sent);
        let stream = Rc::new(Self {
            id,
            visitor: Rc::clone(visitor),
            ahead: RefCell::new(ahead),
            backlog: RefCell::default(),
            exchange: RefCell::new(Exchange::new(exchange)),
            closed: Cell::default(),
            is_told: Cell::new(false),
            fate: Cell::new(None),
            fated: Notify::default(),
            for_visitor: Notify::default(),
            for_tunnel: Notify::default(),
            sent: Cell::new(sent as u64),
            before: Cell::new((0, 0)),
        });
        tunnel.add(id, Rc::clone(&stream) as Rc<dyn crate::tunnel::Stream>);
        Some(stream)
    }

    /// Begins another request on a stream that [`Self::may_go_on`].
    pub(super) fn begin(&self, head: Vec<u8>, request: Request) {
        self.before.set(self.bytes());
        *self.ahead.borrow_mut() = head;
        *self.exchange.borrow_mut() = Exchange::new(Some(request));
    }

    /// Whether another request may go on this stream.
    pub(super) fn may_go_on(&self) -> bool {
        self.exchange.borrow().may_go_on()
            && self.closed.get() == Eof::default()
            && self.fate.get().is_none()
    }

    /// Bytes to the kite and from it so far.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.sent.get(), self.backlog.borrow().received())
    }

    /// The same since the begin of this request.
    pub(super) fn new_bytes(&self) -> (u64, u64) {
        let ((sent, received), before) = (self.bytes(), self.before.get());
        (sent - before.0, received - before.1)
    }

    /// Status of the answer, where one was read.
    pub(super) fn status(&self) -> Option<u16> {
        self.exchange.borrow().status()
    }

    /// Whether something of an answer to this request has come.
    fn is_answered(&self) -> bool {
        self.backlog.borrow().received() > self.before.get().1
    }

    /// Closes the stream and forgets it.
    pub(super) fn close(&self, tunnel: &Tunnel) {
        tunnel.with_session(|session| session.close(Instant::now(), self.id, Eof::BOTH));
        let held = crate::tunnel::Stream::held(self);
        drop(self.backlog.borrow_mut().take());
        tunnel.count_held(held, Held::default());
        tunnel.forget(self.id, self);
    }

    /// Moves bytes until the request is answered, or both directions are done.
    pub(super) async fn run(&self, tunnel: &Tunnel) -> Outcome {
        let fated = async {
            self.fated.wait().await;
        };
        let served = async {
            let to_kite = async {
                if self.move_out(tunnel).await.is_err() {
                    self.meet(Fate::VisitorGone);
                }
            };
            let to_visitor = async {
                if !move_in(tunnel, self).await {
                    self.meet(Fate::Abandoned);
                }
            };
            future::zip(to_kite, to_visitor).await;
        };
        let gone = async {
            let unfinished = || self.exchange.borrow().is_body_due().then(|| self.bytes());
            self.meet(match until_lost(&self.visitor, unfinished).await {
                Loss::Gone => Fate::VisitorGone,
                Loss::Stalled => Fate::Stalled,
            });
        };
        future::or(served, future::or(fated, gone)).await;
        let is_unanswered = self.exchange.borrow().progress().is_some() && !self.is_answered();
        match self.fate.get() {
            None | Some(Fate::TunnelEnded) if is_unanswered => Outcome::Unanswered,
            Some(Fate::BadBody(why)) if is_unanswered => Outcome::BadBody(why),
            Some(Fate::BadBody(_)) if self.exchange.borrow().is_answered() => Outcome::Close,
            Some(Fate::Unclear) => Outcome::Close,
            Some(fate) => Outcome::Cut(fate),
            None if self.may_go_on() && !self.is_told.get() => Outcome::Next,
            None => Outcome::Close,
        }
    }

    async fn move_out(&self, tunnel: &Tunnel) -> io::Result<()> {
        loop {
            if move_out(tunnel, self.id, self).await? {
                self.tell_end(tunnel);
            }
            if !self.wait_for_answer(tunnel).await? {
                return Ok(());
            }
        }
    }

    /// Waits until the answer to a complete request is over, and looks whether
    /// the visitor stays; true when another protocol begins, which has to be
    /// carried on.
    async fn wait_for_answer(&self, tunnel: &Tunnel) -> io::Result<bool> {
        loop {
            let progress = self.exchange.borrow().progress();
            match progress {
                Some(Progress::Awaited | Progress::Endless) => {}
                Some(Progress::Unclear) => {
                    if self.visitor.has_unread() {
                        self.meet(Fate::Unclear);
                    }
                }
                Some(Progress::Switched) => {
                    self.exchange.borrow_mut().stop_following();
                    return Ok(!self.is_told.get());
                }
                None | Some(Progress::Over { .. }) => return Ok(false),
            }
            if self.closed.get().read || self.backlog.borrow().is_closed {
                return Ok(false);
            }
            let woken = async {
                self.for_tunnel.wait().await;
                Ok(false)
            };
            let may_speak = !self.is_told.get() && !self.visitor.has_unread();
            let spoken = async {
                if !may_speak {
                    future::pending::<()>().await;
                }
                self.visitor.readable().await?;
                self.hear_early()
            };
            if future::or(woken, spoken).await? {
                self.tell_end(tunnel);
            }
        }
    }

    /// Reads what a visitor says before it has its answer, and gives it back
    /// for later; true at its end.
    fn hear_early(&self) -> io::Result<bool> {
        let mut buffer = [0; EARLY_BYTES];
        match self.visitor.try_read(&mut buffer) {
            Ok(0) => Ok(true),
            Ok(length) => {
                self.visitor.put_back(&buffer[..length]);
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Tells the agent that nothing more will come from the visitor.
    fn tell_end(&self, tunnel: &Tunnel) {
        self.is_told.set(true);
        let eof = Eof { read: true, write: false };
        tunnel.with_session(|session| session.close(Instant::now(), self.id, eof));
    }

    fn meet(&self, fate: Fate) {
        if self.fate.get().is_none() {
            self.fate.set(Some(fate));
        }
        self.fated.notify();
    }

    /// What of `bytes` the visitor is to get.
    fn follow<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        let (usable, is_news) = self.exchange.borrow_mut().follow_answer(bytes);
        if is_news {
            self.for_visitor.notify();
            self.for_tunnel.notify();
        }
        usable
    }
}

impl crate::tunnel::Stream for VisitStream {
    fn take(&self, tunnel: &Tunnel, bytes: &[u8]) -> usize {
        let mut backlog = self.backlog.borrow_mut();
        backlog.receive(bytes.len());
        if backlog.is_closed {
            return 0;
        }
        let before = backlog.waiting_bytes();
        backlog.pass(&*self.visitor, self.follow(bytes));
        let after = backlog.waiting_bytes();
        tunnel.count_held(Held { waiting: before, head: 0 }, Held { waiting: after, head: 0 });
        // While bytes wait already, the socket is waited for.
        if before == 0 && (after > 0 || backlog.is_closed || self.visitor.has_unsent()) {
            self.for_visitor.notify();
        }
        backlog.newly_delivered()
    }

    fn end(&self, eof: Eof) {
        let mut closed = self.closed.get();
        closed.read |= eof.read;
        closed.write |= eof.write;
        self.closed.set(closed);
        self.for_visitor.notify();
        self.for_tunnel.notify();
    }

    fn wake(&self) {
        self.for_tunnel.notify();
    }

    fn abandon(&self) {
        self.meet(Fate::Abandoned);
    }

    fn overrun(&self) {
        self.meet(Fate::Overrun);
    }

    fn is_left(&self) -> bool {
        self.closed.get() == Eof::BOTH
    }

    fn taken(&self) -> u64 {
        self.backlog.borrow().taken_bytes()
    }

    fn held(&self) -> Held {
        Held { waiting: self.backlog.borrow().waiting_bytes(), head: 0 }
    }

    fn give_up(&self, tunnel: &Tunnel, _why: &str) {
        if self.closed.get().read || self.exchange.borrow().is_answered() {
            // All of it is here: the visitor gets the rest as fast as he takes
            // it.
            return self.end(Eof::BOTH);
        }
        let held = crate::tunnel::Stream::held(self);
        let mut backlog = self.backlog.borrow_mut();
        drop(backlog.take());
        backlog.is_closed = true;
        drop(backlog);
        tunnel.count_held(held, Held::default());
        self.meet(Fate::TunnelEnded);
    }
}

impl Outflow for VisitStream {
    fn is_wanted(&self) -> bool {
        let is_head_due = !self.ahead.borrow().is_empty();
        let is_due = self.exchange.borrow().wants_request(is_head_due);
        is_due && !self.closed.get().write && !self.is_told.get()
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ahead = self.ahead.borrow_mut();
        if !ahead.is_empty() {
            let length = ahead.len().min(buffer.len());
            buffer[..length].copy_from_slice(&ahead[..length]);
            ahead.drain(..length);
            if ahead.is_empty() {
                // A stream may last for days.
                *ahead = Vec::new();
            }
            return Ok(length);
        }
        let length = self.visitor.try_read(buffer)?;
        if length == 0 {
            return Ok(0);
        }
        match self.exchange.borrow_mut().follow_request(&buffer[..length]) {
            Ok(used) => {
                if used < length {
                    self.visitor.put_back(&buffer[used..length]);
                }
                if used == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(used) }
            }
            Err(why) => {
                self.meet(Fate::BadBody(why));
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }

    fn moved(&self, bytes: usize) {
        self.sent.set(self.sent.get() + bytes as u64);
    }

    fn bell(&self) -> &Notify {
        &self.for_tunnel
    }

    async fn readable(&self) -> io::Result<()> {
        self.visitor.readable().await
    }
}

impl Inflow for VisitStream {
    fn supply(&self, tunnel: &Tunnel) -> Supply {
        let mut backlog = self.backlog.borrow_mut();
        let before = Held { waiting: backlog.waiting_bytes(), head: 0 };
        let is_blocked = backlog.flush(&*self.visitor);
        let after = Held { waiting: backlog.waiting_bytes(), head: 0 };
        tunnel.count_held(before, after);
        let delivered = backlog.newly_delivered();
        let is_closed = backlog.is_closed;
        drop(backlog);
        if is_closed {
            // A connection that takes nothing was reset: nothing comes of it
            // either, and nobody else will say so.
            self.meet(Fate::VisitorGone);
            return Supply::Done;
        }
        if delivered > 0 {
            tunnel.with_session(|session| session.delivered(self.id, delivered));
        }
        if is_blocked {
            return Supply::SocketIsBusy;
        }
        let progress = self.exchange.borrow().progress();
        if matches!(progress, Some(Progress::Over { .. })) {
            return Supply::Done;
        }
        if !self.closed.get().read {
            return Supply::NothingLeft;
        }
        if progress.is_some() && !self.is_answered() {
            // There is a page for that.
            return Supply::Done;
        }
        match self.visitor.shutdown() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Supply::SocketIsBusy,
            _ => Supply::Done,
        }
    }

    fn bell(&self) -> &Notify {
        &self.for_visitor
    }

    fn is_left(&self) -> bool {
        crate::tunnel::Stream::is_left(self)
    }

    async fn writable(&self) -> io::Result<()> {
        self.visitor.writable().await
    }
}
