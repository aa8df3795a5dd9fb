//! A place for each connection: how many there may be, from everywhere and from
//! one address, so that visitors who crowd the door keep no agent out.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use super::shared::Relay;
use crate::config::RelayLimits;

/// Connections above `max_visitors` that may be there until it is known what
/// they are, so that agents come back while visitors crowd the door; a part of
/// that number, and at least so many.
const UNKNOWN_PART: usize = 8;
const MIN_UNKNOWN: usize = 64;

/// What a connection gets that is one too many from its address. It is written
/// once, and nobody waits for it.
pub(super) const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 30\r\n\
    Content-Type: text/plain\r\nContent-Length: 40\r\nConnection: close\r\n\r\n\
    Too many connections from this address.\n";
/// What a visitor gets who is one too many.
pub(super) const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\n\
    Content-Type: text/plain\r\nContent-Length: 55\r\nConnection: close\r\n\r\n\
    This relay has as many visitors as it takes right now.\n";

/// Connections that may be there besides tunnels.
pub(super) fn most_callers(limits: &RelayLimits) -> usize {
    limits.max_visitors + (limits.max_visitors / UNKNOWN_PART).max(MIN_UNKNOWN)
}

/// A connection that is counted as long as this lives.
pub(super) struct Guest {
    relay: Rc<Relay>,
    address: IpAddr,
    kind: Cell<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unknown,
    Visitor,
    Agent,
}

impl Guest {
    /// `None` when there are too many, from everywhere or from this address.
    pub(super) fn let_in(relay: &Rc<Relay>, address: IpAddr) -> Option<Self> {
        let callers = relay.callers.get();
        if callers >= most_callers(&relay.active().settings.limits) {
            return None;
        }
        relay.rates.borrow_mut().connect(address, Instant::now()).ok()?;
        relay.callers.set(callers + 1);
        let kind = Cell::new(Kind::Unknown);
        Some(Self { relay: Rc::clone(relay), address, kind })
    }

    /// It turned out to be a visitor; false when there are too many of them.
    pub(super) fn is_taken_as_visitor(&self) -> bool {
        let visitors = self.relay.visitors.get();
        if self.kind.get() == Kind::Visitor {
            return true;
        }
        if visitors >= self.relay.active().settings.limits.max_visitors {
            return false;
        }
        self.relay.visitors.set(visitors + 1);
        self.kind.set(Kind::Visitor);
        true
    }

    /// It turned out to be an agent, and the tunnel is counted instead. Of its
    /// address it is one all the same.
    pub(super) fn became_agent(&self) {
        if self.kind.replace(Kind::Agent) == Kind::Unknown {
            self.relay.callers.set(self.relay.callers.get() - 1);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let kind = self.kind.get();
        if kind != Kind::Agent {
            self.relay.callers.set(self.relay.callers.get() - 1);
        }
        if kind == Kind::Visitor {
            self.relay.visitors.set(self.relay.visitors.get() - 1);
        }
        self.relay.rates.borrow_mut().disconnect(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_as_long_as_they_say() {
        for answer in [TOO_MANY, FULL] {
            let text = std::str::from_utf8(answer).expect("text");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{text}");
        }
    }
}
