//! A well-behaved agent with one kite, which keeps what visitors send to it
//! byte for byte.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kitelet::wire::{Eof, Event, HEADER_ROOM, MAX_BODY_BYTES};

use super::{GOOD_ADDRESS, Relay, Tunnel};

/// What the page of every kite says.
pub const PAGE: &str = "hello from the kite";
/// How long the answer to `/big` is, in bytes.
pub const BIG_BYTES: u64 = 1 << 30;

/// How often the agent looks at what its streams may send, when nothing comes.
const TURN: Duration = Duration::from_millis(10);
/// How much of what visitors send is kept, in bytes.
const KEPT_BYTES: usize = 256 * 1024;

/// The agent, in a thread of its own.
pub struct Kite {
    seen: Arc<Mutex<Seen>>,
    session_id: String,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What came through the tunnel.
#[derive(Default)]
struct Seen {
    streams: usize,
    bytes: Vec<u8>,
    /// The tunnel has ended.
    is_gone: bool,
}

/// One visitor.
#[derive(Default)]
struct Stream {
    unread: Vec<u8>,
    /// What is left of a body that belongs to the last head.
    body: u64,
    /// Answers that wait for room.
    ready: Vec<u8>,
    /// Bytes of a long answer that are still to come.
    long: u64,
    is_over: bool,
    blind: bool,
}

impl Kite {
    /// Lets a kite fly from [`GOOD_ADDRESS`].
    pub fn fly(relay: &Relay, id: &str) -> Self {
        let tunnel = Tunnel::fly(relay, GOOD_ADDRESS, &[id]);
        let session_id = tunnel.registration.session_id().expect("a session").to_owned();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (ours, over) = (Arc::clone(&seen), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            run(tunnel, &ours, &over);
            ours.lock().expect("seen").is_gone = true;
        });
        Self { seen, session_id, is_over, thread: Some(thread) }
    }

    /// The session id that the relay gave.
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// How many streams visitors have opened.
    pub fn streams(&self) -> usize {
        self.seen.lock().expect("seen").streams
    }

    /// Whether its tunnel has ended.
    pub fn is_gone(&self) -> bool {
        self.seen.lock().expect("seen").is_gone
    }

    /// Everything that visitors sent, as text.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("seen").bytes).into_owned()
    }
}

impl Drop for Kite {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(outcome.is_ok() || thread::panicking(), "the agent's thread");
        }
    }
}

fn run(mut tunnel: Tunnel, seen: &Mutex<Seen>, is_over: &AtomicBool) {
    let mut streams: BTreeMap<u32, Stream> = BTreeMap::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut scratch = vec![0; HEADER_ROOM + MAX_BODY_BYTES];
    tunnel.socket.set_read_timeout(Some(TURN)).expect("a timeout");
    let mut early = tunnel.take_unread();
    while !is_over.load(Ordering::Relaxed) {
        if !early.is_empty() {
            take_in(&mut tunnel, &mut streams, &std::mem::take(&mut early), seen);
        }
        match tunnel.socket.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => take_in(&mut tunnel, &mut streams, &buffer[..length], seen),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(_) => return,
        }
        if give_out(&mut tunnel, &mut streams, &mut scratch).is_err() {
            return;
        }
    }
}

fn take_in(
    tunnel: &mut Tunnel,
    streams: &mut BTreeMap<u32, Stream>,
    mut input: &[u8],
    seen: &Mutex<Seen>,
) {
    let mut came: Vec<(u32, usize)> = Vec::new();
    while let Some(event) =
        tunnel.session.receive(Instant::now(), &mut input).expect("the relay's frames are well")
    {
        match event {
            Event::Open { stream, open } => {
                let blind = !open.protocol.starts_with("http") && open.protocol != "websocket";
                streams.insert(stream, Stream { blind, ..Stream::default() });
                seen.lock().expect("seen").streams += 1;
            }
            Event::Data { stream, bytes } => {
                let mut seen = seen.lock().expect("seen");
                let room = KEPT_BYTES.saturating_sub(seen.bytes.len());
                seen.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
                if let Some(known) = streams.get_mut(&stream) {
                    known.take(bytes);
                }
                came.push((stream, bytes.len()));
            }
            Event::Eof { stream, .. } => {
                if let Some(known) = streams.get_mut(&stream) {
                    known.is_over = true;
                }
            }
            _ => {}
        }
        if let Some((stream, length)) = came.pop() {
            tunnel.session.delivered(stream, length);
        }
    }
}

