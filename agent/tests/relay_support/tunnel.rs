//! The agent's end of a tunnel: the handshake as the protocol has it, and then
//! whatever bytes the test likes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use kitelet::wire::{
    Answer, Event, HeadReader, KiteId, KiteState, MAX_ANSWER_BYTES, Registration, Role, Secret,
    Session, SessionSettings, Step, TunnelRequest,
};

use super::visitor::connect_from;
use super::{LONG, Relay, SECRET, noise};

/// Random bytes for salts, others for each tunnel.
pub struct Salts(u64);

impl Salts {
    pub fn new() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(u64::from(std::process::id()) << 32 | number << 12)
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0 += 1;
        bytes.copy_from_slice(&noise(self.0, bytes.len()));
    }
}

/// The request for one kite with this secret, and what keeps account of it.
pub fn request_for(kites: &[(&str, &str)], salts: &mut Salts) -> Registration {
    let kites = kites.iter().map(|(id, secret)| {
        let id: KiteId = id.parse().expect("a kite");
        (id, Secret::new(*secret))
    });
    Registration::new(kites.collect::<Vec<_>>(), false, &mut |bytes| salts.fill(bytes))
}

/// A connection to the relay whose handshake is over.
pub struct Tunnel {
    pub socket: TcpStream,
    pub session: Session,
    pub registration: Registration,
    pub salts: Salts,
    /// What came and was not taken apart.
    unread: Vec<u8>,
}

impl Tunnel {
    /// Flies kites with the right secret from an address.
    pub fn fly(relay: &Relay, address: Ipv4Addr, kites: &[&str]) -> Self {
        let kites: Vec<_> = kites.iter().map(|id| (*id, SECRET)).collect();
        let tunnel = Self::open(relay, address, &kites, None).expect("a tunnel");
        for (kite, state) in tunnel.registration.kites() {
            assert_eq!(*state, KiteState::Flying, "{kite}");
        }
        tunnel
    }

    /// Goes through the handshake to its end; `None` when the relay hangs up
    /// before. How the kites are is in [`Tunnel::registration`].
    pub fn open(
        relay: &Relay,
        address: Ipv4Addr,
        kites: &[(&str, &str)],
        replace: Option<&str>,
    ) -> Option<Self> {
        let mut salts = Salts::new();
        let registration = request_for(kites, &mut salts);
        let mut socket = connect_from(relay, address);
        let request = registration.request(replace, &mut |bytes| salts.fill(bytes));
        socket.write_all(&request).ok()?;
        let session = Session::new(SessionSettings {
            role: Role::Agent,
            max_streams: 1024,
            max_header_bytes: MAX_ANSWER_BYTES,
            compress: false,
            guard_bursts: false,
        });
        let mut tunnel = Self { socket, session, registration, salts, unread: Vec::new() };
        let answer = tunnel.read_head().filter(|answer| answer.status == Some(200))?;
        tunnel.follow(&answer)?;
        Some(tunnel)
    }

    /// Does what an answer asks for, until nothing is left to be done.
    fn follow(&mut self, answer: &Answer) -> Option<()> {
        let mut step = self.registration.apply(answer);
        loop {
            match step {
                Step::AnswerHere => {
                    let salts = &mut self.salts;
                    let payload = self.registration.answer_payload(&mut |bytes| salts.fill(bytes));
                    self.socket.write_all(&framed(&payload)).ok()?;
                }
                Step::Wait => {}
                Step::Fly | Step::Refused => return Some(()),
                Step::Reconnect => panic!("our relay adds kites to tunnels"),
            }
            let answer = self.next_answer()?;
            step = self.registration.apply(&answer);
        }
    }

    /// Asks for one more kite on the running tunnel; how it is then.
    pub fn add(&mut self, id: &str, secret: &str) -> Option<KiteState> {
        let id: KiteId = id.parse().expect("a kite");
        let salts = &mut self.salts;
        let payload = self
            .registration
            .add(id.clone(), Secret::new(secret), &mut |bytes| salts.fill(bytes))
            .expect("a new kite");
        self.socket.write_all(&framed(&payload)).ok()?;
        let answer = self.next_answer()?;
        self.follow(&answer)?;
        let kite = self.registration.kites().find(|(known, _)| **known == id);
        kite.map(|(_, state)| state.clone())
    }

