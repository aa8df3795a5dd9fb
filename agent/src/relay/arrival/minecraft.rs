//! The handshake of a Minecraft client (since version 1.7), which says the
//! server that the player typed (`protocol.md` 11):
//!
//! | field | size in bytes |
//! |---|---|
//! | length of all that follows | 1 or 2 |
//! | id, 0 | 1 |
//! | version of the client | 1 to 5 |
//! | length of the host, the host | 1 or 2, up to 255 |
//! | port | 2 |
//! | what comes next: 1 status, 2 login, 3 transfer | 1 |
//!
//! Numbers are written 7 bits a byte, lowest first, bit 7 when more follow;
//! the port alone is big-endian. Clients with Forge add NUL and a word to the
//! host. The ping of clients before 1.7 (0xFE) names no host in its first
//! bytes and is not served.

use super::{Look, name};

/// Longest host, in bytes, with what Forge adds: the field is defined so.
const MAX_HOST_BYTES: usize = 255;
/// Lengths that the packet may have.
const MIN_PACKET_BYTES: usize = 1 + 1 + 1 + 1 + 2 + 1;
const MAX_PACKET_BYTES: usize = 1 + 5 + 2 + MAX_HOST_BYTES + 2 + 1;
/// The first byte of the ping before 1.7. Some clients send no more and wait,
/// so it is told at once, at the price of packets of 254 bytes.
const OLD_PING: u8 = 0xfe;

const BROKEN: &str = "its Minecraft handshake is malformed";

/// The host and the port of a handshake that is there in whole. Known for
/// Minecraft by the id behind the length, at the third byte or before.
pub(super) fn look(seen: &[u8]) -> Look<(String, u16)> {
    let (length, rest) = match seen {
        [OLD_PING, ..] => return Look::NotThis,
        [] | [0x80..=0xff] => return Look::More,
        [low @ ..0x80, rest @ ..] => (usize::from(*low), rest),
        // Not written as short as it can be.
        [_, 0, ..] => return Look::NotThis,
        [low, high, rest @ ..] => (usize::from(low & 0x7f) | usize::from(*high) << 7, rest),
    };
    if !(MIN_PACKET_BYTES..=MAX_PACKET_BYTES).contains(&length) {
        return Look::NotThis;
    }
    match rest.first() {
        None => Look::More,
        Some(0) => match rest.get(1..length) {
            None => Look::More,
            Some(fields) => read(fields).map_or(Look::Broken(BROKEN), Look::Found),
        },
        Some(_) => Look::NotThis,
    }
}

/// Reads all that follows the id.
fn read(fields: &[u8]) -> Option<(String, u16)> {
    let (_version, fields) = number(fields, 5)?;
    let (length, fields) = number(fields, 2)?;
    let (host, fields) = fields.split_at_checked(usize::try_from(length).ok()?)?;
    let [high, low, 1..=3] = *fields else { return None };
    let host = host.split(|byte| *byte == 0).next()?;
    Some((name::host(host)?, u16::from_be_bytes([high, low])))
}