fn give_out(
    tunnel: &mut Tunnel,
    streams: &mut BTreeMap<u32, Stream>,
    scratch: &mut [u8],
) -> std::io::Result<()> {
    let now = Instant::now();
    loop {
        let mut moved = false;
        while tunnel.session.has_control_frames() {
            let mut control = Vec::new();
            tunnel.session.control_frames(now, &mut control, 16 * 1024);
            tunnel.socket.write_all(&control)?;
        }
        for (&stream, known) in streams.iter_mut() {
            let room = tunnel.session.send_room(stream).min(MAX_BODY_BYTES);
            let body = &mut scratch[HEADER_ROOM..HEADER_ROOM + room];
            let length = known.give(body);
            if length > 0 {
                let body = HEADER_ROOM..HEADER_ROOM + length;
                let frame = tunnel.session.data_frame(now, stream, scratch, body);
                tunnel.socket.write_all(frame)?;
                moved = true;
            }
        }
        streams.retain(|&stream, known| {
            let is_over = known.is_over && known.ready.is_empty();
            if is_over {
                tunnel.session.close(now, stream, Eof::BOTH);
            }
            !is_over
        });
        if !moved {
            while tunnel.session.has_control_frames() {
                let mut control = Vec::new();
                tunnel.session.control_frames(now, &mut control, 16 * 1024);
                tunnel.socket.write_all(&control)?;
            }
            return Ok(());
        }
    }
}

impl Stream {
    /// Answers every request whose head is complete.
    fn take(&mut self, mut bytes: &[u8]) {
        if self.blind {
            self.ready.extend_from_slice(bytes);
            return;
        }
        let body = usize::try_from(self.body).unwrap_or(usize::MAX).min(bytes.len());
        self.body -= body as u64;
        bytes = &bytes[body..];
        self.unread.extend_from_slice(bytes);
        while let Some(end) = head_end(&self.unread) {
            let head: Vec<u8> = self.unread.drain(..end).collect();
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: u64 = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            let here = usize::try_from(length).unwrap_or(usize::MAX).min(self.unread.len());
            self.unread.drain(..here);
            self.body = length - here as u64;
            if head.starts_with("get /big") {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG_BYTES}\r\n\r\n");
                self.ready.extend_from_slice(answer.as_bytes());
                self.long = BIG_BYTES;
            } else {
                let length = PAGE.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{PAGE}");
                self.ready.extend_from_slice(answer.as_bytes());
            }
        }
    }

    /// Puts what is to be sent next into `body`.
    fn give(&mut self, body: &mut [u8]) -> usize {
        let ready = self.ready.len().min(body.len());
        body[..ready].copy_from_slice(&self.ready[..ready]);
        self.ready.drain(..ready);
        if !self.ready.is_empty() || self.is_over {
            return ready;
        }
        let rest = body.len() - ready;
        let long = usize::try_from(self.long).unwrap_or(usize::MAX).min(rest);
        body[ready..ready + long].fill(b'x');
        self.long -= long as u64;
        ready + long
    }
}

/// Where the first empty line ends; lenient, as many services are.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let ends_of = |text: &[u8]| {
        let found = bytes.windows(text.len()).position(|part| part == text);
        found.map(|at| at + text.len())
    };
    [ends_of(b"\r\n\r\n"), ends_of(b"\n\n")].into_iter().flatten().min()
}
