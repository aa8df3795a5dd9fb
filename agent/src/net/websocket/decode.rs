//! Takes frames apart (RFC 6455 section 5) in whatever pieces they come.
//! Payload is unmasked where it lies and handed out as it arrives; nothing is
//! kept but the header and the payload of a control frame.

use super::encode::{FIN, MASKED, MAX_HEADER_BYTES, Opcode};
use super::{Fault, MAX_CONTROL_BYTES, mask};

/// Longest payload of a frame, in bytes. None is held in memory; but nothing
/// can come between the bytes of one frame, no ping and no close, and what is
/// announced to be longer is an attack or garbage.
pub const MAX_PAYLOAD_BYTES: usize = 16 * 1024 * 1024;

/// What came out of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Nothing yet: all bytes were used, and more have to come.
    More,
    /// Bytes of the stream inside: so many, at least one, at the end of those
    /// that were used. They are unmasked.
    Data(usize),
    /// A ping, to be answered with a pong of this payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// The last frame, with the status that it gives. All bytes after it are
    /// passed over.
    Close(Option<u16>),
}

/// The reading end of a WebSocket.
#[derive(Debug)]
pub struct Decoder {
    /// Whether the other end has to mask: clients have to, servers must not.
    is_masked: bool,
    place: Place,
    header: [u8; MAX_HEADER_BYTES],
    header_bytes: usize,
    /// Whether the last data frame did not end its message.
    in_message: bool,
    control: [u8; MAX_CONTROL_BYTES],
    control_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Header,
    Payload(Payload),
    Closed,
    Broken(Fault),
}

/// The payload of a frame, so far.
#[derive(Clone, Copy, Debug)]
struct Payload {
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    /// Where the next byte is in the payload.
    offset: usize,
    length: usize,
}

impl Decoder {
    /// For the server's side when `is_masked`, else for the client's.
    pub fn new(is_masked: bool) -> Self {
        Self {
            is_masked,
            place: Place::Header,
            header: [0; MAX_HEADER_BYTES],
            header_bytes: 0,
            in_message: false,
            control: [0; MAX_CONTROL_BYTES],
            control_bytes: 0,
        }
    }

    /// Reads from the front of `bytes` up to the next thing of interest, and
    /// says how many it used. The rest is to be given again.
    ///
    /// # Errors
    /// The other end broke the protocol. All later calls say the same.
    pub fn next(&mut self, bytes: &mut [u8]) -> Result<(usize, Piece<'_>), Fault> {
        let mut used = 0;
        loop {
            match &mut self.place {
                Place::Broken(fault) => return Err(*fault),
                Place::Closed => return Ok((bytes.len(), Piece::More)),
                Place::Header => {
                    let Some(&byte) = bytes.get(used) else { return Ok((used, Piece::More)) };
                    used += 1;
                    match self.take_header_byte(byte) {
                        Ok(None) => {}
                        Ok(Some(payload)) => {
                            self.header_bytes = 0;
                            self.control_bytes = 0;
                            self.place = Place::Payload(payload);
                        }
                        Err(fault) => self.place = Place::Broken(fault),
                    }
                }
                Place::Payload(payload) if payload.offset == payload.length => {
                    let opcode = payload.opcode;
                    self.place = Place::Header;
                    match opcode {
                        Opcode::Ping => {
                            return Ok((used, Piece::Ping(&self.control[..self.control_bytes])));
                        }
                        Opcode::Pong => return Ok((used, Piece::Pong)),
                        Opcode::Close => match close_status(&self.control[..self.control_bytes]) {
                            Ok(status) => {
                                self.place = Place::Closed;
                                return Ok((used, Piece::Close(status)));
                            }
                            Err(fault) => self.place = Place::Broken(fault),
                        },
                        Opcode::Continuation | Opcode::Text | Opcode::Binary => {}
                    }
                }
                Place::Payload(payload) => {
                    let length = (bytes.len() - used).min(payload.length - payload.offset);
                    if length == 0 {
                        return Ok((used, Piece::More));
                    }
                    let part = &mut bytes[used..used + length];
                    if let Some(mask) = payload.mask {
                        mask::apply(mask, payload.offset, part);
                    }
                    payload.offset += length;
                    used += length;
                    if !payload.opcode.is_control() {
                        return Ok((used, Piece::Data(length)));
                    }
                    self.control[self.control_bytes..][..length].copy_from_slice(part);
                    self.control_bytes += length;
                }
            }
        }
    }

