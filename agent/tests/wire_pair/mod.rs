//! An agent's and a relay's session, joined by two byte pipes, and drivers
//! that keep to the contract of `Session` and check what comes out against
//! what they know.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kitelet::wire::{
    Eof, Event, FIRST_WINDOW_BYTES, HALF_CLOSED_LIMIT, HEADER_ROOM, LARGEST_WINDOW_BYTES,
    MAX_BODY_BYTES, Open, Role, Session, SessionSettings, SignOfLife,
};

/// Bytes that a pipe takes before its driver stops writing.
const PIPE_BYTES: usize = 64 * 1024;

/// One end of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Agent,
    Relay,
}

impl End {
    fn other(self) -> Self {
        if self == Self::Agent { Self::Relay } else { Self::Agent }
    }
}

/// What a driver, the network or the clock does. `pick` chooses a stream.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// A visitor comes and has sent this much already.
    Open { body: usize },
    /// A socket has `times` times this much to send, as far as there is room.
    Send { end: End, pick: u8, length: usize, times: usize },
    /// A socket takes some of what was received.
    Deliver { end: End, pick: u8, bytes: usize },
    /// A socket ends: 1 for reading, 2 for writing, 3 for both.
    Close { end: End, pick: u8, halves: u8 },
    /// Some of what `end` wrote reaches the other end.
    Transfer { end: End, bytes: usize, cut: u64 },
    /// A sign of life is due.
    Ping { end: End },
    /// Time passes.
    Wait { milliseconds: u64 },
}

/// Two sessions and what is between them.
pub(crate) struct Pair {
    now: Instant,
    agent: Driver,
    relay: Driver,
}

/// A session and what its driver knows.
struct Driver {
    end: End,
    session: Session,
    /// All bytes written, and how many of them have reached the other end.
    output: Vec<u8>,
    passed: usize,
    /// Length of each frame written, and when.
    frames: Vec<(Instant, usize)>,
    /// The most frames that the other end could have read at once, as much as
    /// the reference reads.
    most_in_a_read: usize,
    streams: BTreeMap<u32, Flow>,
}

/// A stream as the driver knows it.
#[derive(Clone, Debug)]
struct Flow {
    sent: u64,
    received: u64,
    delivered: u64,
    /// What we closed and what the other end closed.
    closed: Eof,
    heard: Eof,
    active: Instant,
}

impl Flow {
    fn new(now: Instant) -> Self {
        Self {
            sent: 0,
            received: 0,
            delivered: 0,
            closed: Eof::default(),
            heard: Eof::default(),
            active: now,
        }
    }

    fn takes_data(&self) -> bool {
        !self.heard.read && !self.closed.write
    }

    fn may_send(&self) -> bool {
        !self.heard.write && !self.closed.read
    }
}

/// Settings for a session of these tests.
pub(crate) fn settings(role: Role, compress: bool, guard: bool, room: usize) -> SessionSettings {
    SessionSettings {
        role,
        max_streams: room,
        max_header_bytes: 4096,
        compress,
        guard_bursts: guard,
    }
}

/// Splits `bytes` at places that follow from `seed`; 0 splits nowhere.
pub(crate) fn cuts(mut bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut state = seed;
    let mut parts = Vec::new();
    while seed != 0 && !bytes.is_empty() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let longest = [2, 30, 1500, 20_000][(state >> 60) as usize % 4];
        let (part, rest) = bytes.split_at((1 + (state >> 33) as usize % longest).min(bytes.len()));
        parts.push(part);
        bytes = rest;
    }
    parts.push(bytes);
    parts
}

/// The byte at `offset` of what `end` sends on a stream; compressible in part.
fn content(end: End, stream: u32, offset: u64) -> u8 {
    let mixed = offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    let shown = if (offset >> 12) & 1 == 0 { offset % 61 } else { mixed };
    (shown as u8).wrapping_add(stream as u8).wrapping_add(end as u8)
}

impl Pair {
    /// The relay may open one stream more than the agent takes.
    pub(crate) fn new(compress: bool, guard: bool, room: usize) -> Self {
        let driver = |end, role, room| Driver {
            end,
            session: Session::new(settings(role, compress, guard, room)),
            output: Vec::new(),
            passed: 0,
            frames: Vec::new(),
            most_in_a_read: 0,
            streams: BTreeMap::new(),
        };
        Self {
            now: Instant::now(),
            agent: driver(End::Agent, Role::Agent, room),
            relay: driver(End::Relay, Role::Relay, room + 1),
        }
    }

