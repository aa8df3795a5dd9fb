//! One end of a tunnel: the true session and heartbeat, and streams whose
//! bytes are known beforehand, so that each one that comes is checked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kitelet::wire::{
    Beat, Eof, Event, HEADER_ROOM, Heartbeat, MAX_BODY_BYTES, Open, Role, Session, SessionSettings,
};

use super::link::{End, WINDOW};

/// Streams of one tunnel.
const MAX_STREAMS: usize = 16;

/// One end of a tunnel.
pub(crate) struct Tunnel {
    end: End,
    session: Session,
    heartbeat: Heartbeat,
    streams: BTreeMap<u32, Flow>,
    /// Streams whose bytes have all come, in both directions.
    pub(crate) completed: u64,
}

/// A stream of known content.
struct Flow {
    /// Names the content.
    number: u64,
    to_send: u64,
    sent: u64,
    to_come: u64,
    come: u64,
    is_closed: bool,
}

/// The byte at `offset` of what `end` sends on the stream `number`.
fn content(end: End, number: u64, offset: u64) -> u8 {
    let mixed = (number ^ offset.rotate_left(17)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8 ^ (end == End::Device) as u8
}

impl Tunnel {
    pub(crate) fn new(end: End, now: Instant, keepalive: Duration) -> Self {
        let role = if end == End::Device { Role::Agent } else { Role::Relay };
        Self {
            end,
            session: Session::new(SessionSettings {
                role,
                max_streams: MAX_STREAMS,
                max_header_bytes: 4096,
                compress: false,
                guard_bursts: false,
            }),
            heartbeat: Heartbeat::new(now, keepalive, true),
            streams: BTreeMap::new(),
            completed: 0,
        }
    }

    /// A visitor comes to the relay: `there` bytes go to the service, `back`
    /// come from it.
    pub(crate) fn visit(&mut self, now: Instant, number: u64, there: u64, back: u64) -> Vec<u8> {
        let mut output = Vec::new();
        let host = format!("{number}-{there}-{back}.test");
        let open = Open {
            protocol: "http",
            host: &host,
            port: Some(80),
            visitor_address: "192.0.2.1",
            visitor_port: Some(1),
            visitor_tls: false,
        };
        if let Some(stream) = self.session.open(now, &open, &[], &mut output) {
            let flow =
                Flow { number, to_send: there, sent: 0, to_come: back, come: 0, is_closed: false };
            self.streams.insert(stream, flow);
        }
        output
    }

    /// Bytes from the other end; each is checked.
    pub(crate) fn receive(&mut self, now: Instant, bytes: &[u8]) {
        self.heartbeat.received(now);
        let mut input = bytes;
        loop {
            let event = self.session.receive(now, &mut input).expect("both ends keep the protocol");
            let Some(event) = event else { return };
            match event {
                Event::Open { stream, open } => {
                    let mut numbers = open.host.trim_end_matches(".test").split('-');
                    let mut number = || numbers.next().and_then(|part| part.parse().ok());
                    let mut next = || number().expect("a host of ours");
                    let (number, there, back) = (next(), next(), next());
                    let flow = Flow {
                        number,
                        to_send: back,
                        sent: 0,
                        to_come: there,
                        come: 0,
                        is_closed: false,
                    };
                    self.streams.insert(stream, flow);
                }
                Event::Data { stream, bytes } => {
                    let length = bytes.len();
                    if let Some(flow) = self.streams.get_mut(&stream) {
                        for byte in bytes {
                            let wanted = content(self.end.other(), flow.number, flow.come);
                            assert_eq!(*byte, wanted, "stream {stream}, byte {}", flow.come);
                            flow.come += 1;
                        }
                        assert!(flow.come <= flow.to_come, "bytes came twice");
                    }
                    self.session.delivered(stream, length);
                }
                Event::Eof { stream, eof } => {
                    if let (true, Some(flow)) = (eof.read, self.streams.get(&stream)) {
                        assert_eq!(flow.come, flow.to_come, "bytes of stream {stream} were lost");
                    }
                }
                Event::TooManyStreams { stream, .. } => self.session.refuse(stream),
                _ => {}
            }
        }
    }

    /// What there is to send now, at most `room` bytes or a little more.
    pub(crate) fn output(&mut self, now: Instant, room: usize) -> Vec<u8> {
        let mut output = Vec::new();
        if room == 0 {
            return output;
        }
        self.session.control_frames(now, &mut output, room);
        let mut buffer = vec![0; HEADER_ROOM + MAX_BODY_BYTES];
        for (&stream, flow) in &mut self.streams {
            while output.len() < room && flow.sent < flow.to_send {
                let left = usize::try_from(flow.to_send - flow.sent).unwrap_or(usize::MAX);
                let length = self.session.send_room(stream).min(MAX_BODY_BYTES).min(left);
                if length == 0 {
                    break;
                }
                let body = HEADER_ROOM..HEADER_ROOM + length;
                for byte in &mut buffer[body.clone()] {
                    *byte = content(self.end, flow.number, flow.sent);
                    flow.sent += 1;
                }
                output.extend_from_slice(self.session.data_frame(now, stream, &mut buffer, body));
            }
            if flow.sent == flow.to_send && !flow.is_closed {
                flow.is_closed = true;
                self.session.close(now, stream, Eof { read: true, write: false });
            }
        }
        let open = self.streams.len();
        self.streams.retain(|_, flow| !flow.is_closed || flow.come < flow.to_come);
        self.completed += (open - self.streams.len()) as u64;
        self.session.control_frames(now, &mut output, room.max(WINDOW));
        output
    }

    /// The heartbeat: `None` when the other end is dead, else when to ask
    /// again.
    pub(crate) fn beat(&mut self, now: Instant) -> Option<Instant> {
        loop {
            match self.heartbeat.beat(now, self.session.stream_count() > 0) {
                Beat::Dead => return None,
                Beat::Wait(until) => return Some(until),
                Beat::Send(sign) => self.session.show_life(sign),
            }
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.session.stream_count() == 0
    }

    /// The network has changed.
    pub(crate) fn doubt(&mut self, now: Instant) {
        self.heartbeat.doubt(now);
    }
}