    fn read_head(&mut self) -> Option<Answer> {
        let mut reader = HeadReader::new(MAX_ANSWER_BYTES);
        loop {
            let bytes = std::mem::take(&mut self.unread);
            let mut input = &bytes[..];
            let head = reader.read(&mut input).expect("a head").map(<[u8]>::to_vec);
            self.unread = input.to_vec();
            if let Some(head) = head {
                return Answer::parse(&head).ok();
            }
            if !self.fill(LONG) {
                return None;
            }
        }
    }

    /// The next answer about kites; streams that come meanwhile are lost.
    pub fn next_answer(&mut self) -> Option<Answer> {
        loop {
            let bytes = std::mem::take(&mut self.unread);
            let mut input = &bytes[..];
            let mut found = None;
            while let Some(event) =
                self.session.receive(Instant::now(), &mut input).expect("the relay's frames")
            {
                if let Event::Answer(answer) = event {
                    found = Some(*answer);
                    break;
                }
            }
            self.unread = input.to_vec();
            if found.is_some() {
                return found;
            }
            if !self.fill(LONG) {
                return None;
            }
        }
    }

    /// Waits for more bytes; false at the end, and when none come in time.
    pub fn fill(&mut self, patience: Duration) -> bool {
        let mut buffer = [0; 64 * 1024];
        self.socket.set_read_timeout(Some(patience)).expect("a timeout");
        match self.socket.read(&mut buffer) {
            Ok(length) => {
                self.unread.extend_from_slice(&buffer[..length]);
                length > 0
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(_) => false,
        }
    }

    /// Reads until these bytes have come.
    pub fn wait_for(&mut self, text: &[u8]) {
        loop {
            let found = self.unread.windows(text.len()).position(|part| part == text);
            if let Some(at) = found {
                self.unread.drain(..at + text.len());
                return;
            }
            let shown = String::from_utf8_lossy(text).into_owned();
            assert!(self.fill(LONG), "waited in vain for {shown:?}");
        }
    }

    /// Everything that came and was not taken apart.
    pub fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// Sends bytes as they are; false when the relay takes no more.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// Reads until the relay closes the tunnel, and fails if it does not.
    pub fn wait_for_end(&mut self) {
        let end = Instant::now() + LONG;
        while self.fill(LONG) {
            self.unread.clear();
            assert!(Instant::now() < end, "the relay keeps the tunnel");
        }
        let still_open = self.socket.read(&mut [0; 1]);
        let is_timeout = still_open.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(!is_timeout, "the relay keeps the tunnel");
    }

    /// Whether the relay answers a PING.
    pub fn is_alive(&mut self) -> bool {
        let text = format!("{}", self.salts.0);
        self.salts.0 += 1;
        if !self.send(&frame(&format!("NOOP: 1\r\nPING: {text}\r\n"), b"!")) {
            return false;
        }
        let wanted = format!("PONG: {text}");
        let end = Instant::now() + LONG;
        let mut seen: Vec<u8> = Vec::new();
        loop {
            seen.append(&mut self.unread);
            if seen.windows(wanted.len()).any(|part| part == wanted.as_bytes()) {
                return true;
            }
            // The text cannot be in what is long gone.
            seen.drain(..seen.len().saturating_sub(wanted.len()));
            if Instant::now() > end || !self.fill(LONG) {
                return false;
            }
        }
    }

    /// The kite request on a running tunnel, as bytes.
    pub fn kite_frame(request: &TunnelRequest) -> Vec<u8> {
        framed(&request.encode_payload())
    }
}

/// A frame of headers and a body.
pub fn frame(headers: &str, body: &[u8]) -> Vec<u8> {
    let payload = [headers.as_bytes(), b"\r\n", body].concat();
    framed(&payload)
}

fn framed(payload: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", payload.len()).as_bytes(), payload].concat()
}
