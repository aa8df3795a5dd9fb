//! A WebSocket over a stream of bytes: what a [`super::super::Connection`] has
//! between its caller and TLS or TCP. Payload is decoded in the caller's own
//! buffer; only the rest of one frame is kept when the stream takes no more.

use std::fmt;
use std::io;

use super::{Decoder, Fault, Opcode, Piece, append_frame};

/// Longest frame that is written, in bytes, its header included: it fills one
/// TLS record, and is what may wait here for the stream below.
pub const MAX_FRAME_BYTES: usize = 16 * 1024;
/// Payload of such a frame. Its header is two bytes, a length of two, and a
/// mask of four.
const MAX_FRAME_PAYLOAD: usize = MAX_FRAME_BYTES - 8;
/// Memory for frames that is kept while none waits, in bytes: enough for what
/// idle tunnels say, since a relay may have thousands of them.
const KEPT_BYTES: usize = 512;
/// Reads without any data after which other tasks get their turn: a peer may
/// send pings without end.
const READS_PER_TURN: usize = 4;

/// The status of a shutdown that nothing is wrong with (RFC 6455 section
/// 7.4.1).
const NORMAL: u16 = 1000;

/// Which end of a WebSocket this is.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// It opened the connection, and masks what it sends.
    Client {
        /// Fills a buffer with bytes that nobody can foresee, for the masks.
        random: fn(&mut [u8]),
    },
    /// It accepted the connection.
    Server,
}

/// The stream of bytes below, which does not block.
pub(in crate::net) trait Below {
    /// As [`super::super::Connection::try_read`] without a WebSocket.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// As [`super::super::Connection::try_write`] without a WebSocket.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// The state of a WebSocket whose handshake is done.
pub(in crate::net) struct Layer {
    end: End,
    decoder: Decoder,
    reading: Reading,
    /// Bytes that came behind the head of the handshake, not yet decoded.
    rest: Vec<u8>,
    /// Frames that the stream below has yet to take, and how much it took.
    outgoing: Vec<u8>,
    sent: usize,
    /// The payload of the last ping, while its pong is due. Of several pings
    /// the last one alone is answered (RFC 6455 section 5.5.3).
    ping: Option<Vec<u8>>,
    closing: Closing,
    is_shut_down: bool,
}

#[derive(Clone, Copy, Debug)]
enum Reading {
    Open,
    /// The other end has closed.
    Ended,
    Broken(Fault),
}

/// How far this end's close frame has come; nothing is sent after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    Open,
    Due(Option<u16>),
    Written,
}

impl Layer {
    /// `rest` came behind the head of the handshake.
    pub(in crate::net) fn new(end: End, rest: Vec<u8>) -> Self {
        Self {
            end,
            decoder: Decoder::new(matches!(end, End::Server)),
            reading: Reading::Open,
            rest,
            outgoing: Vec::new(),
            sent: 0,
            ping: None,
            closing: Closing::Open,
            is_shut_down: false,
        }
    }