    /// Does one thing, if it can be done now.
    pub(crate) fn act(&mut self, action: Action) {
        let now = self.now;
        match action {
            Action::Open { body } => self.relay.open(now, body),
            Action::Send { end, pick, length, times } => {
                for _ in 0..times {
                    let Some(stream) = self.driver(end).pick(pick) else { return };
                    let delivered =
                        self.driver(end.other()).streams.get(&stream).map(|flow| flow.delivered);
                    self.driver(end).send(now, stream, length, delivered.unwrap_or_default());
                }
            }
            Action::Deliver { end, pick, bytes } => {
                if let Some(stream) = self.driver(end).pick(pick) {
                    self.driver(end).deliver(now, stream, bytes);
                }
            }
            Action::Close { end, pick, halves } => {
                if let Some(stream) = self.driver(end).pick(pick) {
                    self.driver(end).close(now, stream, halves);
                }
            }
            Action::Transfer { end, bytes, cut } => self.pass(end, bytes, cut),
            Action::Ping { end } => {
                self.driver(end).session.show_life(SignOfLife::Ping);
                self.driver(end).write_control(now);
            }
            Action::Wait { milliseconds } => {
                self.now += Duration::from_millis(milliseconds);
                let now = self.now;
                self.agent.expire(now);
                self.relay.expire(now);
            }
        }
    }

    /// Closes the stream that `pick` chooses.
    pub(crate) fn close(&mut self, end: End, pick: u8, halves: u8) {
        self.act(Action::Close { end, pick, halves });
    }

    /// Moves all bytes, but delivers none to the sockets.
    pub(crate) fn pass_all(&mut self) {
        let now = self.now;
        loop {
            self.agent.write_control(now);
            self.relay.write_control(now);
            if self.agent.waiting() + self.relay.waiting() == 0 {
                return;
            }
            self.pass(End::Agent, usize::MAX, 0);
            self.pass(End::Relay, usize::MAX, 0);
        }
    }

    /// Moves and delivers all there is.
    pub(crate) fn settle(&mut self) {
        let now = self.now;
        for _ in 0..100 {
            self.pass_all();
            let mut is_done = true;
            for driver in [&mut self.agent, &mut self.relay] {
                let streams: Vec<u32> = driver.streams.keys().copied().collect();
                for stream in streams {
                    is_done &= !driver.deliver(now, stream, usize::MAX);
                }
            }
            if is_done {
                return;
            }
        }
        panic!("the two ends do not come to rest");
    }

    /// Ends all sockets for reading, as they do when all is said.
    pub(crate) fn close_all(&mut self) {
        let now = self.now;
        for driver in [&mut self.agent, &mut self.relay] {
            let streams: Vec<u32> = driver.streams.keys().copied().collect();
            for stream in streams {
                driver.close(now, stream, 1);
            }
        }
        self.settle();
    }

    /// Checks that each end has all that the other sent, unless it refused it.
    pub(crate) fn assert_all_received(&self) {
        for (from, to) in [(&self.agent, &self.relay), (&self.relay, &self.agent)] {
            for (stream, sender) in &from.streams {
                let Some(receiver) = to.streams.get(stream) else { continue };
                if receiver.closed.write {
                    assert!(receiver.received <= sender.sent);
                } else {
                    assert_eq!(receiver.received, sender.sent, "stream {stream}");
                }
            }
        }
    }

    /// Streams of the agent and of the relay.
    pub(crate) fn stream_counts(&self) -> [usize; 2] {
        [self.agent.session.stream_count(), self.relay.session.stream_count()]
    }

    /// The most frames that either end could have read at once.
    pub(crate) fn most_in_a_read(&self) -> usize {
        self.agent.most_in_a_read.max(self.relay.most_in_a_read)
    }

    /// Time and length of the frames that the two ends wrote.
    pub(crate) fn frames(&self) -> [&[(Instant, usize)]; 2] {
        [&self.agent.frames, &self.relay.frames]
    }

    /// All bytes that `end` wrote.
    pub(crate) fn sent_by(&self, end: End) -> &[u8] {
        if end == End::Agent { &self.agent.output } else { &self.relay.output }
    }

