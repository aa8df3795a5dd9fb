//! The first lines of an IRC client. Its protocol names no server, so the user
//! writes the server behind the nick or the user name, as `joe@irc.test`, and
//! the relay takes it off again (`protocol.md` 11).
//!
//! A first line may as well be of HTTP with a method that nobody knows, so it
//! is read to its end. PageKite's relay puts a space where the server was
//! (`NICK joe \n`); here nothing but the server is taken out.

use std::ops::Range;

use super::{Look, name};

/// Lines up to the one that names the server, in bytes together; a line has up
/// to 512 (RFC 2812 section 2.3).
pub const MAX_IRC_BYTES: usize = 1024;

/// What clients send before the server has said anything.
const COMMANDS: [(&[u8], Command); 4] = [
    (b"CAP ", Command::Other),
    (b"NICK ", Command::Nick),
    (b"PASS ", Command::Other),
    (b"USER ", Command::User),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Nick,
    User,
    Other,
}

const NO_HOST: &str = "its IRC client names no server, as NICK or USER with name@server do";
const MALFORMED: &str = "the name of the server that its IRC client wants is malformed";
const TOO_LONG: &str = "its IRC client names no server in the first 1 KB";

/// The server, and where it is with its `@`, as soon as that line is there.
pub(super) fn look(seen: &[u8]) -> Look<(String, Range<usize>)> {
    match command(seen) {
        Look::Found(_) => Look::bounded(seen, MAX_IRC_BYTES, read, TOO_LONG),
        Look::More => Look::More,
        Look::NotThis | Look::Broken(_) => Look::NotThis,
    }
}

/// Goes through the lines.
fn read(seen: &[u8]) -> Look<(String, Range<usize>)> {
    let (mut has_nick, mut has_user) = (false, false);
    let mut start = 0;
    for line in seen.split_inclusive(|byte| *byte == b'\n') {
        let is_first = start == 0;
        let command = match command(line) {
            Look::Found(command) => Some(command),
            Look::More => return Look::More,
            // Nothing is said by an empty line (RFC 2812 section 2.3.1).
            Look::NotThis | Look::Broken(_) if matches!(line, b"\n" | b"\r" | b"\r\n") => None,
            Look::NotThis | Look::Broken(_) => return Look::Broken(NO_HOST),
        };
        let Some(text) = line.strip_suffix(b"\n") else { return Look::More };
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if is_first && is_request_line(text) {
            return Look::NotThis;
        }
        if matches!(command, Some(Command::Nick | Command::User)) {
            if let Some(server) = server(text) {
                let text = &text[server.clone()];
                return match name::host(&text[1..]) {
                    Some(host) => Look::Found((host, start + server.start..start + server.end)),
                    None => Look::Broken(MALFORMED),
                };
            }
            has_nick |= command == Some(Command::Nick);
            has_user |= command == Some(Command::User);
            if has_nick && has_user {
                return Look::Broken(NO_HOST);
            }
        }
        start += line.len();
    }
    Look::More
}

/// The command that a line begins with.
fn command(line: &[u8]) -> Look<Command> {
    let mut look = Look::NotThis;
    for (word, command) in COMMANDS {
        let shorter = word.len().min(line.len());
        if line[..shorter].eq_ignore_ascii_case(&word[..shorter]) {
            if line.len() >= word.len() {
                return Look::Found(command);
            }
            look = Look::More;
        }
    }
    look
}

