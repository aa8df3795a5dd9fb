//! A tunnel after its handshake: many streams over one byte stream, the same
//! at both ends.
//!
//! The contract. The driver owns the sockets and the clock.
//! 1. Bytes from the tunnel go to [`Session::receive`], again and again until
//!    it returns `None`; each event is acted upon before the next call.
//! 2. What a service or visitor sends is read into a buffer with
//!    [`HEADER_ROOM`](super::HEADER_ROOM) bytes free in front, at most
//!    [`Session::send_room`] bytes, and framed by [`Session::data_frame`].
//! 3. After each of these, and before each data frame, as long as
//!    [`Session::has_control_frames`] and the tunnel takes bytes,
//!    [`Session::control_frames`] is written to the tunnel.
//! 4. At [`Session::deadline`], [`Session::expired_stream`] is called until it
//!    returns `None`.
//!
//! Everything that waits in here is bounded by the number of streams; data
//! never waits in here at all.

mod event;
mod send;
mod stream;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use litemap::LiteMap;

use super::answer::{Answer, Quota};
use super::burst::BurstGuard;
use super::decode::{Decoder, Piece};
use super::deflate::Deflater;
use super::encode;
use super::error::WireError;
use super::flow::WindowPool;
use super::headers::{Eof, Headers};
use super::request::TunnelRequest;
pub use event::{Event, Open};
use stream::Stream;

/// Idle time after which a stream that is closed in one direction is closed in
/// the other (`protocol.md` 10). Open streams have no limit: a quiet SSH lives
/// for days.
pub const HALF_CLOSED_LIMIT: Duration = Duration::from_secs(120);
/// How often half-closed streams are looked at.
const HALF_CLOSED_CHECK: Duration = Duration::from_secs(5);
/// Refusals of unknown streams that wait to be sent; further ones are dropped,
/// and the other end is told at its next try.
const MAX_REFUSALS: usize = 256;
/// Longest text of a PING that is echoed (`protocol.md` 6).
const MAX_PING_BYTES: usize = 64;
/// Largest stream id that small agents can read (`protocol.md` 6).
const LARGEST_STREAM_ID: u32 = 99_999_999;

/// Which end of the tunnel this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The device end: streams are opened by the other end.
    Agent,
    /// The public end: opens the streams.
    Relay,
}

/// How a session behaves.
#[derive(Clone, Copy, Debug)]
pub struct SessionSettings {
    /// Which end this is.
    pub role: Role,
    /// Streams at the same time.
    pub max_streams: usize,
    /// Bytes of headers in one frame.
    pub max_header_bytes: usize,
    /// Send zlib chunks: the other end reads them and the user asked for it.
    pub compress: bool,
    /// The other end may be one that dies of 150 frames in one read.
    pub guard_bursts: bool,
}

/// A tunnel.
#[derive(Debug)]
pub struct Session {
    settings: SessionSettings,
    decoder: Decoder,
    /// Where the body of the current frame goes.
    body_of: Option<u32>,
    streams: LiteMap<u32, Stream>,
    pool: WindowPool,
    /// Streams with something to tell, each at most once.
    queue: VecDeque<u32>,
    refusals: VecDeque<u32>,
    payloads: VecDeque<Vec<u8>>,
    pong: Option<Vec<u8>>,
    sign_of_life: Option<SignOfLife>,
    pings_sent: u64,
    burst: BurstGuard,
    deflater: Option<Deflater>,
    /// The last compressed payload, and the frame around it.
    deflated: Vec<u8>,
    compressed: Vec<u8>,
    next_stream: u32,
    next_check: Option<Instant>,
}

/// What [`Session::show_life`] sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignOfLife {
    /// Asks for an answer.
    Ping,
    /// Asks for nothing; the only one that every relay survives
    /// (`protocol.md` 18).
    Noop,
}

impl Session {
    /// A tunnel right after the head of its handshake.
    pub fn new(settings: SessionSettings) -> Self {
        Self {
            settings,
            decoder: Decoder::new(settings.max_header_bytes),
            body_of: None,
            streams: LiteMap::new(),
            pool: WindowPool::new(),
            queue: VecDeque::new(),
            refusals: VecDeque::new(),
            payloads: VecDeque::new(),
            pong: None,
            sign_of_life: None,
            pings_sent: 0,
            burst: BurstGuard::default(),
            deflater: settings.compress.then(Deflater::new),
            deflated: Vec::new(),
            compressed: Vec::new(),
            next_stream: 1,
            next_check: None,
        }
    }

