//! From bytes to frames (`protocol.md` 5), incrementally: any cut of the byte
//! stream gives the same pieces but for where bodies are cut. Only how much of
//! a corrupt compressed frame comes out before the error depends on the cut.
//!
//! Bodies are handed on as they come, so the length of a frame costs no
//! memory; only the headers of a frame are put together when they are split.

use super::error::WireError;
use super::inflate::Inflater;

/// Longest length line: eight digits, `Z`, eight digits, `R`, CR, LF.
const MAX_SIZE_LINE_BYTES: usize = 20;
/// Longest frame on the wire. The reference takes any; it sends 16 KiB.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// Longest compressed frame, inflated. The reference sends 16 KiB; a bomb
/// gets no further than this bound, at no memory.
pub const MAX_INFLATED_BYTES: usize = 1024 * 1024;

/// A part of a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// All headers of a new frame, each with its CRLF, without the blank line.
    Headers(&'a [u8]),
    /// The first headers of a new frame that has more than are accepted, whole
    /// lines. What follows as the body is the rest of them and the body.
    LongHeaders(&'a [u8]),
    /// The next bytes of the body, never empty.
    Body(&'a [u8]),
    /// The frame is complete.
    End,
}

/// Takes frames apart. After an error it must not be used again.
#[derive(Debug)]
pub struct Decoder {
    phase: Phase,
    /// A length line or headers that are not complete yet.
    partial: Vec<u8>,
    /// Whether `partial` was handed out and is to be emptied.
    partial_is_spent: bool,
    max_header_bytes: usize,
    /// Made when the first compressed frame arrives: many peers never send one.
    inflater: Option<Inflater>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Size,
    Headers(Extent),
    Body(Extent),
}

/// What is left of the current frame.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Bytes on the wire.
    wire: usize,
    /// Bytes after inflating; for a plain frame the same as `wire`.
    plain: usize,
    compressed: bool,
}

impl Decoder {
    /// `max_header_bytes` bounds the headers of one frame.
    pub fn new(max_header_bytes: usize) -> Self {
        Self {
            phase: Phase::Size,
            partial: Vec::new(),
            partial_is_spent: false,
            max_header_bytes,
            inflater: None,
        }
    }

    /// The next piece in `input`, which is shortened by what was used; `None`
    /// when all of it is used. To be called until then.
    ///
    /// # Errors
    /// The violation of the protocol; the tunnel cannot go on.
    pub fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Piece<'s>>, WireError> {
        if self.partial_is_spent {
            self.partial_is_spent = false;
            self.partial.clear();
            // Headers of many kites are rare: their memory is not kept.
            self.partial.shrink_to(KEPT_PARTIAL_BYTES);
        }
        if matches!(self.phase, Phase::Size) && !self.read_size(input)? {
            return Ok(None);
        }
        match self.phase {
            Phase::Size => Ok(None),
            Phase::Headers(extent) => self.next_headers(extent, input),
            Phase::Body(extent) => self.next_body(extent, input),
        }
    }

    /// Whether the bytes so far end at the end of a frame.
    pub fn is_between_frames(&self) -> bool {
        matches!(self.phase, Phase::Size) && (self.partial.is_empty() || self.partial_is_spent)
    }

    /// Reads the length line; false when it is not complete yet.
    fn read_size(&mut self, input: &mut &[u8]) -> Result<bool, WireError> {
        loop {
            let Some((&byte, rest)) = input.split_first() else {
                return Ok(false);
            };
            *input = rest;
            self.partial.push(byte);
            if byte == b'\n' {
                break;
            }
            if self.partial.len() == MAX_SIZE_LINE_BYTES {
                return Err(WireError::FrameSize);
            }
        }
        let size = Size::parse(&self.partial)?;
        self.partial.clear();
        if size.restart {
            if let Some(inflater) = &mut self.inflater {
                inflater.restart();
            }
        }
        self.phase = Phase::Headers(size.extent);
        Ok(true)
    }

    fn next_headers<'s, 'i: 's>(
        &'s mut self,
        mut extent: Extent,
        input: &mut &'i [u8],
    ) -> Result<Option<Piece<'s>>, WireError> {
        // The usual case first: all headers lie in the input, in clear.
        if !extent.compressed && self.partial.is_empty() {
            let window: &'i [u8] = &input[..input.len().min(extent.wire)];
            let end = find_blank_line(window, 0).filter(|&end| end <= self.max_header_bytes);
            if let Some(end) = end {
                *input = &input[end..];
                extent.wire -= end;
                extent.plain -= end;
                self.phase = Phase::Body(extent);
                return Ok(Some(Piece::Headers(&window[..end - 2])));
            }
        }
        loop {
            if extent.plain == 0 {
                return Err(WireError::FrameWithoutBlankLine);
            }
            // One byte at a time into the blank line would be slow; so a run
            // is taken, and what lies behind the blank line is kept for later.
            let before = self.partial.len();
            let room = (self.max_header_bytes + 1).saturating_sub(before);
            let taken = if extent.compressed {
                // At most a few bytes too many would have to be put back into
                // the inflater; byte by byte there are none.
                let mut wire = &input[..input.len().min(extent.wire)];
                let offered = wire.len();
                let inflater = self.inflater.get_or_insert_default();
                let made = inflater.inflate(&mut wire, extent.plain.min(1))?;
                self.partial.extend_from_slice(made);
                let used = offered - wire.len();
                extent.wire -= used;
                *input = &input[used..];
                made.len()
            } else {
                let run = input.len().min(extent.wire).min(room);
                let kept = until_blank_line(&self.partial, &input[..run]);
                self.partial.extend_from_slice(&input[..kept]);
                extent.wire -= kept;
                *input = &input[kept..];
                kept
            };
            extent.plain -= taken;
            self.phase = Phase::Headers(extent);
            if taken == 0 {
                if extent.compressed && extent.wire == 0 {
                    return Err(WireError::Compression);
                }
                return Ok(None);
            }
            if self.partial.len() > self.max_header_bytes {
                let first = &self.partial[..self.max_header_bytes];
                let end = first.windows(2).rposition(|two| two == b"\r\n");
                let end = end.ok_or(WireError::FrameHeadersTooLong)? + 2;
                self.phase = Phase::Body(extent);
                self.partial_is_spent = true;
                return Ok(Some(Piece::LongHeaders(&self.partial[..end])));
            }
            if find_blank_line(&self.partial, before.saturating_sub(3)).is_some() {
                self.phase = Phase::Body(extent);
                self.partial_is_spent = true;
                let end = self.partial.len() - 2;
                return Ok(Some(Piece::Headers(&self.partial[..end])));
            }
        }
    }

    fn next_body<'s, 'i: 's>(
        &'s mut self,
        mut extent: Extent,
        input: &mut &'i [u8],
    ) -> Result<Option<Piece<'s>>, WireError> {
        if !extent.compressed {
            if extent.wire == 0 {
                self.phase = Phase::Size;
                return Ok(Some(Piece::End));
            }
            let (body, rest) = input.split_at(input.len().min(extent.wire));
            *input = rest;
            extent.wire -= body.len();
            self.phase = Phase::Body(extent);
            return Ok((!body.is_empty()).then_some(Piece::Body(body)));
        }
        let mut wire = &input[..input.len().min(extent.wire)];
        let offered = wire.len();
        let inflater = self.inflater.get_or_insert_default();
        let body = inflater.inflate(&mut wire, extent.plain)?;
        let used = offered - wire.len();
        *input = &input[used..];
        extent.wire -= used;
        extent.plain -= body.len();
        self.phase = Phase::Body(extent);
        if !body.is_empty() {
            return Ok(Some(Piece::Body(body)));
        }
        if extent.wire > 0 {
            return Ok(None);
        }
        if extent.plain > 0 {
            return Err(WireError::Compression);
        }
        self.phase = Phase::Size;
        Ok(Some(Piece::End))
    }
}

