//! What a session writes: data frames in the driver's buffer, and control
//! frames when the driver asks for them.

use std::ops::Range;
use std::time::Instant;

use super::{Session, SignOfLife};
use crate::wire::burst::PADDING_BYTES;
use crate::wire::deflate::SHORTEST_COMPRESSED_BYTES;
use crate::wire::encode;
use crate::wire::headers::Eof;

/// Kite frames that wait to be sent; a peer that asks for more without reading
/// the answers gets none for the rest.
pub(super) const MAX_PAYLOADS: usize = 8;

impl Session {
    /// Frames the bytes at `body` in `buffer`, which has
    /// [`HEADER_ROOM`](super::HEADER_ROOM) bytes free in front of them.
    pub fn data_frame<'b>(
        &'b mut self,
        now: Instant,
        stream: u32,
        buffer: &'b mut [u8],
        body: Range<usize>,
    ) -> &'b [u8] {
        if let Some(known) = self.streams.get_mut(&stream) {
            known.window.sent(now, body.len() as u64, self.burst.next_frame());
            known.active = now;
        }
        let frame = encode::data_frame(buffer, body, stream);
        if self.deflater.is_some() && frame.len() > SHORTEST_COMPRESSED_BYTES {
            self.compress(&buffer[frame]);
            self.note_frame(now, self.compressed.len());
            return &self.compressed;
        }
        self.note_frame(now, frame.len());
        &buffer[frame]
    }

    /// Sends a sign of life with the next control frames.
    pub fn show_life(&mut self, sign: SignOfLife) {
        self.sign_of_life = Some(sign);
    }

    /// Sends the payload of a kite request or answer with the next control
    /// frames; false when too many wait already.
    pub fn send_payload(&mut self, payload: Vec<u8>) -> bool {
        let has_room = self.payloads.len() < MAX_PAYLOADS;
        if has_room {
            self.payloads.push_back(payload);
        }
        has_room
    }

    /// Whether the other end is close to its limit of small frames: a service
    /// that has little to say is better given time to say more.
    pub fn is_strained(&self) -> bool {
        self.burst.is_strained()
    }

    /// Whether [`Self::control_frames`] has something to write.
    pub fn has_control_frames(&self) -> bool {
        self.burst.needs_padding()
            || self.pong.is_some()
            || self.sign_of_life.is_some()
            || !self.payloads.is_empty()
            || !self.queue.is_empty()
            || !self.refusals.is_empty()
    }

    /// Appends what the other end has to be told, until `output` is
    /// `limit` bytes long or a little more.
    pub fn control_frames(&mut self, now: Instant, output: &mut Vec<u8>, limit: usize) {
        while output.len() < limit {
            let start = output.len();
            if self.burst.needs_padding() {
                encode::push_noop(output, PADDING_BYTES - 20);
            } else if let Some(text) = self.pong.take() {
                encode::push_pong(output, &text);
            } else if let Some(payload) = self.payloads.pop_front() {
                encode::push_payload(output, &payload);
            } else if let Some(stream) = self.queue.pop_front() {
                self.stream_frame(stream, output);
            } else if let Some(stream) = self.refusals.pop_front() {
                encode::push_eof(output, stream, Eof::BOTH);
            } else if let Some(sign) = self.sign_of_life.take() {
                match sign {
                    SignOfLife::Ping => {
                        self.pings_sent += 1;
                        encode::push_ping(output, self.pings_sent);
                    }
                    SignOfLife::Noop => encode::push_noop(output, 1),
                }
            } else {
                return;
            }
            if output.len() > start {
                self.note_frame(now, output.len() - start);
            }
        }
    }

    /// Writes one frame for a stream with something to tell; it is queued
    /// again when there is more.
    fn stream_frame(&mut self, stream: u32, output: &mut Vec<u8>) {
        let Some(known) = self.streams.get_mut(&stream) else { return };
        known.is_queued = false;
        if known.owes_receipt() {
            let kilobytes = known.receipts.report();
            encode::push_receipt(output, stream, kilobytes);
        } else if let Some(eof) = known.untold() {
            encode::push_eof(output, stream, eof);
            known.told(eof);
        }
        if known.is_over() {
            known.window.release(&mut self.pool);
            super::forget(&mut self.streams, stream);
        } else if known.owes_receipt() || known.untold().is_some() {
            self.enqueue(stream);
        }
    }

    pub(super) fn note_frame(&mut self, now: Instant, bytes: usize) {
        if self.settings.guard_bursts {
            self.burst.note(now, bytes);
        }
    }

    /// Compresses the payload of an encoded frame into `self.compressed`.
    fn compress(&mut self, frame: &[u8]) {
        let Some(deflater) = &mut self.deflater else { return };
        let line = frame.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let payload = &frame[line..];
        self.deflated.clear();
        deflater.deflate(payload, &mut self.deflated);
        self.compressed.clear();
        encode::push_compressed(&mut self.compressed, payload.len(), &self.deflated);
    }
}
