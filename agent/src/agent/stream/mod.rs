//! One visitor's stream: dials the service when the stream opens, so that
//! services that speak first do not wait, and moves bytes both ways until
//! both are done.

mod fate;
mod incoming;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use log::info;
use smol::future;

use super::answer::Refusal;
use super::http::{Piece, RequestFilter};
use super::notify::Notify;
use super::proxy_protocol;
use super::tunnel::Tunnel;
use super::visitors::Request;
use crate::config::KiteSettings;
use crate::net::{ServiceSocket, dial_service};
use crate::wire::{Eof, HALF_CLOSED_LIMIT, Open};
use fate::Fate;
use incoming::Incoming;

pub(super) use incoming::Held;

/// Time that a service has to accept a connection. A machine in the service's
/// network that is switched off is noticed after three seconds.
const DIAL_TIME: Duration = Duration::from_secs(10);
/// Time that a service gets to say more at once, when the relay has to bear
/// many small frames already; below what a person notices.
const GATHERING_TIME: Duration = Duration::from_millis(30);
/// Bytes that a stream may send before the others have their turn.
const TURN_BYTES: usize = 64 * 1024;

/// A stream, shared by its task and the tunnel's reader.
pub(super) struct Stream {
    id: u32,
    request: Request,
    /// The kite that serves the visitor, once it is found.
    kite: RefCell<Option<Rc<KiteSettings>>>,
    started: Instant,
    socket: RefCell<Option<Rc<ServiceSocket>>>,
    incoming: RefCell<Incoming>,
    /// What the relay closed.
    closed: Cell<Eof>,
    /// Whether the relay was told that nothing more will come.
    is_told: Cell<bool>,
    /// Rung when there is something for the service.
    for_service: Notify,
    /// Rung when there may be room in the tunnel.
    for_tunnel: Notify,
    fate: Cell<Option<Fate>>,
    /// Rung with a new fate.
    fated: Notify,
    sent: Cell<u64>,
}

/// What came of moving bytes from a service into the tunnel.
pub(super) enum Progress {
    /// So many bytes went.
    Moved(usize),
    /// The service has nothing now.
    ServiceIsIdle,
    /// The service is at its end.
    End,
    /// The service's connection broke.
    Failed(io::Error),
    /// The visitor has to take some first.
    WindowIsFull,
    /// The tunnel has to take some first.
    TunnelIsFull,
}

/// What came of giving a service what waits for it.
enum Supply {
    /// There is more to give.
    More,
    /// It takes no more now.
    ServiceIsBusy,
    /// It has taken everything so far.
    NothingLeft,
    /// Nothing more will come, or be taken.
    Done,
}

impl Stream {
    pub(super) fn new(id: u32, open: &Open<'_>) -> Rc<Self> {
        Rc::new(Self {
            id,
            request: Request::new(open),
            kite: RefCell::new(None),
            started: Instant::now(),
            socket: RefCell::new(None),
            incoming: RefCell::default(),
            closed: Cell::default(),
            is_told: Cell::new(false),
            for_service: Notify::default(),
            for_tunnel: Notify::default(),
            fate: Cell::new(None),
            fated: Notify::default(),
            sent: Cell::new(0),
        })
    }

    /// Serves the visitor to the end.
    pub(super) async fn serve(self: Rc<Self>, tunnel: Rc<Tunnel>) {
        let fated = async {
            self.fated.wait().await;
        };
        let served = async {
            if let Err(fate) = self.run(&tunnel).await {
                // A request that is refused is refused, whatever else breaks.
                let fate = self.fate.take().unwrap_or(fate);
                self.fate.set(Some(fate));
            }
        };
        future::or(served, fated).await;
        let fate = self.fate.take();
        *self.socket.borrow_mut() = None;
        // What still comes is for nobody.
        self.incoming.borrow_mut().service_is_closed = true;
        let refusal = match &fate {
            Some(Fate::Refused(refusal)) => Some(*refusal),
            Some(Fate::Unserved(_)) => Some(Refusal::Unavailable),
            _ => None,
        };
        if let Some(refusal) = refusal {
            let answer = tunnel.visitors.refuse(&self.request, refusal);
            tunnel.wait_for_room().await;
            if !self.closed.get().write && !self.is_told.get() {
                tunnel.answer(self.id, &answer);
            }
        }
        tunnel.with_session(|session| session.close(Instant::now(), self.id, Eof::BOTH));
        tunnel.forget(self.id, &self);
        self.finish(&tunnel, &fate.map_or_else(String::new, |fate| format!(", {fate}")));
    }

