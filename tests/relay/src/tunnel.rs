//! One tunnel and its visitors.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use event_listener::Event as Bell;
use kitelet::net::Connection;
use kitelet::wire::{
    Eof, Event, HEADER_ROOM, MAX_BODY_BYTES, MAX_REQUEST_BYTES, Open, Role, Session,
    SessionSettings, TunnelRequest,
};
use smol::future;

/// Bytes that wait for the tunnel before visitors are no longer read.
const OUTGOING_BYTES: usize = 64 * 1024;

/// A tunnel.
pub(crate) struct Tunnel {
    connection: Connection,
    session: RefCell<Session>,
    outgoing: RefCell<Vec<u8>>,
    room: Bell,
    work: Bell,
    visitors: RefCell<BTreeMap<u32, Rc<Visitor>>>,
    is_over: Cell<bool>,
}

/// A visitor of a stream.
struct Visitor {
    connection: Connection,
    waiting: RefCell<Vec<u8>>,
    closed: Cell<Eof>,
    bell: Bell,
}

/// Who visits which kite.
pub(crate) struct Visit<'a> {
    pub(crate) protocol: &'a str,
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
    pub(crate) peer: SocketAddr,
    /// What the visitor has sent so far.
    pub(crate) first: &'a [u8],
}

impl Tunnel {
    pub(crate) fn new(connection: Connection, compress: bool) -> Rc<Self> {
        let settings = SessionSettings {
            role: Role::Relay,
            max_streams: 100_000,
            max_header_bytes: MAX_REQUEST_BYTES,
            compress: compress && std::env::var_os("TEST_RELAY_COMPRESS").is_some(),
            guard_bursts: false,
        };
        Rc::new(Self {
            connection,
            session: RefCell::new(Session::new(settings)),
            outgoing: RefCell::default(),
            room: Bell::new(),
            work: Bell::new(),
            visitors: RefCell::default(),
            is_over: Cell::new(false),
        })
    }

