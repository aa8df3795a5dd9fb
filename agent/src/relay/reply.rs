//! The relay's own lines for agents, their probes and CONNECT, as bytes
//! (`protocol.md` 2.4, 3.2 and 11); visitors get pages.

/// The answer to a CONNECT that is let through (`protocol.md` 2.2 and 11).
pub const CONNECTED: &[u8] = b"HTTP/1.0 200 Connection Established\r\n\r\n";
/// The answer to a CONNECT that leads nowhere, and to an agent whose request
/// is malformed (`protocol.md` 3.1 and 11).
pub const UNAVAILABLE: &[u8] = b"HTTP/1.0 503 Unavailable\r\n\r\n";
/// The answer to an agent who is not let in (`protocol.md` 3.2).
pub const FORBIDDEN: &[u8] = b"HTTP/1.0 403 Forbidden\r\n\r\n";

/// The longest path that [`pong`] repeats, in bytes.
const MAX_PONG_PATH_BYTES: usize = 1024;

/// What tells one relay from another (`protocol.md` 2.4).
#[derive(Clone, Copy, Debug)]
pub struct RelayMark<'a> {
    /// 40 hexadecimal digits that stay the same while the relay runs.
    pub uuid: &'a str,
    /// Agents should go elsewhere if they can.
    pub overloaded: bool,
}

impl RelayMark<'_> {
    fn write(self, out: &mut String) {
        if self.overloaded {
            out.push_str("X-PageKite-Overloaded: Sorry\r\n");
        }
        for part in ["X-PageKite-UUID: ", self.uuid, "\r\n"] {
            out.push_str(part);
        }
    }
}

/// The answer to a ping (`protocol.md` 2.4), after which the connection is
/// closed. Agents compare its first line, and some read the first 120 bytes
/// only. `is_head` leaves the body out.
pub fn ping(mark: RelayMark<'_>, is_head: bool) -> Vec<u8> {
    let mut out = String::with_capacity(400);
    out.push_str("HTTP/1.1 503 Unavailable\r\n");
    mark.write(&mut out);
    out.push_str(
        "Content-Type: text/html; charset=utf-8\r\nPragma: no-cache\r\nExpires: 0\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
    );
    if !is_head {
        out.push_str(
            "<html><body><h1>Sorry! (fe)</h1><p>This relay is there, \
             and ping.pagekite is no kite.</p></body></html>\n",
        );
    }
    out.into_bytes()
}

/// The answer to `PING <path> HTTP/1.x` (`protocol.md` 2.4), after which the
/// connection is closed. The path is repeated up to its first byte that is not
/// printable.
pub fn pong(path: &[u8]) -> Vec<u8> {
    let printable = path.iter().take_while(|byte| byte.is_ascii_graphic());
    let mut out = b"PONG ".to_vec();
    out.extend(printable.take(MAX_PONG_PATH_BYTES));
    out.extend_from_slice(b"\r\n\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_ping_is_answered_as_agents_expect() {
        for (overloaded, sorry) in [(false, ""), (true, "X-PageKite-Overloaded: Sorry\r\n")] {
            let head = format!(
                "HTTP/1.1 503 Unavailable\r\n{sorry}X-PageKite-UUID: {UUID}\r\n\
                 Content-Type: text/html; charset=utf-8\r\nPragma: no-cache\r\nExpires: 0\r\n\
                 Cache-Control: no-store\r\nConnection: close\r\n\r\n"
            );
            let mark = RelayMark { uuid: UUID, overloaded };
            assert_eq!(text(ping(mark, true)), head);
            let answer = text(ping(mark, false));
            let body = answer.strip_prefix(&head).expect("the same head");
            assert!(body.contains("Sorry! (fe)") && body.contains("ping.pagekite"));
            // All that libpagekite reads.
            assert!(answer[..120].contains(UUID));
        }
    }

    #[test]
    fn a_pong_repeats_the_path_and_nothing_else() {
        assert_eq!(pong(b"/a?b"), b"PONG /a?b\r\n\r\n");
        assert_eq!(pong(b"/a\r\nX: y"), b"PONG /a\r\n\r\n");
        assert_eq!(pong(b"/\xff"), b"PONG /\r\n\r\n");
        assert_eq!(pong(&[b'a'; 9999]).len(), MAX_PONG_PATH_BYTES + 9);
    }
}