    /// Adds a byte to the header; what the frame is once it is complete. A
    /// fault is found at its first byte.
    fn take_header_byte(&mut self, byte: u8) -> Result<Option<Payload>, Fault> {
        self.header[self.header_bytes] = byte;
        self.header_bytes += 1;
        let first = self.header[0];
        let opcode = Opcode::of(first).ok_or(Fault::UnknownOpcode)?;
        if self.header_bytes == 1 {
            self.check_first(first, opcode)?;
            return Ok(None);
        }
        let (is_masked, length) = (self.header[1] & MASKED != 0, self.header[1] & !MASKED);
        match (is_masked, self.is_masked) {
            (false, true) => return Err(Fault::NotMasked),
            (true, false) => return Err(Fault::Masked),
            _ => {}
        }
        if opcode.is_control() && usize::from(length) > MAX_CONTROL_BYTES {
            return Err(Fault::LongControl);
        }
        let length_end = match length {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let end = if is_masked { length_end + 4 } else { length_end };
        if self.header_bytes == length_end {
            self.length(length_end)?;
        }
        if self.header_bytes < end {
            return Ok(None);
        }
        let mask: Option<[u8; 4]> = match is_masked {
            true => self.header[length_end..end].try_into().ok(),
            false => None,
        };
        let length = self.length(length_end)?;
        if !opcode.is_control() {
            self.in_message = first & FIN == 0;
        }
        Ok(Some(Payload { opcode, mask, offset: 0, length }))
    }

    fn check_first(&self, first: u8, opcode: Opcode) -> Result<(), Fault> {
        if first & 0x70 != 0 {
            return Err(Fault::ReservedBits);
        }
        match opcode {
            Opcode::Text => Err(Fault::Text),
            Opcode::Continuation if !self.in_message => Err(Fault::NoMessage),
            Opcode::Binary if self.in_message => Err(Fault::TwoMessages),
            _ if opcode.is_control() && first & FIN == 0 => Err(Fault::FragmentedControl),
            _ => Ok(()),
        }
    }

    /// The length of the payload, from a header that has it up to `end`.
    fn length(&self, end: usize) -> Result<usize, Fault> {
        let (length, least) = match end {
            2 => return Ok(usize::from(self.header[1] & !MASKED)),
            4 => (u64::from(u16::from_be_bytes([self.header[2], self.header[3]])), 126),
            _ => {
                let bytes: [u8; 8] = std::array::from_fn(|index| self.header[2 + index]);
                (u64::from_be_bytes(bytes), 65536)
            }
        };
        if length < least {
            return Err(Fault::PaddedLength);
        }
        let fits = usize::try_from(length).ok().filter(|length| *length <= MAX_PAYLOAD_BYTES);
        fits.ok_or(Fault::LongFrame)
    }
}

/// The status of a close frame, if there is one; its text is for humans.
fn close_status(payload: &[u8]) -> Result<Option<u16>, Fault> {
    match *payload {
        [] => Ok(None),
        [high, low, ..] => match u16::from_be_bytes([high, low]) {
            // RFC 6455 section 7.4 and IANA's registry: the others are never
            // on the wire.
            status @ (1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(Some(status)),
            _ => Err(Fault::CloseStatus),
        },
        [_] => Err(Fault::CloseStatus),
    }
}

#[cfg(test)]
mod tests;