    /// The next event in `input`, which is shortened by what was used; `None`
    /// when all of it is used.
    ///
    /// # Errors
    /// The other end broke the protocol; the tunnel has to be closed.
    pub fn receive<'s, 'i: 's>(
        &'s mut self,
        now: Instant,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'s>>, WireError> {
        if !input.is_empty() {
            self.burst.heard(now, self.pool.round_trip());
        }
        let Some(piece) = self.decoder.next(input)? else { return Ok(None) };
        let event = match piece {
            Piece::End => {
                self.body_of = None;
                Event::Progress
            }
            Piece::Body(bytes) => {
                let stream = self.body_of.unwrap_or_default();
                match self.body_of.and_then(|stream| self.streams.get_mut(&stream)) {
                    // The driver may have closed it since the headers came.
                    Some(known) if known.takes_data() => {
                        known.active = now;
                        known.receipts.received(bytes.len() as u64);
                        if !known.is_queued && known.owes_receipt() {
                            known.is_queued = true;
                            self.queue.push_back(stream);
                        }
                        Event::Data { stream, bytes }
                    }
                    _ => Event::Progress,
                }
            }
            // A visitor's endless Host makes such a frame; it costs the visitor.
            Piece::LongHeaders(block) => match Headers::parse(block)?.stream {
                Some(stream) if !self.streams.contains_key(&stream) => {
                    Self::push_refusal(&mut self.refusals, stream);
                    Event::Progress
                }
                _ => return Err(WireError::FrameHeadersTooLong),
            },
            Piece::Headers(block) => {
                let headers = Headers::parse(block)?;
                if !headers.has_meaning() {
                    return Err(WireError::FrameWithoutMeaning);
                }
                if let Some(text) = headers.ping {
                    // The newest question is the one that is answered.
                    self.pong = Some(text[..text.len().min(MAX_PING_BYTES)].to_vec());
                }
                if headers.restart_compression && self.deflater.is_some() {
                    // The stream that both ends agreed on is gone, and sending
                    // on in clear needs no agreement.
                    self.deflater = None;
                }
                if headers.noop {
                    let known = headers.stream.and_then(|stream| self.streams.get_mut(&stream));
                    if let (Some(known), Some(stream)) = (known, headers.stream) {
                        if headers.slow_down {
                            known.window.slow_down();
                        }
                        if let Some(kilobytes) = headers.delivered_kilobytes {
                            let read = known.window.delivered(now, kilobytes, &mut self.pool);
                            if let Some(frame) = read {
                                self.burst.was_read(frame);
                            }
                            return Ok(Some(Event::Room { stream }));
                        }
                    }
                    return Self::control_event(self.settings.role, &headers, block).map(Some);
                }
                let Some(stream) = headers.stream else { return Ok(Some(Event::Progress)) };
                if let Some(eof) = headers.eof {
                    let Some(known) = self.streams.get_mut(&stream) else {
                        return Ok(Some(Event::Progress));
                    };
                    known.receive(eof);
                    known.active = now;
                    if known.is_over() {
                        if known.is_queued {
                            // A stale entry for each stream that a hostile peer
                            // opens and closes would grow without bound.
                            self.queue.retain(|&queued| queued != stream);
                        }
                        known.window.release(&mut self.pool);
                        forget(&mut self.streams, stream);
                    } else if known.is_half_closed() {
                        self.next_check.get_or_insert(now + HALF_CLOSED_CHECK);
                    }
                    Event::Eof { stream, eof }
                } else {
                    let open = match self.settings.role {
                        Role::Agent => Open::read(&headers),
                        // Streams are the relay's to open (`protocol.md` 9).
                        Role::Relay => None,
                    };
                    match open {
                        Some(open) => {
                            // The relay has forgotten whoever had this id.
                            if let Some(mut old) = self.streams.remove(&stream) {
                                old.window.release(&mut self.pool);
                                self.queue.retain(|&queued| queued != stream);
                            }
                            if self.streams.len() >= self.settings.max_streams {
                                return Ok(Some(Event::TooManyStreams { stream, open }));
                            }
                            self.streams.insert(stream, Stream::new(now));
                            self.body_of = Some(stream);
                            Event::Open { stream, open }
                        }
                        None => {
                            match self.streams.get_mut(&stream) {
                                Some(known) => {
                                    known.active = now;
                                    self.body_of = Some(stream);
                                }
                                None => Self::push_refusal(&mut self.refusals, stream),
                            }
                            Event::Progress
                        }
                    }
                }
            }
        };
        Ok(Some(event))
    }

    fn control_event<'a>(
        role: Role,
        headers: &Headers<'a>,
        block: &'a [u8],
    ) -> Result<Event<'a>, WireError> {
        if headers.has_kite_lines {
            return Ok(match role {
                Role::Agent => Event::Answer(Box::new(Answer::parse_lines(block)?)),
                Role::Relay => Event::Request(Box::new(TunnelRequest::parse_lines(block)?)),
            });
        }
        let quota = Quota {
            kilobytes: headers.quota_kilobytes,
            days: headers.quota_days,
            connections: headers.quota_connections,
            visitors: None,
        };
        Ok(if quota == Quota::default() { Event::Progress } else { Event::Quota(quota) })
    }

    /// Opens a stream, as only the relay does: appends the first frame with
    /// the bytes that the visitor has sent so far. `None` when the limit is
    /// reached.
    pub fn open(
        &mut self,
        now: Instant,
        open: &Open<'_>,
        body: &[u8],
        output: &mut Vec<u8>,
    ) -> Option<u32> {
        if self.streams.len() >= self.settings.max_streams {
            return None;
        }
        while self.streams.contains_key(&self.next_stream) {
            self.advance_stream_id();
        }
        let stream = self.next_stream;
        self.advance_stream_id();
        let frame = self.burst.next_frame();
        let mut payload = open.encode(stream);
        payload.extend_from_slice(body);
        let start = output.len();
        encode::push_payload(output, &payload);
        self.note_frame(now, output.len() - start);
        let mut new = Stream::new(now);
        new.window.sent(now, body.len() as u64, frame);
        self.streams.insert(stream, new);
        Some(stream)
    }

    /// Bytes that may be sent on this stream now; 0 as well for a stream that
    /// is gone.
    pub fn send_room(&self, stream: u32) -> usize {
        let known = self.streams.get(&stream).filter(|known| known.may_send());
        known.map_or(0, |known| usize::try_from(known.window.room()).unwrap_or(usize::MAX))
    }

    /// Notes that our socket has taken `bytes` of this stream.
    pub fn delivered(&mut self, stream: u32, bytes: usize) {
        let Some(known) = self.streams.get_mut(&stream) else { return };
        known.receipts.delivered(bytes as u64);
        known.has_delivered |= bytes > 0;
        if known.owes_receipt() {
            self.enqueue(stream);
        }
    }

    /// Closes a stream or a half of it: `read` when our socket is at its end,
    /// `write` when it takes no more. The other end is told, and the stream is
    /// forgotten once both directions are over.
    pub fn close(&mut self, now: Instant, stream: u32, eof: Eof) {
        let Some(known) = self.streams.get_mut(&stream) else { return };
        known.close(eof);
        known.active = now;
        if known.is_half_closed() {
            self.next_check.get_or_insert(now + HALF_CLOSED_CHECK);
        }
        self.enqueue(stream);
    }

    /// Refuses a stream of [`Event::TooManyStreams`].
    pub fn refuse(&mut self, stream: u32) {
        Self::push_refusal(&mut self.refusals, stream);
    }

    /// When [`Self::expired_stream`] is to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_check
    }

    /// A half-closed stream on which nothing has moved for
    /// [`HALF_CLOSED_LIMIT`]; it is closed, and its socket is to be closed.
    pub fn expired_stream(&mut self, now: Instant) -> Option<u32> {
        if self.next_check.is_none_or(|check| check > now) {
            return None;
        }
        let mut half_closed =
            self.streams.iter_mut().filter(|(_, known)| known.is_half_closed()).peekable();
        let some_are = half_closed.peek().is_some();
        let expired = half_closed
            .find_map(|(&stream, known)| known.is_idle(now, HALF_CLOSED_LIMIT).then_some(stream));
        match expired {
            Some(stream) => self.close(now, stream, Eof::BOTH),
            None => self.next_check = some_are.then(|| now + HALF_CLOSED_CHECK),
        }
        expired
    }

    /// Streams that are open.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    fn enqueue(&mut self, stream: u32) {
        if let Some(known) = self.streams.get_mut(&stream) {
            if !known.is_queued {
                known.is_queued = true;
                self.queue.push_back(stream);
            }
        }
    }

    fn push_refusal(refusals: &mut VecDeque<u32>, stream: u32) {
        if refusals.len() < MAX_REFUSALS && !refusals.contains(&stream) {
            refusals.push_back(stream);
        }
    }

    fn advance_stream_id(&mut self) {
        self.next_stream =
            if self.next_stream == LARGEST_STREAM_ID { 1 } else { self.next_stream + 1 };
    }
}

/// Removes a stream; the last gives back the memory of the crowd that was.
fn forget(streams: &mut LiteMap<u32, Stream>, stream: u32) {
    streams.remove(&stream);
    if streams.is_empty() {
        *streams = LiteMap::new();
    }
}

#[cfg(test)]
mod tests;