    /// Takes bytes from the visitor; returns how many bytes are off our hands,
    /// these or earlier ones.
    pub(super) fn take(&self, tunnel: &Tunnel, bytes: &[u8]) -> usize {
        let mut incoming = self.incoming.borrow_mut();
        incoming.received += bytes.len() as u64;
        if incoming.service_is_closed {
            return 0;
        }
        let before = incoming.held();
        match &*self.socket.borrow() {
            Some(socket) => self.filter(&mut incoming, socket, bytes),
            None => incoming.waiting.extend_from_slice(bytes),
        }
        tunnel.count_held(before, incoming.held());
        incoming.newly_delivered()
    }

    /// The relay closes the stream or a half of it.
    pub(super) fn end(&self, eof: Eof) {
        let mut closed = self.closed.get();
        closed.read |= eof.read;
        closed.write |= eof.write;
        self.closed.set(closed);
        self.for_service.notify();
        self.for_tunnel.notify();
    }

    /// The visitor has taken data: there may be room for more.
    pub(super) fn wake_reader(&self) {
        self.for_tunnel.notify();
    }

    /// Ends the stream: it was half-closed and idle for too long.
    pub(super) fn abandon(&self) {
        self.meet(Fate::Abandoned);
    }

    /// Ends the stream: its service takes nothing.
    pub(super) fn overrun(&self) {
        self.meet(Fate::Overrun);
    }

    /// Whether the relay closed both directions.
    pub(super) fn is_left(&self) -> bool {
        self.closed.get() == Eof::BOTH
    }

    /// The stream's task is dropped; `why` is for the log.
    pub(super) fn give_up(&self, tunnel: &Tunnel, why: &str) {
        self.finish(tunnel, &format!(", {why}"));
    }

    /// Forgets what waits, and writes the one log line of this visitor.
    fn finish(&self, tunnel: &Tunnel, end: &str) {
        let mut incoming = self.incoming.borrow_mut();
        let held = incoming.held();
        incoming.filter = None;
        incoming.waiting = Vec::new();
        incoming.taken = 0;
        tunnel.count_held(held, Held::default());
        let (received, sent) = (incoming.received, self.sent.get());
        let seconds = self.started.elapsed().as_secs_f64();
        let service = match &*self.kite.borrow() {
            Some(kite) => match &kite.name {
                Some(name) => format!("{name} at {}", kite.origin),
                None => kite.origin.to_string(),
            },
            None => "no service".to_owned(),
        };
        let request = &self.request;
        info!("{request} to {service}: {seconds:.1} s, {received} bytes in, {sent} bytes out{end}");
    }

    /// What this stream keeps in memory.
    pub(super) fn held(&self) -> Held {
        self.incoming.borrow().held()
    }

    fn meet(&self, fate: Fate) {
        self.fate.set(Some(fate));
        self.fated.notify();
    }

    async fn run(&self, tunnel: &Tunnel) -> Result<(), Fate> {
        // Its state is large and needed for a moment only.
        let (kite, socket) = Box::pin(self.dial(tunnel)).await?;
        *self.kite.borrow_mut() = Some(Rc::clone(&kite));
        self.connect(tunnel, kite, Rc::clone(&socket));
        let to_tunnel = self.move_to_tunnel(tunnel, &socket);
        let to_service = async {
            self.move_to_service(tunnel, &socket).await;
            Ok(())
        };
        // A service whose connection broke takes nothing more either.
        future::try_zip(to_tunnel, to_service).await.map(drop)
    }

    /// Finds and dials the service; the next one when it is down and there is
    /// a fall-back.
    async fn dial(&self, tunnel: &Tunnel) -> Result<(Rc<KiteSettings>, Rc<ServiceSocket>), Fate> {
        let mut why = "no such kite here".to_owned();
        for kite in tunnel.visitors.candidates(&self.request) {
            if !self.request.visitor.is_allowed(&kite.flags.allowed) {
                // A fall-back must not let in whom the first one keeps out.
                let why = format!("{} lets in other addresses only (flag ip)", kite.id);
                return Err(Fate::Unserved(why));
            }
            match dial_service(&kite.origin, Instant::now() + DIAL_TIME).await {
                Ok(socket) => return Ok((kite, Rc::new(socket))),
                Err(error) => why = error.to_string(),
            }
        }
        Err(Fate::Unserved(why))
    }

    /// The service is there: what has come meanwhile goes to it.
    fn connect(&self, tunnel: &Tunnel, kite: Rc<KiteSettings>, socket: Rc<ServiceSocket>) {
        let mut incoming = self.incoming.borrow_mut();
        let before = incoming.held();
        let early = std::mem::take(&mut incoming.waiting);
        if let Some(version) = kite.flags.proxy_protocol {
            let visitor = &self.request.visitor;
            proxy_protocol::write_header(version, visitor, &mut incoming.waiting);
        }
        if kite.id.is_http() {
            incoming.filter = Some(RequestFilter::new(kite, self.request.visitor.clone()));
        }
        self.filter(&mut incoming, &socket, &early);
        tunnel.count_held(before, incoming.held());
        *self.socket.borrow_mut() = Some(socket);
        let delivered = incoming.newly_delivered();
        drop(incoming);
        tunnel.with_session(|session| session.delivered(self.id, delivered));
        self.for_service.notify();
    }

