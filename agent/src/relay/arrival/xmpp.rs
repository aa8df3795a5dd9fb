//! The greeting of an XMPP client: the header of its stream, whose attribute
//! `to` is the server's domain (RFC 6120 section 4.7; `protocol.md` 11). Just
//! as much XML as this header may have: comments, processing instructions and
//! document types are forbidden there (RFC 6120 section 11.1).

use super::{Look, name};

/// The longest greeting that is read, in bytes; usual ones have 200.
pub const MAX_XMPP_BYTES: usize = 4096;

/// One of these begins it.
const DECLARATION: &[u8] = b"<?xml";
const STREAM: &[u8] = b"<stream:stream";

const MALFORMED: &str = "the header of its XMPP stream is malformed";
const NO_HOST: &str = "the header of its XMPP stream names no host";
const TOO_LONG: &str = "the header of its XMPP stream is longer than 4 KB";

/// The host of a stream header, as soon as that attribute is there.
pub(super) fn look(seen: &[u8]) -> Look<String> {
    let begins = |start: &[u8]| seen.iter().zip(start).all(|(one, other)| one == other);
    if !begins(DECLARATION) && !begins(STREAM) {
        return Look::NotThis;
    }
    Look::bounded(
        seen,
        MAX_XMPP_BYTES,
        |seen| match address(seen) {
            None => Look::More,
            Some(Ok(address)) => match name::host(domain(address)) {
                Some(host) => Look::Found(host),
                None => Look::Broken(NO_HOST),
            },
            Some(Err(because)) => Look::Broken(because),
        },
        TOO_LONG,
    )
}

/// The value of the attribute `to`; `None` while it is not there yet.
fn address(seen: &[u8]) -> Option<Result<&[u8], &'static str>> {
    let mut rest = seen;
    if let Some(declaration) = rest.strip_prefix(DECLARATION) {
        if !is_space(declaration.first()?) {
            return Some(Err(MALFORMED));
        }
        let end = declaration.windows(2).position(|pair| pair == b"?>")?;
        rest = declaration[end + 2..].trim_ascii_start();
    }
    let (b'<', tag) = rest.split_first()? else { return Some(Err(MALFORMED)) };
    let (tag_name, mut rest) = word(tag)?;
    if tag_name != b"stream" && !tag_name.ends_with(b":stream") {
        return Some(Err(MALFORMED));
    }
    loop {
        rest = rest.trim_ascii_start();
        if matches!(rest.first()?, b'>' | b'/') {
            return Some(Err(NO_HOST));
        }
        let (attribute, after) = word(rest)?;
        let (b'=', after) = after.trim_ascii_start().split_first()? else {
            return Some(Err(MALFORMED));
        };
        let (quote @ (b'"' | b'\''), after) = after.trim_ascii_start().split_first()? else {
            return Some(Err(MALFORMED));
        };
        let end = after.iter().position(|byte| byte == quote || *byte == b'<')?;
        if after[end] != *quote || attribute.is_empty() {
            return Some(Err(MALFORMED));
        }
        if attribute == b"to" {
            return Some(Ok(&after[..end]));
        }
        rest = &after[end + 1..];
    }
}

/// The name of a tag or an attribute and what follows; `None` while its end is
/// not there.
fn word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_end = |byte: &u8| is_space(byte) || b"=/<>'\"".contains(byte);
    Some(bytes.split_at(bytes.iter().position(is_end)?))
}

/// White space as XML has it, and the form feed, as `trim_ascii` has it.
fn is_space(byte: &u8) -> bool {
    byte.is_ascii_whitespace()
}