/// Capacity that the buffer for split headers keeps between frames.
const KEPT_PARTIAL_BYTES: usize = 256;

/// A length line, taken apart.
struct Size {
    extent: Extent,
    restart: bool,
}

impl Size {
    /// `line` ends in a line feed.
    fn parse(line: &[u8]) -> Result<Self, WireError> {
        let line = line.strip_suffix(b"\r\n").ok_or(WireError::FrameSize)?;
        let (line, restart) = match line.strip_suffix(b"R") {
            Some(line) => (line, true),
            None => (line, false),
        };
        let mut parts = line.splitn(2, |&byte| byte == b'Z');
        let plain = parse_hexadecimal(parts.next().unwrap_or_default())?;
        let wire = parts.next().map(parse_hexadecimal).transpose()?;
        let extent = Extent { wire: wire.unwrap_or(plain), plain, compressed: wire.is_some() };
        let longest = if extent.compressed { MAX_INFLATED_BYTES } else { MAX_FRAME_BYTES };
        if extent.wire == 0 || plain == 0 || plain > longest || extent.wire > MAX_FRAME_BYTES {
            return Err(WireError::FrameLength);
        }
        Ok(Self { extent, restart })
    }
}

/// One to eight hexadecimal digits. The reference takes more (`0x`, blanks,
/// `_`), which nobody sends.
fn parse_hexadecimal(digits: &[u8]) -> Result<usize, WireError> {
    if digits.is_empty() || digits.len() > 8 {
        return Err(WireError::FrameSize);
    }
    let mut value = 0_u32;
    for &digit in digits {
        let digit = char::from(digit).to_digit(16).ok_or(WireError::FrameSize)?;
        value = value << 4 | digit;
    }
    usize::try_from(value).map_err(|_| WireError::FrameLength)
}

/// Where the blank line ends in `bytes`, looking from `start` on. Headers may
/// be absent: then the blank line is the first.
fn find_blank_line(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.starts_with(b"\r\n") {
        return Some(2);
    }
    let mut from = start;
    while let Some(found) = bytes[from..].iter().position(|&byte| byte == b'\n') {
        let end = from + found + 1;
        if end >= 4 && &bytes[end - 4..end] == b"\r\n\r\n" {
            return Some(end);
        }
        from = end;
    }
    None
}

/// How many bytes of `more` belong to the headers whose first part is `so_far`.
fn until_blank_line(so_far: &[u8], more: &[u8]) -> usize {
    let mut last = [0; 4];
    let tail = &so_far[so_far.len().saturating_sub(4)..];
    last[4 - tail.len()..].copy_from_slice(tail);
    for (index, &byte) in more.iter().enumerate() {
        last = [last[1], last[2], last[3], byte];
        let at_start = so_far.len() + index == 1 && last[2..] == *b"\r\n";
        if &last == b"\r\n\r\n" || at_start {
            return index + 1;
        }
    }
    more.len()
}

#[cfg(test)]
mod tests;