    /// Passes bytes through the filter, if there is one, to the service.
    fn filter(&self, incoming: &mut Incoming, socket: &ServiceSocket, mut bytes: &[u8]) {
        let Some(mut filter) = incoming.filter.take() else {
            incoming.pass(socket, bytes);
            self.note_waiting(incoming);
            return;
        };
        while let Some(piece) = filter.next(&mut bytes) {
            match piece {
                Piece::Forward(bytes) => incoming.pass(socket, bytes),
                Piece::Refuse(refusal) => self.meet(Fate::Refused(refusal)),
            }
        }
        incoming.filter = Some(filter);
        self.note_waiting(incoming);
    }

    fn note_waiting(&self, incoming: &Incoming) {
        if incoming.waiting_bytes() > 0 || incoming.service_is_closed {
            self.for_service.notify();
        }
    }

    async fn move_to_tunnel(&self, tunnel: &Tunnel, socket: &ServiceSocket) -> Result<(), Fate> {
        let mut turn = 0;
        while !self.closed.get().write {
            tunnel.wait_for_room().await;
            match tunnel.forward(self.id, |buffer| socket.try_read(buffer)) {
                Progress::Moved(bytes) => {
                    self.sent.set(self.sent.get() + bytes as u64);
                    turn += bytes;
                    if turn >= TURN_BYTES {
                        turn = 0;
                        tunnel.pass_room_on();
                        future::yield_now().await;
                    }
                }
                Progress::TunnelIsFull => {}
                Progress::WindowIsFull => {
                    tunnel.pass_room_on();
                    self.for_tunnel.wait().await;
                }
                Progress::ServiceIsIdle => {
                    turn = 0;
                    tunnel.pass_room_on();
                    if tunnel.is_strained() {
                        Timer::after(GATHERING_TIME).await;
                    }
                    let woken = async {
                        self.for_tunnel.wait().await;
                        Ok(())
                    };
                    future::or(socket.readable(), woken).await.map_err(Fate::Broken)?;
                }
                Progress::End => {
                    tunnel.pass_room_on();
                    self.is_told.set(true);
                    let eof = Eof { read: true, write: false };
                    tunnel.with_session(|session| session.close(Instant::now(), self.id, eof));
                    return Ok(());
                }
                Progress::Failed(error) => {
                    tunnel.pass_room_on();
                    return Err(Fate::Broken(error));
                }
            }
        }
        Ok(())
    }

    async fn move_to_service(&self, tunnel: &Tunnel, socket: &ServiceSocket) {
        loop {
            match self.supply(tunnel, socket) {
                Supply::More => {}
                Supply::ServiceIsBusy => {
                    // A failure shows at the next try.
                    let writable = async {
                        let _ = socket.writable().await;
                        true
                    };
                    if !future::or(writable, self.patience()).await {
                        self.meet(Fate::Abandoned);
                        return;
                    }
                }
                Supply::NothingLeft => self.for_service.wait().await,
                Supply::Done => return,
            }
        }
    }

    /// How long a service may take nothing: as long as its visitor is there,
    /// then as long as a half-closed stream may. True when that has changed.
    async fn patience(&self) -> bool {
        if self.is_left() {
            Timer::after(HALF_CLOSED_LIMIT).await;
            return false;
        }
        self.for_service.wait().await;
        true
    }

    /// Gives the service what waits for it, and the end.
    fn supply(&self, tunnel: &Tunnel, socket: &ServiceSocket) -> Supply {
        let mut incoming = self.incoming.borrow_mut();
        let before = incoming.held();
        let is_blocked = incoming.flush(socket);
        tunnel.count_held(before, incoming.held());
        let delivered = incoming.newly_delivered();
        if incoming.service_is_closed {
            drop(incoming);
            let eof = Eof { read: false, write: true };
            tunnel.with_session(|session| session.close(Instant::now(), self.id, eof));
            return Supply::Done;
        }
        if delivered > 0 {
            tunnel.with_session(|session| session.delivered(self.id, delivered));
        }
        if is_blocked {
            return Supply::ServiceIsBusy;
        }
        if !self.closed.get().read {
            return Supply::NothingLeft;
        }
        let before = incoming.held();
        let rest = incoming.filter.take().and_then(|mut filter| filter.end().map(<[u8]>::to_vec));
        let has_more = rest.is_some();
        incoming.waiting = rest.unwrap_or_default();
        tunnel.count_held(before, incoming.held());
        if has_more {
            return Supply::More;
        }
        // It fails when the service is gone, which reading from it shows.
        let _ = socket.shutdown_write();
        Supply::Done
    }
}
