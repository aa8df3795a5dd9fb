//! One visitor's stream: dials the service when the stream opens, so that
//! services that speak first do not wait, and moves bytes both ways until
//! both are done.

mod fate;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use log::info;
use smol::{Task, future};

use super::answer::Refusal;
use super::http::{Piece, RequestFilter};
use super::proxy_protocol;
use super::visitors::{Request, Visitors};
use crate::config::KiteSettings;
use crate::net::{ServiceSocket, Socket as _, dial_service};
use crate::tunnel::{Backlog, Held, Inflow, Notify, Outflow, Supply, Tunnel, move_in, move_out};
use crate::wire::{Eof, Open};
use fate::Fate;

/// Time that a service has to accept a connection. A machine in the service's
/// network that is switched off is noticed after three seconds.
const DIAL_TIME: Duration = Duration::from_secs(5);
/// A stream, shared by its task and the tunnel's reader.
pub(super) struct Stream {
    id: u32,
    visitors: Rc<Visitors>,
    request: Request,
    /// Ends with the stream.
    task: Cell<Option<Task<()>>>,
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

/// What the visitor has sent and the service has not taken yet.
#[derive(Default)]
struct Incoming {
    /// What the kite does to requests; `None` before the service is there and
    /// for kites that are not HTTP.
    filter: Option<RequestFilter>,
    backlog: Backlog,
}

impl Incoming {
    fn held(&self) -> Held {
        let head = self.filter.as_ref().map_or(0, RequestFilter::held_bytes);
        Held { waiting: self.backlog.waiting_bytes(), head }
    }
}

impl Stream {
    pub(super) fn new(id: u32, open: &Open<'_>, visitors: &Rc<Visitors>) -> Rc<Self> {
        Rc::new(Self {
            id,
            visitors: Rc::clone(visitors),
            request: Request::new(open),
            task: Cell::new(None),
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

    /// Lets the task that serves the visitor end with the stream.
    pub(super) fn keep(&self, task: Task<()>) {
        self.task.set(Some(task));
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
        self.incoming.borrow_mut().backlog.is_closed = true;
        let refusal = match &fate {
            Some(Fate::Refused(refusal)) => Some(*refusal),
            Some(Fate::Unserved(_)) => Some(Refusal::Unavailable),
            _ => None,
        };
        if let Some(refusal) = refusal {
            let answer = self.visitors.refuse(&self.request, refusal);
            tunnel.wait_for_room().await;
            if !self.closed.get().write && !self.is_told.get() {
                tunnel.answer(self.id, &answer);
            }
        }
        tunnel.with_session(|session| session.close(Instant::now(), self.id, Eof::BOTH));
        if tunnel.forget(self.id, &*self) {
            // It is the task that is running now.
            if let Some(task) = self.task.take() {
                task.detach();
            }
        }
        self.finish(&tunnel, &fate.map_or_else(String::new, |fate| format!(", {fate}")));
    }

    /// Forgets what waits, and writes the one log line of this visitor.
    fn finish(&self, tunnel: &Tunnel, end: &str) {
        let mut incoming = self.incoming.borrow_mut();
        let held = incoming.held();
        incoming.filter = None;
        drop(incoming.backlog.take());
        tunnel.count_held(held, Held::default());
        let (received, sent) = (incoming.backlog.received(), self.sent.get());
        let lasted = self.started.elapsed();
        let (seconds, tenths) = (lasted.as_secs(), lasted.subsec_millis() / 100);
        let service = match &*self.kite.borrow() {
            Some(kite) => match &kite.name {
                Some(name) => format!("{name} at {}", kite.origin),
                None => kite.origin.to_string(),
            },
            None => "no service".to_owned(),
        };
        let request = &self.request;
        info!(
            "{request} to {service}: {seconds}.{tenths} s, {received} bytes in, {sent} bytes out{end}"
        );
    }

    fn meet(&self, fate: Fate) {
        self.fate.set(Some(fate));
        self.fated.notify();
    }

    async fn run(&self, tunnel: &Tunnel) -> Result<(), Fate> {
        // Its state is large and needed for a moment only.
        let (kite, socket) = Box::pin(self.dial()).await?;
        *self.kite.borrow_mut() = Some(Rc::clone(&kite));
        self.connect(tunnel, kite, Rc::clone(&socket));
        let transfer = Transfer { stream: self, socket: &socket };
        let to_tunnel = async {
            if move_out(tunnel, self.id, &transfer).await.map_err(Fate::Broken)? {
                self.is_told.set(true);
                let eof = Eof { read: true, write: false };
                tunnel.with_session(|session| session.close(Instant::now(), self.id, eof));
            }
            Ok(())
        };
        let to_service = async {
            if !move_in(tunnel, &transfer).await {
                self.meet(Fate::Abandoned);
            }
            Ok(())
        };
        // A service whose connection broke takes nothing more either.
        future::try_zip(to_tunnel, to_service).await.map(drop)
    }

    /// Finds and dials the service; the next one when it is down and there is
    /// a fall-back.
    async fn dial(&self) -> Result<(Rc<KiteSettings>, Rc<ServiceSocket>), Fate> {
        let mut why = "no such kite here".to_owned();
        for kite in self.visitors.candidates(&self.request) {
            if !self.request.visitor.is_allowed(&kite.flags.allowed) {
                // A fall-back must not let in whom the first one keeps out.
                let why = format!("{} lets in other addresses only (flag ip)", kite.id);
                return Err(Fate::Unserved(why));
            }
            if !self.visitors.health().is_open(&kite) {
                why = format!("{} fails its health check", kite.origin);
                continue;
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
        let early = incoming.backlog.take();
        if let Some(version) = kite.flags.proxy_protocol {
            let mut header = Vec::new();
            proxy_protocol::write_header(version, &self.request.visitor, &mut header);
            incoming.backlog.push(&header);
        }
        if kite.id.is_http() {
            incoming.filter = Some(RequestFilter::new(kite, self.request.visitor.clone()));
        }
        self.filter(&mut incoming, &socket, &early);
        tunnel.count_held(before, incoming.held());
        *self.socket.borrow_mut() = Some(socket);
        let delivered = incoming.backlog.newly_delivered();
        drop(incoming);
        tunnel.with_session(|session| session.delivered(self.id, delivered));
        self.for_service.notify();
    }

    /// Passes bytes through the filter, if there is one, to the service.
    fn filter(&self, incoming: &mut Incoming, socket: &ServiceSocket, mut bytes: &[u8]) {
        let Incoming { filter, backlog } = incoming;
        match filter {
            None => backlog.pass(socket, bytes),
            Some(filter) => {
                while let Some(piece) = filter.next(&mut bytes) {
                    match piece {
                        Piece::Forward(bytes) => backlog.pass(socket, bytes),
                        Piece::Refuse(refusal) => self.meet(Fate::Refused(refusal)),
                    }
                }
            }
        }
        if backlog.waiting_bytes() > 0 || backlog.is_closed {
            self.for_service.notify();
        }
    }
}

impl crate::tunnel::Stream for Stream {
    fn take(&self, tunnel: &Tunnel, bytes: &[u8]) -> usize {
        let mut incoming = self.incoming.borrow_mut();
        incoming.backlog.receive(bytes.len());
        if incoming.backlog.is_closed {
            return 0;
        }
        let before = incoming.held();
        match &*self.socket.borrow() {
            Some(socket) => self.filter(&mut incoming, socket, bytes),
            None => incoming.backlog.push(bytes),
        }
        tunnel.count_held(before, incoming.held());
        incoming.backlog.newly_delivered()
    }

    fn end(&self, eof: Eof) {
        let mut closed = self.closed.get();
        closed.read |= eof.read;
        closed.write |= eof.write;
        self.closed.set(closed);
        self.for_service.notify();
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
        self.incoming.borrow().backlog.taken_bytes()
    }

    fn held(&self) -> Held {
        self.incoming.borrow().held()
    }

    fn give_up(&self, tunnel: &Tunnel, why: &str) {
        drop(self.task.take());
        self.finish(tunnel, &format!(", {why}"));
    }
}

/// A stream and the socket of its service.
struct Transfer<'a> {
    stream: &'a Stream,
    socket: &'a ServiceSocket,
}

impl Outflow for Transfer<'_> {
    fn is_wanted(&self) -> bool {
        !self.stream.closed.get().write
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.try_read(buffer)
    }

    fn moved(&self, bytes: usize) {
        self.stream.sent.set(self.stream.sent.get() + bytes as u64);
    }

    fn bell(&self) -> &Notify {
        &self.stream.for_tunnel
    }

    async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }
}

impl Inflow for Transfer<'_> {
    fn supply(&self, tunnel: &Tunnel) -> Supply {
        let Self { stream, socket } = *self;
        let mut incoming = stream.incoming.borrow_mut();
        let before = incoming.held();
        let is_blocked = incoming.backlog.flush(socket);
        tunnel.count_held(before, incoming.held());
        let delivered = incoming.backlog.newly_delivered();
        if incoming.backlog.is_closed {
            drop(incoming);
            let eof = Eof { read: false, write: true };
            tunnel.with_session(|session| session.close(Instant::now(), stream.id, eof));
            return Supply::Done;
        }
        if delivered > 0 {
            tunnel.with_session(|session| session.delivered(stream.id, delivered));
        }
        if is_blocked {
            return Supply::SocketIsBusy;
        }
        if !stream.closed.get().read {
            return Supply::NothingLeft;
        }
        let before = incoming.held();
        let rest = incoming.filter.take().and_then(|mut filter| filter.end().map(<[u8]>::to_vec));
        let has_more = rest.is_some();
        incoming.backlog.push(&rest.unwrap_or_default());
        tunnel.count_held(before, incoming.held());
        if has_more {
            return Supply::More;
        }
        // It fails when the service is gone, which reading from it shows.
        let _ = socket.shutdown();
        Supply::Done
    }

    fn bell(&self) -> &Notify {
        &self.stream.for_service
    }

    fn is_left(&self) -> bool {
        crate::tunnel::Stream::is_left(self.stream)
    }

    async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }
}