    /// Bytes that `end` sent on the stream that `pick` chooses.
    pub(crate) fn sent_on(&mut self, end: End, pick: u8) -> u64 {
        let driver = self.driver(end);
        driver.pick(pick).map_or(0, |stream| driver.streams[&stream].sent)
    }

    /// Forgets the streams so far.
    pub(crate) fn forget(&mut self) {
        self.agent.streams.clear();
        self.relay.streams.clear();
    }

    fn driver(&mut self, end: End) -> &mut Driver {
        if end == End::Agent { &mut self.agent } else { &mut self.relay }
    }

    fn pass(&mut self, from: End, bytes: usize, cut: u64) {
        let now = self.now;
        let (from, to) = match from {
            End::Agent => (&mut self.agent, &mut self.relay),
            End::Relay => (&mut self.relay, &mut self.agent),
        };
        let bytes = bytes.min(from.waiting());
        let part = &from.output[from.passed..from.passed + bytes];
        from.passed += bytes;
        for part in cuts(part, cut) {
            to.receive(now, part);
        }
        from.write_control(now);
        to.write_control(now);
    }
}

impl Driver {
    fn waiting(&self) -> usize {
        self.output.len() - self.passed
    }

    fn pick(&self, pick: u8) -> Option<u32> {
        let open: Vec<u32> = self
            .streams
            .iter()
            .filter(|(_, flow)| flow.takes_data() || flow.may_send())
            .map(|(&stream, _)| stream)
            .collect();
        open.get(usize::from(pick) % open.len().max(1)).copied()
    }

    fn open(&mut self, now: Instant, body: usize) {
        self.write_control(now);
        if self.waiting() >= PIPE_BYTES || self.session.has_control_frames() {
            return;
        }
        let open = Open {
            protocol: "http",
            host: "kite.test",
            port: Some(80),
            visitor_address: "::ffff:127.0.0.1",
            visitor_port: Some(45_924),
            visitor_tls: false,
        };
        // Ids go up by one, so the content can be made before the id is known.
        let next = self.streams.keys().next_back().map_or(1, |last| last + 1);
        let start = self.output.len();
        let content = |stream| (0..body as u64).map(move |at| content(End::Relay, stream, at));
        let mut frame = Vec::new();
        let Some(stream) =
            self.session.open(now, &open, &content(next).collect::<Vec<u8>>(), &mut frame)
        else {
            assert!(frame.is_empty());
            return;
        };
        // After `forget` the id is another one than was thought.
        let at = frame.len() - body;
        frame.truncate(at);
        frame.extend(content(stream));
        self.output.extend_from_slice(&frame);
        let mut flow = Flow::new(now);
        flow.sent = body as u64;
        self.streams.insert(stream, flow);
        self.note_frames(now, start);
        self.write_control(now);
    }

    fn send(&mut self, now: Instant, stream: u32, length: usize, delivered: u64) {
        self.write_control(now);
        if self.waiting() >= PIPE_BYTES || self.session.has_control_frames() {
            return;
        }
        let room = self.session.send_room(stream);
        let flow = self.streams.get_mut(&stream).expect("a known stream");
        assert!(flow.may_send() || room == 0, "room on a closed stream");
        let length = length.min(room).min(MAX_BODY_BYTES);
        if length == 0 {
            return;
        }
        let mut buffer = vec![0; HEADER_ROOM + length];
        for (at, byte) in buffer[HEADER_ROOM..].iter_mut().enumerate() {
            *byte = content(self.end, stream, flow.sent + at as u64);
        }
        flow.sent += length as u64;
        flow.active = now;
        assert!(flow.sent - delivered <= LARGEST_WINDOW_BYTES, "the window is exceeded");
        assert!(delivered > 0 || flow.sent <= FIRST_WINDOW_BYTES, "the first window is exceeded");
        let start = self.output.len();
        let body = HEADER_ROOM..buffer.len();
        self.output.extend_from_slice(self.session.data_frame(now, stream, &mut buffer, body));
        self.note_frames(now, start);
        self.write_control(now);
    }

    /// Whether anything was left to deliver.
    fn deliver(&mut self, now: Instant, stream: u32, bytes: usize) -> bool {
        let flow = self.streams.get_mut(&stream).expect("a known stream");
        let bytes = (flow.received - flow.delivered).min(bytes as u64);
        flow.delivered += bytes;
        if bytes > 0 {
            flow.active = now;
        }
        self.session.delivered(stream, bytes as usize);
        self.write_control(now);
        bytes > 0
    }

