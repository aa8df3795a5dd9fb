//! Gets the ClientHello out of the records that it comes in. It may be split
//! over several (RFC 8446 section 5.1), as some clients do to be unreadable on
//! the way.

use std::borrow::Cow;

use crate::relay::arrival::{Look, MAX_ARRIVAL_BYTES};

use super::number;

/// The longest ClientHello that is read, in bytes with its header of 4: as
/// much as PageKite's relay takes (`protocol.md` 11). Browsers send up to 2 KB.
pub const MAX_HELLO_BYTES: usize = 16 * 1024;

/// A record of a handshake, and the longest one that is not encrypted.
const HANDSHAKE: u8 = 0x16;
const MAX_RECORD_BYTES: usize = 1 << 14;
/// Record headers say 3.0 (SSL 3) to 3.4 (TLS 1.3).
const MAJOR: u8 = 3;
const MAX_MINOR: u8 = 4;
/// The message is a ClientHello; its header is this and a length of 3 bytes.
const CLIENT_HELLO: u8 = 1;
const HEADER_BYTES: usize = 4;

const TOO_LONG: &str = "its ClientHello is longer than 16 KB";
const SPLIT: &str = "its ClientHello is split into too many records";
const RECORD: &str = "a record of its ClientHello is malformed";
const NO_HELLO: &str = "its TLS does not begin with a ClientHello";
const MORE_INSIDE: &str = "something else is in the last record of its ClientHello";

/// The body of the ClientHello, once all of it is there; joined only if it was
/// split.
pub(super) fn client_hello(seen: &[u8]) -> Look<Cow<'_, [u8]>> {
    match *seen {
        [] | [HANDSHAKE] => return Look::More,
        [HANDSHAKE, MAJOR, ..] => {}
        _ => return Look::NotThis,
    }
    let bounded = &seen[..seen.len().min(MAX_ARRIVAL_BYTES)];
    match follow(bounded) {
        None if seen.len() >= MAX_ARRIVAL_BYTES => Look::Broken(SPLIT),
        None => Look::More,
        Some(Err(because)) => Look::Broken(because),
        Some(Ok(length)) => Look::Found(body(bounded, length)),
    }
}

/// Follows the records to the end of the message and says how long it is with
/// its header; `None` while it goes on. Record by record, so that an answer
/// does not depend on what comes behind it.
fn follow(seen: &[u8]) -> Option<Result<usize, &'static str>> {
    let mut header = [0; HEADER_BYTES];
    // Bytes of the message so far, and up to the end of this record.
    let (mut have, mut announced) = (0, 0);
    let mut rest = seen;
    loop {
        let (length, after) = match record(rest)? {
            Ok(record) => record,
            Err(because) => return Some(Err(because)),
        };
        let content = &after[..length.min(after.len())];
        for (place, byte) in header.iter_mut().skip(have).zip(content) {
            *place = *byte;
        }
        have += content.len();
        announced += length;
        if have > 0 && header[0] != CLIENT_HELLO {
            return Some(Err(NO_HELLO));
        }
        if have >= HEADER_BYTES {
            let whole = HEADER_BYTES + number(&header[1..]);
            if whole > MAX_HELLO_BYTES {
                return Some(Err(TOO_LONG));
            }
            // Only the end of a record is where keys may change.
            if announced > whole {
                return Some(Err(MORE_INSIDE));
            }
            if have == whole {
                return Some(Ok(whole));
            }
        }
        rest = after.get(length..)?;
    }
}

/// The length of the content of a record, and what is there of it and behind
/// it; `None` while its header is not there.
fn record(bytes: &[u8]) -> Option<Result<(usize, &[u8]), &'static str>> {
    let (&[kind, major, minor, high, low], after) = bytes.split_first_chunk()?;
    let length = number(&[high, low]);
    let is_fine = kind == HANDSHAKE
        && major == MAJOR
        && minor <= MAX_MINOR
        && (1..=MAX_RECORD_BYTES).contains(&length);
    Some(if is_fine { Ok((length, after)) } else { Err(RECORD) })
}

/// The body of a message of `length` bytes that is there in whole.
fn body(seen: &[u8], length: usize) -> Cow<'_, [u8]> {
    let Some(Ok((first, after))) = record(seen) else { return Cow::Borrowed(&[]) };
    if first == length {
        return Cow::Borrowed(&after[HEADER_BYTES..length]);
    }
    let mut joined = Vec::with_capacity(length);
    let mut rest = seen;
    while joined.len() < length {
        let Some(Ok((content, after))) = record(rest) else { break };
        let (content, behind) = after.split_at(content.min(after.len()));
        joined.extend_from_slice(content);
        rest = behind;
    }
    joined.drain(..HEADER_BYTES.min(joined.len()));
    Cow::Owned(joined)
}