/// A number of up to `max` bytes, and what follows.
fn number(fields: &[u8], max: usize) -> Option<(u64, &[u8])> {
    let last = fields.iter().take(max).position(|byte| *byte < 0x80)?;
    let (digits, rest) = fields.split_at(last + 1);
    let number = digits.iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f));
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without the length.
    fn packet(version: &[u8], host: &[u8], port: u16, next: u8) -> Vec<u8> {
        let mut packet = vec![0];
        packet.extend_from_slice(version);
        packet.extend(length(host.len()));
        packet.extend_from_slice(host);
        packet.extend_from_slice(&port.to_be_bytes());
        packet.push(next);
        packet
    }

    fn length(bytes: usize) -> Vec<u8> {
        let low = u8::try_from(bytes & 0x7f).expect("7 bits");
        match bytes >> 7 {
            0 => vec![low],
            high => vec![low | 0x80, u8::try_from(high).expect("short")],
        }
    }

    fn with_length(packet: &[u8]) -> Vec<u8> {
        [&length(packet.len()), packet].concat()
    }

    fn found(host: &str, port: u16) -> Look<(String, u16)> {
        Look::Found((host.to_owned(), port))
    }

    /// As recorded in scenario 21 of the captures.
    #[test]
    fn a_handshake_says_host_and_port_once_it_is_there() {
        let bytes = b"\r\0/\x07mc.testF\xa0\x02 and the login";
        for end in 0..=bytes.len() {
            let expected = if end < 14 { Look::More } else { found("mc.test", 18080) };
            assert_eq!(look(&bytes[..end]), expected, "{end}");
        }
    }

    #[test]
    fn handshakes_of_all_kinds_of_clients() {
        let longest = format!("{}.test", ["a".repeat(60).as_str(); 4].join("."));
        let long = longest.clone() + "\0FML3\0";
        for (version, host, next, expected) in [
            (&b"\xff\xff\xff\xff\x0f"[..], "mc.test", 1, "mc.test"),
            (b"\xfd\x05", "MC.Test.", 2, "mc.test"),
            (b"\x05", "mc.test\0FML\0", 3, "mc.test"),
            (b"\x05", "mc.test.\0FML2\0", 2, "mc.test"),
            (b"\x05", "192.0.2.1", 2, "192.0.2.1"),
            (b"\x05", "::1", 2, "::1"),
            (b"\x05", &long, 2, &longest),
        ] {
            let bytes = with_length(&packet(version, host.as_bytes(), 25565, next));
            assert_eq!(look(&bytes), found(expected, 25565), "{host}");
            assert_eq!(look(&bytes[..bytes.len() - 1]), Look::More, "{host}");
        }
    }

    /// A TLS record, a line end, a letter and an SSL 2 greeting begin with a
    /// byte that is also a length.
    #[test]
    fn every_length_but_that_of_the_old_ping_is_recognised() {
        for extra in 0..=MAX_HOST_BYTES {
            let host = [&b"a"[..], &vec![0; extra][..]].concat();
            let packet = packet(b"\x05", &host[..host.len().min(MAX_HOST_BYTES)], 1, 1);
            let bytes = with_length(&packet);
            let expected = if bytes[0] == OLD_PING { Look::NotThis } else { found("a", 1) };
            assert_eq!(look(&bytes), expected, "{}", packet.len());
        }
    }

    #[test]
    fn other_protocols_are_told_at_the_second_or_third_byte() {
        for bytes in [
            &b"\xfe"[..],
            b"\xfe\x01\xfa",
            b"GE",
            b"\r\n",
            b"\x16\x03",
            b"\x80\x2e",
            b"\x80\x01\x01",
            b"\0",
            b"\x06",
            b"\x8d\x00",
            b"\x8b\x02",
            b"\x80\x80",
        ] {
            assert_eq!(look(bytes), Look::NotThis, "{bytes:?}");
        }
        for bytes in [&b""[..], b"G", b"\r", b"\x80", b"\x80\x01", b"\x8a\x02", b"\x07"] {
            assert_eq!(look(bytes), Look::More, "{bytes:?}");
        }
    }

    #[test]
    fn handshakes_that_lie_are_broken() {
        let broken = |packet: &[u8]| {
            assert_eq!(look(&with_length(packet)), Look::Broken(BROKEN), "{packet:?}");
        };
        for host in ["", "\0FML\0", "a b", "a\n", "a:1", "m\u{fc}.test", "a..b"] {
            broken(&packet(b"\xfd\x05", host.as_bytes(), 1, 1));
        }
        broken(&packet(b"\x05", b"mc.test", 1, 0));
        broken(&packet(b"\x05", b"mc.test", 1, 4));
        broken(&packet(b"\x85\x85\x85\x85\x85\x05", b"mc.test", 1, 1));
        broken(&packet(b"\x05", &[b'a'; MAX_HOST_BYTES], 1, 1));
        let good = packet(b"\x05", b"mc.test", 1, 1);
        broken(&good[..good.len() - 1]);
        broken(&[&good[..], b"\x01"].concat());
        broken(b"\0\x05\x7fmc.test\0\x01\x01");
        broken(b"\0\x05\xff\x7fmc.test\0\x01\x01");
        broken(b"\0\x05\x80\x80\x80mc.test");
        broken(b"\0\xff\xff\xff\xff\xff\xff");
    }
}