    /// As [`super::super::Connection::try_read`]; a close frame is the end.
    /// Pings are answered as far as `below` takes it.
    pub(in crate::net) fn try_read(
        &mut self,
        below: &dyn Below,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        for _ in 0..READS_PER_TURN {
            match self.reading {
                Reading::Open => {}
                Reading::Ended => return Ok(0),
                Reading::Broken(fault) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
                }
            }
            let arrived = self.fetch(below, buffer)?;
            if arrived == 0 {
                return Ok(0);
            }
            let filled = self.decode(&mut buffer[..arrived]);
            // A failure to send shows when somebody writes.
            let _ = self.flush(below);
            if filled > 0 {
                return Ok(filled);
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// As [`super::super::Connection::try_write`], with one frame more that
    /// may wait here; `BrokenPipe` after either end has closed.
    pub(in crate::net) fn try_write(
        &mut self,
        below: &dyn Below,
        plain: &[u8],
    ) -> io::Result<usize> {
        if self.closing != Closing::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut taken = 0;
        loop {
            match self.flush(below) {
                Ok(()) if taken < plain.len() => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(error) if taken == 0 && !plain.is_empty() => return Err(error),
                _ => return Ok(taken),
            }
            let part = &plain[taken..];
            let part = &part[..part.len().min(MAX_FRAME_PAYLOAD)];
            self.append(Opcode::Binary, part);
            taken += part.len();
        }
    }

    /// Hands all that waits here to `below`.
    pub(in crate::net) fn flush(&mut self, below: &dyn Below) -> io::Result<()> {
        loop {
            while self.sent < self.outgoing.len() {
                match below.write(&self.outgoing[self.sent..])? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    sent => self.sent += sent,
                }
            }
            self.outgoing.clear();
            self.outgoing.shrink_to(KEPT_BYTES);
            self.sent = 0;
            if self.closing == Closing::Written {
                return Ok(());
            } else if let Some(payload) = self.ping.take() {
                self.append(Opcode::Pong, &payload);
            } else if let Closing::Due(status) = self.closing {
                self.closing = Closing::Written;
                let payload = status.map(u16::to_be_bytes);
                self.append(Opcode::Close, payload.as_ref().map_or(&[], |status| status));
            } else {
                return Ok(());
            }
        }
    }

    /// Makes the close frame due.
    pub(in crate::net) fn shut_down(&mut self) {
        self.is_shut_down = true;
        self.close(Some(NORMAL));
    }

    /// Whether [`Self::shut_down`] was called: the stream below has to be shut
    /// down once all is flushed.
    pub(in crate::net) fn is_shut_down(&self) -> bool {
        self.is_shut_down
    }

    /// Whether [`Self::flush`] has something to do.
    pub(in crate::net) fn has_unsent(&self) -> bool {
        self.sent < self.outgoing.len()
            || matches!(self.closing, Closing::Due(_))
            || (self.ping.is_some() && self.closing != Closing::Written)
    }

    /// Whether [`Self::try_read`] has something to say without `below`.
    pub(in crate::net) fn has_news(&self) -> bool {
        !self.rest.is_empty() || !matches!(self.reading, Reading::Open)
    }

    /// Bytes that are not decoded yet.
    fn fetch(&mut self, below: &dyn Below, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            return below.read(buffer);
        }
        let length = self.rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.rest[..length]);
        self.rest.drain(..length);
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        Ok(length)
    }

    /// Decodes `bytes` and moves the data in them to their front; returns how
    /// much that is.
    fn decode(&mut self, bytes: &mut [u8]) -> usize {
        let (mut used, mut filled) = (0, 0);
        while used < bytes.len() {
            match self.decoder.next(&mut bytes[used..]) {
                Ok((more, piece)) => {
                    used += more;
                    match piece {
                        Piece::More | Piece::Pong => {}
                        Piece::Data(length) => {
                            bytes.copy_within(used - length..used, filled);
                            filled += length;
                        }
                        Piece::Ping(payload) => self.ping = Some(payload.to_vec()),
                        Piece::Close(status) => {
                            self.reading = Reading::Ended;
                            self.close(status);
                            break;
                        }
                    }
                }
                Err(fault) => {
                    self.reading = Reading::Broken(fault);
                    self.close(Some(fault.status()));
                    break;
                }
            }
        }
        filled
    }

    fn close(&mut self, status: Option<u16>) {
        if self.closing == Closing::Open {
            self.closing = Closing::Due(status);
        }
    }

    fn append(&mut self, opcode: Opcode, payload: &[u8]) {
        let mask = match self.end {
            End::Server => None,
            End::Client { random } => {
                let mut mask = [0; 4];
                random(&mut mask);
                Some(mask)
            }
        };
        append_frame(&mut self.outgoing, opcode, mask, payload);
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Layer")
            .field("end", &self.end)
            .field("reading", &self.reading)
            .field("closing", &self.closing)
            .field("outgoing", &(self.outgoing.len() - self.sent))
            .finish()
    }
}

#[cfg(test)]
mod tests;