/// Whether HTTP can read this line (RFC 9112 section 3).
fn is_request_line(line: &[u8]) -> bool {
    matches!(line, [.., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1'])
}

/// Where the server is in the first parameter of a line, with the `@` before
/// it.
fn server(line: &[u8]) -> Option<Range<usize>> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let start = space + line[space..].iter().position(|byte| *byte != b' ')?;
    let length = line[start..].iter().position(|byte| *byte == b' ');
    let end = length.map_or(line.len(), |length| start + length);
    let at = start + line[start..end].iter().position(|byte| *byte == b'@')?;
    Some(at..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server and what is forwarded.
    fn served(lines: &str) -> (String, String) {
        match look(lines.as_bytes()) {
            Look::Found((host, cut)) => (host, [&lines[..cut.start], &lines[cut.end..]].concat()),
            other => panic!("{lines:?}: {other:?}"),
        }
    }

    #[test]
    fn the_server_is_taken_off_the_nick_or_the_user_name() {
        for (lines, forwarded) in [
            ("NICK joe@irc.test\r\nUSER joe 0 * :x\r\n", "NICK joe\r\nUSER joe 0 * :x\r\n"),
            ("NICK joe@IRC.test.\n", "NICK joe\n"),
            ("nick joe@irc.test\r\n", "nick joe\r\n"),
            ("NICK :joe@irc.test\r\n", "NICK :joe\r\n"),
            ("USER joe@irc.test 0 * :x@y\r\n", "USER joe 0 * :x@y\r\n"),
            ("USER  joe@irc.test  0 * :x\r\nNICK", "USER  joe  0 * :x\r\nNICK"),
            (
                "PASS s@no.test\r\nNICK joe\r\nUSER joe@irc.test 0 * :x\n",
                "PASS s@no.test\r\nNICK joe\r\nUSER joe 0 * :x\n",
            ),
            ("CAP LS 302\r\n\r\nNICK joe@irc.test\r\n", "CAP LS 302\r\n\r\nNICK joe\r\n"),
        ] {
            assert_eq!(served(lines), ("irc.test".to_owned(), forwarded.to_owned()));
            let known = lines.find("irc.test").or_else(|| lines.find("IRC.test"));
            let known = known.expect("there");
            let known = known + lines[known..].find('\n').expect("a line") + 1;
            for end in 1..lines.len() {
                let early = look(&lines.as_bytes()[..end]) == Look::More;
                assert_eq!(early, end < known, "{lines:?} to {end}");
            }
        }
    }

    #[test]
    fn requests_are_told_at_the_first_byte_that_is_no_command() {
        for (bytes, told) in [
            ("GET / HTTP/1.1\r\n", 1),
            ("POST / HTTP/1.1\r\n", 2),
            ("PATCH / HTTP/1.1\r\n", 3),
            ("PING / HTTP/1.1\r\n", 2),
            ("COPY / HTTP/1.1\r\n", 2),
            ("CONNECT PageKite:1 HTTP/1.0\r\n", 2),
            ("UNLOCK / HTTP/1.1\r\n", 2),
            ("NICKEL / HTTP/1.1\r\n", 5),
            ("NICK /a@b HTTP/1.1\r\n", 20),
            ("USER / HTTP/1.0\n", 16),
            ("NICK\r\n", 5),
        ] {
            for end in 1..=bytes.len() {
                let expected = if end < told { Look::More } else { Look::NotThis };
                assert_eq!(look(&bytes.as_bytes()[..end]), expected, "{bytes:?} to {end}");
            }
        }
    }

    #[test]
    fn clients_that_name_no_server_are_broken() {
        for (lines, because) in [
            ("NICK joe\r\nUSER joe 0 * :x\r\n", NO_HOST),
            ("USER joe 0 * :x@irc.test\r\nNICK joe\r\n", NO_HOST),
            ("NICK joe\r\nJ", NO_HOST),
            ("PASS x\r\nGET / HTTP/1.1\r\n", NO_HOST),
            ("PASS x\r\n\rx", NO_HOST),
            ("NICK joe@\r\n", MALFORMED),
            ("NICK joe@a@irc.test\r\n", MALFORMED),
            ("NICK joe@irc.test\0\r\n", MALFORMED),
            ("NICK joe@irc.test\r\r\n", MALFORMED),
            ("NICK joe@irc.test:6667\r\n", MALFORMED),
            ("NICK joe@m\u{fc}nchen.test\r\n", MALFORMED),
        ] {
            assert_eq!(look(lines.as_bytes()), Look::Broken(because), "{lines:?}");
        }
    }

    #[test]
    fn the_server_has_to_be_within_the_bound() {
        let lines = |bytes: usize| {
            let password = "x".repeat(bytes - "PASS \nNICK joe@irc.test\n".len());
            format!("PASS {password}\nNICK joe@irc.test\nUSER joe 0 * :x\n")
        };
        assert_eq!(served(&lines(MAX_IRC_BYTES)).0, "irc.test");
        let longer = lines(MAX_IRC_BYTES + 1);
        assert_eq!(look(&longer.as_bytes()[..MAX_IRC_BYTES - 1]), Look::More);
        for end in [MAX_IRC_BYTES, longer.len()] {
            assert_eq!(look(&longer.as_bytes()[..end]), Look::Broken(TOO_LONG));
        }
    }
}