    /// Runs until the agent is gone. `answer` answers requests for kites.
    pub(crate) async fn run(
        &self,
        first: &[u8],
        answer: &mut dyn FnMut(&TunnelRequest) -> Vec<u8>,
    ) {
        let read = async {
            self.receive(first, answer)?;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                self.flush()?;
                match self.connection.read_some(&mut buffer).await? {
                    0 => return Ok(()),
                    length => self.receive(&buffer[..length], answer)?,
                }
                future::yield_now().await;
            }
        };
        let write = async {
            loop {
                let work = self.work.listen();
                self.flush()?;
                if self.outgoing.borrow().is_empty() && !self.connection.has_unsent() {
                    work.await;
                } else {
                    self.connection.writable().await?;
                }
            }
        };
        let end: io::Result<()> = future::or(read, write).await;
        if let Err(error) = end {
            eprintln!("tunnel: {error}");
        }
        self.is_over.set(true);
        self.room.notify(usize::MAX);
        for visitor in self.visitors.borrow().values() {
            visitor.closed.set(Eof::BOTH);
            visitor.bell.notify(usize::MAX);
        }
    }

    fn receive(
        &self,
        mut input: &[u8],
        answer: &mut dyn FnMut(&TunnelRequest) -> Vec<u8>,
    ) -> io::Result<()> {
        let mut session = self.session.borrow_mut();
        while let Some(event) =
            session.receive(Instant::now(), &mut input).map_err(io::Error::other)?
        {
            match event {
                Event::Data { stream, bytes } => {
                    let visitor = self.visitors.borrow().get(&stream).cloned();
                    if let Some(visitor) = visitor {
                        let taken = visitor.take(bytes);
                        session.delivered(stream, taken);
                    }
                }
                Event::Eof { stream, eof } => {
                    if let Some(visitor) = self.visitors.borrow().get(&stream) {
                        let before = visitor.closed.get();
                        let read = before.read || eof.read;
                        visitor.closed.set(Eof { read, write: before.write || eof.write });
                        visitor.bell.notify(usize::MAX);
                    }
                }
                Event::Room { stream } => {
                    if let Some(visitor) = self.visitors.borrow().get(&stream) {
                        visitor.bell.notify(usize::MAX);
                    }
                }
                Event::Request(request) => {
                    session.send_payload(answer(&request));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Serves a visitor to the end.
    pub(crate) async fn serve(&self, visit: Visit<'_>, connection: Connection) {
        let address = visit.peer.ip().to_string();
        let open = Open {
            protocol: visit.protocol,
            host: visit.host,
            port: visit.port,
            visitor_address: &address,
            visitor_port: Some(visit.peer.port()),
            visitor_tls: connection.is_encrypted(),
        };
        let now = Instant::now();
        let opened = {
            let mut outgoing = self.outgoing.borrow_mut();
            self.session.borrow_mut().open(now, &open, visit.first, &mut outgoing)
        };
        let Some(stream) = opened else { return };
        let visitor = Rc::new(Visitor {
            connection,
            waiting: RefCell::default(),
            closed: Cell::default(),
            bell: Bell::new(),
        });
        self.visitors.borrow_mut().insert(stream, Rc::clone(&visitor));
        let _ = self.flush();
        let up = self.move_up(stream, &visitor);
        let down = self.move_down(stream, &visitor);
        let (up, down) = future::zip(up, down).await;
        self.session.borrow_mut().close(Instant::now(), stream, Eof::BOTH);
        let _ = self.flush();
        self.visitors.borrow_mut().remove(&stream);
        if std::env::var_os("TEST_RELAY_VERBOSE").is_some() {
            eprintln!("stream {stream}: {up:?} {down:?}");
        }
    }

    /// From the visitor into the tunnel.
    async fn move_up(&self, stream: u32, visitor: &Visitor) -> io::Result<()> {
        let mut buffer = vec![0; HEADER_ROOM + MAX_BODY_BYTES];
        loop {
            let bell = visitor.bell.listen();
            if visitor.closed.get().write || self.is_over.get() {
                return Ok(());
            }
            let room = self.session.borrow().send_room(stream).min(MAX_BODY_BYTES);
            if room == 0 {
                bell.await;
                continue;
            }
            if self.outgoing.borrow().len() >= OUTGOING_BYTES {
                let room = self.room.listen();
                if self.outgoing.borrow().len() >= OUTGOING_BYTES {
                    room.await;
                }
                continue;
            }
            match visitor.connection.try_read(&mut buffer[HEADER_ROOM..HEADER_ROOM + room]) {
                Ok(0) => {
                    let eof = Eof { read: true, write: false };
                    self.session.borrow_mut().close(Instant::now(), stream, eof);
                    return self.flush();
                }
                Ok(length) => {
                    let body = HEADER_ROOM..HEADER_ROOM + length;
                    {
                        let mut session = self.session.borrow_mut();
                        let frame = session.data_frame(Instant::now(), stream, &mut buffer, body);
                        self.outgoing.borrow_mut().extend_from_slice(frame);
                    }
                    self.flush()?;
                    future::yield_now().await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let woken = async {
                        bell.await;
                        Ok(())
                    };
                    future::or(visitor.connection.readable(), woken).await?;
                }
                Err(error) => {
                    self.session.borrow_mut().close(Instant::now(), stream, Eof::BOTH);
                    visitor.closed.set(Eof::BOTH);
                    visitor.bell.notify(usize::MAX);
                    return Err(error);
                }
            }
        }
    }

    /// From the tunnel to the visitor: what it did not take at once.
    async fn move_down(&self, stream: u32, visitor: &Visitor) -> io::Result<()> {
        loop {
            let bell = visitor.bell.listen();
            if !visitor.waiting.borrow().is_empty() {
                let taken = visitor.connection.try_write(&visitor.waiting.borrow());
                match taken {
                    Ok(taken) => {
                        visitor.waiting.borrow_mut().drain(..taken);
                        self.session.borrow_mut().delivered(stream, taken);
                        self.flush()?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        visitor.connection.writable().await?;
                    }
                    Err(error) => {
                        let eof = Eof { read: false, write: true };
                        self.session.borrow_mut().close(Instant::now(), stream, eof);
                        return Err(error);
                    }
                }
            } else if visitor.connection.has_unsent() {
                let _ = visitor.connection.try_flush();
                visitor.connection.writable().await?;
            } else if visitor.closed.get().read {
                return visitor.connection.shutdown();
            } else {
                bell.await;
            }
        }
    }

    /// Sends what waits, as far as the agent takes it.
    fn flush(&self) -> io::Result<()> {
        let mut outgoing = self.outgoing.borrow_mut();
        let mut session = self.session.borrow_mut();
        if session.has_control_frames() && outgoing.len() < OUTGOING_BYTES {
            session.control_frames(Instant::now(), &mut outgoing, OUTGOING_BYTES);
        }
        let mut sent = 0;
        while sent < outgoing.len() {
            match self.connection.try_write(&outgoing[sent..]) {
                Ok(taken) => sent += taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        outgoing.drain(..sent);
        if outgoing.len() < OUTGOING_BYTES {
            self.room.notify(1);
        }
        if !outgoing.is_empty() || self.connection.has_unsent() {
            self.work.notify(1);
        }
        Ok(())
    }
}

impl Visitor {
    /// Takes bytes; returns how many of them are gone at once.
    fn take(&self, bytes: &[u8]) -> usize {
        let mut waiting = self.waiting.borrow_mut();
        let mut taken = 0;
        while waiting.is_empty() && taken < bytes.len() {
            match self.connection.try_write(&bytes[taken..]) {
                Ok(more) => taken += more,
                Err(_) => break,
            }
        }
        waiting.extend_from_slice(&bytes[taken..]);
        if !waiting.is_empty() || self.connection.has_unsent() {
            self.bell.notify(usize::MAX);
        }
        taken
    }
}