/// The domain of `local@domain/resource` (RFC 7622 section 3.2).
fn domain(address: &[u8]) -> &[u8] {
    let bare = address.split(|byte| *byte == b'/').next().unwrap_or_default();
    bare.splitn(2, |byte| *byte == b'@').last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As recorded in scenario 21 of the captures.
    const RECORDED: &str = "<?xml version='1.0'?><stream:stream to='xmpp.test' \
                            xmlns='jabber:client' version='1.0'>";

    fn found(host: &str) -> Look<String> {
        Look::Found(host.to_owned())
    }

    #[test]
    fn the_host_is_known_with_the_quote_that_ends_it() {
        let known = RECORDED.find("' xmlns").expect("there") + 1;
        for end in 1..=RECORDED.len() {
            let expected = if end < known { Look::More } else { found("xmpp.test") };
            assert_eq!(look(&RECORDED.as_bytes()[..end]), expected, "{end}");
        }
    }

    #[test]
    fn greetings_of_all_kinds() {
        for (greeting, host) in [
            ("<stream:stream to=\"XMPP.test.\">", "xmpp.test"),
            ("<stream:stream\n\tto = 'xmpp.test'>", "xmpp.test"),
            ("<stream:stream from='a@b.test' to='joe@xmpp.test'>", "xmpp.test"),
            ("<stream:stream to='joe@xmpp.test/a@b'>", "xmpp.test"),
            ("<?xml version=\"1.0\" encoding='UTF-8'?>\r\n<s:stream to='xmpp.test'", "xmpp.test"),
            ("<?xml version='1.0'?><stream xmlns='x' to='xmpp.test'>", "xmpp.test"),
            ("<stream:stream a=\" to='no.test' >\" to='xmpp.test'>", "xmpp.test"),
            ("<stream:stream auto='no.test' x:to='no.test' To='no.test' to='a.b'>", "a.b"),
            ("<stream:stream to='192.0.2.1'>", "192.0.2.1"),
        ] {
            assert_eq!(look(greeting.as_bytes()), found(host), "{greeting}");
        }
    }

    #[test]
    fn other_protocols_are_told_at_the_first_wrong_byte() {
        for bytes in ["<html>", "<?php", "<!DOCTYPE", "<stream:features>", "GET", " <?xml"] {
            assert_eq!(look(bytes.as_bytes()), Look::NotThis, "{bytes}");
        }
        for bytes in ["<", "<?xm", "<?xml", "<s", "<stream:strea", "<stream:stream"] {
            assert_eq!(look(bytes.as_bytes()), Look::More, "{bytes}");
        }
    }

    #[test]
    fn greetings_that_cannot_be_served_are_broken() {
        for (greeting, because) in [
            ("<stream:stream version='1.0'>", NO_HOST),
            ("<stream:stream/", NO_HOST),
            ("<stream:stream to=''", NO_HOST),
            ("<stream:stream to='joe@'", NO_HOST),
            ("<stream:stream to='a@b@c.test'", NO_HOST),
            ("<stream:stream to='a&amp;b.test'", NO_HOST),
            ("<stream:stream to='a.test\r\nX: y'", NO_HOST),
            ("<stream:stream to='m\u{fc}nchen.test'", NO_HOST),
            ("<stream:stream to=xmpp.test", MALFORMED),
            ("<stream:stream to>", MALFORMED),
            ("<stream:stream ='a'", MALFORMED),
            ("<stream:stream a='<' to='a.test'>", MALFORMED),
            ("<stream:streams ", MALFORMED),
            ("<stream:stream<", MALFORMED),
            ("<?xml-stylesheet ?>", MALFORMED),
            ("<?xml ?>hello", MALFORMED),
            ("<?xml ?><!-- -->", MALFORMED),
            ("<?xml ?><html to='a.test'>", MALFORMED),
            ("<?xml ?></stream:stream to='a.test'>", MALFORMED),
        ] {
            assert_eq!(look(greeting.as_bytes()), Look::Broken(because), "{greeting}");
        }
    }

    #[test]
    fn a_greeting_may_be_as_long_as_the_bound() {
        let greeting = |bytes: usize| {
            let spaces = " ".repeat(bytes - "<stream:streamto='a.test'".len());
            format!("<stream:stream{spaces}to='a.test'>")
        };
        assert_eq!(look(greeting(MAX_XMPP_BYTES).as_bytes()), found("a.test"));
        let longer = greeting(MAX_XMPP_BYTES + 1);
        assert_eq!(look(&longer.as_bytes()[..MAX_XMPP_BYTES - 1]), Look::More);
        for end in [MAX_XMPP_BYTES, MAX_XMPP_BYTES + 1, longer.len()] {
            assert_eq!(look(&longer.as_bytes()[..end]), Look::Broken(TOO_LONG));
        }
    }
}