    fn close(&mut self, now: Instant, stream: u32, halves: u8) {
        let flow = self.streams.get_mut(&stream).expect("a known stream");
        if !flow.takes_data() && !flow.may_send() {
            return;
        }
        let eof = Eof { read: halves & 1 != 0, write: halves & 2 != 0 };
        flow.closed.read |= eof.read;
        flow.closed.write |= eof.write;
        flow.active = now;
        self.session.close(now, stream, eof);
        self.write_control(now);
    }

    fn expire(&mut self, now: Instant) {
        while let Some(stream) = self.session.expired_stream(now) {
            let flow = self.streams.get_mut(&stream).expect("a known stream");
            assert!(flow.takes_data() != flow.may_send(), "only half-closed streams expire");
            assert!(now - flow.active >= HALF_CLOSED_LIMIT, "before its time");
            flow.closed = Eof::BOTH;
        }
        assert!(self.session.deadline().is_none_or(|deadline| deadline > now));
        self.write_control(now);
    }

    fn receive(&mut self, now: Instant, mut part: &[u8]) {
        loop {
            let mut refused = None;
            match self.session.receive(now, &mut part).expect("the other end is no liar") {
                None => break,
                Some(Event::Open { stream, open }) => {
                    assert_eq!(self.end, End::Agent);
                    assert_eq!((open.protocol, open.host), ("http", "kite.test"));
                    assert_eq!((open.port, open.visitor_port), (Some(80), Some(45_924)));
                    let before = self.streams.insert(stream, Flow::new(now));
                    assert!(before.is_none(), "stream {stream} is opened twice");
                }
                Some(Event::TooManyStreams { stream, .. }) => refused = Some(stream),
                Some(Event::Data { stream, bytes }) => {
                    let flow = self.streams.get_mut(&stream).expect("a known stream");
                    assert!(flow.takes_data() && !bytes.is_empty());
                    let from = self.end.other();
                    for (at, &byte) in bytes.iter().enumerate() {
                        let wanted = content(from, stream, flow.received + at as u64);
                        assert_eq!(byte, wanted, "stream {stream}");
                    }
                    flow.received += bytes.len() as u64;
                    flow.active = now;
                    let held = flow.received - flow.delivered;
                    assert!(held <= LARGEST_WINDOW_BYTES, "{held} bytes have to be held");
                }
                Some(Event::Eof { stream, eof }) => {
                    let flow = self.streams.get_mut(&stream).expect("a known stream");
                    flow.heard.read |= eof.read;
                    flow.heard.write |= eof.write;
                    flow.active = now;
                }
                Some(Event::Room { stream }) => assert!(self.streams.contains_key(&stream)),
                Some(Event::Progress) => {}
                Some(other) => panic!("{other:?}"),
            }
            if let Some(stream) = refused {
                self.session.refuse(stream);
            }
        }
        assert!(part.is_empty(), "input is left over");
    }

    fn write_control(&mut self, now: Instant) {
        while self.session.has_control_frames() && self.waiting() < PIPE_BYTES {
            let start = self.output.len();
            let limit = self.passed + PIPE_BYTES;
            self.session.control_frames(now, &mut self.output, limit);
            self.note_frames(now, start);
        }
    }

    /// Notes the frames from `start` on.
    fn note_frames(&mut self, now: Instant, start: usize) {
        let mut rest = &self.output[start..];
        while !rest.is_empty() {
            let end = rest.iter().position(|&byte| byte == b'\r').expect("a length line");
            let line = std::str::from_utf8(&rest[..end]).expect("digits");
            let size = line.rsplit('Z').next().expect("a length");
            let size = usize::from_str_radix(size, 16).expect("a number");
            let (frame, more) = rest.split_at(end + 2 + size);
            self.frames.push((now, frame.len()));
            rest = more;
            let unread = self.output.len() - rest.len() - self.passed;
            let mut bytes = 0;
            let together = self.frames.iter().rev().take_while(|&&(_, length)| {
                bytes += length;
                bytes <= unread.min(50_393)
            });
            self.most_in_a_read = self.most_in_a_read.max(together.count());
        }
    }
}
