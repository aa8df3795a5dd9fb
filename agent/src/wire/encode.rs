//! From frames to bytes (`protocol.md` 5 and 6), without an allocation on the
//! way of the data.

use std::io::Write as _;
use std::ops::Range;

use super::headers::Eof;

/// Bytes that have to be free before the body of a data frame: the length
/// line, the SID header and the blank line.
pub const HEADER_ROOM: usize = 40;
/// Longest body of a data frame that we send: what the reference sends, and
/// with its headers just below one TLS record.
pub const MAX_BODY_BYTES: usize = 16_256;
/// Longest body towards small agents, so that the frame's payload stays below
/// the 1400 bytes that the reference's relay keeps to (`protocol.md` 5).
pub const SMALL_BODY_BYTES: usize = 1_380;

/// Writes the headers of a data frame right before its body, which lies at
/// `body` in `buffer` with [`HEADER_ROOM`] free in front of it; returns where
/// the frame lies.
pub(super) fn data_frame(buffer: &mut [u8], body: Range<usize>, stream: u32) -> Range<usize> {
    let mut headers = [0; HEADER_ROOM];
    let length = {
        let mut cursor = &mut headers[..];
        let _ = write!(cursor, "SID: {stream}\r\n\r\n");
        HEADER_ROOM - cursor.len()
    };
    let mut line = [0; HEADER_ROOM];
    let line_length = {
        let mut cursor = &mut line[..];
        let _ = write!(cursor, "{:x}\r\n", length + body.len());
        HEADER_ROOM - cursor.len()
    };
    let payload = body.start - length;
    let start = payload - line_length;
    buffer[payload..body.start].copy_from_slice(&headers[..length]);
    buffer[start..payload].copy_from_slice(&line[..line_length]);
    start..body.end
}

/// Appends a frame with this payload: headers, blank line and body.
pub(super) fn push_payload(output: &mut Vec<u8>, payload: &[u8]) {
    // Writing to a `Vec` does not fail.
    let _ = write!(output, "{:x}\r\n", payload.len());
    output.extend_from_slice(payload);
}

/// Appends a compressed frame.
pub(super) fn push_compressed(output: &mut Vec<u8>, inflated: usize, compressed: &[u8]) {
    let _ = write!(output, "{inflated:x}Z{:x}\r\n", compressed.len());
    output.extend_from_slice(compressed);
}

/// Appends the frame that closes a stream, or a part of it.
pub(super) fn push_eof(output: &mut Vec<u8>, stream: u32, eof: Eof) {
    // The reference's spelling; its parser takes capital letters only.
    let letters = match (eof.write, eof.read) {
        (false, true) => "R",
        (true, false) => "W",
        _ => "WR",
    };
    push_formatted(output, format_args!("SID: {stream}\r\nEOF: 1{letters}\r\n\r\nBye!"));
}

/// Appends the report of how much of a stream was passed on.
pub(super) fn push_receipt(output: &mut Vec<u8>, stream: u32, kilobytes: u64) {
    push_formatted(output, format_args!("NOOP: 1\r\nSID: {stream}\r\nSKB: {kilobytes}\r\n\r\n"));
}

/// Appends a PING.
pub(super) fn push_ping(output: &mut Vec<u8>, text: u64) {
    push_formatted(output, format_args!("NOOP: 1\r\nPING: {text}\r\n\r\n!"));
}

/// Appends the answer to a PING.
pub(super) fn push_pong(output: &mut Vec<u8>, text: &[u8]) {
    const START: &[u8] = b"NOOP: 1\r\nPONG: ";
    const END: &[u8] = b"\r\n\r\n!";
    let _ = write!(output, "{:x}\r\n", START.len() + text.len() + END.len());
    output.extend_from_slice(START);
    output.extend_from_slice(text);
    output.extend_from_slice(END);
}

/// Appends a frame that says nothing, with a body of `padding` bytes.
pub(super) fn push_noop(output: &mut Vec<u8>, padding: usize) {
    const HEADERS: &[u8] = b"NOOP: 1\r\n\r\n";
    let _ = write!(output, "{:x}\r\n", HEADERS.len() + padding);
    output.extend_from_slice(HEADERS);
    output.resize(output.len() + padding, b'!');
}

/// Appends a frame whose payload is formatted straight into a small buffer.
fn push_formatted(output: &mut Vec<u8>, payload: std::fmt::Arguments<'_>) {
    /// Above the longest of these frames: numbers of twenty digits.
    const LONGEST: usize = 96;
    let mut buffer = [0; LONGEST];
    let mut cursor = &mut buffer[..];
    let _ = cursor.write_fmt(payload);
    let length = LONGEST - cursor.len();
    push_payload(output, &buffer[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_frame_is_written_around_its_body() {
        let mut buffer = vec![0; HEADER_ROOM + 5];
        buffer[HEADER_ROOM..].copy_from_slice(b"hello");
        let frame = data_frame(&mut buffer, HEADER_ROOM..HEADER_ROOM + 5, 5);
        assert_eq!(&buffer[frame], b"f\r\nSID: 5\r\n\r\nhello");
    }

    #[test]
    fn the_longest_headers_fit_the_room() {
        let mut buffer = vec![0; HEADER_ROOM + MAX_BODY_BYTES];
        let body = HEADER_ROOM..buffer.len();
        let frame = data_frame(&mut buffer, body, u32::MAX);
        assert!(buffer[frame.clone()].starts_with(b"3f93\r\nSID: 4294967295\r\n\r\n"));
        assert!(frame.len() <= 16 * 1024, "a frame fits a TLS record");
    }

    #[test]
    fn control_frames_are_the_reference_s_to_the_byte() {
        let mut output = Vec::new();
        push_eof(&mut output, 5, Eof { read: true, write: false });
        push_eof(&mut output, 5, Eof::BOTH);
        push_receipt(&mut output, 5, 0);
        push_pong(&mut output, b"1795336273.3391");
        push_noop(&mut output, 1);
        assert_eq!(
            output.escape_ascii().to_string(),
            [
                &b"17\r\nSID: 5\r\nEOF: 1R\r\n\r\nBye!"[..],
                b"18\r\nSID: 5\r\nEOF: 1WR\r\n\r\nBye!",
                b"1b\r\nNOOP: 1\r\nSID: 5\r\nSKB: 0\r\n\r\n",
                b"23\r\nNOOP: 1\r\nPONG: 1795336273.3391\r\n\r\n!",
                b"c\r\nNOOP: 1\r\n\r\n!",
            ]
            .concat()
            .escape_ascii()
            .to_string()
        );
    }
}
